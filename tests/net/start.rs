//! A start as the program makes it: a thread that puts addresses on the node, beats, and cleans up; or that fails and
//! leaves nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use outlast::net::config::{Config, KubeProxy};
use outlast::net::nft::Nft;
use outlast::net::run::Hooks;
use outlast::net::start::prepare;
use outlast::ops::control::section::Tells;
use outlast::ops::drain::Drain;
use outlast::ops::metrics::Metrics;
use outlast::ops::readiness::{Monitor, Readiness, State};
use outlast::testkit::node::TestNode;
use tokio::sync::watch;

use super::machine::Machine;
use super::world::{
    ALL, SERVICE, cluster_dns, inside, ips, layout, nft, output, possible_with_tables, until,
};

/// How long the end may take: only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers at all addresses.
const COREFILE: &str = ".:53 {\n bind 10.96.0.10 169.254.20.10 fd00:96::a fd00:20::10\n whoami\n}";

fn config(machine: &Machine, addresses: &[&str]) -> Config {
    let (services, owner) = (ips(&ALL[..1]), machine.path("owner"));
    Config { services, owner, ..Config::of(ips(addresses)) }
}

/// What the kernel has, apart from what changes by itself.
fn state(machine: &Machine) -> String {
    output(machine, "ip", "-o addr") + &nft(machine, "list ruleset")
}

#[test]
fn a_start_and_a_stop_leave_nothing_behind() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&["192.168.7.1/32"]);
    let before = state(&machine);
    for teardown in [false, true] {
        inside(&machine, async || {
            let metrics = Arc::new(Metrics::new());
            let prepared = prepare(Config { teardown, ..config(&machine, &ALL) }, &metrics).unwrap();
            assert_eq!(prepared.addresses().len(), ALL.len());
            let node = TestNode::start(COREFILE);
            let (drain, readiness) = (Drain::new(), Readiness::new(Monitor::UntilReady));
            let (_endpoints, endpoints) = watch::channel(cluster_dns().into());
            let (_services, services) = watch::channel::<Arc<[IpAddr]>>(ips(&ALL[..1]).into());
            let hooks = Hooks {
                pulses: node.pulses().clone(),
                ready: Box::new(|| true),
                endpoints,
                services,
                part: readiness.register("interception"),
            };
            let net = prepared.run(hooks, &drain).unwrap();
            until("ready", async || readiness.state() == State::Ready).await;
            assert_eq!(net.report().section().data["state"], "live");
            assert_eq!(Nft::connect().await.unwrap().live(&layout()).await.unwrap().len(), ALL.len());
            drain.withdrawing().cancel();
            until("withdrawn", async || {
                Nft::connect().await.unwrap().live(&layout()).await.unwrap().is_empty()
            })
            .await;
            node.stop().await;
            let claim = net.finish(PATIENCE).await;
            assert!(claim.is_some_and(|claim| claim.owns()), "until nothing is written any more");
            assert_eq!(net_info(&metrics), 1);
        });
        let after = state(&machine);
        assert_eq!(after == before, teardown, "{after}");
    }
}

/// How many lines say how queries are led here.
fn net_info(metrics: &Metrics) -> usize {
    metrics.render().lines().filter(|line| line.starts_with("outlast_net_info{rules=\"nftables\"")).count()
}

#[test]
fn a_start_that_is_given_up_is_undone() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    let before = state(&machine);
    inside(&machine, async || {
        let prepared = prepare(config(&machine, &ALL), &Arc::new(Metrics::new())).unwrap();
        assert_ne!(state(&machine), before, "addresses are there");
        drop(prepared);
    });
    assert_eq!(state(&machine), before);
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    output(&machine, "ip", "link add br0 type bridge");
    output(&machine, "ip", "addr add fd00:20::10/128 dev br0 nodad");
    let before = state(&machine);
    let services_only = Config { kube_proxy: Some(KubeProxy::Ipvs), ..config(&machine, &[SERVICE]) };
    for (name, config, want) in [
        ("no address", config(&machine, &[]), "there is no address to answer at"),
        (
            "the last address is somebody else's",
            config(&machine, &ALL),
            "fd00:20::10 is an address of interface br0 already",
        ),
        (
            "addresses that should be there",
            Config { interface: None, ..config(&machine, &ALL) },
            "no interface has 10.96.0.10",
        ),
        (
            "only a Service's, with IPVS",
            services_only,
            "and ipvs sends their packets on before any rule of ours",
        ),
    ] {
        let said = inside(&machine, async || match prepare(config, &Arc::new(Metrics::new())) {
            Ok(_) => panic!("{name}: it begins"),
            Err(error) => error.to_string(),
        });
        assert!(said.contains(want), "{name}: {said}");
        assert_eq!(state(&machine), before, "{name}");
    }
}
