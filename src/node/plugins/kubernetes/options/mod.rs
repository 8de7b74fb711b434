//! The `kubernetes` block: CoreDNS's options and our own.
//!
//! * `source` says where the objects come from.
//! * `connection` says how the API server is reached, `hub` how hubs are.
//! * `guard` says what is held back.

mod connection;
pub mod guard;
pub mod hub;
mod source;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::connection::Connection;
use self::guard::GuardLines;
use self::hub::HubLines;
use super::fallback::Fallback;
use super::{Counters, Kubernetes, NAME, Policy};
use crate::corefile::{self, Directive, Error, Line, Statement, Token, Warning};
use crate::forward::{ForwardConfig, Policy as Order};
use crate::node::chain::Plugin;
use crate::node::plugins::{forward, once, search_path};
use crate::node::running::selections::Selection;
use crate::node::setup::{Context, StoreConfig};
use crate::ops::jitter::node_hash;
use crate::snapshot::schedule::{DEFAULT_INTERVAL, MAX_INTERVAL, MIN_INTERVAL};
use crate::source::apiserver::PROVED_WITHIN;
use crate::source::choice::SourceChoice;
use crate::source::{SourceConfig, Wanted};
use crate::store::state::{DEFAULT_STALE_AFTER, Limits};
use crate::zone::name::Labels;
use crate::zone::rules::{Pods, Rules, Zone};
use crate::zone::selector::Selector;

/// TTL of records without `ttl`, in seconds.
const DEFAULT_TTL: u32 = 5;

/// The longest `ttl`, in seconds.
const MAX_TTL: u32 = 3600;

/// Options that are accepted, CoreDNS's first. A line that begins with none of these is refused.
pub const OPTIONS: [&str; 29] = [
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
    "hub",
    "hub_tls",
    "hub_plain",
    "cert_grace",
    "endpoints",
    "guard",
    "guard_hold",
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
    source: Option<SourceChoice>,
    /// How the API server is reached.
    connection: Connection,
    /// How hubs are reached.
    hub: HubLines,
    /// What is held back.
    guard: GuardLines,
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
    /// `startup_timeout`, where it was written.
    startup_timeout: Option<Token>,
}

/// Reads the block; nothing is opened yet.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    let options = read(directive, cx)?;
    let overrides = &cx.environment.overrides;
    let choice = overrides.source.clone().or_else(|| options.source.clone()).unwrap_or_default();
    let source = source_config(choice, &options, cx);
    let source = source.map_err(|e| directive.error(format!("plugin/kubernetes: {e}")))?;
    warn_of_idle(&options, &source, cx);
    let mut rules = options.rules;
    rules.local_addresses = cx.local_addresses()?;
    let limits = Limits {
        stale_after: overrides.stale_after.or(options.stale_after).unwrap_or(DEFAULT_STALE_AFTER),
        max_stale: overrides.max_stale.or(options.max_stale),
    };
    warn_of_haste(directive, &limits, &source, cx);
    let wanted = Wanted { labels: rules.needs_labels(), pods: rules.pods == Pods::Verified };
    let zone = rules.primary().map(|z| z.name.to_string()).unwrap_or_default();
    let store = cx.process.store(StoreConfig {
        source,
        snapshot: overrides.snapshot.clone().or(options.snapshot),
        interval: overrides.snapshot_interval.or(options.interval).unwrap_or(DEFAULT_INTERVAL),
        zone: zone.clone(),
        wanted,
        limits,
        guard: options.guard.config(overrides.guard),
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
    let policy = Policy {
        ttl: options.ttl,
        fallthrough: options.fallthrough,
        forwards_while_empty: cx.adds_kubernetes,
        limits,
        node,
    };
    let clock = cx.environment.clock.clone();
    let counters = Counters::new(metrics);
    cx.process.selections.push(Selection { zone, rules: rules.clone(), store: store.clone() });
    let host_search = host_search(&rules, cx);
    let kubernetes = Kubernetes::new(rules, policy, store, fallback, clock, counters);
    Ok(vec![Arc::new(kubernetes.with_host_search(host_search))])
}

/// Where the objects come from.
fn source_config(choice: SourceChoice, options: &Options, cx: &Context<'_>) -> Result<SourceConfig, String> {
    let overrides = &cx.environment.overrides.hub;
    let hubs = options.hub.any(overrides);
    Ok(match choice {
        SourceChoice::File(path) => SourceConfig::File(path),
        // Invariant: a node that has hubs never contacts the API server.
        SourceChoice::ApiServer if hubs => {
            return Err("source 'apiserver' and 'hub' exclude each other: a node that has hubs never contacts the API \
                        server; remove the one that is not meant (a hub may be named by the block, --hub or OUTLAST_HUB)"
                .to_owned());
        }
        SourceChoice::Auto if hubs => {
            SourceConfig::Hub(options.hub.access(overrides, &cx.environment.node_name)?)
        }
        SourceChoice::Hub => SourceConfig::Hub(options.hub.access(overrides, &cx.environment.node_name)?),
        SourceChoice::Auto | SourceChoice::ApiServer => {
            SourceConfig::ApiServer(options.connection.access(cx.environment.in_cluster)?)
        }
    })
}

/// What follows the cluster's domains in pods' search paths, if `autopath` follows them: this host's own. Warns if it
/// cannot.
fn host_search(rules: &Rules, cx: &mut Context<'_>) -> Vec<Labels> {
    let Some(position) = cx.follows_clients.take() else { return Vec::new() };
    if rules.pods != Pods::Verified {
        let text = "'autopath @kubernetes' has no effect: it needs 'pods verified'".to_owned();
        tracing::warn!(target: "plugin/kubernetes", "{text}, at {position}");
        cx.process.warnings.push(Warning { position, text });
        return Vec::new();
    }
    // A host without the file has no search path.
    search_path::read(Path::new(search_path::HOST)).unwrap_or_default()
}

/// Says which lines have no effect: nothing is ignored in silence.
fn warn_of_idle(options: &Options, source: &SourceConfig, cx: &mut Context<'_>) {
    let mut warn = |line: &Token, why: &str| {
        let (option, position) = (&line.text, &line.position);
        tracing::warn!(target: "plugin/kubernetes", "'{option}' at {position} has no effect: {why}");
        let text = format!("'{option}' has no effect: {why}");
        cx.process.warnings.push(Warning { position: position.clone(), text });
    };
    let other = format!("the source is {source}");
    let Options { connection, hub, guard, startup_timeout, .. } = options;
    match source {
        SourceConfig::ApiServer(access) => connection.idle(access).for_each(|(line, why)| warn(line, why)),
        SourceConfig::File(_) | SourceConfig::Hub(_) => {
            connection.lines().iter().for_each(|line| warn(line, &other));
        }
    }
    match source {
        SourceConfig::Hub(access) => {
            hub.idle(&access.trust).for_each(|(line, why)| warn(line, why));
            guard.lines().iter().for_each(|line| warn(line, "hubs judge for their nodes"));
        }
        SourceConfig::File(_) | SourceConfig::ApiServer(_) => {
            hub.lines().iter().for_each(|line| warn(line, &other));
        }
    }
    if let Some(line) = startup_timeout {
        warn(line, "sockets are bound at once, whatever the source says");
    }
}

/// Says that the data of a source that is well will be called stale now and then.
fn warn_of_haste(directive: &Directive, limits: &Limits, source: &SourceConfig, cx: &mut Context<'_>) {
    let (who, needed) = match source {
        SourceConfig::ApiServer(_) => ("an API server", PROVED_WITHIN),
        SourceConfig::Hub(_) => ("a hub", crate::source::hub::PROVED_WITHIN),
        SourceConfig::File(_) => return,
    };
    if limits.stale_after < needed {
        let position = directive.position();
        let given = limits.stale_after;
        let text = format!(
            "'stale_after' of {given:?} makes good data stale now and then: {who} proves it within {needed:?}"
        );
        tracing::warn!(target: "plugin/kubernetes", "{text}");
        cx.process.warnings.push(Warning { position: position.clone(), text });
    }
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
        connection: Connection::default(),
        hub: HubLines::default(),
        guard: GuardLines::default(),
        snapshot: None,
        interval: None,
        stale_after: None,
        max_stale: None,
        fallback: None,
        startup_timeout: None,
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
        "startup_timeout" => {
            line.one_arg("startup_timeout DURATION")?.duration()?;
            options.startup_timeout = Some(line.name().clone());
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
        "source" => options.source = Some(source::source(line)?),
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
        _ if options.connection.take(line)? || options.hub.take(line)? || options.guard.take(line)? => {}
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
        name @ ("upstream" | "resyncperiod" | "transfer") => line.error(format!(
            "plugin/kubernetes: '{name}' was removed from CoreDNS long ago and does nothing: remove the line"
        )),
        _ => line.unknown_property(NAME, &OPTIONS),
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
    use std::num::NonZeroU32;

    use super::*;
    use crate::node::setup::Overrides;
    use crate::source::apiserver::access::{Access, Limits as AccessLimits, Place, TlsFiles};
    use crate::testkit::node::Builder;

    /// A Corefile with these lines in its block, from line 3 on.
    fn text(lines: &str) -> String {
        format!("cluster.local:53 {{\n kubernetes {{\n {lines}\n }}\n}}\n")
    }

    /// The store that a block with these lines, and these overrides, asks for.
    fn store(lines: &str, overrides: Overrides) -> StoreConfig {
        let plan = Builder::default().overrides(overrides).check(&text(lines));
        let mut plan = plan.unwrap_or_else(|e| panic!("{e}"));
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
                source: Some(SourceChoice::File("b.yaml".into())),
                snapshot: Some("/b".into()),
                snapshot_interval: Some(second(11)),
                stale_after: Some(second(21)),
                max_stale: Some(second(7200)),
                ..Overrides::default()
            },
        );
        assert_eq!((flags.source, flags.snapshot), (SourceConfig::File("b.yaml".into()), Some("/b".into())));
        assert_eq!(flags.interval, second(11));
        assert_eq!(flags.limits, Limits { stale_after: second(21), max_stale: Some(second(7200)) });
    }

    /// What the block and the flag say of the source, in a pod and elsewhere.
    #[test]
    fn the_source_is_the_api_server_unless_something_else_is_said() {
        use SourceChoice::{ApiServer, Auto, File};
        let file = || Some(File("b.yaml".into()));
        for (lines, flag, in_cluster, want) in [
            ("", None, true, "apiserver:in-cluster"),
            ("source auto", None, true, "apiserver:in-cluster"),
            ("source apiserver", None, true, "apiserver:in-cluster"),
            ("source file a.yaml", None, true, "file:a.yaml"),
            ("source file a.yaml", Some(ApiServer), true, "apiserver:in-cluster"),
            ("source file a.yaml", Some(Auto), true, "apiserver:in-cluster"),
            ("source apiserver", file(), true, "file:b.yaml"),
            // The block's lines say which API server the flag means.
            ("source file a.yaml\n kubeconfig /k two", Some(ApiServer), false, "apiserver:/k#two"),
            ("kubeconfig /k", None, false, "apiserver:/k"),
            ("endpoint https://192.0.2.1:6443", None, false, "apiserver:https://192.0.2.1:6443"),
            // CoreDNS's precedence, whatever the order of the lines.
            ("endpoint https://192.0.2.1:6443", None, true, "apiserver:https://192.0.2.1:6443"),
            ("kubeconfig /k\n endpoint https://192.0.2.1:6443", None, true, "apiserver:/k"),
        ] {
            let builder = Builder::default().overrides(Overrides { source: flag, ..Overrides::default() });
            let builder = if in_cluster { builder.in_cluster() } else { builder };
            let plan = builder.check(&text(lines)).unwrap_or_else(|e| panic!("{lines}: {e}"));
            assert_eq!(plan.process.stores[0].0.source.to_string(), want, "{lines}");
        }
    }

    #[test]
    fn every_line_of_the_connection_arrives() {
        let number = NonZeroU32::new;
        let lines = "endpoint https://192.0.2.1:6443\n tls cert key ca\n apiserver_qps 20\n apiserver_burst 40\n \
                     apiserver_max_inflight 2";
        let tls = TlsFiles { cert: "cert".into(), key: "key".into(), ca: "ca".into() };
        let place = Place::Endpoint { url: "https://192.0.2.1:6443".to_owned(), tls: Some(tls) };
        let limits = AccessLimits { qps: number(20), burst: number(40), max_inflight: number(2) };
        assert_eq!(
            store(lines, Overrides::default()).source,
            SourceConfig::ApiServer(Access { place, limits })
        );
        let place = Place::Kubeconfig { file: "/k".into(), context: Some("two".to_owned()) };
        let access = Access { place, limits: AccessLimits::default() };
        assert_eq!(store("kubeconfig /k two", Overrides::default()).source, SourceConfig::ApiServer(access));
    }

    #[test]
    fn lines_without_a_good_effect_are_warned_of() {
        for (lines, want) in [
            ("", &[][..]),
            ("kubeconfig /k\n apiserver_qps 5", &[]),
            ("endpoint https://h\n tls a b c", &[]),
            ("tls a b c", &["3: 'tls' has no effect: it belongs to an 'endpoint', and there is none"]),
            ("endpoint http://h\n tls a b c", &["4: 'tls' has no effect: the endpoint is http, not https"]),
            (
                "endpoint https://h\n tls a b c\n kubeconfig /k",
                &[
                    "3: 'endpoint' has no effect: 'kubeconfig' is ahead of it",
                    "4: 'tls' has no effect: 'kubeconfig' is ahead of it",
                ],
            ),
            (
                "source file x\n kubeconfig /k\n apiserver_qps 5",
                &[
                    "4: 'kubeconfig' has no effect: the source is file:x",
                    "5: 'apiserver_qps' has no effect: the source is file:x",
                ],
            ),
            (
                "startup_timeout 5s",
                &["3: 'startup_timeout' has no effect: sockets are bound at once, whatever the source says"],
            ),
            (
                "stale_after 5s",
                &[
                    "2: 'stale_after' of 5s makes good data stale now and then: an API server proves it within 15s",
                ],
            ),
            ("stale_after 15s", &[]),
            ("source file x\n stale_after 5s", &[]),
        ] {
            let plan = Builder::default().in_cluster().check(&text(lines)).unwrap_or_else(|e| panic!("{e}"));
            let warnings = plan.process.warnings.iter();
            let got: Vec<_> = warnings.map(|w| format!("{}: {}", w.position.line, w.text)).collect();
            assert_eq!(got, want, "{lines}");
        }
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
