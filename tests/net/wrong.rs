//! What a node cannot have or may not do: said at the start, by which nothing is changed.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use super::machine::Machine;
use super::process::{Process, run};
use super::program::{node, state};
use super::programs::there;
use super::world::{output, possible_with_tables};

/// Takes everything from a command but binding to port 53.
const WITHOUT_NET_ADMIN: &str = "--bounding-set=-all,+net_bind_service";

/// The same command without that right, and with a control socket of this name.
fn without_net_admin(machine: &Machine, command: &Command, control: &str) -> Command {
    let mut without = machine.command("setpriv");
    without.arg(WITHOUT_NET_ADMIN);
    let arguments = command.get_args().skip_while(|argument| *argument != env!("CARGO_BIN_EXE_outlast"));
    without.args(arguments.filter(|argument| !argument.to_string_lossy().starts_with("--control=")));
    without.arg(format!("--control={}", machine.path(control).display()));
    without
}

/// Turns IPv6 off on a machine.
fn without_ipv6(machine: &Machine) {
    machine.inside(|| {
        for of in ["all", "default", "lo"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6"), "1").unwrap();
        }
    });
}

#[test]
fn flags_that_cannot_be_meant_are_refused() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    let before = state(&machine);
    let many = (0..17).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>().join(",");
    let many = format!("--local-ip={many}");
    for (flags, want) in [
        (&["--local-ip=0.0.0.0"][..], "0.0.0.0 is no address"),
        (&["--local-ip=::1"][..], "::1 is a loopback address"),
        (&["--local-ip=ff02::fb"][..], "ff02::fb is a multicast address"),
        (&["--local-ip=fe80::10"][..], "fe80::10 is of one link alone"),
        (&["--local-ip=10.96.0.10,10.96.0.10"][..], "10.96.0.10 is there twice"),
        (&[many.as_str()][..], "17 addresses: at most 16"),
        (&["--local-ip=10.96.0.10", "--look-every=10ms"][..], "looking every 10 ms is too often"),
        (&["--local-ip=10.96.0.10", "--kube-proxy=calico"][..], "write auto, iptables, nftables"),
        (&["--local-ip=10.96.0.10", "--cluster-dns-service=kube-dns"][..], "write NAMESPACE/NAME"),
    ] {
        let (code, _, error) = run(&mut node(&machine, flags));
        assert_eq!(code, 2, "{flags:?}: {error}");
        assert!(error.contains(want), "{flags:?}: {error}");
    }
    assert_eq!(state(&machine), before);
}

#[test]
fn without_net_admin_it_says_so() {
    if !possible_with_tables() || !there(&["setpriv"]) {
        return;
    }
    let machine = Machine::new(&[]);
    let before = state(&machine);
    let command = node(&machine, &["--local-ip=10.96.0.10,169.254.20.10"]);
    let (code, _, error) = run(&mut without_net_admin(&machine, &command, "control"));
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("CAP_NET_ADMIN is needed"), "{error}");
    assert_eq!(state(&machine), before);
}

/// Addresses alone need no right: neither do the probes by which a second process sees that it may take over.
#[test]
fn without_net_admin_and_rules_one_process_takes_over_from_another() {
    if !possible_with_tables() || !there(&["setpriv"]) {
        return;
    }
    let machine = Machine::new(&["10.96.0.10/32", "169.254.20.10/32"]);
    let before = state(&machine);
    let flags = ["--local-ip=10.96.0.10,169.254.20.10", "--setup-interface=off", "--rules=off"];
    let command = node(&machine, &flags);
    let start = |control| Process::start(&mut without_net_admin(&machine, &command, control)).serving();
    let has = |process: &Process| {
        process.wait_for("the addresses", |p| {
            p.output().contains("this process has the addresses of the node").then_some(())
        });
    };
    let mut old = start("old");
    has(&old);
    let mut new = start("new");
    has(&new);
    old.wait_for("another one", |p| p.output().contains("another process has the addresses").then_some(()));
    for process in [&mut old, &mut new] {
        process.signal(Signal::SIGTERM);
        assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
    }
    assert_eq!(state(&machine), before);
}

#[test]
fn an_interface_of_somebody_else_is_left_alone() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    output(&machine, "ip", "link add nodelocaldns type bridge");
    let before = state(&machine);
    let (code, _, error) = run(&mut node(&machine, &["--local-ip=10.96.0.10,169.254.20.10"]));
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("interface nodelocaldns is of kind bridge, which is not ours"), "{error}");
    assert_eq!(state(&machine), before);
}

#[test]
fn without_ipv6_its_addresses_are_refused_and_the_others_served() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    without_ipv6(&machine);
    let before = state(&machine);
    // IPv4 comes first, and is taken away again.
    let (code, _, error) = run(&mut node(&machine, &["--local-ip=10.96.0.10,169.254.20.10,fd00:20::10"]));
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("fd00:20::10 cannot be an address here: IPv6 is off"), "{error}");
    assert_eq!(state(&machine), before);
    let mut process = Process::start(&mut node(&machine, &["--local-ip=10.96.0.10,169.254.20.10"]));
    process.wait_for("interception", |p| p.output().contains("queries are led here").then_some(()));
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
    assert_eq!(state(&machine), before);
}
