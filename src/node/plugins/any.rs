//! `any`: ANY questions get one short record instead of all that there is (RFC 8482).

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::HINFO;
use hickory_proto::rr::{RData, Record, RecordType};

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::lane::Role;
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "any";

/// It has no options.
pub const OPTIONS: [&str; 0] = [];

/// TTL of the record, in seconds: the RFC's number, as CoreDNS has it. RFC 8482 §4.2 wants it large.
const TTL: u32 = 8482;

/// What the record says, as CoreDNS has it; RFC 8482 §4.2 leaves it open.
const CPU: &str = "ANY obsoleted";
const OS: &str = "See RFC 8482";

/// Takes nothing.
pub fn setup(directives: &[&Directive], _: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    directive.no_args()?;
    directive.no_body()?;
    Ok(vec![Arc::new(Any)])
}

/// Answers ANY.
struct Any;

#[async_trait]
impl Plugin for Any {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Questions of its type are not plain.
    fn role(self: Arc<Self>, _identity: &str) -> Role {
        Role::None
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        if query.kind() != RecordType::ANY {
            return next.run(query).await;
        }
        let data = RData::HINFO(HINFO::new(CPU.to_owned(), OS.to_owned()));
        let answers = vec![Record::from_rdata(query.name().clone(), TTL, data)];
        Reply { answers, ..Reply::new(ResponseCode::NoError, NAME) }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_support::{Ask, Scene, address, plugins};

    #[tokio::test]
    async fn any_alone() {
        let next = "example.org. 30 IN A 192.0.2.1";
        for (case, body, kind, want) in [
            ("539", "any", RecordType::ANY, "example.org. 8482 IN HINFO ANY obsoleted See RFC 8482"),
            ("another type", "any", RecordType::A, next),
            ("without the plugin", "", RecordType::ANY, next),
        ] {
            let scene = Scene::new(body, |_| {
                let answers = vec![address("example.org.", "192.0.2.1")];
                Reply { answers, ..Reply::new(ResponseCode::NoError, "last") }.into()
            });
            let message = scene.message(&Ask { kind, ..Ask::default() }).await.unwrap();
            let got: Vec<_> = message.answers.iter().map(|r| r.to_string().replace('"', "")).collect();
            assert_eq!((got, message.metadata.authoritative), (vec![want.to_owned()], false), "{case}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (body, want) in [("any x", "write 'any'"), ("any {\n}", "takes no block")] {
            let error = plugins(body).err().unwrap_or_else(|| panic!("{body} is accepted"));
            assert!(error.position().line == 2 && error.message().contains(want), "{body}: {error}");
        }
    }
}
