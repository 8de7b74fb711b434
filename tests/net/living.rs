//! A loop with listeners that answer, in the network of the calling thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outlast::net::Endpoint;
use outlast::net::around::{Around, Found, Setting};
use outlast::net::beside::Beside;
use outlast::net::config::{Config, Mode};
use outlast::net::iptables::Ports;
use outlast::net::keep::{Carrier, Keeper};
use outlast::net::layout::{FLOWS, Layout};
use outlast::net::link::{Journal, Kind, Links};
use outlast::net::lookout::Lookout;
use outlast::net::mark::Marks;
use outlast::net::metrics::Measures;
use outlast::net::nft::Nft;
use outlast::net::run::{End, Heart, Hooks, Means, Shown};
use outlast::net::section::Report;
use outlast::net::watch::Watch;
use outlast::ops::control::section::Tells;
use outlast::ops::metrics::Metrics;
use outlast::ops::ownership::Claim;
use outlast::ops::readiness::{Monitor, Readiness};
use outlast::testkit::node::TestNode;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::world::{ALL, SERVICE, SERVICE6, cluster_dns, ips, layout};

/// Answers at all addresses.
const COREFILE: &str = ".:53 {\n bind 10.96.0.10 169.254.20.10 fd00:96::a fd00:20::10\n whoami\n}";

/// What may be different about one.
pub(super) struct Form {
    /// Where processes agree on who owns the addresses.
    pub(super) owner: tempfile::TempDir,
    /// Whether it may answer from the start.
    pub(super) is_ready: bool,
    /// How often it looks at everything.
    pub(super) look: Duration,
    /// For how long its tables remember connections.
    pub(super) flows: Duration,
    /// Whether it can send beats over IPv6.
    pub(super) marks_v6: bool,
    /// Whether it follows who has its addresses before it.
    pub(super) looks_around: bool,
}

impl Default for Form {
    fn default() -> Self {
        let (owner, look) = (tempfile::tempdir().unwrap(), Duration::from_secs(60));
        Self { owner, is_ready: true, look, flows: FLOWS, marks_v6: true, looks_around: false }
    }
}

/// A loop and what it hears.
pub(super) struct Life {
    pub(super) node: Option<TestNode>,
    pub(super) ready: Arc<AtomicBool>,
    /// Where processes agree on who owns the addresses.
    pub(super) owner: tempfile::TempDir,
    pub(super) endpoints: watch::Sender<Arc<[Endpoint]>>,
    pub(super) withdrawing: CancellationToken,
    pub(super) withdrawn: CancellationToken,
    pub(super) closed: CancellationToken,
    pub(super) metrics: Arc<Metrics>,
    pub(super) report: Arc<Report>,
    pub(super) running: JoinHandle<(Keeper, Claim)>,
    pub(super) tables: Nft,
}

impl Life {
    /// Begins one that is ready, and has the addresses for itself.
    pub(super) async fn begin() -> Self {
        Self::of(Form::default()).await
    }

    /// Begins one beside others that agree by this folder.
    pub(super) async fn beside(owner: tempfile::TempDir, is_ready: bool) -> Self {
        Self::of(Form { owner, is_ready, ..Form::default() }).await
    }

    /// Begins one.
    pub(super) async fn of(form: Form) -> Self {
        let Form { owner, is_ready, look, flows, marks_v6, looks_around } = form;
        let mut layout = Layout::new(&ips(&ALL), &ips(&[SERVICE, SERVICE6]), 53, flows);
        layout.set_endpoints(&cluster_dns());
        let links = Links::connect().unwrap();
        let mut journal = Journal::default();
        let device =
            links.set_up("nodelocaldns", Kind::Bridge, layout.addresses(), &mut journal).await.unwrap();
        let node = TestNode::start(COREFILE);
        let metrics = Arc::new(Metrics::new());
        let measures = Arc::new(Measures::new(&metrics, layout.addresses()));
        let report = Arc::new(Report::new(&layout, Some(&device.name)));
        let events = Watch::subscribe(&device.name, layout.addresses()).await.unwrap();
        let carrier = Carrier::Ours { name: device.name.clone(), kind: Kind::Bridge, device };
        let keeper = Keeper::new(links, carrier, Nft::connect().await.unwrap(), layout, measures.clone());
        let (endpoints, followed) = watch::channel(cluster_dns().into());
        let (_, services) = watch::channel(ips(&[SERVICE, SERVICE6]).into());
        let ready = Arc::new(AtomicBool::new(is_ready));
        let is_ready = ready.clone();
        let [withdrawing, withdrawn, closed] = [(); 3].map(|()| CancellationToken::new());
        let hooks = Hooks {
            pulses: node.pulses().clone(),
            ready: Box::new(move || is_ready.load(Ordering::Relaxed)),
            endpoints: followed,
            services,
            part: Readiness::new(Monitor::UntilReady).register("interception"),
        };
        let end = End {
            ending: CancellationToken::new(),
            withdrawing: withdrawing.clone(),
            withdrawn: withdrawn.clone(),
            closed: closed.clone(),
        };
        let marks = Some(Marks::new(53, marks_v6).unwrap());
        let (claim, _) = Claim::join(owner.path()).unwrap();
        let ports = Ports { dns: 53, health: 8080 };
        let lookout = Lookout::connect(&ips(&ALL), ports, measures.clone()).await.unwrap();
        let mut beside = Beside::nothing().with_lookout(lookout);
        if looks_around {
            let (found, _) = Found::look(&Config::of(ips(&ALL))).await.unwrap();
            let (rules, interface) = (Mode::Nftables, "nodelocaldns".to_owned());
            let around = Around::begin(found, Setting { rules, interface, measures: measures.clone() });
            beside = beside.with_around(around, hooks.services.clone());
        }
        let (means, shown) =
            (Means { keeper, marks, claim, beside }, Shown { measures, report: report.clone() });
        let heart = Heart::new(means, hooks, end, shown, look);
        let running = tokio::spawn(heart.run(events));
        let tables = Nft::connect().await.unwrap();
        Self {
            node: Some(node),
            ready,
            owner,
            endpoints,
            withdrawing,
            withdrawn,
            closed,
            metrics,
            report,
            running,
            tables,
        }
    }

    pub(super) async fn is_live(&self) -> bool {
        self.tables.live(&layout()).await.unwrap().len() == ALL.len()
    }

    pub(super) async fn is_out(&self) -> bool {
        self.tables.live(&layout()).await.unwrap().is_empty()
    }

    pub(super) fn state(&self) -> String {
        self.report.section().data["state"].as_str().unwrap().to_owned()
    }

    /// The value of a series.
    pub(super) fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{series} in\n{text}")).parse().unwrap()
    }

    /// Ends as a clean stop does.
    pub(super) async fn end(self) {
        self.withdrawing.cancel();
        self.withdrawn.cancelled().await;
        if let Some(node) = self.node {
            node.stop().await;
        }
        self.closed.cancel();
        self.running.await.unwrap().0.remove().await;
    }
}
