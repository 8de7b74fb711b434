//! Objects as an API server or `kubectl` prints them, in pieces.
//!
//! The first byte says what is read: a text of objects, a list of the API server, or the events of a watch; the second how
//! long the pieces are.
//!
//! * It does not matter where the text is cut: what comes out, and what is wrong, is the same.
//! * What is wrong has a line.
//! * What comes out keeps the rules of the zone: it can travel to other nodes.

use std::io::Read;

use crate::feed::wire;
use crate::source::Wanted;
use crate::source::apiserver::pieces;
use crate::source::kubectl::{DecodeError, Decoder, Format, Found};
use crate::zone::Table;
use crate::zone::object::{Kinds, Object, ObjectRef};

/// Takes a text, behind two bytes that say how it is read.
pub(super) fn run(input: &[u8]) {
    let [how, size, text @ ..] = input else { return };
    let size = usize::from(*size).max(1);
    match how % 4 {
        0 => objects(Format::Json, text, size),
        1 => objects(Format::Yaml, text, size),
        2 => list(text, size),
        _ => assert_eq!(pieces::events([text]), pieces::events(text.chunks(size)), "in pieces of {size}"),
    }
}

fn objects(format: Format, text: &[u8], size: usize) {
    let whole = decode(format, text);
    assert_eq!(whole, decode(format, Pieces { text, size }), "in pieces of {size}");
    match whole {
        Ok(found) => travel(found.objects),
        Err((line, why)) => {
            // YAML has other line breaks, too, and does not say where a whole document is.
            let (first, breaks) = match format {
                Format::Json => (1, &b"\n"[..]),
                Format::Yaml => (0, &b"\n\r"[..]),
            };
            let lines = text.split(|byte| breaks.contains(byte)).count() as u64;
            assert!((first..=lines).contains(&line), "line {line} of {lines}: {why}");
        }
    }
}

/// All that is found, or where and what is wrong.
fn decode(format: Format, text: impl Read) -> Result<Found, (u64, String)> {
    let mut decoder = Decoder::new(Wanted::ALL);
    match decoder.decode(format, text) {
        Ok(_) => Ok(decoder.finish()),
        Err(DecodeError::Malformed(at)) => Err((at.line, at.to_string())),
        Err(DecodeError::Io(error)) => Err((0, error.to_string())),
    }
}

/// Sends objects to other nodes and disks, and makes a table of them.
fn travel(objects: Vec<Object>) {
    for object in &objects {
        let message = wire::Object::from(ObjectRef::from(object));
        let arrived = Object::try_from(message).expect("an object that is read keeps the rules of the zone");
        assert_eq!(arrived, *object);
    }
    let count = objects.len();
    assert_eq!(Table::build(objects, Kinds::ALL, 1).objects().count(), count, "each has a key of its own");
}

fn list(text: &[u8], size: usize) {
    let whole = pieces::list([text]);
    assert_eq!(whole, pieces::list(text.chunks(size)), "in pieces of {size}");
    let Ok(parts) = whole else {
        let value = serde_json::from_slice::<serde_json::Value>(text);
        assert!(!value.is_ok_and(|value| value.is_object()), "a document of JSON is taken apart");
        return;
    };
    for (_, item) in parts.iter().filter(|(field, _)| field.is_none()) {
        travel(pieces::objects(item));
    }
}

/// A text that is read so many bytes at a time.
struct Pieces<'a> {
    /// What is left of it.
    text: &'a [u8],
    /// How many bytes at a time.
    size: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let room = into.len().min(self.size);
        self.text.read(&mut into[..room])
    }
}
