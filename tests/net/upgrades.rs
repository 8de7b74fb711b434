//! Upgrades, with the program as it runs on a node: the new process starts beside the old one, takes over, and the old
//! one leaves; or something goes wrong with one of them. Clients ask all the time, and never ask again.
//!
//! What interception does not take is led to a stand-in of the cluster's DNS, as kube-proxy does it, and counted.

#![allow(clippy::print_stdout, reason = "figures are for people")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::signal::Signal;
use outlast::testkit::cluster::{ns, slice, svc, write_json};

use super::load::{By, Tally, elsewhere, lost, print, under_load};
use super::machine::Machine;
use super::process::{Process, run};
use super::world::{ALL, SERVICE, SERVICE6, ip, nft, output, possible_with_tables};

/// How often in a row.
const UPGRADES: usize = 20;

/// How often where every time costs queries.
const KILLS: usize = 5;

/// Where health and metrics are served by one process at a time.
const HEALTH: &str = "127.0.0.1:8080";
const METRICS: &str = "127.0.0.1:9253";

/// What a process says once it has taken over.
const LEADS: &str = "queries are led here";

/// What it says when it was kept waiting for a processor for a moment.
const LATE: &str = "a beat was late: queries were led to the cluster's DNS meanwhile";

/// What it says when it is not well.
const WITHDRAWS: &str = "queries are led to the cluster's DNS until all is well again";

/// What kube-proxy does, and how often.
const KUBE_PROXY: &str = "
table inet elsewhere {
  chain pre { type nat hook prerouting priority -100; jump services; }
  chain out { type nat hook output priority -100; jump services; }
  chain services {
    meta l4proto { udp, tcp } th dport 53 ip daddr 10.96.0.10 counter dnat ip to 192.168.8.1:1053
    meta l4proto { udp, tcp } th dport 53 ip6 daddr fd00:96::a counter dnat ip6 to [fd00:8::1]:1053
  }
}";

/// A node, and a pod behind a wire.
struct Cluster {
    node: Arc<Machine>,
    pod: Arc<Machine>,
    /// Stands in for the cluster's DNS.
    _dns: Process,
    /// How many processes were started.
    started: usize,
    /// What happened when.
    events: Vec<(Instant, String)>,
    /// What processes said that have ended.
    said: Vec<String>,
}

impl Cluster {
    fn new() -> Self {
        let (node, pod) = (Machine::new(&[]), Machine::new(&[]));
        node.connect(&pod, ip("192.168.8.1"), ip("192.168.8.2"));
        for (machine, own, other) in [(&node, "fd00:8::1", "fd00:8::2"), (&pod, "fd00:8::2", "fd00:8::1")] {
            output(machine, "ip", &format!("addr add {own}/64 dev wan nodad"));
            output(machine, "ip", &format!("route add default via {other}"));
        }
        nft(&node, KUBE_PROXY);
        let objects = [
            ns("kube-system"),
            svc("kube-system/kube-dns").ip(SERVICE).ip(SERVICE6).udp("dns", 53).port("dns-tcp", 53).build(),
            slice("kube-system/kube-dns-1", "kube-dns")
                .udp("dns", 1053)
                .port("dns-tcp", 1053)
                .v4("192.168.8.1")
                .build(),
            slice("kube-system/kube-dns-2", "kube-dns")
                .udp("dns", 1053)
                .port("dns-tcp", 1053)
                .v6("fd00:8::1")
                .build(),
        ];
        write_json(&objects, fs::File::create(node.path("cluster.json")).unwrap()).unwrap();
        let bind = ALL.join(" ");
        let corefile = format!(
            ".:53 {{\n bind {bind}\n nsid node\n health {HEALTH}\n prometheus {METRICS}\n kubernetes cluster.local\n}}\n"
        );
        node.write("Corefile", &corefile);
        node.write(
            "Cluster",
            ".:1053 {\n bind 192.168.8.1 fd00:8::1\n nsid cluster\n kubernetes cluster.local\n}\n",
        );
        let mut dns = node.outlast();
        dns.arg("node").arg("--conf").arg(node.path("Cluster"));
        dns.arg(format!("--source=file:{}", node.path("cluster.json").display()));
        let dns = Process::start(&mut dns).serving();
        // Read by another user, too.
        fs::set_permissions(node.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            node: Arc::new(node),
            pod: Arc::new(pod),
            _dns: dns,
            started: 0,
            events: Vec::new(),
            said: Vec::new(),
        }
    }

    /// The command of one process: with a control socket of its own, everything else is shared.
    fn command(&mut self, prefix: &[&str]) -> Command {
        self.started += 1;
        let mut command = match prefix {
            [] => self.node.outlast(),
            [program, arguments @ ..] => {
                let mut command = self.node.command(program);
                command.args(arguments).arg(env!("CARGO_BIN_EXE_outlast"));
                command
            }
        };
        command.arg("node").arg("--conf").arg(self.node.path("Corefile"));
        command.arg(format!("--source=file:{}", self.node.path("cluster.json").display()));
        command.arg(format!("--snapshot={}", self.node.path("snapshots").display()));
        command.arg(format!("--control={}", self.control(self.started).display()));
        command.arg(format!("--local-ip={}", ALL.join(",")));
        // Where something is lost, this says why.
        command.env("OUTLAST_LOG", "info,outlast::net=debug");
        command
    }

    /// The control socket of a process, in a folder of its own.
    fn control(&self, process: usize) -> std::path::PathBuf {
        self.node.path(&format!("control-{process}")).join("node.sock")
    }

    /// A process that has taken over.
    fn start(&mut self) -> Process {
        let mut command = self.command(&[]);
        self.happens("a process starts");
        let process = Process::start(&mut command);
        process.wait_for("it takes over", |p| p.output().contains(LEADS).then_some(()));
        self.happens("it has taken over");
        process
    }

    /// The first process, once its snapshot is there for those that come.
    fn first(&mut self) -> Process {
        let process = self.start();
        let snapshots = self.node.path("snapshots");
        process.wait_for("a snapshot", |_| {
            let files = fs::read_dir(&snapshots).ok()?;
            files.flatten().any(|f| f.file_name().to_string_lossy().ends_with(".snap")).then_some(())
        });
        process
    }

    /// Ends a process as Kubernetes does.
    fn stop(&mut self, mut process: Process) {
        self.happens("the other one is told to stop");
        process.signal(Signal::SIGTERM);
        assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
        self.happens("it has ended");
        self.said.push(process.output());
    }

    /// Ends a process as the kernel does.
    fn kill(&mut self, mut process: Process) {
        self.happens("a process is killed");
        process.signal(Signal::SIGKILL);
        process.wait_until_ended();
        self.said.push(process.output());
    }

    fn happens(&mut self, what: &str) {
        self.events.push((Instant::now(), what.to_owned()));
    }

    /// Whether every query was answered, and by a process of the node.
    ///
    /// A process that the machine does not let run for most of a second leads queries to the cluster's DNS, as it should,
    /// and with them connections that stay, of which that one knows nothing: those may be lost then, and no others.
    fn nothing_is_lost(&self, tallies: &[Tally], running: &Process) {
        let log: Vec<_> = self.said.iter().cloned().chain([running.output()]).collect();
        let log = log.join("\n---\n");
        let withdrawals = log.matches(WITHDRAWS).count();
        let late = log.matches(LATE).count();
        println!("  for want of a processor withdrawn {withdrawals} times, and {late} times late");
        assert_eq!(lost(tallies, &[By::Udp, By::Tcp]), 0, "{log}");
        let kept = tallies.iter().filter(|tally| tally.by == By::Kept).count();
        assert!(lost(tallies, &[By::Kept]) <= withdrawals * kept, "{log}");
        assert!(withdrawals + late > 0 || elsewhere(tallies) == 0, "led elsewhere in between: {log}");
    }

    /// Does something while clients ask, and prints what became of their queries.
    fn under_load<T>(&mut self, title: &str, work: impl FnOnce(&mut Self) -> T) -> (T, Vec<Tally>) {
        let began = Instant::now();
        let (node, pod) = (self.node.clone(), self.pod.clone());
        let (done, tallies) = under_load(&[("pod", &pod), ("node", &node)], || work(self));
        print(title, began, &tallies, &self.events);
        let services = nft(&self.node, "list chain inet elsewhere services");
        let counted = services.split("packets ").skip(1).filter_map(|rest| rest.split(' ').next());
        let (packets, queries) = (counted.collect::<Vec<_>>().join(" and "), elsewhere(&tallies));
        println!("  answered by the cluster's DNS: {queries}; packets that were led there: {packets}");
        (done, tallies)
    }
}

/// The body of what is served there.
fn get(machine: &Machine, address: &str, path: &str) -> Option<String> {
    machine.inside(|| {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    })
}

/// What `outlast ctl` says of a process.
fn ctl(cluster: &Cluster, process: usize, command: &str) -> (i32, String) {
    let mut ctl = cluster.node.outlast();
    ctl.args(["ctl", command]).env("OUTLAST_CONTROL", cluster.control(process));
    let (code, said, error) = run(&mut ctl);
    (code, said + &error)
}

#[test]
fn twenty_upgrades_in_a_row_lose_nothing() {
    if !possible_with_tables() {
        return;
    }
    let mut cluster = Cluster::new();
    let mut running = cluster.first();
    let ((), tallies) = cluster.under_load("twenty upgrades, the old one leaves", |cluster| {
        for _ in 0..UPGRADES {
            let new = cluster.start();
            let old = std::mem::replace(&mut running, new);
            cluster.stop(old);
        }
    });
    cluster.nothing_is_lost(&tallies, &running);
    let machine = cluster.node.clone();
    cluster.stop(running);
    assert_eq!(nft(&machine, "list tables"), "table inet elsewhere\n", "the last one leaves nothing");
    assert_eq!(output(&machine, "ip", "-o addr show dev lo").matches("10.96.0.10").count(), 0);
}

#[test]
fn a_new_process_that_leaves_first_loses_nothing() {
    if !possible_with_tables() {
        return;
    }
    let mut cluster = Cluster::new();
    let old = cluster.first();
    let ((), tallies) = cluster.under_load("the new one leaves, five times", |cluster| {
        for n in 0..KILLS {
            let new = cluster.start();
            cluster.stop(new);
            old.wait_for("it takes over again", |p| {
                (p.output().matches(LEADS).count() == n + 2).then_some(())
            });
        }
    });
    cluster.nothing_is_lost(&tallies, &old);
    cluster.stop(old);
}

/// What is in the sockets of a process that is killed nobody can answer: each client has one query at work.
#[test]
fn a_process_that_is_killed_costs_what_it_was_about_to_answer() {
    if !possible_with_tables() {
        return;
    }
    let mut cluster = Cluster::new();
    let mut running = cluster.first();
    let ((), tallies) = cluster.under_load("the old one is killed, five times", |cluster| {
        for _ in 0..KILLS {
            let new = cluster.start();
            cluster.kill(std::mem::replace(&mut running, new));
        }
    });
    assert!(lost(&tallies, &By::ALL) <= KILLS * tallies.len());
    let old = running;
    cluster.events.clear();
    let ((), tallies) = cluster.under_load("the new one is killed, five times", |cluster| {
        for n in 0..KILLS {
            let new = cluster.start();
            cluster.kill(new);
            old.wait_for("it takes over again", |p| {
                (p.output().matches(LEADS).count() == n + 2).then_some(())
            });
        }
    });
    assert!(lost(&tallies, &By::ALL) <= KILLS * tallies.len());
    cluster.stop(old);
}

#[test]
fn a_process_of_another_user_says_why_it_cannot_take_over_and_disturbs_nobody() {
    if !possible_with_tables() {
        return;
    }
    let mut cluster = Cluster::new();
    let running = cluster.first();
    let ((), tallies) = cluster.under_load("another user's process", |cluster| {
        let capabilities = "+net_admin,+net_bind_service";
        let (inheritable, ambient) =
            (format!("--inh-caps={capabilities}"), format!("--ambient-caps={capabilities}"));
        let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", &inheritable, &ambient];
        let (code, said, error) = run(&mut cluster.command(&user));
        assert_eq!(code, 2, "{said}{error}");
        assert!(error.contains("SO_REUSEPORT") && error.contains("65534"), "{error}");
    });
    cluster.nothing_is_lost(&tallies, &running);
    assert_eq!(running.output().matches(LEADS).count(), 1, "it went on");
    cluster.stop(running);
}

#[test]
fn health_and_metrics_go_to_the_process_that_stays_and_each_has_a_control_socket_of_its_own() {
    if !possible_with_tables() {
        return;
    }
    let mut cluster = Cluster::new();
    let old = cluster.first();
    let owner = |cluster: &Cluster| {
        let metrics = get(&cluster.node, METRICS, "/metrics")?;
        metrics.lines().find_map(|line| line.strip_prefix("outlast_net_owner ")?.parse::<u8>().ok())
    };
    assert_eq!(owner(&cluster), Some(1));
    let new = cluster.start();
    new.wait_for("what it awaits", |p| {
        (p.output().matches("waiting until it leaves").count() == 2).then_some(())
    });
    assert!(!new.output().contains("serving /"), "{}", new.output());
    old.wait_for("its own metrics", |_| (owner(&cluster) == Some(0)).then_some(()));
    for (process, want) in [(1, "fd00:96::a: another process"), (2, "fd00:96::a: answered here")] {
        let (_, said) = ctl(&cluster, process, "status");
        assert!(said.contains(want), "{process}: {said}");
        assert_eq!(ctl(&cluster, process, "ready").0, 0);
    }
    cluster.stop(old);
    new.wait_for("what it awaited", |p| {
        let said = p.output();
        (said.contains("serving /health") && said.contains("serving /metrics")).then_some(())
    });
    assert_eq!(get(&cluster.node, HEALTH, "/health").as_deref(), Some("OK"));
    assert_eq!(owner(&cluster), Some(1), "the new one's");
    cluster.stop(new);
}
