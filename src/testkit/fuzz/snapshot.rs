//! A file of a snapshot.
//!
//! The first byte says how much of the file is made here, or nothing behind the checksum would ever be reached: a trailer,
//! or a trailer and the compression.
//!
//! * What is read can be written, and read again as the same.
//! * Its objects make a table, the same one in whatever order they come.

use xxhash_rust::xxh3::xxh3_128;

use crate::snapshot::decode::Verified;
use crate::snapshot::encode::encode;
use crate::snapshot::format::{FormatError, MAGIC, VERSION};
use crate::snapshot::header::{Header, KindDigest};
use crate::zone::Table;
use crate::zone::object::{Kinds, Object, ObjectRef};

/// Most bytes that are decompressed here: a file may have far more, which takes long and shows nothing new.
const MAX_OBJECTS: u64 = 20_000;

/// Takes a file, behind a byte that says how it is made.
pub(super) fn run(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else { return };
    let file = match how % 3 {
        0 => rest.to_vec(),
        1 => sealed(rest, <[u8]>::to_vec),
        _ => sealed(rest, |records| zstd::bulk::compress(records, 1).expect("memory compresses")),
    };
    let Ok((header, objects)) = read(&file) else { return };
    let mut again = Vec::new();
    // Whoever wrote it had another way to spell the same, in fewer bytes than we take.
    if encode(&mut again, &header, objects.iter().map(ObjectRef::from)).is_ok() {
        let again = read(&again).expect("what was written is read");
        assert!(again == (header, objects.clone()), "{again:?}\nis not what it was written as");
    }
    let count = objects.len();
    let table = Table::build(objects, Kinds::ALL, 1);
    let kept: Vec<_> = table.objects().map(|object| object.to_object()).collect();
    assert!(kept.len() <= count);
    let turned = Table::build(kept.into_iter().rev(), Kinds::ALL, 1);
    assert_eq!(KindDigest::of(&turned), KindDigest::of(&table));
}

/// A file with a right trailer: a byte that is the length of the header, the header, and what `pack` makes of the rest.
fn sealed(input: &[u8], pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (length, rest) = input.split_first().unwrap_or((&0, &[]));
    let (header, records) = rest.split_at(rest.len().min(usize::from(*length)));
    let length = u32::from(*length).to_le_bytes();
    let mut file = [&MAGIC[..], &VERSION.to_le_bytes(), &length, header, &pack(records)].concat();
    file.extend_from_slice(&(file.len() as u64).to_le_bytes());
    file.extend_from_slice(&xxh3_128(&file).to_le_bytes());
    file
}

fn read(file: &[u8]) -> Result<(Header, Vec<Object>), FormatError> {
    let verified = Verified::new(file)?;
    let mut objects = Vec::new();
    verified.records(|index, object| {
        if index >= MAX_OBJECTS {
            return Err(FormatError::InflatedSize);
        }
        objects.push(object.map_err(|source| FormatError::Object { index, source })?);
        Ok(())
    })?;
    Ok((verified.into_header(), objects))
}
