//! Answers for people: a question that goes the way of a pod's, and the reply as dig would print it.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use hickory_proto::op::{Message, Query as Question};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_server::net::xfer::Protocol;

use super::shown::Shown;
use crate::node::gate::{self, Gate};
use crate::node::pins;
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::node::router::Router;
use crate::ops::rcode;
use crate::store::status::outcome::LookupStatus;
use crate::zone::name::Labels;

/// The client that asks, as plugins that look at addresses see it.
const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// Asks the node that is shown. The query is counted and logged as any other is, and what it fetches is cached.
///
/// # Errors
/// The question is none.
pub async fn answer(shown: &Shown, name: &str, kind: &str) -> anyhow::Result<LookupStatus> {
    let (name, kind) = (absolute(name)?, record_type(kind)?);
    let labels = Labels::from_labels(name.iter())?;
    let nothing = |rcode: &str| LookupStatus {
        name: name.to_string(),
        kind: kind.to_string(),
        rcode: rcode.to_owned(),
        ..LookupStatus::default()
    };
    // What is pinned needs no server block.
    let first =
        || shown.listeners.first().map(|live| live.router()).filter(|router| router.pins().has(&labels));
    let Some(router) = shown.router(&labels).or_else(first) else { return Ok(nothing("REFUSED")) };
    let start = Instant::now();
    let reply = ask(&router, &name, kind).await?;
    let is_pinned = reply.as_ref().is_some_and(|reply| reply.plugin == pins::NAME);
    let mut status = reply.map_or_else(|| nothing(""), |reply| of_reply(&name, kind, &reply));
    status.took_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    router.identity().clone_into(&mut status.server);
    // What is pinned is from no data.
    if !is_pinned && let Some((state, age)) = shown.state_of(&labels) {
        (status.state, status.age_s) = (Some(state), Some(age.as_secs()));
    }
    Ok(status)
}

/// Asks one listener; `None` if it gives no reply.
///
/// # Errors
/// A question that a server would not take.
pub async fn ask(router: &Arc<Router>, name: &Name, kind: RecordType) -> anyhow::Result<Option<Reply>> {
    let query = query(router, name, kind)?;
    Ok(router.answer(&query).await)
}

/// The query of a client on this machine.
///
/// # Errors
/// A question that a server would not take.
pub fn query(router: &Arc<Router>, name: &Name, kind: RecordType) -> anyhow::Result<Arc<Query>> {
    let mut question = Question::query(name.clone(), kind);
    question.set_query_class(DNSClass::IN);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(question);
    // TCP, so that nothing is left out.
    match gate::judge(&message.to_vec()?, CLIENT, CLIENT, Protocol::Tcp, router) {
        Gate::Pass(query) => Ok(query),
        Gate::Refuse(_) | Gate::Reply(_) | Gate::Silence => bail!("a server would not take this question"),
    }
}

/// A name in presentation form, absolute.
///
/// # Errors
/// It is none.
pub fn absolute(text: &str) -> anyhow::Result<Name> {
    let mut name = Name::from_str_relaxed(text).with_context(|| format!("{text:?} is not a name"))?;
    name.set_fqdn(true);
    Ok(name)
}

/// A type of record, in any letter case.
///
/// # Errors
/// There is none of this name.
pub fn record_type(text: &str) -> anyhow::Result<RecordType> {
    let kind = RecordType::from_str(&text.to_ascii_uppercase()).ok();
    kind.with_context(|| format!("{text:?} is not a type of record: write A, AAAA, SRV, PTR, …"))
}

/// What a reply says.
pub fn of_reply(name: &Name, kind: RecordType, reply: &Reply) -> LookupStatus {
    let lines = |records: &[Record]| records.iter().map(line).collect();
    LookupStatus {
        name: name.to_string(),
        kind: kind.to_string(),
        rcode: rcode::text(reply.rcode.into()).to_string(),
        authoritative: reply.authoritative,
        answers: lines(&reply.answers),
        authority: lines(&reply.authority),
        additional: lines(&reply.additional),
        ede: reply.ede.as_ref().map(|ede| (ede.code.number(), ede.text.to_string())),
        ..LookupStatus::default()
    }
}

/// A record as in a zone file.
fn line(record: &Record) -> String {
    let data = match &record.data {
        // hickory prints the strings without quotes.
        RData::TXT(txt) => {
            let quote = |s: &[u8]| format!("\"{}\"", s.escape_ascii());
            txt.txt_data.iter().map(|s| quote(s)).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    };
    format!("{}\t{}\t{}\t{}\t{data}", record.name, record.ttl, record.dns_class, record.record_type())
}
