//! What a node is asked for most, and by whom: with clients whose load is known.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use outlast::ops::control::{Command, ask};
use outlast::testkit::client::Query;
use serde_json::Value;

use super::process::PATIENCE;
use super::world::{Node, is_live};

const STOREFRONT: &str = "storefront.bakery.svc.cluster.local.";
const BOOKS: &str = "books.ledger.svc.cluster.local.";

/// Within this time a load is of two windows at most, both of which are shown.
const SOON: Duration = Duration::from_secs(4);

/// A client with an address of its own.
struct Asker {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Asker {
    fn new(address: [u8; 4], server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(SocketAddr::from((address, 0))).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, server }
    }

    /// Asks so often, one question after the other.
    fn ask(&self, name: &'static str, times: usize) {
        let query = Query::a(name).bytes();
        for _ in 0..times {
            self.socket.send_to(&query, self.server).unwrap();
            self.socket.recv(&mut [0; 4096]).unwrap();
        }
    }
}

/// What a process says at once, and it is counted from now on.
fn look(node: &Node) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(&node.socket(), &Command::Top)).unwrap()
}

/// Which, and how often, of a list.
fn busy(list: &Value) -> Vec<(&str, u64)> {
    let each = list.as_array().unwrap().iter();
    each.map(|of| (of["what"].as_str().unwrap(), of["questions"].as_u64().unwrap())).collect()
}

#[test]
fn the_busiest_names_and_clients_are_those_that_are() {
    let node = Node::with("prometheus 127.0.0.1:0", "1m");
    let process = node.start();
    node.status(&process, "live data", is_live);
    let server = process.dns();
    let (one, other) = (Asker::new([127, 0, 0, 2], server), Asker::new([127, 0, 0, 3], server));
    one.ask(STOREFRONT, 50);
    assert_eq!(look(&node)["questions"], 0, "nobody had looked when it was asked");

    // On a machine that is very slow a load takes longer than what is shown of it.
    let seen = (0..10).find_map(|_| {
        // What was counted before is of a window that is not shown any more.
        let begin = Instant::now();
        while look(&node)["questions"] != 0 {
            assert!(begin.elapsed() < PATIENCE, "it goes on and on");
            std::thread::sleep(Duration::from_millis(50));
        }
        let begin = Instant::now();
        one.ask(STOREFRONT, 300);
        other.ask("STOREFRONT.bakery.svc.cluster.local.", 60);
        other.ask(BOOKS, 140);
        let seen = process.wait_for("all of it", |_| {
            let seen = look(&node);
            (seen["questions"] == 500 || begin.elapsed() > SOON).then_some(seen)
        });
        (begin.elapsed() < SOON).then_some(seen)
    });
    let seen = seen.expect("one of ten loads is soon over");
    assert_eq!(busy(&seen["names"]), [(STOREFRONT, 360), (BOOKS, 140)], "{seen}");
    assert_eq!(busy(&seen["clients"]), [("127.0.0.2", 300), ("127.0.0.3", 200)]);
    assert!(seen["names"].as_array().unwrap().iter().all(|of| of["too_many"] == 0));
    assert_eq!(seen["data"][0]["state"], "live");

    // Somebody at a terminal, while they go on.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (code, screen, error) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                one.ask(STOREFRONT, 3);
                other.ask("absent.bakery.svc.cluster.local.", 1);
            }
        });
        let printed = node.ctl(&["top", "--for", "2s"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        printed
    });
    assert_eq!(code, 0, "{error}");
    assert!(
        screen.lines().count() <= 23 && screen.lines().all(|line| line.chars().count() <= 80),
        "{screen}"
    );
    for part in ["outlast node n1", "questions a second", "LIVE", "kubernetes 100 %", "NXDOMAIN", "CLIENTS"] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    let line = |what: &str| screen.lines().position(|line| line.ends_with(what));
    assert!(line(STOREFRONT) < line("absent.bakery.svc.cluster.local."), "{screen}");
    assert!(line("127.0.0.2") < line("127.0.0.3") && line("127.0.0.3").is_some(), "{screen}");
}
