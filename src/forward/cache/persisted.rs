//! An answer as it leaves the process and comes back: plain, with ages instead of moments. How it is written down is
//! somebody else's matter.

use std::time::Duration;

use super::entry::{Class, Entry, Usage};
use super::key::{self, Key, Question};
use super::moment::Moment;
use super::packet::Packet;
use super::policy::Refresh;
use super::refresh::{self, Cause};
use crate::ops::jitter::Jitter;

/// Response code of a name that does not exist (RFC 1035 §4.1.1).
const NXDOMAIN: u8 = 3;

/// An answer that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persisted {
    /// The name that was asked for: on the wire, in lower case.
    pub name: Box<[u8]>,
    /// Its type.
    pub kind: u16,
    /// Its class.
    pub class: u16,
    /// DO
    pub dnssec_ok: bool,
    /// CD
    pub checking_disabled: bool,
    /// What the reply says.
    pub says: Class,
    /// The reply: a whole message without OPT record, one TTL in all records.
    pub reply: Box<[u8]>,
    /// How long ago it came.
    pub age: Duration,
    /// For how many seconds it was good from then on.
    pub ttl: u32,
    /// Whether anybody has asked for it since.
    pub in_use: bool,
}

impl Persisted {
    /// What is kept under `key`, as of `now`.
    pub(super) fn new(key: &[u8], entry: &Entry, now: Moment) -> Option<Self> {
        let Question { name, kind, class, dnssec_ok, checking_disabled } = key::question(key)?;
        Some(Self {
            name: name.into(),
            kind,
            class,
            dnssec_ok,
            checking_disabled,
            says: entry.class,
            reply: entry.reply.message().into(),
            age: now.since(entry.stored),
            ttl: entry.ttl,
            in_use: entry.usage.hits() > 0,
        })
    }

    /// The entry and its key, as of `now`; `None` if the parts do not fit together.
    pub(super) fn into_entry(self, now: Moment, jitter: &Jitter) -> Option<(Key, Entry)> {
        let Self { name, kind, class, dnssec_ok, checking_disabled, says, reply, age, ttl, in_use } = self;
        let key = Key::new(&Question { name: &name, kind, class, dnssec_ok, checking_disabled })?;
        let reply = Packet::new(reply.into_vec())?;
        if !reply.answers(&name, kind, class) || (reply.rcode() == NXDOMAIN) != (says == Class::NxDomain) {
            return None;
        }
        let due = refresh::due(Refresh::InUse, ttl, now, Cause::Disk, jitter);
        let stored = now.before(age);
        let usage = Usage::new(stored).with_hits(u32::from(in_use));
        Some((key, Entry { reply, class: says, stored, ttl, due, usage }))
    }
}
