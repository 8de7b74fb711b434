//! A Corefile.
//!
//! * What is accepted can be printed, and read again as the same configuration.
//! * What is refused is wrong at a place in the text, whether words or plugins are at fault.
//!
//! Nothing is imported: texts that could are left alone, as any file of the machine might be named.

#![allow(clippy::panic, reason = "what does not hold has to fail")]

use crate::corefile::{self, Corefile, Error, LoadOptions, ServerBlock, Token};
use crate::node::setup::directive_names;
use crate::testkit::node::Builder;

/// Where the text is said to be: nothing that is relative to it is there.
const PLACE: &str = "/nowhere/Corefile";

/// The variables that a text may use. None is empty, so that none makes an `import` of two halves.
fn variable(name: &str) -> Option<String> {
    let value = match name {
        "ZONE" => "env.example",
        "PORT" => "5300",
        "TWO" => "one two",
        "BRACE" => "{",
        _ => "value",
    };
    Some(value.to_owned())
}

/// Whether a text could import a file that is there: a path of its own has a slash.
fn may_import(text: &str) -> bool {
    let bare = text.replace(['"', '\\'], "");
    bare.contains("import") && text.contains('/')
}

/// Takes a text.
pub(super) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if may_import(text) {
        return;
    }
    let lines = text.lines().count().max(1);
    let is_within = |error: &Error| {
        let line = error.position().line as usize;
        assert!(line <= lines, "{error}: of {lines} lines\n{text}");
    };
    let read =
        |text: &str| corefile::parse(text, PLACE, &LoadOptions { env: &variable, ..LoadOptions::default() });
    match read(text) {
        Ok(parsed) => {
            let printed: String = parsed.blocks.iter().map(ToString::to_string).collect();
            let again = read(&printed).unwrap_or_else(|e| panic!("{e}\n{text}\nis printed as\n{printed}"));
            assert_eq!(words(&again), words(&parsed), "{text}\nis printed as\n{printed}");
        }
        Err(error) => is_within(&error),
    }
    let names = directive_names();
    let options = LoadOptions { env: &variable, directives: Some(&names), ..LoadOptions::default() };
    match corefile::parse(text, PLACE, &options) {
        Ok(parsed) => match Builder::default().own_addresses(&["10.96.0.10"]).plan(&parsed) {
            Ok(plan) => assert!(!plan.servers.is_empty(), "what is accepted answers somewhere\n{text}"),
            Err(error) => is_within(&error),
        },
        Err(error) => is_within(&error),
    }
}

/// A configuration without the places of its words.
fn words(corefile: &Corefile) -> Vec<Vec<String>> {
    let text = |token: &Token| token.text.clone();
    let block = |block: &ServerBlock| {
        let mut all: Vec<_> = block.keys.iter().map(ToString::to_string).collect();
        for directive in &block.directives {
            all.push("directive".to_owned());
            all.push(text(&directive.name));
            all.extend(directive.args.iter().map(text));
            let Some(body) = &directive.body else { continue };
            all.push("body".to_owned());
            for line in body {
                all.push("line".to_owned());
                all.push(text(&line.name));
                all.extend(line.args.iter().map(text));
            }
        }
        all
    };
    corefile.blocks.iter().map(block).collect()
}
