//! What comes out of bodies that are pushed in pieces, for those who try where they may be cut.

use bytes::Bytes;

use super::{Document, Lines, Part};
use crate::source::Wanted;
use crate::source::kubectl::Drops;
use crate::source::kubectl::single::{Slim, decode};
use crate::zone::object::{Kind, Object};

/// The fields of a list by name, and its items without one.
///
/// # Errors
/// What is wrong with it, and where.
pub fn list<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<(Option<String>, Bytes)>, String> {
    let (mut document, mut parts) = (Document::default(), Vec::new());
    for piece in pieces {
        document.push(Bytes::copy_from_slice(piece));
        while let Some(part) = document.next().map_err(|e| e.to_string())? {
            parts.push(match part {
                Part::Field { name, value } => (Some(name), value),
                Part::Item(item) => (None, item),
            });
        }
    }
    document.finish().map_err(|e| e.to_string())?;
    Ok(parts)
}

/// The events of a watch.
///
/// # Errors
/// What is wrong with it, and where.
pub fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Bytes>, String> {
    let (mut lines, mut events) = (Lines::default(), Vec::new());
    for piece in pieces {
        lines.push(Bytes::copy_from_slice(piece));
        while let Some(event) = lines.next().map_err(|e| e.to_string())? {
            events.push(event);
        }
    }
    lines.finish().map_err(|e| e.to_string())?;
    Ok(events)
}

/// What an item is, read as each kind of object.
pub fn objects(item: &[u8]) -> Vec<Object> {
    let read = |kind| match decode(kind, item, Wanted::ALL, &mut Drops::default()).ok()?.object {
        Slim::Facts(object) => Some(object),
        Slim::Nothing | Slim::Unreadable { .. } => None,
    };
    Kind::ALL.into_iter().filter_map(read).collect()
}
