//! The names in certificates: one for all hubs, one for all nodes.
//!
//! Names, not addresses: hubs are dialled by address, addresses change, and a certificate would have to know them.

use tokio_rustls::rustls::pki_types::{DnsName, ServerName};

/// The DNS name that every hub's certificate has. Nobody looks it up: `internal` is reserved for private use.
pub const HUB_NAME: &str = "hub.outlast.internal";

/// The DNS name that every node's certificate has.
pub const NODE_NAME: &str = "node.outlast.internal";

/// What a certificate makes of whoever has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serves nodes, and follows other hubs.
    Hub,
    /// Follows hubs.
    Node,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Hub, Self::Node];

    /// The DNS name in its certificate.
    pub const fn dns_name(self) -> &'static str {
        match self {
            Self::Hub => HUB_NAME,
            Self::Node => NODE_NAME,
        }
    }

    /// In a word: `hub`, `node`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Node => "node",
        }
    }

    /// As rustls wants it.
    pub(super) fn server_name(self) -> ServerName<'static> {
        ServerName::DnsName(DnsName::try_from(self.dns_name()).expect("a constant that is a DNS name"))
    }
}
