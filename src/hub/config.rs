//! What is configured of a hub.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::admission;
use crate::ops::admin::{Face, ListenAddress};
use crate::source::Wanted;
use crate::source::apiserver::PROVED_WITHIN;
use crate::source::apiserver::access::Access;
use crate::store::guard_config::GuardConfig;
use crate::store::state::Limits;
use crate::trust::config::TrustConfig;

/// Default, least and largest of how many bytes of changes are kept for each view: with ten batches of 1 kB a second,
/// followers may be away for about half an hour.
pub const HISTORY_BYTES: (usize, usize, usize) = (16 << 20, 64 << 10, 1 << 30);

/// Default, least and largest of how many followers there may be: more than a cluster of the size that Kubernetes
/// supports, or is known to have been brought to.
pub const MAX_SUBSCRIBERS: (usize, usize, usize) = (20_000, 1, 100_000);

/// How long followers have to move when the hub stops: a thousand of them are 100 handshakes a second at another one.
pub const MOVE_WITHIN: Duration = Duration::from_secs(10);

/// Everything that a hub is started with.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Where followers are served.
    pub listen: Vec<SocketAddr>,
    /// What followers are told of these addresses, where they reach them by others.
    pub advertise: Vec<SocketAddr>,
    /// The API server.
    pub access: Access,
    /// What is kept of the objects.
    pub wanted: Wanted,
    /// How long data may go unproved.
    pub limits: Limits,
    /// Whether lists that would empty the zone are held back, for all followers.
    pub guard: GuardConfig,
    /// Where snapshots are kept.
    pub snapshot: Option<PathBuf>,
    /// Time between two of them.
    pub interval: Duration,
    /// Who is believed.
    pub trust: TrustConfig,
    /// Other hubs of the cluster.
    pub siblings: Vec<SocketAddr>,
    /// Namespace and name of the service whose endpoints the hubs are.
    pub service: Option<(String, String)>,
    /// Time between two audits.
    pub audit_interval: Duration,
    /// Bytes of changes that are kept for each view.
    pub history_bytes: usize,
    /// How many followers there may be.
    pub max_subscribers: usize,
    /// Limits of whole states.
    pub transfers: admission::Limits,
    /// How long followers have to move at the end.
    pub move_within: Duration,
    /// Where `/health`, `/ready` and `/metrics` are served.
    pub faces: Vec<(Face, ListenAddress)>,
}

impl HubConfig {
    /// Says what will work, and not as it should.
    pub(super) fn warn(&self) {
        if !self.says_where_it_is() {
            tracing::warn!(
                "followers and other hubs are not told how this hub is reached: they know it only by the address that \
                 they are configured with (set --advertise, --service, or --listen to an address of this host)"
            );
        }
        let (given, needed) = (self.limits.stale_after, PROVED_WITHIN);
        if given < needed {
            tracing::warn!(
                "--stale-after of {given:?} makes good data stale now and then: an API server proves it within {needed:?}"
            );
        }
    }

    /// Whether anybody can tell by what address this hub is reached.
    fn says_where_it_is(&self) -> bool {
        let is_there = |address: &SocketAddr| !address.ip().is_unspecified();
        self.service.is_some() || self.advertise.iter().chain(&self.listen).any(is_there)
    }
}
