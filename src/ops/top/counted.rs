//! How many answers there were, and whose: what a scrape of the process's own metrics says, so that it and a dashboard
//! never tell different stories.
//!
//! Pure: a scrape's text in, sums out.

use std::collections::BTreeMap;

/// Answers by rcode and plugin.
const RESPONSES: &str = "coredns_dns_responses_total";

/// Answers of the cluster's data while that is old.
const STALE: &str = "outlast_stale_answers_total";

/// Answers so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// By who gave them, as the label `plugin` names it; empty for the server itself.
    pub by_source: BTreeMap<String, u64>,
    /// By rcode, as the label names it.
    pub by_rcode: BTreeMap<String, u64>,
    /// Of data that is old.
    pub stale: u64,
}

impl Counted {
    /// What a scrape says.
    pub fn read(text: &str) -> Self {
        let mut counted = Self::default();
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let name = series.split('{').next().unwrap_or_default();
            // What is no number was not counted by us.
            let value: u64 = value.parse().unwrap_or_default();
            match name {
                RESPONSES => {
                    *counted.by_source.entry(label(series, "plugin")).or_default() += value;
                    *counted.by_rcode.entry(label(series, "rcode")).or_default() += value;
                }
                STALE => counted.stale += value,
                _ => {}
            }
        }
        counted
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let less = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            let left = |(key, count): (&String, &u64)| {
                (key.clone(), count.saturating_sub(then.get(key).copied().unwrap_or_default()))
            };
            now.iter().map(left).filter(|(_, count)| *count > 0).collect()
        };
        Self {
            by_source: less(&self.by_source, &before.by_source),
            by_rcode: less(&self.by_rcode, &before.by_rcode),
            stale: self.stale.saturating_sub(before.stale),
        }
    }
}

/// The value of a label that comes from a closed set: it has nothing that would have to be escaped.
fn label(series: &str, name: &str) -> String {
    let value = series.split_once(&format!(",{name}=\"")).and_then(|(_, rest)| rest.split('"').next());
    value.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ops::dns_metrics::{Family, Observation, PluginLabel, Proto, ServerMetrics};
    use crate::ops::metrics::Metrics;

    fn answer(metrics: &Metrics, zone: &str, plugin: &str, rcode: u16, times: usize) {
        let server = ServerMetrics::new(metrics, "dns://:53", &[zone.to_owned()]);
        let seen = Observation {
            qtype: 1,
            proto: Proto::Udp,
            family: Family::V4,
            do_bit: false,
            request_len: 30,
            response_len: 60,
            rcode,
            plugin: PluginLabel::of(plugin),
            elapsed: Duration::ZERO,
        };
        let labels = zone.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
        let labels: Vec<_> = labels.collect();
        (0..times).for_each(|_| server.zone_for_labels(labels.iter().copied()).record(&seen));
    }

    fn texts(of: &BTreeMap<String, u64>) -> Vec<String> {
        of.iter().map(|(key, count)| format!("{key}={count}")).collect()
    }

    #[test]
    fn answers_are_added_up_by_source_and_by_rcode() {
        let metrics = Metrics::new();
        let stale = |answer: &str, count| {
            metrics.counter("outlast_stale_answers_total", &[("answer", answer)]).increment(count);
        };
        answer(&metrics, "cluster.local.", "kubernetes", 0, 5);
        stale("positive", 2);
        let before = Counted::read(&metrics.render());
        answer(&metrics, "cluster.local.", "kubernetes", 3, 2);
        answer(&metrics, ".", "kubernetes", 0, 1);
        answer(&metrics, ".", "cache", 0, 4);
        answer(&metrics, ".", "", 5, 1);
        stale("positive", 1);
        stale("nxdomain", 3);
        let now = Counted::read(&metrics.render());
        assert_eq!(texts(&now.by_source), ["=1", "cache=4", "kubernetes=8"]);
        assert_eq!(texts(&now.by_rcode), ["NOERROR=10", "NXDOMAIN=2", "REFUSED=1"]);
        let since = now.since(&before);
        assert_eq!(texts(&since.by_source), ["=1", "cache=4", "kubernetes=3"]);
        assert_eq!(texts(&since.by_rcode), ["NOERROR=5", "NXDOMAIN=2", "REFUSED=1"]);
        assert_eq!((now.stale, since.stale), (6, 4));
        assert_eq!(now.since(&now), Counted::default());
    }
}
