//! node-cache's flags where its DaemonSet gives them: on a node with its addresses, its files and its environment.

use outlast::testkit::client::Query;

use super::http::get;
use super::machine::{Machine, possible};
use super::process::{Process, ask, run};

/// The addon's template.
const BASE: &str = include_str!("addon.base");

/// What is asked, and at which addresses pods ask it.
const WEB: &str = "web.shop.svc.cluster.local.";
/// See [`WEB`].
const LOCAL: [&str; 2] = ["169.254.20.10", "10.96.0.10"];

/// The cluster's own DNS.
const CLUSTER_DNS: &str = "10.96.87.4";

/// Errors that node-cache counts.
const ERROR_TYPES: [&str; 5] = ["configmap", "interface_add", "interface_check", "iptables", "iptables_lock"];

#[test]
fn flags_of_its_daemon_set() {
    if !possible() {
        return;
    }
    let machine = Machine::new(&[LOCAL[0], LOCAL[1], CLUSTER_DNS]);
    let block =
        |key: &str, host: &str| format!("{key}:53 {{\n bind {CLUSTER_DNS}\n hosts {{\n {host}\n }}\n}}\n");
    let text =
        block("cluster.local", "10.96.0.7 web.shop.svc.cluster.local") + &block(".", "192.0.2.1 www.example");
    machine.write("etc/central", &text);
    let central = machine.path("etc/central");
    let _central = Process::start(machine.outlast().args(["node", "--conf"]).arg(central)).serving();

    let installed = [
        ("__PILLAR__DNS__DOMAIN__", "cluster.local"),
        ("__PILLAR__LOCAL__DNS__", LOCAL[0]),
        ("__PILLAR__DNS__SERVER__", LOCAL[1]),
    ];
    let base = installed.iter().fold(BASE.to_owned(), |text, (from, to)| text.replace(from, to));
    machine.write("etc/coredns/Corefile.base", &base);
    machine.write("etc/kube-dns/stubDomains", &format!("{{\"corp.example\": [\"{CLUSTER_DNS}\"]}}"));
    machine.write("etc/resolv.conf", &format!("nameserver {CLUSTER_DNS}\n"));
    let mut command = machine.outlast();
    command.args([
        "-upstreamsvc",
        "kube-dns-upstream",
        "-conf",
        "/etc/Corefile",
        "-pidfile",
        "/run/node-cache.pid",
    ]);
    command.args(["-syncinterval=60", "-reloadwithsignal"]);
    command.env("KUBE_DNS_UPSTREAM_SERVICE_HOST", CLUSTER_DNS);
    let node = Process::start(&mut command).serving();

    for address in LOCAL {
        let at = format!("{address}:53").parse().unwrap();
        for (name, want) in [(WEB, "10.96.0.7"), ("www.example.", "192.0.2.1")] {
            let answer = node.wait_for("an answer", |_| machine.inside(|| ask(at, &Query::a(name))));
            let got: Vec<_> = answer.message.answers.iter().map(|r| r.data.to_string()).collect();
            assert_eq!(got, [want], "{name} at {address}");
        }
    }
    let scrape = |address: &str| machine.inside(|| get(address.parse().unwrap(), "/metrics").1);
    let (wrapper, plugin) = (scrape("127.0.0.1:9353"), scrape("127.0.0.1:9253"));
    for kind in ERROR_TYPES {
        let series = format!("coredns_nodecache_setup_errors_total{{errortype=\"{kind}\"}} 0\n");
        assert!(wrapper.contains(&series), "{series}{wrapper}");
    }
    for text in [&wrapper, &plugin] {
        assert!(text.contains("coredns_dns_requests_total{"), "{text}");
    }
    assert_eq!(machine.inside(|| get("169.254.20.10:8080".parse().unwrap(), "/health").0), 200);
    node.wait_for("the pidfile", |_| std::fs::read_to_string(machine.path("run/node-cache.pid")).ok());
    let rendered = std::fs::read_to_string(machine.path("etc/Corefile")).unwrap();
    assert!(
        rendered.contains("    forward . 10.96.87.4 {\n") && rendered.contains("\ncorp.example:53 {\n"),
        "{rendered}"
    );
    for flag in ["-syncinterval (60s) has no effect", "-reloadwithsignal has no effect"] {
        assert!(node.errors().contains(flag), "{}", node.errors());
    }
}

/// Interfaces and rules are not set up: who asks for them hears it, and nothing starts.
#[test]
fn flags_of_interfaces_and_rules_are_refused() {
    for flag in ["-localip=169.254.20.10", "-setupiptables=false", "-interfacename=x", "-skipteardown"] {
        let (code, out, error) = run(super::process::outlast().args(["-conf", "Corefile", flag]));
        assert_eq!((code, out.as_str()), (2, ""), "{flag}");
        assert!(error.contains(&format!("flag provided but not defined: {flag}")), "{flag}: {error}");
    }
}
