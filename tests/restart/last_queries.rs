//! The last queries of a node: whatever it has taken when it is told to stop it answers, also what has to wait for an
//! upstream; and nobody hears of a limit that was not reached.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;
use outlast::testkit::client::{Answer, Query};
use outlast::testkit::upstream::{Behaviour, FakeUpstream};

use super::process::{PATIENCE, Process, outlast};

/// The node's address, and nobody else's: once it has gone, nobody is there.
const IP: Ipv4Addr = Ipv4Addr::new(127, 83, 84, 79);

/// A name outside that its upstream takes its time for.
const LATE: &str = "late.test.";

/// That time: longer than a node that waits for nothing takes to end.
const DELAY: Duration = Duration::from_millis(400);

/// The answer.
const ANSWER: &str = "late.test. 60 IN A 192.0.2.2";

/// Queries that are sent while a node ends.
const LAST: u16 = 120;

/// Those over one connection: fewer than a node reads of it after it was told to stop.
const LAST_OF_CONNECTION: u16 = 20;

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(1);

/// A node that forwards everything and keeps nothing.
struct World {
    node: Process,
    dns: SocketAddr,
    upstream: FakeUpstream,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let upstream = FakeUpstream::start(ANSWER).await.on(LATE, Behaviour::Delay(DELAY));
        let folder = tempfile::tempdir().unwrap();
        let corefile = folder.path().join("Corefile");
        let text = format!(".:0 {{\n bind {IP}\n forward . {}\n}}\n", upstream.addr());
        std::fs::write(&corefile, text).unwrap();
        let node = Process::start(outlast().args(["node", "--conf"]).arg(corefile)).serving();
        Self { dns: node.dns(), node, upstream, _folder: folder }
    }

    /// Asks from a socket of its own.
    fn ask(&self) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(self.dns).unwrap();
        socket.send(&Query::a(LATE).edns(1232).bytes()).unwrap();
        socket
    }

    /// Waits until the upstream has this many queries.
    fn asked(&self, count: usize) {
        self.node.wait_for("queries at the upstream", |_| (self.upstream.count(LATE) >= count).then_some(()));
    }

    /// It ended by itself, once everything was done.
    fn ended(self) {
        let (code, output) = self.node.wait();
        assert!(code == 0 && output.contains("stopped"), "{code}\n{output}");
    }
}

fn assert_whole(answer: &Answer) {
    assert_eq!((answer.answers(), answer.ede()), (vec![ANSWER.to_owned()], vec![]), "{:?}", answer.rcode());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_comes_by_udp_while_a_node_stops_is_answered_or_finds_nobody() {
    for waiting in [0, 3] {
        let world = World::start().await;
        let mut sockets: Vec<_> = (0..waiting).map(|_| world.ask()).collect();
        world.asked(waiting);
        world.node.signal(Signal::SIGTERM);
        for _ in 0..LAST {
            sockets.push(world.ask());
            std::thread::sleep(PAUSE);
        }
        for (at, socket) in sockets.iter().enumerate() {
            let mut reply = [0; 512];
            match socket.recv(&mut reply) {
                Ok(len) => assert_whole(&Answer::parse(reply[..len].to_vec()).unwrap()),
                // It came too late.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused && at >= waiting => {}
                Err(error) => panic!("query {at}, after {waiting} that wait: {error}"),
            }
        }
        world.ended();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_comes_over_a_connection_while_a_node_stops_is_answered_as_long_as_it_is_read() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.dns).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let framed = |id: u16| {
        let message = Query::a(LATE).id(id).edns(1232).bytes();
        [&(message.len() as u16).to_be_bytes()[..], &message].concat()
    };
    stream.write_all(&framed(0)).unwrap();
    world.asked(1);
    world.node.signal(Signal::SIGTERM);
    for id in 1..=LAST_OF_CONNECTION {
        if stream.write_all(&framed(id)).is_err() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    let mut ids = Vec::new();
    let mut len = [0; 2];
    // A reset is an end, too: what was written too late was not read.
    while stream.read_exact(&mut len).is_ok() {
        let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut reply).unwrap();
        let answer = Answer::parse(reply).unwrap();
        assert_whole(&answer);
        ids.push(answer.message.metadata.id);
    }
    ids.sort_unstable();
    assert!(!ids.is_empty() && ids == (0..ids.len() as u16).collect::<Vec<_>>(), "{ids:?}");
    world.ended();
}
