//! `minimal`: answers without the authority and additional sections, which most stub resolvers do not read.
//!
//! Only what can be spared goes: a denial needs its SOA (RFC 2308), and a delegation is its authority section.

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "minimal";

/// It has no options.
pub const OPTIONS: [&str; 0] = [];

/// Takes nothing.
pub fn setup(directives: &[&Directive], _: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    directive.no_args()?;
    directive.no_body()?;
    Ok(vec![Arc::new(Minimal)])
}

/// Shortens what the plugins behind it answer.
struct Minimal;

/// Whether a reply says the same without its authority and additional sections.
fn is_complete_without(reply: &Reply) -> bool {
    let needed = |kind| matches!(kind, RecordType::SOA | RecordType::NS);
    reply.rcode == ResponseCode::NoError
        && (!reply.answers.is_empty() || !reply.authority.iter().any(|r| needed(r.record_type())))
}

#[async_trait]
impl Plugin for Minimal {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let mut outcome = next.run(query).await;
        if let Outcome::Reply(reply) = &mut outcome
            && is_complete_without(reply)
        {
            reply.authority.clear();
            reply.additional.clear();
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{NS, SOA};
    use hickory_proto::rr::{Name, RData};

    use super::*;
    use crate::node::test_support::{Ask, Scene, address, plugins, record};

    /// Records in all sections but for those that the name takes away; the first label is the case.
    fn sections(query: &Query) -> Outcome {
        let root = Name::root;
        let ns = record("a.", RData::NS(NS(root())));
        let soa = record("a.", RData::SOA(SOA::new(root(), root(), 1, 2, 3, 4, 5)));
        let glue = vec![address("ns.a.", "192.0.2.53")];
        let reply = |rcode| Reply { additional: glue, ..Reply::new(rcode, "last") };
        let answers = vec![address("a.", "192.0.2.1")];
        match query.name().to_ascii().as_str() {
            "answer." => Reply { answers, authority: vec![ns], ..reply(ResponseCode::NoError) },
            "signed-denial." => Reply { answers, authority: vec![soa], ..reply(ResponseCode::NoError) },
            "empty." => reply(ResponseCode::NoError),
            "nodata." => Reply { authority: vec![soa], ..reply(ResponseCode::NoError) },
            "delegation." => Reply { authority: vec![ns], ..reply(ResponseCode::NoError) },
            "nxdomain." => Reply { authority: vec![soa], ..reply(ResponseCode::NXDomain) },
            _ => Reply { answers, authority: vec![ns], ..reply(ResponseCode::ServFail) },
        }
        .into()
    }

    #[tokio::test]
    async fn minimal_alone() {
        for (name, without, with) in [
            // 538: answers of SRV questions come with addresses.
            ("answer.", [1, 1, 1], [1, 0, 0]),
            ("signed-denial.", [1, 1, 1], [1, 0, 0]),
            ("empty.", [0, 0, 1], [0, 0, 0]),
            ("nodata.", [0, 1, 1], [0, 1, 1]),
            ("delegation.", [0, 1, 1], [0, 1, 1]),
            ("nxdomain.", [0, 1, 1], [0, 1, 1]),
            ("failure.", [1, 1, 1], [1, 1, 1]),
        ] {
            for (body, want) in [("", without), ("minimal", with)] {
                let scene = Scene::new(body, sections);
                let ask = Ask { name, edns: Some((1232, false)), ..Ask::default() };
                let message = scene.message(&ask).await.unwrap();
                let got = [&message.answers, &message.authorities, &message.additionals].map(Vec::len);
                assert_eq!(got, want, "{name} {body}");
                assert!(message.edns.is_some(), "{name} {body}: OPT is the server's");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (body, want) in [("minimal x", "write 'minimal'"), ("minimal {\n}", "takes no block")] {
            let error = plugins(body).err().unwrap_or_else(|| panic!("{body} is accepted"));
            assert!(error.position().line == 2 && error.message().contains(want), "{body}: {error}");
        }
    }
}
