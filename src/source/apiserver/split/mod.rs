//! From the pieces of a body to whole items: the events of a watch, the fields and items of a list.
//!
//! Pure; may depend on nothing of the crate. `lines` takes watches apart, `document` lists; `value` finds the
//! end of a JSON value.
//!
//! Invariants:
//! * One item is held at a time, wherever the pieces are cut; an item within a piece is not copied.
//! * What is handed out is a JSON value or not JSON at all, never more or less than one value; the rest of a
//!   document (brackets, commas, names) is checked here.
//! * No input makes it panic, nest deeper than [`value::MAX_DEPTH`] or hold more than [`MAX_ITEM`].

mod document;
mod lines;
#[cfg(feature = "testkit")]
pub mod pieces;
mod value;

pub(super) use document::{Document, Part};
pub(super) use lines::Lines;

use bytes::{Bytes, BytesMut};

/// Longest item in bytes. etcd takes requests of at most 1.5 MiB unless it is told otherwise (`--max-request-bytes`),
/// in protobuf; as JSON, with every operator's leave, an object stays well below this.
pub(super) const MAX_ITEM: usize = 16 << 20;

/// A body that cannot be taken apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub(super) struct Broken {
    /// What is wrong, and what would be right.
    what: &'static str,
    /// Where, from the beginning of the body; 0 is its first byte.
    at: u64,
}

/// The part of a body that has come and is not handed out yet.
#[derive(Debug, Default)]
struct Input {
    /// The beginning of an item whose end is in a later piece.
    held: BytesMut,
    /// The piece that came last, as far as it is not looked at yet.
    piece: Bytes,
    /// Where the piece begins in the body.
    at: u64,
}

impl Input {
    /// Takes the next piece of the body.
    fn push(&mut self, piece: Bytes) {
        if self.piece.is_empty() {
            self.piece = piece;
        } else {
            self.piece = [&self.piece[..], &piece[..]].concat().into();
        }
    }

    /// Passes over `n` bytes of the piece.
    fn skip(&mut self, n: usize) {
        drop(self.piece.split_to(n));
        self.at += n as u64;
    }

    /// Keeps the whole piece: the item goes on in the next one.
    fn hold(&mut self) -> Result<(), Broken> {
        let n = self.piece.len();
        self.fits(n)?;
        self.held.extend_from_slice(&self.piece);
        self.skip(n);
        Ok(())
    }

    /// The item that ends after `n` bytes of the piece.
    fn take(&mut self, n: usize) -> Result<Bytes, Broken> {
        self.fits(n)?;
        self.at += n as u64;
        let end = self.piece.split_to(n);
        if self.held.is_empty() {
            return Ok(end);
        }
        self.held.extend_from_slice(&end);
        Ok(self.held.split().freeze())
    }

    /// Enforces [`MAX_ITEM`] for an item that goes on for `n` bytes.
    fn fits(&self, n: usize) -> Result<(), Broken> {
        if self.held.len() + n <= MAX_ITEM {
            Ok(())
        } else {
            Err(self.broken(0, "an item of more than 16 MiB"))
        }
    }

    /// An error `offset` bytes into the piece.
    fn broken(&self, offset: usize, what: &'static str) -> Broken {
        Broken { what, at: self.at + offset as u64 }
    }
}

#[cfg(test)]
mod tests;
