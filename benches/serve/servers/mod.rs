//! The servers: each starts with an address of its own on loopback and ends when it goes out of scope.

pub(crate) mod hickory;
pub(crate) mod limit;
mod node;
pub(crate) mod standin;
mod unbound;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use socket2::{Domain, Protocol, Socket, Type};

use crate::ask;
use crate::questions::{Questions, Workload};
use crate::support::process::Process;
use standin::Standin;

/// Threads of each server: one a core, at most four, as the node has.
const MAX_THREADS: usize = 4;

/// Folders besides those of `PATH`: servers are not in everybody's.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// What a server is bound to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// An address of loopback.
    Loopback,
    /// No address: a wildcard, as in the Corefile that kubeadm writes.
    Wildcard,
}

impl Place {
    /// All.
    pub(crate) const ALL: [Self; 2] = [Self::Loopback, Self::Wildcard];

    /// Where servers are bound that are measured with this workload.
    pub(crate) const fn of(workload: Workload) -> Self {
        match workload {
            Workload::Wildcard => Self::Wildcard,
            _ => Self::Loopback,
        }
    }

    /// The address to bind.
    const fn ip(self) -> IpAddr {
        match self {
            Self::Loopback => LOOPBACK,
            Self::Wildcard => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }
}

/// Where all servers are asked.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// `outlast node`.
    Node,
    /// What the kernel alone costs.
    Limit,
    /// hickory-server.
    Hickory,
    /// unbound as a forwarder.
    Unbound,
}

impl Kind {
    /// All, in the order in which they are started in a round.
    pub(crate) const ALL: [Self; 4] = [Self::Node, Self::Limit, Self::Hickory, Self::Unbound];

    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Limit => "limit",
            Self::Hickory => "hickory",
            Self::Unbound => "unbound",
        }
    }

    /// Whether it is measured with this workload.
    pub(crate) const fn answers(self, workload: Workload) -> bool {
        match self {
            Self::Node => true,
            Self::Limit => !matches!(workload, Workload::Srv),
            Self::Hickory => matches!(workload, Workload::ClusterIp),
            Self::Unbound => matches!(workload, Workload::ClusterIp | Workload::Outside),
        }
    }
}

/// A running server; killed when it goes out of scope.
pub(crate) struct Server {
    process: Process,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// Where its metrics are; the node's only.
    pub(crate) metrics: Option<SocketAddr>,
}

impl Server {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

/// What servers are started with.
pub(crate) struct Setup {
    /// Everything that they write.
    dir: PathBuf,
    /// Names and addresses that the limit and hickory answer.
    zone: PathBuf,
    /// Where the node's data comes from.
    kubeconfig: PathBuf,
    /// What the node and unbound forward to: another limit.
    upstream: Server,
    /// unbound, where it is installed.
    unbound: Option<PathBuf>,
}

impl Setup {
    /// Writes what the servers read, and starts what they forward to.
    pub(crate) fn new(dir: &Path, questions: &Questions, standin: &Standin) -> Result<Self, String> {
        let zone = dir.join("zone");
        questions.write_zone(&zone)?;
        let upstream = limit::start(&zone, Place::Loopback)?;
        ask::compare(upstream.address, questions.about(Workload::Outside))?;
        Ok(Self {
            dir: dir.to_owned(),
            zone,
            kubeconfig: standin.kubeconfig.clone(),
            upstream,
            unbound: program("unbound"),
        })
    }

    /// The file of a workload's queries, written anew.
    pub(crate) fn queries(&self, questions: &Questions, workload: Workload) -> Result<PathBuf, String> {
        let path = self.dir.join("queries");
        questions.write_queries(workload, &path)?;
        Ok(path)
    }

    /// Whether there is such a server here.
    pub(crate) const fn has(&self, kind: Kind) -> bool {
        !matches!(kind, Kind::Unbound) || self.unbound.is_some()
    }

    /// Starts a server and waits until it answers right.
    pub(crate) fn start(&self, kind: Kind, place: Place, questions: &Questions) -> Result<Server, String> {
        let server = match kind {
            Kind::Node => node::start(&self.dir, &self.kubeconfig, self.upstream.address, place)?,
            Kind::Limit => limit::start(&self.zone, place)?,
            Kind::Hickory => hickory::start(&self.zone)?,
            Kind::Unbound => {
                let program = self.unbound.as_deref().ok_or("unbound is missing")?;
                unbound::start(program, &self.dir, self.upstream.address)?
            }
        };
        let first = questions.about(Workload::ClusterIp).first().ok_or("the cluster has no service")?;
        ask::until_right(server.address, first)?;
        if let Some(metrics) = server.metrics {
            node::until_live(metrics)?;
        }
        Ok(server)
    }
}

/// Where a program is.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// How many threads a server has.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
}

/// A port that was free a moment ago, for UDP.
fn free_port() -> Result<u16, String> {
    let address = UdpSocket::bind(ANY).and_then(|socket| socket.local_addr());
    address.map(|address| address.port()).map_err(|e| format!("no free port: {e}"))
}

/// A socket of a server of the bench's own, which may share its address with others.
fn socket(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    socket.set_recv_buffer_size(crate::support::BUFFER)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Any free port of loopback.
const ANY: SocketAddr = SocketAddr::new(LOOPBACK, 0);

/// This bench as another process with another role.
fn role(flag: &str, file: &Path) -> Result<Command, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command.arg(flag).arg(file);
    Ok(command)
}

/// Starts a server that is this bench's own.
fn start_role(flag: &str, file: &Path) -> Result<Server, String> {
    let mut process = Process::start(&mut role(flag, file)?);
    let port = process.address(SERVING)?.port();
    Ok(Server { process, address: SocketAddr::new(LOOPBACK, port), metrics: None })
}

/// What a role says when it serves, with its address behind it.
const SERVING: &str = "serving at ";

/// Says where this process serves, and ends it with its standard input: whatever becomes of the bench, nobody is left behind.
fn serving(address: SocketAddr) {
    let mut out = std::io::stdout();
    writeln!(out, "{SERVING}{address}").and_then(|()| out.flush()).unwrap();
    std::thread::spawn(|| {
        // It ends with an error or without.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
