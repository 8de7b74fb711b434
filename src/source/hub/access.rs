//! Where the hubs are, and how to reach them.

use std::fmt;
use std::net::SocketAddr;

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

impl HubAccess {
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
