//! Writing a snapshot: its header and its objects, as a container.

use std::io::Write;

use super::container::{Layout, Writer};
use super::format::{MAGIC, VERSION};
use super::header::Header;
use crate::feed::wire;
use crate::zone::object::ObjectRef;

pub use super::container::{EncodeError, Written};

/// How a snapshot is told from other files.
pub(super) const LAYOUT: Layout = Layout { magic: MAGIC, version: VERSION };

/// Writes a whole snapshot to `to`, which is neither flushed nor synced.
pub fn encode<'a>(
    to: impl Write,
    header: &Header,
    objects: impl IntoIterator<Item = ObjectRef<'a>>,
) -> Result<Written, EncodeError> {
    let mut writer = Writer::begin(to, LAYOUT, &wire::SnapshotHeader::from(header))?;
    for object in objects {
        writer.record(&wire::Object::from(object), || object.key().to_string())?;
    }
    writer.finish()
}
