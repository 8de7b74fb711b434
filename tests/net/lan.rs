//! A node with two pods, and the cluster's own DNS behind it: what is asked at the address of a Service is sent on by
//! rules like kube-proxy's, unless somebody on the node answers it.
//!
//! ```text
//! pod-a 10.244.0.2  fd00:244::2  ── veth ─┐
//! pod-b 10.244.0.3  fd00:244::3  ── veth ─┤ node: forwards, 192.168.7.1 fd00:7::1 are its own,
//! dns   10.244.0.10 fd00:244::10 ── veth ─┘       169.254.1.1 fe80::1 every pod's way to everywhere
//! ```
//!
//! The cluster's DNS is the program too, at port 1053. Who answered says the NSID: `node` or `cluster`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use outlast::ops::pulse::Part;
use outlast::testkit::cluster::{ns, slice, svc, write_json};

use super::clients::{By, Client, ask};
use super::machine::Machine;
use super::process::{PATIENCE, Process, run};
use super::programs::there;
use super::world::{ALL, SERVICE, SERVICE6, ip, nft, possible_with_tables};

/// Addresses of the node besides those of DNS.
const NODE: [&str; 2] = ["192.168.7.1/32", "fd00:7::1/128"];

/// The last part of the addresses of pods.
const PODS: [u8; 2] = [2, 3];

/// The same of the cluster's DNS.
const DNS: u8 = 10;

/// Where the cluster's DNS answers behind its Service.
const ENDPOINTS: [&str; 2] = ["10.244.0.10:1053", "[fd00:244::10]:1053"];

/// Where the node's metrics are.
const METRICS: &str = "127.0.0.1:9253";

/// What the program says when interception begins, the first time and again.
pub(super) const LED_HERE: &str = "queries are led here";

/// The same with iptables: the head of a file for `iptables-restore`, with the Service, the addresses of pods and the
/// endpoint to be filled in.
const IPTABLES: &str = "*nat\n:KUBE-SERVICES -\n:KUBE-MARK-MASQ -\n:KUBE-POSTROUTING -\n\
    -A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n-A POSTROUTING -j KUBE-POSTROUTING\n\
    -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n\
    -A KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE\n\
    -A KUBE-SERVICES ! -s PODS -d SERVICE -p udp -m udp --dport 53 -j KUBE-MARK-MASQ\n\
    -A KUBE-SERVICES ! -s PODS -d SERVICE -p tcp -m tcp --dport 53 -j KUBE-MARK-MASQ\n\
    -A KUBE-SERVICES -d SERVICE -p udp -m udp --dport 53 -j DNAT --to-destination ENDPOINT\n\
    -A KUBE-SERVICES -d SERVICE -p tcp -m tcp --dport 53 -j DNAT --to-destination ENDPOINT\nCOMMIT\n";

/// How queries for a Service are sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KubeProxy {
    /// By kube-proxy's tables of nftables.
    Nftables,
    /// By its chains of iptables, in a kernel that has the old ones.
    Iptables,
}

impl KubeProxy {
    /// Puts its rules on a node.
    fn set_up(self, node: &Machine) {
        match self {
            Self::Nftables => drop(nft(node, include_str!("kubeproxy.nft"))),
            Self::Iptables => {
                for (program, service, pods, endpoint) in [
                    ("iptables-legacy-restore", SERVICE, "10.244.0.0/16", ENDPOINTS[0]),
                    ("ip6tables-legacy-restore", SERVICE6, "fd00:244::/32", ENDPOINTS[1]),
                ] {
                    let rules = IPTABLES.replace("PODS", pods).replace("SERVICE ", &format!("{service} "));
                    node.write("rules", &rules.replace("ENDPOINT", endpoint));
                    script(node, &format!("{program} {}", node.path("rules").display()));
                }
            }
        }
    }
}

/// The network.
pub(super) struct Lan {
    /// The node.
    pub(super) node: Machine,
    /// Its pods.
    pub(super) pods: [Machine; 2],
    /// The cluster's DNS.
    _cluster: Process,
    /// Where it runs.
    _dns: Machine,
}

impl Lan {
    /// One with kube-proxy's tables of nftables; see [`Self::behind`].
    pub(super) fn new() -> Option<Self> {
        Self::behind(KubeProxy::Nftables)
    }

    /// One, if it can be had; the cluster's DNS answers at its endpoints.
    pub(super) fn behind(kube_proxy: KubeProxy) -> Option<Self> {
        let has_iptables = || there(&["iptables-legacy", "ip6tables-legacy"]);
        if !possible_with_tables() || kube_proxy == KubeProxy::Iptables && !has_iptables() {
            return None;
        }
        let node = Machine::new(&NODE);
        node.inside(|| {
            // The last one: addresses of interfaces to come are there at once.
            for (switch, to) in [
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv6/conf/default/accept_dad", "0"),
            ] {
                fs::write(format!("/proc/sys/net/{switch}"), to).unwrap();
            }
        });
        let pods = PODS.map(|host| pod(&node, host));
        let dns = pod(&node, DNS);
        kube_proxy.set_up(&node);
        let mut command = serve(&dns, ".:1053 {\n nsid cluster\n kubernetes cluster.local\n}\n");
        let cluster = Process::start(&mut command).serving();
        let lan = Self { node, pods, _cluster: cluster, _dns: dns };
        for endpoint in ENDPOINTS {
            let client = Client::new("pod-a", &lan.pods[0], endpoint.parse().unwrap(), Part::Udp);
            lan._cluster.wait_for("an answer of the cluster's DNS", |_| ask(&client).filter(By::is_cluster));
        }
        Some(lan)
    }

    /// The program on the node, with these lines in its block besides.
    pub(super) fn command(&self, lines: &str) -> Command {
        let corefile = format!(
            ".:53 {{\n bind {}\n nsid node\n prometheus {METRICS}\n kubernetes cluster.local\n{lines}}}\n",
            ALL.join(" ")
        );
        let mut command = serve(&self.node, &corefile);
        command.arg(format!("--local-ip={}", ALL.join(",")));
        command
    }

    /// Starts it on the node, and waits until it is intercepting.
    pub(super) fn start(&self, lines: &str) -> Process {
        let process = Process::start(&mut self.command(lines));
        self.wait_until_whole(&process);
        process
    }

    /// Waits until queries are led to the program, and would go to the cluster's DNS without it.
    pub(super) fn wait_until_whole(&self, process: &Process) {
        process.wait_for(LED_HERE, |p| p.output().contains(LED_HERE).then_some(()));
        process.wait_for("what the cluster's objects say", |_| {
            let whole = [("ip", SERVICE, "10.244.0.10"), ("ip6", SERVICE6, "fd00:244::10")].iter().all(
                |(family, service, endpoint)| {
                    let local = nft(&self.node, &format!("list set {family} outlast local"));
                    let fallback = nft(&self.node, &format!("list chain {family} outlast fallback"));
                    !local.contains(service) && fallback.matches(endpoint).count() == 2
                },
            );
            whole.then_some(())
        });
    }

    /// One client for each of these places, all addresses and both protocols.
    pub(super) fn clients(&self, places: &[&'static str]) -> Vec<Client<'_>> {
        let machine = |place| match place {
            "pod-a" => &self.pods[0],
            "pod-b" => &self.pods[1],
            "host" => &self.node,
            other => panic!("there is no {other}"),
        };
        let of = |place| {
            let all = ALL.into_iter().flat_map(|address| Part::ALL.map(|part| (address, part)));
            let client = move |(address, part)| {
                Client::new(place, machine(place), SocketAddr::new(ip(address), 53), part)
            };
            all.map(client)
        };
        places.iter().flat_map(|place| of(*place)).collect()
    }

    /// Clients of the cluster's DNS itself, whatever the node does; it is not idle by then, as that of a cluster is not.
    pub(super) fn clients_of_the_cluster(&self) -> Vec<Client<'_>> {
        let all = ENDPOINTS.into_iter().flat_map(|at| Part::ALL.map(|part| (at, part)));
        let client = |(at, part): (&str, _)| Client::new("pod-b", &self.pods[1], at.parse().unwrap(), part);
        all.map(client).collect()
    }

    /// What the node tracks of DNS: lines of its connection tracking with the port.
    pub(super) fn tracked(&self) -> Vec<String> {
        let text = self.node.inside(|| fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap());
        let of_dns = |line: &&str| line.split(' ').any(|word| matches!(word, "sport=53" | "dport=53"));
        text.lines().filter(of_dns).map(str::to_owned).collect()
    }

    /// The sum of the series of a metric that have this label, of the program on the node.
    pub(super) fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.node.inside(|| {
            let at: SocketAddr = METRICS.parse().unwrap();
            let mut stream = TcpStream::connect(at).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

/// The program on a machine, with this Corefile and the cluster's objects.
fn serve(machine: &Machine, corefile: &str) -> Command {
    machine.write("Corefile", corefile);
    let slices = ENDPOINTS.map(|at| {
        let at: SocketAddr = at.parse().unwrap();
        let address = at.ip().to_string();
        let name = format!("kube-system/kube-dns-{}", if at.is_ipv4() { 4 } else { 6 });
        let slice = slice(&name, "kube-dns").udp("dns", at.port()).port("dns-tcp", at.port());
        (if at.is_ipv4() { slice.v4(&address) } else { slice.v6(&address) }).build()
    });
    let service = svc("kube-system/kube-dns").ip(SERVICE).ip(SERVICE6).udp("dns", 53).port("dns-tcp", 53);
    let mut objects = vec![ns("kube-system"), service.build()];
    objects.extend(slices);
    write_json(&objects, File::create(machine.path("cluster.json")).unwrap()).unwrap();
    let mut command = machine.outlast();
    command.arg("node").arg("--conf").arg(machine.path("Corefile"));
    command.arg(format!("--source=file:{}", machine.path("cluster.json").display()));
    command
}

/// A pod of the node, whose addresses end in `host`.
fn pod(node: &Machine, host: u8) -> Machine {
    let pod = Machine::new(&[]);
    let link = format!("pod-{host}");
    node.wire(&pod, [&link, "eth0"]);
    let (v4, v6) = (ip(&format!("10.244.0.{host}")), ip(&format!("fd00:244::{host}")));
    script(
        &pod,
        &format!(
            "ip addr add {v4}/32 dev eth0\n\
             ip addr add {v6}/128 dev eth0 nodad\n\
             ip link set eth0 up\n\
             ip route add 169.254.1.1 dev eth0\n\
             ip route add default via 169.254.1.1 dev eth0\n\
             ip route add default via fe80::1 dev eth0\n"
        ),
    );
    script(
        node,
        &format!(
            "ip link set {link} up\n\
             ip addr add 169.254.1.1/32 dev {link}\n\
             ip addr add fe80::1/64 dev {link} nodad\n\
             ip route add {v4} dev {link}\n\
             ip route add {v6} dev {link}\n"
        ),
    );
    pod
}

/// Has a shell do this on a machine; all of it has to succeed. What it printed.
pub(super) fn script(machine: &Machine, text: &str) -> String {
    let (code, output, error) = run(machine.command("sh").args(["-e", "-c", text]));
    assert_eq!(code, 0, "{text}: {error}");
    output
}
