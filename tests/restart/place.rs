//! Where one node lives: its folder, its addresses, its Corefile, and what it follows.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use outlast::snapshot::decode::Verified;
use outlast::testkit::cluster::{ns, slice, svc, write_json};
use outlast::zone::object::{Object, Shape};

/// The address of all places; each has ports of its own.
const IP: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Ports tried until one is free for UDP and TCP both.
const PORT_TRIES: usize = 64;

/// A place for one node at a time. Everything of it goes with it.
pub(super) struct Place {
    /// Holds everything.
    folder: tempfile::TempDir,
    /// Where DNS is answered.
    dns: SocketAddr,
    /// Where `/health`, `/ready` and `/metrics` are.
    http: SocketAddr,
}

impl Place {
    /// A place with a file to follow, whose `kubernetes` block has these lines besides its source and its
    /// snapshots.
    pub(super) fn new(options: &str) -> Self {
        Self::following(|place| format!("source file {}", place.source().display()), options)
    }

    /// The same with an API server, the one of [`kubeconfig`](Self::kubeconfig).
    pub(super) fn of_an_api_server(options: &str) -> Self {
        Self::following(|place| format!("kubeconfig {}", place.kubeconfig().display()), options)
    }

    /// The same with hubs, which these lines are about.
    pub(super) fn of_hubs(hubs: &str, options: &str) -> Self {
        Self::following(|_| hubs.to_owned(), options)
    }

    /// A place whose `kubernetes` block has the line of a source, and these.
    fn following(source: impl Fn(&Self) -> String, options: &str) -> Self {
        // Memory where there is some: what is tested is what is written when, not how fast the disk is.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let (dns, http) = free();
        let place = Self { folder: folder.unwrap(), dns, http };
        fs::create_dir(place.folder.path().join("source")).unwrap();
        let (source, snapshots) = (source(&place), place.snapshots());
        let corefile = format!(
            ".:{} {{\nbind {IP}\nhealth {http}\nready {http}\nprometheus {http}\n\
             kubernetes cluster.local in-addr.arpa {{\nttl 30\n{source}\nsnapshot {}\n{options}\n}}\n}}\n",
            dns.port(),
            snapshots.display(),
        );
        fs::write(place.corefile(), corefile).unwrap();
        place
    }

    /// Where DNS is answered.
    pub(super) fn dns(&self) -> SocketAddr {
        self.dns
    }

    /// Where `/health`, `/ready` and `/metrics` are.
    pub(super) fn http(&self) -> SocketAddr {
        self.http
    }

    /// The Corefile.
    pub(super) fn corefile(&self) -> PathBuf {
        self.folder.path().join("Corefile")
    }

    /// How the API server is reached; there once that has started.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// The folder of snapshots.
    pub(super) fn snapshots(&self) -> PathBuf {
        self.folder.path().join("snapshots")
    }

    /// The snapshots, oldest first, and what was put aside.
    pub(super) fn snapshot_files(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.snapshots()) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The marker in the newest snapshot, which has to be whole.
    pub(super) fn on_disk(&self) -> Option<u32> {
        loop {
            let files = self.snapshot_files();
            let newest = files.iter().rev().find(|name| name.ends_with(".snap"))?;
            match fs::read(self.snapshots().join(newest)) {
                Ok(bytes) => return Some(in_snapshot(&bytes)),
                // Newer ones have taken its place since.
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound, "{newest}"),
            }
        }
    }

    // === The source ===

    fn source(&self) -> PathBuf {
        self.folder.path().join("source/cluster.json")
    }

    fn hidden(&self) -> PathBuf {
        self.folder.path().join("source/hidden")
    }

    /// Replaces the source's file by one in which `web.shop` has the address of this marker.
    pub(super) fn publish(&self, marker: u32) {
        let objects = [
            ns("shop"),
            svc("shop/web").ip(&address(marker).to_string()).port("http", 80).build(),
            svc("shop/db").headless().port("sql", 5432).build(),
            slice("shop/db-1", "db").v4("10.244.1.5").v4("10.244.2.5").port("sql", 5432).build(),
        ];
        let beside = self.folder.path().join("source/new");
        write_json(&objects, File::create(&beside).unwrap()).unwrap();
        // While it is hidden, the hidden one is what is replaced.
        let to = if self.hidden().exists() { self.hidden() } else { self.source() };
        fs::rename(beside, to).unwrap();
    }

    /// Takes the source's file away.
    pub(super) fn hide_source(&self) {
        fs::rename(self.source(), self.hidden()).unwrap();
    }

    /// Puts it back.
    pub(super) fn show_source(&self) {
        fs::rename(self.hidden(), self.source()).unwrap();
    }
}

/// The marker in a snapshot's file.
fn in_snapshot(file: &[u8]) -> u32 {
    let mut found = None;
    let take = |object| match object {
        Object::Service(service) if &*service.name == "web" => match &service.shape {
            Shape::ClusterIp(addresses) => found = addresses.first().map(|a| marker(&a.to_string()).unwrap()),
            shape => panic!("{shape:?}"),
        },
        _ => {}
    };
    Verified::new(file).unwrap().objects(take).unwrap();
    found.expect("every version of the source has shop/web")
}

/// Where nobody listens now: an address that is free for UDP and TCP, and one for TCP. A restarted node needs
/// its ports back, so that they cannot be the kernel's choice of each start.
fn free() -> (SocketAddr, SocketAddr) {
    for _ in 0..PORT_TRIES {
        let (dns, http) = (TcpListener::bind((IP, 0)).unwrap(), TcpListener::bind((IP, 0)).unwrap());
        let dns = dns.local_addr().unwrap();
        // For UDP somebody may have it.
        if UdpSocket::bind(dns).is_ok() {
            return (dns, http.local_addr().unwrap());
        }
    }
    panic!("no port is free for UDP and TCP both")
}

/// The address that stands for a marker.
pub(super) fn address(marker: u32) -> Ipv4Addr {
    let [_, a, b, c] = marker.to_be_bytes();
    Ipv4Addr::new(10, a, b, c)
}

/// The marker that an address stands for.
pub(super) fn marker(address: &str) -> io::Result<u32> {
    let address: Ipv4Addr = address.parse().map_err(|_| io::Error::other(address.to_owned()))?;
    match address.octets() {
        [10, a, b, c] => Ok(u32::from_be_bytes([0, a, b, c])),
        _ => Err(io::Error::other(address.to_string())),
    }
}
