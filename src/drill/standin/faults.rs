//! What the server can be told to do wrong, at any time, while it runs.
//!
//! Three places: single requests ([`Rule`]s), the network ([`Network`]), and the cache and the watches (lag,
//! freeze, silence, skipped events).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::etcd::Etcd;
use super::requests::{ListKind, Requests, Verb};
use crate::zone::object::Kind;

/// What is done to a request instead of, or on the way of, its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is taken and nothing is ever said.
    Hang,
    /// The right answer, `bytes` at a time, one portion every `every`.
    Drip {
        /// At least 1.
        bytes: usize,
        /// Time between two portions.
        every: Duration,
    },
    /// The right answer, so much later.
    Late(Duration),
    /// The right answer, but after so many bytes of its body the connection is reset.
    Cut {
        /// Bytes of the body that still arrive.
        after: usize,
    },
    /// An error instead of the answer, in the words of a real server.
    Answer(Refusal),
    /// A list without items, at the version that it should have; a streaming list without initial events.
    Empty,
    /// Status 200 and a body that is not JSON.
    Garbage,
}

/// Errors that a server answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 410: for a watch as an ERROR event, as a real server does; for a list as its status.
    Gone,
    /// 429 with `Retry-After` in seconds.
    TooManyRequests(u32),
    /// 500
    Internal,
    /// 503
    Unavailable,
    /// 504
    Timeout,
}

/// A fault and what it befalls. Without `on`, `of` and `from`: every request.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What happens.
    fault: Fault,
    /// Only this verb.
    verb: Option<Verb>,
    /// Only lists of this sort.
    list: Option<ListKind>,
    /// Only this kind.
    kind: Option<Kind>,
    /// Only this user.
    user: Option<String>,
    /// How often it still happens; `None` until it is removed.
    left: Option<u32>,
}

impl Rule {
    /// `fault` for every request, until it is removed.
    pub fn new(fault: Fault) -> Self {
        Self { fault, verb: None, list: None, kind: None, user: None, left: None }
    }

    /// Only for this verb; [`Verb::List`] includes small lists.
    #[must_use]
    pub fn on(self, verb: Verb) -> Self {
        Self { verb: Some(verb), ..self }
    }

    /// Only for lists of this sort.
    #[must_use]
    pub fn on_lists(self, list: ListKind) -> Self {
        Self { list: Some(list), ..self }
    }

    /// Only for this kind.
    #[must_use]
    pub fn of(self, kind: Kind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Only for this user.
    #[must_use]
    pub fn from(self, user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..self }
    }

    /// So many times and then no more.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { left: Some(times), ..self }
    }

    fn befalls(&self, what: &Victim<'_>) -> bool {
        self.verb.is_none_or(|verb| verb == what.verb)
            && self.list.is_none_or(|list| Some(list) == what.list)
            && self.kind.is_none_or(|kind| Some(kind) == what.kind)
            && self.user.as_deref().is_none_or(|user| user == what.user)
            && self.left != Some(0)
    }
}

/// What rules look at.
pub(super) struct Victim<'a> {
    /// What is asked.
    pub(super) verb: Verb,
    /// What sort of list.
    pub(super) list: Option<ListKind>,
    /// About what.
    pub(super) kind: Option<Kind>,
    /// By whom.
    pub(super) user: &'a str,
}

/// Names a rule, to remove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(u64);

/// What happens to whoever connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Served.
    #[default]
    Open,
    /// Refused: nobody listens on the port. Connections that are there stay.
    Refuse,
    /// Accepted and closed at once.
    Close,
    /// Accepted; nothing is said, not even by TLS.
    HangAtTls,
}

/// All faults of one server.
pub struct Faults {
    /// Rules, the oldest first; the first that fits is taken.
    rules: Mutex<Rules>,
    /// What happens to whoever connects.
    network: watch::Sender<Network>,
    /// That of the socket: it listens, or does not.
    in_effect: watch::Sender<Network>,
    /// Cancelled to cut every connection, and then replaced.
    cut: Mutex<CancellationToken>,
    /// Revisions whose events no watch delivers; as many as a test names.
    hidden: Mutex<BTreeSet<u64>>,
    /// For lag and freeze.
    etcd: Etcd,
    /// For silence and skips.
    requests: Arc<Requests>,
}

/// The rules and their names.
#[derive(Default)]
struct Rules {
    /// The newest name.
    last: u64,
    /// The rules.
    rules: Vec<(RuleId, Rule)>,
}

impl Faults {
    /// No faults.
    pub(super) fn new(etcd: Etcd, requests: Arc<Requests>) -> Self {
        let network = watch::Sender::new(Network::Open);
        Self {
            rules: Mutex::default(),
            in_effect: watch::Sender::new(Network::Open),
            network,
            cut: Mutex::default(),
            hidden: Mutex::default(),
            etcd,
            requests,
        }
    }

    // --- requests ---

    /// Adds a rule; the oldest that fits a request is the one that befalls it.
    pub fn add(&self, rule: Rule) -> RuleId {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.last += 1;
        let id = RuleId(rules.last);
        rules.rules.push((id, rule));
        id
    }

    /// Removes a rule; nothing if it is gone already. What has befallen a request goes on (a hang hangs).
    pub fn remove(&self, id: RuleId) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).rules.retain(|(other, _)| *other != id);
    }

    /// Ends all faults: no rules, an open network, a cache without lag. Watches that were silenced stay silent.
    pub fn clear(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).rules.clear();
        self.set_network(Network::Open);
        self.lag(Duration::ZERO);
        self.thaw();
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What befalls a request.
    pub(super) fn take(&self, what: &Victim<'_>) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let at = rules.rules.iter().position(|(_, rule)| rule.befalls(what))?;
        let rule = &mut rules.rules[at].1;
        let fault = rule.fault.clone();
        rule.left = rule.left.map(|left| left.saturating_sub(1));
        if rule.left == Some(0) {
            rules.rules.remove(at);
        }
        Some(fault)
    }

    // --- the network ---

    /// What happens to whoever connects from now on.
    pub fn set_network(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// The same, and returns once the socket listens or does not: what follows is then heard, or is not. To be called where there
    /// is a socket, by one at a time.
    pub async fn change_network(&self, network: Network) {
        let mut in_effect = self.in_effect.subscribe();
        self.set_network(network);
        // The sender is ours: it never closes.
        let _ = in_effect.wait_for(|in_effect| *in_effect == network).await;
    }

    /// The socket is like that now.
    pub(super) fn took_effect(&self, network: Network) {
        self.in_effect.send_replace(network);
    }

    /// Resets every connection that is open now.
    pub fn cut_connections(&self) {
        self.cut_connections_and(|| ());
    }

    /// Resets every connection that is open now, and has `then` happen before any other one is served.
    pub(super) fn cut_connections_and(&self, then: impl FnOnce()) {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *cut).cancel();
        then();
    }

    /// Cancelled when the connections that begin now are cut.
    pub(super) fn next_cut(&self) -> CancellationToken {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What happens to whoever connects, and when that changes.
    pub(super) fn network(&self) -> watch::Receiver<Network> {
        self.network.subscribe()
    }

    // --- the cache and the watches ---

    /// Cached lists and watches see what was there this long ago; consistent lists do not. Zero ends it.
    pub fn lag(&self, by: Duration) {
        self.etcd.set_lag(by);
    }

    /// Cached lists and watches stay at what is there now.
    pub fn freeze(&self) {
        self.etcd.set_frozen(true);
    }

    /// The cache goes on.
    pub fn thaw(&self) {
        self.etcd.set_frozen(false);
    }

    /// Nothing is delivered any more on the watches that are open now, nor do they end: silently dead.
    pub fn silence_watches(&self) {
        self.requests.each_open(|watch| watch.silent.store(true, std::sync::atomic::Ordering::Relaxed));
        self.etcd.wake();
    }

    /// The event of this revision, to be named before it is written, is delivered on no watch, however often one begins
    /// before it. Lists have what it did.
    pub fn hide(&self, revision: u64) {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner).insert(revision);
    }

    /// Whether watches pass over the event of this revision.
    pub(super) fn is_hidden(&self, revision: u64) -> bool {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner).contains(&revision)
    }

    /// On each watch that is open now the next `events` are never delivered; later ones and bookmarks are. The
    /// history has them: whoever lists or watches anew sees them.
    pub fn skip_events(&self, events: usize) {
        self.requests.each_open(|watch| watch.skip.store(events, std::sync::atomic::Ordering::Relaxed));
    }
}
