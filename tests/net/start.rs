//! A start as the program makes it: a thread that puts addresses on the node, beats, and cleans up; or that fails and
//! leaves nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use outlast::net::config::{Config, KubeProxy, Mode};
use outlast::net::nft::Nft;
use outlast::net::run::Hooks;
use outlast::net::start::{Look, look};
use outlast::ops::control::section::Tells;
use outlast::ops::drain::Drain;
use outlast::ops::metrics::Metrics;
use outlast::ops::readiness::{Monitor, Readiness, State};
use outlast::testkit::node::TestNode;
use tokio::sync::watch;

use super::machine::Machine;
use super::world::{
    ALL, LOCAL, SERVICE, cluster_dns, inside, ips, layout, nft, output, possible_with_tables, prepare, until,
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
        let looked = look(config(&machine, &ALL)).unwrap();
        assert_eq!(state(&machine), before, "a look changes nothing");
        drop(looked);
        assert!(!machine.path("owner").exists(), "and nobody hears of it");
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

/// Longer than the kernel remembers anything, which it refuses.
const TOO_LONG: Duration = Duration::from_secs(20_000_000_000_000);

#[test]
fn tables_that_the_kernel_refuses_are_found_out_before_anything_is_changed() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    let before = state(&machine);
    let refused = || {
        let now = state(&machine);
        inside(&machine, async || {
            let Look::Here(surveyed) = look(config(&machine, &ALL)).unwrap() else { panic!("by others") };
            let prepared = surveyed.prepare(TOO_LONG, &Arc::new(Metrics::new()));
            let error = prepared.map(drop).unwrap_err().to_string();
            assert!(error.contains("this kernel cannot have the tables of interception: "), "{error}");
            assert!(error.contains("outlast-tried/flows") && error.contains("nft_masq"), "{error}");
        });
        assert_eq!(state(&machine), now);
    };
    refused();
    assert_eq!(state(&machine), before);
    // One that could not go on with what another process of the node has does not get as far as to take it away from it.
    inside(&machine, async || Nft::connect().await.unwrap().install(&layout(), &[]).await.unwrap());
    refused();
    inside(&machine, async || Nft::connect().await.unwrap().remove().await.unwrap());
    assert_eq!(state(&machine), before);
    // Whoever leads queries here by other means, or by none, needs no tables.
    inside(&machine, async || {
        let config = Config { rules: Mode::Off, ..config(&machine, &ALL) };
        let Look::Here(surveyed) = look(config).unwrap() else { panic!("by others") };
        drop(surveyed.prepare(TOO_LONG, &Arc::new(Metrics::new())).unwrap());
    });
    assert_eq!(state(&machine), before);
}

#[test]
fn a_look_tells_what_can_be_answered_at_and_to_whom_the_rest_is_left() {
    if !possible_with_tables() {
        return;
    }
    struct Case {
        name: &'static str,
        before: &'static [&'static str],
        /// Whether nothing is put on the node, and nothing leads anywhere.
        idle: bool,
        want: Result<&'static [&'static str], &'static str>,
    }
    let none = Case { name: "", before: &[], idle: false, want: Ok(&[]) };
    for Case { name, before, idle, want } in [
        Case { name: "nobody", want: Ok(&[SERVICE, LOCAL]), ..none },
        Case {
            name: "IPVS, which nobody has told the Service's address",
            before: &["link add kube-ipvs0 type bridge", "addr add 10.96.0.10/32 dev kube-ipvs0"],
            want: Ok(&[LOCAL]),
            ..none
        },
        Case {
            name: "IPVS that has all of them",
            before: &[
                "link add kube-ipvs0 type bridge",
                "addr add 10.96.0.10/32 dev kube-ipvs0",
                "addr add 169.254.20.10/32 dev kube-ipvs0",
            ],
            want: Err("and ipvs sends their packets on before any rule of ours"),
            ..none
        },
        Case { name: "others lead queries here", idle: true, want: Err("by others"), ..none },
        Case {
            name: "others have put the addresses there",
            before: &["addr add 10.96.0.10/32 dev lo", "addr add 169.254.20.10/32 dev lo"],
            idle: true,
            want: Ok(&[SERVICE, LOCAL]),
        },
        Case {
            name: "others have put one there",
            before: &["addr add 10.96.0.10/32 dev lo"],
            idle: true,
            want: Err("no interface has 169.254.20.10"),
        },
    ] {
        let machine = Machine::new(&[]);
        before.iter().for_each(|command| drop(output(&machine, "ip", command)));
        let was = state(&machine);
        let mut config = Config { services: Vec::new(), ..config(&machine, &[SERVICE, LOCAL]) };
        if idle {
            (config.rules, config.interface) = (Mode::Off, None);
        }
        let got = inside(&machine, async || match look(config) {
            Ok(Look::Here(surveyed)) => {
                let addresses = surveyed.addresses().to_vec();
                let prepared = surveyed.prepare(Duration::ZERO, &Arc::new(Metrics::new()));
                prepared.map(|_| addresses).map_err(|error| error.to_string())
            }
            Ok(Look::ByOthers) => Err("by others".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        match (got, want) {
            (Ok(got), Ok(want)) => assert_eq!(got, ips(want), "{name}"),
            (Err(got), Err(want)) => assert!(got.contains(want), "{name}: {got}"),
            (got, want) => panic!("{name}: {got:?}, not {want:?}"),
        }
        assert_eq!(state(&machine), was, "{name}");
    }
}
