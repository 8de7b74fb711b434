//! YAML: one or more documents.

use std::io::{ErrorKind, Read};

use serde::de::{Deserialize, DeserializeSeed, Deserializer};
use serde_saphyr::{DuplicateKeyPolicy, Error, Options};

use super::document::Document;
use super::names::quote;
use super::{DecodeError, Decoder, Malformed};
use crate::source::Wanted;

/// Deepest nesting, the parser's default. It recurses, with frames so large that twice as much exhausts the 2 MiB
/// stack of a thread in an unoptimised build. Objects nest to about 20.
const MAX_DEPTH: usize = 64;

/// Most nodes that stand under anchors. kubectl prints none; by hand one writes a few.
const MAX_ANCHORED: usize = 100_000;

/// Decodes all documents of `text` into `decoder` and returns how many there are, empty ones left out.
pub(super) fn decode(mut text: impl Read, decoder: &mut Decoder) -> Result<u64, DecodeError> {
    // The parser's iterator takes a type but no value to decode with, so what is wanted travels in the type.
    match decoder.wanted {
        Wanted { labels: false, pods: false } => documents::<false, false>(&mut text, decoder),
        Wanted { labels: false, pods: true } => documents::<false, true>(&mut text, decoder),
        Wanted { labels: true, pods: false } => documents::<true, false>(&mut text, decoder),
        Wanted { labels: true, pods: true } => documents::<true, true>(&mut text, decoder),
    }
}

fn documents<const LABELS: bool, const PODS: bool>(
    text: &mut impl Read,
    decoder: &mut Decoder,
) -> Result<u64, DecodeError> {
    let mut text = Watched { text, failure: None, place: Place::default() };
    let mut count = 0;
    let mut error = None;
    for document in serde_saphyr::read_with_options::<_, OneDocument<LABELS, PODS>>(&mut text, options()) {
        match document {
            Ok(OneDocument(found)) => decoder.absorb(found),
            Err(e) => {
                error = Some(e);
                break;
            }
        }
        count += 1;
    }
    match (text.failure, error) {
        (Some(failure), _) => Err(DecodeError::Io(failure)),
        (None, Some(e)) => Err(DecodeError::Malformed(malformed(&e, text.place.broken()))),
        (None, None) => Ok(count),
    }
}

/// What one document holds.
struct OneDocument<const LABELS: bool, const PODS: bool>(Decoder);

impl<'de, const LABELS: bool, const PODS: bool> Deserialize<'de> for OneDocument<LABELS, PODS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut decoder = Decoder::new(Wanted { labels: LABELS, pods: PODS });
        Document::of(&mut decoder).deserialize(deserializer)?;
        Ok(Self(decoder))
    }
}

/// The parser's budgets. Its own are made for configuration files: a cluster has millions of nodes, and the
/// caller bounds the bytes. What can blow up a small text stays bounded: depth, and (by the defaults) aliases.
fn options() -> Options {
    let budget = serde_saphyr::budget! {
        max_reader_input_bytes: None,
        max_events: usize::MAX,
        max_nodes: usize::MAX,
        max_total_scalar_bytes: usize::MAX,
        max_documents: usize::MAX,
        max_recorded_anchor_events: MAX_ANCHORED,
        max_depth: MAX_DEPTH,
    };
    serde_saphyr::options! {
        budget: budget,
        duplicate_keys: DuplicateKeyPolicy::Error,
        with_snippet: false,
    }
}

/// What people have to know of an error, in the words of somebody who wrote YAML, not a parser. `broken_text` is
/// where the text ceases to be UTF-8.
fn malformed(error: &Error, broken_text: (u64, u64)) -> Malformed {
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    let what = match error {
        // The parser meets this while it reads ahead and does not say where.
        Error::IOError { .. } => {
            let (line, column) = broken_text;
            return Malformed { line, column, what: "the text is not valid UTF-8".to_owned() };
        }
        Error::Unexpected { expected: "mapping start", .. } => {
            "expected a mapping (`key: value`), as `kubectl get ns,svc,endpointslices,pods -A -o yaml` prints \
             objects and Lists"
                .to_owned()
        }
        Error::Unexpected { expected: "sequence start", .. } => "expected a sequence (`- item`)".to_owned(),
        Error::Unexpected { expected: "string scalar", .. } => "expected a text".to_owned(),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key {} is given twice", quote(key)),
        Error::DuplicateMappingKey { .. } => "a key is given twice".to_owned(),
        // Its place is said once, before the message, as compilers do.
        other => other.render().replace(&format!(" at line {line}, column {column}"), ""),
    };
    Malformed { line, column, what }
}

/// Watches the text that the parser reads, for what it does not tell itself.
struct Watched<'a, R> {
    /// Where the text comes from.
    text: &'a mut R,
    /// The first read that failed.
    failure: Option<std::io::Error>,
    /// How far the text is valid.
    place: Place,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.text.read(buffer) {
            Ok(length) => {
                self.place.advance(&buffer[..length]);
                Ok(length)
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Err(e),
            Err(e) => {
                let copy = std::io::Error::new(e.kind(), e.to_string());
                self.failure.get_or_insert(e);
                Err(copy)
            }
        }
    }
}

/// Follows a text to the first place that is not UTF-8.
#[derive(Debug, Default)]
struct Place {
    /// Complete lines so far.
    lines: u64,
    /// Characters so far in the line after them.
    characters: u64,
    /// The bytes of a character whose end has not been read yet, at most three.
    open: Vec<u8>,
    /// Line and column of the first place that is not UTF-8, from 1.
    broken: Option<(u64, u64)>,
}

impl Place {
    /// Line and column, from 1, where the text ceases to be UTF-8, or how far it has been read.
    fn broken(&self) -> (u64, u64) {
        self.broken.unwrap_or((self.lines + 1, self.characters + 1))
    }

    fn advance(&mut self, bytes: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        let mut joined = std::mem::take(&mut self.open);
        let bytes = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        let (valid, end) = match std::str::from_utf8(bytes) {
            Ok(all) => (all, None),
            Err(e) => {
                let (valid, _) = bytes.split_at(e.valid_up_to());
                (std::str::from_utf8(valid).unwrap_or_default(), Some(e))
            }
        };
        self.lines += valid.bytes().filter(|b| *b == b'\n').count() as u64;
        let (before, line) =
            valid.rsplit_once('\n').map_or((None, valid), |(before, line)| (Some(before), line));
        let begun = if before.is_none() { self.characters } else { 0 };
        self.characters = begun + line.chars().count() as u64;
        match end {
            Some(e) if e.error_len().is_some() => self.broken = Some((self.lines + 1, self.characters + 1)),
            Some(e) => self.open = bytes[e.valid_up_to()..].to_vec(),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_text(text: &str) -> Result<u64, String> {
        decode(text.as_bytes(), &mut Decoder::new(Wanted::ALL)).map_err(|e| e.to_string())
    }

    #[test]
    fn documents_follow_each_other_and_empty_ones_do_not_count() {
        let ns = "kind: Namespace\nmetadata: {name: a}\n";
        for (text, count) in [
            (String::new(), 0),
            ("# nothing\n---\n".to_owned(), 0),
            (ns.to_owned(), 1),
            (format!("---\n{ns}---\n---\n# none\n---\n{ns}...\n"), 2),
            (format!("\u{feff}{ns}---\n{ns}"), 2),
            ("{\"kind\": \"Namespace\", \"metadata\": {\"name\": \"a\"}}".to_owned(), 1),
        ] {
            assert_eq!(decode_text(&text), Ok(count), "{text}");
        }
    }

    #[test]
    fn errors_name_line_and_column_once() {
        let cases = [
            ("kind: Service\nspec:\n  ports:\n  - port: http\n", "4:5: "),
            ("kind: Service\nmetadata: {name: a\n", "2:11: "),
            ("kind: Service\nkind: Service\n", "2:1: the key \"kind\" is given twice"),
            ("- kind: Service\n", "1:1: expected a mapping"),
            ("kind: List\nitems:\n- {a: b}\n", "3:3: an object without \"kind\""),
            ("kind: Service\n---\nkind: Service\nmetadata: [a]\n", "4:11: "),
        ];
        for (text, place) in cases {
            let why = decode_text(text).unwrap_err();
            assert!(why.starts_with(place), "{why}");
            assert!(!why[place.len()..].contains(" line "), "{why}");
        }
    }

    #[test]
    fn broken_text_is_found_where_it_is() {
        for (text, place) in
            [(&b"kind: \xff"[..], "1:7"), (b"a: 1\n# \xc3\xa4\xc3", "2:4"), (b"a: 1\n# \xc3\xa4\xc3(", "2:4")]
        {
            // However the reads fall.
            for chunk in 1..4 {
                let mut found = Place::default();
                text.chunks(chunk).for_each(|bytes| found.advance(bytes));
                let cut = found.broken.is_none() && !found.open.is_empty();
                let (line, column) = found.broken();
                assert_eq!((format!("{line}:{column}"), cut), (place.to_owned(), text.ends_with(b"\xc3")));
            }
        }
        let error = decode(&b"kind: a\nb: \xff\n"[..], &mut Decoder::new(Wanted::ALL)).unwrap_err();
        assert_eq!(error.to_string(), "2:4: the text is not valid UTF-8");
    }

    #[test]
    fn small_texts_do_not_blow_up() {
        let aliases = (0..40).fold("a0: &a0 [x]\n".to_owned(), |text, i| {
            format!("{text}a{}: &a{} [*a{i}, *a{i}, *a{i}, *a{i}]\n", i + 1, i + 1)
        });
        assert!(decode_text(&format!("kind: Service\n{aliases}")).is_err());
        assert!(decode_text(&"[".repeat(100_000)).is_err());
        assert!(decode_text(&"- ".repeat(100_000)).is_err());
        assert!(decode_text(&format!("kind: Service\nx: {}", "{a: ".repeat(100_000))).is_err());
        assert!(decode_text(&"{items: [".repeat(100_000)).is_err());
    }

    #[test]
    fn failing_reads_are_no_syntax_errors() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("disk on fire"))
            }
        }
        let text = &b"kind: Service\n"[..];
        let error = decode(text.chain(Failing), &mut Decoder::new(Wanted::ALL)).unwrap_err();
        assert!(matches!(error, DecodeError::Io(_)), "{error}");
    }
}
