//! Writing the snapshot format as a stream: one object in memory at a time.

use std::io::{self, Write};

use prost::Message;
use xxhash_rust::xxh3::Xxh3Default;
use zstd::stream::write::Encoder;

use super::format::{
    COMPRESSION_LEVEL, MAGIC, MAX_FILE_BYTES, MAX_HEADER_BYTES, MAX_INFLATED_BYTES, MAX_OBJECT_BYTES,
    VERSION, WINDOW_LOG,
};
use super::header::Header;
use crate::feed::wire;
use crate::zone::object::{Key, ObjectRef};

/// Why a snapshot was not written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// What lies below failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// One object is larger than [`MAX_OBJECT_BYTES`].
    #[error("{key} takes {bytes} bytes, more than {MAX_OBJECT_BYTES}")]
    ObjectSize {
        /// Which one.
        key: Key,
        /// How large its message is.
        bytes: usize,
    },
    /// The header is larger than [`MAX_HEADER_BYTES`].
    #[error("the header takes {0} bytes, more than {MAX_HEADER_BYTES}")]
    HeaderSize(usize),
    /// All together are larger than [`MAX_INFLATED_BYTES`], or [`MAX_FILE_BYTES`] compressed.
    #[error("larger than {MAX_INFLATED_BYTES} bytes, or {MAX_FILE_BYTES} compressed")]
    Size,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the whole file.
    pub bytes: u64,
    /// How many objects are in it.
    pub objects: u64,
}

/// Writes a whole snapshot to `to`, which is neither flushed nor synced.
pub fn encode<'a>(
    to: impl Write,
    header: &Header,
    objects: impl IntoIterator<Item = ObjectRef<'a>>,
) -> Result<Written, EncodeError> {
    let mut summed = Summed::new(to);
    let message = wire::SnapshotHeader::from(header).encode_to_vec();
    let length = match u32::try_from(message.len()) {
        Ok(length) if message.len() <= MAX_HEADER_BYTES => length,
        _ => return Err(EncodeError::HeaderSize(message.len())),
    };
    summed.write_all(&MAGIC)?;
    summed.write_all(&VERSION.to_le_bytes())?;
    summed.write_all(&length.to_le_bytes())?;
    summed.write_all(&message)?;

    let mut frame = Encoder::new(summed, COMPRESSION_LEVEL)?;
    frame.window_log(WINDOW_LOG)?;
    // The trailer's checksum covers more than the frame's own would.
    frame.include_checksum(false)?;
    let (mut record, mut inflated, mut count) = (Vec::new(), 0, 0);
    for object in objects {
        let message = wire::Object::from(object);
        let bytes = message.encoded_len();
        if bytes > MAX_OBJECT_BYTES {
            return Err(EncodeError::ObjectSize { key: object.key(), bytes });
        }
        record.clear();
        message.encode_length_delimited(&mut record).map_err(io::Error::other)?;
        inflated += record.len() as u64;
        // What could not be read again is not written.
        if inflated > MAX_INFLATED_BYTES {
            return Err(EncodeError::Size);
        }
        frame.write_all(&record)?;
        count += 1;
    }
    let mut summed = frame.finish()?;
    let before_trailer = summed.bytes;
    summed.write_all(&before_trailer.to_le_bytes())?;
    let checksum = summed.hash.digest128();
    summed.write_all(&checksum.to_le_bytes())?;
    match summed.bytes {
        bytes if bytes > MAX_FILE_BYTES => Err(EncodeError::Size),
        bytes => Ok(Written { bytes, objects: count }),
    }
}

/// Counts and hashes what passes through.
struct Summed<W> {
    /// Where it passes to.
    to: W,
    /// Of all that passed.
    hash: Xxh3Default,
    /// How much passed.
    bytes: u64,
}

impl<W: Write> Summed<W> {
    const fn new(to: W) -> Self {
        Self { to, hash: Xxh3Default::new(), bytes: 0 }
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.to.write(buf)?;
        self.hash.update(&buf[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
