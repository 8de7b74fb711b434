//! The other hubs of the cluster: what they say, and what follows from it.
//!
//! * `rounds`: each is met every five seconds, over the connections that followers use; each meets us.
//! * `arrears`: how far we are behind one of them. `words`: what operators have accepted, passed on.
//! * here: what is known of all of them, and what is done about it.
//!
//! Hubs do not depend on each other: nothing waits for a sibling, and one that is alone misses nothing but company.
//!
//! Invariants:
//! * Siblings of another cluster are reported, and nothing they say is believed.
//! * Who has not come to where a sibling was half a minute ago is not live, whatever its own source proves.
//! * What an operator has accepted at one hub holds at all of them, for an hour, whoever was down meanwhile.

mod arrears;
mod metrics;
mod rounds;
mod words;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::arrears::Arrears;
use self::metrics::SiblingMetrics;
pub(super) use self::rounds::Rounds;
use self::words::Words;
use super::orders::ToSource;
use super::state::said;
use crate::feed::frame::State;
use crate::feed::greeting::{Accepted, Greeting};
use crate::ops::metrics::{BuildInfo, Metrics};
use crate::source::command::Command;
use crate::store::Store;
use crate::store::control::Control;
use crate::store::state::Limits;
use crate::zone::object::Kinds;

/// What a sibling has said this long ago is not what it would say now: six meetings did not come about.
const HEARD_WITHIN: Duration = Duration::from_secs(30);

/// So many are remembered by name: those of [`rounds`] and their predecessors of the last minute.
const MAX_KNOWN: usize = 64;

/// A sibling is at most so many restores of the cluster ahead of us: nobody makes that many while a hub is down.
const MAX_EPOCHS_AHEAD: u64 = 1000;

/// The source is asked for another epoch this often at most: each costs the API server lists of everything.
const BEGIN_EPOCH_EVERY: Duration = Duration::from_secs(60);

/// Between two looks at how far we are behind.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is known of all siblings.
pub(super) struct Family {
    /// Our own name.
    name: String,
    /// Our data.
    store: Arc<Store>,
    /// To its writer.
    control: Control,
    /// To its source.
    source: ToSource,
    /// The kinds that are followed.
    kinds: Kinds,
    /// How long data may go unproved.
    limits: Limits,
    /// What changes.
    known: Mutex<Known>,
    /// Why we are behind, while we are.
    behind: ArcSwapOption<String>,
    /// Whether we compare ourselves with a list of everything.
    auditing: AtomicBool,
    /// What is measured.
    metrics: SiblingMetrics,
}

/// How many restores of the cluster a follower is believed to know of that no hub remembers: they are rare.
const MAX_FOLLOWED: u64 = 16;

/// How often a follower is believed in that.
const FOLLOWED_EVERY: Duration = Duration::from_secs(300);

/// What changes.
#[derive(Default)]
struct Known {
    /// By name.
    siblings: HashMap<String, Sibling>,
    /// Addresses that do not answer, and why.
    silent: HashMap<SocketAddr, String>,
    /// What operators have accepted.
    words: Words,
    /// The latest epoch that a sibling has told of.
    epoch: u64,
    /// When the source was asked for another one last.
    asked: Option<Instant>,
    /// Whether one was told of that cannot be: said once.
    nonsense: bool,
    /// When a follower's epoch was last taken over.
    followed: Option<Instant>,
}

/// One sibling.
struct Sibling {
    /// Where it is, if we have met it and not only it us.
    address: Option<SocketAddr>,
    /// What it said last, but for what was accepted.
    said: Greeting,
    /// When.
    at: Instant,
    /// What it has come to and we have not.
    arrears: Arrears,
    /// Whether it is of another cluster than ours.
    foreign: bool,
}

/// Who has said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// A sibling.
    Sibling,
    /// We, by way of an address that is our own.
    Ourselves,
}

/// A sibling, for people.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// Its name; empty where it has never answered.
    pub(super) name: String,
    /// Where it is, if that is known.
    pub(super) address: Option<SocketAddr>,
    /// Its release.
    pub(super) release: String,
    /// State of its data, if it answers.
    pub(super) state: Option<State>,
    /// Age of its data.
    pub(super) age: Duration,
    /// Its epoch.
    pub(super) epoch: u64,
    /// What is wrong with it, if anything.
    pub(super) why: Option<String>,
}

impl Family {
    /// Nobody is known yet.
    pub(super) fn new(
        name: String,
        store: Arc<Store>,
        control: Control,
        source: ToSource,
        (kinds, limits): (Kinds, Limits),
        metrics: &Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            store,
            control,
            source,
            kinds,
            limits,
            known: Mutex::default(),
            behind: ArcSwapOption::empty(),
            auditing: AtomicBool::new(false),
            metrics: SiblingMetrics::new(metrics),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // === What we say ===

    /// What we say to a sibling that knows these acceptances.
    pub(super) fn greeting(&self, known: &[u64]) -> Greeting {
        let generation = self.store.current().clone();
        let facts = self.store.facts(&generation);
        let state = said(&generation, facts, self.kinds, self.limits);
        let behind = self.behind.load().is_some() && state == State::Live;
        let words = self.known();
        Greeting {
            hub: self.name.clone(),
            release: BuildInfo::CURRENT.version.to_owned(),
            cluster_uid: generation.reached.cluster_uid.clone(),
            position: generation.reached.told,
            state: if behind { State::Stale } else { state },
            age: facts.age,
            accepted: words.words.to_tell(Instant::now(), known),
            proved: generation.reached.position,
            known: words.words.known(),
            auditing: self.auditing.load(Ordering::Relaxed),
        }
    }

    /// Why we are behind, while we are.
    pub(super) fn behind(&self) -> Option<Arc<String>> {
        self.behind.load_full()
    }

    /// An operator has accepted the loss of these objects here.
    pub(super) fn accepted(&self, keys: Vec<u64>) {
        if keys.is_empty() {
            return;
        }
        let over = self.known().words.note(Instant::now(), Accepted { ago: Duration::ZERO, keys });
        if over > 0 {
            tracing::warn!(over, "more was accepted than other hubs can be told: accept the rest there");
        }
    }

    /// Whether we compare ourselves with a list of everything.
    pub(super) fn audits(&self, auditing: bool) {
        self.auditing.store(auditing, Ordering::Relaxed);
    }

    // === What they say ===

    /// A hub has said something: one that we have met at `address`, or one that has come to us.
    async fn hear(&self, address: Option<SocketAddr>, mut greeting: Greeting) -> Heard {
        if address.is_some() {
            self.metrics.meetings.increment(1);
        }
        if greeting.hub == self.name {
            return Heard::Ourselves;
        }
        let accepted = std::mem::take(&mut greeting.accepted);
        if self.note(address, greeting) {
            for word in accepted {
                self.accept(word).await;
            }
        }
        Heard::Sibling
    }

    /// A sibling has come to us.
    pub(super) async fn met(&self, greeting: Greeting) {
        let _ = self.hear(None, greeting).await;
    }

    /// Notes what a sibling says. Whether it is of our cluster.
    fn note(&self, address: Option<SocketAddr>, said: Greeting) -> bool {
        let (reached, now) = (self.store.current().reached.clone(), Instant::now());
        let known_both = !reached.cluster_uid.is_empty() && !said.cluster_uid.is_empty();
        let foreign = known_both && reached.cluster_uid != said.cluster_uid;
        let ours = known_both && !foreign;
        let mut known = self.known();
        if let Some(address) = address
            && known.silent.remove(&address).is_some()
        {
            tracing::info!(hub = %said.hub, %address, "sibling answers again");
        }
        if known.siblings.len() >= MAX_KNOWN && !known.siblings.contains_key(&said.hub) {
            // More than there can be: somebody makes them up.
            return false;
        }
        let before = known.siblings.remove(&said.hub);
        if foreign && !before.as_ref().is_some_and(|b| b.foreign && b.said.cluster_uid == said.cluster_uid) {
            tracing::error!(hub = %said.hub, theirs = said.cluster_uid, ours = reached.cluster_uid,
                "a sibling is of another cluster: one of us is started with the wrong API server, or the wrong sibling");
        }
        let address = address.or_else(|| before.as_ref().and_then(|b| b.address));
        let mut arrears = before.map(|b| b.arrears).unwrap_or_default();
        if ours {
            arrears.said(&said.position, &reached.told, now);
        } else {
            arrears = Arrears::default();
        }
        if ours && said.position.epoch > reached.told.epoch {
            self.heard_of_epoch(&mut known, &said, reached.told.epoch);
        }
        known.siblings.insert(said.hub.clone(), Sibling { address, said, at: now, arrears, foreign });
        ours
    }

    /// A sibling is in a later epoch than ours.
    fn heard_of_epoch(&self, known: &mut Known, said: &Greeting, ours: u64) {
        let (epoch, now) = (said.position.epoch, Instant::now());
        if epoch - ours > MAX_EPOCHS_AHEAD {
            if !std::mem::replace(&mut known.nonsense, true) {
                tracing::error!(hub = %said.hub, epoch, ours, "a sibling tells of more restores than there can be: not believed");
            }
            return;
        }
        if epoch > known.epoch {
            tracing::warn!(hub = %said.hub, epoch, "a sibling tells of a restore of the cluster");
            known.epoch = epoch;
        }
        // Until it has been heard: the way to the source is short, and may be full.
        let is_due = known.asked.is_none_or(|at| now.saturating_duration_since(at) >= BEGIN_EPOCH_EVERY);
        if is_due && self.source.ask(Command::BeginEpoch(epoch)) {
            known.asked = Some(now);
        }
    }

    /// A follower of our cluster is in a later epoch than we are, and no sibling has told of one: all hubs have lost what
    /// they knew of a restore. Positions of the two epochs do not compare, and so ours ends.
    ///
    /// It costs one list of everything: followers are believed only this far, and this often.
    pub(in crate::hub) fn follower_is_ahead(&self, epoch: u64, now: Instant) {
        let ours = self.store.current().reached.told.epoch;
        let mut known = self.known();
        let rests = known.followed.is_some_and(|at| now < at + FOLLOWED_EVERY);
        if epoch <= ours || epoch - ours > MAX_FOLLOWED || rests {
            return;
        }
        known.followed = Some(now);
        tracing::warn!(epoch, ours, "a follower knows of a restore of the cluster that no hub remembers");
        let _ = self.source.ask(Command::BeginEpoch(epoch));
    }

    /// Takes over what was accepted at a sibling.
    async fn accept(&self, word: Accepted) {
        if !self.known().words.is_news(Instant::now(), &word) {
            return;
        }
        // One that the writer has not heard is told again with the next meeting.
        if self.control.accept_keys(word.keys.clone()).await {
            tracing::warn!(objects = word.keys.len(), "an operator has accepted a loss at another hub");
            self.metrics.accepted.increment(1);
            let _ = self.known().words.note(Instant::now(), word);
        }
    }

    /// Nobody has answered there.
    fn missed(&self, address: SocketAddr, why: String) {
        self.metrics.failed.increment(1);
        if self.known().silent.insert(address, why.clone()).is_none() {
            tracing::warn!(%address, why, "sibling does not answer");
        }
    }

    /// Forgets addresses that are none of a hub any more.
    fn keep(&self, addresses: &[SocketAddr]) {
        self.known().silent.retain(|address, _| addresses.contains(address));
    }

    // === What follows from it ===

    /// Looks after it until `stop`.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.look();
        }
    }

    fn look(&self) {
        let (generation, now) = (self.store.current().clone(), Instant::now());
        let mut known = self.known();
        known.words.forget_old(now);
        known.siblings.retain(|_, sibling| now.saturating_duration_since(sibling.at) < 2 * HEARD_WITHIN);
        let mut behind = None;
        for (name, sibling) in &mut known.siblings {
            let late = sibling.arrears.late(self.kinds, &generation.reached.told, now);
            // What an operator has frozen is behind by intent.
            if let (Some(late), true) = (late, generation.frozen.is_none()) {
                let (kind, seconds) = (late.kind, late.since.as_secs());
                behind = Some(format!("behind {name} in {kind} for {seconds} s"));
            }
        }
        let heard = |s: &&Sibling| now.saturating_duration_since(s.at) < HEARD_WITHIN;
        let foreign = known.siblings.values().filter(heard).filter(|s| s.foreign).count();
        let met = known.siblings.values().filter(heard).count() - foreign;
        self.metrics.met.set(met as f64);
        self.metrics.foreign.set(foreign as f64);
        self.metrics.silent.set(known.silent.len() as f64);
        drop(known);
        self.metrics.behind.set(if behind.is_some() { 1.0 } else { 0.0 });
        match (&behind, self.behind.load().is_some()) {
            (Some(why), false) => {
                tracing::warn!(why, "this hub is behind: followers are told that it is stale");
            }
            (None, true) => tracing::info!("this hub has come to where its siblings are"),
            (Some(_), true) | (None, false) => {}
        }
        self.behind.store(behind.map(Arc::new));
    }

    /// Whether a sibling that answers compares itself with a list of everything.
    pub(super) fn is_sibling_auditing(&self) -> bool {
        let now = Instant::now();
        let known = self.known();
        known.siblings.values().any(|s| s.said.auditing && now.saturating_duration_since(s.at) < HEARD_WITHIN)
    }

    /// Whether a sibling has data that we could fill from.
    pub(super) fn has_data(&self) -> bool {
        self.known().siblings.values().any(|s| s.address.is_some() && s.said.state != State::Empty)
    }

    /// All of them, for people.
    pub(super) fn shown(&self) -> Vec<Shown> {
        let (known, now) = (self.known(), Instant::now());
        let answering = known.siblings.values().map(|sibling| {
            let silence = now.saturating_duration_since(sibling.at);
            let why = if sibling.foreign {
                Some(format!("of another cluster: {}", sibling.said.cluster_uid))
            } else if silence >= HEARD_WITHIN {
                Some(format!("not heard for {} s", silence.as_secs()))
            } else {
                None
            };
            Shown {
                name: sibling.said.hub.clone(),
                address: sibling.address,
                release: sibling.said.release.clone(),
                state: Some(sibling.said.state),
                age: sibling.said.age + silence,
                epoch: sibling.said.position.epoch,
                why,
            }
        });
        let mut shown: Vec<_> = answering.collect();
        for (address, why) in &known.silent {
            let of = shown.iter_mut().find(|s| s.address == Some(*address));
            match of {
                Some(of) => of.why = Some(why.clone()),
                None => shown.push(Shown {
                    name: String::new(),
                    address: Some(*address),
                    release: String::new(),
                    state: None,
                    age: Duration::ZERO,
                    epoch: 0,
                    why: Some(why.clone()),
                }),
            }
        }
        shown.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
        shown
    }
}
