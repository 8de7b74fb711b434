//! systemd-resolved, run by hand with a message bus of its own, and glibc's clients behind it.

use std::os::unix::fs::chown;

use super::kdig::certificate;
use super::process::Process;
use super::programs::program;
use super::world::{MANY, World, many, possible_with};

/// The user that it becomes, and his group.
const USER: u32 = 991;

/// Everything is allowed on a bus that nobody else is on.
const BUS: &str = "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
\"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>\n\
<policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_type=\"method_call\"/>\
<allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>\n";

/// The node is its only server, for every name; it keeps nothing, so that each question comes to the node.
const CONFIGURATION: &str = "[Resolve]\nDNS=127.0.0.1\nDomains=shop.svc.cluster.local svc.cluster.local \
cluster.local ~.\nDNSSEC=no\nLLMNR=no\nMulticastDNS=no\nCache=no\n";

/// systemd-resolved and its bus; killed when dropped.
struct Resolved {
    _resolved: Process,
    _bus: Process,
}

/// Starts it with these lines besides.
fn start(world: &World, lines: &str) -> Resolved {
    let machine = &world.machine;
    machine.write("etc/systemd/resolved.conf", &format!("{CONFIGURATION}{lines}"));
    machine.write("run/bus.conf", BUS);
    machine.write("run/dbus/placeholder", "");
    machine.write("run/systemd/resolve/placeholder", "");
    chown(machine.path("run/systemd/resolve"), Some(USER), Some(USER)).unwrap();
    let mut bus = machine.command(program("dbus-daemon"));
    let bus = Process::start(bus.args(["--config-file=/run/bus.conf", "--nofork", "--nopidfile"]));
    let socket = machine.path("run/dbus/system_bus_socket");
    bus.wait_for("a message bus", |_| socket.exists().then_some(()));
    let mut resolved = machine.command(program("systemd-resolved"));
    let resolved = Process::start(&mut resolved);
    let stub = machine.path("run/systemd/resolve/stub-resolv.conf");
    resolved.wait_for("systemd-resolved", |_| stub.exists().then_some(()));
    Resolved { _resolved: resolved, _bus: bus }
}

#[test]
fn resolved_asks_the_node() {
    if !possible_with(&["systemd-resolved", "resolvectl", "dbus-daemon", "dig", "cc"]) {
        return;
    }
    let world = World::new("", "");
    let lookup = world.compile("cc", "lookup", &[]);
    let _resolved = start(&world, "");
    for (name, want) in [
        ("web.shop.svc.cluster.local", "10.96.0.7"),
        ("www.outside.example", "2001:db8::80"),
        ("web", "10.96.0.7"),
    ] {
        let output = world.run("resolvectl", &format!("query {name}"));
        assert!(output.contains(want), "{name}: {output}");
    }
    let output = world.run("dig", "@127.0.0.53 +tcp many.shop.svc.cluster.local. A");
    assert!(output.contains(&format!("ANSWER: {MANY},")), "{output}");

    // Programs ask its stub, with the search list of a pod.
    let search = "search shop.svc.cluster.local svc.cluster.local cluster.local\n";
    world
        .machine
        .write("etc/resolv.conf", &format!("{search}nameserver 127.0.0.53\noptions ndots:5 edns0\n"));
    for (name, want) in [
        ("web", &["10.96.0.7"][..]),
        ("dual.shop", &["10.96.0.9", "fd00::9"]),
        ("vault.bank.svc", &["10.96.0.8"]),
        ("www.outside.example", &["192.0.2.80", "2001:db8::80"]),
        ("nothing.bank", &["no such name"]),
    ] {
        let (_, output) = world.status(&lookup, name);
        let mut got: Vec<_> = output.lines().collect();
        got.sort_unstable();
        assert_eq!(got, want, "{name}\n{}", world.log());
    }
    let mut got: Vec<_> = world.run(&lookup, "many").lines().map(str::to_owned).collect();
    got.sort();
    let mut all: Vec<_> = many().collect();
    all.sort();
    assert_eq!(got, all);
}

/// Needs the plugin `tls` and listeners for DoT.
#[test]
fn resolved_asks_over_tls() {
    if !possible_with(&["systemd-resolved", "resolvectl", "dbus-daemon"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [chain, key, _] = certificate(folder.path().to_str().unwrap());
    let block = format!(
        "tls://.:853 {{\ntls {chain} {key}\nlog . over-tls:{{type}}:{{name}}:{{proto}}\nforward . 127.0.0.1\n}}"
    );
    let world = World::new("", &block);
    // Takes any certificate, and TLS wherever somebody listens for it.
    let _resolved = start(&world, "DNSOverTLS=opportunistic\n");
    for (name, want) in [("web.shop.svc.cluster.local", "10.96.0.7"), ("www.outside.example", "192.0.2.80")] {
        let output = world.run("resolvectl", &format!("query {name}"));
        assert!(output.contains(want), "{name}: {output}");
        let line = format!("over-tls:A:{name}.:tcp");
        assert!(world.log().lines().any(|l| l.contains(&line)), "{line} in {}", world.log());
    }
}
