//! A small cluster in a file, a folder for everything, and Corefiles that answer it.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use outlast::testkit::client::Query;
use outlast::testkit::cluster::{ns, slice, svc, write_json};
use outlast::testkit::upstream::{Behaviour, FakeUpstream};
use tempfile::TempDir;

/// A service of the cluster.
pub(super) const WEB: &str = "web.shop.svc.cluster.local.";

/// Its address, with the TTL left open.
pub(super) const WEB_ADDRESS: &str = "10.0.0.1";

/// A name outside, for which its upstream takes its time.
pub(super) const LATE: &str = "late.test.";

/// Its address.
pub(super) const LATE_ADDRESS: &str = "192.0.2.2";

/// The time that it takes.
const DELAY: Duration = Duration::from_millis(30);

/// Ports tried until one is free for UDP and TCP both.
const PORT_TRIES: usize = 64;

/// A folder with a cluster in it.
pub(super) struct Place {
    folder: TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let objects = [
            ns("shop"),
            svc("shop/web").ip(WEB_ADDRESS).port("http", 80).build(),
            svc("shop/db").headless().port("sql", 5432).build(),
            slice("shop/db-1", "db").v4("10.244.1.5").v4("10.244.2.5").port("sql", 5432).build(),
        ];
        write_json(&objects, std::fs::File::create(place.path("cluster.json")).unwrap()).unwrap();
        place
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A `kubernetes` block for the cluster, with these lines in it.
    pub(super) fn kubernetes(&self, lines: &str) -> String {
        format!(
            "kubernetes cluster.local {{\n source file {}\n snapshot {}\n {lines}\n }}",
            self.path("cluster.json").display(),
            self.path("snapshots").display()
        )
    }

    /// Writes a file of the folder in one step.
    pub(super) fn write(&self, name: &str, text: &str) {
        let new = self.path(&format!(".{name}.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }
}

/// A server block on loopback.
pub(super) fn block(lines: &str) -> String {
    format!(".:0 {{\n bind 127.0.0.1\n {lines}\n}}\n")
}

/// An upstream for the name outside. It answers in a thread of the runtime, which has to have one to spare.
pub(super) async fn late() -> FakeUpstream {
    let zone = format!("{LATE} 60 A {LATE_ADDRESS}");
    FakeUpstream::start(&zone).await.on(LATE, Behaviour::Delay(DELAY))
}

/// The question for the service.
pub(super) fn web() -> Query {
    Query::a(WEB).edns(1232)
}

/// An address on loopback that nobody had a moment ago, for UDP and TCP.
pub(super) fn free() -> SocketAddr {
    for _ in 0..PORT_TRIES {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free for both");
}
