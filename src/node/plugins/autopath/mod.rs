//! `autopath [ZONES...] RESOLVCONF|@kubernetes`: follows a client's search path for it.
//!
//! A pod that asks for `www.example.org` asks for `www.example.org.NS.svc.cluster.local.` first, and for four more
//! names before the one that it means. This takes the first of them for what it is and tries the whole path
//! here; what is found is answered with an alias in front:
//!
//! ```text
//! www.example.org.lab.svc.cluster.local. 30 IN CNAME www.example.org.
//! www.example.org.                       30 IN A     192.0.2.1
//! ```
//!
//! Names that exist are answered as ever, and where no element of the path leads to anything the first one's denial
//! is: the client then walks the path by itself, as it would have.
//!
//! With `@kubernetes` the path is the asking pod's: its namespace, then the rest of the cluster zone, then the search
//! path of this host. That takes `pods verified`, since only then addresses of pods are known.

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record};
use metrics::Counter;

use super::by_server::ByServer;
use super::{is_within, kubernetes, once, search_path, zones};
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::node::setup::Context;
use crate::ops::catalogue;
use crate::zone::name::Labels;

/// The plugin's name.
pub const NAME: &str = "autopath";

/// It has no options.
pub const OPTIONS: [&str; 0] = [];

/// How the directive is written.
const USAGE: &str = "autopath [ZONES...] RESOLVCONF|@kubernetes";

/// Reads ZONES, and the file if one is named.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    directive.no_body()?;
    let Some((path, names)) = directive.args().split_last() else {
        return Err(directive.error(format!("plugin/autopath: no search path: write '{USAGE}'")));
    };
    let path = match path.text.strip_prefix('@') {
        Some(kubernetes::NAME) => {
            cx.follows_clients = Some(directive.position().clone());
            SearchPath::OfClient
        }
        Some(_) => return Err(path.error(format!("plugin/autopath: '{}': write '@kubernetes'", path.text))),
        None => {
            let file = cx.path(path);
            let mut domains = search_path::read(&file).map_err(|error| {
                path.error(format!("plugin/autopath: reading the search path of {}: {error}", file.display()))
            })?;
            domains.push(Labels::root());
            SearchPath::Fixed(domains)
        }
    };
    let metrics = cx.environment.metrics.clone();
    let counter = move |server: &str| metrics.counter(catalogue::AUTOPATH_SUCCESS, &[("server", server)]);
    Ok(vec![Arc::new(AutoPath { zones: zones(names, cx)?, path, found: ByServer::new(counter) })])
}

/// Where the path comes from.
enum SearchPath {
    /// From a file.
    Fixed(Vec<Labels>),
    /// From what `kubernetes` knows of the client.
    OfClient,
}

/// Follows search paths.
struct AutoPath {
    /// For names in these zones.
    zones: Vec<Labels>,
    /// Which.
    path: SearchPath,
    /// `coredns_autopath_success_total`
    found: ByServer<Counter>,
}

impl AutoPath {
    /// The path of the client that sent `query`, if `query` is for something below its first element.
    fn path(&self, query: &Query, next: Next<'_>) -> Option<Vec<Labels>> {
        if !is_within(query.labels(), &self.zones) {
            return None;
        }
        let path = match &self.path {
            SearchPath::Fixed(path) => path.clone(),
            SearchPath::OfClient => {
                let named = |plugin: &&Arc<dyn Plugin>| plugin.name() == kubernetes::NAME;
                next.plugins().iter().find(named)?.search_path(query)?
            }
        };
        let first = path.first()?;
        (query.labels().len() > first.len() && query.labels().is_within(first)).then_some(path)
    }
}

/// The name that a client looks for, in its letter case, and `domain`.
fn below(query: &Query, base: usize, domain: &Labels) -> Option<Name> {
    let mut name = Name::from_labels(query.name().iter().take(base).chain(domain.iter())).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The query for another name.
fn ask_for(query: &Query, name: &Name) -> Option<Query> {
    query.changed(|message| {
        for question in &mut message.queries {
            question.set_name(name.clone());
        }
    })
}

/// Leads from the name that was asked for to the one that has the records.
fn lead(reply: &mut Reply, asked: &Name) {
    if let Some(first) = reply.answers.iter().find(|record| record.name != *asked) {
        let alias = RData::CNAME(CNAME(first.name.clone()));
        reply.answers.insert(0, Record::from_rdata(asked.clone(), first.ttl, alias));
    }
}

#[async_trait]
impl Plugin for AutoPath {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let Some(path) = self.path(query, next) else { return next.run(query).await };
        let base = query.labels().len() - path.first().map_or(0, Labels::len);
        let mut denial = None;
        for (at, domain) in path.iter().enumerate() {
            let outcome = if at == 0 {
                next.run(query).await
            } else {
                // A name that is too long does not exist.
                let question = below(query, base, domain).and_then(|name| ask_for(query, &name));
                let Some(question) = question else { continue };
                next.run(&question).await
            };
            match outcome {
                Outcome::Reply(reply) if reply.rcode == ResponseCode::NXDomain => {
                    denial.get_or_insert(Outcome::Reply(reply));
                }
                Outcome::Reply(mut reply) => {
                    if at > 0 {
                        lead(&mut reply, query.name());
                    }
                    self.found.of(query).increment(1);
                    return Outcome::Reply(reply);
                }
                // Whoever goes on behind an error might find another's name. The client finds out by itself.
                Outcome::Failed(_) if at > 0 => break,
                other => return other,
            }
        }
        match denial {
            Some(denial) => denial,
            None => next.run(query).await,
        }
    }
}

#[cfg(test)]
mod tests;
