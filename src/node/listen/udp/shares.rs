//! What each client has of a queue.
//!
//! A client may have as many places as there are free ones. So one that floods takes half of them, of several that do
//! each has the same, and as much as that is always free for one that does not: of `n` that want all there is, each
//! gets one place in `n + 1`. While less than half is taken nobody is refused anything.
//!
//! The [waiting room](crate::node::listen) knows more of its clients, under a lock that a thread of the lane would have
//! to wait for; what stands here is gone in milliseconds, and who came first matters little.
//!
//! Memory: a fixed number of counts. Each client is counted in two of them, and has what the smaller one says: too much
//! only where both are other clients' as well. Which ones they are depends on a secret, so that nobody can bring it about.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// Counts in each of the two rows of a queue. Where thirty clients flood, one in 5,000 of the others shares both of its
/// counts with some.
const ROW: usize = 2048;

/// How many places each client has.
pub(super) struct Shares {
    /// Two rows.
    counts: Box<[AtomicU16]>,
    /// The secret.
    hasher: RandomState,
}

/// A client's place, until this is dropped.
pub(super) struct Share {
    /// Where it is counted.
    shares: Arc<Shares>,
    /// In which of the counts.
    at: [usize; 2],
}

impl Shares {
    /// Of a queue that is empty.
    pub(super) fn new() -> Arc<Self> {
        let counts = (0..2 * ROW).map(|_| AtomicU16::new(0)).collect();
        Arc::new(Self { counts, hasher: RandomState::new() })
    }

    /// A place for a client, where so many are free; `None` if it has its share. To be called by one thread.
    pub(super) fn take(self: &Arc<Self>, client: IpAddr, free: usize) -> Option<Share> {
        let at = self.at(client);
        let taken = self.counts(at).map(|count| count.load(Ordering::Relaxed)).min()?;
        if usize::from(taken) >= free {
            return None;
        }
        self.counts(at).for_each(|count| _ = count.fetch_add(1, Ordering::Relaxed));
        Some(Share { shares: self.clone(), at })
    }

    /// Where a client is counted: once in each row.
    fn at(&self, client: IpAddr) -> [usize; 2] {
        let hash = self.hasher.hash_one(client.to_canonical());
        [hash as usize % ROW, ROW + (hash >> 32) as usize % ROW]
    }

    fn counts(&self, at: [usize; 2]) -> impl Iterator<Item = &AtomicU16> {
        at.into_iter().filter_map(|at| self.counts.get(at))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.counts(self.at).for_each(|count| _ = count.fetch_sub(1, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue of so many places.
    struct Queue {
        places: usize,
        shares: Arc<Shares>,
        /// Clients that share no count.
        clients: Vec<IpAddr>,
        /// The places that are taken, by the clients' numbers.
        taken: Vec<(usize, Share)>,
    }

    impl Queue {
        fn new(places: usize) -> Self {
            let (shares, mut clients) = (Shares::new(), Vec::<IpAddr>::new());
            for client in (0..=u8::MAX).map(|number| IpAddr::from([10, 0, 0, number])) {
                let is_apart = |other: &IpAddr| {
                    let [first, second] = shares.at(client);
                    !shares.at(*other).contains(&first) && !shares.at(*other).contains(&second)
                };
                if clients.iter().all(is_apart) {
                    clients.push(client);
                }
            }
            Self { places, shares, clients, taken: Vec::new() }
        }

        fn take(&mut self, client: usize) -> bool {
            let share = self.shares.take(self.clients[client], self.places - self.taken.len());
            share.map(|share| self.taken.push((client, share))).is_some()
        }

        fn count(&self, client: usize) -> usize {
            self.taken.iter().filter(|(other, _)| *other == client).count()
        }
    }

    #[test]
    fn who_floods_has_half_and_leaves_room_for_whoever_comes() {
        let mut queue = Queue::new(1024);
        for _ in 0..5000 {
            queue.take(0);
        }
        assert_eq!(queue.count(0), 512);
        assert!((1..5).all(|client| queue.take(client)));
        queue.taken.remove(0);
        assert!(queue.taken.len() == 515 && !queue.take(0), "more than half is taken by then");
        queue.taken.clear();
        assert!(queue.take(0), "nothing is left of what has gone");
    }

    #[test]
    fn of_several_that_flood_each_has_the_same() {
        let mut queue = Queue::new(1000);
        for turn in 0..10_000 {
            queue.take(turn % 4);
            // The oldest is answered.
            if turn % 2 == 0 {
                queue.taken.remove(0);
            }
        }
        for client in 0..4 {
            assert!((190..=210).contains(&queue.count(client)), "{client} has {}", queue.count(client));
        }
        assert!((4..10).all(|client| queue.take(client)));
    }

    #[test]
    fn who_shares_one_of_its_counts_with_a_flood_has_its_own_share() {
        let mut queue = Queue::new(100);
        (0..1000).for_each(|_| _ = queue.take(0));
        let [first, _] = queue.shares.at(queue.clients[0]);
        let [_, second] = queue.shares.at(queue.clients[1]);
        let shares = &queue.shares;
        assert_eq!(shares.counts([first, second]).map(|count| count.load(Ordering::Relaxed)).min(), Some(0));
    }

    #[test]
    fn an_ipv4_address_is_one_client_in_both_spellings() {
        let shares = Shares::new();
        let v4 = std::net::Ipv4Addr::new(10, 0, 0, 1);
        let _first = shares.take(v4.into(), 1).unwrap();
        assert!(shares.take(v4.to_ipv6_mapped().into(), 1).is_none());
    }
}
