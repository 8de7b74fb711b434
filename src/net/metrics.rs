//! What is measured of interception.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::Ip;
use super::beat::Why;
use super::fallback::Fallback;
use super::piece::Piece;
use crate::ops::catalogue::NODECACHE_SETUP_ERRORS;
use crate::ops::metrics::Metrics;
use crate::ops::pulse::Part;

/// Whether an address is answered at here.
const LIVE: &str = "outlast_interception_live";
/// Why not any more.
const WITHDRAWALS: &str = "outlast_interception_withdrawals_total";
/// Why a beat renewed nothing.
const SKIPPED: &str = "outlast_interception_skipped_beats_total";
/// How long a beat took, with its probes.
const BEAT: &str = "outlast_interception_beat_seconds";
/// Whether the addresses are ours.
const OWNER: &str = "outlast_net_owner";
/// Who got them.
const HANDOVERS: &str = "outlast_net_handovers_total";
/// What was mended.
const REPAIRS: &str = "outlast_net_repairs_total";
/// What could not be.
const ERRORS: &str = "outlast_net_errors_total";
/// Where queries for local addresses can go without us.
const FALLBACK: &str = "outlast_net_fallback_endpoints";
/// What node-cache had left.
const LEFTOVERS: &str = "outlast_net_leftovers_total";
/// What was found on this machine.
const INFO: &str = "outlast_net_info";

/// A withdrawal on purpose, beside those of [`Why::REASONS`].
const STOPPED: &str = "stopped";

/// node-cache's types of errors; its dashboards ask for all of them.
const SETUP_ERRORS: [&str; 5] =
    ["configmap", "interface_add", "interface_check", "iptables", "iptables_lock"];

/// What went wrong, as node-cache tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// An interface or an address could not be made.
    InterfaceAdd,
    /// It could not be looked at.
    InterfaceCheck,
    /// A rule could not be looked at, made or deleted.
    Iptables,
    /// The same, because others did so all the time.
    IptablesLock,
}

impl SetupError {
    /// The value of the label `errortype`.
    const fn as_str(self) -> &'static str {
        match self {
            Self::InterfaceAdd => "interface_add",
            Self::InterfaceCheck => "interface_check",
            Self::Iptables => "iptables",
            Self::IptablesLock => "iptables_lock",
        }
    }
}

/// Who has the addresses of the node after they changed hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandedTo {
    /// This process: nobody had them, or whoever had them gave them up.
    Us,
    /// One that had asked for them.
    Successor,
    /// One that had them before, or was about to ask: this process ends.
    Standby,
}

impl HandedTo {
    /// All of them.
    const ALL: [Self; 3] = [Self::Us, Self::Successor, Self::Standby];

    /// The value of the label `to`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Successor => "successor",
            Self::Standby => "standby",
        }
    }
}

/// Counters and gauges, resolved once.
pub struct Measures {
    /// By address.
    live: BTreeMap<IpAddr, Gauge>,
    /// By reason.
    withdrawals: BTreeMap<&'static str, Counter>,
    /// By reason.
    skipped: BTreeMap<&'static str, Counter>,
    /// Of each beat.
    beat: Histogram,
    /// 0 or 1.
    owner: Gauge,
    /// By who got them.
    handovers: BTreeMap<&'static str, Counter>,
    /// By kind of piece.
    repairs: BTreeMap<&'static str, Counter>,
    /// The same.
    errors: BTreeMap<&'static str, Counter>,
    /// By family and protocol.
    fallback: Vec<(Ip, Part, Gauge)>,
    /// Rules that were deleted.
    leftovers: Counter,
    /// What says how queries are led here, once that is known.
    info: Mutex<Option<Gauge>>,
    /// The registry, for what is known later.
    metrics: Arc<Metrics>,
}

impl Measures {
    /// Describes them, and shows every series from the start.
    pub fn new(metrics: &Arc<Metrics>, addresses: &[IpAddr]) -> Self {
        metrics.describe_gauge(LIVE, "Whether queries for an address are led here.");
        metrics.describe_counter(
            WITHDRAWALS,
            "Times that queries were led to the cluster's DNS again, by reason.",
        );
        metrics.describe_counter(SKIPPED, "Beats that renewed nothing, by reason.");
        metrics.describe_histogram(BEAT, "Time that a beat took, with its probes.");
        metrics.describe_gauge(OWNER, "Whether this process owns the addresses and rules of the node.");
        metrics.describe_counter(
            HANDOVERS,
            "Times that the addresses of the node changed hands, by who got them.",
        );
        metrics.describe_counter(REPAIRS, "Pieces of interfaces and rules that were put back, by kind.");
        metrics.describe_counter(ERRORS, "Pieces of interfaces and rules that could not be, by kind.");
        metrics.describe_gauge(
            FALLBACK,
            "Endpoints of the cluster's DNS that queries for local addresses can go to.",
        );
        metrics.describe_counter(LEFTOVERS, "Rules of node-cache that it had left, and that were deleted.");
        metrics.describe_gauge(
            INFO,
            "1 with the labels that tell how queries are led here, 0 with those of before.",
        );
        for errortype in SETUP_ERRORS {
            metrics.counter(NODECACHE_SETUP_ERRORS, &[("errortype", errortype)]).increment(0);
        }
        let counters = |name: &'static str, label: &'static str, values: &[&'static str]| {
            let one = |value: &&'static str| (*value, metrics.counter(name, &[(label, *value)]));
            values.iter().map(one).collect::<BTreeMap<_, _>>()
        };
        let live = |address: &IpAddr| {
            let gauge = metrics.gauge(LIVE, &[("address", &address.to_string())]);
            gauge.set(0.0);
            (*address, gauge)
        };
        let fallback =
            Ip::ALL.into_iter().flat_map(|ip| Part::ALL.map(|part| (ip, part))).map(|(ip, part)| {
                let family = if ip == Ip::V4 { "1" } else { "2" };
                let gauge = metrics.gauge(FALLBACK, &[("family", family), ("proto", part.as_str())]);
                gauge.set(0.0);
                (ip, part, gauge)
            });
        let reasons: Vec<_> = Why::REASONS.into_iter().chain([STOPPED]).collect();
        Self {
            live: addresses.iter().map(live).collect(),
            withdrawals: counters(WITHDRAWALS, "reason", &reasons),
            skipped: counters(SKIPPED, "reason", &Why::REASONS),
            beat: metrics.histogram(BEAT, &[]),
            owner: metrics.gauge(OWNER, &[]),
            handovers: counters(HANDOVERS, "to", &HandedTo::ALL.map(HandedTo::as_str)),
            repairs: counters(REPAIRS, "what", &Piece::WHATS),
            errors: counters(ERRORS, "what", &Piece::WHATS),
            fallback: fallback.collect(),
            leftovers: metrics.counter(LEFTOVERS, &[]),
            info: Mutex::default(),
            metrics: metrics.clone(),
        }
    }

    /// Says how queries are led here from now on.
    pub fn info(&self, rules: &str, kube_proxy: &str, interface: &str) {
        let labels: [(&'static str, &str); 3] =
            [("rules", rules), ("kube_proxy", kube_proxy), ("interface", interface)];
        let info = self.metrics.gauge(INFO, &labels);
        let before = self.info.lock().unwrap_or_else(PoisonError::into_inner).replace(info.clone());
        before.inspect(|before| before.set(0.0));
        info.set(1.0);
    }

    /// Whether an address lives.
    pub fn live(&self, address: &IpAddr, lives: bool) {
        if let Some(gauge) = self.live.get(address) {
            gauge.set(if lives { 1.0 } else { 0.0 });
        }
    }

    /// All addresses were withdrawn; `None`: on purpose.
    pub fn withdrawn(&self, why: Option<&Why>) {
        count(&self.withdrawals, why.map_or(STOPPED, Why::reason));
        self.live.values().for_each(|gauge| gauge.set(0.0));
    }

    /// A beat renewed nothing.
    pub fn skipped(&self, why: &Why) {
        count(&self.skipped, why.reason());
    }

    /// A beat took so long.
    pub fn took(&self, took: Duration) {
        self.beat.record(took);
    }

    /// Whether the addresses are ours.
    pub fn owns(&self, owns: bool) {
        self.owner.set(if owns { 1.0 } else { 0.0 });
    }

    /// The addresses changed hands.
    pub fn handed(&self, to: HandedTo) {
        count(&self.handovers, to.as_str());
    }

    /// A piece was put back.
    pub fn mended(&self, piece: &Piece) {
        count(&self.repairs, piece.what());
    }

    /// A piece could not be.
    pub fn failed(&self, piece: &Piece) {
        count(&self.errors, piece.what());
    }

    /// Setting up went wrong, as node-cache counts it.
    pub fn setup_error(&self, error: SetupError) {
        self.metrics.counter(NODECACHE_SETUP_ERRORS, &[("errortype", error.as_str())]).increment(1);
    }

    /// So many rules of node-cache were deleted.
    pub fn leftovers(&self, rules: usize) {
        self.leftovers.increment(rules as u64);
    }

    /// Where queries for local addresses can go now.
    pub fn fallback(&self, fallback: &Fallback) {
        for (ip, part, gauge) in &self.fallback {
            gauge.set(fallback.targets(*ip, *part).len() as f64);
        }
    }
}

/// Counts one of a value that is there from the start.
fn count(counters: &BTreeMap<&'static str, Counter>, value: &str) {
    if let Some(counter) = counters.get(value) {
        counter.increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::layout::{ChainName, SetName};

    #[test]
    fn every_series_is_there_from_the_start_and_counts() {
        let metrics = Arc::new(Metrics::new());
        let addresses: Vec<IpAddr> = vec!["10.96.0.10".parse().unwrap(), "fd00::a".parse().unwrap()];
        let measures = Measures::new(&metrics, &addresses);
        let shows = |line: &str| {
            let text = metrics.render();
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        };
        shows(r#"outlast_interception_live{address="fd00::a"} 0"#);
        for reason in Why::REASONS.into_iter().chain([STOPPED]) {
            shows(&format!(r#"outlast_interception_withdrawals_total{{reason="{reason}"}} 0"#));
        }
        for what in Piece::WHATS {
            shows(&format!(r#"outlast_net_repairs_total{{what="{what}"}} 0"#));
            shows(&format!(r#"outlast_net_errors_total{{what="{what}"}} 0"#));
        }
        for errortype in SETUP_ERRORS {
            shows(&format!(r#"coredns_nodecache_setup_errors_total{{errortype="{errortype}"}} 0"#));
        }
        shows(r#"outlast_net_fallback_endpoints{family="2",proto="tcp"} 0"#);
        for to in ["us", "successor", "standby"] {
            shows(&format!(r#"outlast_net_handovers_total{{to="{to}"}} 0"#));
        }

        measures.live(&addresses[0], true);
        shows(r#"outlast_interception_live{address="10.96.0.10"} 1"#);
        measures.skipped(&Why::Rules);
        measures.withdrawn(Some(&Why::Readiness));
        measures.withdrawn(None);
        shows(r#"outlast_interception_live{address="10.96.0.10"} 0"#);
        shows(r#"outlast_interception_skipped_beats_total{reason="rules"} 1"#);
        shows(r#"outlast_interception_withdrawals_total{reason="readiness"} 1"#);
        shows(r#"outlast_interception_withdrawals_total{reason="stopped"} 1"#);
        measures.mended(&Piece::Set(Ip::V4, SetName::Ours));
        measures.failed(&Piece::Rules(Ip::V6, ChainName::Out));
        for error in [SetupError::InterfaceAdd, SetupError::Iptables, SetupError::IptablesLock] {
            measures.setup_error(error);
        }
        measures.leftovers(24);
        measures.owns(true);
        measures.handed(HandedTo::Successor);
        shows(r#"outlast_net_handovers_total{to="successor"} 1"#);
        measures.info("nftables", "none", "nodelocaldns");
        measures.info("nftables", "iptables", "nodelocaldns");
        shows(r#"outlast_net_info{rules="nftables",kube_proxy="none",interface="nodelocaldns"} 0"#);
        shows(r#"outlast_net_repairs_total{what="set"} 1"#);
        shows(r#"outlast_net_errors_total{what="rule"} 1"#);
        for errortype in ["interface_add", "iptables", "iptables_lock"] {
            shows(&format!(r#"coredns_nodecache_setup_errors_total{{errortype="{errortype}"}} 1"#));
        }
        shows("outlast_net_leftovers_total 24");
        shows("outlast_net_owner 1");
        shows(r#"outlast_net_info{rules="nftables",kube_proxy="iptables",interface="nodelocaldns"} 1"#);
    }
}
