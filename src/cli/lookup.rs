//! `outlast lookup`: what would be answered, from a snapshot and without a server.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use hickory_proto::rr::{Name, RecordType};

use super::config::{environment, load};
use super::snapshot::{open, read};
use crate::corefile::{self, LoadOptions};
use crate::node::control::lookup;
use crate::node::plugins::forward;
use crate::node::reply::Reply;
use crate::node::router::{Block, Route, Router, longest_zone};
use crate::node::setup::{Overrides, Plan, ServerPlan, plan};
use crate::ops::catalogue;
use crate::ops::dns_metrics::ServerMetrics;
use crate::ops::metrics::Metrics;
use crate::source::choice::SourceChoice;
use crate::store::status::outcome::LookupStatus;
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
    let name = lookup::absolute(&args.name)?;
    let kind = match lookup::record_type(&args.kind) {
        Ok(kind) => kind,
        Err(error) => return Ok(super::wrong(&error)),
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
    super::say(text(&lookup::of_reply(&name, kind, &reply)).trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Asks the block that a server would ask, without the plugins that would ask others.
async fn answer(plan: Plan, name: &Name, kind: RecordType) -> anyhow::Result<Reply> {
    let metrics = Arc::new(Metrics::new());
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
    lookup::ask(&router, name, kind).await?.context("the server block gives no reply to this name")
}

/// The listener that knows most of a name: that of the longest zone which the name is within.
fn server_for(servers: Vec<ServerPlan>, name: &Labels) -> Option<ServerPlan> {
    let longest = |server: &ServerPlan| longest_zone(&server.routes, name);
    // Of equal ones the first, so that the answer does not depend on how many listeners there are.
    servers.into_iter().rev().filter(|s| longest(s).is_some()).max_by_key(longest)
}

/// A reply as dig prints it.
pub(super) fn text(reply: &LookupStatus) -> String {
    let authoritative = if reply.authoritative { ", authoritative" } else { "" };
    let mut text = format!(";; {} {}: {}{authoritative}\n", reply.name, reply.kind, reply.rcode);
    for (section, records) in
        [("ANSWER", &reply.answers), ("AUTHORITY", &reply.authority), ("ADDITIONAL", &reply.additional)]
    {
        if !records.is_empty() {
            text += &format!(";; {section}\n");
            records.iter().for_each(|record| text += &format!("{record}\n"));
        }
    }
    if let Some((code, why)) = &reply.ede {
        // An upstream may have said it.
        let why: String = why.chars().filter(|c| !c.is_control()).collect();
        text += &format!(";; EDE {code}: {why}\n");
    }
    text
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
