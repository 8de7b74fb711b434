//! The HTTP side: `/health`, `/ready` and `/metrics`, on one address or several; the status page has its own ([`page`]).
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
//! * An address that another Outlast of the node still serves is no reason not to start: it is awaited, and served as soon
//!   as that one is gone. They are never shared: a probe of one process must not be answered by the other.
//! * Connections cannot be used up: each carries one request within its deadline, and over the limit the oldest
//!   one is cut. The prober that decides over our life is thus always heard.

mod address;
mod awaited;
pub mod page;
mod probe;
mod serve;

pub use address::{BindError, ListenAddress, ParseAddressError};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

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
use super::ownership::Ownership;
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
    /// Whether another process may hold an address for a while.
    ownership: Ownership,
    /// Where all of it runs.
    runtime: Handle,
}

/// An address that is served, and what is served there.
struct Listener {
    /// As it is configured.
    address: ListenAddress,
    /// The socket, once there is one.
    served: Arc<OnceLock<Served>>,
    /// Cancelled once there is.
    begun: CancellationToken,
    /// Each once.
    faces: Vec<Face>,
    /// What is answered, by path.
    routes: Arc<ArcSwap<Router>>,
    /// Ends it.
    stop: CancellationToken,
}

/// A socket that is served.
struct Served {
    /// The socket, which is its task's.
    socket: Weak<TcpListener>,
    /// Its address, with the port that the system chose for port 0.
    local: SocketAddr,
}

/// How an address comes to be served.
enum Socket {
    /// It is already.
    There,
    /// By this socket, at this address.
    Bound(TcpListener, SocketAddr),
    /// Once another Outlast of the node has left it.
    Awaited,
}

/// What a configuration wants, with the addresses that are new bound already. Nothing is served there before
/// [`Admin::apply`]; dropped, it leaves everything as it was.
pub struct Prepared {
    /// Every address with its faces, and how it comes to be served.
    wanted: Vec<(ListenAddress, Vec<Face>, Socket)>,
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
        let (drain, runtime, ownership) = (drain.clone(), runtime.clone(), Ownership::always());
        Self { listeners: Vec::new(), probe: None, readiness, metrics, drain, ownership, runtime }
    }

    /// Beside other processes of the node: addresses that these have are awaited.
    #[must_use]
    pub fn sharing(mut self, ownership: Ownership) -> Self {
        self.ownership = ownership;
        self
    }

    /// Binds every address that is not served yet once, whatever number of faces it has; the same face may have
    /// several.
    ///
    /// Errors: an address that cannot be bound, unless another Outlast of the node may have it. Nothing has changed then.
    pub fn prepare(&self, faces: &[(Face, ListenAddress)]) -> Result<Prepared, BindError> {
        let mut by_address = BTreeMap::<&ListenAddress, Vec<Face>>::new();
        for (face, address) in faces {
            let at = by_address.entry(address).or_default();
            if !at.contains(face) {
                at.push(*face);
            }
        }
        let leaving = self.listeners.iter().filter(|l| !by_address.contains_key(&l.address));
        let leaving = leaving.filter_map(|listener| listener.served.get());
        let leaving: Vec<_> = leaving.filter_map(|s| Some((s.local.port(), s.socket.upgrade()?))).collect();
        // Sockets belong to the runtime that they are made in.
        let _runtime = self.runtime.enter();
        let mut wanted = Vec::new();
        for (address, faces) in by_address {
            let is_served = self.listeners.iter().any(|l| l.address == *address);
            let socket = if is_served {
                Socket::There
            } else {
                match address.bind(plugin(&faces), &leaving) {
                    Ok((socket, local)) => Socket::Bound(socket, local),
                    Err(error) if error.is_in_use() && !self.ownership.is_alone() => Socket::Awaited,
                    Err(error) => return Err(error),
                }
            };
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
            let socket = match socket {
                Socket::There => {
                    let Some(at) = self.listeners.iter().position(|l| l.address == address) else { continue };
                    let mut listener = self.listeners.swap_remove(at);
                    listener.routes.store(Arc::new(routes));
                    listener.faces = faces;
                    listeners.push(listener);
                    continue;
                }
                Socket::Bound(socket, local) => Some((socket, local)),
                Socket::Awaited => None,
            };
            let listener = Listener {
                address,
                served: Arc::default(),
                begun: CancellationToken::new(),
                faces,
                routes: Arc::new(ArcSwap::from_pointee(routes)),
                stop: self.drain.closing().child_token(),
            };
            self.begin(&listener, socket);
            listeners.push(listener);
        }
        for leaving in std::mem::replace(&mut self.listeners, listeners) {
            leaving.stop.cancel();
        }
        self.follow_health();
    }

    /// Serves an address, now or once there is a socket for it.
    fn begin(&self, listener: &Listener, socket: Option<Bound>) {
        let (routes, ends) = (listener.routes.clone(), listener.stop.clone());
        let (served, begun) = (listener.served.clone(), listener.begun.clone());
        let begin = move |socket, local| {
            let owned = Arc::new(socket);
            let _ = served.set(Served { socket: Arc::downgrade(&owned), local });
            begun.cancel();
            serve::serve(owned, routes, serve::MAX_CONNECTIONS, ends)
        };
        if let Some((socket, local)) = socket {
            self.runtime.spawn(self.drain.track(begin(socket, local)));
            return;
        }
        let faces: Vec<_> = listener.faces.iter().map(|face| face.path()).collect();
        let (address, faces) = (listener.address.clone(), faces.join(" "));
        let plugin = plugin(&listener.faces);
        let (stop, leaving) = (listener.stop.clone(), self.drain.draining().clone());
        tracing::info!(%address, "another process of this node serves {faces}: waiting until it leaves");
        let awaited = async move {
            let said = |news| awaited::log(&address, news);
            if let Some((socket, local)) = awaited::bind(&address, plugin, &stop, &leaving, said).await {
                tracing::info!(address = %local, "serving {faces}");
                begin(socket, local).await;
            }
        };
        self.runtime.spawn(self.drain.track(awaited));
    }

    /// Asks the first `/health` that there is, once it is served.
    fn follow_health(&mut self) {
        let first = self.listeners.iter().find(|l| l.faces.contains(&Face::Health));
        let address = first.map(|listener| (listener.address(), listener.begun.clone()));
        if self.probe.as_ref().map(|(address, _)| *address) == address.as_ref().map(|(address, _)| *address) {
            return;
        }
        if let Some((_, stop)) = self.probe.take() {
            stop.cancel();
        }
        if let Some((address, begun)) = address {
            let stop = self.drain.closing().child_token();
            let (metrics, stopped) = (self.metrics.clone(), stop.clone());
            let probe = async move {
                // Until then another process would answer.
                if stopped.run_until_cancelled(begun.cancelled()).await.is_some() {
                    probe::probe_health(address, metrics, stopped).await;
                }
            };
            self.runtime.spawn(self.drain.track(probe));
            self.probe = Some((address, stop));
        }
    }

    /// The addresses where a face is served; one that is awaited is not.
    pub fn addresses(&self, face: Face) -> impl Iterator<Item = SocketAddr> {
        let of = self.listeners.iter().filter(move |l| l.faces.contains(&face));
        of.filter_map(|listener| Some(listener.served.get()?.local))
    }
}

impl Listener {
    /// Where it is served, or will be.
    fn address(&self) -> SocketAddr {
        self.served.get().map_or_else(|| self.address.expected(), |served| served.local)
    }
}

/// Who is said to ask for an address.
fn plugin(faces: &[Face]) -> &'static str {
    faces.first().map_or("", |face| face.plugin())
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
