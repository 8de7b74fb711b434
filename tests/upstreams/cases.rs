//! The cases.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::load::{COLD, Load, Name, Outcome, Sample, WARM, warm_address, warm_name};
use super::node::{Node, free, with_snapshots};
use super::programs::{program, there};
use super::report::{Part, Report};
use super::servers::{Nsd, Server, dnsmasq, unbound};

/// TTL in the zones, in seconds. A node keeps answers for at least five, so that everything expires while a case
/// goes on.
const TTL: u32 = 2;

/// How long a case goes on before anything happens.
const BEFORE: Duration = Duration::from_secs(3);

/// The part of an outage in which some may wait.
const FIRST: Duration = Duration::from_secs(2);

/// The rest of an outage: every answer expires in it.
const OUTAGE: Duration = Duration::from_secs(8);

/// How long a case goes on when everything is as before.
const RECOVERY: Duration = Duration::from_secs(4);

const BEFORE_IT: &str = "before";
const FIRST_2_S: &str = "first 2 s of the outage";
const AFTER_2_S: &str = "after 2 s of the outage";
const RECOVERED: &str = "after recovery";

/// One load at a time: the machine is shared.
fn alone() -> MutexGuard<'static, ()> {
    static LOAD: Mutex<()> = Mutex::new(());
    LOAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happens to a case's upstreams.
trait Fault {
    fn begin(&mut self);
    fn end(&mut self);
}

/// A load, with a fault in the middle of it.
fn outage(case: &str, node: &Node, fault: &mut dyn Fault) -> (Vec<Sample>, [Part; 4]) {
    node.warm_up();
    let load = Load::start(node.dns());
    load.go_on(BEFORE);
    // From here on nothing is promised: the server may be gone before the call returns.
    let begin = load.now();
    fault.begin();
    load.go_on(FIRST + OUTAGE);
    fault.end();
    let end = load.now();
    load.go_on(RECOVERY);
    let last = load.now();
    let parts = [
        Part { name: BEFORE_IT, from: Duration::ZERO, to: begin },
        Part { name: FIRST_2_S, from: begin, to: begin + FIRST },
        Part { name: AFTER_2_S, from: begin + FIRST, to: end },
        Part { name: RECOVERED, from: end, to: last },
    ];
    let samples = load.stop();
    let report = Report::print(case, &samples, &parts);
    report.no_warm_name_failed();
    report.nearly_nobody_waited(AFTER_2_S);
    report.no_cold_name_failed(BEFORE_IT);
    (samples, parts)
}

/// The names in use as lines of a zone file.
fn records(changed: bool) -> Vec<String> {
    (0..WARM).map(|n| format!("{} {TTL} IN A {}", warm_name(n), warm_address(n, changed))).collect()
}

fn unbound_at(folder: &Path, at: SocketAddr) -> Server {
    unbound(Command::new(program("unbound")), folder, at, &records(false), COLD).answers(at)
}

fn dnsmasq_at(at: SocketAddr) -> Server {
    let name = |n| warm_name(n).trim_end_matches('.').to_owned();
    let hosts: Vec<_> = (0..WARM).map(|n| (name(n), warm_address(n, false).to_string())).collect();
    dnsmasq(Command::new(program("dnsmasq")), at, TTL, &hosts, COLD).answers(at)
}

fn nsd_at(folder: &Path, at: SocketAddr, changed: bool) -> Server {
    let zone = format!(
        ". 60 IN SOA ns. host. 1 60 60 60 5\n. 60 IN NS ns.\nns. 60 IN A 192.0.2.53\n*.{}. {TTL} IN A {}\n{}\n",
        COLD.0,
        COLD.1,
        records(changed).join("\n")
    );
    let address = format!("{}@{}", at.ip(), at.port());
    let nsd = Nsd { folder, addresses: &[&address], zones: &[(".", &zone)], tls: None };
    nsd.start(Command::new(program("nsd"))).answers(at)
}

#[test]
fn unbound_is_killed_and_started_again() {
    struct Killed<'a> {
        folder: &'a Path,
        at: SocketAddr,
        server: Option<Server>,
    }
    impl Fault for Killed<'_> {
        fn begin(&mut self) {
            self.server.take().unwrap().kill();
        }
        fn end(&mut self) {
            self.server = Some(unbound_at(self.folder, self.at));
        }
    }
    if !there(&["unbound"]) {
        return;
    }
    let (_alone, folder, at) = (alone(), tempfile::tempdir().unwrap(), free());
    let mut fault = Killed { folder: folder.path(), at, server: Some(unbound_at(folder.path(), at)) };
    let node = Node::start(folder.path(), &[at], "");
    let (samples, parts) = outage("unbound is killed", &node, &mut fault);
    let report = Report::new(&samples, &parts);
    report.some_are_stale(AFTER_2_S);
    assert!(node.metric("coredns_cache_served_stale_total") > 0.0);
}

/// A server that is held: its kernel takes packets, and nothing comes back.
struct Held(Server);

impl Fault for Held {
    fn begin(&mut self) {
        self.0.signal(Signal::SIGSTOP);
    }
    fn end(&mut self) {
        self.0.signal(Signal::SIGCONT);
    }
}

#[test]
fn unbound_is_held() {
    if !there(&["unbound"]) {
        return;
    }
    let (_alone, folder, at) = (alone(), tempfile::tempdir().unwrap(), free());
    let mut fault = Held(unbound_at(folder.path(), at));
    let node = Node::start(folder.path(), &[at], "");
    let (samples, parts) = outage("unbound is held (SIGSTOP)", &node, &mut fault);
    let report = Report::new(&samples, &parts);
    report.some_are_stale(AFTER_2_S);
}

/// With a second upstream nothing fails, and new names do not either.
#[test]
fn one_of_two_dnsmasq_is_held() {
    if !there(&["dnsmasq"]) {
        return;
    }
    let (_alone, folder) = (alone(), tempfile::tempdir().unwrap());
    let (first, second) = (free(), free());
    let (mut fault, _other) = (Held(dnsmasq_at(first)), dnsmasq_at(second));
    let node = Node::start(folder.path(), &[first, second], "");
    let (samples, parts) = outage("one of two dnsmasq is held (SIGSTOP)", &node, &mut fault);
    let report = Report::new(&samples, &parts);
    for part in [FIRST_2_S, AFTER_2_S, RECOVERED] {
        report.no_cold_name_failed(part);
    }
}

/// Records that change are seen when their time is over, and not the old ones after that.
#[test]
fn nsd_is_restarted_with_changed_records() {
    if !there(&["nsd"]) {
        return;
    }
    let (_alone, folder, at) = (alone(), tempfile::tempdir().unwrap(), free());
    let nsd = folder.path().join("nsd");
    let server = nsd_at(&nsd, at, false);
    let node = Node::start(folder.path(), &[at], "");
    node.warm_up();
    let load = Load::start(node.dns());
    load.go_on(BEFORE);
    let begin = load.now();
    server.kill();
    let _server = nsd_at(&nsd, at, true);
    let restarted = load.now();
    load.go_on(OUTAGE);
    let last = load.now();
    let parts = [
        Part { name: BEFORE_IT, from: Duration::ZERO, to: begin },
        Part { name: "while it restarts", from: begin, to: restarted },
        Part { name: RECOVERED, from: restarted, to: last },
    ];
    let samples = load.stop();
    let report = Report::print("nsd is restarted with changed records", &samples, &parts);
    report.no_warm_name_failed();
    report.nearly_nobody_waited(RECOVERED);
    let old = |s: &&Sample| matches!(s.outcome, Outcome::Good { changed: false, .. }) && s.name != Name::Cold;
    let oldest = report.of(RECOVERED, true).filter(old).map(|s| s.sent - restarted).max();
    let oldest = oldest.unwrap_or_default();
    let text = format!("  the last old answer was {:.1} s after the restart\n", oldest.as_secs_f64());
    std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
    // Nothing is kept for more than five seconds of the eight.
    assert!(oldest < OUTAGE - Duration::from_secs(1), "old answers {oldest:?} after the restart");
    for number in 0..WARM {
        let of_name = |s: &&Sample| s.name == Name::Warm(number);
        let first = samples.iter().filter(of_name).find(|s| !old(s)).expect("every name changes").sent;
        // Two replies may cross.
        let after = first + Duration::from_millis(500);
        let back = samples.iter().filter(of_name).find(|s| s.sent > after && old(s));
        assert!(back.is_none(), "an old answer after a new one: {back:?}");
    }
}

/// A node that restarts while its only upstream is down answers the names that were in use.
#[test]
fn the_node_is_restarted_while_unbound_is_down() {
    if !there(&["unbound"]) {
        return;
    }
    let (_alone, folder, at) = (alone(), tempfile::tempdir().unwrap(), free());
    let server = unbound_at(folder.path(), at);
    let lines = with_snapshots(folder.path());
    let node = Node::start(folder.path(), &[at], &lines);
    node.warm_up();
    let load = Load::start(node.dns());
    load.go_on(BEFORE);
    let last = load.now();
    let samples = load.stop();
    let part = [Part { name: BEFORE_IT, from: Duration::ZERO, to: last }];
    Report::print("the node is restarted while unbound is down: first life", &samples, &part)
        .no_warm_name_failed();
    server.kill();
    node.terminate();

    let node = Node::start(folder.path(), &[at], &lines);
    let load = Load::start(node.dns());
    load.go_on(FIRST + OUTAGE);
    let end = load.now();
    let _server = unbound_at(folder.path(), at);
    load.go_on(RECOVERY);
    let last = load.now();
    let parts = [
        Part { name: FIRST_2_S, from: Duration::ZERO, to: FIRST },
        Part { name: AFTER_2_S, from: FIRST, to: end },
        Part { name: RECOVERED, from: end, to: last },
    ];
    let samples = load.stop();
    let report = Report::print("the node is restarted while unbound is down: second life", &samples, &parts);
    report.no_warm_name_failed();
    report.nearly_nobody_waited(AFTER_2_S);
    report.some_are_stale(AFTER_2_S);
}
