//! Packets as clients send them, and bytes as they get them: over real sockets, and by the thousand without.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "packets/addresses.rs"]
mod addresses;
#[path = "packets/corpus.rs"]
mod corpus;
#[path = "packets/edns.rs"]
mod edns;
#[path = "packets/fixture.rs"]
mod fixture;
#[path = "packets/gate.rs"]
mod gate;
#[path = "packets/plugins.rs"]
mod plugins;
#[path = "packets/random.rs"]
mod random;
