//! Thousands of followers in one process: what a hub sees of a fleet.
//!
//! Each has a connection of its own and runs what a node runs (`source::hub`: choice of hubs, TLS, gRPC, sessions, pings,
//! positions, comparison of digests). Only what is behind it is shared:
//!
//! * `packets`: what many get alike is decoded once for all. A session is handed the same frame with a placeholder for
//!   each kind in it, and what it then tells its store is looked up.
//! * `states`: a state and what came next make a state, once for all who were in the first and got the second. A follower
//!   holds a pointer to the state that it is in: the table, with the digests that it answers comparisons with.
//! * `thin`: the store at the end of such a source.
//!
//! Some of them are *full*: the real source, writer and store, with a table of their own.

mod arrivals;
mod packets;
mod states;
mod thin;
mod truth;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::arrivals::Arrivals;
use self::packets::{Inbox, ThinDial};
use self::states::States;
use self::thin::{Seat, Thin};
pub use self::truth::truth;
use crate::feed::view::View;
use crate::ops::clock::WallClock;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::source::hub::access::HubAccess;
use crate::source::hub::transport::{Dial, Dialler};
use crate::source::hub::{HubSource, Means};
use crate::source::{SourceConfig, UPDATE_QUEUE, Wanted, command, start};
use crate::store::Store;
use crate::store::state::Limits;
use crate::store::writer::Writer;
use crate::trust::config::TrustConfig;
use crate::zone::Table;
use crate::zone::digest::Digest;
use crate::zone::object::Kind;

/// Between two looks at whether something holds.
const LOOK: Duration = Duration::from_millis(20);

/// What all followers of a crowd are started with.
#[derive(Clone)]
pub struct Setup {
    /// The hubs that they are told of.
    pub hubs: Vec<SocketAddr>,
    /// Whom they believe, and by what.
    pub trust: TrustConfig,
    /// Whether slices of headless services are enough for them.
    pub headless_only: bool,
}

/// Followers, which end with this.
pub struct Crowd {
    /// Those that share what is behind them.
    thin: Vec<Arc<Seat>>,
    /// Those that have a table of their own.
    full: Vec<Arc<Store>>,
    /// What all of them count together.
    metrics: Arc<Metrics>,
    /// What thin ones have in common.
    shared: Arc<Shared>,
    /// Ends them.
    _stop: DropGuard,
}

/// What thin followers have in common.
pub(super) struct Shared {
    /// What came, decoded.
    packets: packets::Packets,
    /// What it led to.
    states: States,
    /// When it came.
    arrivals: Arrivals,
}

impl Crowd {
    /// Starts so many thin and so many full followers on the current runtime, all at once.
    ///
    /// # Panics
    /// The system gives no thread.
    pub fn start(setup: &Setup, thin: usize, full: usize) -> Self {
        let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
        let shared = Arc::new(Shared {
            packets: packets::Packets::default(),
            states: States::default(),
            arrivals: Arrivals::new(thin),
        });
        let clock = Arc::new(WallClock::new(0));
        let dial: Arc<dyn Dial> = Arc::new(Dialler::new(&setup.trust, clock.clone(), &metrics));
        let thin =
            (0..thin).map(|n| spawn_thin(setup, n, &shared, &dial, &metrics, &stop)).collect::<Vec<_>>();
        let full = (0..full).map(|n| spawn_full(setup, n, &clock, &metrics, &stop)).collect();
        Self { thin, full, metrics, shared, _stop: stop.drop_guard() }
    }

    /// How many thin followers have had their state confirmed by a hub, and have not lost it since.
    pub fn proved(&self) -> usize {
        self.thin.iter().filter(|seat| seat.is_proved()).count()
    }

    /// Whether that is true of all of them, and each full one has had its state confirmed at least once.
    pub fn all_proved(&self) -> bool {
        self.proved() == self.thin.len() && self.full.iter().all(|store| store.current().verified)
    }

    /// How many followers have what is in this table.
    pub fn at(&self, table: &Table) -> usize {
        let digests: [Digest; Kind::ALL.len()] = Kind::ALL.map(|kind| table.digest(kind));
        let thin = self.thin.iter().filter(|seat| seat.state().digests == digests).count();
        let digests_of = |store: &Arc<Store>| {
            let current = store.current();
            Kind::ALL.map(|kind| current.table.digest(kind))
        };
        thin + self.full.iter().filter(|store| digests_of(store) == digests).count()
    }

    /// How many followers there are.
    pub fn len(&self) -> usize {
        self.thin.len() + self.full.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets that states were confirmed: [`proved`](Self::proved) counts anew from here.
    pub fn doubt(&self) {
        self.thin.iter().for_each(|seat| seat.doubt());
    }

    /// The tables of the full followers.
    pub fn tables(&self) -> impl Iterator<Item = Table> {
        self.full.iter().map(|store| store.current().table.clone())
    }

    /// When changes of EndpointSlices came to the thin followers.
    pub fn arrivals(&self) -> &Arrivals {
        &self.shared.arrivals
    }

    /// How many different states and packets were worked out, for all of them.
    pub fn worked_out(&self) -> (u64, u64) {
        (self.shared.states.made(), self.shared.packets.decoded())
    }

    /// The value of one series that all followers count together, spelled as in the text; 0 if there is no such series.
    pub fn metric(&self, series: &str) -> f64 {
        self.metrics.upkeep();
        let text = self.metrics.render();
        let line = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
    }

    /// How often a hub was left, for whatever reason.
    pub fn left(&self) -> f64 {
        self.metrics.upkeep();
        let text = self.metrics.render();
        let values = text.lines().filter(|l| l.starts_with("outlast_hub_left_total{"));
        values.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until something holds of them, and says how long that took.
    ///
    /// # Errors
    /// It does not within `limit`; says what was waited for, and how far they are.
    pub async fn until(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<Duration, String> {
        let begun = std::time::Instant::now();
        while !holds(self) {
            if begun.elapsed() > limit {
                self.metrics.upkeep();
                let text = self.metrics.render();
                let hub = text.lines().filter(|l| l.starts_with("outlast_hub_")).collect::<Vec<_>>();
                return Err(format!(
                    "not within {limit:?}: {what}; {} of {} proved\n{}",
                    self.proved(),
                    self.thin.len(),
                    hub.join("\n")
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(begun.elapsed())
    }
}

fn access(setup: &Setup, name: String) -> HubAccess {
    HubAccess {
        seeds: setup.hubs.clone(),
        trust: setup.trust.clone(),
        headless_only: setup.headless_only,
        name,
    }
}

fn spawn_thin(
    setup: &Setup,
    n: usize,
    shared: &Arc<Shared>,
    real: &Arc<dyn Dial>,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> Arc<Seat> {
    let inbox = Arc::new(Inbox::default());
    let dial = Arc::new(ThinDial { real: real.clone(), shared: shared.clone(), inbox: inbox.clone() });
    let access = access(setup, format!("thin-{n}"));
    let source = HubSource::with_dial(&access, Wanted::default(), None, Jitter::for_process(), metrics, dial);
    let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
    let (commands, commanded) = command::channel();
    let seat = Arc::new(Seat::new(shared.states.nothing()));
    tokio::spawn(source.run(updates, commanded, stop.clone()));
    let view: View = access.view(false);
    tokio::spawn(Thin::new(shared.clone(), inbox, seat.clone(), view.kinds()).run(queue, commands));
    seat
}

fn spawn_full(
    setup: &Setup,
    n: usize,
    clock: &Arc<WallClock>,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> Arc<Store> {
    let store = Store::new();
    let wanted = Wanted::default();
    // Metrics of its own: what a store says of itself is not to be mixed with others.
    let own = Metrics::new();
    let mut writer = Writer::new(store.clone(), None, wanted, Limits::default(), clock.clone(), &own);
    let resume = writer.boot();
    let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
    let source = SourceConfig::Hub(access(setup, format!("full-{n}")));
    let beginning = start::Beginning { wanted, resume, updates, stop: stop.clone() };
    let means = Means { memory: None, clock: clock.clone() };
    let commands = start::start_with(&source, beginning, means, metrics, &Handle::current());
    let commands = commands.expect("the system gives a thread");
    let stop = stop.clone();
    tokio::spawn(async move {
        writer.run(queue, stop).await;
        drop(commands);
    });
    store
}
