//! The part of a node without sockets that queries see: a router, with a plugin behind it that stands for the world
//! outside, and what its cluster's source says.

use std::sync::Arc;

use outlast::node::chain::Plugin;
use outlast::node::pins::Pins;
use outlast::node::router::{Block, Route, Router};
use outlast::node::setup::ServerPlan;
use outlast::ops::catalogue;
use outlast::ops::dns_metrics::ServerMetrics;
use outlast::ops::metrics::Metrics;
use outlast::source::{Listed, Update};
use outlast::zone::object::{Kinds, Object};
use tokio::time::Instant;

/// The router of a listener all of whose blocks lead on to `outside`.
pub(crate) fn router(
    server: ServerPlan,
    outside: &Arc<dyn Plugin>,
    metrics: &Metrics,
    pins: Pins,
) -> Arc<Router> {
    let beyond = |route: Route| {
        let plugins = route.block.plugins.iter().cloned().chain([outside.clone()]).collect();
        Route { zone: route.zone, block: Arc::new(Block { plugins }) }
    };
    let routes = server.routes.into_iter().map(beyond).collect();
    let counted = Arc::new(ServerMetrics::new(metrics, &server.identity, &server.counted));
    Router::pinning(server.identity, routes, counted, metrics.counter(catalogue::PANICS, &[]), pins)
}

/// What a source says that lists those of these objects that are of these kinds, and proves them.
pub(crate) fn whole_state(objects: &[Object], kinds: Kinds) -> [Update; 3] {
    let objects = objects.iter().filter(|o| kinds.has(o.kind())).cloned();
    let entries = objects.map(|object| Listed::Object { object, trigger: None }).collect();
    let fresh = Update::Fresh { as_of: Instant::now() };
    [Update::ListPart { kinds, entries }, Update::ListEnd { kinds }, fresh]
}
