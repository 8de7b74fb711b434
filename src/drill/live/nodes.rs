//! What nodes say of themselves meanwhile: how old their data is, whether they tell so in time, and what they ask the API
//! server. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::drill::processes::scrape;

/// What a node has said of itself at some moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// When.
    pub(super) at: Instant,
    /// Age of its data in seconds.
    pub(super) age: f64,
    /// Whether it calls its data live.
    pub(super) live: bool,
    /// Panics that it has caught.
    pub(super) panics: f64,
    /// Requests that it has made at the API server.
    pub(super) asked: f64,
}

impl Sample {
    /// Of its metrics.
    pub(super) fn of(text: &str) -> Self {
        let sum = |series| scrape::sum(text, series);
        Self {
            at: Instant::now(),
            age: sum("outlast_data_age_seconds"),
            live: sum("outlast_data_state{state=\"live\"}") > 0.0,
            panics: sum("coredns_panics_total"),
            asked: sum("coredns_kubernetes_rest_client_requests_total"),
        }
    }
}

/// What is known of a node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where its metrics are.
    at: SocketAddr,
    /// The first that it said, and the last; of a process that was started anew meanwhile, since then.
    seen: Option<(Sample, Sample)>,
    /// When it first said since the cut that its data is not live.
    old_since: Option<Instant>,
    /// The greatest age that it has said since the cut, in seconds.
    oldest: f64,
}

impl Node {
    /// Nothing is known.
    pub(super) const fn new(at: SocketAddr) -> Self {
        Self { at, seen: None, old_since: None, oldest: 0.0 }
    }

    /// Where its metrics are.
    pub(super) const fn at(&self) -> SocketAddr {
        self.at
    }

    /// Takes what it says; `cut` while the API server is away.
    pub(super) fn take(&mut self, sample: Sample, cut: bool) {
        let anew = |first: &Sample| sample.asked < first.asked || sample.panics < first.panics;
        let first = self.seen.map(|(first, _)| first).filter(|first| !anew(first)).unwrap_or(sample);
        self.seen = Some((first, sample));
        if cut {
            self.oldest = self.oldest.max(sample.age);
            if !sample.live {
                self.old_since.get_or_insert(sample.at);
            }
        }
    }

    /// The greatest age of its data since the cut, where it said any.
    pub(super) fn oldest(&self) -> Option<Duration> {
        (self.oldest > 0.0).then(|| Duration::try_from_secs_f64(self.oldest).unwrap_or(Duration::MAX))
    }

    /// What it has not kept of what is promised, when the cut has lasted from `cut` to `end`; `detect` is within what time
    /// it has to call its data old. Whoever follows hubs asks the API server nothing.
    pub(super) fn broken(
        &self,
        (cut, end): (Instant, Instant),
        detect: Duration,
        follows_hubs: bool,
    ) -> Vec<String> {
        let Some((first, last)) = self.seen else {
            return vec![format!("{} has no metrics", self.at)];
        };
        let late = match self.old_since {
            Some(since) => since.saturating_duration_since(cut) > detect,
            None => end.saturating_duration_since(cut) > detect,
        };
        let (panics, asked) = (last.panics - first.panics, last.asked - first.asked);
        let late = late.then(|| format!("{} has called its data live for more than {detect:?}", self.at));
        let panics = (panics > 0.0).then(|| format!("{} has caught {panics} panics", self.at));
        let asked = (follows_hubs && asked > 0.0)
            .then(|| format!("{} has asked the API server {asked} times, and has hubs for that", self.at));
        late.into_iter().chain(panics).chain(asked).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_itself_is_held_to_what_is_promised() {
        const DETECT: Duration = Duration::from_secs(90);
        // Seconds since the cut, age, whether it calls its data live, panics, requests.
        type Row = (u64, f64, bool, f64, f64);
        let live = |s: u64| (s, 1.0, true, 0.0, 5.0);
        let old = |s: u64| (s, s as f64, false, 0.0, 5.0);
        let cases: [(&str, Vec<Row>, bool, &[&str]); 8] = [
            ("as promised", vec![live(0), live(30), old(45), old(180)], true, &[]),
            ("nothing is said", vec![], true, &["has no metrics"]),
            ("it is never old", vec![live(0), live(180)], true, &["has called its data live"]),
            ("it is old too late", vec![live(0), live(90), old(95)], true, &["has called its data live"]),
            ("it panics", vec![live(0), (60, 60.0, false, 2.0, 5.0)], true, &["has caught 2 panics"]),
            ("it asks", vec![live(0), (60, 60.0, false, 0.0, 8.0)], true, &["asked the API server 3 times"]),
            ("it has no hubs", vec![live(0), (60, 60.0, false, 0.0, 8.0)], false, &[]),
            ("it was started anew", vec![live(0), (60, 60.0, false, 0.0, 2.0)], true, &[]),
        ];
        for (name, rows, follows_hubs, want) in cases {
            let cut = Instant::now();
            let mut node = Node::new(([127, 0, 0, 1], 9153).into());
            for (s, age, live, panics, asked) in &rows {
                let at = cut + Duration::from_secs(*s);
                node.take(Sample { at, age: *age, live: *live, panics: *panics, asked: *asked }, true);
            }
            let broken = node.broken((cut, cut + Duration::from_secs(180)), DETECT, follows_hubs);
            let is_said = broken.iter().zip(want).all(|(said, want)| said.contains(want));
            assert!(broken.len() == want.len() && is_said, "{name}: {broken:?}");
            let oldest = rows.iter().map(|row| row.1).fold(0.0, f64::max);
            assert_eq!(node.oldest().map_or(0.0, |age| age.as_secs_f64()), oldest, "{name}");
        }
    }
}
