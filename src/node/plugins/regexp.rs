//! Regular expressions of a Corefile: RE2's syntax, of which Go's is a dialect; linear in the input, bounded in size.

use regex::{Regex, RegexBuilder};

use crate::corefile::{Error, Token};

/// The longest expression in bytes: one that is longer is generated, and has no place in a Corefile.
const MAX_LEN: usize = 10_000;

/// The most memory in bytes that one expression may become: counted repetitions (`(a{99}){99}`) make much of little.
const MAX_COMPILED: usize = 1 << 20;

/// Compiles the expression `word` for `plugin`.
pub(super) fn compile(plugin: &str, word: &Token) -> Result<Regex, Error> {
    let len = word.text.len();
    if len > MAX_LEN {
        return Err(word.error(format!(
            "plugin/{plugin}: the expression has {len} bytes: at most {MAX_LEN} are allowed"
        )));
    }
    RegexBuilder::new(&word.text).size_limit(MAX_COMPILED).build().map_err(|error| {
        word.error(format!(
            "plugin/{plugin}: '{}' is not a regular expression: {}",
            word.text,
            reason(&error)
        ))
    })
}

/// Why an expression is none, in one line.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corefile::Position;

    #[test]
    fn expressions_are_bounded_and_errors_have_one_line() {
        let compiled = |text: &str| {
            let position = Position { file: "Corefile".into(), line: 3 };
            compile("x", &Token { text: text.to_owned(), quoted: false, position })
        };
        assert!(compiled(r"(?P<a>[0-9]{1,3})\.example\.$").is_ok());
        for (text, why) in [
            ("(", "plugin/x: '(' is not a regular expression: unclosed group"),
            ("((a{999}){999}){999}", "exceeds size limit"),
            (&"a".repeat(10_001), "has 10001 bytes"),
        ] {
            let error = compiled(text).unwrap_err().to_string();
            assert!(error.starts_with("Corefile:3 - ") && error.contains(why), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
