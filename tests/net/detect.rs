//! What is seen of a machine: its interfaces, and the rules of others.

use nix::sys::signal::Signal;
use outlast::net::config::{KubeProxy, Mode};
use outlast::net::detect::Signs;
use outlast::net::link::Links;
use outlast::net::nft::Nft;
use outlast::net::sight::Sight;
use outlast::net::usable::Seen;
use outlast::testkit::client::Query;

use super::machine::Machine;
use super::process::{Process, ask, run};
use super::program::{node, state};
use super::world::{LOCAL, SERVICE, inside, ips, layout, nft, output, possible_with_tables};

fn seen(machine: &Machine) -> Signs {
    inside(machine, async || {
        let (tables, links) = (Nft::connect().await.unwrap(), Links::connect().unwrap());
        Signs::gather(Some(&tables), &links).await.unwrap()
    })
}

#[test]
fn signs_are_those_of_the_machine() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    // A kernel may have the old iptables, whose tables appear in every network.
    let bare = seen(&machine);
    assert!(bare.links.contains(&"lo".to_owned()) && bare.tables.is_empty() && bare.chains.is_empty());
    let mut want = bare.kube_proxy();
    for (deed, then) in [
        ("nft add table ip nat; add chain ip nat KUBE-SERVICES", Some(KubeProxy::Iptables)),
        ("nft add table ip kube-proxy; add chain ip kube-proxy services", Some(KubeProxy::Nftables)),
        ("ip link add cilium_host type bridge", None),
        ("nft delete table ip kube-proxy", Some(KubeProxy::Iptables)),
        ("nft delete table ip nat", (!bare.has_legacy()).then_some(KubeProxy::Cilium)),
        ("ip link add kube-ipvs0 type bridge", Some(KubeProxy::Ipvs)),
    ] {
        let (program, arguments) = deed.split_once(' ').unwrap();
        match program {
            "nft" => drop(nft(&machine, arguments)),
            _ => drop(output(&machine, program, arguments)),
        }
        want = then.unwrap_or(want);
        assert_eq!(seen(&machine).kube_proxy(), want, "{deed}");
    }
}

#[test]
fn a_firewall_is_named_and_our_own_table_is_none() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || Nft::connect().await.unwrap().install(&layout(), &[]).await.unwrap());
    assert_eq!(seen(&machine).dropping().count(), 0);
    nft(
        &machine,
        "add table inet firewall; \
         add chain inet firewall in { type filter hook input priority 0; policy drop; }; \
         add chain inet firewall out { type filter hook output priority 0; policy accept; }",
    );
    let signs = seen(&machine);
    let named: Vec<_> = signs.dropping().map(|chain| (chain.table.as_str(), chain.name.as_str())).collect();
    assert_eq!(named, [("firewall", "in")]);
}

/// Does what `nft` or `ip` is told.
fn deed(machine: &Machine, deed: &str) {
    match deed.split_once(' ').unwrap() {
        ("nft", command) => drop(nft(machine, command)),
        (program, arguments) => drop(output(machine, program, arguments)),
    }
}

#[test]
fn who_comes_after_us_is_seen_and_who_goes_is_missed() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    // Tables of the old iptables may appear in every network, and cannot be told from kube-proxy's.
    let bare = seen(&machine).kube_proxy();
    let steps: [(&str, KubeProxy, &[&str]); 14] = [
        ("nft add table ip nat", bare, &[]),
        ("nft add chain ip nat KUBE-SERVICES", KubeProxy::Iptables, &[]),
        // It takes over from kube-proxy, which goes later.
        ("ip link add cilium_host type bridge", KubeProxy::Iptables, &[]),
        ("nft delete table ip nat", KubeProxy::Cilium, &[]),
        ("ip link del cilium_host", bare, &[]),
        ("ip link add cilium_host type bridge", KubeProxy::Cilium, &[]),
        ("nft add table ip kube-proxy", KubeProxy::Nftables, &[]),
        ("ip link del cilium_host", KubeProxy::Nftables, &[]),
        ("ip link add kube-ipvs0 type bridge", KubeProxy::Ipvs, &[]),
        ("ip addr add 10.96.0.10/32 dev kube-ipvs0", KubeProxy::Ipvs, &["10.96.0.10"]),
        ("ip addr add fd00:96::a/128 dev kube-ipvs0 nodad", KubeProxy::Ipvs, &["10.96.0.10", "fd00:96::a"]),
        ("ip addr add 10.96.0.11/32 dev lo", KubeProxy::Ipvs, &["10.96.0.10", "fd00:96::a"]),
        ("nft delete table ip kube-proxy", KubeProxy::Ipvs, &["10.96.0.10", "fd00:96::a"]),
        ("ip link del kube-ipvs0", bare, &[]),
    ];
    inside(&machine, async || {
        let (mut sight, _) = Sight::begin(Mode::Auto, None).await.unwrap();
        let (mut told, _) = Sight::begin(Mode::Auto, Some(KubeProxy::Iptables)).await.unwrap();
        assert_eq!(sight.seen().await.unwrap(), Seen { kube_proxy: bare, on_ipvs: Vec::new() });
        for (what, kube_proxy, on_ipvs) in steps {
            deed(&machine, what);
            let want = Seen { kube_proxy, on_ipvs: ips(on_ipvs) };
            assert_eq!(sight.look().await.unwrap(), want, "{what}");
            assert_eq!(sight.look().await.unwrap(), want, "{what}, and nothing new");
            let want = Seen { kube_proxy: KubeProxy::Iptables, on_ipvs: Vec::new() };
            assert_eq!(told.look().await.unwrap(), want, "{what}");
        }
    });
}

/// Flags of a node that answers at both addresses.
const BOTH: &str = "--local-ip=10.96.0.10,169.254.20.10";

#[test]
fn what_somebody_has_before_us_is_left_out_of_the_corefile_and_the_rest_served() {
    if !possible_with_tables() {
        return;
    }
    let cases: [(&str, &[&str], &str); 2] = [
        (
            "kube-ipvs0",
            &["ip link add kube-ipvs0 type bridge", "ip addr add 10.96.0.10/32 dev kube-ipvs0"],
            "kube-proxy has it on kube-ipvs0",
        ),
        (
            "cilium_host",
            &["ip link add cilium_host type bridge"],
            "it is a Service's, and cilium sends its packets on before any rule of ours",
        ),
    ];
    for (link, before, why) in cases {
        let machine = Machine::new(&[]);
        let bare = state(&machine);
        before.iter().for_each(|what| deed(&machine, what));
        let was = state(&machine);
        machine.write("Corefile", &format!("a:53 {{\n whoami\n}}\n.:53 {{\n bind {SERVICE}\n whoami\n}}\n"));
        let mut command = machine.outlast();
        command.arg("node").arg("--conf").arg(machine.path("Corefile")).arg(BOTH);
        let (code, _, error) = run(command.env("KUBE_DNS_SERVICE_HOST", SERVICE));
        assert_eq!(code, 2, "{error}");
        let want = format!("nothing is left to listen on: 10.96.0.10: {why}");
        assert!(error.contains("Corefile:5 - ") && error.contains(&want), "{error}");
        assert_eq!(state(&machine), was);

        let mut command = node(&machine, &[BOTH, "--look-every=1s"]);
        command.env("KUBE_DNS_SERVICE_HOST", SERVICE);
        let mut process = Process::start(&mut command);
        process.wait_for("interception", |p| p.output().contains("queries are led here").then_some(()));
        let said = process.output();
        let warned = format!("Corefile:2 - nothing is listened at 10.96.0.10: {why}");
        assert_eq!(said.matches(&warned).count(), 1, "{said}");
        assert!(said.contains(".:53 on 169.254.20.10\n") && !said.contains(" on 10.96.0.10"), "{said}");
        let query = Query::a("kube-dns.kube-system.svc.cluster.local.");
        let server = format!("{LOCAL}:53").parse().unwrap();
        assert_eq!(machine.inside(|| ask(server, &query)).unwrap().answers().len(), 1);
        let ours = nft(&machine, "list set ip outlast ours");
        assert!(ours.contains(LOCAL) && !ours.contains(SERVICE), "{ours}");
        // Nobody has bound a socket to it.
        output(&machine, "ip", &format!("link del {link}"));
        process.wait_for("that it says what to do", |p| {
            p.output().contains("it is answered here after a restart of this process").then_some(())
        });
        assert!(!output(&machine, "ip", "-o addr").contains(SERVICE));
        process.signal(Signal::SIGTERM);
        assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
        assert_eq!(state(&machine), bare);
    }
}
