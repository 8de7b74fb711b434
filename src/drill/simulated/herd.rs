//! A herd: many nodes whose hubs are away for minutes are not to come all at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::paused;
use crate::drill::report::Figures;
use crate::drill::{Observed, Play, Played};
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::source::hub::HubSource;
use crate::source::hub::access::{DEFAULT_PORT, HubAccess};
use crate::source::hub::transport::{Dial, Link, NotDialled};
use crate::source::{UPDATE_QUEUE, Wanted, command};
use crate::trust::config::TrustConfig;

/// How many follow: in short, and else.
const FOLLOWERS: (u64, u64) = (300, 1_000);

/// For how many seconds hubs are away.
const AWAY: usize = 600;

/// The last seconds of them, in which attempts are counted.
const COUNTED: usize = 300;

/// The busiest second has at most so many times the attempts of a mean one.
const BUSIEST: u64 = 3;

/// Nodes look for hubs, and there are none.
pub(in crate::drill) fn herd(play: &Play<'_>) -> anyhow::Result<Played> {
    let followers = if play.short { FOLLOWERS.0 } else { FOLLOWERS.1 };
    let attempts = paused()?.block_on(attempts(followers, play.seed));
    let last = &attempts[AWAY - COUNTED..];
    let all: u64 = last.iter().sum();
    let figures =
        Figures { queries: all, counted_ms: COUNTED as u64 * 1_000, recover_ms: None, ..Figures::default() };
    Ok(Played::Observed(Box::new(Observed {
        figures,
        broken: too_many(last).into_iter().collect(),
        ..Observed::default()
    })))
}

/// What is wrong with so many attempts, second by second.
fn too_many(attempts: &[u64]) -> Option<String> {
    let (all, busiest) = (attempts.iter().sum::<u64>(), attempts.iter().copied().max()?);
    let is_broken = busiest * attempts.len() as u64 > BUSIEST * all;
    is_broken.then(|| {
        format!(
            "the busiest second has {busiest} attempts and a mean one {:.1}, promised at most {BUSIEST} times as many",
            all as f64 / attempts.len() as f64
        )
    })
}

/// How often so many followers dial in each second in which there is no hub.
async fn attempts(followers: u64, seed: u64) -> Vec<u64> {
    let nobody = Arc::new(Nobody { began: Instant::now(), seconds: (0..AWAY).map(|_| 0.into()).collect() });
    let (metrics, jitter, stop) =
        (Arc::new(Metrics::new()), Jitter::from_seed(seed), CancellationToken::new());
    let mut orders = Vec::new();
    for number in 0..followers {
        let hub = |host| SocketAddr::from((Ipv4Addr::new(10, 9, 0, host), DEFAULT_PORT));
        let access = HubAccess {
            seeds: vec![hub(1), hub(2)],
            trust: TrustConfig::Plain,
            headless_only: false,
            name: format!("node-{number}"),
        };
        let wanted = Wanted { labels: false, pods: false };
        let source = HubSource::with_dial(&access, wanted, None, jitter.fork(), &metrics, nobody.clone());
        let (updates, mut queue) = mpsc::channel(UPDATE_QUEUE);
        let (order, orders_of) = command::channel();
        // Whose orders nobody can give any more would look for nothing else.
        orders.push(order);
        tokio::spawn(source.run(updates, orders_of, stop.clone()));
        tokio::spawn(async move { while queue.recv().await.is_some() {} });
    }
    tokio::time::sleep(Duration::from_secs(AWAY as u64)).await;
    stop.cancel();
    nobody.seconds.iter().map(|second| second.load(Ordering::Relaxed)).collect()
}

/// Where no hub is.
struct Nobody {
    /// When it was first looked for.
    began: Instant,
    /// How often it was dialled, by second.
    seconds: Vec<AtomicU64>,
}

#[async_trait]
impl Dial for Nobody {
    async fn dial(&self, _: SocketAddr) -> Result<Link, NotDialled> {
        let second = usize::try_from(self.began.elapsed().as_secs()).unwrap_or(usize::MAX);
        if let Some(second) = self.seconds.get(second) {
            second.fetch_add(1, Ordering::Relaxed);
        }
        Err(NotDialled::Unreachable("connecting: refused".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_second_is_one_with_several_times_the_attempts() {
        assert_eq!(too_many(&[4, 4, 4, 4]), None);
        assert_eq!(too_many(&[12, 0, 0, 4]), None, "three times as many");
        let why = too_many(&[13, 0, 0, 3]).unwrap();
        assert_eq!(
            why,
            "the busiest second has 13 attempts and a mean one 4.0, promised at most 3 times as many"
        );
        assert!(too_many(&[0, 16, 0, 0]).is_some());
    }

    #[test]
    fn followers_go_on_looking() {
        let attempts = paused().unwrap().block_on(attempts(100, 7));
        let last: u64 = attempts[AWAY - COUNTED..].iter().sum();
        // Each waits for 15 s at a hub on average, and there are two.
        assert!((2_000..8_000).contains(&last), "{last}");
        assert!(attempts[0] >= 100, "all begin at once");
    }
}
