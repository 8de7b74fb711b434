//! Few places and many who want one: who gets in, and who has to go for it.
//!
//! Under overload alone. Up to half of the places are given to whoever comes; from there on a client that has its
//! share gets another one only for its own oldest. When all are taken, a newcomer takes the place of the oldest of the
//! client that has most, and where nobody has more than the newcomer's client, of the oldest of all. The oldest, because
//! its client is the one that has most likely given up.
//!
//! ```text
//! taken      0 ─────────── half ─────────── all
//! a client      in              in             in the place of the oldest of who has most; where nobody has more,
//!   below                                      of the oldest of all, if that had its time; else not at all
//!   its share
//! a client      in              in the place of its own oldest, if that had its time; else not at all
//!   that has it
//! ```
//!
//! Invariants:
//! * Never more places than the limit, and the cost of a newcomer does not depend on how many there are beyond the
//!   height of a tree of at most that size.
//! * What is kept of a client goes with its last place.
//! * Whoever is at work keeps its place; only who rests can be sent away.
//! * The lock is held for a few steps in memory, and never while anybody is told.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a place is kept at least, though others of the same right want it. Without such a time a flood would have
/// everything sent away before an upstream far away can answer, and nobody would get anything. unbound's
/// `jostle-timeout` is 200 ms; an answer that is not in its cache takes its upstreams longer now and then. It also
/// bounds what a flood has a node do: 4,096 places let 8,000 a second in, and the others cost a reply each.
pub const FIRM: Duration = Duration::from_millis(500);

/// One client's share is one in so many places, at least one. Pods of a node are tens, and the ones that are the
/// cause of an overload are few. Clients behind one address (host network, masquerade, another node's NAT) share
/// the share, which is why it is a limit only when more than half is taken: alone they have half of all places.
const SHARES: usize = 8;

/// A limited number of places; each of those who rest can be told to go by its `T`.
pub(super) struct Places<T> {
    /// How many are taken, to be read without the lock.
    taken: AtomicUsize,
    /// Above how many it is crowded.
    half: usize,
    /// Who has them.
    ledger: Mutex<Ledger<T>>,
}

/// What a limit was reached of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Of the places.
    All,
    /// Of one client's share of them.
    Client,
}

/// What becomes of somebody who wants a place now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prospect {
    /// There is one.
    Free,
    /// There is one for which somebody else has to go.
    Instead(Limit),
    /// There is none.
    None(Limit),
}

/// Somebody who got in, and who had to go for it.
pub(super) struct Entered<T> {
    /// The place.
    pub(super) place: Place<T>,
    /// Whom to tell, and what the limit was.
    pub(super) gone: Option<(T, Limit)>,
}

/// A place; it is free again when this is dropped.
pub(super) struct Place<T> {
    /// Where it is.
    places: Arc<Places<T>>,
    /// Whose it is.
    client: IpAddr,
    /// How it stands.
    standing: Standing,
}

/// How one has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It may be told to go, and has been able to be since this moment.
    Rests(u64),
    /// It stays.
    Works,
    /// It has left.
    Left,
}

impl<T> Places<T> {
    /// So many places, at least one, each kept for `firm`.
    pub(super) fn new(limit: usize, firm: Duration) -> Arc<Self> {
        let limit = limit.max(1);
        let ledger = Ledger {
            limit,
            half: limit / 2,
            share: (limit / SHARES).max(1),
            firm,
            next: 0,
            taken: 0,
            resting: BTreeMap::new(),
            clients: HashMap::new(),
            by_count: BTreeSet::new(),
        };
        Arc::new(Self { taken: AtomicUsize::new(0), half: ledger.half, ledger: Mutex::new(ledger) })
    }

    /// One client's share.
    pub(super) fn share(&self) -> usize {
        self.ledger().share
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// What `client` would get now. Takes the lock only where places are scarce.
    pub(super) fn prospect(&self, client: IpAddr, now: Instant) -> Prospect {
        if self.taken() <= self.half {
            return Prospect::Free;
        }
        match self.ledger().judge(client.to_canonical(), now) {
            Ok(None) => Prospect::Free,
            Ok(Some((_, limit))) => Prospect::Instead(limit),
            Err(limit) => Prospect::None(limit),
        }
    }

    /// Takes a place for `client`, who rests there and is told by `tell` if it has to go.
    ///
    /// # Errors
    /// The limit, if there is no place.
    pub(super) fn enter(
        self: &Arc<Self>,
        client: IpAddr,
        now: Instant,
        tell: T,
    ) -> Result<Entered<T>, Limit> {
        let client = client.to_canonical();
        let mut ledger = self.ledger();
        let gone = ledger
            .judge(client, now)?
            .and_then(|(oldest, limit)| ledger.send_away(oldest).map(|tell| (tell, limit)));
        ledger.take(client);
        let standing = Standing::Rests(ledger.rest(client, now, tell));
        self.publish(&ledger);
        drop(ledger);
        Ok(Entered { place: Place { places: self.clone(), client, standing }, gone })
    }

    /// Says how many are taken.
    fn publish(&self, ledger: &Ledger<T>) {
        self.taken.store(ledger.taken, Ordering::Relaxed);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger<T>> {
        // Nothing in it panics half way.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Place<T> {
    /// Goes to work: it stays until it [rests](Self::rest). False if it has been told to go.
    pub(super) fn work(&mut self) -> bool {
        if let Standing::Rests(since) = self.standing {
            let is_here = self.places.ledger().wake(self.client, since).is_some();
            self.standing = if is_here { Standing::Works } else { Standing::Left };
        }
        self.standing == Standing::Works
    }

    /// Has nothing to do from now on, and can be told to go.
    pub(super) fn rest(&mut self, now: Instant, tell: T) {
        if self.standing == Standing::Works {
            self.standing = Standing::Rests(self.places.ledger().rest(self.client, now, tell));
        }
    }

    /// Gives the place up.
    pub(super) fn leave(&mut self) {
        // Who was told to go has left already.
        if self.work() {
            let mut ledger = self.places.ledger();
            ledger.give_up(self.client);
            self.places.publish(&ledger);
        }
        self.standing = Standing::Left;
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Who has the places.
struct Ledger<T> {
    /// How many there are.
    limit: usize,
    /// Above how many taken ones shares count.
    half: usize,
    /// One client's share.
    share: usize,
    /// How long a place is kept at least.
    firm: Duration,
    /// The number of whoever rests next.
    next: u64,
    /// How many are taken.
    taken: usize,
    /// Who rests, the oldest first.
    resting: BTreeMap<u64, Resting<T>>,
    /// Who has places.
    clients: HashMap<IpAddr, Client>,
    /// How many each of them has: who has most is the last.
    by_count: BTreeSet<(usize, IpAddr)>,
}

/// Somebody who rests.
struct Resting<T> {
    /// Whose it is.
    client: IpAddr,
    /// Since when.
    since: Instant,
    /// By what it is told.
    tell: T,
}

/// One client's places.
#[derive(Default)]
struct Client {
    /// How many it has.
    count: usize,
    /// Which of them rest, the oldest first.
    resting: BTreeSet<u64>,
}

impl<T> Ledger<T> {
    /// Whether `client` gets a place, and in whose place that is.
    fn judge(&self, client: IpAddr, now: Instant) -> Result<Option<(u64, Limit)>, Limit> {
        let is_full = self.taken >= self.limit;
        let limit = if is_full { Limit::All } else { Limit::Client };
        let had_its_time = |oldest: &u64| {
            self.resting.get(oldest).is_some_and(|resting| now.duration_since(resting.since) >= self.firm)
        };
        let own = self.clients.get(&client);
        let count = own.map_or(0, |own| own.count);
        let goes = if self.taken > self.half && count >= self.share {
            own.and_then(|own| own.resting.first().copied()).filter(had_its_time)
        } else if is_full {
            // Not from who would have fewer than this one then.
            let most = self.by_count.last().filter(|(most, _)| *most > count + 1);
            let of_most = most.and_then(|(_, client)| self.clients.get(client)?.resting.first().copied());
            of_most.or_else(|| self.resting.keys().next().copied().filter(had_its_time))
        } else {
            return Ok(None);
        };
        goes.map(|oldest| Some((oldest, limit))).ok_or(limit)
    }

    /// Gives a place to `client`.
    fn take(&mut self, client: IpAddr) {
        self.taken += 1;
        let entry = self.clients.entry(client).or_default();
        self.by_count.remove(&(entry.count, client));
        entry.count += 1;
        self.by_count.insert((entry.count, client));
    }

    /// Takes one back from `client`.
    fn give_up(&mut self, client: IpAddr) {
        self.taken -= 1;
        let Entry::Occupied(mut entry) = self.clients.entry(client) else { return };
        self.by_count.remove(&(entry.get().count, client));
        entry.get_mut().count -= 1;
        match entry.get().count {
            0 => drop(entry.remove()),
            count => drop(self.by_count.insert((count, client))),
        }
    }

    /// Somebody of `client` rests; its number.
    fn rest(&mut self, client: IpAddr, since: Instant, tell: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.resting.insert(number, Resting { client, since, tell });
        self.clients.entry(client).or_default().resting.insert(number);
        number
    }

    /// Somebody of `client` rests no more; `None` if it was sent away.
    fn wake(&mut self, client: IpAddr, number: u64) -> Option<T> {
        let resting = self.resting.remove(&number)?;
        if let Some(client) = self.clients.get_mut(&client) {
            client.resting.remove(&number);
        }
        Some(resting.tell)
    }

    /// Takes the place of somebody who rests; how to tell it.
    fn send_away(&mut self, number: u64) -> Option<T> {
        let client = self.resting.get(&number)?.client;
        let tell = self.wake(client, number)?;
        self.give_up(client);
        Some(tell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client, by number.
    fn client(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    /// Places of which who goes is told by name.
    struct Fixture {
        places: Arc<Places<&'static str>>,
        /// Who has one.
        inside: Vec<(&'static str, Place<&'static str>)>,
    }

    impl Fixture {
        fn new(limit: usize, firm: Duration) -> Self {
            Self { places: Places::new(limit, firm), inside: Vec::new() }
        }

        /// Who had to go for it, and why; or that nobody got in.
        fn enter(&mut self, number: u8, name: &'static str) -> Result<Option<(&'static str, Limit)>, Limit> {
            let prospect = self.places.prospect(client(number), Instant::now());
            let entered = self.places.enter(client(number), Instant::now(), name);
            let as_foreseen = match &entered {
                Ok(Entered { gone: None, .. }) => Prospect::Free,
                Ok(Entered { gone: Some((_, limit)), .. }) => Prospect::Instead(*limit),
                Err(limit) => Prospect::None(*limit),
            };
            assert_eq!(prospect, as_foreseen, "{name}");
            let Entered { place, gone } = entered?;
            self.inside.push((name, place));
            Ok(gone)
        }

        /// Takes several places that are free.
        fn fill(&mut self, places: &[(u8, &'static str)]) {
            for (number, name) in places {
                assert_eq!(self.enter(*number, name), Ok(None), "{name}");
            }
        }

        fn of(&mut self, name: &str) -> &mut Place<&'static str> {
            let (_, place) = self.inside.iter_mut().find(|(other, _)| *other == name).unwrap();
            place
        }

        fn leave(&mut self, name: &str) {
            self.inside.retain(|(other, _)| *other != name);
        }

        /// Whether nothing is kept of anybody, once all have left.
        fn is_empty(&mut self) -> bool {
            self.inside.clear();
            let ledger = self.places.ledger();
            self.places.taken() == 0
                && ledger.taken == 0
                && ledger.resting.is_empty()
                && ledger.clients.is_empty()
                && ledger.by_count.is_empty()
        }
    }

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_taken_the_oldest_goes_and_in_order() {
        let mut fixture = Fixture::new(3, FIRM);
        fixture.fill(&[(1, "a"), (2, "b"), (3, "c")]);
        pass(FIRM).await;
        assert_eq!(fixture.enter(4, "d"), Ok(Some(("a", Limit::All))));
        assert_eq!(fixture.enter(5, "e"), Ok(Some(("b", Limit::All))));
        fixture.leave("c");
        assert_eq!(fixture.enter(6, "f"), Ok(None), "a place that was given up is free");
        assert_eq!(fixture.places.taken(), 3);
        assert!(fixture.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_kept_for_its_time() {
        let mut fixture = Fixture::new(2, FIRM);
        fixture.fill(&[(1, "a")]);
        pass(FIRM / 2).await;
        fixture.fill(&[(2, "b")]);
        assert_eq!(fixture.enter(3, "c"), Err(Limit::All), "a has had half of its time");
        pass(FIRM / 2).await;
        assert_eq!(fixture.enter(3, "d"), Ok(Some(("a", Limit::All))));
        assert_eq!(fixture.enter(4, "e"), Err(Limit::All), "b has had half of its time");
        assert!(fixture.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn below_half_one_client_may_have_as_many_as_it_wants() {
        let mut fixture = Fixture::new(16, FIRM);
        fixture.fill(&[(1, "a"), (1, "b"), (1, "c"), (1, "d"), (1, "e"), (1, "f"), (1, "g"), (1, "h")]);
        fixture.fill(&[(1, "i")]);
        assert_eq!(fixture.places.taken(), 9, "one more than half, of which a share is 2");
        assert_eq!(fixture.enter(1, "j"), Err(Limit::Client), "its own oldest has not had its time");
        fixture.fill(&[(2, "k"), (2, "l")]);
        pass(FIRM).await;
        assert_eq!(fixture.enter(1, "m"), Ok(Some(("a", Limit::Client))), "its own oldest goes");
        assert_eq!(fixture.enter(2, "n"), Ok(Some(("k", Limit::Client))), "a client that has its share");
        assert_eq!(fixture.places.taken(), 11);
        assert!(fixture.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_patient_client_outlasts_one_that_floods() {
        let mut fixture = Fixture::new(16, FIRM);
        fixture.fill(&[(2, "patient")]);
        for _ in 0..100 {
            pass(FIRM / 10).await;
            let _ = fixture.enter(1, "flood");
        }
        assert!(fixture.places.taken() <= 9, "{}", fixture.places.taken());
        assert!(fixture.of("patient").work(), "it still has its place");
        assert!(fixture.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_most_goes_before_an_older_one_and_at_any_age() {
        let mut fixture = Fixture::new(16, FIRM);
        fixture.fill(&[(2, "older"), (1, "a"), (1, "b"), (1, "c"), (1, "d"), (1, "e"), (1, "f")]);
        fixture.fill(&[(3, "g"), (3, "h"), (4, "i"), (4, "j"), (5, "k"), (5, "l"), (6, "m"), (6, "n")]);
        fixture.fill(&[(7, "o")]);
        assert_eq!(fixture.enter(1, "p"), Err(Limit::All), "its own oldest has not had its time");
        for (number, name, gone) in [(7, "q", "a"), (8, "r", "b"), (2, "s", "c"), (9, "t", "d")] {
            assert_eq!(fixture.enter(number, name), Ok(Some((gone, Limit::All))), "{name}");
        }
        // Nobody has more than two now.
        assert_eq!(fixture.enter(8, "u"), Err(Limit::All), "two instead of one");
        assert_eq!(fixture.enter(10, "v"), Ok(Some(("o", Limit::All))), "one instead of two");
        pass(FIRM).await;
        assert_eq!(fixture.enter(8, "w"), Ok(Some(("older", Limit::All))));
        assert!(fixture.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_works_stays_and_rests_as_the_youngest() {
        let mut fixture = Fixture::new(2, Duration::ZERO);
        fixture.fill(&[(1, "a"), (2, "b")]);
        assert!(fixture.of("a").work());
        assert_eq!(fixture.enter(3, "c"), Ok(Some(("b", Limit::All))));
        assert!(!fixture.of("b").work(), "it was told to go");
        assert!(fixture.of("c").work());
        assert_eq!(fixture.enter(4, "d"), Err(Limit::All), "all are at work");
        fixture.of("c").rest(Instant::now(), "c");
        fixture.of("a").rest(Instant::now(), "a");
        assert_eq!(fixture.enter(4, "e"), Ok(Some(("c", Limit::All))));
        fixture.of("b").rest(Instant::now(), "b");
        assert_eq!(fixture.places.taken(), 2, "who has left has no place to rest in");
        assert!(fixture.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv4_address_is_one_client_in_both_spellings() {
        let places: Arc<Places<()>> = Places::new(2, FIRM);
        let v4 = IpAddr::from([10, 0, 0, 1]);
        let mapped = IpAddr::from(std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        let inside = [v4, mapped].map(|client| places.enter(client, Instant::now(), ()).ok().unwrap());
        assert_eq!(places.ledger().clients.len(), 1);
        drop(inside);
        assert!(places.ledger().clients.is_empty());
    }
}
