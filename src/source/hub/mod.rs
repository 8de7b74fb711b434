//! Following a hub over gRPC.
//!
//! Architecture invariant: nothing here ever contacts the API server, and no name is ever looked up.

pub mod access;

use std::time::Duration;

/// Within what time a hub that is well proves its data: a heartbeat every 12 s at most, and what the hub itself has from
/// the API server by then ([`apiserver::PROVED_WITHIN`](super::apiserver::PROVED_WITHIN)).
pub const PROVED_WITHIN: Duration = Duration::from_secs(27);
