//! `chaos [VERSION] [AUTHORS...]`: what the server says of itself in class CH (RFC 4892).
//!
//! `version.bind` and `version.server` are VERSION, `hostname.bind` and `id.server` the node's name,
//! `authors.bind` the AUTHORS; all TXT, with a TTL of 0. Everything else goes on.

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::lane::Role;
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::node::setup::Context;
use crate::zone::name::Labels;

/// The plugin's name.
pub const NAME: &str = "chaos";

/// It has no options.
pub const OPTIONS: [&str; 0] = [];

/// VERSION without an argument.
const VERSION: &str = concat!("Outlast-", env!("CARGO_PKG_VERSION"));

/// AUTHORS without arguments.
const AUTHORS: [&str; 1] = ["the authors of Outlast"];

/// The longest string of a TXT record, RFC 1035 §3.3: longer texts are several.
const MAX_STRING: usize = 255;

/// Most bytes of all texts together: they have to fit a reply.
const MAX: usize = 16 * 1024;

/// Reads VERSION and AUTHORS.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    directive.no_body()?;
    let own = |text: &str| text.as_bytes().to_vec();
    let (version, mut authors) = match directive.args() {
        [] => (own(VERSION), AUTHORS.map(own).to_vec()),
        [version] => (own(&version.text), AUTHORS.map(own).to_vec()),
        [version, authors @ ..] => (own(&version.text), authors.iter().map(|a| own(&a.text)).collect()),
    };
    if version.len() + authors.iter().map(Vec::len).sum::<usize>() > MAX {
        return Err(directive.error(format!("plugin/chaos: write at most {MAX} bytes")));
    }
    authors.sort_unstable();
    let host = own(&cx.environment.node_name);
    let name = |first: &str, last: &str| {
        Labels::from_labels([first, last].map(str::as_bytes)).expect("two short labels are a name")
    };
    let texts = vec![
        (name("version", "bind"), vec![version.clone()]),
        (name("version", "server"), vec![version]),
        (name("hostname", "bind"), vec![host.clone()]),
        (name("id", "server"), vec![host]),
        (name("authors", "bind"), authors),
    ];
    Ok(vec![Arc::new(Chaos { texts })])
}

/// Answers questions about the server.
struct Chaos {
    /// The texts of each name, one a record.
    texts: Vec<(Labels, Vec<Vec<u8>>)>,
}

impl Chaos {
    fn texts(&self, query: &Query) -> Option<&[Vec<u8>]> {
        if query.class() != DNSClass::CH || query.kind() != RecordType::TXT {
            return None;
        }
        self.texts.iter().find(|(name, _)| name == query.labels()).map(|(_, texts)| texts.as_slice())
    }
}

#[async_trait]
impl Plugin for Chaos {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Questions of its class are not plain.
    fn role(self: Arc<Self>, _identity: &str) -> Role {
        Role::None
    }

    fn takes_other_classes(&self) -> bool {
        true
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let Some(texts) = self.texts(query) else { return next.run(query).await };
        let record = |text: &Vec<u8>| {
            let strings = if text.is_empty() { vec![&[][..]] } else { text.chunks(MAX_STRING).collect() };
            let data = RData::TXT(TXT::from_bytes(strings));
            let mut record = Record::from_rdata(query.name().clone(), 0, data);
            record.dns_class = DNSClass::CH;
            record
        };
        let answers = texts.iter().map(record).collect();
        Reply { answers, ..Reply::new(ResponseCode::NoError, NAME) }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_support::{Ask, Scene, plugins};

    async fn texts(scene: &Scene, ask: &Ask) -> String {
        let (rcode, answers) = scene.answers(ask).await;
        if rcode == ResponseCode::NoError {
            answers.join(", ").replace('"', "")
        } else {
            format!("{rcode:?}")
        }
    }

    #[tokio::test]
    async fn chaos_version_and_authors() {
        let default_version = format!("version.bind. 0 CH TXT {VERSION}");
        for (body, name, want) in [
            // 414
            ("chaos Shelf-1 me", "version.bind.", "version.bind. 0 CH TXT Shelf-1"),
            ("chaos Shelf-1", "Version.Server.", "Version.Server. 0 CH TXT Shelf-1"),
            ("chaos", "version.bind.", &default_version),
            ("chaos", "hostname.bind.", "hostname.bind. 0 CH TXT node-1"),
            ("chaos", "id.server.", "id.server. 0 CH TXT node-1"),
            ("chaos x", "authors.bind.", "authors.bind. 0 CH TXT the authors of Outlast"),
            ("chaos x you me", "authors.bind.", "authors.bind. 0 CH TXT me, authors.bind. 0 CH TXT you"),
            ("chaos", "other.bind.", "Refused"),
            ("", "version.bind.", "Refused"),
        ] {
            let scene = Scene::new(body, |_| Reply::new(ResponseCode::Refused, "last").into());
            let ask = Ask { name, kind: RecordType::TXT, class: DNSClass::CH, ..Ask::default() };
            assert_eq!(texts(&scene, &ask).await, want, "{body} {name}");
            // Neither another class nor another type is a question about the server.
            for other in
                [Ask { class: DNSClass::IN, ..ask.clone() }, Ask { kind: RecordType::A, ..ask.clone() }]
            {
                assert_eq!(texts(&scene, &other).await, "Refused", "{body} {name}");
            }
        }
    }

    #[tokio::test]
    async fn a_long_text_is_several_strings() {
        let scene = Scene::new(&format!("chaos {}", "x".repeat(300)), |_| Outcome::Silence);
        let ask = Ask { name: "version.bind.", kind: RecordType::TXT, class: DNSClass::CH, ..Ask::default() };
        let message = scene.message(&ask).await.unwrap();
        let RData::TXT(txt) = &message.answers[0].data else { panic!("{message:?}") };
        assert_eq!(txt.txt_data.iter().map(|s| s.len()).collect::<Vec<_>>(), [255, 45]);
    }

    #[test]
    fn it_opens_the_class_chaos() {
        assert!(plugins("chaos").unwrap()[0].takes_other_classes());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let long = format!("chaos {}", "x".repeat(16 * 1024 + 1));
        for (body, want) in [(&*long, "write at most 16384 bytes"), ("chaos {\n}", "takes no block")] {
            let error = plugins(body).err().unwrap_or_else(|| panic!("{body} is accepted"));
            assert!(error.position().line == 2 && error.message().contains(want), "{body}: {error}");
        }
    }
}
