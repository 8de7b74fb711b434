//! A fleet of nodes that start in the same second and are asked the same names: how evenly their upstream is asked.
//!
//! What decides is the cache's own code ([`refresh::due`] and [`verdict`]); simulated are only the clients, which ask
//! each node for each name every so often, and an upstream that answers at once with a full TTL. Nodes and names do
//! not depend on each other, so they are gone through one after the other.

use std::sync::Arc;
use std::time::Duration;

use crate::forward::cache::entry::Usage;
use crate::forward::cache::refresh::{self, Cause, Due};
use crate::forward::cache::verdict::Reach;
use crate::forward::cache::{Class, Entry, Found, Moment, Packet, Policy, Verdict, verdict};
use crate::ops::jitter::Jitter;

/// A reply without records: what is in it does not matter here.
const REPLY: &[u8] = b"\0\0\x81\x80\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";

/// Which share of its time an entry has left when a fleet without jitter refreshes it: the mean of one with.
const LEFT: f64 = f64::midpoint(refresh::LEFT_MIN, refresh::LEFT_MAX);

/// A fleet and what it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// Nodes.
    pub nodes: u32,
    /// Names.
    pub names: u32,
    /// Their TTL, in seconds.
    pub ttl: u32,
    /// Between two queries for a name at a node.
    pub every: Duration,
    /// When counting begins, in seconds after the start.
    pub from: u64,
    /// When it ends.
    pub until: u64,
    /// Whether refreshes are spread.
    pub jittered: bool,
    /// Of the random numbers: the same seed gives the same load.
    pub seed: u64,
}

/// What the upstream sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Queries in the busiest second.
    pub busiest: u64,
    /// Queries a second.
    pub mean: f64,
}

impl Load {
    /// How much busier the busiest second is than all of them.
    pub fn ratio(self) -> f64 {
        self.busiest as f64 / self.mean
    }
}

impl Fleet {
    /// Lets it run.
    ///
    /// # Panics
    /// If nothing is counted: `from` is not before `until`, or there are no nodes or names.
    pub fn run(&self) -> Load {
        let jitter = Jitter::from_seed(self.seed);
        let mut seconds = vec![0; usize::try_from(self.until).expect("some minutes")];
        for _ in 0..u64::from(self.nodes) * u64::from(self.names) {
            self.one(&jitter, &mut seconds);
        }
        let counted = &seconds[usize::try_from(self.from).expect("before the end")..];
        let busiest = counted.iter().max().copied().expect("something is counted");
        Load { busiest, mean: counted.iter().sum::<u64>() as f64 / counted.len() as f64 }
    }

    /// A name at a node: counts its queries upstream by the second.
    fn one(&self, jitter: &Jitter, seconds: &mut [u64]) {
        let policy = Policy::default();
        let packet = Packet::new(REPLY.to_vec()).expect("a whole message");
        let mut fetch = |now: Moment, cause| {
            if let Some(second) = seconds.get_mut(now.since(Moment::START).as_secs() as usize) {
                *second += 1;
            }
            let due = if self.jittered {
                refresh::due(policy.refresh, self.ttl, now, cause, jitter)
            } else {
                let at = now.after(Duration::from_secs_f64(f64::from(self.ttl) * (1.0 - LEFT)));
                Some(Due { at, hits: 2 })
            };
            let (reply, usage) = (packet.clone(), Usage::new(now));
            let entry = Entry { reply, class: Class::Positive, stored: now, ttl: self.ttl, due, usage };
            Found { positive: Some(Arc::new(entry)), ..Found::default() }
        };
        let end = Moment::START.after(Duration::from_secs(self.until));
        let mut found = fetch(Moment::START, Cause::Miss);
        let mut now = Moment::START.after(jitter.full(self.every));
        while now < end {
            if let Some(entry) = &found.positive {
                entry.hit(now, Duration::MAX);
            }
            let cause = match verdict(&found, now, &policy, || Reach::ANSWERING) {
                Verdict::Fresh(_) => None,
                Verdict::FreshAndRefresh(_) => Some(Cause::Refresh),
                Verdict::Stale { .. } | Verdict::Fetch { .. } | Verdict::Failure(_) | Verdict::Miss => {
                    Some(Cause::Miss)
                }
            };
            if let Some(cause) = cause {
                found = fetch(now, cause);
            }
            now = now.after(self.every);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough names that chance alone does not make a second busy.
    const FLEET: Fleet = Fleet {
        nodes: 200,
        names: 50,
        ttl: 30,
        every: Duration::from_secs(2),
        from: 600,
        until: 720,
        jittered: true,
        seed: 1,
    };

    #[test]
    fn a_fleet_that_starts_together_does_not_stay_together() {
        let long = Fleet { names: 200, ttl: 300, every: Duration::from_secs(10), until: 900, ..FLEET };
        for fleet in [FLEET, long] {
            let load = fleet.run();
            assert!(load.ratio() <= 1.5, "ttl {}: {load:?} is {}", fleet.ttl, load.ratio());
            let together = Fleet { jittered: false, ..fleet }.run();
            assert!(together.ratio() > 3.0, "ttl {}: {together:?} is {}", fleet.ttl, together.ratio());
        }
        let few = Fleet { names: 2, ..FLEET };
        assert_eq!(few.run(), few.run(), "the same seed, the same load");
    }
}
