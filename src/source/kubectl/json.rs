//! JSON: one value after the other, with or without white space between them.

use std::io::{BufReader, Read};

use serde::de::DeserializeSeed;

use super::document::Document;
use super::{DecodeError, Decoder, Malformed};

/// Read ahead from the file: large enough that system calls do not show in the profile.
const BUFFER: usize = 64 << 10;

/// The mark that some editors put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Decodes all values of `text` into `decoder` and returns how many there are.
///
/// serde_json refuses values nested deeper than 128, so that no text exhausts the stack.
pub(super) fn decode(mut text: impl Read, decoder: &mut Decoder) -> Result<u64, DecodeError> {
    // One read may give less than the mark.
    let mut start = Vec::new();
    let mark = text.by_ref().take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut start);
    mark.map_err(DecodeError::Io)?;
    if start == BYTE_ORDER_MARK {
        start.clear();
    }
    let text = BufReader::with_capacity(BUFFER, start.as_slice().chain(text));
    let mut values = serde_json::Deserializer::from_reader(text);
    let mut count = 0;
    // `end` fails where there is something left, and takes only white space.
    while let Err(left) = values.end() {
        if left.is_io() {
            return Err(error(left));
        }
        Document::of(decoder).deserialize(&mut values).map_err(error)?;
        count += 1;
    }
    Ok(count)
}

fn error(error: serde_json::Error) -> DecodeError {
    if error.is_io() {
        return DecodeError::Io(error.into());
    }
    let (line, column) = (error.line() as u64, error.column() as u64);
    let mut what = error.to_string();
    // Said once, before the message, as compilers do.
    if let Some(bare) = what.strip_suffix(&format!(" at line {line} column {column}")) {
        what.truncate(bare.len());
    }
    if error.is_eof() {
        what.push_str("; the text is cut short, a complete one ends with the bracket that closes its first");
    }
    DecodeError::Malformed(Malformed { line, column, what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Wanted;

    fn decode_text(text: &str) -> Result<u64, String> {
        decode(text.as_bytes(), &mut Decoder::new(Wanted::ALL)).map_err(|e| e.to_string())
    }

    #[test]
    fn values_follow_each_other_with_or_without_space() {
        let ns = r#"{"kind":"Namespace","metadata":{"name":"a"}}"#;
        for (text, count) in [
            (String::new(), 0),
            (" \n".to_owned(), 0),
            (ns.to_owned(), 1),
            (format!("{ns}{ns}"), 2),
            (format!("\u{feff}{ns}\n\n{ns}\n"), 2),
        ] {
            assert_eq!(decode_text(&text), Ok(count), "{text}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_however_the_reads_fall() {
        struct ByteByByte<'a>(&'a [u8]);
        impl Read for ByteByByte<'_> {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                let length = into.len().min(1);
                self.0.read(&mut into[..length])
            }
        }
        let text = "\u{feff}{\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\"}}";
        let mut decoder = Decoder::new(Wanted::ALL);
        assert_eq!(decode(ByteByByte(text.as_bytes()), &mut decoder).unwrap(), 1);
        assert_eq!(decoder.finish().objects.len(), 1);
    }

    #[test]
    fn errors_name_line_and_column_once() {
        let cases = [
            ("{\n  \"kind\": \"Service\",\n  oops\n}", "3:3: key must be a string"),
            (
                "{\"kind\": \"Service\",\n\"metadata\": {\"name\": 1}}",
                "2:23: invalid type: integer `1`, expected a string",
            ),
            (
                "{\"kind\":\"Service\",\"spec\":{\"ports\":[{\"port\":\"http\"}]}}",
                "1:49: invalid type: string \"http\", expected a port number from 1 to 65535",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(decode_text(text), Err(message.to_owned()));
        }
    }

    #[test]
    fn a_text_cut_short_is_called_that() {
        let why = decode_text("{\"items\": [").unwrap_err();
        assert!(why.contains("cut short"), "{why}");
    }

    #[test]
    fn a_hundred_thousand_brackets_are_an_error() {
        assert!(decode_text(&"{\"items\":[".repeat(100_000)).unwrap_err().contains("recursion limit"));
        assert!(decode_text(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn failing_reads_are_no_syntax_errors() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("disk on fire"))
            }
        }
        let text = &b"{\"kind\": "[..];
        let error = decode(text.chain(Failing), &mut Decoder::new(Wanted::ALL)).unwrap_err();
        assert!(matches!(error, DecodeError::Io(_)), "{error}");
    }
}
