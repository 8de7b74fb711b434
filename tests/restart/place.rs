//! Where one node lives: its folder, its addresses, its Corefile, and the file that it follows.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use outlast::testkit::cluster::{ns, slice, svc, write_json};

/// Counts the places of this process.
static PLACES: AtomicU8 = AtomicU8::new(0);

/// A place for one node at a time. Everything of it goes with it.
pub(super) struct Place {
    /// Holds everything.
    folder: tempfile::TempDir,
    /// An address of its own.
    ip: IpAddr,
    /// For its ports: places of one process share the address.
    number: u16,
}

impl Place {
    /// A place whose `kubernetes` block has these lines besides its source and its snapshots.
    pub(super) fn new(options: &str) -> Self {
        // Memory where there is some: what is tested is what is written when, not how fast the disk is.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        // A restarted node needs its ports back. In a /32 of its own within 127.0.0.0/8 nobody else takes them.
        let ip = IpAddr::V4(Ipv4Addr::new(127, 64 | high, middle, low));
        let number = u16::from(PLACES.fetch_add(1, Ordering::Relaxed));
        let place = Self { folder: folder.unwrap(), ip, number };
        fs::create_dir(place.folder.path().join("source")).unwrap();
        let (dns, http) = (place.dns().port(), place.http());
        let (source, snapshots) = (place.source(), place.snapshots());
        let corefile = format!(
            ".:{dns} {{\nbind {ip}\nready {http}\nprometheus {http}\n\
             kubernetes cluster.local in-addr.arpa {{\nttl 30\nsource file {}\nsnapshot {}\n{options}\n}}\n}}\n",
            source.display(),
            snapshots.display(),
        );
        fs::write(place.corefile(), corefile).unwrap();
        place
    }

    /// Where DNS is answered.
    pub(super) fn dns(&self) -> SocketAddr {
        SocketAddr::new(self.ip, 5300 + self.number)
    }

    /// Where `/ready` and `/metrics` are.
    pub(super) fn http(&self) -> SocketAddr {
        SocketAddr::new(self.ip, 9300 + self.number)
    }

    /// The Corefile.
    pub(super) fn corefile(&self) -> PathBuf {
        self.folder.path().join("Corefile")
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
