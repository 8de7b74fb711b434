//! Any text is answered: with a configuration that can be printed and read again, or with an error.

use proptest::prelude::*;

use super::{read, summary};

/// Words that mean something, so that random texts get further than the first key.
fn corefile_like() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => Just("\n".to_owned()),
        2 => Just("{".to_owned()),
        2 => Just("}".to_owned()),
        1 => Just("{\n".to_owned()),
        1 => Just("\n}\n".to_owned()),
        1 => Just("import s\n".to_owned()),
        1 => Just("import /nowhere/*\n".to_owned()),
        1 => Just("(s) {\n".to_owned()),
        1 => Just("\"".to_owned()),
        1 => Just("{$ZONE}".to_owned()),
        1 => Just("{$BRACE}".to_owned()),
        1 => Just("10.0.0.0/9:53".to_owned()),
        1 => Just("fd00::/7".to_owned()),
        1 => Just(",".to_owned()),
        1 => Just("#".to_owned()),
        4 => "[a-z]{1,3}[.,:{}]?",
        1 => r#""[a-z \\{}\n"]{0,5}"?"#,
        1 => r"\PC{0,4}",
    ];
    prop::collection::vec((word, "[ ]?"), 0..40)
        .prop_map(|words| words.into_iter().map(|(word, space)| word + &space).collect())
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in r"(\PC|[\r\n\t \\]){0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn what_is_accepted_can_be_printed_and_read(text in corefile_like()) {
        match read(&text) {
            Ok(corefile) => {
                let printed: String = corefile.blocks.iter().map(ToString::to_string).collect();
                let again = read(&printed);
                prop_assert_eq!(again.map(|c| summary(&c)), Ok(summary(&corefile)), "{}", printed);
            }
            Err(error) => prop_assert!(error.position().line as usize <= text.lines().count().max(1), "{}", error),
        }
    }
}
