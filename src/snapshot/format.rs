//! The layout of a snapshot file (see [`super`]) and its limits, which hold for writing and reading alike: what
//! could not be read again is not written.

use crate::feed::convert::ConvertError;

/// The first bytes of every snapshot. The first is not ASCII and a line ending of either kind follows, so that
/// no text file, and no file that was transferred as text, passes for one.
pub const MAGIC: [u8; 8] = *b"\x89OUTL\r\n\x1a";

/// The format version that is written, and the newest that is read.
pub const VERSION: u32 = 1;

/// Bytes ahead of the header: magic, version, the header's length.
pub(super) const PREFIX_BYTES: usize = MAGIC.len() + 4 + 4;

/// Bytes of the count that the trailer starts with.
pub(super) const COUNT_BYTES: usize = 8;

/// Bytes of the checksum that ends the file.
pub(super) const CHECKSUM_BYTES: usize = 16;

/// The largest file, in bytes. It is read into memory whole, and 1,000,000 endpoints, many times the largest
/// cluster that Kubernetes supports, take about 10 MiB.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// The largest header, in bytes: a few hundred are usual; the source's description is the only part that grows.
pub const MAX_HEADER_BYTES: usize = 64 << 10;

/// The largest message of one object, in bytes. The API server takes no object of more than about 1.5 MiB
/// (etcd's default limit of a request); a file source may be written by hand, hence ten times that.
pub const MAX_OBJECT_BYTES: usize = 16 << 20;

/// The most bytes that all objects may take uncompressed, so that a small file cannot fill the memory: twenty
/// times what 1,000,000 endpoints with names take.
pub const MAX_INFLATED_BYTES: u64 = 1 << 30;

/// zstd's level: 100,000 endpoints are encoded in 20 ms of one core, and beyond it files hardly shrink.
pub(super) const COMPRESSION_LEVEL: i32 = 3;

/// log2 of the compressor's window. 1 MiB spans some thousand objects, and both sides hold one window in memory.
pub(super) const WINDOW_LOG: u32 = 20;

/// log2 of the largest window that is read, 8 MiB: what every zstd decoder is asked to support (RFC 8878,
/// section 3.1.1.1.2); beyond it a file could make the reader reserve what it likes.
pub(super) const MAX_WINDOW_LOG: u32 = 23;

/// Why bytes are not a snapshot that can be served.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Larger than [`MAX_FILE_BYTES`].
    #[error("larger than {MAX_FILE_BYTES} bytes")]
    FileSize,
    /// Does not start with [`MAGIC`], or is too short for any snapshot.
    #[error("not a snapshot")]
    Magic,
    /// The length differs from what the trailer says: the file was cut short or added to.
    #[error("length differs: {is} bytes before the trailer, which says {says}")]
    Length {
        /// What the trailer says.
        says: u64,
        /// What there is.
        is: u64,
    },
    /// The content is not what was written.
    #[error("checksum differs")]
    Checksum,
    /// Intact, but of a format version that this release does not read.
    #[error("format version {is}, and this release reads up to {reads}")]
    Version {
        /// The file's.
        is: u32,
        /// The newest that can be read.
        reads: u32,
    },
    /// The header is not a header.
    #[error("reading the header: {0}")]
    Header(String),
    /// The compressed stream is not one whole zstd frame.
    #[error("decompressing: {0}")]
    Compression(#[from] std::io::Error),
    /// Objects take more than [`MAX_INFLATED_BYTES`].
    #[error("more than {MAX_INFLATED_BYTES} bytes uncompressed")]
    InflatedSize,
    /// The stream ends within an object, or an object is larger than [`MAX_OBJECT_BYTES`].
    #[error("object {index}: {what}")]
    Framing {
        /// Counted from 0.
        index: u64,
        /// What is wrong with its length.
        what: &'static str,
    },
    /// An object is not one.
    #[error("object {index}: {source}")]
    Object {
        /// Counted from 0.
        index: u64,
        /// What is wrong with it.
        source: ObjectError,
    },
}

impl FormatError {
    /// A word for file names and metric labels.
    pub const fn slug(&self) -> &'static str {
        match self {
            Self::FileSize | Self::InflatedSize => "size",
            Self::Magic => "magic",
            Self::Length { .. } => "length",
            Self::Checksum => "checksum",
            Self::Version { .. } => "version",
            Self::Header(_) => "header",
            Self::Compression(_) => "compression",
            Self::Framing { .. } | Self::Object { .. } => "object",
        }
    }
}

/// Why a stored message is not an object.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ObjectError {
    /// Not a protobuf message of the schema.
    #[error(transparent)]
    Message(#[from] prost::DecodeError),
    /// A message that breaks the zone's rules.
    #[error(transparent)]
    Content(#[from] ConvertError),
}
