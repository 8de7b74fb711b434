//! `prometheus [ADDRESS] { runtime_metrics }`: `/metrics`, and the counting of every query of the block.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::node::setup::Context;
use crate::ops::admin::Face;
use crate::ops::dns_metrics::{Family, Observation, Proto};

/// The plugin's name.
pub const NAME: &str = "prometheus";

/// Adds the address and counts the block's queries.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    cx.add_face(Face::Metrics, directive.optional_arg("prometheus [ADDRESS]")?)?;
    for line in directive.lines() {
        match line.name().text.as_str() {
            "runtime_metrics" => {
                line.no_args()?;
                cx.process.runtime_metrics = true;
            }
            "tls" => {
                return Err(line.error(
                    "plugin/prometheus: 'tls' is not supported yet: bind /metrics to localhost, or put a proxy before it",
                ));
            }
            _ => return Err(line.unknown_property(NAME, &["runtime_metrics", "tls"])),
        }
    }
    cx.counts_queries = true;
    Ok(vec![Arc::new(Prometheus)])
}

/// Counts and times what the plugins behind it answer.
struct Prometheus;

#[async_trait]
impl Plugin for Prometheus {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let start = Instant::now();
        let outcome = next.run(query).await;
        let metrics = query.router().metrics().zone_for_labels(query.labels().iter());
        let observe =
            |len, plugin| metrics.record(&observation(query, outcome.rcode().into(), len, plugin, start));
        match &outcome {
            Outcome::Reply(reply) => observe(reply.uncompressed_len(query), reply.plugin),
            Outcome::Failed(failure) => {
                observe(Reply::new(failure.rcode, "").uncompressed_len(query), "");
            }
        }
        outcome
    }
}

/// What there is to count about a query.
pub fn observation<'a>(
    query: &Query,
    rcode: u16,
    response_len: usize,
    plugin: &'a str,
    start: Instant,
) -> Observation<'a> {
    Observation {
        qtype: query.kind().into(),
        proto: if query.is_udp() { Proto::Udp } else { Proto::Tcp },
        family: Family::from(query.source().ip()),
        do_bit: query.dnssec_ok(),
        request_len: query.bytes().len(),
        response_len,
        rcode,
        plugin,
        elapsed: start.elapsed(),
    }
}
