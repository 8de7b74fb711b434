//! From the JSON or YAML that `kubectl get -o json|yaml` prints to slim objects.
//!
//! May depend on [`crate::zone::object`] and serde only: no files, no clock, no tasks.
//!
//! Invariants:
//! * One item is held at a time: fields without meaning for DNS are skipped in the stream, and an item is
//!   converted before the next one is read, so a list of any length costs its slim objects only.
//! * A syntax or type error ends the decoding, with line and column. A value of the right type that no API
//!   server would accept costs the smallest unit that makes sense (an address, a port, an object), counted in
//!   [`Drops`] with its reason; everything beside it is kept.
//! * No input makes it panic.
//!
//! Reading order: `document` (what an item is), `raw` (its fields), `convert` (what becomes of them).

mod convert;
mod document;
mod drops;
mod json;
mod names;
mod raw;
pub(in crate::source) mod single;
mod yaml;

pub use drops::{Dropped, Drops, Reason, Skipped};

use std::io::Read;

use super::Wanted;
use crate::zone::object::{Kind, Object, ObjectRef};
use raw::Item;

/// The two formats of `kubectl get -o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One or more JSON values, one after the other.
    Json,
    /// One or more YAML documents.
    Yaml,
}

impl Format {
    /// The format that a name's extension promises: `.json`, `.yaml` or `.yml`, in any letter case.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }

    /// The format that text begins like: JSON values that can hold objects begin with a bracket.
    pub fn of_text(start: &[u8]) -> Self {
        match start.iter().find(|b| !b.is_ascii_whitespace()) {
            Some(b'{' | b'[') => Self::Json,
            _ => Self::Yaml,
        }
    }
}

/// Why a text could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A syntax or type error in the text.
    #[error("{0}")]
    Malformed(Malformed),
    /// The text itself could not be read.
    #[error("{0}")]
    Io(std::io::Error),
}

/// A syntax or type error and where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {what}")]
pub struct Malformed {
    /// The line, from 1; 0 where it is not known.
    pub line: u64,
    /// The column, from 1; 0 where it is not known or the line is empty.
    pub column: u64,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// Everything that was found in the texts of one state.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The objects of the wanted kinds, each once, sorted by kind, namespace and name.
    pub objects: Vec<Object>,
    /// What was left out because no API server would accept it.
    pub drops: Drops,
    /// How many objects of other kinds were passed over.
    pub skipped: Skipped,
}

/// Decodes the texts of one state, one after the other.
#[derive(Debug)]
pub struct Decoder {
    /// What the objects are needed for.
    wanted: Wanted,
    /// What has been found so far, in the order of the texts.
    found: Found,
}

impl Decoder {
    /// A decoder that keeps what is `wanted`.
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, found: Found::default() }
    }

    /// Decodes one text and returns how many values or documents it holds; 0 for an empty one.
    ///
    /// After an error the decoder has taken part of the text and is of no more use.
    pub fn decode(&mut self, format: Format, text: impl Read) -> Result<u64, DecodeError> {
        match format {
            Format::Json => json::decode(text, self),
            Format::Yaml => yaml::decode(text, self),
        }
    }

    /// Everything that was found; of objects with the same key the last one, the others counted as
    /// [`Reason::Duplicate`].
    pub fn finish(self) -> Found {
        let Found { mut objects, mut drops, skipped } = self.found;
        // The sort is stable: of equal keys, the last one read is the last one of its run.
        objects.sort_by(|a, b| identity(a).cmp(&identity(b)));
        objects.dedup_by(|later, kept| {
            let same = identity(later) == identity(kept);
            if same {
                drops
                    .note(kept.kind(), Reason::Duplicate, || format!("{}: given more than once", kept.key()));
                std::mem::swap(later, kept);
            }
            same
        });
        Found { objects, drops, skipped }
    }

    /// Takes one item of a known shape.
    fn take(&mut self, kind: Kind, item: Item) {
        if self.wanted.kinds().has(kind) {
            self.found.objects.extend(convert::convert(kind, item, self.wanted, &mut self.found.drops));
        }
    }

    /// Takes what another decoder found in the text that follows.
    fn absorb(&mut self, later: Self) {
        self.found.objects.extend(later.found.objects);
        self.found.drops.absorb(later.found.drops);
        self.found.skipped.absorb(later.found.skipped);
    }
}

/// [`Object::key`] without its allocations.
fn identity(object: &Object) -> (Kind, &str, &str) {
    match ObjectRef::from(object) {
        ObjectRef::Namespace(o) => (Kind::Namespace, "", &o.name),
        ObjectRef::Service(o) => (Kind::Service, &o.namespace, &o.name),
        ObjectRef::EndpointSlice(o) => (Kind::EndpointSlice, &o.namespace, &o.name),
        ObjectRef::Pod(o) => (Kind::Pod, &o.namespace, &o.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMESPACE: &str = r#"{"kind": "Namespace", "metadata": {"name": "a"}}"#;

    #[test]
    fn the_format_shows_in_the_name_or_in_the_text() {
        let names = [
            ("a.json", Some(Format::Json)),
            ("a.b.YAML", Some(Format::Yaml)),
            ("a.yml", Some(Format::Yaml)),
            ("json", None),
            ("a.json.bak", None),
        ];
        for (name, format) in names {
            assert_eq!(Format::of_name(name), format, "{name}");
        }
        for (text, format) in [(" \n{", Format::Json), ("[", Format::Json), ("kind: x", Format::Yaml)] {
            assert_eq!(Format::of_text(text.as_bytes()), format, "{text}");
        }
    }

    #[test]
    fn of_three_duplicates_the_last_one_wins() {
        let pod = |ip: &str| {
            format!(
                r#"{{"kind":"Pod","metadata":{{"namespace":"a","name":"p"}},"status":{{"podIP":"{ip}"}}}}"#
            )
        };
        let mut decoder = Decoder::new(Wanted::ALL);
        for ip in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
            assert_eq!(decoder.decode(Format::Json, pod(ip).as_bytes()).unwrap(), 1);
        }
        let found = decoder.finish();
        let [Object::Pod(kept)] = &found.objects[..] else { panic!("{found:?}") };
        assert_eq!(kept.ip.to_string(), "10.0.0.3");
        assert_eq!(found.drops.count(Kind::Pod, Reason::Duplicate), 2);
    }

    #[test]
    fn pods_that_nobody_wants_are_passed_over() {
        let pod = r#"{"kind":"Pod","metadata":{"namespace":"a","name":"p"},"status":{"podIP":"10.0.0.1"}}"#;
        let mut decoder = Decoder::new(Wanted::default());
        decoder.decode(Format::Json, format!("{NAMESPACE} {pod}").as_bytes()).unwrap();
        let found = decoder.finish();
        assert_eq!(found.objects.len(), 1);
        assert!(found.drops.is_empty() && found.skipped.is_empty());
    }

    /// Text that gets past the first character of a parser more often than bytes at random do.
    fn kubernetes_like() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\n",
            "\n  ",
            "\n- ",
            "---\n",
            "\"",
            "&a ",
            "*a",
            "!!t ",
            "|",
            "null",
            "\"kind\":",
            "kind: ",
            "Service",
            "EndpointSlice",
            "Pod",
            "items",
            "metadata",
            "spec",
            "ports",
            "endpoints",
            "addresses",
            "name",
            "99999999999999999999",
            "-1",
            "1e999",
            "clusterIPs",
            "None",
            "\u{feff}",
        ]);
        prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for format in [Format::Json, Format::Yaml] {
                let _ = Decoder::new(Wanted::ALL).decode(format, &bytes[..]);
            }
        }

        #[test]
        fn nothing_alike_makes_a_parser_panic(text in kubernetes_like()) {
            for format in [Format::Json, Format::Yaml] {
                let _ = Decoder::new(Wanted::ALL).decode(format, text.as_bytes());
            }
        }
    }
}
