//! Flags of interception, each by itself and by its variable, on a machine of its own.

use nix::sys::signal::Signal;
use outlast::testkit::cluster::{ns, slice, svc, write_json};

use super::machine::{Machine, possible};
use super::old_rules::{Kind, there_are_both};
use super::process::{Process, run};
use super::programs::there;

/// The address that is answered at.
const LOCAL: &str = "169.254.20.10";

/// How a flag is given.
#[derive(Clone, Copy)]
enum How {
    Flag,
    Variable,
}

/// A node with an address, on a machine.
struct Node {
    machine: Machine,
    process: Process,
}

impl Node {
    fn output(&self, program: &str, words: &str) -> String {
        let (code, text, error) = run(self.machine.command(program).args(words.split(' ')));
        assert_eq!(code, 0, "{program} {words}: {error}");
        text
    }

    fn led_here(&self) {
        self.process.wait_for("interception", |p| p.output().contains("queries are led here").then_some(()));
    }

    /// Waits until it has said something.
    fn says(&self, what: &str) {
        self.process.wait_for(what, |p| (p.output() + &p.errors()).contains(what).then_some(()));
    }

    fn stop(&mut self) {
        self.process.signal(Signal::SIGTERM);
        assert_eq!(self.process.wait_until_ended(), 0, "{}", self.process.output());
    }
}

/// Starts nodes that have this option by its flag and by its variable, with these flags besides, on machines that were
/// prepared.
fn each_way(
    variable: &str,
    value: &str,
    flags: &[&str],
    prepare: impl Fn(&Machine),
    see: impl Fn(&mut Node),
) {
    if !possible() || !there(&["nft"]) || !there_are_both() {
        return;
    }
    for how in [How::Flag, How::Variable] {
        let machine = Machine::new(&[]);
        machine.write("Corefile", ".:53 {\n kubernetes cluster.local\n}\n");
        let objects = [
            ns("dns"),
            svc("dns/central").ip("10.96.0.53").udp("dns", 53).port("dns-tcp", 53).build(),
            slice("dns/central-1", "central")
                .udp("dns", 1053)
                .port("dns-tcp", 1053)
                .v4("10.244.0.10")
                .build(),
        ];
        write_json(&objects, std::fs::File::create(machine.path("cluster.json")).unwrap()).unwrap();
        prepare(&machine);
        let mut command = machine.outlast();
        command.arg("node").arg("--conf").arg(machine.path("Corefile"));
        command.arg(format!("--source=file:{}", machine.path("cluster.json").display())).args(flags);
        Kind::Legacy.found_by(&machine, &mut command);
        match how {
            How::Flag => {
                let name = variable.strip_prefix("OUTLAST_").unwrap().to_lowercase().replace('_', "-");
                let given = if value == "true" { format!("--{name}") } else { format!("--{name}={value}") };
                command.arg(given);
            }
            How::Variable => drop(command.env(variable, value)),
        }
        see(&mut Node { process: Process::start(&mut command), machine });
    }
}

/// The flag that all others need.
const AT: &str = "--local-ip=169.254.20.10";

#[test]
fn flag_local_ip() {
    each_way(
        "OUTLAST_LOCAL_IP",
        "169.254.20.10,fd00:20::10",
        &[],
        |_| {},
        |node| {
            node.led_here();
            let addresses = node.output("ip", "-o addr");
            assert!(
                addresses.contains(" 169.254.20.10/32 ") && addresses.contains(" fd00:20::10/128 "),
                "{addresses}"
            );
        },
    );
}

#[test]
fn flag_interface() {
    let prepare = |machine: &Machine| {
        let (code, _, error) = run(machine.command("ip").args(["link", "add", "br7", "type", "bridge"]));
        assert_eq!(code, 0, "{error}");
    };
    each_way("OUTLAST_INTERFACE", "br7", &[AT], prepare, |node| {
        node.says("interface br7 is of kind bridge, which is not ours to use");
        assert_eq!(node.process.wait_until_ended(), 2);
    });
}

#[test]
fn flag_setup_interface() {
    each_way(
        "OUTLAST_SETUP_INTERFACE",
        "off",
        &[AT],
        |_| {},
        |node| {
            node.says("no interface has 169.254.20.10, and none is to be made");
            assert_eq!(node.process.wait_until_ended(), 2);
        },
    );
}

#[test]
fn flag_skip_teardown() {
    each_way(
        "OUTLAST_SKIP_TEARDOWN",
        "true",
        &[AT],
        |_| {},
        |node| {
            node.led_here();
            node.stop();
            assert!(node.output("ip", "-o addr").contains(LOCAL));
            assert!(node.output("nft", "list tables").contains("table ip outlast"));
            let live = node.output("nft", "list set ip outlast live");
            assert!(!live.contains(LOCAL), "what leads queries here goes all the same: {live}");
        },
    );
}

#[test]
fn flag_rules() {
    each_way(
        "OUTLAST_RULES",
        "iptables",
        &[AT],
        |_| {},
        |node| {
            node.led_here();
            assert_eq!(Kind::Legacy.rules(&node.machine).len(), 12);
            assert_eq!(node.output("nft", "list tables"), "");
        },
    );
}

#[test]
fn flag_accept() {
    each_way(
        "OUTLAST_ACCEPT",
        "iptables",
        &[AT],
        |_| {},
        |node| {
            node.led_here();
            let rules = Kind::Legacy.rules(&node.machine);
            assert!(rules.len() == 4 && rules.iter().all(|rule| rule.starts_with("filter ")), "{rules:?}");
        },
    );
}

#[test]
fn flag_health_port() {
    each_way(
        "OUTLAST_HEALTH_PORT",
        "8999",
        &[AT, "--rules=iptables"],
        |_| {},
        |node| {
            node.led_here();
            let rules = Kind::Legacy.rules(&node.machine);
            assert_eq!(rules.iter().filter(|rule| rule.contains("port 8999 ")).count(), 2, "{rules:?}");
        },
    );
}

#[test]
fn flag_look_every() {
    each_way(
        "OUTLAST_LOOK_EVERY",
        "1s",
        &[AT, "--rules=iptables"],
        |_| {},
        |node| {
            node.led_here();
            Kind::Legacy.give(&node.machine, "iptables", &["-F", "INPUT"]);
            // The usual minute would be as long as anything is waited for.
            let began = std::time::Instant::now();
            node.process.wait_for("rules", |_| (Kind::Legacy.rules(&node.machine).len() == 12).then_some(()));
            assert!(began.elapsed().as_secs() < 30);
        },
    );
}

#[test]
fn flag_kube_proxy() {
    each_way("OUTLAST_KUBE_PROXY", "ipvs", &[AT], |_| {}, |node| node.says("kube_proxy=ipvs"));
}

#[test]
fn flag_cluster_dns_service() {
    each_way(
        "OUTLAST_CLUSTER_DNS_SERVICE",
        "dns/central",
        &[AT],
        |_| {},
        |node| {
            node.led_here();
            node.process.wait_for("the way without the node", |_| {
                node.output("nft", "list chain ip outlast fallback")
                    .contains("10.244.0.10:1053")
                    .then_some(())
            });
        },
    );
}

#[test]
fn flag_owner() {
    each_way(
        "OUTLAST_OWNER",
        "/run/elsewhere",
        &[AT],
        |_| {},
        |node| {
            node.led_here();
            for lock in ["present", "next", "owner"] {
                assert!(node.machine.path("run/elsewhere").join(lock).is_dir(), "{lock}");
            }
        },
    );
}
