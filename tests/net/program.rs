//! The program as it runs on a node: addresses, rules, answers, and nothing left after it.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use outlast::testkit::client::Query;
use outlast::testkit::cluster::{ns, slice, svc, write_json};

use super::machine::Machine;
use super::process::{Process, ask, run};
use super::world::{LOCAL, SERVICE, nft, output, possible_with_tables};

/// Where the cluster's DNS answers.
const ENDPOINTS: [&str; 2] = ["10.244.0.10", "10.244.0.11"];

/// The cluster: its DNS with these endpoints, and a service to ask for.
fn write_cluster(machine: &Machine, endpoints: &[&str]) {
    let slice = slice("kube-system/kube-dns-1", "kube-dns").udp("dns", 1053).port("dns-tcp", 1053);
    let objects = [
        ns("kube-system"),
        svc("kube-system/kube-dns").ip(SERVICE).udp("dns", 53).port("dns-tcp", 53).build(),
        endpoints.iter().fold(slice, |slice, at| slice.v4(at)).build(),
    ];
    let file = fs::File::create(machine.path("cluster.json")).unwrap();
    write_json(&objects, file).unwrap();
}

/// A node with these flags besides; its control socket is its own unless they say otherwise.
pub(super) fn node(machine: &Machine, flags: &[&str]) -> Command {
    let corefile = format!(".:53 {{\n bind {SERVICE} {LOCAL}\n kubernetes cluster.local\n whoami\n}}\n");
    machine.write("Corefile", &corefile);
    write_cluster(machine, &ENDPOINTS);
    let mut command = machine.outlast();
    command.arg("node").arg("--conf").arg(machine.path("Corefile"));
    command.arg(format!("--source=file:{}", machine.path("cluster.json").display()));
    if !flags.iter().any(|flag| flag.starts_with("--control=")) {
        command.arg(format!("--control={}", machine.path("control").display()));
    }
    command.args(flags);
    command
}

/// Everything on the machine that may not change.
pub(super) fn state(machine: &Machine) -> String {
    output(machine, "ip", "-o addr") + &output(machine, "ip", "-o link") + &nft(machine, "list ruleset")
}

#[test]
fn a_node_answers_at_its_addresses_and_leaves_nothing_behind() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&["192.168.7.1/32"]);
    let before = state(&machine);
    let mut process = Process::start(&mut node(&machine, &["--local-ip=10.96.0.10,169.254.20.10"]));
    process.wait_for("interception", |p| p.output().contains("queries are led here").then_some(()));
    // As soon as there are data: the other address is a Service's, and its endpoints are the way without us.
    process.wait_for("what the cluster's objects say", |_| {
        let local = nft(&machine, "list set ip outlast local");
        let fallback = nft(&machine, "list chain ip outlast fallback");
        let known = local.contains(LOCAL) && !local.contains(SERVICE);
        (known && fallback.matches("10.244.0.1").count() == 4).then_some(())
    });
    for address in [SERVICE, LOCAL] {
        let server = format!("{address}:53").parse().unwrap();
        let query = Query::a("kube-dns.kube-system.svc.cluster.local.");
        let answer = machine.inside(|| ask(server, &query)).unwrap();
        assert_eq!(answer.answers().len(), 1, "{address}");
    }
    let mut status = machine.outlast();
    let (_, said, error) =
        run(status.args(["ctl", "status"]).env("OUTLAST_CONTROL", machine.path("control")));
    assert!(said.contains("10.96.0.10, 169.254.20.10: answered here"), "{said}{error}");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
    assert_eq!(state(&machine), before);
}

#[test]
fn a_node_that_is_the_only_one_to_answer_says_so() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    let mut command = node(&machine, &["--local-ip=10.96.0.10,169.254.20.10"]);
    write_cluster(&machine, &[]);
    let mut process = Process::start(&mut command);
    let alone = "no ready endpoint beside this process";
    process.wait_for("that it is alone", |p| p.output().contains(alone).then_some(()));
    write_cluster(&machine, &ENDPOINTS);
    process.wait_for("that it no longer is", |p| {
        p.output().contains("the cluster's DNS has ready endpoints again").then_some(())
    });
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
    assert_eq!(process.output().matches(alone).count(), 1, "{}", process.output());
}

#[test]
fn a_node_that_is_killed_leaves_elements_that_expire() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    let mut process = Process::start(&mut node(&machine, &["--local-ip=10.96.0.10,169.254.20.10"]));
    process.wait_for("interception", |p| p.output().contains("queries are led here").then_some(()));
    process.signal(Signal::SIGKILL);
    process.wait_until_ended();
    let began = std::time::Instant::now();
    while nft(&machine, "list set ip outlast live").contains("elements") {
        assert!(began.elapsed() < super::process::PATIENCE, "they live on");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    println!("nothing is led here {} ms after a kill", began.elapsed().as_millis());
    // Another one takes over what is there, and cleans up.
    let mut process = Process::start(&mut node(&machine, &["--local-ip=10.96.0.10,169.254.20.10"]));
    process.wait_for("interception", |p| p.output().contains("queries are led here").then_some(()));
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
    assert_eq!(nft(&machine, "list tables"), "");
}

#[test]
fn what_cannot_be_is_said_and_nothing_is_left() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    output(&machine, "ip", "link add br0 type bridge");
    output(&machine, "ip", "addr add 169.254.20.10/32 dev br0");
    let before = state(&machine);
    for (flags, want) in [
        (&["--local-ip=10.96.0"][..], "invalid value '10.96.0'"),
        (&["--local-ip=224.0.0.1"][..], "224.0.0.1 is a multicast address"),
        (&["--local-ip=127.0.0.53"][..], "127.0.0.53 is a loopback address"),
        (
            &["--local-ip=10.96.0.10,169.254.20.10"][..],
            "169.254.20.10 is an address of interface br0 already",
        ),
        (
            &["--local-ip=10.96.0.10", "--interface=sixteen-bytes-xx"][..],
            "cannot be the name of an interface",
        ),
        (&["--local-ip=10.96.0.10", "--setup-interface=off"][..], "no interface has 10.96.0.10"),
        // What comes after it fails: nobody has the other address of the Corefile.
        (&["--local-ip=10.96.0.10", "--dns-port=53"][..], ""),
    ] {
        if want.is_empty() {
            output(&machine, "ip", "addr del 169.254.20.10/32 dev br0");
        }
        let before = if want.is_empty() { state(&machine) } else { before.clone() };
        let (code, _, error) = run(&mut node(&machine, flags));
        assert_ne!(code, 0, "{flags:?}");
        assert!(want.is_empty() || code == 2, "{flags:?}: {code}");
        assert!(error.contains(want), "{flags:?}: {error}");
        assert_eq!(state(&machine), before, "{flags:?}");
    }
}
