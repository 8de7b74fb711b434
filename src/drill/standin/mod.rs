//! An API server stand-in: Services, EndpointSlices, Namespaces and Pods as Kubernetes 1.36 serves them, over TLS
//! with bearer tokens, on loopback or in memory; and everything that can go wrong with it.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use outlast::drill::standin::{Config, Standin};
//! use outlast::drill::standin::faults::{Fault, Rule};
//! use outlast::zone::object::Kind;
//!
//! let standin = Standin::start(Config::default()).await?;
//! let web = serde_json::json!({
//!     "metadata": { "name": "web", "namespace": "shop" },
//!     "spec": { "type": "ClusterIP", "clusterIP": "10.96.0.21", "clusterIPs": ["10.96.0.21"] },
//! });
//! standin.etcd().put(Kind::Service, &web).expect("an object with a name");
//! std::fs::write("kubeconfig", standin.kubeconfig())?;
//! standin.faults().add(Rule::new(Fault::Hang).of(Kind::Service).times(1));
//! # Ok(()) }
//! ```
//!
//! Parts: [`etcd`] (the objects and their history), [`access`] (tokens and rights), [`faults`], [`requests`]
//! (counts); `http` is the server above them, `resource` what differs by kind, `tls` the certificates.
//!
//! Invariants: what is served is what `tests/standin` has recorded from a real server, byte for byte where the
//! bytes are determined; bodies are streamed from shared text, never joined; everything ends when the
//! [`Standin`] is dropped.
//!
//! Known differences from a real server: nothing is written over HTTP, only JSON, no discovery documents, no
//! admission and no defaults, HTTP/1.1 only.

pub mod access;
pub mod bulk;
pub mod changes;
pub mod etcd;
pub mod faults;
mod http;
mod ids;
pub mod requests;
mod resource;
pub mod seed;
mod tls;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use self::access::Access;
use self::etcd::Etcd;
use self::faults::{Faults, Network};
use self::http::{Server, serve};
use self::requests::Requests;
use self::tls::Tls;
use crate::ops::jitter::Jitter;
use crate::source::apiserver::Dial;

/// Bytes that a connection in memory holds in each direction: what a socket on loopback holds, about.
const MEMORY_PIPE: usize = 64 << 10;

/// Connections in memory that wait to be accepted, as a socket's backlog.
const MEMORY_BACKLOG: usize = 1_024;

/// Connections on the socket that wait to be accepted.
const BACKLOG: u32 = 4_096;

/// The port that the kubeconfig of a server without a socket names: the usual one.
const USUAL_PORT: u16 = 6_443;

/// Whether the server has streaming lists (`sendInitialEvents`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamingLists {
    /// It has, as every release from 1.34 on.
    #[default]
    On,
    /// The feature is off: 422.
    Off,
    /// The feature is on, but etcd is too old for it: an ERROR event of 500.
    OldEtcd,
}

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The port on 127.0.0.1; 0 for any that is free. Without meaning in memory.
    pub port: u16,
    /// Seeds everything random but ids, tokens and keys: times of bookmarks and timeouts.
    pub seed: u64,
    /// Whether the four namespaces of a fresh cluster exist at the start.
    pub fresh_namespaces: bool,
    /// How many events of each kind are kept, at least 1. Watches, exact lists and continue tokens from before
    /// get 410.
    pub history: usize,
    /// Streaming lists.
    pub streaming_lists: StreamingLists,
    /// Whether bookmarks move when something else was written; an old etcd does not tell.
    pub progress: bool,
    /// How many events may wait for the reader of one watch before the server ends it.
    pub watch_queue: usize,
    /// How many connections there may be; further ones are closed at once.
    pub max_connections: usize,
    /// Whether they are within TLS. Without, there are neither keys nor certificates: for many short lives in memory
    /// that are about something else.
    pub tls: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 0,
            seed: 1,
            fresh_namespaces: true,
            // As much as a real watch cache keeps at most of a busy kind, within an order of magnitude.
            history: 16_384,
            streaming_lists: StreamingLists::On,
            progress: true,
            // Real servers allow 10 to 1,000 and end a watch 50 ms later; here writes come in larger bursts.
            watch_queue: 8_192,
            // A watch is a connection: 4 for each of some thousand nodes that need no hub.
            max_connections: 16_384,
            tls: true,
        }
    }
}

/// A server that runs until it is dropped.
pub struct Standin {
    /// What it serves and how.
    server: Arc<Server>,
    /// The certificate of its authority; empty without TLS.
    ca_pem: String,
    /// Where it listens; `None` in memory.
    address: Option<SocketAddr>,
    /// Makes connections in memory.
    dial: Dial,
    /// The tasks that accept; connections end with them.
    _accepting: Vec<AbortOnDropHandle<()>>,
}

impl Standin {
    /// Listens on 127.0.0.1 and serves in the current tokio runtime.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn start(config: Config) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, config.port).into())?;
        let listener = socket.listen(BACKLOG)?;
        let mut standin = Self::in_memory(config)?;
        let address = listener.local_addr()?;
        standin.address = Some(address);
        let accepting = tokio::spawn(serve::listen(listener, address, standin.server.clone()));
        standin._accepting.push(AbortOnDropHandle::new(accepting));
        Ok(standin)
    }

    /// A server without a socket, for paused time: [`dial`](Self::dial) connects to it. Needs a tokio runtime.
    ///
    /// # Errors
    /// When no keys can be made.
    pub fn in_memory(config: Config) -> io::Result<Self> {
        let etcd = Etcd::new(config.history, config.progress);
        if config.fresh_namespaces {
            etcd.put_fresh_namespaces();
        }
        let tls = if config.tls { Some(Tls::new()?) } else { None };
        let ca_pem = tls.as_ref().map(|tls| tls.ca_pem.clone()).unwrap_or_default();
        let jitter = Jitter::from_seed(config.seed);
        let server = Arc::new(Server::new(config, etcd, tls, jitter));
        let (connect, connections) = mpsc::channel(MEMORY_BACKLOG);
        let accepting = tokio::spawn(serve::accept_in_memory(connections, server.clone()));
        let network = server.faults.network();
        let dial: Dial = Arc::new(move || {
            let (connect, network) = (connect.clone(), *network.borrow());
            Box::pin(async move {
                if network == Network::Refuse {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                let (ours, theirs) = tokio::io::duplex(MEMORY_PIPE);
                connect.send(ours).await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
                Ok(theirs)
            })
        });
        let _accepting = vec![AbortOnDropHandle::new(accepting)];
        Ok(Self { server, ca_pem, address: None, dial, _accepting })
    }

    /// Connects in memory. Refused once the server is dropped, and as [`Network`] says.
    pub fn dial(&self) -> Dial {
        self.dial.clone()
    }

    /// Where it listens; `None` in memory.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// `https://127.0.0.1:PORT`; in memory with the usual port, and `http` without TLS.
    pub fn url(&self) -> String {
        let scheme = if self.ca_pem.is_empty() { "http" } else { "https" };
        format!("{scheme}://127.0.0.1:{}", self.address.map_or(USUAL_PORT, |a| a.port()))
    }

    /// The certificate of the authority, in PEM; empty without TLS.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A kubeconfig for [`access::USER`], CA and token inline.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_of(access::USER)
    }

    /// A kubeconfig for a user, CA and token inline; the token is empty if there is none.
    pub fn kubeconfig_of(&self, user: &str) -> String {
        let (url, ca) = (self.url(), STANDARD.encode(&self.ca_pem));
        let token = self.token(user).unwrap_or_default();
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: standin\n\
             clusters:\n- name: standin\n  cluster:\n    server: {url}\n    certificate-authority-data: {ca}\n\
             users:\n- name: {user}\n  user:\n    token: \"{token}\"\n\
             contexts:\n- name: standin\n  context:\n    cluster: standin\n    user: {user}\n"
        )
    }

    /// A user's token; `None` if there is no such user or it was revoked.
    pub fn token(&self, user: &str) -> Option<String> {
        self.server.access.token(user)
    }

    /// The objects and their history.
    pub fn etcd(&self) -> &Etcd {
        &self.server.etcd
    }

    /// Tokens, users, rights.
    pub fn access(&self) -> &Access {
        &self.server.access
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.server.faults
    }

    /// As an API server that is restarted: what it remembered of earlier states is gone, and so are its connections.
    /// Whoever follows it has to list everything again.
    pub fn restart(&self) {
        let etcd = self.etcd();
        // What is asked over a connection of before is nobody's any more, and is not answered half.
        self.faults().cut_connections_and(|| {
            // So that no follower is up to date by accident.
            etcd.touch();
            etcd.forget_history();
        });
    }

    /// What was asked.
    pub fn requests(&self) -> &Requests {
        &self.server.requests
    }
}
