//! `prometheus [ADDRESS] { runtime_metrics }`: `/metrics`, and the counting of every query of the block.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::lane::Role;
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::node::setup::Context;
use crate::ops::admin::Face;
use crate::ops::dns_metrics::{Family, Observation, PluginLabel, Proto};

/// The plugin's name.
pub const NAME: &str = "prometheus";

/// Options that are accepted.
pub const OPTIONS: [&str; 1] = ["runtime_metrics"];

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
            _ => return Err(line.unknown_property(NAME, &OPTIONS)),
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

    fn role(self: Arc<Self>, _identity: &str) -> Role {
        Role::Counts
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
            Outcome::Silence => observe(0, ""),
        }
        outcome
    }
}

/// What there is to count about a query.
pub fn observation(
    query: &Query,
    rcode: u16,
    response_len: usize,
    plugin: &str,
    start: Instant,
) -> Observation {
    Observation {
        qtype: query.kind().into(),
        proto: if query.is_udp() { Proto::Udp } else { Proto::Tcp },
        family: Family::from(query.source().ip()),
        do_bit: query.dnssec_ok(),
        request_len: query.bytes().len(),
        response_len,
        rcode,
        plugin: PluginLabel::of(plugin),
        elapsed: start.elapsed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::node::Builder;

    #[test]
    fn only_blocks_with_it_are_counted_and_one_is_enough_for_the_runtime() {
        let plan = Builder::default()
            .check("a:53 c:53 {\n prometheus\n}\nb:53 {\n errors\n}\nd:53 {\n prometheus :9253 {\n runtime_metrics\n }\n}\n")
            .unwrap();
        let mut counted = plan.servers[0].counted.clone();
        counted.sort_unstable();
        assert_eq!(counted, ["a.", "c.", "d."]);
        assert!(plan.process.runtime_metrics);
        let faces: Vec<_> = plan.process.faces.iter().map(|(f, a)| (*f, a.to_string())).collect();
        assert_eq!(
            faces,
            [(Face::Metrics, "127.0.0.1:9153".to_owned()), (Face::Metrics, ":9253".to_owned())]
        );
    }
}
