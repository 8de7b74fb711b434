//! Which hub is next. Pure: takes `now`.
//!
//! Each follower has its own order of the hubs, by rendezvous hashing of its name and their addresses: nodes spread over
//! all hubs, and a hub that comes or goes moves only those that it has to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::access::HubAccess;
use super::known::MAX_HUBS;
use super::standing::WrongHubs;
use crate::ops::backoff::{Backoff, Policy};
use crate::ops::jitter::Jitter;
use crate::trust::config::TrustConfig;

/// For how long a hub that has failed or was passed over stands behind the others: it is replaced or has recovered
/// within that.
const SHUNNED: Duration = Duration::from_secs(300);

/// The hubs, and what has become of them.
#[derive(Debug)]
pub(super) struct Choice {
    /// Name of the follower.
    name: String,
    /// Those of the configuration.
    seeds: Vec<SocketAddr>,
    /// Those of the last list that a hub has sent.
    known: Vec<SocketAddr>,
    /// Whether only hubs on loopback are to be dialled: plain text was allowed for those.
    loopback_only: bool,
    /// What has become of each; of those that are known or configured only.
    hubs: HashMap<SocketAddr, Record>,
}

/// What has become of a hub.
#[derive(Debug)]
struct Record {
    /// Between two tries.
    backoff: Backoff,
    /// Not to be dialled before.
    not_before: Option<Instant>,
    /// When it last failed or was passed over, if nothing good was seen of it since.
    shunned: Option<Instant>,
    /// Why it was left then.
    reason: Option<&'static str>,
}

/// The next hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// This one.
    Hub(SocketAddr),
    /// None before then.
    Wait(Instant),
}

/// What a list said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learned {
    /// What was known.
    Same,
    /// Something else.
    Changed,
}

impl Choice {
    /// Nothing is known but the configuration.
    pub(super) fn new(access: &HubAccess) -> Self {
        // Whoever may be dialled without a certificate is nobody that a hub names.
        let loopback_only =
            access.trust == TrustConfig::Plain && access.seeds.iter().all(|seed| seed.ip().is_loopback());
        Self {
            name: access.name.clone(),
            seeds: access.seeds.clone(),
            known: Vec::new(),
            loopback_only,
            hubs: HashMap::new(),
        }
    }

    /// A hub has told of all hubs. An empty list says nothing.
    pub(super) fn learn(&mut self, hubs: &[SocketAddr]) -> Learned {
        let mut hubs: Vec<_> =
            hubs.iter().copied().filter(|hub| hub.ip().is_loopback() || !self.loopback_only).collect();
        hubs.sort_unstable();
        hubs.dedup();
        hubs.truncate(MAX_HUBS);
        if hubs.is_empty() || hubs == self.known {
            return Learned::Same;
        }
        self.known = hubs;
        let (known, seeds) = (&self.known, &self.seeds);
        self.hubs.retain(|hub, _| known.contains(hub) || seeds.contains(hub));
        Learned::Changed
    }

    /// The last list.
    pub(super) fn known(&self) -> &[SocketAddr] {
        &self.known
    }

    /// Whether this one is among the hubs there are.
    pub(super) fn has(&self, hub: SocketAddr) -> bool {
        self.hubs_there_are().contains(&hub)
    }

    /// Whether there is another hub than this one. A seed that is on no list may be an address of the same hub.
    pub(super) fn has_other(&self, hub: SocketAddr) -> bool {
        self.hubs_there_are().iter().any(|other| *other != hub)
    }

    /// Whether there is another hub than these.
    pub(super) fn has_other_than(&self, wrong: &WrongHubs, now: Instant) -> bool {
        self.hubs_there_are().iter().any(|other| !wrong.has(*other, now))
    }

    /// Another hub than this one that may be dialled: one of those that are not `wrong`, and where there is none that may be,
    /// one that is, if it is their turn.
    pub(super) fn other_than(
        &self,
        hub: SocketAddr,
        wrong: &WrongHubs,
        turn_of_wrong: bool,
        now: Instant,
    ) -> Option<SocketAddr> {
        let others = self.hubs_there_are().iter().copied().filter(|other| *other != hub);
        let meant = others.filter(|other| turn_of_wrong || !wrong.has(*other, now));
        let ready = meant.filter(|other| self.not_before(*other).is_none_or(|at| at <= now));
        ready.min_by_key(|other| {
            (wrong.has(*other, now), self.shunned(*other, now), u64::MAX - self.weight(*other))
        })
    }

    /// Those of the list; without one, those of the configuration.
    fn hubs_there_are(&self) -> &[SocketAddr] {
        if self.known.is_empty() { &self.seeds } else { &self.known }
    }

    /// The hub to dial.
    pub(super) fn pick(&self, now: Instant) -> Pick {
        let mut candidates = self.known.clone();
        // Addresses of the configuration lead to whom they led when it was written: the list is newer.
        if self.known.iter().all(|hub| self.shunned(*hub, now).is_some()) {
            candidates.extend(self.seeds.iter().filter(|seed| !self.known.contains(seed)));
        }
        let ready = |hub: &SocketAddr| self.not_before(*hub).is_none_or(|at| at <= now);
        // Of those that are shunned, the one that was left longest ago: another try of each before a second of any.
        let best = candidates.iter().copied().filter(ready).min_by_key(|hub| {
            (self.shunned(*hub, now), !self.known.contains(hub), u64::MAX - self.weight(*hub))
        });
        match best {
            Some(hub) => Pick::Hub(hub),
            None => {
                let first = candidates.iter().filter_map(|hub| self.not_before(*hub)).min();
                Pick::Wait(first.unwrap_or(now + Policy::RECONNECT.cap))
            }
        }
    }

    /// Whether another hub than this one is this follower's first choice, may be dialled, and is not one of those that are
    /// `wrong`.
    pub(super) fn prefers_other(&self, hub: SocketAddr, wrong: &WrongHubs, now: Instant) -> bool {
        let first = self.hubs_there_are().iter().max_by_key(|other| self.weight(**other));
        first.is_some_and(|first| {
            let is_ready = self.not_before(*first).is_none_or(|at| at <= now);
            *first != hub && is_ready && self.shunned(*first, now).is_none() && !wrong.has(*first, now)
        })
    }

    /// A hub does what it is there for.
    pub(super) fn healthy(&mut self, hub: SocketAddr, now: Instant) {
        let record = self.record(hub);
        record.backoff.healthy(now);
        (record.shunned, record.not_before, record.reason) = (None, None, None);
    }

    /// A hub is left for this reason: whether that is worth a line, because it was well or was left for another one.
    pub(super) fn is_news(&mut self, hub: SocketAddr, reason: &'static str) -> bool {
        self.record(hub).reason.replace(reason) != Some(reason)
    }

    /// A hub has failed, or has asked to be left alone for `floor`.
    pub(super) fn failed(&mut self, hub: SocketAddr, now: Instant, floor: Duration, jitter: &Jitter) {
        let record = self.record(hub);
        let wait = record.backoff.failed_with_floor(now, jitter, floor);
        (record.shunned, record.not_before) = (Some(now), Some(now + wait));
    }

    /// A hub was left for another one, if there is any.
    pub(super) fn passed(&mut self, hub: SocketAddr, now: Instant) {
        self.record(hub).shunned = Some(now);
    }

    /// Every hub may be dialled at once.
    pub(super) fn forgive(&mut self) {
        self.hubs.values_mut().for_each(|record| record.not_before = None);
    }

    fn record(&mut self, hub: SocketAddr) -> &mut Record {
        let new = || Record {
            backoff: Backoff::new(Policy::RECONNECT),
            not_before: None,
            shunned: None,
            reason: None,
        };
        self.hubs.entry(hub).or_insert_with(new)
    }

    fn not_before(&self, hub: SocketAddr) -> Option<Instant> {
        self.hubs.get(&hub)?.not_before
    }

    /// Since when a hub stands behind the others, if it does.
    fn shunned(&self, hub: SocketAddr, now: Instant) -> Option<Instant> {
        let since = self.hubs.get(&hub).and_then(|record| record.shunned);
        since.filter(|since| now.saturating_duration_since(*since) < SHUNNED)
    }

    /// The hub with the highest is preferred.
    fn weight(&self, hub: SocketAddr) -> u64 {
        xxh3_64(format!("{}\0{hub}", self.name).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 9953))
    }

    fn choice(name: &str, seeds: &[u8], known: &[u8]) -> Choice {
        let access = HubAccess {
            seeds: seeds.iter().map(|n| hub(*n)).collect(),
            trust: TrustConfig::Plain,
            headless_only: false,
            name: name.to_owned(),
        };
        let mut choice = Choice::new(&access);
        let known: Vec<_> = known.iter().map(|n| hub(*n)).collect();
        let _ = choice.learn(&known);
        choice
    }

    fn wrong(hubs: &[u8], now: Instant) -> WrongHubs {
        let mut wrong = WrongHubs::default();
        hubs.iter().for_each(|n| wrong.insert(hub(*n), "then".to_owned(), now));
        wrong
    }

    fn picked(choice: &Choice, now: Instant) -> Option<SocketAddr> {
        match choice.pick(now) {
            Pick::Hub(hub) => Some(hub),
            Pick::Wait(_) => None,
        }
    }

    #[test]
    fn nodes_spread_over_hubs_and_a_new_one_moves_only_its_share() {
        let now = Instant::now();
        let of = |node: usize, known: &[u8]| picked(&choice(&format!("node-{node}"), &[9], known), now);
        let mut counts = HashMap::<_, usize>::new();
        let mut moved = 0;
        for node in 0..900 {
            let (two, three) = (of(node, &[1, 2]), of(node, &[1, 2, 3]));
            *counts.entry(three).or_default() += 1;
            if two != three {
                assert_eq!(three, Some(hub(3)));
                moved += 1;
            }
        }
        assert_eq!(counts.len(), 3);
        assert!(counts.values().all(|n| (240..=360).contains(n)), "{counts:?}");
        assert!((240..=360).contains(&moved), "{moved}");
    }

    #[test]
    fn the_next_hub() {
        let jitter = Jitter::from_seed(1);
        let now = Instant::now();
        let mut choice = choice("n", &[9], &[1, 2]);
        let first = picked(&choice, now).expect("a hub");
        choice.failed(first, now, Duration::from_secs(60), &jitter);
        let second = picked(&choice, now).expect("another hub");
        assert!(second != first && second != hub(9), "the list is ahead of the configuration");
        choice.failed(second, now, Duration::from_secs(30), &jitter);
        assert_eq!(picked(&choice, now), Some(hub(9)), "none of the list answers");
        choice.failed(hub(9), now, Duration::from_secs(40), &jitter);
        let Pick::Wait(until) = choice.pick(now) else { panic!("all have failed") };
        assert!((30..=31).contains(&(until - now).as_secs()));
        assert_eq!(picked(&choice, until), Some(second), "the first one that may be dialled");
        choice.healthy(first, until);
        assert_eq!(picked(&choice, until), Some(first));
        choice.passed(first, until);
        assert_eq!(picked(&choice, until), Some(second), "passed over, and so behind the others");
        assert_eq!(picked(&choice, until + SHUNNED), Some(first), "not for ever");
    }

    #[test]
    fn a_hub_that_fails_as_before_is_no_news() {
        let (jitter, now) = (Jitter::from_seed(1), Instant::now());
        let mut choice = choice("n", &[1, 2], &[]);
        assert!(choice.is_news(hub(1), "closed"));
        choice.failed(hub(1), now, Duration::ZERO, &jitter);
        assert!(!choice.is_news(hub(1), "closed"));
        assert!(choice.is_news(hub(2), "closed"), "of another one it is");
        assert!(choice.is_news(hub(1), "silent"), "for another reason, too");
        choice.healthy(hub(1), now);
        assert!(choice.is_news(hub(1), "silent"), "and once it was well");
    }

    #[test]
    fn who_was_wrong_is_gone_to_only_where_all_others_were() {
        let (jitter, now) = (Jitter::from_seed(1), Instant::now());
        let mut choice = choice("n", &[9], &[1, 2, 3]);
        let mut wrong = wrong(&[1, 2], now);
        for turn_of_wrong in [false, true] {
            assert_eq!(choice.other_than(hub(1), &wrong, turn_of_wrong, now), Some(hub(3)));
        }
        choice.failed(hub(3), now, Duration::from_secs(10), &jitter);
        assert_eq!(choice.other_than(hub(1), &wrong, false, now), None, "it is waited for");
        assert_eq!(choice.other_than(hub(1), &wrong, true, now), Some(hub(2)), "and not for ever");
        wrong.insert(hub(3), String::new(), now);
        assert!(!choice.has_other_than(&wrong, now));
        assert_eq!(choice.other_than(hub(1), &wrong, false, now), None);
        assert_eq!(choice.other_than(hub(1), &wrong, true, now), Some(hub(2)));
        let later = now + Duration::from_secs(3600);
        assert!(choice.has_other_than(&wrong, later), "what was wrong an hour ago may be right");
    }

    #[test]
    fn the_only_hub_is_left_for_nobody() {
        let now = Instant::now();
        let mut choice = choice("n", &[1], &[]);
        assert!(!choice.has_other(hub(1)));
        choice.passed(hub(1), now);
        assert_eq!(picked(&choice, now), Some(hub(1)));
    }

    #[test]
    fn the_first_choice_is_preferred_unless_it_is_shunned() {
        let (jitter, now) = (Jitter::from_seed(1), Instant::now());
        let mut choice = choice("n", &[9], &[1, 2]);
        let first = picked(&choice, now).expect("a hub");
        let second = if first == hub(1) { hub(2) } else { hub(1) };
        let prefers = |choice: &Choice, hub, now| choice.prefers_other(hub, &WrongHubs::default(), now);
        assert!(!prefers(&choice, first, now));
        assert!(prefers(&choice, second, now));
        assert!(prefers(&choice, hub(9), now), "whoever that is");
        let mut wrong = wrong(&[], now);
        wrong.insert(first, String::new(), now);
        assert!(!choice.prefers_other(second, &wrong, now), "it was alarmed about");
        choice.failed(first, now, Duration::ZERO, &jitter);
        assert!(!prefers(&choice, second, now));
        assert!(prefers(&choice, second, now + SHUNNED));
        assert!(!choice.prefers_other(second, &wrong, now + SHUNNED));
        let _ = choice.learn(&[second]);
        assert!(!prefers(&choice, second, now + SHUNNED), "it is on the list no longer");
    }

    #[test]
    fn lists_are_bounded_and_an_empty_one_says_nothing() {
        let mut choice = choice("n", &[1], &[2, 3]);
        assert_eq!(choice.learn(&[]), Learned::Same);
        assert_eq!(choice.learn(&[hub(3), hub(2), hub(2)]), Learned::Same);
        let many: Vec<_> = (0..200).map(hub).collect();
        assert_eq!(choice.learn(&many), Learned::Changed);
        assert_eq!(choice.known().len(), MAX_HUBS);
    }

    #[test]
    fn plain_text_that_was_allowed_on_loopback_stays_there() {
        let local = SocketAddr::from(([127, 0, 0, 1], 1));
        let access = HubAccess {
            seeds: vec![local],
            trust: TrustConfig::Plain,
            headless_only: false,
            name: String::new(),
        };
        let mut choice = Choice::new(&access);
        let other = SocketAddr::from(([127, 0, 0, 2], 1));
        let _ = choice.learn(&[hub(1), other]);
        assert_eq!(choice.known(), [other]);
    }
}
