//! The rules of the layout, as a test: which module may know which, where files are written, and habits that
//! no lint checks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test crate")]

use std::fs;
use std::path::{Path, PathBuf};

/// A source file with its path below `src/` and its text without the tests at its end.
struct Source {
    path: String,
    text: String,
}

fn sources() -> Vec<Source> {
    fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                into.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
        // A whole file of tests, or of what only tests need.
        let name = path.file_name().unwrap();
        let among_tests = path.parent().is_some_and(|folder| folder.ends_with("tests"));
        let code = if among_tests || name == "tests.rs" || name == "test_support.rs" || name == "arbitrary.rs"
        {
            "//! tests".to_owned()
        } else {
            code
        };
        Source { path: path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(), text: code }
    };
    paths.into_iter().map(read).collect()
}

/// Lines of code (not of comments) in files for which `in_scope` holds that contain `word`.
fn offenders(in_scope: impl Fn(&str) -> bool, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources().iter().filter(|s| in_scope(&s.path)) {
        for (number, line) in source.text.lines().enumerate() {
            if !line.trim_start().starts_with("//") && line.contains(word) {
                found.push(format!("src/{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    found
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

fn within<'a>(folder: &'a str) -> impl Fn(&str) -> bool + 'a {
    move |path: &str| path.starts_with(folder)
}

#[test]
fn the_zone_is_pure() {
    for word in [
        "tokio",
        "kube::",
        "tonic",
        "std::fs",
        "std::time",
        "std::net::Tcp",
        "std::net::Udp",
        "tracing",
        "metrics::",
        "hickory",
        "rand::",
    ] {
        none("the zone imports nothing that acts", &offenders(within("zone/"), word));
    }
}

/// What each module may know of the others; the table of ARCHITECTURE.md. A part of a module that is to know less than
/// the rest has a line of its own.
const MAY_USE: [(&str, &[&str]); 15] = [
    ("zone", &[]),
    ("feed", &["zone"]),
    ("snapshot", &["zone", "feed", "ops"]),
    ("trust", &["ops"]),
    ("source", &["zone", "feed", "trust", "ops"]),
    ("store", &["zone", "feed", "snapshot", "source", "ops"]),
    ("hub", &["zone", "feed", "snapshot", "source", "store", "trust", "ops"]),
    ("forward", &["ops"]),
    ("corefile", &[]),
    ("ops", &[]),
    ("net", &["ops"]),
    ("drill/standin", &["zone", "source", "ops", "drill::cluster"]),
    // What judges answers shares nothing with what gives them.
    ("drill/ask", &["zone::object::Kind", "drill::standin"]),
    (
        "drill",
        &[
            "zone", "feed", "snapshot", "source", "store", "trust", "hub", "forward", "corefile", "net",
            "node", "ops",
        ],
    ),
    ("node", &["zone", "feed", "snapshot", "source", "store", "trust", "forward", "corefile", "ops"]),
];

/// Every module of the crate.
const MODULES: [&str; 15] = [
    "zone", "feed", "source", "snapshot", "store", "trust", "hub", "forward", "corefile", "ops", "drill",
    "net", "node", "cli", "testkit",
];

/// Whether a path within the crate is this one or below it.
fn is_below(path: &str, known: &str) -> bool {
    path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The paths within the crate that a line names.
fn named(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        rest[..end.unwrap_or(rest.len())].trim_end_matches(':')
    })
}

#[test]
fn dependencies_point_one_way() {
    for (module, allowed) in MAY_USE {
        let (folder, own) = (format!("{module}/"), module.replace('/', "::"));
        let strange = |path: &str| {
            let known = allowed.iter().copied().chain([own.as_str()]);
            let first = path.split("::").next().unwrap_or_default();
            MODULES.contains(&first) && !known.into_iter().any(|known| is_below(path, known))
        };
        let mut found = offenders(within(&folder), "crate::");
        found.retain(|line| named(line).any(strange));
        none(&format!("{module} must not know that"), &found);
    }
}

#[test]
fn what_a_line_names() {
    let line = "pub use crate::zone::object::{Kind, Object}; let x: crate::ops::age::Age<crate::feed>;";
    assert_eq!(named(line).collect::<Vec<_>>(), ["zone::object", "ops::age::Age", "feed"]);
    assert!(is_below("zone::object::Kind", "zone::object") && is_below("zone", "zone"));
    assert!(!is_below("zones", "zone") && !is_below("zone", "zone::object"));
}

#[test]
fn each_foreign_world_has_its_place() {
    let places: [(&str, &[&str]); 9] = [
        ("hickory_server::", &["node/", "cli/lookup.rs", "drill/memory/", "testkit/"]),
        ("hickory_proto::", &["node/", "forward/", "cli/lookup.rs", "testkit/"]),
        ("prost::", &["feed/", "snapshot/", "testkit/"]),
        ("tonic::", &["feed/", "hub/serve/", "source/hub/", "testkit/"]),
        ("zstd::", &["snapshot/", "feed/", "testkit/"]),
        ("kube::", &["source/apiserver/", "drill/standin/"]),
        ("k8s_openapi::", &["source/apiserver/", "drill/standin/"]),
        ("rcgen::", &["drill/standin/", "trust/", "testkit/"]),
        ("nlink::", &["net/"]),
    ];
    for (word, allowed) in places {
        let outside = |path: &str| !allowed.iter().any(|a| path.starts_with(a));
        none(word, &offenders(outside, word));
    }
}

#[test]
fn who_follows_hubs_looks_up_no_name_and_never_asks_the_api_server() {
    for word in ["lookup_host", "ToSocketAddrs", "apiserver", "hickory"] {
        none("hubs are dialled by address, and nobody else is", &offenders(within("source/hub/"), word));
    }
}

/// Where a drill may take a protection away: where something is set up or waited for.
const SWITCHED: [&str; 14] = [
    "ops/",
    "drill/",
    "cli/",
    "node/control/",
    "hub/control.rs",
    "hub/audit.rs",
    "hub/index.rs",
    "hub/line.rs",
    "net/keep.rs",
    "snapshot/folder.rs",
    "source/apiserver/follower/check.rs",
    "source/apiserver/follower/live.rs",
    "source/apiserver/report.rs",
    "source/hub/apply.rs",
];

#[test]
fn no_query_asks_what_a_drill_has_switched_off() {
    let outside = |path: &str| !SWITCHED.iter().any(|place| path.starts_with(place));
    none("protections are switched off in few places", &offenders(outside, "switches::"));
    for place in SWITCHED {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(place);
        assert!(path.exists(), "{place} is a place of ours");
    }
}

#[test]
fn files_are_written_in_one_place() {
    let outside = |path: &str| path != "snapshot/disk.rs" && !path.starts_with("testkit/");
    for word in ["File::create", "OpenOptions", "fs::write", "fs::rename", "fs::create_dir"] {
        none("files are written through snapshot::disk", &offenders(outside, word));
    }
}

#[test]
fn what_the_compiler_cannot_check_is_in_few_places() {
    let outside = |path: &str| !["node/listen/udp/batch.rs", "main.rs"].contains(&path);
    for word in ["unsafe ", "unsafe_code"] {
        none("two system calls, a symbol of the allocator's, and nothing else", &offenders(outside, word));
    }
    let plain = |path: &str| path.starts_with("node/lane/") && path != "node/lane/worker.rs";
    for word in ["Vec<u8>", ".to_vec()", "String", "format!", "spawn", "Mutex", ".await"] {
        none("the inline lane neither allocates nor waits", &offenders(plain, word));
    }
}

#[test]
fn what_is_merged_is_finished() {
    let everywhere = |path: &str| !path.starts_with("testkit/");
    for word in ["todo!(", "unimplemented!(", "dbg!(", "TODO", "FIXME", ".unwrap()"] {
        none(word, &offenders(everywhere, word));
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|s| s.path != "feed/generated.rs" && !s.text.starts_with("//!"))
        .map(|s| s.path)
        .collect();
    none("a module opens with what it is for", &silent);
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let mut in_dependencies = false;
    let mut before = "";
    let mut missing = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
        } else if in_dependencies && line.contains(" = ") && !before.starts_with('#') {
            missing.push(line.to_owned());
        }
        before = line;
    }
    none("a dependency has one line that says what it is for", &missing);
}
