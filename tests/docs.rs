//! What the pages say is so: their commands are understood, their overlays are rendered, their links lead somewhere, and
//! flags, variables, series, alerts and objects that they name are there.
//!
//! Every check is a function from a page to complaints, and is also shown pages that are wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "docs/commands.rs"]
mod commands;
#[path = "docs/flags.rs"]
mod flags;
#[path = "docs/kubectl.rs"]
mod kubectl;
#[path = "docs/links.rs"]
mod links;
#[path = "docs/names.rs"]
mod names;
#[path = "docs/overlays.rs"]
mod overlays;
#[path = "docs/pages.rs"]
mod pages;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "common/programs.rs"]
mod programs;
#[path = "docs/shell.rs"]
mod shell;

use pages::{Page, pages};

/// Holds a check against every page.
fn every_page_passes(check: impl Fn(&Page) -> Vec<String>) {
    let complaints: Vec<_> = pages().iter().flat_map(check).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Holds a check against pages that are wrong: what it says of each has this in it, and it says nothing of the right one.
fn it_finds(check: impl Fn(&Page) -> Vec<String>, right: &str, wrong: &[(&str, &str)]) {
    assert_eq!(check(&Page::parse("right.md", right)), Vec::<String>::new());
    for (text, want) in wrong {
        let said = check(&Page::parse("wrong.md", text)).join("\n");
        assert!(said.contains(want), "{text}\nfound: {said:?}, not {want:?}");
    }
}
