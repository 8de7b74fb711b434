//! `nsid [DATA...]`: which server it was, for clients that ask (RFC 5001).
//!
//! Without DATA it is the node's name, since that is what tells nodes apart.

use std::sync::Arc;

use async_trait::async_trait;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::lane::Role;
use crate::node::opt::NSID;
use crate::node::query::Query;
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "nsid";

/// It has no options.
pub const OPTIONS: [&str; 0] = [];

/// Most bytes of DATA: a reply of 512 bytes has to have room for it beside a record.
const MAX: usize = 256;

/// Reads DATA.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    directive.no_body()?;
    let words: Vec<_> = directive.args().iter().map(|word| word.text.as_str()).collect();
    let data = if words.is_empty() { cx.environment.node_name.clone() } else { words.join(" ") };
    if data.len() > MAX {
        return Err(directive.error(format!("plugin/nsid: {} bytes: write at most {MAX}", data.len())));
    }
    Ok(vec![Arc::new(Nsid { data: data.into_bytes().into() })])
}

/// Says which server it is.
struct Nsid {
    /// What is said.
    data: Box<[u8]>,
}

#[async_trait]
impl Plugin for Nsid {
    fn name(&self) -> &'static str {
        NAME
    }

    fn role(self: Arc<Self>, _identity: &str) -> Role {
        Role::Identifies
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let asked = query.opt().is_some_and(|opt| opt.has(query.bytes(), NSID));
        let mut outcome = next.run(query).await;
        if asked && let Outcome::Reply(reply) = &mut outcome {
            reply.frame.nsid = Some(self.data.clone());
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::rdata::opt::EdnsCode;

    use super::*;
    use crate::node::reply::Reply;
    use crate::node::test_support::{Ask, Scene, plugins};

    /// The option of a query that asks.
    const ASKED: &[(u16, &[u8])] = &[(NSID, b"")];

    #[tokio::test]
    async fn nsid_data() {
        for (body, options, want) in [
            // 442
            ("nsid node-7", ASKED, Some("node-7")),
            ("nsid Use The Force", ASKED, Some("Use The Force")),
            ("nsid", ASKED, Some("node-1")),
            ("nsid node-7", &[], None),
            // Without the plugin the question is repeated.
            ("", ASKED, Some("")),
        ] {
            let scene = Scene::new(body, |_| Reply::new(ResponseCode::NoError, "last").into());
            let ask = Ask { edns: Some((1232, false)), options, ..Ask::default() };
            let edns = scene.message(&ask).await.unwrap().edns.unwrap();
            let got = edns.option(EdnsCode::NSID).map(|option| Vec::try_from(option).unwrap());
            assert_eq!(got.as_deref(), want.map(str::as_bytes), "{body}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let long = format!("nsid {}", "x".repeat(257));
        for (body, want) in [(&*long, "257 bytes: write at most 256"), ("nsid {\n}", "takes no block")] {
            let error = plugins(body).err().unwrap_or_else(|| panic!("{body} is accepted"));
            assert!(error.position().line == 2 && error.message().contains(want), "{body}: {error}");
        }
    }
}
