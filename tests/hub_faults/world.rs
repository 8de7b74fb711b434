//! A follower with a real source, writer and store, over hubs that do as they are told. Time is paused.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outlast::feed::frame::{Plan, State};
use outlast::feed::position::Position;
use outlast::ops::clock::WallClock;
use outlast::ops::jitter::Jitter;
use outlast::ops::metrics::Metrics;
use outlast::source::hub::access::HubAccess;
use outlast::source::{UPDATE_QUEUE, Wanted, command};
use outlast::store::Store;
use outlast::store::state::{DataState, Limits};
use outlast::store::writer::Writer;
use outlast::testkit::node::Log;
use outlast::testkit::scripted_hub::{Network, ScriptedHub, Stream, Told};
use outlast::trust::config::TrustConfig;
use outlast::zone::change::Change;
use outlast::zone::object::{Kinds, Namespace, Object};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long something may take that needs no time; none of it is real.
const SOON: Duration = Duration::from_secs(4);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// The follower and the network.
pub(crate) struct World {
    pub(crate) net: Network,
    pub(crate) store: Arc<Store>,
    metrics: Arc<Metrics>,
    pub(crate) log: Log,
    /// What of the log is about how it came to be in sync, in bytes.
    before: Cell<usize>,
    /// Ends the follower.
    _stop: DropGuard,
}

/// Where the `n`th hub is.
pub(crate) fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, n], 9953))
}

/// A cluster of these namespaces, all kinds of which are at this version.
pub(crate) fn cluster(version: u64, names: &[&str]) -> Told {
    let objects = names.iter().map(|name| namespace(name)).collect();
    let position = Position { epoch: 1, versions: [version, version, version, 0] };
    Told { uid: "u".to_owned(), position, objects }
}

pub(crate) fn namespace(name: &str) -> Object {
    Object::Namespace(Namespace { name: name.into(), labels: [].into() })
}

pub(crate) fn add(name: &str) -> Change {
    Change::Upsert(namespace(name))
}

impl World {
    /// A follower that is told of so many hubs, none of which is up.
    pub(crate) fn new(hubs: u8) -> Self {
        let (net, store, metrics) = (Network::default(), Store::new(), Arc::new(Metrics::new()));
        let (log, stop) = (Log::start(), CancellationToken::new());
        let access = HubAccess {
            seeds: (1..=hubs).map(address).collect(),
            trust: TrustConfig::Plain,
            headless_only: false,
            name: "n1".to_owned(),
        };
        let source = net.source(&access, Jitter::from_seed(1), &metrics);
        let clock = Arc::new(WallClock::new(0));
        let mut writer =
            Writer::new(store.clone(), None, Wanted::default(), Limits::default(), clock, &metrics);
        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        let (commands, commanded) = command::channel();
        writer.asks(commands);
        tokio::spawn(source.run(updates, commanded, stop.clone()));
        tokio::spawn(writer.run(queue, stop.clone()));
        Self { net, store, metrics, log, before: Cell::new(0), _stop: stop.drop_guard() }
    }

    /// The first hub, and the follower in sync with it: it has this.
    pub(crate) async fn in_sync(&self, told: &Told) -> (ScriptedHub, Stream) {
        let mut hub = self.net.hub(address(1));
        let mut stream = hub.stream().await;
        let subscription = stream.subscription().await;
        assert!(stream.begin(&subscription, told).await);
        let nonce = stream.ping().await;
        assert!(stream.reply(told.heartbeat(nonce, State::Live, Duration::ZERO)).await);
        self.until("live", |world| world.state() == DataState::Live).await;
        self.before.set(self.log.text().len());
        (hub, stream)
    }

    /// The second hub comes up, has this, and is as it should be for ever.
    pub(crate) fn second(&self, told: &Told) {
        tokio::spawn(self.net.hub(address(2)).serve(told.clone()));
    }

    /// Waits until something holds that needs next to no time.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        self.within(SOON, what, holds).await;
    }

    /// Waits until something holds; how long that took.
    pub(crate) async fn within(
        &self,
        limit: Duration,
        what: &str,
        holds: impl Fn(&Self) -> bool,
    ) -> Duration {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < limit, "never: {what}; {:?}\n{}", self.names(), self.log.text());
            tokio::time::sleep(LOOK).await;
        }
        began.elapsed()
    }

    /// Follows another hub until it is live there.
    pub(crate) async fn live_at(&self, n: u8, limit: Duration) -> Duration {
        let series = format!("outlast_hub_connected{{hub=\"{}\"}}", address(n));
        self.within(limit, &series, |world| world.metric(&series) == 1.0 && world.state() == DataState::Live)
            .await
    }

    /// What is served.
    pub(crate) fn names(&self) -> Vec<String> {
        let current = self.store.current();
        let mut names: Vec<_> = current.table.objects().map(|o| o.parts().1.to_owned()).collect();
        names.sort();
        names
    }

    /// The state of the data.
    pub(crate) fn state(&self) -> DataState {
        DataState::judge(self.store.facts(&self.store.current()), Kinds::CORE, Limits::default())
    }

    /// The value of a series; 0 if there is none.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        value.unwrap_or_default()
    }

    /// How often hubs were left for this reason.
    pub(crate) fn left(&self, reason: &str) -> f64 {
        self.metric(&format!("outlast_hub_left_total{{reason=\"{reason}\"}}"))
    }

    /// How many lines of the log that people see by default have this in them, since it was in sync.
    pub(crate) fn said(&self, part: &str) -> usize {
        let text = self.log.text();
        text[self.before.get()..]
            .lines()
            .filter(|line| !line.starts_with("[DEBUG]") && line.contains(part))
            .count()
    }
}

/// A welcome, and nothing else that a follower could use.
pub(crate) async fn welcome(stream: &mut Stream, told: &Told, plan: Plan) {
    let _ = stream.subscription().await;
    assert!(stream.say(&told.welcome(plan)).await);
}
