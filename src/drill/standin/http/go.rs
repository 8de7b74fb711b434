//! How Go writes strings: in JSON, quoted in messages, and in its parsers' errors.

/// A JSON string as Go's encoder writes it: `<`, `>`, `&` are escaped too.
pub(super) fn json_string(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap_or_default();
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// `%q`
pub(super) fn quote(text: &str) -> String {
    let inner: String =
        text.chars().map(|c| if c == '"' { "\\\"".to_owned() } else { quoted_char(c) }).collect();
    format!("\"{inner}\"")
}

/// One character within `%q`, quotation marks not counted.
fn quoted_char(c: char) -> String {
    match c {
        '\\' => "\\\\".to_owned(),
        '\x07' => "\\a".to_owned(),
        '\x08' => "\\b".to_owned(),
        '\x0c' => "\\f".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\x0b' => "\\v".to_owned(),
        '\0'..' ' | '\x7f' => format!("\\x{:02x}", u32::from(c)),
        '\u{80}'..='\u{a0}' | '\u{ad}' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    }
}

/// What `json.Unmarshal` says of bytes that are no JSON.
pub(super) fn json_error(bytes: &[u8], error: &serde_json::Error) -> String {
    let begins_a_value = |b: u8| matches!(b, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n');
    match bytes.iter().find(|b| !b" \t\r\n".contains(b)) {
        Some(&first) if !begins_a_value(first) => {
            let shown = match first {
                b'\'' => "\\'".to_owned(),
                first => quoted_char(char::from(first)),
            };
            format!("invalid character '{shown}' looking for beginning of value")
        }
        Some(_) if !error.is_eof() => error.to_string(),
        _ => "unexpected end of JSON input".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_written_as_go_does() {
        assert_eq!(quote("a\"b\\c\u{81}\n"), r#""a\"b\\c\u0081\n""#);
        assert_eq!(json_string("a<b>&\"c\""), r#""a\u003cb\u003e\u0026\"c\"""#);
        let error = |bytes: &[u8]| json_error(bytes, &serde_json::from_slice::<u8>(bytes).unwrap_err());
        assert_eq!(error(b"\x81\xaa"), r"invalid character '\u0081' looking for beginning of value");
        assert_eq!(error(b"x"), "invalid character 'x' looking for beginning of value");
        assert_eq!(error(b""), "unexpected end of JSON input");
    }
}
