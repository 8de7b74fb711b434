//! The HTTP side: connections, routes, lists, watches, errors in a real server's words.
//!
//! Reading order: `serve` (connections), `route` (who may ask what), `params`, `list` (with `continue_token`),
//! `watch` (with `bookmarks`), `body` (how answers are cut), `reply` (heads), `status` (errors), `health`,
//! `befall` (faults on the way out), `go` (spelling).

mod befall;
mod body;
mod bookmarks;
mod continue_token;
mod go;
mod health;
mod list;
mod params;
mod reply;
mod route;
pub(super) mod serve;
mod status;
mod watch;

use std::sync::Arc;

use super::access::Access;
use super::etcd::Etcd;
use super::faults::Faults;
use super::requests::Requests;
use super::tls::Tls;
use super::{Config, ids};
use crate::ops::jitter::Jitter;

/// What every request needs.
pub(super) struct Server {
    /// How it is set up.
    config: Config,
    /// The objects.
    pub(super) etcd: Etcd,
    /// Tokens and rights.
    pub(super) access: Access,
    /// What goes wrong.
    pub(super) faults: Faults,
    /// Counts.
    pub(super) requests: Arc<Requests>,
    /// Certificates, unless connections are plain.
    tls: Option<Tls>,
    /// Times of bookmarks and timeouts.
    jitter: Jitter,
    /// `X-Kubernetes-Pf-Flowschema-Uid`, `X-Kubernetes-Pf-Prioritylevel-Uid`.
    flow: [String; 2],
}

impl Server {
    pub(super) fn new(config: Config, etcd: Etcd, tls: Option<Tls>, jitter: Jitter) -> Self {
        let requests = Arc::new(Requests::default());
        let faults = Faults::new(etcd.clone(), requests.clone());
        let flow = [ids::uuid(), ids::uuid()];
        Self { config, etcd, access: Access::new(), faults, requests, tls, jitter, flow }
    }
}
