//! The Corefile's grammar from the outside: what is accepted, what is refused and how, and imports on disk.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "corefile/accepted.rs"]
mod accepted;
#[path = "corefile/imports.rs"]
mod imports;
#[path = "corefile/random.rs"]
mod random;
#[path = "corefile/refused.rs"]
mod refused;

use outlast::corefile::{Corefile, Error, LoadOptions, parse};

/// Parses a text with variables of the tests' own.
fn read(text: &str) -> Result<Corefile, Error> {
    parse(text, "Corefile", &options())
}

/// Options that do not look at the process's environment.
fn options() -> LoadOptions<'static> {
    LoadOptions { env: &variable, ..LoadOptions::default() }
}

/// The variables that tests may use.
fn variable(name: &str) -> Option<String> {
    let value = match name {
        "ZONE" => "env.example",
        "PORT" => "5300",
        "DIRECTIVE" => "cache",
        "TWO" => "one two",
        "BRACE" => "{",
        "SNIPPET" => "common",
        _ => return None,
    };
    Some(value.to_owned())
}

/// A configuration in one line: `KEY,KEY[DIRECTIVE ARG{LINE|LINE} DIRECTIVE]`.
fn summary(corefile: &Corefile) -> String {
    let words = |name: &str, args: &[outlast::corefile::Token]| {
        std::iter::once(name.to_owned())
            .chain(args.iter().map(|a| a.text.clone()))
            .collect::<Vec<_>>()
            .join("·")
    };
    let blocks = corefile.blocks.iter().map(|block| {
        let keys: Vec<_> = block.keys.iter().map(|k| k.to_string().replace("dns://", "")).collect();
        let directives = block.directives.iter().map(|d| {
            let body = d.body.as_ref().map_or_else(String::new, |lines| {
                let lines: Vec<_> = lines.iter().map(|l| words(&l.name.text, &l.args)).collect();
                format!("{{{}}}", lines.join("|"))
            });
            words(&d.name.text, &d.args) + &body
        });
        format!("{}[{}]", keys.join(","), directives.collect::<Vec<_>>().join(" "))
    });
    blocks.collect::<Vec<_>>().join(" ")
}
