//! `outlast drill --live`: what nodes of a real cluster answer while somebody takes the API server away.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::cli::say;
use crate::corefile;
use crate::drill::live::{self, Config, Seen};

/// The port of DNS.
const DNS: u16 = 53;

/// The port of metrics.
const METRICS: u16 = 9153;

/// Arguments of `outlast drill --live`.
#[derive(clap::Args)]
pub(super) struct Watched {
    /// With --live: nodes that are asked, IP or IP:PORT, with commas between
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = dns, requires = "live")]
    dns: Vec<SocketAddr>,
    /// With --live: names that they are asked for, with commas between
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "live")]
    name: Vec<String>,
    /// With --live: metrics of each hub, IP or IP:PORT, with commas between
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = metrics, requires = "live")]
    hub_metrics: Vec<SocketAddr>,
    /// With --live: metrics of nodes, IP or IP:PORT, with commas between: what they say of their age is held to the cut
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = metrics, requires = "live")]
    node_metrics: Vec<SocketAddr>,
    /// With --live: how long to watch at most
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = corefile::parse_duration)]
    lasts: Duration,
    /// With --live: go on without knowing whether the cut is real
    #[arg(long, requires = "live", conflicts_with = "hub_metrics")]
    unverified_cut: bool,
}

/// Watches, and prints what was seen.
pub(super) fn run(watched: Watched, as_json: bool) -> anyhow::Result<ExitCode> {
    let Watched { dns, name, hub_metrics, node_metrics, lasts, unverified_cut } = watched;
    let absolute = |name: String| format!("{}.", name.trim_end_matches('.').to_lowercase());
    let config = Config {
        dns,
        names: name.into_iter().map(absolute).collect(),
        hubs: hub_metrics,
        nodes: node_metrics,
        lasts,
        unverified: unverified_cut,
    };
    let seen = live::observe(&config, &|line| eprintln!("{line}"));
    if as_json {
        say(format_args!("{:#}", json!(seen)));
    } else {
        print(&seen);
    }
    Ok(ExitCode::from(u8::from(!seen.broken.is_empty())))
}

/// For people.
fn print(seen: &Seen) {
    let Seen { queries, failed, wrong, stale, verified, cut_s, detect_s, oldest_s, broken } = seen;
    let seconds = |s: &Option<u64>| s.map_or_else(|| "-".to_owned(), |s| format!("{s} s"));
    let verified = if *verified { "real at every hub" } else { "not verified" };
    say(format_args!("cut       {} ({verified})", seconds(cut_s)));
    say(format_args!("queries   {queries}: {failed} failed, {wrong} wrong, {stale} said that they are old"));
    say(format_args!("detected  {}", seconds(detect_s)));
    if oldest_s.is_some() {
        say(format_args!("oldest    {}, by the metrics of nodes", seconds(oldest_s)));
    }
    say("judged    by what nodes had answered before the cut: there is no history of what was true");
    for why in broken {
        say(format_args!("broken    {why}"));
    }
}

fn dns(text: &str) -> Result<SocketAddr, String> {
    address(text, DNS)
}

fn metrics(text: &str) -> Result<SocketAddr, String> {
    address(text, METRICS)
}

/// An address, at this port unless it says another.
fn address(text: &str, port: u16) -> Result<SocketAddr, String> {
    let ip = || text.parse::<IpAddr>().map(|ip| (ip, port).into());
    text.parse().or_else(|_| ip()).map_err(|_| format!("'{text}' is neither an IP nor IP:PORT"))
}
