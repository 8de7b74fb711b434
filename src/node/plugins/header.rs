//! `header { query|response set|clear FLAG... }`: flags of the query that goes on, and of the reply.
//!
//! The flags are `aa`, `ra` and `rd`, as in CoreDNS. Lines are followed in their order, so that the last one wins.
//! `response set ra` is the usual cure for resolvers that insist on recursion. Without `query` or `response`, which
//! older Corefiles leave out, the reply is meant.

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::Metadata;

use crate::corefile::{Directive, Error, Line, Statement, Token};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "header";

/// Words that lines may begin with.
pub const OPTIONS: [&str; 4] = ["query", "response", "set", "clear"];

/// How a line is written.
const USAGE: &str = "query|response set|clear aa|ra|rd...";

/// Collects the lines of all `header` directives of a block, in their order.
pub fn setup(directives: &[&Directive], _: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let mut header = Header { query: Vec::new(), response: Vec::new() };
    for directive in directives {
        directive.no_args()?;
        if directive.lines().is_empty() {
            return Err(directive.error(format!("plugin/header: write lines such as '{USAGE}' in its block")));
        }
        for line in directive.lines() {
            let (of_query, value, flags) = read(line)?;
            let changes = if of_query { &mut header.query } else { &mut header.response };
            changes.extend(flags.into_iter().map(|flag| Change { flag, value }));
        }
    }
    Ok(vec![Arc::new(header)])
}

/// Whether a line is about the query, to what it sets flags, and which.
fn read(line: &Line) -> Result<(bool, bool, Vec<Flag>), Error> {
    let words = line.args();
    let (of_query, action, flags) = match (line.name().text.to_ascii_lowercase().as_str(), words) {
        (selector @ ("query" | "response"), [action, flags @ ..]) => (selector == "query", action, flags),
        ("set" | "clear", flags) => (false, line.name(), flags),
        ("query" | "response", []) => {
            return Err(line.error(format!("plugin/header: write '{USAGE}'")));
        }
        _ => return Err(line.unknown_property(NAME, &OPTIONS)),
    };
    let value = match action.text.to_ascii_lowercase().as_str() {
        "set" => true,
        "clear" => false,
        _ => return Err(action.error(format!("plugin/header: '{}': write 'set' or 'clear'", action.text))),
    };
    if flags.is_empty() {
        return Err(line.error(format!("plugin/header: no flag: write '{USAGE}'")));
    }
    Ok((of_query, value, flags.iter().map(flag).collect::<Result<_, _>>()?))
}

fn flag(word: &Token) -> Result<Flag, Error> {
    match word.text.to_ascii_lowercase().as_str() {
        "aa" => Ok(Flag::Authoritative),
        "ra" => Ok(Flag::RecursionAvailable),
        "rd" => Ok(Flag::RecursionDesired),
        _ => Err(word.error(format!("plugin/header: '{}' must be one of: aa, ra, rd", word.text))),
    }
}

/// A flag of a message's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    /// AA
    Authoritative,
    /// RA
    RecursionAvailable,
    /// RD
    RecursionDesired,
}

/// What becomes of a flag.
#[derive(Clone, Copy, Debug)]
struct Change {
    /// Which.
    flag: Flag,
    /// Whether it is set.
    value: bool,
}

impl Change {
    /// What is sent on.
    const fn query(self, metadata: &mut Metadata) {
        *match self.flag {
            Flag::Authoritative => &mut metadata.authoritative,
            Flag::RecursionAvailable => &mut metadata.recursion_available,
            Flag::RecursionDesired => &mut metadata.recursion_desired,
        } = self.value;
    }

    /// What the client gets.
    const fn response(self, reply: &mut Reply) {
        match self.flag {
            Flag::Authoritative => reply.authoritative = self.value,
            Flag::RecursionAvailable => reply.recursion_available = self.value,
            Flag::RecursionDesired => reply.frame.recursion_desired = Some(self.value),
        }
    }
}

/// Changes flags.
struct Header {
    /// Of queries.
    query: Vec<Change>,
    /// Of replies.
    response: Vec<Change>,
}

#[async_trait]
impl Plugin for Header {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let changed = if self.query.is_empty() {
            None
        } else {
            query.changed(|message| self.query.iter().for_each(|change| change.query(&mut message.metadata)))
        };
        let mut outcome = next.run(changed.as_ref().unwrap_or(query)).await;
        if let Outcome::Reply(reply) = &mut outcome {
            self.response.iter().for_each(|change| change.response(reply));
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode;

    use super::*;
    use crate::node::test_support::{Ask, Logs, Scene, plugins};

    fn flags(metadata: &Metadata) -> String {
        let flags = [
            (metadata.authoritative, "aa"),
            (metadata.recursion_desired, "rd"),
            (metadata.recursion_available, "ra"),
        ];
        flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
    }

    /// The flags of the query that goes on, and of the reply.
    async fn both(lines: &str) -> [String; 2] {
        let seen = Arc::new(std::sync::Mutex::new(String::new()));
        let see = seen.clone();
        let body = if lines.is_empty() { String::new() } else { format!("header {{\n {lines}\n}}") };
        let scene = Scene::new(&body, move |query| {
            *see.lock().unwrap() = flags(query.metadata());
            Reply { authoritative: true, ..Reply::new(ResponseCode::NoError, "last") }.into()
        });
        let message = scene.message(&Ask::default()).await.unwrap();
        let query = seen.lock().unwrap().clone();
        [query, flags(&message.metadata)]
    }

    #[tokio::test]
    async fn header_response() {
        for (lines, want) in [
            ("", "aa rd"),
            // 537
            ("response set ra", "aa rd ra"),
            ("response clear aa rd", ""),
            ("response set ra\n response clear ra", "aa rd"),
            ("response clear ra\n RESPONSE SET RA", "aa rd ra"),
        ] {
            assert_eq!(both(lines).await, ["rd", want], "{lines}");
        }
    }

    #[tokio::test]
    async fn header_query() {
        for (lines, want) in [
            ("query clear rd", ""),
            ("query set aa ra", "aa rd ra"),
            ("query set aa\n query clear aa rd", ""),
        ] {
            // The reply repeats what the client said.
            assert_eq!(both(lines).await, [want, "aa rd"], "{lines}");
        }
    }

    /// As older Corefiles have it.
    #[tokio::test]
    async fn header_set() {
        assert_eq!(both("set ra").await, ["rd", "aa rd ra"]);
    }

    #[tokio::test]
    async fn header_clear() {
        assert_eq!(both("clear aa").await, ["rd", "rd"]);
    }

    #[tokio::test]
    async fn logs_have_the_flags_that_were_sent() {
        let scene = Scene::new("log . {>rflags}\nheader {\n response set ra\n response clear rd\n}", |_| {
            Reply::new(ResponseCode::NoError, "last").into()
        });
        let logs = Logs::capture("");
        scene.run(&Ask::default()).await;
        assert_eq!(logs.take(), ["[INFO] qr,ra"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (body, line, want) in [
            ("header", 2, "write lines such as"),
            ("header x {\n set ra\n}", 2, "write 'header'"),
            ("header {\n reply set ra\n}", 3, "unknown property 'reply'"),
            ("header {\n response\n}", 3, "write 'query|response set|clear"),
            ("header {\n response unset ra\n}", 3, "'unset': write 'set' or 'clear'"),
            ("header {\n response set\n}", 3, "no flag"),
            ("header {\n response set ad\n}", 3, "'ad' must be one of: aa, ra, rd"),
        ] {
            let error = plugins(body).err().unwrap_or_else(|| panic!("{body} is accepted"));
            assert!(error.position().line == line && error.message().contains(want), "{body}: {error}");
        }
    }
}
