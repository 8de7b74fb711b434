//! `outlast lookup`: what would be answered, from a snapshot and without a server.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use hickory_proto::op::{Message, Query as Question};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_server::net::xfer::Protocol;

use super::config::{environment, load};
use super::snapshot::{open, read};
use crate::corefile::{self, LoadOptions};
use crate::node::gate::{self, Gate};
use crate::node::plugins::forward;
use crate::node::reply::Reply;
use crate::node::router::{Block, Route, Router};
use crate::node::setup::{Overrides, Plan, ServerPlan, plan};
use crate::ops::catalogue;
use crate::ops::dns_metrics::ServerMetrics;
use crate::ops::metrics::Metrics;
use crate::ops::rcode;
use crate::source::choice::SourceChoice;
use crate::zone::Table;
use crate::zone::name::Labels;

/// Arguments of `outlast lookup`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  outlast lookup web.shop.svc.cluster.local --snapshot /var/lib/outlast
  outlast lookup _http._tcp.web.shop.svc.cluster.local SRV --snapshot /var/lib/outlast --conf Corefile

Nothing is sent: names outside the cluster's zones have no answer here.")]
pub(super) struct Args {
    /// The name
    name: String,
    /// The type of record
    #[arg(default_value = "A", value_name = "TYPE")]
    kind: String,
    /// A snapshot or a folder of snapshots
    #[arg(long, env = "OUTLAST_SNAPSHOT", value_name = "FILE")]
    snapshot: PathBuf,
    /// The Corefile whose `kubernetes` block to answer by [default: pods insecure, ttl 30]
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,
}

/// Prints the answer as dig does.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let name = absolute(&args.name)?;
    let Ok(kind) = RecordType::from_str(&args.kind.to_ascii_uppercase()) else {
        return Ok(super::wrong(&format!(
            "{:?} is not a type of record: write A, AAAA, SRV, PTR, …",
            args.kind
        )));
    };
    let (path, bytes) = read(&args.snapshot)?;
    let snapshot = open(&path, &bytes)?;
    let mut objects = Vec::new();
    snapshot.objects(|object| objects.push(object)).with_context(|| format!("reading {}", path.display()))?;
    let header = snapshot.into_header();
    let table = Table::build(objects, header.complete, header.serial);

    let overrides = Overrides { source: Some(SourceChoice::File(path)), ..Overrides::default() };
    let environment = environment(Arc::new(Metrics::new()), overrides, None);
    let corefile = match &args.conf {
        Some(conf) => load(conf, 53),
        None => {
            let zone = &header.zone;
            let text = format!(
                ".:53 {{\n kubernetes {zone} in-addr.arpa ip6.arpa {{\n pods insecure\n ttl 30\n }}\n}}\n"
            );
            corefile::parse(&text, "built in", &LoadOptions::default())
        }
    };
    let plan = match corefile.and_then(|corefile| plan(&corefile, &environment)) {
        Ok(plan) => plan,
        Err(error) => return Ok(super::wrong(&error)),
    };
    for (_, store) in &plan.process.stores {
        store.hold(table.clone());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reply = runtime.block_on(answer(plan, &name, kind))?;
    print(&name, kind, &reply);
    Ok(ExitCode::SUCCESS)
}

/// A name in presentation form, absolute.
fn absolute(text: &str) -> anyhow::Result<Name> {
    let mut name = Name::from_str_relaxed(text).with_context(|| format!("{text:?} is not a name"))?;
    name.set_fqdn(true);
    Ok(name)
}

/// Asks the block that a server would ask, without the plugins that would ask others.
async fn answer(plan: Plan, name: &Name, kind: RecordType) -> anyhow::Result<Reply> {
    let metrics = Arc::new(Metrics::new());
    let mut question = Question::query(name.clone(), kind);
    question.set_query_class(DNSClass::IN);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(question);
    let bytes = message.to_vec()?;
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
    let labels = Labels::from_labels(name.iter())?;
    let server =
        server_for(plan.servers, &labels).context("no server block of the Corefile is for this name")?;
    let offline = |route: Route| Route {
        block: Arc::new(Block {
            plugins: route.block.plugins.iter().filter(|p| p.name() != forward::NAME).cloned().collect(),
        }),
        zone: route.zone,
    };
    let server_metrics = Arc::new(ServerMetrics::new(&metrics, &server.identity, &[]));
    let routes = server.routes.into_iter().map(offline).collect();
    let panics = metrics.counter(catalogue::PANICS, &[]);
    let router = Router::new(server.identity, routes, server_metrics, panics);
    match gate::judge(&bytes, here, here, Protocol::Tcp, &router) {
        Gate::Pass(query) => {
            router.answer(&query).await.context("the server block gives no reply to this name")
        }
        Gate::Refuse(_) | Gate::Reply(_) | Gate::Silence => bail!("a server would not take this question"),
    }
}

/// The listener that knows most of a name: that of the longest zone which the name is within.
fn server_for(servers: Vec<ServerPlan>, name: &Labels) -> Option<ServerPlan> {
    let longest = |server: &ServerPlan| {
        let matching = server.routes.iter().filter(|route| name.is_within(&route.zone));
        matching.map(|route| route.zone.len()).max()
    };
    // Of equal ones the first, so that the answer does not depend on how many listeners there are.
    servers.into_iter().rev().filter(|s| longest(s).is_some()).max_by_key(longest)
}

fn print(name: &Name, kind: RecordType, reply: &Reply) {
    let authoritative = if reply.authoritative { ", authoritative" } else { "" };
    super::say(format_args!(";; {name} {kind}: {}{authoritative}", rcode::text(reply.rcode.into())));
    for (section, records) in
        [("ANSWER", &reply.answers), ("AUTHORITY", &reply.authority), ("ADDITIONAL", &reply.additional)]
    {
        if !records.is_empty() {
            super::say(format_args!(";; {section}"));
            records.iter().for_each(|record| super::say(line(record)));
        }
    }
    if let Some(ede) = &reply.ede {
        super::say(format_args!(";; EDE {}: {}", ede.code.number(), ede.text));
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corefile::parse;

    #[test]
    fn the_listener_of_the_longest_zone_is_asked() {
        let text = ".:53 {\n errors\n}\ncluster.local:1053 {\n errors\n}\nlocal:53 {\n errors\n}\n";
        let corefile = parse(text, "Corefile", &LoadOptions::default()).unwrap();
        let environment = environment(Arc::new(Metrics::new()), Overrides::default(), None);
        for (name, want) in [
            ("web.shop.svc.cluster.local.", "dns://:1053"),
            ("printer.local.", "dns://:53"),
            ("example.org.", "dns://:53"),
        ] {
            let servers = plan(&corefile, &environment).unwrap().servers;
            let server = server_for(servers, &Labels::parse(name).unwrap()).unwrap();
            assert_eq!(server.identity, want, "{name}");
        }
    }
}
