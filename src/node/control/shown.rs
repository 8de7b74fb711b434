//! What the configuration that runs has, as far as operators ask for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::node::listen::Live;
use crate::node::router::Router;
use crate::node::running::selections::Selection;
use crate::node::setup::StoreConfig;
use crate::store::Store;
use crate::store::orders::Ordered;
use crate::store::state::DataState;
use crate::store::status::store::State;
use crate::zone::name::Labels;

/// What runs.
#[derive(Default)]
pub struct Shown {
    /// The stores that are kept up to date.
    pub stores: Vec<ShownStore>,
    /// What is answered of them.
    pub selections: Vec<Selection>,
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
    /// What operators may do with it.
    pub ordered: Ordered,
}

impl Shown {
    /// The listener that knows most of a name: that of the longest zone which the name is within. Of equal ones the
    /// first.
    pub fn router(&self, name: &Labels) -> Option<Arc<Router>> {
        let routers = self.listeners.iter().rev().map(|live| live.router());
        let zones = routers.filter_map(|router| Some((router.longest_zone(name)?, router)));
        zones.max_by_key(|(zone, _)| *zone).map(|(_, router)| router)
    }

    /// What operators may do with each store.
    pub fn ordered(&self) -> Vec<Ordered> {
        self.stores.iter().map(|store| store.ordered.clone()).collect()
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
