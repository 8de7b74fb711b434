//! Name servers of Debian's packages, started by a test and ended with it.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::process::{Process, ask};
use outlast::testkit::client::Query;

/// A running server with its children.
pub(crate) struct Server {
    process: Process,
}

impl Server {
    /// Starts it, in a process group of its own.
    fn start(command: &mut Command) -> Self {
        Self { process: Process::start(command.process_group(0)) }
    }

    /// Sends a signal to it and its children.
    pub(crate) fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        // They may have ended.
        let _ = killpg(group, signal);
    }

    /// Waits until it answers something at this address, which the calling thread has to reach.
    pub(crate) fn answers(self, address: SocketAddr) -> Self {
        self.process.wait_for("an answer of the upstream", |_| ask(address, &Query::a("start.example.")));
        self
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.process.wait_until_ended();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// unbound at this address of loopback, with lines of a zone file, and a zone of which every name has one address.
pub(crate) fn unbound(
    mut command: Command,
    folder: &Path,
    at: SocketAddr,
    records: &[String],
    wildcard: (&str, &str),
) -> Server {
    let mut text = format!(
        "server:\n interface: {ip}\n port: {port}\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n \
         directory: \"{folder}\"\n use-syslog: no\n logfile: \"\"\n do-daemonize: no\n num-threads: 1\n \
         module-config: \"iterator\"\n access-control: 127.0.0.0/8 allow\n \
         local-zone: \"{zone}\" redirect\n local-data: \"{zone} 2 IN A {address}\"\n",
        ip = at.ip(),
        port = at.port(),
        folder = folder.display(),
        zone = wildcard.0,
        address = wildcard.1,
    );
    // Nothing is resolved: there is no network.
    text.push_str(" local-zone: \".\" static\n");
    for record in records {
        writeln!(text, " local-data: \"{record}\"").unwrap();
    }
    text.push_str("remote-control:\n control-enable: no\n");
    let file = folder.join("unbound.conf");
    fs::write(&file, text).unwrap();
    Server::start(command.arg("-d").arg("-c").arg(file))
}

/// dnsmasq at this address of loopback, with host names and their addresses, and a zone of which every name has one
/// address.
pub(crate) fn dnsmasq(
    mut command: Command,
    at: SocketAddr,
    ttl: u32,
    hosts: &[(String, String)],
    wildcard: (&str, &str),
) -> Server {
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--bind-interfaces", "--no-resolv"]);
    command.args(["--no-hosts", "--pid-file=", "--user=root", &format!("--local-ttl={ttl}")]);
    command.arg(format!("--listen-address={}", at.ip())).arg(format!("--port={}", at.port()));
    command.arg(format!("--address=/{}/{}", wildcard.0, wildcard.1));
    command.args(hosts.iter().map(|(name, address)| format!("--host-record={name},{address}")));
    Server::start(&mut command)
}

/// What nsd serves where.
pub(crate) struct Nsd<'a> {
    /// Holds everything of this server; nobody else's.
    pub(crate) folder: &'a Path,
    /// As nsd has them: `ADDRESS@PORT`.
    pub(crate) addresses: &'a [&'a str],
    /// Zones with their text.
    pub(crate) zones: &'a [(&'a str, &'a str)],
    /// DoT on port 853 of its addresses: files of the certificate and the key.
    pub(crate) tls: Option<(&'a Path, &'a Path)>,
}

impl Nsd<'_> {
    /// Starts it.
    pub(crate) fn start(&self, mut command: Command) -> Server {
        fs::create_dir_all(self.folder).unwrap();
        let folder = self.folder.display();
        // Without limits of its own for a client that asks much.
        let mut text = format!(
            "server:\n server-count: 1\n username: \"\"\n chroot: \"\"\n zonesdir: \"{folder}\"\n database: \"\"\n \
             pidfile: \"{folder}/nsd.pid\"\n xfrdfile: \"{folder}/xfrd.state\"\n \
             zonelistfile: \"{folder}/zone.list\"\n logfile: \"{folder}/nsd.log\"\n rrl-ratelimit: 0\n"
        );
        for address in self.addresses {
            writeln!(text, " ip-address: {address}").unwrap();
        }
        if let Some((certificate, key)) = self.tls {
            writeln!(text, " tls-port: 853\n tls-service-pem: \"{}\"", certificate.display()).unwrap();
            writeln!(text, " tls-service-key: \"{}\"", key.display()).unwrap();
        }
        text.push_str("remote-control:\n control-enable: no\n");
        for (number, (zone, records)) in self.zones.iter().enumerate() {
            let file = self.folder.join(format!("{number}.zone"));
            fs::write(&file, records).unwrap();
            writeln!(text, "zone:\n name: \"{zone}\"\n zonefile: \"{}\"", file.display()).unwrap();
        }
        let file = self.folder.join("nsd.conf");
        fs::write(&file, text).unwrap();
        Server::start(command.arg("-d").arg("-c").arg(file))
    }
}
