//! Where the hubs are, and how to reach them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::feed::view::View;
use crate::trust::config::TrustConfig;

/// Port of hubs where none is named. No other service is registered for it.
pub const DEFAULT_PORT: u16 = 9953;

/// Where the hubs are, and what is asked of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HubAccess {
    /// Addresses of hubs, or of a service in front of them. Others become known by what hubs say. Never names: DNS is
    /// what is being brought up.
    pub seeds: Vec<SocketAddr>,
    /// Who is believed, and by what.
    pub trust: TrustConfig,
    /// Whether EndpointSlices of headless services are enough.
    pub headless_only: bool,
    /// Name of this follower: decides which hub it prefers, and is what hubs call it.
    pub name: String,
}

/// Text that is no address of a hub.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not the address of a hub: write IP, IP:PORT or [IPV6]:PORT, e.g. the ClusterIP of the hubs' service; \
     hubs are never looked up by name, because DNS is what they bring up"
)]
pub struct NoAddress {
    /// What was written.
    pub text: String,
}

/// Reads the address of a hub; without a port it is [`DEFAULT_PORT`].
///
/// # Errors
/// A name, or nothing that is an address.
pub fn address(text: &str) -> Result<SocketAddr, NoAddress> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = text.parse().or_else(|_| bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, DEFAULT_PORT)));
    let usable = address.ok().filter(|a| a.port() != 0 && !a.ip().is_unspecified() && !a.ip().is_multicast());
    usable.ok_or_else(|| NoAddress { text: text.to_owned() })
}

impl HubAccess {
    /// Whether both reach the same hubs in the same way, whatever they ask of them.
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.seeds == other.seeds && self.trust == other.trust && self.name == other.name
    }

    /// What is asked of a hub by a configuration that needs pods or not.
    pub const fn view(&self, pods: bool) -> View {
        View { headless_only: self.headless_only, pods }
    }
}

impl fmt::Display for HubAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, seed) in self.seeds.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{seed}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubs_are_named_by_address() {
        for (text, want) in [
            ("10.0.0.1", "10.0.0.1:9953"),
            ("10.0.0.1:7", "10.0.0.1:7"),
            ("fd00::1", "[fd00::1]:9953"),
            ("[fd00::1]", "[fd00::1]:9953"),
            ("[fd00::1]:7", "[fd00::1]:7"),
        ] {
            assert_eq!(address(text).map(|a| a.to_string()).as_deref(), Ok(want), "{text}");
        }
        for text in
            ["", "hub", "hub.example:9953", "10.0.0.1:", "10.0.0.1:0", "0.0.0.0", "[10.0.0.1", "224.0.0.1"]
        {
            let error = address(text).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{text:?}")) && error.contains("never looked up by name"),
                "{error}"
            );
        }
    }
}
