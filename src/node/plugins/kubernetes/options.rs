//! The `kubernetes` block: CoreDNS's options and our own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::fallback::Fallback;
use super::{Counters, Kubernetes, NAME, Policy};
use crate::corefile::{self, Directive, Error, Line, Statement, Token};
use crate::forward::{ForwardConfig, Policy as Order};
use crate::node::chain::Plugin;
use crate::node::plugins::{forward, once};
use crate::node::setup::{Context, SourceConfig, StoreConfig};
use crate::node::store::state::{DEFAULT_STALE_AFTER, Limits};
use crate::ops::jitter::node_hash;
use crate::snapshot::schedule::{DEFAULT_INTERVAL, MAX_INTERVAL, MIN_INTERVAL};
use crate::source::Wanted;
use crate::zone::name::Labels;
use crate::zone::rules::{Pods, Rules, Zone};
use crate::zone::selector::Selector;

/// TTL of records without `ttl`, in seconds.
const DEFAULT_TTL: u32 = 5;

/// The longest `ttl`, in seconds.
const MAX_TTL: u32 = 3600;

/// Options that are understood.
const OPTIONS: [&str; 26] = [
    "endpoint",
    "tls",
    "kubeconfig",
    "apiserver_qps",
    "apiserver_burst",
    "apiserver_max_inflight",
    "namespaces",
    "namespace_labels",
    "labels",
    "pods",
    "endpoint_pod_names",
    "ttl",
    "noendpoints",
    "fallthrough",
    "ignore",
    "multicluster",
    "zonal",
    "startup_timeout",
    "source",
    "hub",
    "snapshot",
    "snapshot_interval",
    "stale_after",
    "max_stale",
    "fallback",
    "guard",
];

/// What a block says, checked.
struct Options {
    /// What is answered.
    rules: Rules,
    /// `ttl`
    ttl: u32,
    /// `fallthrough`
    fallthrough: Vec<Labels>,
    /// `source`
    source: Option<SourceConfig>,
    /// `snapshot`
    snapshot: Option<PathBuf>,
    /// `snapshot_interval`
    interval: Option<Duration>,
    /// `stale_after`
    stale_after: Option<Duration>,
    /// `max_stale`
    max_stale: Option<Duration>,
    /// `fallback`
    fallback: Option<ForwardConfig>,
    /// Options for the connection to the API server, which other sources do not have.
    connection: Vec<Token>,
}

/// Reads the block; nothing is opened yet.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    let options = read(directive, cx)?;
    let overrides = &cx.environment.overrides;
    let source = overrides.source.clone().or(options.source).ok_or_else(|| {
        directive.error(
            "plugin/kubernetes: following an API server is not supported yet: write 'source file PATH' in this \
             block, or give --source file:PATH",
        )
    })?;
    for option in &options.connection {
        tracing::warn!(target: "plugin/kubernetes", "'{}' at {} has no effect: the source is {source}",
            option.text, option.position);
    }
    let mut rules = options.rules;
    rules.local_addresses = cx.local_addresses()?;
    let limits = Limits {
        stale_after: overrides.stale_after.or(options.stale_after).unwrap_or(DEFAULT_STALE_AFTER),
        max_stale: overrides.max_stale.or(options.max_stale),
    };
    let wanted = Wanted { labels: rules.needs_labels(), pods: rules.pods == Pods::Verified };
    let zone = rules.primary().map(|z| z.name.to_string()).unwrap_or_default();
    let store = cx.process.store(StoreConfig {
        source,
        snapshot: overrides.snapshot.clone().or(options.snapshot),
        interval: overrides.snapshot_interval.or(options.interval).unwrap_or(DEFAULT_INTERVAL),
        zone,
        wanted,
        limits,
        watched: cx.watches_readiness,
    });
    let metrics = &cx.environment.metrics;
    let fallback = options.fallback.map(|config| Fallback::new(config, metrics)).transpose();
    let fallback = fallback.map_err(|e| directive.error(format!("plugin/kubernetes: fallback: {e}")))?;
    let node = node_hash(&cx.environment.node_name);
    let policy = Policy { ttl: options.ttl, fallthrough: options.fallthrough, limits, node };
    let clock = cx.environment.clock.clone();
    let counters = Counters::new(metrics);
    Ok(vec![Arc::new(Kubernetes::new(rules, policy, store, fallback, clock, counters))])
}

fn read(directive: &Directive, cx: &Context<'_>) -> Result<Options, Error> {
    let zones = match directive.args() {
        [] => cx.zones.clone(),
        words => labels(words, corefile::zones(words)?)?,
    };
    let zones: Vec<_> = zones.into_iter().map(Zone::new).collect();
    if zones.iter().all(|z| z.reverse) {
        return Err(directive.error(
            "plugin/kubernetes: at least one zone must not be a reverse zone: add the cluster's, e.g. 'cluster.local'",
        ));
    }
    let mut options = Options {
        rules: Rules { zones, ..Rules::default() },
        ttl: DEFAULT_TTL,
        fallthrough: Vec::new(),
        source: None,
        snapshot: None,
        interval: None,
        stale_after: None,
        max_stale: None,
        fallback: None,
        connection: Vec::new(),
    };
    for line in directive.lines() {
        option(line, &mut options)?;
    }
    if !options.rules.namespaces.is_empty() && options.rules.namespace_labels.is_some() {
        return Err(
            directive.error("plugin/kubernetes: 'namespaces' and 'namespace_labels' exclude each other")
        );
    }
    Ok(options)
}

fn option(line: &Line, options: &mut Options) -> Result<(), Error> {
    let rules = &mut options.rules;
    match line.name().text.as_str() {
        "endpoint" => {
            line.one_arg("endpoint URL")?;
            options.connection.push(line.name().clone());
        }
        "tls" => {
            line.expect_args(1..=3, "tls CERT KEY CACERT")?;
            options.connection.push(line.name().clone());
        }
        "kubeconfig" => {
            line.expect_args(1..=2, "kubeconfig FILE [CONTEXT]")?;
            options.connection.push(line.name().clone());
        }
        name @ ("apiserver_qps" | "apiserver_burst" | "apiserver_max_inflight") => {
            line.one_arg(&format!("{name} NUMBER"))?.integer(0..=u32::MAX)?;
            options.connection.push(line.name().clone());
        }
        "startup_timeout" => {
            line.one_arg("startup_timeout DURATION")?.duration()?;
            options.connection.push(line.name().clone());
        }
        "namespaces" => {
            let words = line.expect_args(1..=usize::MAX, "namespaces NAMESPACE...")?;
            rules.namespaces.extend(words.iter().map(|w| Box::from(w.text.as_str())));
        }
        "namespace_labels" => rules.namespace_labels = Some(selector(line)?),
        "labels" => rules.labels = Some(selector(line)?),
        "pods" => {
            let modes =
                [("disabled", Pods::Disabled), ("insecure", Pods::Insecure), ("verified", Pods::Verified)];
            rules.pods = line.one_arg("pods disabled|insecure|verified")?.choice(&modes)?;
        }
        "endpoint_pod_names" => {
            line.no_args()?;
            rules.endpoint_pod_names = true;
        }
        "noendpoints" => {
            line.no_args()?;
            rules.no_endpoints = true;
        }
        "ttl" => options.ttl = line.one_arg("ttl SECONDS")?.integer(0..=MAX_TTL)?,
        "fallthrough" => {
            options.fallthrough = match line.args() {
                [] => vec![Labels::root()],
                words => labels(words, corefile::zones(words)?)?,
            };
        }
        "ignore" => {
            for word in line.args() {
                rules.ignore_empty_service = word.choice(&[("empty_service", true)])?;
            }
        }
        "source" => options.source = Some(source(line)?),
        "snapshot" => options.snapshot = Some(PathBuf::from(&line.one_arg("snapshot DIR")?.text)),
        "snapshot_interval" => {
            let word = line.one_arg("snapshot_interval DURATION")?;
            let interval = word.duration()?;
            if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
                return Err(word.error(format!(
                    "plugin/kubernetes: 'snapshot_interval' is from {MIN_INTERVAL:?} to {MAX_INTERVAL:?}"
                )));
            }
            options.interval = Some(interval);
        }
        "stale_after" => options.stale_after = Some(line.one_arg("stale_after DURATION")?.duration()?),
        "max_stale" => options.max_stale = Some(line.one_arg("max_stale DURATION")?.duration()?),
        "fallback" => {
            let words = line.expect_args(1..=usize::MAX, "fallback ADDRESS...")?;
            let mut upstreams = Vec::new();
            for word in words {
                upstreams.extend(forward::addresses(word)?);
            }
            let config = ForwardConfig { policy: Order::Sequential, ..ForwardConfig::new(".", upstreams) };
            options.fallback = Some(config);
        }
        name @ ("multicluster" | "zonal" | "hub" | "guard") => {
            return Err(line.error(format!("plugin/kubernetes: '{name}' is not supported yet")));
        }
        "endpoints" => {
            return Err(
                line.error("plugin/kubernetes: 'endpoints' is about hubs, which are not supported yet")
            );
        }
        "upstream" | "resyncperiod" | "transfer" => {
            return Err(line.error(format!(
                "plugin/kubernetes: '{}' was removed from CoreDNS long ago and does nothing: remove the line",
                line.name().text
            )));
        }
        _ => return Err(line.unknown_property(NAME, &OPTIONS)),
    }
    Ok(())
}

fn source(line: &Line) -> Result<SourceConfig, Error> {
    const USAGE: &str = "source file PATH";
    let words = line.expect_args(1..=2, USAGE)?;
    match words {
        [kind, path] if kind.text == "file" => Ok(SourceConfig::File(PathBuf::from(&path.text))),
        [kind, ..] if matches!(kind.text.as_str(), "auto" | "apiserver" | "hub") => Err(kind.error(format!(
            "plugin/kubernetes: source '{}' is not supported yet: write '{USAGE}'",
            kind.text
        ))),
        [kind, ..] => {
            Err(kind.error(format!("plugin/kubernetes: no source '{}': write '{USAGE}'", kind.text)))
        }
        [] => Err(line.error(format!("plugin/kubernetes: write '{USAGE}'"))),
    }
}

fn selector(line: &Line) -> Result<Selector, Error> {
    let words = line.expect_args(1..=usize::MAX, "labels SELECTOR")?;
    let text = words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" ");
    Selector::parse(&text).map_err(|e| line.error(format!("plugin/kubernetes: {e}")))
}

/// Zones that `corefile::zones` has checked, as labels.
fn labels(words: &[Token], zones: Vec<String>) -> Result<Vec<Labels>, Error> {
    let parse = |zone: String| {
        Labels::parse(&zone).map_err(|e| {
            words.first().map_or_else(
                || Error::new(&corefile::Position::of_file(""), format!("'{zone}': {e}")),
                |word| word.error(format!("plugin/kubernetes: '{zone}': {e}")),
            )
        })
    };
    zones.into_iter().map(parse).collect()
}
