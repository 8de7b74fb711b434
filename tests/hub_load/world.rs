//! A small cluster, hubs over it, and what the API server is asked.

use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use outlast::drill::cluster::Cluster;
use outlast::drill::standin::changes::Changes;
use outlast::drill::standin::requests::{ListKind, Verb};
use outlast::drill::standin::{Config, Standin, seed};
use outlast::hub::admission::Limits;
use outlast::source::Wanted;
use outlast::testkit::certs::{Ca, IdentityFolder};
use outlast::testkit::followers::{Crowd, Setup, truth};
use outlast::testkit::hub::{Builder, TestHub};
use outlast::trust::config::TrustConfig;
use outlast::trust::name::Role;
use outlast::zone::object::Kind;
use tempfile::TempDir;

/// The followers of a large cluster, all but [`FULL`] of which share what is behind them: 2,000, or as many as
/// `OUTLAST_TEST_FOLLOWERS` says. Fewer in a build that is not optimised: it is slower than hundreds of machines together
/// by so much that followers give a hub up before its first word.
pub(crate) fn many() -> usize {
    let said = std::env::var("OUTLAST_TEST_FOLLOWERS").ok();
    let usual = if cfg!(debug_assertions) { 300 } else { 2_000 };
    said.map_or(usual, |number| number.parse().unwrap())
}

/// Those that have a table of their own.
pub(crate) const FULL: usize = 20;

/// How long anything may take: a debug build, beside other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// What hubs follow here.
const KINDS: [Kind; 3] = [Kind::Namespace, Kind::Service, Kind::EndpointSlice];

/// Least time between two checks of a kind at the API server.
const CHECK_EVERY: Duration = Duration::from_secs(8);

/// Requests of one check: a list of one object, three short watches, and an object by name ahead of two of them.
const REQUESTS_A_CHECK: u64 = 6;

/// How hubs and followers speak to each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speak {
    /// Plain text: a build that is not optimised needs minutes for thousands of handshakes.
    Plain,
    /// Within TLS.
    Tls,
}

/// A cluster, its hubs, and those who may follow them.
pub(crate) struct World {
    /// The API server.
    pub(crate) server: Standin,
    /// What happens in it.
    changes: Mutex<Changes>,
    /// How all speak to each other.
    speak: Speak,
    /// Hubs' identity.
    hub: IdentityFolder,
    /// Nodes' identity.
    node: IdentityFolder,
    /// Where hubs are, each with its folder.
    places: Vec<(SocketAddr, TempDir)>,
}

impl World {
    /// A cluster with places for so many hubs.
    pub(crate) async fn new(hubs: usize, speak: Speak) -> Self {
        let server = Standin::start(Config::default()).await.unwrap();
        seed::cluster(server.etcd(), Cluster::sized(60, 300), |_| ()).unwrap();
        let ca = Ca::new();
        let free = |_| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            (listener.local_addr().unwrap(), tempfile::tempdir().unwrap())
        };
        Self {
            changes: Mutex::new(Changes::of(server.etcd(), 1)),
            server,
            speak,
            hub: IdentityFolder::real(&ca, Role::Hub),
            node: IdentityFolder::real(&ca, Role::Node),
            places: (0..hubs).map(free).collect(),
        }
    }

    /// Starts a hub at one of its places, and waits until its data is live.
    pub(crate) async fn hub(&self, place: usize) -> TestHub {
        let (address, folder) = &self.places[place];
        let mut builder = Builder::new(&self.server).snapshot(folder.path().to_owned());
        builder.config.listen = vec![*address];
        builder.config.siblings =
            self.places.iter().map(|(other, _)| *other).filter(|o| o != address).collect();
        builder.config.trust = self.trust(&self.hub);
        builder.config.wanted = Wanted::default();
        // As fast as it goes: what is tested is not how long it takes.
        builder.config.transfers = Limits { at_once: many(), rate: 10_000 };
        let hub = builder.start();
        hub.state("live").await;
        hub
    }

    fn trust(&self, identity: &IdentityFolder) -> TrustConfig {
        match self.speak {
            Speak::Plain => TrustConfig::Plain,
            Speak::Tls => TrustConfig::Tls(identity.files()),
        }
    }

    /// So many followers of all hubs.
    pub(crate) fn followers(&self, thin: usize, full: usize) -> Crowd {
        let setup = Setup {
            hubs: self.places.iter().map(|(address, _)| *address).collect(),
            trust: self.trust(&self.node),
            headless_only: false,
        };
        Crowd::start(&setup, thin, full)
    }

    /// Some endpoints come and go.
    pub(crate) fn change(&self, times: usize) {
        for _ in 0..times {
            self.changes.lock().unwrap().step().unwrap();
        }
    }

    /// Waits until every follower has what there is; returns how long that took.
    pub(crate) async fn all_have_it(&self, crowd: &Crowd) -> Duration {
        let truth = truth(self.server.etcd());
        let took =
            crowd.until("all have what there is", PATIENCE, |crowd| crowd.at(&truth) == crowd.len()).await;
        took.unwrap_or_else(|late| panic!("{late}"))
    }

    /// Waits until every follower was told by a hub that it has what there is.
    pub(crate) async fn all_are_proved(&self, crowd: &Crowd) -> Duration {
        let all = crowd.until("all are proved", PATIENCE, |crowd| crowd.all_proved()).await;
        all.unwrap_or_else(|late| panic!("{late}"))
    }

    /// What is asked of the API server from now on.
    pub(crate) fn count(&self) -> Count<'_> {
        self.server.requests().reset();
        Count { server: &self.server, since: Instant::now() }
    }
}

/// What the API server is asked.
pub(crate) struct Count<'a> {
    /// The API server.
    server: &'a Standin,
    /// Since when.
    since: Instant,
}

impl Count<'_> {
    /// Lists of whole kinds, in pages or streamed.
    pub(crate) fn lists(&self) -> u64 {
        let requests = self.server.requests();
        let streamed = requests.count(|asked| asked.list == Some(ListKind::Streaming));
        KINDS.iter().map(|kind| requests.lists(*kind)).sum::<u64>() + streamed
    }

    /// Waits until no watches are open but the main ones of each hub, and says how many that are.
    pub(crate) async fn watches(&self, hubs: usize) -> usize {
        let open = || KINDS.iter().map(|kind| self.server.requests().open_watches(*kind)).sum::<usize>();
        let deadline = Instant::now() + PATIENCE;
        while open() != hubs * KINDS.len() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        open()
    }

    /// Requests beyond those with which so many hubs prove now and then that they have everything.
    pub(crate) fn beyond_checks(&self, hubs: usize) -> u64 {
        let checks = self.since.elapsed().as_secs() / CHECK_EVERY.as_secs() + 2;
        let allowed = checks * REQUESTS_A_CHECK * (hubs * KINDS.len()) as u64;
        let asked = self.server.requests().count(|asked| asked.verb != Verb::Other);
        asked.saturating_sub(allowed)
    }
}
