//! `forward FROM TO... { ... }`: questions that upstream servers answer.
//!
//! May stand several times in a block: the first whose FROM has the name answers it.

mod options;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use tokio::time::Instant;

use crate::corefile::{Directive, Error, Statement};
use crate::forward::{Forwarder, Outcome as Forwarded, Transport};
use crate::node::chain::{Failure, Next, Outcome, Plugin, Upstreams};
use crate::node::facts::Facts;
use crate::node::query::Query;
use crate::node::reply::{Ede, EdeCode, Reply};
use crate::node::setup::Context;
use crate::node::task::Scope;

use self::options::{NextOn, Options};
pub use self::options::{OPTIONS, addresses};

/// The plugin's name.
pub const NAME: &str = "forward";

/// What it says of a query: `forward/upstream`, the upstream whose reply it was.
const UPSTREAM: &str = "forward/upstream";

/// Option code of an Extended DNS Error, RFC 8914 §2.
const EDE: u16 = 15;

/// One instance for each directive, in the order of the file.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let mut plugins: Vec<Arc<dyn Plugin>> = Vec::new();
    for directive in directives {
        let Options { config, next_on } = options::read(directive, cx)?;
        let forwarder = Forwarder::new(config, &cx.environment.metrics)
            .map_err(|e| directive.error(format!("plugin/forward: {e}")))?;
        let forwarder = Arc::new(forwarder);
        if forwarder.has_names() {
            let forwarder = forwarder.clone();
            cx.process.tasks.push(Box::new(move |scope| look_up(forwarder, scope)));
        }
        plugins.push(Arc::new(Forward { forwarder, next_on }));
    }
    Ok(plugins)
}

/// Looks up upstreams that are named, beside the queries.
fn look_up(forwarder: Arc<Forwarder>, scope: &Scope) {
    let stop = scope.stop.clone();
    let listeners: Vec<_> = scope.listeners.iter().map(|(_, address)| *address).collect();
    tokio::spawn(async move { stop.run_until_cancelled(forwarder.look_up(&listeners)).await });
}

/// Asks upstreams for the names of one zone.
struct Forward {
    /// Does the asking.
    forwarder: Arc<Forwarder>,
    /// Which replies another `forward` behind this one may better.
    next_on: NextOn,
}

impl Forward {
    fn is_for(&self, query: &Query) -> bool {
        self.forwarder.matches(query.wire_name())
    }
}

#[async_trait]
impl Plugin for Forward {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes_other_classes(&self) -> bool {
        true
    }

    fn upstreams(&self, query: &Query) -> Option<Upstreams> {
        self.is_for(query).then(|| match self.forwarder.is_failing() {
            true => Upstreams::Failing,
            false => Upstreams::Answering { recovered: self.forwarder.recovered() },
        })
    }

    fn recovered(&self, name: &[u8]) -> Option<Instant> {
        self.forwarder.matches(name).then(|| self.forwarder.recovered()).flatten()
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        if !self.is_for(query) {
            return next.run(query).await;
        }
        if let Some(refused) = Outcome::if_turned_away(query) {
            return refused;
        }
        let client = if query.is_udp() { Transport::Udp } else { Transport::Tcp };
        match self.forwarder.forward(query.bytes(), client).await {
            Forwarded::Reply(reply) => {
                query.facts().inspect(|facts: &&Facts| facts.set(UPSTREAM, reply.from.to_string()));
                match Message::from_vec(&reply.message) {
                    Ok(message) if self.next_on.takes(&message) && goes_on(query, next) => {
                        next.run(query).await
                    }
                    Ok(message) => reply_from(message, NAME).into(),
                    Err(error) => Outcome::error(format!("plugin/forward: unreadable reply: {error}")),
                }
            }
            Forwarded::FormErr => {
                Outcome::Failed(Failure { rcode: ResponseCode::FormErr, error: None, ede: None })
            }
            Forwarded::Refused { why } => failure(ResponseCode::Refused, EdeCode::Other, why.clone(), why),
            Forwarded::Overloaded { why } => {
                failure(ResponseCode::ServFail, EdeCode::Other, why.clone(), why)
            }
            Forwarded::Failed { error, network: Some(network) } => {
                failure(ResponseCode::ServFail, EdeCode::NetworkError, error, network)
            }
            Forwarded::Failed { error, network: None } => {
                failure(ResponseCode::ServFail, EdeCode::NoReachableAuthority, error.clone(), error)
            }
        }
    }
}

/// Whether another `forward` behind this one would ask somebody.
fn goes_on(query: &Query, next: Next<'_>) -> bool {
    let mut behind = next.plugins().iter().take_while(|plugin| plugin.name() == NAME);
    behind.any(|plugin| plugin.upstreams(query).is_some())
}

fn failure(rcode: ResponseCode, code: EdeCode, error: String, text: String) -> Outcome {
    Outcome::Failed(Failure { rcode, error: Some(error), ede: Some(Ede { code, text }) })
}

/// An upstream's reply as one of `plugin`, to be fitted to the client.
pub fn reply_from(message: Message, plugin: &'static str) -> Reply {
    let metadata = message.metadata;
    Reply {
        authoritative: metadata.authoritative,
        recursion_available: metadata.recursion_available,
        authentic_data: metadata.authentic_data,
        truncated: metadata.truncation,
        ede: ede(&message),
        answers: message.answers,
        authority: message.authorities,
        additional: message.additionals,
        ..Reply::new(metadata.response_code, plugin)
    }
}

/// The Extended DNS Error of a message; of several the first (a reply of ours has room for one).
fn ede(message: &Message) -> Option<Ede> {
    let options = message.edns.as_ref()?.options();
    let Some(EdnsOption::Unknown(_, data)) = options.get(EdnsCode::from(EDE)) else { return None };
    let (code, text) = data.split_first_chunk::<2>()?;
    // A final NUL is allowed, and no part of the text (RFC 8914 §2).
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    let text = String::from_utf8_lossy(text).into_owned();
    Some(Ede { code: EdeCode::Code(u16::from_be_bytes(*code)), text })
}
