//! Imports of files, on disk.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use outlast::corefile::{Corefile, Error, ErrorKind, load};
use tempfile::TempDir;

use super::{options, summary};

/// A folder with files in it.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            fs::create_dir_all(folder.path(name).parent().unwrap()).unwrap();
            fs::write(folder.path(name), text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Result<Corefile, Error> {
        load(&self.path("Corefile"), &options())
    }
}

#[test]
fn paths_are_relative_to_the_importing_file() {
    let folder = Folder::new(&[
        ("Corefile", ". {\n import sub/one\n}\nimport sub/servers"),
        ("sub/one", "log\nimport deeper/two\n"),
        ("sub/deeper/two", "errors\nx {\n import ../three\n}\n"),
        ("sub/three", "ttl 5"),
        ("sub/servers", "example.org {\n whoami\n}"),
    ]);
    let corefile = folder.load().unwrap();
    assert_eq!(summary(&corefile), ".:53[log errors x{ttl·5}] example.org.:53[whoami]");
    let log = &corefile.blocks[0].directives[0];
    assert_eq!(log.position().to_string(), format!("{}:1", folder.path("sub/one").display()));
    let read = ["Corefile", "sub/one", "sub/deeper/two", "sub/deeper/../three", "sub/servers"];
    assert_eq!(corefile.files, read.map(|name| folder.path(name)));
}

#[test]
fn a_snippets_imports_are_relative_to_its_own_file() {
    let folder = Folder::new(&[
        ("Corefile", "import sub/snippets\n. {\n import s\n}"),
        ("sub/snippets", "(s) {\n import lines\n}"),
        ("sub/lines", "log"),
        ("lines", "errors"),
    ]);
    assert_eq!(summary(&folder.load().unwrap()), ".:53[log]");
}

#[test]
fn a_snippet_goes_before_a_file_of_its_name() {
    let folder = Folder::new(&[
        ("Corefile", "(s) {\n log\n}\n. {\n import s\n import t\n}"),
        ("s", "errors"),
        ("t", "cache"),
    ]);
    assert_eq!(summary(&folder.load().unwrap()), ".:53[log cache]");
}

#[test]
fn absolute_paths() {
    let other = Folder::new(&[("x.server", "a {\n}")]);
    let folder = Folder::new(&[]);
    let text =
        format!("import {}\nimport {}\n", other.path("x.server").display(), other.path("*.server").display());
    fs::write(folder.path("Corefile"), text).unwrap();
    let corefile = folder.load().unwrap();
    assert_eq!(summary(&corefile), "a.:53[] a.:53[]");
    assert_eq!(corefile.files, [folder.path("Corefile"), other.path("x.server")], "each file once");
}

#[test]
fn matches_come_in_lexical_order() {
    let folder = Folder::new(&[
        ("Corefile", ". {\n import c/*.override\n}\nimport c/*.server"),
        ("c/b.server", "b {\n}"),
        ("c/a.server", "a {\n}"),
        ("c/a10.server", "a10 {\n}"),
        ("c/B.server", "upper {\n}"),
        ("c/2.override", "two"),
        ("c/10.override", "ten"),
    ]);
    let corefile = folder.load().unwrap();
    assert_eq!(summary(&corefile), ".:53[ten two] upper.:53[] a.:53[] a10.:53[] b.:53[]");
    assert_eq!(corefile.warnings, []);
}

#[test]
fn a_match_may_import_another_match() {
    let folder = Folder::new(&[("Corefile", ". {\n import c/*\n}"), ("c/a", "import b\nx"), ("c/b", "y")]);
    assert_eq!(summary(&folder.load().unwrap()), ".:53[y x y]");
}

#[test]
fn no_match_is_a_warning() {
    let folder =
        Folder::new(&[("Corefile", ". {\n import custom/*.override\n log\n}\nimport custom/?.server")]);
    let corefile = folder.load().unwrap();
    assert_eq!(summary(&corefile), ".:53[log]");
    let warnings: Vec<_> = corefile.warnings.iter().map(|w| (w.position.line, w.text.as_str())).collect();
    assert_eq!(
        warnings,
        [
            (2, "No files matching import glob pattern: custom/*.override"),
            (5, "No files matching import glob pattern: custom/?.server")
        ]
    );
}

/// A ConfigMap's volume: visible names are links into `..data`, which is a link to a folder with a date.
fn config_map(folder: &Folder, files: &[(&str, &str)]) {
    let dated = folder.path("custom/..2024_05_01_10_00_00.1");
    fs::create_dir_all(&dated).unwrap();
    symlink(dated.file_name().unwrap(), folder.path("custom/..data")).unwrap();
    for (name, text) in files {
        fs::write(dated.join(name), text).unwrap();
        symlink(Path::new("..data").join(name), folder.path("custom").join(name)).unwrap();
    }
}

#[test]
fn config_map_volume() {
    let folder = Folder::new(&[("Corefile", ". {\n import custom/*.override\n}\nimport custom/*.server")]);
    config_map(&folder, &[("b.server", "b {\n}"), ("a.server", "a {\n}"), ("x.override", "log")]);
    let corefile = folder.load().unwrap();
    assert_eq!(summary(&corefile), ".:53[log] a.:53[] b.:53[]");
    let names = ["Corefile", "custom/x.override", "custom/a.server", "custom/b.server"];
    assert_eq!(corefile.files, names.map(|n| folder.path(n)), "each is read once, by its visible name");
}

#[test]
fn config_map_volume_matched_as_a_whole() {
    let folder = Folder::new(&[("Corefile", ". {\n log\n}\nimport custom/*")]);
    config_map(&folder, &[("a.server", "a {\n}")]);
    let error = folder.load().unwrap_err();
    assert_eq!(error.position().line, 4);
    assert!(
        error.message().contains("is a directory; a pattern such as *.conf leaves directories out"),
        "{error}"
    );
}

#[test]
fn wrong_files() {
    struct Case {
        name: &'static str,
        files: &'static [(&'static str, &'static str)],
        /// File and line of the error.
        at: (&'static str, u32),
        message: &'static str,
    }
    for c in [
        Case {
            name: "wrong in an imported file",
            files: &[("Corefile", ". {\n}\nimport c/*.server"), ("c/a.server", "a {\n}\n}\n")],
            at: ("c/a.server", 3),
            message: "Unexpected '}'",
        },
        Case {
            name: "missing in an imported file",
            files: &[("Corefile", "import a"), ("a", "\nimport b")],
            at: ("a", 2),
            message: "File to import not found: b",
        },
        Case {
            name: "imports itself",
            files: &[("Corefile", ". {\n}\nimport Corefile")],
            at: ("Corefile", 3),
            message: "imports itself",
        },
        Case {
            name: "imports itself through another and a pattern",
            files: &[("Corefile", "\nimport a"), ("a", "\n\nimport Core*")],
            at: ("a", 3),
            message: "imports itself",
        },
        Case {
            name: "imports a folder",
            files: &[("Corefile", "import c"), ("c/a", "")],
            at: ("Corefile", 1),
            message: "is a directory",
        },
    ] {
        let folder = Folder::new(c.files);
        let Err(error) = folder.load() else { panic!("{}: was accepted", c.name) };
        let at = format!("{}:{}", folder.path(c.at.0).display(), c.at.1);
        assert_eq!(error.position().to_string(), at, "{}: {error}", c.name);
        assert!(error.message().contains(c.message), "{}: {error}", c.name);
    }
}

#[test]
fn unreadable_files() {
    let folder = Folder::new(&[]);
    let error = folder.load().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.to_string().starts_with(&format!("{} - ", folder.path("Corefile").display())), "{error}");
    fs::create_dir(folder.path("Corefile")).unwrap();
    assert_eq!(folder.load().unwrap_err().kind(), ErrorKind::Unreadable);
    fs::remove_dir(folder.path("Corefile")).unwrap();
    fs::write(folder.path("Corefile"), "import latin1").unwrap();
    fs::write(folder.path("latin1"), b"\xe9").unwrap();
    let error = folder.load().unwrap_err();
    assert_eq!((error.kind(), error.position().line), (ErrorKind::Invalid, 1));
    assert!(error.message().contains("not UTF-8"), "{error}");
}

#[test]
fn equal_blocks_mean_nothing_to_reload() {
    let folder = Folder::new(&[("Corefile", ". {\n import a\n}"), ("a", "log")]);
    let before = folder.load().unwrap().blocks;
    fs::write(folder.path("Corefile"), ". { # a remark\n   import a\n}").unwrap();
    assert_eq!(folder.load().unwrap().blocks, before, "white space and remarks");
    fs::write(folder.path("a"), "\nlog").unwrap();
    assert_ne!(folder.load().unwrap().blocks, before, "another line");
    fs::write(folder.path("a"), "errors").unwrap();
    assert_ne!(folder.load().unwrap().blocks, before, "another word");
}
