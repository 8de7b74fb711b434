//! Endpoints that come and go at a steady rate, and how long each change takes to the last follower.

use std::time::{Duration, Instant};

use outlast::drill::standin::Standin;
use outlast::drill::standin::changes::Changes;
use outlast::drill::standin::etcd::What;
use outlast::testkit::followers::Crowd;

/// What a watch event has around its object.
const AROUND: usize = r#"{"type":"MODIFIED","object":}"#.len() + 1;

/// Changes that were made.
pub(crate) struct Made {
    /// The version before the first.
    after: u64,
    /// Version and moment of each.
    changes: Vec<(u64, Instant)>,
}

/// Makes so many changes a second, for so many seconds.
pub(crate) async fn make(standin: &Standin, crowd: &Crowd, rate: u32, seconds: u32) -> Made {
    let etcd = standin.etcd().clone();
    let mut changes = Changes::of(&etcd, 1);
    let after = etcd.revision();
    crowd.arrivals().watch(after, (rate * seconds) as usize);
    // On a thread of its own: the moments are to be its own, and not those that the runtime has for it.
    let make = move || {
        let begun = Instant::now();
        let mut made = Vec::new();
        for n in 0..rate * seconds {
            let due = begun + Duration::from_secs(1) * n / rate;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let at = Instant::now();
            made.push((changes.step().unwrap(), at));
        }
        made
    };
    Made { after, changes: tokio::task::spawn_blocking(make).await.unwrap() }
}

impl Made {
    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.changes.len()
    }

    /// Whether every change has come to every follower.
    pub(crate) fn has_come(&self, crowd: &Crowd) -> bool {
        self.changes.iter().rev().all(|(version, at)| crowd.arrivals().last(*version, *at).is_some())
    }

    /// How long each took to the last follower.
    pub(crate) fn latencies(&self, crowd: &Crowd) -> Latencies {
        let last = |(version, at): &(u64, Instant)| crowd.arrivals().last(*version, *at);
        let mut all: Vec<_> = self.changes.iter().filter_map(last).collect();
        assert_eq!(all.len(), self.count(), "every change has come to every follower");
        all.sort_unstable();
        Latencies(all)
    }

    /// What one watch of the API server carries of them, as JSON.
    pub(crate) fn bytes_of_a_watch(&self, standin: &Standin) -> usize {
        let history = standin.etcd().history();
        let written = history.iter().filter(|write| write.revision > self.after);
        let size = |what: &What| match what {
            What::Put(_, object) => object.text().len() + AROUND,
            _ => 0,
        };
        written.map(|write| size(&write.what)).sum()
    }
}

/// Sorted.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// That below which this part of them is.
    pub(crate) fn at(&self, part: f64) -> Duration {
        let last = self.0.len() - 1;
        self.0[(last as f64 * part).round() as usize]
    }
}
