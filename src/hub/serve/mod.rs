//! Followers' connections and streams.
//!
//! * `connections`: sockets, handshakes and HTTP/2, each bounded.
//! * `service`: the gRPC service, and what all its streams share.
//! * `session`: one follower's stream.
//! * `stage`: what a stream is doing, and what it sends next.

mod connections;
mod service;
mod session;
mod stage;

pub(super) use connections::take;
pub(super) use connections::{Listener, bind};
pub(super) use service::{Parts, Serving, ServingConfig};
