//! Looks whether the API server is ready: for people, who see here that the control plane is in trouble.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use tokio_util::sync::CancellationToken;

use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::source::apiserver::probe::{Health, Probe};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// By what part of it that varies.
const SWING: f64 = 0.2;

/// What was seen last, and how long the answer took.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Option<(Health, Duration)>>);

impl Seen {
    /// What was seen last.
    pub(super) fn get(&self) -> Option<(Health, Duration)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what is seen; whether that is something else than before.
    fn set(&self, health: Health, took: Duration) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.replace((health.clone(), took));
        // The first one is no news if it is good.
        before.map_or(!health.is_ready(), |(before, _)| before.name() != health.name())
    }
}

/// What is measured.
struct ProbeMetrics {
    /// Whether it is ready.
    ready: Gauge,
    /// How long its answers take.
    took: Histogram,
    /// By [`Health::NAMES`].
    outcomes: [Counter; Health::NAMES.len()],
}

impl ProbeMetrics {
    fn new(metrics: &Metrics) -> Self {
        let (ready, took, outcomes) =
            ("outlast_apiserver_ready", "outlast_apiserver_probe_seconds", "outlast_apiserver_probes_total");
        metrics.describe_gauge(ready, "1 while the API server says that it is ready (/readyz).");
        metrics.describe_histogram(took, "Time that the answer to /readyz took, or until it was given up.");
        metrics.describe_counter(outcomes, "Looks at /readyz of the API server, by what came of them.");
        Self {
            ready: metrics.gauge(ready, &[]),
            took: metrics.histogram(took, &[]),
            outcomes: Health::NAMES.map(|name| metrics.counter(outcomes, &[("outcome", name)])),
        }
    }

    fn saw(&self, health: &Health, took: Duration) {
        self.ready.set(if health.is_ready() { 1.0 } else { 0.0 });
        self.took.record(took.as_secs_f64());
        if let Some(at) = Health::NAMES.iter().position(|name| *name == health.name()) {
            self.outcomes[at].increment(1);
        }
    }
}

/// Looks every ten seconds until `stop`.
pub(super) async fn keep_looking(
    probe: Probe,
    seen: Arc<Seen>,
    metrics: Arc<Metrics>,
    jitter: Jitter,
    stop: CancellationToken,
) {
    let measured = ProbeMetrics::new(&metrics);
    let look = async {
        loop {
            let (health, took) = probe.look().await;
            measured.saw(&health, took);
            let why = health.to_string();
            match (seen.set(health.clone(), took), health.is_ready()) {
                (true, true) => tracing::info!(?took, "the API server is ready again"),
                (true, false) => {
                    tracing::warn!(outcome = health.name(), why, ?took, "the API server is not ready");
                }
                (false, _) => {}
            }
            tokio::time::sleep(jitter.spread(LOOK_EVERY, SWING)).await;
        }
    };
    let _ = stop.run_until_cancelled(look).await;
}
