//! Endpoints that come and go, as they do in a cluster in which pods are restarted.
//!
//! A change makes one endpoint not ready, the next one makes it ready again: after every second change the
//! cluster is as it was. The slice says when it changed, in whole seconds.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::etcd::Etcd;
use super::ids;
use crate::zone::object::Kind;

/// Says of an endpoint whether it takes traffic. Within a string its quotes would be escaped.
const READY: &str = "\"ready\":";

/// Says when a slice changed. In managedFields it has `f:` before it and no value.
const TRIGGERED: &str = "\"endpoints.kubernetes.io/last-change-trigger-time\":\"";

/// Changes the EndpointSlices of a store, one endpoint at a time.
pub struct Changes {
    /// The store.
    etcd: Etcd,
    /// Chooses what changes.
    rng: SmallRng,
    /// The slices that had endpoints at the start: namespace and name.
    slices: Vec<(Box<str>, Box<str>)>,
    /// The endpoint that is not ready: of which slice, and which of its endpoints.
    away: Option<(usize, usize)>,
}

impl Changes {
    /// Of the slices that have endpoints now.
    pub fn of(etcd: &Etcd, seed: u64) -> Self {
        let filled = |text: &str| text.contains(READY);
        let slices = etcd.all(Kind::EndpointSlice).iter().filter(|o| filled(o.text())).map(key).collect();
        Self { etcd: etcd.clone(), rng: SmallRng::seed_from_u64(seed), slices, away: None }
    }

    /// Makes the next change and returns its revision; `None` where there is nothing to change.
    pub fn step(&mut self) -> Option<u64> {
        let (slice, endpoint, ready) = match self.away.take() {
            Some((slice, endpoint)) => (slice, Some(endpoint), true),
            None if self.slices.is_empty() => return None,
            None => (self.rng.random_range(0..self.slices.len()), None, false),
        };
        let (namespace, name) = self.slices.get(slice)?;
        let stored = self.etcd.get(Kind::EndpointSlice, namespace, name)?;
        let endpoints = stored.text().matches(READY).count();
        let endpoint = endpoint.unwrap_or_else(|| self.rng.random_range(0..endpoints.max(1)));
        let text = with_trigger(&with_readiness(stored.text(), endpoint, ready)?, &ids::timestamp());
        // What was stored can be stored again.
        let revision = self.etcd.put_raw(Kind::EndpointSlice, &text).ok()?;
        self.away = (!ready).then_some((slice, endpoint));
        Some(revision)
    }
}

/// Namespace and name.
fn key(object: &Arc<super::etcd::Stored>) -> (Box<str>, Box<str>) {
    (object.namespace().into(), object.name().into())
}

/// The slice with another condition of one endpoint.
fn with_readiness(text: &str, endpoint: usize, ready: bool) -> Option<String> {
    let (at, _) = text.match_indices(READY).nth(endpoint)?;
    let (before, rest) = text.split_at_checked(at + READY.len())?;
    let end = rest.find([',', '}'])?;
    Some(format!("{before}{ready}{}", &rest[end..]))
}

/// The slice with another time of its last change, where it says one.
fn with_trigger(text: &str, now: &str) -> String {
    let Some((before, rest)) = text.split_once(TRIGGERED) else { return text.to_owned() };
    let Some((_, after)) = rest.split_once('"') else { return text.to_owned() };
    format!("{before}{TRIGGERED}{now}\"{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::cluster::Cluster;
    use crate::drill::standin::{Config, Standin, seed};

    /// How many endpoints are ready.
    fn ready(etcd: &Etcd) -> usize {
        etcd.all(Kind::EndpointSlice).iter().map(|o| o.text().matches("\"ready\":true").count()).sum()
    }

    #[tokio::test]
    async fn every_second_change_undoes_the_one_before() {
        let standin = Standin::in_memory(Config::default()).expect("keys can be made");
        let etcd = standin.etcd();
        seed::cluster(etcd, Cluster::sized(10, 100), |_| ()).expect("a possible cluster");
        let mut changes = Changes::of(etcd, 1);
        let before = etcd.revision();
        for round in 1..=20 {
            assert!(changes.step().is_some());
            assert_eq!(ready(etcd), 99, "round {round}");
            assert!(changes.step().is_some());
            assert_eq!(ready(etcd), 100, "round {round}");
            assert_eq!(etcd.revision(), before + 2 * round);
        }
        let now = ids::timestamp();
        let day = &now[..10];
        assert!(
            etcd.all(Kind::EndpointSlice).iter().any(|o| o.text().contains(&format!("{TRIGGERED}{day}")))
        );
    }

    #[tokio::test]
    async fn without_endpoints_nothing_changes() {
        let standin = Standin::in_memory(Config::default()).expect("keys can be made");
        assert_eq!(Changes::of(standin.etcd(), 1).step(), None);
    }

    #[test]
    fn a_slice_without_the_annotation_gets_none() {
        assert_eq!(with_trigger("{}", "now"), "{}");
        let text = format!("{{{TRIGGERED}then\",\"x\":1}}");
        assert_eq!(with_trigger(&text, "now"), format!("{{{TRIGGERED}now\",\"x\":1}}"));
    }
}
