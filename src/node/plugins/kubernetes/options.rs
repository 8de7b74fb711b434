//! The `kubernetes` block: CoreDNS's options and our own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::fallback::Fallback;
use super::{Counters, Kubernetes, NAME, Policy};
use crate::corefile::{self, Directive, Error, Line, Statement, Token};
use crate::forward::{ForwardConfig, Policy as Order};
use crate::node::chain::Plugin;
use crate::node::plugins::{forward, once};
use crate::node::setup::{Context, StoreConfig};
use crate::node::store::state::{DEFAULT_STALE_AFTER, Limits};
use crate::ops::jitter::node_hash;
use crate::snapshot::schedule::{DEFAULT_INTERVAL, MAX_INTERVAL, MIN_INTERVAL};
use crate::source::{SourceConfig, Wanted};
use crate::zone::name::Labels;
use crate::zone::rules::{Pods, Rules, Zone};
use crate::zone::selector::Selector;

/// TTL of records without `ttl`, in seconds.
const DEFAULT_TTL: u32 = 5;

/// The longest `ttl`, in seconds.
const MAX_TTL: u32 = 3600;

/// Options that are accepted, CoreDNS's first. A line that begins with none of these is refused.
pub const OPTIONS: [&str; 22] = [
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
    "startup_timeout",
    "source",
    "snapshot",
    "snapshot_interval",
    "stale_after",
    "max_stale",
    "fallback",
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
    let store = store.map_err(|e| directive.error(format!("plugin/kubernetes: {e}")))?;
    let metrics = &cx.environment.metrics;
    let fallback = match overrides.fallback.as_slice() {
        [] => options.fallback,
        servers => Some(fallback_config(servers.to_vec())),
    };
    let fallback = fallback.map(|config| Fallback::new(config, metrics)).transpose();
    let fallback = fallback.map_err(|e| directive.error(format!("plugin/kubernetes: fallback: {e}")))?;
    let node = node_hash(&cx.environment.node_name);
    let policy = Policy { ttl: options.ttl, fallthrough: options.fallthrough, limits, node };
    let clock = cx.environment.clock.clone();
    let counters = Counters::new(metrics);
    Ok(vec![Arc::new(Kubernetes::new(rules, policy, store, fallback, clock, counters))])
}

/// Servers that are asked one after the other.
fn fallback_config(servers: Vec<SocketAddr>) -> ForwardConfig {
    ForwardConfig { policy: Order::Sequential, ..ForwardConfig::new(".", servers) }
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
        // Invariant: what is not listed is not accepted.
        name if !OPTIONS.contains(&name) => return Err(refusal(line)),
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
            options.fallback = Some(fallback_config(upstreams));
        }
        _ => return Err(refusal(line)),
    }
    Ok(())
}

/// Why a line is refused, and what to do about it.
fn refusal(line: &Line) -> Error {
    match line.name().text.as_str() {
        "multicluster" => line.error(
            "plugin/kubernetes: 'multicluster' is not supported: remove the line, and forward the clusterset zone to a \
             server that has it",
        ),
        "zonal" => line.error(
            "plugin/kubernetes: 'zonal' is not supported: remove the line; every ready endpoint is in the answer",
        ),
        "guard" => line.error(
            "plugin/kubernetes: 'guard' is not supported yet: remove the line; removals are applied as they come",
        ),
        name @ ("hub" | "endpoints") => line.error(format!(
            "plugin/kubernetes: '{name}' is about hubs, which are not supported yet: write '{SOURCE_USAGE}' instead"
        )),
        name @ ("upstream" | "resyncperiod" | "transfer") => line.error(format!(
            "plugin/kubernetes: '{name}' was removed from CoreDNS long ago and does nothing: remove the line"
        )),
        _ => line.unknown_property(NAME, &OPTIONS),
    }
}

/// How `source` is written.
const SOURCE_USAGE: &str = "source file PATH";

fn source(line: &Line) -> Result<SourceConfig, Error> {
    let words = line.expect_args(1..=2, SOURCE_USAGE)?;
    match words {
        [kind, path] if kind.text == "file" => Ok(SourceConfig::File(PathBuf::from(&path.text))),
        [kind, ..] if matches!(kind.text.as_str(), "auto" | "apiserver" | "hub") => Err(kind.error(format!(
            "plugin/kubernetes: source '{}' is not supported yet: write '{SOURCE_USAGE}'",
            kind.text
        ))),
        [kind] if kind.text == "file" => {
            Err(kind.error(format!("plugin/kubernetes: source 'file' needs a path: write '{SOURCE_USAGE}'")))
        }
        [kind, ..] => {
            Err(kind.error(format!("plugin/kubernetes: no source '{}': write '{SOURCE_USAGE}'", kind.text)))
        }
        [] => Err(line.error(format!("plugin/kubernetes: write '{SOURCE_USAGE}'"))),
    }
}

fn selector(line: &Line) -> Result<Selector, Error> {
    let words = line.expect_args(1..=usize::MAX, &format!("{} SELECTOR", line.name().text))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::setup::Overrides;
    use crate::testkit::node::Builder;

    /// The store that a block with these lines, and these overrides, asks for.
    fn store(lines: &str, overrides: Overrides) -> StoreConfig {
        let text = format!("cluster.local:53 {{\n kubernetes {{\n {lines}\n }}\n}}\n");
        let mut plan = Builder::default().overrides(overrides).check(&text).unwrap_or_else(|e| panic!("{e}"));
        plan.process.stores.remove(0).0
    }

    #[test]
    fn without_options_the_defaults_hold() {
        let store = store("source file a.yaml", Overrides::default());
        assert_eq!(store.source, SourceConfig::File("a.yaml".into()));
        assert_eq!((store.zone.as_str(), store.snapshot), ("cluster.local.", None));
        assert_eq!((store.interval, store.limits), (DEFAULT_INTERVAL, Limits::default()));
        assert_eq!((store.wanted, store.watched), (Wanted { labels: false, pods: false }, false));
    }

    #[test]
    fn what_flags_say_is_ahead_of_the_block() {
        let lines =
            "source file a.yaml\n snapshot /a\n snapshot_interval 10s\n stale_after 20s\n max_stale 1h";
        let block = store(lines, Overrides::default());
        let second = Duration::from_secs;
        assert_eq!(block.snapshot, Some("/a".into()));
        assert_eq!(block.interval, second(10));
        assert_eq!(block.limits, Limits { stale_after: second(20), max_stale: Some(second(3600)) });
        let flags = store(
            lines,
            Overrides {
                source: Some(SourceConfig::File("b.yaml".into())),
                snapshot: Some("/b".into()),
                snapshot_interval: Some(second(11)),
                stale_after: Some(second(21)),
                max_stale: Some(second(7200)),
                fallback: Vec::new(),
            },
        );
        assert_eq!((flags.source, flags.snapshot), (SourceConfig::File("b.yaml".into()), Some("/b".into())));
        assert_eq!(flags.interval, second(11));
        assert_eq!(flags.limits, Limits { stale_after: second(21), max_stale: Some(second(7200)) });
    }

    #[test]
    fn only_what_is_needed_of_the_objects_is_kept() {
        for (line, labels, pods) in [
            ("pods insecure", false, false),
            ("pods verified", false, true),
            ("labels a=b", true, false),
            ("namespace_labels a", true, false),
        ] {
            let store = store(&format!("source file x\n {line}"), Overrides::default());
            assert_eq!(store.wanted, Wanted { labels, pods }, "{line}");
        }
    }

    #[test]
    fn options_are_listed_once() {
        let mut names = OPTIONS.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), OPTIONS.len());
    }
}
