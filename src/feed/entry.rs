//! Entries of whole states and batches: what the origin says of one object, and what is served in its place while a
//! guard holds that back.

use prost::Message;

use super::frame::{FrameError, PART_BYTES};
use super::wire;
use crate::zone::change::Change;
use crate::zone::hold::{self, Held, Hold};
use crate::zone::object::{Key, Kind, Kinds, Object, ObjectRef};

/// What is said of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the origin says.
    pub change: Change,
    /// What is served in its place.
    pub held: Option<Held>,
    /// When what set the change off happened, Unix milliseconds; 0 where that is not known.
    pub triggered_at_ms: u64,
}

impl From<Change> for Entry {
    fn from(change: Change) -> Self {
        Self { change, held: None, triggered_at_ms: 0 }
    }
}

impl From<hold::Entry> for Entry {
    fn from(hold::Entry { change, held }: hold::Entry) -> Self {
        Self { change, held, triggered_at_ms: 0 }
    }
}

impl Entry {
    /// Reads an entry; `None` for one of a kind that this release does not know, which it does without.
    ///
    /// # Errors
    /// It is of a known kind, and not what it should be.
    pub(super) fn read(message: wire::Entry) -> Result<Option<Self>, FrameError> {
        let change = match message.change {
            Some(wire::entry::Change::Upsert(object)) => match object.object {
                Some(_) => Change::Upsert(object.try_into()?),
                None => return Ok(None),
            },
            Some(wire::entry::Change::Delete(key)) => match read_key(key)? {
                Some(key) => Change::Delete(key),
                None => return Ok(None),
            },
            None => return Ok(None),
        };
        let hold = message.hold;
        let held = message.held.map(|served| {
            let served = Object::try_from(served)?;
            if served.key() == key_of(&change) { Ok(Held { served, hold }) } else { Err(FrameError::HeldKey) }
        });
        Ok(Some(Self { change, held: held.transpose()?, triggered_at_ms: message.triggered_at_ms }))
    }

    /// The message of an object that nobody holds back; made without a copy of the object.
    pub fn upsert(object: ObjectRef<'_>) -> wire::Entry {
        let change = Some(wire::entry::Change::Upsert(object.into()));
        wire::Entry { change, ..wire::Entry::default() }
    }
}

impl From<&Entry> for wire::Entry {
    fn from(entry: &Entry) -> Self {
        let change = match &entry.change {
            Change::Upsert(object) => wire::entry::Change::Upsert(ObjectRef::from(object).into()),
            Change::Delete(key) => wire::entry::Change::Delete(write_key(key)),
        };
        Self {
            change: Some(change),
            held: entry.held.as_ref().map(|held| ObjectRef::from(&held.served).into()),
            hold: entry.held.as_ref().map_or(0, |held| held.hold),
            triggered_at_ms: entry.triggered_at_ms,
        }
    }
}

/// Gathers entries until they are worth a packet.
#[derive(Debug, Default)]
pub struct Gathered {
    /// What is gathered.
    entries: Vec<wire::Entry>,
    /// How many bytes it makes, but for a few.
    bytes: usize,
}

impl Gathered {
    /// Adds an entry. Returns what was there before, if that was enough: the last part is never empty.
    pub fn push(&mut self, entry: wire::Entry) -> Option<Vec<wire::Entry>> {
        let full = (self.bytes >= PART_BYTES).then(|| self.take());
        self.bytes += entry.encoded_len();
        self.entries.push(entry);
        full
    }

    /// All that is gathered.
    pub fn take(&mut self) -> Vec<wire::Entry> {
        self.bytes = 0;
        std::mem::take(&mut self.entries)
    }
}

fn key_of(change: &Change) -> Key {
    match change {
        Change::Upsert(object) => object.key(),
        Change::Delete(key) => key.clone(),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a handful of kinds")]
fn write_key(key: &Key) -> wire::Key {
    wire::Key {
        kind: key.kind.index() as u32,
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
    }
}

/// `None` for a kind that is not known.
fn read_key(key: wire::Key) -> Result<Option<Key>, FrameError> {
    let Some(kind) = usize::try_from(key.kind).ok().and_then(|at| Kind::ALL.get(at).copied()) else {
        return Ok(None);
    };
    // Namespaces are in none.
    if key.name.is_empty() || (kind == Kind::Namespace) != key.namespace.is_empty() {
        return Err(FrameError::Key(kind));
    }
    Ok(Some(Key { kind, namespace: key.namespace.into(), name: key.name.into() }))
}

/// A set of kinds as bits; those that are not known here are passed over.
pub(super) fn read_kinds(bits: u32) -> Kinds {
    Kind::ALL.into_iter().filter(|kind| bits & 1 << kind.index() != 0).collect()
}

pub(super) fn write_kinds(kinds: Kinds) -> u32 {
    kinds.iter().fold(0, |bits, kind| bits | 1 << kind.index())
}

// === Holds ===

pub(super) fn read_holds(message: wire::Holds) -> Vec<Hold> {
    let read = |h: wire::Hold| Hold {
        id: h.id,
        why: h.why.into(),
        objects: usize::try_from(h.objects).unwrap_or(usize::MAX),
        held_ms: h.held_ms,
        remaining_ms: h.remaining_ms,
    };
    message.holds.into_iter().map(read).collect()
}

/// The message of all holds there are.
pub fn write_holds(holds: &[Hold]) -> wire::Holds {
    let write = |h: &Hold| wire::Hold {
        id: h.id,
        why: h.why.to_string(),
        objects: h.objects as u64,
        held_ms: h.held_ms,
        remaining_ms: h.remaining_ms,
    };
    wire::Holds { holds: holds.iter().map(write).collect() }
}
