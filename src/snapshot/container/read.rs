//! Reading a container: the checksum first, then one record at a time.

use std::io::Read;

use prost::encoding::decode_varint;
use xxhash_rust::xxh3::xxh3_128;
use zstd::stream::read::Decoder;

use super::Layout;
use crate::snapshot::format::{
    CHECKSUM_BYTES, COUNT_BYTES, FormatError, MAX_FILE_BYTES, MAX_HEADER_BYTES, MAX_INFLATED_BYTES,
    MAX_OBJECT_BYTES, MAX_WINDOW_LOG, PREFIX_BYTES,
};

/// How much is decompressed at a time, at least: a few hundred objects, and still in the processor's cache.
pub(in crate::snapshot) const CHUNK_BYTES: usize = 128 << 10;

/// The longest length in front of a record: a varint of 64 bits.
const MAX_VARINT_BYTES: usize = 10;

/// The parts of a file that passed its checksum and is of a version that can be read.
#[derive(Clone, Copy, Debug)]
pub(in crate::snapshot) struct Parts<'a> {
    /// The header's message.
    pub(in crate::snapshot) header: &'a [u8],
    /// The compressed records.
    frame: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Checks a whole file. Nothing is decoded before the checksum was found right.
    pub(in crate::snapshot) fn of(file: &'a [u8], layout: Layout) -> Result<Self, FormatError> {
        if file.len() as u64 > MAX_FILE_BYTES {
            return Err(FormatError::FileSize);
        }
        if !file.starts_with(&layout.magic) {
            return Err(FormatError::Magic);
        }
        let (summed, checksum) = file.split_last_chunk::<CHECKSUM_BYTES>().ok_or(FormatError::Magic)?;
        let (rest, says) = summed.split_last_chunk::<COUNT_BYTES>().ok_or(FormatError::Magic)?;
        let (says, is) = (u64::from_le_bytes(*says), rest.len() as u64);
        if says != is {
            return Err(FormatError::Length { says, is });
        }
        if u128::from_le_bytes(*checksum) != xxh3_128(summed) {
            return Err(FormatError::Checksum);
        }
        let (prefix, rest) = rest.split_first_chunk::<PREFIX_BYTES>().ok_or(FormatError::Magic)?;
        let [.., v0, v1, v2, v3, l0, l1, l2, l3] = *prefix;
        let version = u32::from_le_bytes([v0, v1, v2, v3]);
        // Only now is a differing version a version and not damage.
        if version != layout.version {
            return Err(FormatError::Version { is: version, reads: layout.version });
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_HEADER_BYTES {
            return Err(FormatError::Header(format!("{length} bytes")));
        }
        let (header, frame) = rest
            .split_at_checked(length)
            .ok_or_else(|| FormatError::Header("ends beyond the file".to_owned()))?;
        Ok(Self { header, frame })
    }

    /// The records, in the order of the file.
    pub(in crate::snapshot) fn records(&self) -> Result<Records<'a>, FormatError> {
        Records::new(self.frame, MAX_INFLATED_BYTES)
    }
}

/// The messages of a compressed frame, one after the other.
pub(in crate::snapshot) struct Records<'a> {
    /// Decompresses the frame.
    source: Decoder<'static, &'a [u8]>,
    /// Decompressed bytes; those in `start..end` are yet to be read.
    buffer: Vec<u8>,
    /// See `buffer`.
    start: usize,
    /// See `buffer`.
    end: usize,
    /// Bytes that may yet be decompressed.
    allowance: u64,
    /// How many messages were handed out.
    pub(in crate::snapshot) index: u64,
}

impl<'a> Records<'a> {
    pub(super) fn new(frame: &'a [u8], allowance: u64) -> Result<Self, FormatError> {
        let mut source = Decoder::with_buffer(frame)?.single_frame();
        source.window_log_max(MAX_WINDOW_LOG)?;
        Ok(Self { source, buffer: vec![0; CHUNK_BYTES], start: 0, end: 0, allowance, index: 0 })
    }

    /// The next message, or `None` after the last.
    pub(in crate::snapshot) fn next(&mut self) -> Result<Option<&[u8]>, FormatError> {
        let framing = |index, what| FormatError::Framing { index, what };
        self.fill(MAX_VARINT_BYTES)?;
        if self.start == self.end {
            return match self.source.get_ref().len() {
                0 => Ok(None),
                _ => Err(framing(self.index, "more data follows the last")),
            };
        }
        let mut ahead = &self.buffer[self.start..self.end];
        let length = decode_varint(&mut ahead).map_err(|_| framing(self.index, "its length is cut short"))?;
        self.start = self.end - ahead.len();
        let length = usize::try_from(length)
            .ok()
            .filter(|l| *l <= MAX_OBJECT_BYTES)
            .ok_or_else(|| framing(self.index, "too large"))?;
        self.fill(length)?;
        if self.end - self.start < length {
            return Err(framing(self.index, "cut short"));
        }
        let message = &self.buffer[self.start..self.start + length];
        self.start += length;
        self.index += 1;
        Ok(Some(message))
    }

    /// Decompresses until `wanted` bytes are there to be read, or the frame ends.
    fn fill(&mut self, wanted: usize) -> Result<(), FormatError> {
        if self.end - self.start >= wanted {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() < wanted {
            // At most MAX_OBJECT_BYTES: the caller has checked.
            self.buffer.resize(wanted.next_multiple_of(CHUNK_BYTES), 0);
        }
        while self.end < wanted {
            let read = self.source.read(&mut self.buffer[self.end..])?;
            if read == 0 {
                break;
            }
            self.end += read;
            // A small file must not fill the memory.
            self.allowance = self.allowance.checked_sub(read as u64).ok_or(FormatError::InflatedSize)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_inflates_beyond_the_limit_is_refused() {
        // Records of one byte each, far more of them than the limit lets through.
        let frame = zstd::stream::encode_all(&[1, 0].repeat(CHUNK_BYTES)[..], 1).expect("memory compresses");
        assert!(frame.len() < 1000, "a small file");
        let limit = CHUNK_BYTES as u64 + 1;
        let mut records = Records::new(&frame, limit).expect("a frame");
        let error = loop {
            match records.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("all of it was read"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, FormatError::InflatedSize), "{error}");
        assert!(records.index <= limit);
    }
}
