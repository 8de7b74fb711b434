//! The forward cache: what upstreams said, kept for as long as it is good, and longer where they are gone.
//!
//! ```text
//! judge     which replies are kept, as what, for how long   (RFC 2308, and CoreDNS's rules)
//! packet    a reply as the bytes that are kept
//! entry     a kept reply, and what is remembered of its use
//! failure   a failure that is remembered                    (RFC 9520)
//! refresh   when an entry is asked for again ahead of time  (jitter)
//! verdict   entry, now, policy -> what is done with a query (RFC 8767)
//! shelf     entries of one class, within a bound
//! store     the shelves: lookups without a lock that writers hold, one writer at a time
//! persisted an entry as it leaves the process and comes back
//! ```
//!
//! May depend on [`crate::ops`]; knows nothing of plugins, sockets or files. What asks upstreams, and lets one
//! question wait for another's reply, is the `cache` plugin.
//!
//! Invariants:
//! * Everything that decides takes the time as an argument; [`store::Store::now`] is the only clock.
//! * What is kept is bounded in bytes and in entries, and no query pays more than a constant for it.
//! * An expired entry never takes the place of what an upstream has said since.
//! * Nothing here waits.

pub mod entry;
pub mod failure;
pub mod judge;
pub mod key;
pub mod moment;
pub mod packet;
pub mod persisted;
pub mod policy;
pub mod refresh;
mod shelf;
pub mod store;
#[cfg(test)]
mod test_support;
pub mod verdict;

pub use self::entry::{Class, Entry};
pub use self::failure::Failure;
pub use self::key::Key;
pub use self::moment::Moment;
pub use self::packet::Packet;
pub use self::persisted::Persisted;
pub use self::policy::Policy;
pub use self::store::{Found, Limits, Store};
pub use self::verdict::{Verdict, verdict};
