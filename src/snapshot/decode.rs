//! Reading a snapshot: a container's checksum first, then one object at a time.

use prost::Message;

use super::container::Parts;
use super::encode::LAYOUT;
use super::format::{FormatError, ObjectError};
use super::header::Header;
use crate::feed::wire;
use crate::zone::object::Object;

/// The bytes of a file that passed its checksum and is of a version that can be read.
#[derive(Debug)]
pub struct Verified<'a> {
    /// What it says of itself.
    header: Header,
    /// The checked parts of the file.
    parts: Parts<'a>,
}

impl<'a> Verified<'a> {
    /// Checks a whole file. Nothing is decoded before the checksum was found right.
    pub fn new(file: &'a [u8]) -> Result<Self, FormatError> {
        let parts = Parts::of(file, LAYOUT)?;
        let header = wire::SnapshotHeader::decode(parts.header)
            .map_err(|e| FormatError::Header(e.to_string()))?
            .into();
        Ok(Self { header, parts })
    }

    /// What the snapshot says of itself.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The format version it was written in.
    pub const fn version(&self) -> u32 {
        LAYOUT.version
    }

    /// Takes the header out.
    pub fn into_header(self) -> Header {
        self.header
    }

    /// Hands every object to `take`, in the order of the file. After an error `take` has seen only a part.
    /// Returns how many objects there were.
    pub fn objects(&self, mut take: impl FnMut(Object)) -> Result<u64, FormatError> {
        self.records(|index, object| {
            take(object.map_err(|source| FormatError::Object { index, source })?);
            Ok(())
        })
    }

    /// Hands every record to `take`, decoded or not, with its index: for who looks for all that is wrong.
    /// Ends with the first error of the stream itself or of `take`. Returns how many records there were.
    pub fn records(
        &self,
        mut take: impl FnMut(u64, Result<Object, ObjectError>) -> Result<(), FormatError>,
    ) -> Result<u64, FormatError> {
        let mut records = self.parts.records()?;
        while let Some(message) = records.next()? {
            let object = match wire::Object::decode(message) {
                Ok(message) => Object::try_from(message).map_err(ObjectError::from),
                Err(error) => Err(error.into()),
            };
            take(records.index - 1, object)?;
        }
        Ok(records.index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use xxhash_rust::xxh3::xxh3_128;

    use super::super::encode::encode;
    use super::*;
    use crate::feed::arbitrary;
    use crate::snapshot::container::CHUNK_BYTES;
    use crate::snapshot::format::{MAGIC, MAX_WINDOW_LOG, VERSION};
    use crate::zone::object::{Namespace, ObjectRef};

    /// A file around `frame`, with a right trailer.
    fn seal(version: u32, header: &[u8], frame: &[u8]) -> Vec<u8> {
        let mut file = [&MAGIC[..], &version.to_le_bytes(), &(header.len() as u32).to_le_bytes()].concat();
        file.extend_from_slice(header);
        file.extend_from_slice(frame);
        file.extend_from_slice(&(file.len() as u64).to_le_bytes());
        file.extend_from_slice(&xxh3_128(&file).to_le_bytes());
        file
    }

    fn compress(raw: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(raw, 1).expect("memory compresses")
    }

    fn read(file: &[u8]) -> Result<(Header, Vec<Object>), FormatError> {
        let verified = Verified::new(file)?;
        let mut objects = Vec::new();
        verified.objects(|o| objects.push(o))?;
        Ok((verified.into_header(), objects))
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(objects in prop::collection::vec(arbitrary::object(), 0..20)) {
            let header = Header { zone: "cluster.local.".into(), serial: 5, ..Header::default() };
            let mut file = Vec::new();
            let written = encode(&mut file, &header, objects.iter().map(ObjectRef::from)).expect("fits");
            prop_assert_eq!((written.bytes, written.objects), (file.len() as u64, objects.len() as u64));
            prop_assert_eq!(read(&file).expect("intact"), (header, objects));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            header in prop::collection::vec(any::<u8>(), 0..40),
            raw in prop::collection::vec(any::<u8>(), 0..100),
            as_frame: bool,
        ) {
            // Behind a right trailer, or the checksum would hide everything else.
            let frame = if as_frame { raw.clone() } else { compress(&raw) };
            let _ = read(&seal(VERSION, &header, &frame));
            let _ = read(&raw);
        }
    }

    #[test]
    fn objects_larger_than_a_chunk_are_read() {
        let big = Object::Namespace(Namespace {
            name: "big".into(),
            labels: [("k".into(), "v".repeat(3 * CHUNK_BYTES).into())].into(),
        });
        let small = Object::Namespace(Namespace { name: "small".into(), labels: [].into() });
        let objects = [small.clone(), big.clone(), big, small];
        let mut file = Vec::new();
        encode(&mut file, &Header::default(), objects.iter().map(ObjectRef::from)).expect("fits");
        assert_eq!(read(&file).expect("intact").1, objects);
    }

    #[test]
    fn what_is_no_snapshot_is_refused_with_its_reason() {
        struct Case {
            name: &'static str,
            file: Vec<u8>,
            error: &'static str,
        }
        let empty = compress(&[]);
        let wide_window = || {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("memory compresses");
            encoder.window_log(MAX_WINDOW_LOG + 1).expect("a legal window");
            std::io::Write::write_all(&mut encoder, &[0; 100]).expect("memory takes it");
            encoder.finish().expect("memory takes it")
        };
        let cases = [
            Case { name: "empty file", file: vec![], error: "not a snapshot" },
            Case { name: "magic only", file: MAGIC.to_vec(), error: "not a snapshot" },
            Case { name: "text", file: b"apiVersion: v1\nkind: List\n".repeat(9), error: "not a snapshot" },
            Case {
                name: "no room for a version",
                file: {
                    let mut file = MAGIC.to_vec();
                    file.extend_from_slice(&8u64.to_le_bytes());
                    file.extend_from_slice(&xxh3_128(&file).to_le_bytes());
                    file
                },
                error: "not a snapshot",
            },
            Case {
                name: "a later version",
                file: seal(2, &[], &empty),
                error: "format version 2, and this release reads up to 1",
            },
            Case {
                name: "version 0",
                file: seal(0, &[], &empty),
                error: "format version 0, and this release reads up to 1",
            },
            Case {
                name: "header is not one",
                file: seal(1, &[0xff; 9], &empty),
                error: "reading the header: ",
            },
            Case {
                name: "header beyond the file",
                file: {
                    let mut file = [&MAGIC[..], &1u32.to_le_bytes(), &100u32.to_le_bytes()].concat();
                    file.extend_from_slice(&(file.len() as u64).to_le_bytes());
                    file.extend_from_slice(&xxh3_128(&file).to_le_bytes());
                    file
                },
                error: "reading the header: ends beyond the file",
            },
            Case { name: "no frame", file: seal(1, &[], &[]), error: "decompressing: " },
            Case { name: "frame is not one", file: seal(1, &[], b"whatever"), error: "decompressing: " },
            Case {
                name: "half a frame",
                file: seal(1, &[], &empty[..empty.len() - 1]),
                error: "decompressing: ",
            },
            Case { name: "a window of 16 MiB", file: seal(1, &[], &wide_window()), error: "decompressing: " },
            Case {
                name: "two frames",
                file: seal(1, &[], &empty.repeat(2)),
                error: "object 0: more data follows the last",
            },
            Case {
                name: "an object cut short",
                file: seal(1, &[], &compress(&[5, 1, 2])),
                error: "object 0: cut short",
            },
            Case {
                name: "a length cut short",
                file: seal(1, &[], &compress(&[0x80])),
                error: "object 0: its length is cut short",
            },
            Case {
                name: "an endless object",
                file: seal(1, &[], &compress(&[0xff, 0xff, 0xff, 0xff, 0x0f])),
                error: "object 0: too large",
            },
            Case {
                name: "an object of no kind",
                file: seal(1, &[], &compress(&[0])),
                error: "object 0: an object of no known kind",
            },
            Case {
                name: "not a message",
                file: seal(1, &[], &compress(&[2, 0x0a, 0x7f])),
                error: "object 0: failed to decode Protobuf message",
            },
        ];
        for Case { name, file, error } in cases {
            let found = read(&file).expect_err(name).to_string();
            assert!(found.starts_with(error), "{name}: {found}");
        }
    }
}
