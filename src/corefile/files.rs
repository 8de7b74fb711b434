//! Reading files and resolving patterns: the only I/O of this module.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf, absolute};

/// The most bytes that one file may have. A ConfigMap holds 1 MiB; the rest is for host lists on disk.
pub(super) const MAX_FILE_BYTES: u64 = 16 << 20;

/// The name of the Corefile that stands for standard input.
pub const STDIN: &str = "stdin";

/// Reads the Corefile itself: a file, or standard input for `stdin`.
pub(super) fn read_main(path: &Path) -> io::Result<String> {
    if path.as_os_str() == STDIN { read(io::stdin().lock()) } else { read_file(path) }
}

/// Reads a file of at most [`MAX_FILE_BYTES`] of UTF-8.
pub(super) fn read_file(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    read(file)
}

/// Reads all of `input`, within the limit. Sizes are not taken from metadata: pipes and /proc have none.
fn read(input: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    input.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it is longer than the {} MiB allowed", MAX_FILE_BYTES >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        io::Error::other(format!("line {line} is not UTF-8"))
    })
}

/// What an import names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// One file, by its absolute path, whether or not it is there.
    File(PathBuf),
    /// All that a pattern matches, in lexical order; possibly nothing.
    Matches(Vec<PathBuf>),
}

/// Resolves an import of `pattern` in `importer`. The error says what is wrong and what would be right.
///
/// At most one `*` and one `?` are allowed, as in CoreDNS: a pattern with many wildcards can take for ever.
/// They match within one path component, and leading dots as well; a ConfigMap's `..data` is therefore
/// matched by `*` and not by `*.server`.
pub(super) fn resolve(pattern: &str, importer: &str) -> Result<Target, String> {
    let count = |wildcard| pattern.matches(wildcard).count();
    if count('*') > 1 || count('?') > 1 || pattern.contains('[') {
        return Err(format!(
            "Glob pattern may only contain one wildcard (*), but has others: {pattern} (at most one '*' and one \
             '?', no '[')"
        ));
    }
    let folder = Path::new(importer).parent().unwrap_or(Path::new(""));
    let cannot = |e: &dyn std::fmt::Display| format!("Failed to use import pattern {pattern}: {e}");
    let path = absolute(folder.join(pattern)).map_err(|e| cannot(&e))?;
    if count('*') + count('?') == 0 {
        return Ok(Target::File(path));
    }
    // Only the pattern's own wildcards count: a folder above it may have any name.
    let path = path.to_str().ok_or_else(|| cannot(&"its folder's name is not UTF-8"))?;
    let given = pattern.trim_start_matches("./");
    let escaped = match path.strip_suffix(given) {
        Some(folder) => glob::Pattern::escape(folder) + given,
        None => path.to_owned(),
    };
    let mut matches = Vec::new();
    for entry in glob::glob(&escaped).map_err(|e| cannot(&e))? {
        matches.push(entry.map_err(|e| cannot(&e))?);
    }
    matches.sort();
    Ok(Target::Matches(matches))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("odd [name]*");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        for name in ["b.server", "a.server", "a10.server", "a.override", ".c.server", "sub/x.server"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let main = folder.join("Corefile");
        let main = main.to_str().unwrap();
        for (pattern, want) in [
            ("*.server", &[".c.server", "a.server", "a10.server", "b.server"][..]),
            ("./*.server", &[".c.server", "a.server", "a10.server", "b.server"]),
            ("?.server", &["a.server", "b.server"]),
            ("*.non?", &[]),
            ("missing/*.server", &[]),
            ("su?/*.server", &["sub/x.server"]),
        ] {
            let want = want.iter().map(|n| folder.join(n)).collect();
            assert_eq!(resolve(pattern, main), Ok(Target::Matches(want)), "{pattern}");
        }
        assert_eq!(resolve("sub/none", main), Ok(Target::File(folder.join("sub/none"))));
        assert_eq!(resolve("/etc/x", main), Ok(Target::File("/etc/x".into())));
        for pattern in ["*/*", "??", "**", "[a]", "a["] {
            assert!(
                resolve(pattern, main).unwrap_err().contains("may only contain one wildcard"),
                "{pattern}"
            );
        }
    }

    #[test]
    fn reading_is_bounded_and_utf8() {
        assert_eq!(read(&b"abc"[..]).unwrap(), "abc");
        assert_eq!(read(&b"a\nb\xff\n"[..]).unwrap_err().to_string(), "line 2 is not UTF-8");
        assert!(read(io::repeat(b'#')).unwrap_err().to_string().contains("16 MiB"));
    }
}
