//! The container that all our files are: magic, version, header, a compressed stream of records, and a trailer with
//! a checksum of everything (the table in [`super`]). What the header and the records say is the matter of
//! [`super::encode`] and [`super::decode`] for the zone, and of [`super::cache`] for cached replies.

mod read;
mod write;

#[cfg(test)]
pub(super) use read::CHUNK_BYTES;
pub(super) use read::Parts;
pub(super) use write::Writer;
pub use write::{EncodeError, Written};

/// How one sort of file is told from others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The first bytes of every such file.
    pub(super) magic: [u8; 8],
    /// The format version that is written, and the only one that is read.
    pub(super) version: u32,
}
