//! Where the clients are: a machine with a node on port 53, and another one with the rest of the world.

use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use outlast::testkit::cluster::{ns, slice, svc, write_json};

use super::machine::{Machine, possible};
use super::process::{Process, run};
use super::programs::{program, there};
use super::servers::{Nsd, Server};

/// The way out, and who is there.
const OWN: &str = "172.30.0.1";
const OUTSIDE: &str = "172.30.0.2";

/// Addresses of the service that does not fit into a reply over UDP: with 16 bytes each, not into the 1,232 that
/// most clients take either.
pub(super) const MANY: usize = 120;

/// Endpoints in one slice, as Kubernetes has them.
const SLICE: usize = 100;

/// Everything outside.
const ZONE: &str = "\
. 60 IN SOA ns. host. 1 60 60 60 5
. 60 IN NS ns.
ns. 60 IN A 172.30.0.2
www.outside.example. 60 IN A 192.0.2.80
www.outside.example. 60 IN AAAA 2001:db8::80
only6.outside.example. 60 IN AAAA 2001:db8::6
";

/// The search list of a pod in the namespace `shop`, as kubelet writes it.
const RESOLV_CONF: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local\n\
                           nameserver 127.0.0.1\noptions ndots:5\n";

/// A machine with a node, and what is outside.
pub(super) struct World {
    node: Process,
    pub(super) machine: Machine,
    _upstream: Server,
    _outside: Machine,
}

/// Whether there can be one, with these clients.
pub(super) fn possible_with(clients: &[&str]) -> bool {
    possible() && there(&["nsd"]) && there(clients)
}

impl World {
    /// A node that follows a small cluster and asks the outside for everything else; its server block has these
    /// lines besides, and it has these blocks.
    pub(super) fn new(lines: &str, blocks: &str) -> Self {
        Self::with_zone(lines, blocks, None)
    }

    /// The same with another zone outside: its name and its text.
    pub(super) fn with_zone(lines: &str, blocks: &str, zone: Option<(&str, &str)>) -> Self {
        let (machine, outside) = (Machine::new(&[]), Machine::new(&[]));
        let [own, others]: [IpAddr; 2] = [OWN, OUTSIDE].map(|a| a.parse().unwrap());
        machine.connect(&outside, own, others);
        let zones: Vec<_> = [(".", ZONE)].into_iter().chain(zone).collect();
        let folder = outside.path("nsd");
        let nsd = Nsd { folder: &folder, addresses: &[OUTSIDE], zones: &zones, tls: None };
        let upstream = nsd.start(outside.command(program("nsd")));
        let upstream = outside.inside(|| upstream.answers((others, 53).into()));

        machine.write("etc/resolv.conf", RESOLV_CONF);
        write_cluster(&machine);
        machine.write(
            "Corefile",
            &format!(
                ".:53 {{\nerrors\nlog\nkubernetes cluster.local in-addr.arpa ip6.arpa {{\nttl 30\n\
                 source file {}\nfallthrough in-addr.arpa ip6.arpa\n}}\nforward . {OUTSIDE}\n{lines}\n}}\n{blocks}\n",
                machine.path("cluster.json").display()
            ),
        );
        let mut command = machine.outlast();
        let node = Process::start(command.arg("-conf").arg(machine.path("Corefile"))).serving();
        node.wait_for("live data", |p| p.output().contains("cluster data is live").then_some(()));
        Self { node, machine, _upstream: upstream, _outside: outside }
    }

    /// What the node has said so far.
    pub(super) fn log(&self) -> String {
        self.node.output()
    }

    /// Waits until the node has logged this many queries whose lines hold for `is`; gives the clients' ports.
    pub(super) fn logged(&self, count: usize, is: impl Fn(&str) -> bool) -> Vec<u16> {
        self.node.wait_for("that the query is logged", |p| {
            let output = p.output();
            // `[INFO] 127.0.0.1:PORT - ID "A IN name. udp …`
            let port = |line: &str| line.split_once(" - ")?.0.rsplit(':').next()?.parse().ok();
            let ports: Vec<_> = output.lines().filter(|line| is(line)).filter_map(port).collect();
            (ports.len() >= count).then_some(ports)
        })
    }

    /// Runs a client, with words split at spaces: exit status, and what it printed.
    pub(super) fn status(&self, client: &str, words: &str) -> (i32, String) {
        let mut command = self.machine.command(program_or_path(client));
        let (code, output, errors) = run(command.args(words.split_whitespace()));
        (code, output + &errors)
    }

    /// Runs a client that has to succeed.
    pub(super) fn run(&self, client: &str, words: &str) -> String {
        let (code, output) = self.status(client, words);
        assert_eq!(
            code,
            0,
            "{client} {words}: {output}
{}",
            self.log()
        );
        output
    }

    /// Compiles one of the clients; where it is.
    pub(super) fn compile(&self, compiler: &str, source: &str, last: &[&str]) -> String {
        let to = self.machine.path(&format!("{compiler}-{source}"));
        let from = format!("{}/tests/clients/{source}.c", env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(program(compiler));
        let (code, _, errors) = run(command.args(["-Wall", "-Werror", "-o"]).arg(&to).arg(from).args(last));
        assert_eq!(code, 0, "{errors}");
        to.into_os_string().into_string().unwrap()
    }
}

fn program_or_path(client: &str) -> PathBuf {
    if client.starts_with('/') { PathBuf::from(client) } else { program(client) }
}

fn write_cluster(machine: &Machine) {
    let mut objects = vec![
        ns("shop"),
        ns("bank"),
        svc("shop/web").ip("10.96.0.7").port("http", 80).build(),
        svc("shop/dual").ip("10.96.0.9").ip("fd00::9").port("http", 80).build(),
        svc("bank/vault").ip("10.96.0.8").port("http", 80).build(),
        svc("shop/many").headless().port("sql", 5432).build(),
    ];
    let addresses: Vec<_> = many().collect();
    for (number, part) in addresses.chunks(SLICE).enumerate() {
        let slice = slice(&format!("shop/many-{number}"), "many").port("sql", 5432);
        objects.push(part.iter().fold(slice, |slice, address| slice.v4(address)).build());
    }
    write_json(&objects, File::create(machine.path("cluster.json")).unwrap()).unwrap();
}

/// The addresses of `many.shop`.
pub(super) fn many() -> impl Iterator<Item = String> {
    (0..MANY).map(|n| format!("10.1.{}.{}", n / 100, n % 100 + 1))
}
