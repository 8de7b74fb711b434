//! Writing a container as a stream: one record in memory at a time.

use std::io::{self, Write};

use prost::Message;
use xxhash_rust::xxh3::Xxh3Default;
use zstd::stream::write::Encoder;

use super::Layout;
use crate::snapshot::format::{
    COMPRESSION_LEVEL, MAX_FILE_BYTES, MAX_HEADER_BYTES, MAX_INFLATED_BYTES, MAX_OBJECT_BYTES, WINDOW_LOG,
};

/// Why a container was not written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// What lies below failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// One record is larger than [`MAX_OBJECT_BYTES`].
    #[error("{what} takes {bytes} bytes, more than {MAX_OBJECT_BYTES}")]
    ObjectSize {
        /// Which one.
        what: String,
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
    /// How many records are in it.
    pub objects: u64,
}

/// A container that is being written.
pub(in crate::snapshot) struct Writer<W: Write> {
    /// Compresses what comes.
    frame: Encoder<'static, Summed<W>>,
    /// The record that is being put together.
    record: Vec<u8>,
    /// Bytes of the records so far, uncompressed.
    inflated: u64,
    /// How many there are.
    count: u64,
}

impl<W: Write> Writer<W> {
    /// Writes all that comes before the records.
    pub(in crate::snapshot) fn begin(
        to: W,
        layout: Layout,
        header: &impl Message,
    ) -> Result<Self, EncodeError> {
        let mut summed = Summed::new(to);
        let message = header.encode_to_vec();
        let length = match u32::try_from(message.len()) {
            Ok(length) if message.len() <= MAX_HEADER_BYTES => length,
            _ => return Err(EncodeError::HeaderSize(message.len())),
        };
        summed.write_all(&layout.magic)?;
        summed.write_all(&layout.version.to_le_bytes())?;
        summed.write_all(&length.to_le_bytes())?;
        summed.write_all(&message)?;
        let mut frame = Encoder::new(summed, COMPRESSION_LEVEL)?;
        frame.window_log(WINDOW_LOG)?;
        // The trailer's checksum covers more than the frame's own would.
        frame.include_checksum(false)?;
        Ok(Self { frame, record: Vec::new(), inflated: 0, count: 0 })
    }

    /// Writes the next record; `what` says which one it is, should it be too large.
    pub(in crate::snapshot) fn record(
        &mut self,
        message: &impl Message,
        what: impl FnOnce() -> String,
    ) -> Result<(), EncodeError> {
        let bytes = message.encoded_len();
        if bytes > MAX_OBJECT_BYTES {
            return Err(EncodeError::ObjectSize { what: what(), bytes });
        }
        self.record.clear();
        message.encode_length_delimited(&mut self.record).map_err(io::Error::other)?;
        self.inflated += self.record.len() as u64;
        // What could not be read again is not written.
        if self.inflated > MAX_INFLATED_BYTES {
            return Err(EncodeError::Size);
        }
        self.frame.write_all(&self.record)?;
        self.count += 1;
        Ok(())
    }

    /// Writes what comes behind the records; nothing is flushed or synced.
    pub(in crate::snapshot) fn finish(self) -> Result<Written, EncodeError> {
        let mut summed = self.frame.finish()?;
        let before_trailer = summed.bytes;
        summed.write_all(&before_trailer.to_le_bytes())?;
        let checksum = summed.hash.digest128();
        summed.write_all(&checksum.to_le_bytes())?;
        match summed.bytes {
            bytes if bytes > MAX_FILE_BYTES => Err(EncodeError::Size),
            bytes => Ok(Written { bytes, objects: self.count }),
        }
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
