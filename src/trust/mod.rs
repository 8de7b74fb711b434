//! Who may be a hub, and who may follow one: mutual TLS 1.3 from files.
//!
//! ```text
//! files ─ pem ─ files ─ identity ─┬─ server (a hub: who asks?)     ─┐
//!                                 └─ client (a node: whom do I ask?) ┴─ verify: chain, name, purpose, dates
//! issue: certificates for those who have no issuer of their own (`outlast certs`)
//! ```
//!
//! May use `ops` only.
//!
//! Invariants:
//! * Chain, name and purpose of a certificate are verified in each handshake, the grace after its end included:
//!   of an expired certificate only the dates are passed over, and everything else is verified once more, as of
//!   a moment at which the whole chain was valid. What is not valid yet is never accepted.
//! * There are no tickets and no resumed sessions: each connection is verified in full.
//! * Files decide nothing at start, and a set of files is taken whole or not at all: the last good one stays.
//! * A node cannot pass for a hub: hubs have a name of their own, and the purpose of a server.
//!
//! Known weaknesses:
//! * There is no revocation: who must go is removed by exchanging the authority. Certificates end by themselves.
//! * The certificates of the authorities file are believed as they are, their own end is not looked at: the file
//!   is the operator's word.
//! * In the grace, there must be a moment at which the whole chain was valid: the chain of a certificate that ended
//!   before the one of its issuer began is refused.

pub mod check;
pub mod client;
pub mod config;
pub mod error;
pub mod facts;
pub mod files;
pub mod identity;
pub mod issue;
pub mod name;
pub mod peer;
pub mod pem;
pub mod server;
pub mod validity;
mod verify;
