//! node-cache's flags where its DaemonSet gives them: on a node with its addresses, its files and its environment.

use std::net::UdpSocket;

use nix::sys::signal::Signal;
use outlast::testkit::client::Query;

use super::http::get;
use super::machine::{Machine, possible};
use super::process::{PATIENCE, Process, ask, run};
use super::programs::there;

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
    assert!(node.errors().contains("-reloadwithsignal has no effect"), "{}", node.errors());
}

/// The addon's arguments as they are: interface and rules as well, and nothing of them left at the end.
#[test]
fn its_whole_daemon_set() {
    if !possible() || !there(&["nft"]) {
        return;
    }
    let machine = Machine::new(&[]);
    let base = BASE.replace("__PILLAR__DNS__DOMAIN__", "cluster.local");
    machine.write("etc/coredns/Corefile.base", &base);
    machine.write("etc/resolv.conf", "nameserver 192.0.2.53\n");
    let said = |program: &str, words: &[&str]| {
        let (code, text, error) = run(machine.command(program).args(words));
        assert_eq!(code, 0, "{program} {words:?}: {error}");
        text
    };
    let before = said("ip", &["-o", "addr"]);
    let mut command = machine.outlast();
    command.args(["-localip", "169.254.20.10,10.96.0.10", "-conf", "/etc/Corefile"]);
    command.args(["-upstreamsvc", "kube-dns-upstream", "-pidfile", "/run/node-cache.pid"]);
    command.args([
        "-interfacename=nodelocaldns",
        "-setupinterface=true",
        "-setupiptables=true",
        "-health-port=8080",
    ]);
    command.args(["-syncinterval=60ns", "-metrics-listen-address=0.0.0.0:9353"]);
    command.env("KUBE_DNS_UPSTREAM_SERVICE_HOST", CLUSTER_DNS).env("KUBE_DNS_SERVICE_HOST", LOCAL[1]);
    let mut node = Process::start(&mut command);
    node.wait_for("interception", |p| p.output().contains("queries are led here").then_some(()));
    let addresses = said("ip", &["-o", "addr"]);
    assert!(LOCAL.iter().all(|address| addresses.contains(&format!(" {address}/32 "))), "{addresses}");
    // The placeholder that an installer has left is every address; the one of the Service is no other than that.
    let rendered = std::fs::read_to_string(machine.path("etc/Corefile")).unwrap();
    assert!(rendered.contains("bind 169.254.20.10 10.96.0.10 \n"), "{rendered}");
    assert!(rendered.contains("health 169.254.20.10:8080\n"), "{rendered}");
    assert_eq!(machine.inside(|| get("169.254.20.10:8080".parse().unwrap(), "/health").0), 200);
    let tables = said("nft", &["list", "ruleset"]);
    assert!(tables.contains("table ip outlast"), "{tables}");
    let local = said("nft", &["list", "set", "ip", "outlast", "local"]);
    assert!(
        local.contains(LOCAL[0]) && !local.contains(LOCAL[1]),
        "the environment knows a Service: {local}"
    );
    let scraped = machine.inside(|| get("127.0.0.1:9353".parse().unwrap(), "/metrics").1);
    for address in LOCAL {
        assert!(
            scraped.contains(&format!("outlast_interception_live{{address=\"{address}\"}} 1\n")),
            "{scraped}"
        );
    }
    node.signal(Signal::SIGTERM);
    assert_eq!(node.wait_until_ended(), 0, "{}", node.output());
    assert_eq!(said("ip", &["-o", "addr"]), before);
    assert_eq!(said("nft", &["list", "ruleset"]), "");
}

/// A template of which an installer has filled in nothing but the domain is filled in with what there is to listen at.
#[test]
fn a_template_is_filled_in_with_what_ipvs_leaves() {
    if !possible() || !there(&["nft"]) {
        return;
    }
    let machine = Machine::new(&[]);
    let said = |program: &str, words: &[&str]| {
        let (code, text, error) = run(machine.command(program).args(words));
        assert_eq!(code, 0, "{program} {words:?}: {error}");
        text
    };
    said("ip", &["link", "add", "kube-ipvs0", "type", "bridge"]);
    said("ip", &["addr", "add", "10.96.0.10/32", "dev", "kube-ipvs0"]);
    machine.write("etc/coredns/Corefile.base", &BASE.replace("__PILLAR__DNS__DOMAIN__", "cluster.local"));
    machine.write("etc/resolv.conf", "nameserver 192.0.2.53\n");
    let mut command = machine.outlast();
    command.args(["-localip", "169.254.20.10,10.96.0.10", "-conf", "/etc/Corefile"]);
    command.args(["-upstreamsvc", "kube-dns-upstream"]);
    command.env("KUBE_DNS_UPSTREAM_SERVICE_HOST", CLUSTER_DNS);
    let mut node = Process::start(&mut command);
    node.wait_for("interception", |p| p.output().contains("queries are led here").then_some(()));
    let rendered = std::fs::read_to_string(machine.path("etc/Corefile")).unwrap();
    assert!(rendered.contains("bind 169.254.20.10 \n") && !rendered.contains("10.96.0.10"), "{rendered}");
    node.signal(Signal::SIGTERM);
    assert_eq!(node.wait_until_ended(), 0, "{}", node.output());
}

/// What Cilium's guide tells node-cache: a LocalRedirectPolicy leads queries to it, at the address of its pod.
#[test]
fn its_daemon_set_behind_cilium_s_local_redirect_policy() {
    if !possible() || !there(&["nft"]) {
        return;
    }
    const POD: &str = "10.244.0.5";
    let machine = Machine::new(&["10.244.0.5/32"]);
    let base = BASE.replace("__PILLAR__DNS__DOMAIN__", "cluster.local");
    let everywhere = base
        .replace("bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__", "bind 0.0.0.0")
        .replace("health __PILLAR__LOCAL__DNS__:8080", "health");
    machine.write("etc/coredns/Corefile.base", &everywhere);
    machine.write("etc/resolv.conf", "nameserver 192.0.2.53\n");
    let command = || {
        let mut command = machine.outlast();
        command.args(["-localip", "169.254.20.10,10.96.0.10", "-conf", "/etc/Corefile"]);
        command.args(["-upstreamsvc", "kube-dns-upstream", "-skipteardown=true"]);
        command.args(["-setupinterface=false", "-setupiptables=false"]);
        command.env("KUBE_DNS_UPSTREAM_SERVICE_HOST", CLUSTER_DNS).env("KUBE_DNS_SERVICE_HOST", LOCAL[1]);
        command
    };
    let state = || {
        let of = |program: &str, words: &[&str]| run(machine.command(program).args(words)).1;
        of("ip", &["-o", "addr"]) + &of("ip", &["-o", "link"]) + &of("nft", &["list", "ruleset"])
    };
    let before = state();
    for (name, text) in [
        ("as its guide has it", everywhere.clone()),
        ("without bind", everywhere.replace("bind 0.0.0.0", "")),
    ] {
        machine.write("etc/coredns/Corefile.base", &text);
        let mut node = Process::start(&mut command()).serving();
        let said = node.output();
        assert_eq!(said.matches("others lead queries to this process").count(), 1, "{name}: {said}");
        assert!(!said.contains("WARN"), "{name}: {said}");
        // Nobody answers behind it, which it says: a reply is what shows that it listens there.
        let at = format!("{POD}:53").parse().unwrap();
        node.wait_for("a reply", |_| machine.inside(|| ask(at, &Query::a("version.bind."))));
        assert_eq!(machine.inside(|| get(format!("{POD}:8080").parse().unwrap(), "/health").0), 200);
        assert_eq!(state(), before, "{name}");
        node.signal(Signal::SIGTERM);
        assert_eq!(node.wait_until_ended(), 0, "{name}: {}", node.output());
        assert_eq!(state(), before, "{name}");
    }
    // The addon's template names the addresses, which this pod has not.
    machine.write("etc/coredns/Corefile.base", &base);
    let (code, _, error) = run(&mut command());
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("nothing is left to listen on: 169.254.20.10: no interface has it"), "{error}");
    // One of them alone is nobody's plan.
    machine.write("etc/coredns/Corefile.base", &everywhere);
    run(machine.command("ip").args(["addr", "add", "10.96.0.10/32", "dev", "lo"]));
    let (code, _, error) = run(&mut command());
    assert!(code == 2 && error.contains("no interface has 169.254.20.10"), "{code}: {error}");
}

/// Port 53 of the node's other addresses stays free for who has it.
#[test]
fn blocks_without_bind_leave_other_addresses_alone() {
    if !possible() || !there(&["nft"]) {
        return;
    }
    let machine = Machine::new(&["192.168.7.1/32"]);
    let other = machine.inside(|| UdpSocket::bind("192.168.7.1:53")).unwrap();
    machine.write("etc/Corefile", ".:53 {\n whoami\n}\n");
    let mut command = machine.outlast();
    let node = Process::start(command.args(["node", "--conf", "/etc/Corefile", "--local-ip=169.254.20.10"]))
        .serving();
    node.wait_for("interception", |p| p.output().contains("queries are led here").then_some(()));
    let at = |address: &str| format!("{address}:53").parse().unwrap();
    assert!(machine.inside(|| ask(at("169.254.20.10"), &Query::a("a.example."))).is_some());
    machine.inside(|| {
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.send_to(b"to the other one", at("192.168.7.1")).unwrap();
    });
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 64];
    let len = other.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"to the other one");
}

#[test]
fn addresses_that_kubernetes_has_not_filled_in_are_named() {
    for (flag, want) in [
        (
            "--local-ip=169.254.20.10,$(KUBE_DNS_SERVICE_HOST)",
            "there is no Service kube-dns in this namespace",
        ),
        ("--hub=$(OUTLAST_HUB_SERVICE_HOST)", "there is no Service outlast-hub in this namespace"),
    ] {
        let (code, out, error) = run(super::process::outlast().args(["node", "--conf", "Corefile", flag]));
        assert_eq!((code, out.as_str()), (2, ""), "{flag}");
        assert!(error.contains(want), "{flag}: {error}");
    }
}
