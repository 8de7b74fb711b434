//! Who is at the other side, and what people are told of certificates.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge};
use tokio::time::Instant;

use super::error::TrustError;
use super::facts::Facts;
use super::name::Role;
use super::verify::Verdict;
use crate::ops::metrics::Metrics;

/// Counter: connections with a certificate that had ended.
pub const EXPIRED_ACCEPTED: &str = "outlast_trust_expired_accepted_total";

/// Counter: connections that came to nothing, by side and reason.
pub const FAILURES: &str = "outlast_trust_failures_total";

/// Counter: files of certificates that were changed and are broken.
pub const BROKEN_FILES: &str = "outlast_trust_broken_files_total";

/// Gauge: the end of the own certificate.
pub const NOT_AFTER: &str = "outlast_certificate_not_after_timestamp_seconds";

/// Of one peer's ended certificate is told once in this time; of the own one's end as well.
const SAY_AGAIN: Duration = Duration::from_secs(3600);

/// Of how many peers is known that they were told of; beyond that they are counted only. As many as a small cluster
/// has nodes: who has more ended certificates than that has one problem, not a thousand.
const MAX_TOLD: usize = 1024;

/// The share of a certificate's life below which people are warned. Certificates are renewed when a third of their
/// life is over: at this point, renewal has failed for long.
pub const WARN_BELOW: f64 = 1.0 / 3.0;

/// Who is at the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// What its certificate makes of it.
    pub role: Role,
    /// Whose its certificate is: `CN=node-7`.
    pub subject: String,
    /// Until when it counts, in Unix seconds.
    pub not_after: i64,
    /// Whether its dates hold.
    pub standing: Standing,
}

/// Whether the dates of a chain hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They do.
    Valid,
    /// A certificate of it has ended, within the grace.
    Grace {
        /// For how long ago the first one did.
        since: Duration,
    },
}

impl Peer {
    /// Of a handshake that is through.
    pub(super) fn new(address: SocketAddr, verdict: &Verdict) -> Self {
        let Verdict { role, standing, facts } = verdict.clone();
        Self { address, role, subject: facts.subject, not_after: facts.not_after, standing }
    }
}

/// Which side of a connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// We were dialled.
    Server,
    /// We dialled.
    Client,
}

impl Side {
    const ALL: [Self; 2] = [Self::Server, Self::Client];

    const fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// Tells people: metrics, and lines in the log that are not too many.
pub(super) struct Report {
    /// Connections with a certificate that had ended, by side.
    expired: [Counter; 2],
    /// Connections that came to nothing, by side and word.
    failures: [[Counter; TrustError::WORDS.len()]; 2],
    /// Changes of files to something broken.
    broken: Counter,
    /// The end of the own certificate.
    not_after: Gauge,
    /// When people were last told of a peer. Held for a look-up.
    told: Mutex<HashMap<IpAddr, Instant>>,
    /// When they were last told of the own certificate.
    told_own: Mutex<Option<Instant>>,
}

impl Report {
    /// For the identity of this file.
    pub(super) fn new(metrics: &Metrics, file: &Path) -> Self {
        metrics.describe_counter(
            EXPIRED_ACCEPTED,
            "Connections whose other side had a certificate past its end.",
        );
        metrics.describe_counter(
            FAILURES,
            "Connections between hubs and nodes that failed in TLS, by side and reason.",
        );
        metrics.describe_counter(BROKEN_FILES, "Changes of certificate files to something that is broken.");
        metrics.describe_gauge(NOT_AFTER, "Unix time of the end of our own certificate.");
        let file = file.to_string_lossy();
        Self {
            expired: Side::ALL.map(|side| metrics.counter(EXPIRED_ACCEPTED, &[("side", side.word())])),
            failures: Side::ALL.map(|side| {
                TrustError::WORDS
                    .map(|why| metrics.counter(FAILURES, &[("side", side.word()), ("reason", why)]))
            }),
            broken: metrics.counter(BROKEN_FILES, &[("file", &file)]),
            not_after: metrics.gauge(NOT_AFTER, &[("file", &file)]),
            told: Mutex::default(),
            told_own: Mutex::default(),
        }
    }

    /// A handshake is through.
    pub(super) fn accepted(&self, side: Side, peer: &Peer) {
        let Standing::Grace { since } = peer.standing else { return };
        self.expired[side as usize].increment(1);
        if self.is_news(peer.address.ip()) {
            let Peer { address, role, subject, not_after, .. } = peer;
            tracing::error!(
                peer = %address, role = role.word(), subject, not_after, expired_for_s = since.as_secs(),
                "the certificate of the other side has expired, it is believed for the grace only: renew it",
            );
        }
    }

    /// A connection came to nothing.
    pub(super) fn failed(&self, side: Side, error: &TrustError) {
        let at = TrustError::WORDS.iter().position(|word| *word == error.word());
        if let Some(counter) = at.and_then(|at| self.failures[side as usize].get(at)) {
            counter.increment(1);
        }
    }

    /// Files have changed to something broken.
    pub(super) fn broken(&self) {
        self.broken.increment(1);
    }

    /// There is a new own certificate.
    pub(super) fn own(&self, facts: &Facts, now: i64) {
        self.not_after.set(facts.not_after as f64);
        *self.told_own.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.own_life(facts, now);
    }

    /// Warns, not too often, when the own certificate is about to end or has ended.
    pub(super) fn own_life(&self, facts: &Facts, now: i64) {
        let left = facts.life_left(now);
        if left >= WARN_BELOW {
            return;
        }
        let mut told = self.told_own.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| told.elapsed() < SAY_AGAIN) {
            return;
        }
        *told = Some(Instant::now());
        drop(told);
        let Facts { subject, not_after, .. } = facts;
        let left_s = not_after.saturating_sub(now);
        if left > 0.0 {
            tracing::warn!(
                subject,
                not_after,
                left_s,
                "our own certificate was not renewed in time: renew it"
            );
        } else {
            tracing::error!(subject, not_after, "our own certificate has expired: renew it");
        }
    }

    /// Whether people have to be told of this peer.
    fn is_news(&self, peer: IpAddr) -> bool {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&peer).is_some_and(|then| now.duration_since(*then) < SAY_AGAIN) {
            return false;
        }
        if told.len() >= MAX_TOLD {
            told.retain(|_, then| now.duration_since(*then) < SAY_AGAIN);
        }
        if told.len() >= MAX_TOLD {
            return false;
        }
        told.insert(peer, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn people_are_told_of_a_peer_once_an_hour() {
        let report = Report::new(&Metrics::new(), Path::new("tls.crt"));
        assert!(report.is_news(address(1)));
        assert!(!report.is_news(address(1)));
        assert!(report.is_news(address(2)), "each for itself");
        tokio::time::advance(SAY_AGAIN).await;
        assert!(report.is_news(address(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_of_peers_is_bounded() {
        let report = Report::new(&Metrics::new(), Path::new("tls.crt"));
        let told = (0..5_000).filter(|n| report.is_news(address(*n))).count();
        assert_eq!(told, MAX_TOLD);
        tokio::time::advance(SAY_AGAIN).await;
        assert!(report.is_news(address(4_999)), "room again");
    }
}
