//! `loop`: notices that what is forwarded comes back, and breaks that loop.
//!
//! At the start a question with a random name (HINFO, as CoreDNS asks it) is sent to the block's own address. It goes
//! where questions for other names go; if it comes by here more than twice, forwarding leads back to this server for
//! certain. CoreDNS then exits, and with it every name is gone. Here only what would go round is refused:
//!
//! ```text
//! cluster names, hosts, cached names    answered, they never come here
//! names that would be forwarded         SERVFAIL with an EDE, for as long as the loop is there, and no longer
//! the probe's own name                  passed on: by it the end of the loop is noticed
//! ```
//!
//! * The loop is shouted about once, and is the metric `outlast_loop_detected` for as long as it lasts.
//! * While there is a loop, a new probe is sent every 30 s ± 25 %; the first that does not come back ends the break.
//! * A loop that arises later (an upstream was changed) makes forwarded questions fail. A probe is sent, at most every
//!   30 s, only after one has failed: while all is well upstreams see one probe a start, as from CoreDNS, and not one
//!   every few minutes from each node of a fleet.
//!
//! The cache passes the probe's name on, because it asks who answers from memory and this plugin says that it does:
//! otherwise the probe that comes back would wait there for its own answer.

mod probe;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use metrics::Gauge;
use tokio::time::Instant;

use self::probe::{Finding, Probe};
use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::{Failure, Next, Outcome, Plugin};
use crate::node::listen::bind;
use crate::node::query::Query;
use crate::node::reply::{Ede, EdeCode};
use crate::node::setup::Context;
use crate::node::task::Scope;
use crate::ops::jitter::Jitter;
use crate::zone::name::Labels;

/// The plugin's name.
pub const NAME: &str = "loop";

/// Options that are accepted.
pub const OPTIONS: [&str; 0] = [];

/// What lines are logged under.
const TARGET: &str = "plugin/loop";

/// 1 while forwarding of the zone leads back to this server.
const DETECTED: &str = "outlast_loop_detected";

/// A probe that came by more often than this comes back for certain: once by itself, and once more is an accident.
const CERTAIN: u32 = 2;

/// How long the first probe is tried: a server that does not answer itself by then is another trouble.
const FIRST_LIMIT: Duration = Duration::from_secs(30);

/// Between two tries of the first probe.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Between two later probes, where there is a reason for one.
const AGAIN: Duration = Duration::from_secs(30);

/// How much [`AGAIN`] varies.
const AGAIN_SWING: f64 = 0.25;

/// Sets up the probe of the block's first zone.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    directive.no_args()?;
    if let Some(line) = directive.lines().first() {
        return Err(line.unknown_property(NAME, &OPTIONS));
    }
    let zone = cx.keys.first().map_or_else(|| ".".to_owned(), |key| key.zone.clone());
    let metrics = &cx.environment.metrics;
    metrics.describe_gauge(DETECTED, "1 while forwarding of the zone leads back to this server.");
    let detected = metrics.gauge(DETECTED, &[("zone", &zone)]);
    detected.set(0.0);
    let watch = Arc::new(Watch {
        zone,
        probe: ArcSwapOption::empty(),
        broken: ArcSwapOption::empty(),
        failed: AtomicBool::new(false),
        detected,
    });
    let own = cx.plain_listeners();
    let begun = watch.clone();
    cx.process.tasks.push(Box::new(move |scope: &Scope| {
        let target = own.iter().find_map(|identity| {
            scope.listeners.iter().find(|(listener, _)| listener == identity).map(|(_, address)| *address)
        });
        // A block of DNS over TLS alone cannot be asked like this; nothing loops back to it unencrypted either.
        let Some(target) = target.map(bind::reachable) else { return };
        let (stop, jitter) = (scope.stop.clone(), Jitter::for_process());
        tokio::spawn(async move { stop.run_until_cancelled(begun.run(target, &jitter)).await });
    }));
    Ok(vec![Arc::new(Loop(watch))])
}

/// The plugin.
struct Loop(Arc<Watch>);

/// What is known of loops.
struct Watch {
    /// The zone that is probed, as it is written.
    zone: String,
    /// The probe that is under way.
    probe: ArcSwapOption<Probe>,
    /// The loop, while there is one.
    broken: ArcSwapOption<Broken>,
    /// Whether a question that was passed on has failed since the last probe.
    failed: AtomicBool,
    /// 1 while there is a loop.
    detected: Gauge,
}

/// A loop that is broken.
struct Broken {
    /// Which of the plugins behind it leads back; `None` if they do not say.
    forward: Option<usize>,
}

impl Watch {
    /// Probes at the start, and then whenever there is a reason to.
    async fn run(&self, target: SocketAddr, jitter: &Jitter) {
        let deadline = Instant::now() + FIRST_LIMIT;
        while self.look(target).await == Finding::Unanswered && Instant::now() < deadline {
            tokio::time::sleep(FIRST_PAUSE).await;
        }
        loop {
            tokio::time::sleep(jitter.spread(AGAIN, AGAIN_SWING)).await;
            if self.failed.swap(false, Ordering::Relaxed) || self.broken.load().is_some() {
                self.look(target).await;
            }
        }
    }

    /// Sends one probe, and draws the conclusion.
    async fn look(&self, target: SocketAddr) -> Finding {
        let Some(probe) = Probe::new(&self.zone) else { return Finding::Straight };
        let probe = Arc::new(probe);
        self.probe.store(Some(probe.clone()));
        let finding = probe.send(target).await;
        self.probe.store(None);
        if finding == Finding::Straight && self.broken.swap(None).is_some() {
            self.detected.set(0.0);
            tracing::info!(target: TARGET, zone = %self.zone, "the loop is gone, questions are forwarded again");
        }
        finding
    }

    /// A probe came back for certain.
    fn caught(&self, probe: &Probe, query: &Query, next: Next<'_>) {
        probe.caught();
        if self.broken.load().is_some() {
            return;
        }
        self.broken.store(Some(Arc::new(Broken { forward: taker(query, next) })));
        self.detected.set(1.0);
        tracing::error!(target: TARGET,
            "Loop ({} -> {}) detected for zone {:?}, see https://coredns.io/plugins/loop#troubleshooting. \
             Query: \"HINFO {}\". It is broken: what would be forwarded fails until the loop is gone, all other names \
             go on being answered",
            query.source(), query.local(), self.zone, probe.name());
    }

    /// SERVFAIL, instead of one more round.
    fn refuse(&self) -> Outcome {
        let text = format!("forwarding of zone {} leads back to this server", self.zone);
        // Not 22 or 23: a cache would hold the failure against the name after the loop has gone.
        let ede = Some(Ede { code: EdeCode::Other, text: text.clone() });
        let error = Some(format!("plugin/loop: {text}"));
        Outcome::Failed(Failure { rcode: ResponseCode::ServFail, error, ede })
    }
}

/// Which of the plugins that follow would ask a server for `query`.
fn taker(query: &Query, next: Next<'_>) -> Option<usize> {
    next.plugins().iter().position(|plugin| plugin.upstreams(query).is_some())
}

impl Broken {
    /// Whether `query` would go round.
    fn concerns(&self, query: &Query, next: Next<'_>) -> bool {
        // Where nobody says who leads back, all that comes here may.
        self.forward.is_none() || taker(query, next) == self.forward
    }
}

#[async_trait]
impl Plugin for Loop {
    fn name(&self) -> &'static str {
        NAME
    }

    /// What stands behind it decides for other names.
    fn answers_from_memory(&self, name: &Labels) -> bool {
        self.0.probe.load().as_ref().is_some_and(|probe| probe.labels() == name)
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let watch = &self.0;
        if query.kind() == RecordType::HINFO {
            let probe = watch.probe.load_full().filter(|probe| probe.labels() == query.labels());
            if let Some(probe) = probe {
                if probe.came_by() > CERTAIN {
                    watch.caught(&probe, query, next);
                    return watch.refuse();
                }
                return next.run(query).await;
            }
        }
        if watch.broken.load().as_ref().is_some_and(|broken| broken.concerns(query, next)) {
            return watch.refuse();
        }
        let outcome = next.run(query).await;
        // Also where it failed further on its round, and came back as a reply.
        if outcome.rcode() == ResponseCode::ServFail {
            watch.failed.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
