//! The HTTP side: `/health`, `/ready` and `/metrics`, on one address or several.
//!
//! ```text
//! running    /health 200 OK      /ready 200 OK or 503 and the names that are pending
//! draining   /health 200 OK      /ready 503 Shutting down       (DNS still answers)
//! closing    listeners are gone
//! ```
//!
//! Invariants:
//!
//! * `/health` looks at nothing but itself: a cluster that loses its control plane must not restart its DNS.
//! * Connections cannot be used up: each carries one request within its deadline, and over the limit the oldest
//!   one is cut. The prober that decides over our life is thus always heard.

mod address;
mod probe;
mod serve;

pub use address::{BindError, ListenAddress, ParseAddressError};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::drain::Drain;
use super::exposition;
use super::metrics::Metrics;
use super::readiness::{Readiness, State};

/// What can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Face {
    /// `/health`: `health` plugin.
    Health,
    /// `/ready`: `ready` plugin.
    Ready,
    /// `/metrics`: `prometheus` plugin.
    Metrics,
}

impl Face {
    /// The plugin of the Corefile that asks for it.
    pub const fn plugin(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Ready => "ready",
            Self::Metrics => "prometheus",
        }
    }

    /// The path that it is asked by.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Ready => "/ready",
            Self::Metrics => "/metrics",
        }
    }

    /// Where the plugin listens if no address is given.
    pub const fn default_address(self) -> &'static str {
        match self {
            Self::Health => ":8080",
            Self::Ready => ":8181",
            Self::Metrics => "localhost:9153",
        }
    }
}

/// The listeners, which serve until the end, or until a reload has no use for them any more.
pub struct Admin {
    /// One for each address.
    listeners: Vec<Listener>,
    /// Asks our own `/health`, and where.
    probe: Option<(SocketAddr, CancellationToken)>,
    /// For `/ready`.
    readiness: Readiness,
    /// For `/metrics`, and for the probe's figures.
    metrics: Arc<Metrics>,
    /// Says when the end begins, and waits for the listeners.
    drain: Drain,
    /// Where all of it runs.
    runtime: Handle,
}

/// An address that is served, and what is served there.
struct Listener {
    /// As it is configured.
    address: ListenAddress,
    /// The socket, which is its task's.
    socket: Weak<TcpListener>,
    /// Its address, with the port that the system chose for port 0.
    local: SocketAddr,
    /// Each once.
    faces: Vec<Face>,
    /// What is answered, by path.
    routes: Arc<ArcSwap<Router>>,
    /// Ends it.
    stop: CancellationToken,
}

/// What a configuration wants, with the addresses that are new bound already. Nothing is served there before
/// [`Admin::apply`]; dropped, it leaves everything as it was.
pub struct Prepared {
    /// Every address with its faces, and the socket where it is new.
    wanted: Vec<(ListenAddress, Vec<Face>, Option<Bound>)>,
}

/// A socket, and its address with the port that the system chose for port 0.
type Bound = (TcpListener, SocketAddr);

impl Admin {
    /// Serves nothing yet. Readiness ends when the drain begins, the listeners when it closes. All of it runs on
    /// `runtime`.
    pub fn new(readiness: Readiness, metrics: Arc<Metrics>, drain: &Drain, runtime: &Handle) -> Self {
        let (draining, ready) = (drain.draining().clone(), readiness.clone());
        // Readiness ends first, the listeners only after the lameduck: traffic has to be led away while everything
        // still works.
        runtime.spawn(drain.track(async move {
            draining.cancelled().await;
            ready.shut_down();
        }));
        let (drain, runtime) = (drain.clone(), runtime.clone());
        Self { listeners: Vec::new(), probe: None, readiness, metrics, drain, runtime }
    }

    /// Binds every address that is not served yet once, whatever number of faces it has; the same face may have
    /// several.
    ///
    /// Errors: an address that cannot be bound. Nothing has changed then.
    pub fn prepare(&self, faces: &[(Face, ListenAddress)]) -> Result<Prepared, BindError> {
        let mut by_address = BTreeMap::<&ListenAddress, Vec<Face>>::new();
        for (face, address) in faces {
            let at = by_address.entry(address).or_default();
            if !at.contains(face) {
                at.push(*face);
            }
        }
        let leaving = self.listeners.iter().filter(|l| !by_address.contains_key(&l.address));
        let leaving: Vec<_> = leaving.filter_map(|l| Some((l.local.port(), l.socket.upgrade()?))).collect();
        // Sockets belong to the runtime that they are made in.
        let _runtime = self.runtime.enter();
        let mut wanted = Vec::new();
        for (address, faces) in by_address {
            let is_served = self.listeners.iter().any(|l| l.address == *address);
            let plugin = faces.first().map_or("", |face| face.plugin());
            let socket = if is_served { None } else { Some(address.bind(plugin, &leaving)?) };
            wanted.push((address.clone(), faces, socket));
        }
        Ok(Prepared { wanted })
    }

    /// Serves what was prepared, and ends what is not part of it. Listeners that stay are not touched: a probe that
    /// is under way is answered. A `/health` among the faces is asked once a second, for the metrics about it.
    pub fn apply(&mut self, Prepared { wanted }: Prepared) {
        let mut listeners = Vec::new();
        for (address, faces, socket) in wanted {
            let routes = routes(&faces, &self.readiness, &self.metrics);
            match socket {
                Some((socket, local)) => {
                    let (owned, stop) = (Arc::new(socket), self.drain.closing().child_token());
                    let (socket, routes) = (Arc::downgrade(&owned), Arc::new(ArcSwap::from_pointee(routes)));
                    let serve = serve::serve(owned, routes.clone(), stop.clone());
                    self.runtime.spawn(self.drain.track(serve));
                    listeners.push(Listener { address, socket, local, faces, routes, stop });
                }
                None => {
                    let Some(at) = self.listeners.iter().position(|l| l.address == address) else { continue };
                    let mut listener = self.listeners.swap_remove(at);
                    listener.routes.store(Arc::new(routes));
                    listener.faces = faces;
                    listeners.push(listener);
                }
            }
        }
        for leaving in std::mem::replace(&mut self.listeners, listeners) {
            leaving.stop.cancel();
        }
        self.follow_health();
    }

    /// Asks the first `/health` that there is.
    fn follow_health(&mut self) {
        let address = self.addresses(Face::Health).next();
        if self.probe.as_ref().map(|(address, _)| *address) == address {
            return;
        }
        if let Some((_, stop)) = self.probe.take() {
            stop.cancel();
        }
        if let Some(address) = address {
            let stop = self.drain.closing().child_token();
            let probe = probe::probe_health(address, self.metrics.clone(), stop.clone());
            self.runtime.spawn(self.drain.track(probe));
            self.probe = Some((address, stop));
        }
    }

    /// The addresses where a face is served.
    pub fn addresses(&self, face: Face) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().filter(move |l| l.faces.contains(&face)).map(|l| l.local)
    }
}

/// The routes of one listener; anything else is 404.
fn routes(faces: &[Face], readiness: &Readiness, metrics: &Arc<Metrics>) -> Router {
    faces.iter().fold(Router::new(), |router, face| match face {
        Face::Health => router.route(face.path(), any(async || "OK")),
        Face::Ready => {
            let readiness = readiness.clone();
            router.route(face.path(), any(async move || ready(&readiness.state())))
        }
        Face::Metrics => {
            let metrics = Arc::clone(metrics);
            let scrape = async move || ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], metrics.render());
            router.route(face.path(), any(scrape))
        }
    })
}

/// What `/ready` says.
fn ready(state: &State) -> (StatusCode, String) {
    match state {
        State::Ready => (StatusCode::OK, "OK".to_owned()),
        State::Pending(names) => (StatusCode::SERVICE_UNAVAILABLE, names.join(",")),
        State::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "Shutting down".to_owned()),
    }
}

#[cfg(test)]
mod tests;
