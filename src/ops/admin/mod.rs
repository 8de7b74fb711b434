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
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

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

    /// Where the plugin listens if no address is given.
    pub const fn default_address(self) -> &'static str {
        match self {
            Self::Health => ":8080",
            Self::Ready => ":8181",
            Self::Metrics => "localhost:9153",
        }
    }
}

/// Bound listeners that do not serve yet.
pub struct Admin {
    /// One for each address.
    listeners: Vec<Listener>,
    /// For `/ready`.
    readiness: Readiness,
    /// For `/metrics`, and for the probe's figures.
    metrics: Arc<Metrics>,
}

/// A bound address and what is served there.
struct Listener {
    /// The socket.
    socket: TcpListener,
    /// Its address, with the port that the system chose for port 0.
    local: SocketAddr,
    /// Each once.
    faces: Vec<Face>,
}

impl Admin {
    /// Binds every address once, whatever number of faces it has; the same face may have several. Has to be
    /// called within a runtime.
    ///
    /// Errors: an address that cannot be bound. None is bound then.
    pub fn bind(
        faces: &[(Face, ListenAddress)],
        readiness: Readiness,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BindError> {
        let mut by_address = BTreeMap::<&ListenAddress, Vec<Face>>::new();
        for (face, address) in faces {
            let at = by_address.entry(address).or_default();
            if !at.contains(face) {
                at.push(*face);
            }
        }
        let listeners = by_address.into_iter().map(|(address, faces)| {
            let plugin = faces.first().map_or("", |face| face.plugin());
            let (socket, local) = address.bind(plugin)?;
            Ok(Listener { socket, local, faces })
        });
        Ok(Self { listeners: listeners.collect::<Result<_, _>>()?, readiness, metrics })
    }

    /// The addresses where a face is served.
    pub fn addresses(&self, face: Face) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().filter(move |l| l.faces.contains(&face)).map(|l| l.local)
    }

    /// Serves until `drain` closes; readiness ends when it begins. A `/health` among the faces is asked once a
    /// second, for the metrics about it.
    pub async fn serve(self, drain: Drain) {
        let mut tasks = JoinSet::new();
        if let Some(address) = self.addresses(Face::Health).next() {
            tasks.spawn(probe::probe_health(address, Arc::clone(&self.metrics), drain.closing().clone()));
        }
        for Listener { socket, faces, .. } in self.listeners {
            let routes = routes(&faces, &self.readiness, &self.metrics);
            tasks.spawn(serve::serve(socket, routes, drain.closing().clone()));
        }
        drain.draining().cancelled().await;
        // Readiness ends first, the listeners only after the lameduck: traffic has to be led away while
        // everything still works.
        self.readiness.shut_down();
        while tasks.join_next().await.is_some() {}
    }
}

/// The routes of one listener; anything else is 404.
fn routes(faces: &[Face], readiness: &Readiness, metrics: &Arc<Metrics>) -> Router {
    faces.iter().fold(Router::new(), |router, face| match face {
        Face::Health => router.route("/health", any(async || "OK")),
        Face::Ready => {
            let readiness = readiness.clone();
            router.route("/ready", any(async move || ready(&readiness.state())))
        }
        Face::Metrics => {
            let metrics = Arc::clone(metrics);
            let scrape = async move || ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], metrics.render());
            router.route("/metrics", any(scrape))
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
