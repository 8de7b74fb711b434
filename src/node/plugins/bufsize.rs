//! `bufsize [SIZE]`: the largest UDP payload that is said on a client's behalf.
//!
//! Lowers the size in the query's OPT record, never raises it, and does nothing to queries without one (RFC 6891
//! §6.2.5): upstreams see the lowered size, and our own reply keeps to it. 1232 bytes pass every usual path without
//! fragments.

use std::sync::Arc;

use async_trait::async_trait;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::lane::Role;
use crate::node::query::Query;
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "bufsize";

/// It has no options.
pub const OPTIONS: [&str; 0] = [];

/// SIZE without an argument: DNS flag day 2020.
const DEFAULT: u16 = 1232;

/// The smallest SIZE: any client takes as much (RFC 6891 §6.2.3).
const MIN: u16 = 512;

/// The largest SIZE: RFC 6891 §6.2.5 calls it a good maximum.
const MAX: u16 = 4096;

/// Reads SIZE.
pub fn setup(directives: &[&Directive], _: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    directive.no_body()?;
    let size = match directive.optional_arg("bufsize [SIZE]")? {
        Some(word) => word.integer(MIN..=MAX)?,
        None => DEFAULT,
    };
    Ok(vec![Arc::new(BufSize { size })])
}

/// Lowers sizes to its own.
struct BufSize {
    /// In bytes.
    size: u16,
}

#[async_trait]
impl Plugin for BufSize {
    fn name(&self) -> &'static str {
        NAME
    }

    fn role(self: Arc<Self>, _identity: &str) -> Role {
        Role::Payload(self.size)
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        if query.opt().is_none_or(|opt| opt.size <= self.size) {
            return next.run(query).await;
        }
        let lowered = query.changed(|message| {
            if let Some(edns) = &mut message.edns {
                edns.set_max_payload(self.size);
            }
        });
        // What cannot be sent with a lower size cannot be sent at all.
        let mut outcome = next.run(lowered.as_ref().unwrap_or(query)).await;
        if let Outcome::Reply(reply) = &mut outcome {
            let size = reply.frame.max_payload.unwrap_or(self.size).min(self.size);
            reply.frame.max_payload = Some(size);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode;

    use super::*;
    use crate::node::reply::Reply;
    use crate::node::test_support::{Ask, Scene, address, plugins};

    /// Sixty addresses, and the size that the query had as a last one.
    fn herd(query: &Query) -> Outcome {
        let mut answers: Vec<_> =
            (1..=60).map(|n| address("herd.shop.svc.cluster.local.", &format!("10.244.9.{n}"))).collect();
        let seen = query.opt().map_or(0, |opt| opt.size).to_be_bytes();
        answers[0] = address("herd.shop.svc.cluster.local.", &format!("192.0.{}.{}", seen[0], seen[1]));
        Reply { answers, ..Reply::new(ResponseCode::NoError, "last") }.into()
    }

    #[tokio::test]
    async fn bufsize_size() {
        for (body, client, upstream, answers, opt) in [
            // 436
            ("bufsize 600", Some(4096), 600, 34, Some(600)),
            ("bufsize", Some(4096), 1232, 60, Some(1232)),
            ("bufsize 600", Some(512), 512, 28, Some(512)),
            ("bufsize 4096", Some(1232), 1232, 60, Some(1232)),
            ("bufsize 600", None, 0, 29, None),
        ] {
            let scene = Scene::new(body, herd);
            let ask = Ask {
                name: "herd.shop.svc.cluster.local.",
                edns: client.map(|size| (size, true)),
                ..Ask::default()
            };
            let message = scene.message(&ask).await.unwrap();
            let case = format!("{body}, client {client:?}");
            let [high, low] = u16::to_be_bytes(upstream);
            let seen = format!("herd.shop.svc.cluster.local. 30 IN A 192.0.{high}.{low}");
            assert_eq!(message.answers[0].to_string(), seen, "{case}: what goes upstream");
            assert_eq!(message.answers.len(), answers, "{case}");
            assert_eq!(message.metadata.truncation, answers < 60, "{case}");
            assert_eq!(message.edns.as_ref().map(|edns| edns.max_payload()), opt, "{case}");
            assert!(message.edns.is_none_or(|edns| edns.flags().dnssec_ok), "{case}: DO stays");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (body, want) in [
            ("bufsize 511", "'511' is not a whole number from 512 to 4096"),
            ("bufsize 4097", "from 512 to 4096"),
            ("bufsize 600 700", "write 'bufsize [SIZE]'"),
            ("bufsize {\n}", "takes no block"),
        ] {
            let error = plugins(body).err().unwrap_or_else(|| panic!("{body} is accepted"));
            assert!(error.position().line == 2 && error.message().contains(want), "{body}: {error}");
        }
    }
}
