//! What tests of several modules need: moments and entries.

use std::time::Duration;

use super::entry::Usage;
use super::{Class, Entry, Moment, Packet};

/// A message of one question and no record.
pub(super) const MESSAGE: &[u8] = b"\0\0\x81\x80\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";

/// So many seconds after the beginning.
pub(super) fn second(seconds: u64) -> Moment {
    Moment::START.after(Duration::from_secs(seconds))
}

/// An entry stored at the beginning.
pub(super) fn entry(class: Class, ttl: u32) -> Entry {
    let reply = Packet::new(MESSAGE.to_vec()).unwrap();
    Entry { reply, class, stored: Moment::START, ttl, due: None, usage: Usage::new(Moment::START) }
}
