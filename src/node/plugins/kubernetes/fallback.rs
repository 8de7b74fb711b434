//! `fallback`: a server that is asked for names that are missing from stale data, e.g. the cluster's DNS
//! service. Its positive answer wins; anything else, or silence, and ours is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hickory_proto::op::{Message, ResponseCode};
use metrics::Counter;
use tokio::time::Instant;

use crate::forward::{ConfigError, ForwardConfig, Forwarder, Outcome, Transport};
use crate::node::plugins::forward::reply_from;
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::ops::metrics::Metrics;

/// How long a client waits for the fallback before it gets the stale negative answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// After a failure the fallback is not asked for this long, so that its own outage does not slow every
/// negative answer down (RFC 9520 §3.2).
const REST: Duration = Duration::from_secs(5);

/// The servers of a `fallback` option.
pub struct Fallback {
    /// Asks them.
    forwarder: Forwarder,
    /// What `resting_until` counts from.
    origin: Instant,
    /// Milliseconds since `origin` until which nobody is asked.
    resting_until: AtomicU64,
    /// Answers that were taken.
    taken: Counter,
    /// Questions that got none in time.
    failed: Counter,
}

impl Fallback {
    /// A fallback to the servers of `config`.
    pub fn new(config: ForwardConfig, metrics: &Arc<Metrics>) -> Result<Self, ConfigError> {
        metrics.describe_counter("outlast_fallback_answers_total", "What asking the fallback server led to.");
        let counter = |result| metrics.counter("outlast_fallback_answers_total", &[("result", result)]);
        // Every server gets its turn within the client's patience.
        let servers = u32::try_from(config.to.len()).unwrap_or(u32::MAX).max(1);
        let config = ForwardConfig { read_timeout: PATIENCE / servers, ..config };
        Ok(Self {
            forwarder: Forwarder::new(config, metrics)?,
            origin: Instant::now(),
            resting_until: AtomicU64::new(0),
            taken: counter("taken"),
            failed: counter("failed"),
        })
    }

    /// Whether it failed so lately that nobody asks it.
    pub fn is_resting(&self, now: Instant) -> bool {
        let until = Duration::from_millis(self.resting_until.load(Ordering::Relaxed));
        now.saturating_duration_since(self.origin) < until
    }

    /// The fallback's answer, if it has records. Not for while it is resting.
    pub async fn ask(&self, query: &Query) -> Option<Reply> {
        let transport = if query.is_udp() { Transport::Udp } else { Transport::Tcp };
        let answer = tokio::time::timeout(PATIENCE, self.forwarder.forward(query.bytes(), transport)).await;
        let Ok(Outcome::Reply(reply)) = answer else {
            let until = self.origin.elapsed() + REST;
            self.resting_until.store(until.as_millis() as u64, Ordering::Relaxed);
            self.failed.increment(1);
            return None;
        };
        let reply = positive(&reply.message)?;
        self.taken.increment(1);
        Some(reply)
    }
}

/// A reply with records; anything else is no better than what we have.
fn positive(bytes: &Bytes) -> Option<Reply> {
    let message = Message::from_vec(bytes).ok()?;
    let has_records = message.metadata.response_code == ResponseCode::NoError && !message.answers.is_empty();
    has_records.then(|| reply_from(message, super::NAME))
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{Name, RData, Record};

    use super::*;

    #[test]
    fn only_records_are_better_than_a_stale_negative_answer() {
        let message = |rcode, records: usize| {
            let mut message = Message::response(1, hickory_proto::op::OpCode::Query);
            message.metadata.response_code = rcode;
            let record = Record::from_rdata(Name::root(), 5, RData::A(A::new(10, 96, 0, 99)));
            message.answers = vec![record; records];
            Bytes::from(message.to_vec().expect("it can be encoded"))
        };
        let cases = [
            ("records", message(ResponseCode::NoError, 2), Some(2)),
            ("NODATA", message(ResponseCode::NoError, 0), None),
            ("NXDOMAIN", message(ResponseCode::NXDomain, 0), None),
            ("NXDOMAIN at the end of an alias", message(ResponseCode::NXDomain, 1), None),
            ("SERVFAIL", message(ResponseCode::ServFail, 0), None),
            ("no message", Bytes::from_static(b"\x00\x01"), None),
        ];
        for (name, bytes, records) in cases {
            assert_eq!(positive(&bytes).map(|reply| reply.answers.len()), records, "{name}");
        }
    }
}
