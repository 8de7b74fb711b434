//! What `docs/` says of the command line is so.

use std::collections::BTreeSet;
use std::path::Path;

/// The repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The flags that a text names in code: `--hub`, and `--hub` of `--hub ADDRESS`.
fn flags(text: &str) -> BTreeSet<&str> {
    let end = |flag: &str| flag.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(flag.len());
    text.split('`').filter(|code| code.starts_with("--")).map(|code| &code[2..2 + end(&code[2..])]).collect()
}

#[test]
fn the_page_of_flags_has_the_flags_that_there_are() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/configuration.md")).unwrap();
    let (node, hub) = text.split_once("## Hubs").unwrap();
    let command = outlast::cli::command();
    for (role, text) in [("node", node), ("hub", hub)] {
        let sub = command.find_subcommand(role).unwrap();
        let real: BTreeSet<_> = sub.get_arguments().filter_map(|arg| arg.get_long()).collect();
        let named = flags(text);
        let made_up: Vec<_> = named.difference(&real).collect();
        assert!(made_up.is_empty(), "outlast {role} has none of {made_up:?}");
        // Those that every subcommand has, or both, are said once.
        let missing: Vec<_> = real.difference(&named).filter(|f| !flags(node).contains(*f)).collect();
        assert!(missing.is_empty(), "the page says nothing of {missing:?} of outlast {role}");
    }
}

#[test]
fn pages_name_files_that_there_are() {
    let mut count = 0;
    for entry in std::fs::read_dir(Path::new(ROOT).join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let words = text.split(|c: char| c.is_whitespace() || "`()|,;:\"".contains(c));
        let ours = words.filter(|word| {
            ["manifests/", "docs/", "benches/", "tests/"].iter().any(|folder| word.starts_with(folder))
        });
        for word in ours {
            let file = word.trim_end_matches('.');
            assert!(Path::new(ROOT).join(file).exists(), "{}: {file}", path.display());
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}
