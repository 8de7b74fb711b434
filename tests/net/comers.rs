//! Who comes after us: kube-proxy with IPVS or Cilium, on a node that began before its kubelet. They have the addresses of
//! Services before us from then on, and queries go to them until they go.

use nix::sys::signal::Signal;

use super::clients::{By, Client, ask, turn};
use super::lan::{LED_HERE, Lan};
use super::machine::Machine;
use super::process::{Process, run};
use super::program::{node, state};
use super::world::{ALL, LOCAL, LOCAL6, SERVICE, SERVICE6, ip, nft, output, possible_with_tables};

/// What shows IPVS, where the kernel has no interface of its kind.
const IPVS: &str = "link add kube-ipvs0 type bridge";

/// The status of a node, as its operators see it.
fn status(machine: &Machine) -> String {
    let mut command = machine.outlast();
    run(command.args(["ctl", "status"]).env("OUTLAST_CONTROL", machine.path("control"))).1
}

/// Waits until everybody is answered by who has these addresses.
fn answered(process: &Process, clients: &[Client<'_>], addresses: &[&str], by: By) {
    for client in clients.iter().filter(|client| addresses.iter().any(|of| client.server.ip() == ip(of))) {
        process
            .wait_for(&format!("{by:?} for {}", client.name()), |_| (ask(client) == Some(by)).then_some(()));
    }
}

/// Whose a Service's address is, as `ip` shows it.
fn holders(machine: &Machine, address: &str) -> Vec<String> {
    let text = output(machine, "ip", "-o addr");
    let has = |line: &&str| line.contains(&format!(" {address}/"));
    text.lines().filter(has).filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
}

#[test]
fn addresses_of_services_are_left_to_ipvs_when_it_comes_and_taken_back_when_it_goes() {
    let _turn = turn();
    let Some(lan) = Lan::new() else { return };
    let mut command = lan.command("");
    let control = lan.node.path("control");
    command.arg("--look-every=1s").arg(format!("--control={}", control.display()));
    let mut process = Process::start(&mut command);
    lan.wait_until_whole(&process);
    let mut clients = lan.clients(&["pod-a", "host"]);
    // The node has no way to an address of IPv6 that nobody has.
    clients.retain(|client| client.place != "host" || client.server.ip() != ip(SERVICE6));
    answered(&process, &clients, &ALL, By::Node);
    let carried = |_: &Process| {
        let all: Vec<_> = ALL.iter().map(|address| holders(&lan.node, address)).collect();
        (all.iter().all(|holders| holders.len() == 1 && *holders == all[0])).then_some(())
    };
    carried(&process).unwrap();
    let promised = "promises=fail-open,connections,services,local";
    process.wait_for(promised, |p| p.output().contains(promised).then_some(()));
    for round in 1..3 {
        output(&lan.node, "ip", IPVS);
        // The address of one family: the other one is known by the cluster's objects.
        output(&lan.node, "ip", "addr add 10.96.0.10/32 dev kube-ipvs0");
        process.wait_for("that it says so", |p| {
            let said = p.output();
            let left = |why: &str| said.matches(&format!("left to somebody else from now on: {why}")).count();
            let all = left("kube-proxy has it on kube-ipvs0") + left("it is a Service's, and ipvs sends");
            (all == 2 * round).then_some(())
        });
        answered(&process, &clients, &[SERVICE, SERVICE6], By::Cluster);
        answered(&process, &clients, &[LOCAL, LOCAL6], By::Node);
        process.wait_for("the interface", |_| {
            let ours = |of| holders(&lan.node, of).iter().any(|interface| interface != "kube-ipvs0");
            (!ours(SERVICE) && !ours(SERVICE6)).then_some(())
        });
        assert_eq!(holders(&lan.node, SERVICE), ["kube-ipvs0"]);
        for family in ["ip", "ip6"] {
            let text = nft(&lan.node, &format!("list set {family} outlast ours"));
            assert!(!text.contains(SERVICE) && !text.contains(SERVICE6), "{text}");
        }
        let said = status(&lan.node);
        assert!(said.contains("169.254.20.10, fd00:20::10: answered here"), "{said}");
        for (address, want) in [(SERVICE, 0.0), (SERVICE6, 0.0), (LOCAL, 1.0), (LOCAL6, 1.0)] {
            let label = format!("address=\"{address}\"");
            assert_eq!(lan.metric("outlast_interception_live", &label), want, "{address}");
        }
        for (who, want) in [("ipvs", 1.0), ("nftables", 0.0)] {
            assert_eq!(lan.metric("outlast_net_info", &format!("kube_proxy=\"{who}\"")), want, "{who}");
        }
        output(&lan.node, "ip", "link del kube-ipvs0");
        answered(&process, &clients, &ALL, By::Node);
        process.wait_for("everything as before", carried);
        assert_eq!(lan.metric("outlast_interception_live", "address="), 4.0);
    }
    let said = process.output();
    assert_eq!(said.matches("it is answered here again").count(), 4, "{said}");
    assert_eq!(said.matches("what is promised here has changed").count(), 5, "{said}");
    for what in ["address", "link", "table", "set", "rule", "chain"] {
        let repairs = lan.metric("outlast_net_repairs_total", &format!("what=\"{what}\""));
        assert_eq!(repairs, 0.0, "nothing was missing: {what}");
    }
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
}

#[test]
fn a_node_with_no_address_but_a_service_s_is_ready_while_somebody_else_has_it() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    let before = state(&machine);
    let mut command = node(&machine, &["--local-ip=10.96.0.10", "--look-every=1s"]);
    machine.write("Corefile", ".:53 {\n kubernetes cluster.local\n whoami\n ready 127.0.0.1:8181\n}\n");
    let mut process = Process::start(&mut command);
    process.wait_for("interception", |p| p.output().contains(LED_HERE).then_some(()));
    output(&machine, "ip", IPVS);
    output(&machine, "ip", "addr add 10.96.0.10/32 dev kube-ipvs0");
    process.wait_for("its status", |_| status(&machine).contains("nothing is led here").then_some(()));
    process.wait_for("its address", |_| (holders(&machine, SERVICE) == ["kube-ipvs0"]).then_some(()));
    assert_eq!(nft(&machine, "list tables"), "");
    let (code, said, error) =
        run(machine.outlast().args(["ctl", "ready"]).env("OUTLAST_CONTROL", machine.path("control")));
    assert_eq!(code, 0, "{said}{error}");
    output(&machine, "ip", "link del kube-ipvs0");
    process.wait_for("that it is back", |_| {
        status(&machine).contains("10.96.0.10: answered here").then_some(())
    });
    assert_eq!(holders(&machine, SERVICE).len(), 1);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
    assert_eq!(state(&machine), before);
}

#[test]
fn what_the_cluster_s_objects_say_of_services_decides_what_is_left_and_what_is_promised() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    // Whoever sends their packets on: the environment has not named the Service.
    let told = ["--local-ip=10.96.0.10,169.254.20.10", "--kube-proxy=iptables"];
    let mut process = Process::start(&mut node(&machine, &told));
    let promised = |names: &str| format!(" promises={names}\n");
    let (first, then) = ("fail-open,connections,local", "fail-open,connections,services,local");
    process.wait_for("what is promised", |p| p.output().contains(&promised(then)).then_some(()));
    let said = process.output();
    assert_eq!(
        (said.matches(&promised(first)).count(), said.matches(&promised(then)).count()),
        (1, 1),
        "{said}"
    );
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait_until_ended(), 0, "{}", process.output());

    let told = ["--local-ip=10.96.0.10,169.254.20.10", "--kube-proxy=cilium"];
    let mut process = Process::start(&mut node(&machine, &told));
    process.wait_for("that it is left", |p| {
        let said = p.output();
        said.contains("left to somebody else from now on: it is a Service's, and cilium sends").then_some(())
    });
    process
        .wait_for("its status", |_| status(&machine).contains(" 169.254.20.10: answered here").then_some(()));
    process.wait_for("its address", |_| holders(&machine, SERVICE).is_empty().then_some(()));
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
}
