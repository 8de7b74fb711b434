//! What the configuration that runs has, as far as operators ask for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::node::listen::Live;
use crate::node::router::Router;
use crate::node::setup::StoreConfig;
use crate::ops::control::{Command, Refusal};
use crate::source::SourceConfig;
use crate::store::Store;
use crate::store::state::DataState;
use crate::store::status::StoreStatus;
use crate::store::status::store::{Follows, State};
use crate::zone::name::Labels;

/// What runs.
#[derive(Default)]
pub struct Shown {
    /// The stores that are kept up to date.
    pub stores: Vec<ShownStore>,
    /// Who answers, each listener once, in the order of the Corefile.
    pub listeners: Vec<Arc<Live>>,
    /// Identity and address of each listener.
    pub sites: Vec<(String, SocketAddr)>,
}

/// A store that is kept up to date.
pub struct ShownStore {
    /// What it is for.
    pub config: StoreConfig,
    /// The data.
    pub store: Arc<Store>,
}

impl Shown {
    /// The listener that knows most of a name: that of the longest zone which the name is within. Of equal ones the
    /// first.
    pub fn router(&self, name: &Labels) -> Option<Arc<Router>> {
        let routers = self.listeners.iter().rev().map(|live| live.router());
        let zones = routers.filter_map(|router| Some((router.longest_zone(name)?, router)));
        zones.max_by_key(|(zone, _)| *zone).map(|(_, router)| router)
    }

    /// State and age of the data that a name belongs to, if it is the cluster's.
    pub fn state_of(&self, name: &Labels) -> Option<(State, Duration)> {
        let within =
            |store: &&ShownStore| Labels::parse(&store.config.zone).is_ok_and(|zone| name.is_within(&zone));
        let of = self.stores.iter().filter(within).max_by_key(|store| store.config.zone.len())?;
        let facts = of.store.facts(&of.store.current());
        let state = DataState::judge(facts, of.config.wanted.kinds(), of.config.limits);
        Some((state.into(), facts.age))
    }
}

impl ShownStore {
    /// What is known of it.
    pub async fn status(&self) -> StoreStatus {
        let StoreConfig { source, snapshot, zone, wanted, limits, .. } = &self.config;
        let mut status = StoreStatus::read(&self.store, wanted.kinds(), *limits);
        status.zone.clone_from(zone);
        status.source = source.to_string();
        status.follows = match source {
            SourceConfig::File(_) => Follows::File,
            SourceConfig::ApiServer(_) => Follows::ApiServer,
            SourceConfig::Hub(_) => Follows::Hub,
        };
        status.snapshot.dir = snapshot.as_ref().map(|dir| dir.display().to_string());
        status
    }
}

/// Carries out an order.
pub(super) async fn carry_out(_stores: &[ShownStore], order: Command) -> Result<Value, Refusal> {
    Err(Refusal::failed(format!("{} cannot be done yet", order.name())))
}
