//! `whoami`: tells clients from where they ask: their address, transport and port.
//!
//! ```text
//! example.org.            0 IN A   10.240.0.1
//! _udp.example.org.       0 IN SRV 0 0 40212 .
//! ```
//!
//! Both are in the additional section, whatever is asked; it is the last of the chain.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, Record};

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "whoami";

/// It has no options.
pub const OPTIONS: [&str; 0] = [];

/// Takes nothing.
pub fn setup(directives: &[&Directive], _: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    directive.no_args()?;
    directive.no_body()?;
    Ok(vec![Arc::new(WhoAmI)])
}

/// Answers everything with the client's own address.
struct WhoAmI;

#[async_trait]
impl Plugin for WhoAmI {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn serve(&self, query: &Query, _: Next<'_>) -> Outcome {
        let of_class = |name, data| {
            let mut record = Record::from_rdata(name, 0, data);
            record.dns_class = query.class();
            record
        };
        let address = match query.source().ip().to_canonical() {
            IpAddr::V4(ip) => RData::A(ip.into()),
            IpAddr::V6(ip) => RData::AAAA(ip.into()),
        };
        let mut additional = vec![of_class(query.name().clone(), address)];
        // The longest names have no room for another label.
        if let Ok(name) = query.name().prepend_label(format!("_{}", query.transport()).as_bytes()) {
            let port = SRV::new(0, 0, query.source().port(), Name::root());
            additional.push(of_class(name, RData::SRV(port)));
        }
        Reply { authoritative: true, additional, ..Reply::new(ResponseCode::NoError, NAME) }.into()
    }
}

#[cfg(test)]
mod tests {
    use hickory_server::net::xfer::Protocol;

    use super::*;
    use crate::node::test_support::{Ask, Scene, plugins};

    #[tokio::test]
    async fn whoami_alone() {
        let long =
            "x".repeat(63) + "." + &"x".repeat(63) + "." + &"x".repeat(63) + "." + &"x".repeat(61) + ".";
        let long: &'static str = long.leak();
        for (ask, want) in [
            (
                Ask::default(),
                &["example.org. 0 IN A 10.240.0.1", "_udp.example.org. 0 IN SRV 0 0 40212 ."][..],
            ),
            (
                Ask { source: "[2001:db8::7]:5353", protocol: Protocol::Tcp, name: "Who.", ..Ask::default() },
                &["Who. 0 IN AAAA 2001:db8::7", "_tcp.Who. 0 IN SRV 0 0 5353 ."],
            ),
            (
                Ask { source: "[::ffff:192.0.2.1]:1", name: ".", ..Ask::default() },
                &[". 0 IN A 192.0.2.1", "_udp. 0 IN SRV 0 0 1 ."],
            ),
            (Ask { name: long, ..Ask::default() }, &[&*format!("{long} 0 IN A 10.240.0.1").leak()]),
        ] {
            let scene = Scene::new("whoami", |_| Outcome::Silence);
            let message = scene.message(&ask).await.unwrap();
            let additional: Vec<_> = message.additionals.iter().map(ToString::to_string).collect();
            assert_eq!(additional, want, "{}", ask.name);
            assert!(message.metadata.authoritative && message.answers.is_empty());
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (body, want) in [("whoami x", "write 'whoami'"), ("whoami {\n}", "takes no block")] {
            let error = plugins(body).err().unwrap_or_else(|| panic!("{body} is accepted"));
            assert!(error.position().line == 2 && error.message().contains(want), "{body}: {error}");
        }
    }
}
