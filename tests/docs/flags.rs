//! Flags that pages name.

use std::collections::BTreeSet;

use regex::Regex;

use super::pages::{Page, files, text};
use super::{every_page_passes, it_finds};

/// Flags that every command has.
const EVERYWHERE: [&str; 2] = ["help", "version"];

/// The name of the flag that a piece of code begins with: `hub` of `--hub ADDRESS`.
fn flag(code: &str) -> Option<&str> {
    let name = code.strip_prefix("--")?;
    let end = name.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
    Some(&name[..end.unwrap_or(name.len())])
}

/// Every flag of a command and of those below it.
fn flags_of(command: &clap::Command, into: &mut BTreeSet<String>) {
    into.extend(command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned));
    command.get_subcommands().for_each(|sub| flags_of(sub, into));
}

/// The flags that the sources of benches name.
fn flags_of_benches() -> BTreeSet<String> {
    let spelled = Regex::new(r"--([a-z][a-z-]*[a-z])").unwrap();
    let sources = files("benches").into_iter().filter(|file| file.ends_with(".rs")).map(|file| text(&file));
    let of = |text: String| spelled.captures_iter(&text).map(|found| found[1].to_owned()).collect::<Vec<_>>();
    sources.flat_map(of).collect()
}

/// Flags that no subcommand has, or none of the benches on their page.
fn complaints(page: &Page) -> Vec<String> {
    let mut real: BTreeSet<_> = EVERYWHERE.map(str::to_owned).into();
    flags_of(&outlast::cli::command(), &mut real);
    if page.name.starts_with("benches/") {
        real.extend(flags_of_benches());
    }
    let spans = page.spans().collect::<Vec<_>>();
    let wrong = spans.iter().filter_map(|(line, span)| Some((line, flag(span)?)));
    let wrong = wrong.filter(|(_, flag)| !real.contains(*flag));
    wrong.map(|(line, flag)| format!("{}: there is no flag --{flag}", page.at(*line))).collect()
}

#[test]
fn flags_that_pages_name_are_there() {
    every_page_passes(complaints);
}

#[test]
fn a_flag_that_is_none_is_found() {
    it_finds(
        complaints,
        "`--hub ADDRESS`, `--hub-tls-ca=F`, `--transfers`",
        &[
            ("`--hubs 10.0.0.1`", "there is no flag --hubs"),
            ("| `--hub\\|--no-hub` |\n| `--tls` |", "2: there is no flag --tls"),
        ],
    );
}

/// The page of all flags: what it has of each role is what that role has.
fn differences(page: &str) -> Vec<String> {
    let (node, hub) = page.split_once("## Hubs").unwrap();
    let named = |text: &str| -> BTreeSet<String> {
        let codes = text.split('`').skip(1).step_by(2);
        codes.filter_map(flag).map(str::to_owned).collect()
    };
    let command = outlast::cli::command();
    let mut all = Vec::new();
    for (role, text) in [("node", node), ("hub", hub)] {
        let sub = command.find_subcommand(role).unwrap();
        let real: BTreeSet<_> =
            sub.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned).collect();
        let (named_here, before) = (named(text), named(node));
        let made_up = named_here.difference(&real).map(|flag| format!("outlast {role} has no --{flag}"));
        // Those that every subcommand has, or both, are said once.
        let silent = real.difference(&named_here).filter(|flag| !before.contains(*flag));
        all.extend(made_up);
        all.extend(silent.map(|flag| format!("the page says nothing of --{flag} of outlast {role}")));
    }
    all
}

#[test]
fn the_page_of_flags_has_the_flags_that_there_are() {
    let page = text("docs/configuration.md");
    assert_eq!(differences(&page), Vec::<String>::new());
    for (from, to, want) in [
        ("`--owner DIR`", "`--owners DIR`", "outlast node has no --owners"),
        ("`--owner DIR`", "owner", "the page says nothing of --owner of outlast node"),
        ("`--advertise ADDRESS,…`", "x", "the page says nothing of --advertise of outlast hub"),
    ] {
        let found = differences(&page.replace(from, to));
        assert!(found.contains(&want.to_owned()), "{want}: {found:?}");
    }
}
