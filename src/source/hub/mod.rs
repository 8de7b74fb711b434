//! Following a hub over gRPC.
//!
//! Architecture invariant: nothing here ever contacts the API server, and no name is ever looked up.

pub mod access;
