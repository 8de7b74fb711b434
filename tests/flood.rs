//! A node whose upstream hangs while clients flood it with names that nobody knows: what other clients see of it, and
//! that nothing is left of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{RData, Record};
use nix::sys::resource::{Resource, getrlimit};
use outlast::node::listen::MAX_WAITING;
use outlast::testkit::client::{Answer, Query};
use outlast::testkit::cluster::{ns, svc, write_json};
use process::{PATIENCE, Process, isolate, outlast};

/// Queries of a flood.
const FLOOD: usize = 20_000;

/// Clients that flood: so many that all of them stay within their share of a full room.
const CLIENTS: u8 = 16;

/// Sockets of each.
const PORTS: usize = 8;

/// Packets that are sent before the next are answered: no more than the smallest buffer of a socket takes.
const BATCH: usize = 50;

/// Clients that are answered then: so many that each of the node's sockets has one, and nothing before it in its buffer.
const ASKING: usize = 16;

/// Queries of a flood that goes on until those of another client are answered, at most.
const LONG_FLOOD: usize = 500_000;

/// Between two batches of such a flood.
const PACE: Duration = Duration::from_millis(2);

/// Queries for names outside of a client beside it.
const INNOCENT: usize = 25;

/// Where the upstream answers although it hangs elsewhere.
const GOOD: &str = "good.example.";

/// A name outside that everybody asks for, and its address.
const POPULAR: (&str, &str) = ("popular.example.", "192.0.2.1");

/// The name that other clients ask for, and its address.
const CLUSTER: (&str, &str) = ("web.shop.svc.cluster.local.", "10.96.0.7");

/// A running node and an upstream that takes queries and says nothing, or not to all.
struct World {
    node: Process,
    /// Not read: what its buffer does not take is lost, as it is where a machine hangs.
    upstream: UdpSocket,
}

impl World {
    /// With these lines in the block of the cache.
    fn start(folder: &Path, cache: &str) -> Self {
        let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let cluster = folder.join("cluster.json");
        let objects = [ns("shop"), svc("shop/web").ip(CLUSTER.1).port("http", 80).build()];
        write_json(&objects, fs::File::create(&cluster).unwrap()).unwrap();
        let corefile = format!(
            ".:0 {{\n bind 127.0.0.1\n prometheus 127.0.0.1:0\n cache {{\n{cache}\n }}\n \
             kubernetes cluster.local {{\n source file {}\n }}\n forward . {} {{\n read_timeout 8s\n }}\n}}\n",
            cluster.display(),
            upstream.local_addr().unwrap()
        );
        let file = folder.join("Corefile");
        fs::write(&file, corefile).unwrap();
        let node = Process::start(outlast().args(["node", "--conf"]).arg(file)).serving();
        let has_table = |answer: &Answer| answer.rcode() == ResponseCode::NoError;
        node.ask_until("the table", &Query::a(CLUSTER.0), has_table);
        Self { node, upstream }
    }

    /// The sum of the series of a metric that have this in their labels.
    fn metric(&self, name: &str, label: &str) -> usize {
        let mut stream = TcpStream::connect(self.node.address("serving /metrics")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 ") && text.contains(name), "{text}");
        let values = text.lines().filter_map(|line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{') && labels.contains(label))
                .then(|| value.parse::<f64>().ok())?
        });
        values.sum::<f64>() as usize
    }

    /// Queries that wait now.
    fn waiting(&self) -> usize {
        self.metric("outlast_waiting_queries", "")
    }
}

/// A client that floods, and counts what it is told.
struct Flooder {
    /// Several, so that it is not a matter of luck which sockets of the node it comes to.
    sockets: Vec<Arc<UdpSocket>>,
    server: SocketAddr,
}

impl Flooder {
    fn new(client: u8, server: SocketAddr, refused: &Arc<AtomicUsize>) -> Self {
        let socket = |_| {
            let socket = Arc::new(UdpSocket::bind((Ipv4Addr::new(127, 0, 1, client), 0)).unwrap());
            let (receiver, refused) = (socket.clone(), refused.clone());
            // It ends with the test's process.
            thread::spawn(move || count_refused(&receiver, &refused));
            socket
        };
        Self { sockets: (0..PORTS).map(socket).collect(), server }
    }

    /// Asks for a name of its own for each number.
    fn ask(&self, number: usize) {
        let query = Query::a(&format!("n{number}.flood.example.")).edns(1232).bytes();
        let socket = &self.sockets[number / usize::from(CLIENTS) % PORTS];
        socket.send_to(&query, self.server).unwrap();
    }
}

/// Counts the replies that say that there is no room.
fn count_refused(socket: &UdpSocket, refused: &AtomicUsize) {
    let mut buffer = [0; 4096];
    while let Ok(length) = socket.recv(&mut buffer) {
        let answer = Answer::parse(buffer[..length].to_vec()).unwrap();
        assert_eq!(answer.rcode(), ResponseCode::ServFail);
        let [(_, text)] = &*answer.ede() else { panic!("a reason: {:?}", answer.ede()) };
        if text.ends_with("are waiting for upstreams") || text.ends_with("than can be looked at") {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn cluster_names_are_answered_through_a_flood_of_names_that_hang() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), "");
    let dns = world.node.dns();
    let refused = Arc::new(AtomicUsize::new(0));
    let flooders: Vec<_> = (1..=CLIENTS).map(|client| Flooder::new(client, dns, &refused)).collect();

    // Before there was a table.
    let failures = || world.metric("coredns_dns_responses_total", "rcode=\"SERVFAIL\"");
    let before = failures();

    // Clients that ask once, for each query only: none may be lost.
    let client = |_| {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect(dns).unwrap();
        client
    };
    let clients: Vec<_> = (0..ASKING).map(client).collect();
    let mut buffer = [0; 4096];
    for number in 0..FLOOD {
        flooders[number % flooders.len()].ask(number);
        if (number + 1) % BATCH > 0 {
            continue;
        }
        for client in &clients {
            client.send(&Query::a(CLUSTER.0).bytes()).unwrap();
        }
        for client in &clients {
            let length = client.recv(&mut buffer).expect("each cluster name is answered");
            let answer = Answer::parse(buffer[..length].to_vec()).unwrap();
            assert_eq!(answer.rcode(), ResponseCode::NoError);
            assert!(answer.answers()[0].ends_with(CLUSTER.1), "{:?}", answer.answers());
        }
        if (number + 1) % (FLOOD / 10) == 0 {
            let waiting = world.waiting();
            assert!(waiting <= MAX_WAITING + MAX_WAITING / 4, "{waiting} after {number}");
        }
    }
    // What still waits is answered when forwards give up.
    world.node.wait_for("that nothing waits", |_| (world.waiting() == 0).then_some(()));
    assert_eq!(failures() - before, FLOOD, "each has its answer");
    let told = world.metric("outlast_overload_total", "waiting_queries");
    // Of either limit.
    let crowded = world.metric("outlast_overload_total", "udp_queue");
    assert!(told + crowded > 0, "more than may wait within the time of a forward, or be looked at");
    assert_eq!(world.metric("outlast_overload_total", "waiting_per_client"), 0, "each had its share");
    // Some of these may have been lost on their way.
    assert!(
        refused.load(Ordering::Relaxed) > (told + crowded) / 2,
        "{refused:?} of {told} and {crowded} have heard why"
    );
    assert_eq!(world.metric("outlast_cache_flights", ""), 0);
    let elsewhere = world.metric("outlast_overload_total", "cache_flights")
        + world.metric("outlast_forward_in_flight_rejects_total", "");
    println!(
        "{told} of {FLOOD} were refused, {crowded} not looked at; {elsewhere} reached a limit behind that"
    );
}

#[test]
fn one_client_s_flood_takes_no_answer_from_others() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing is fresh for longer than a second.
    let world = World::start(folder.path(), "success 10000 1 1");
    let hangs = answer_some(&world.upstream);
    let is_popular = |answer: &Answer| matches!(&*answer.answers(), [one] if one.ends_with(POPULAR.1));
    let popular = || Query::a(POPULAR.0).edns(1232);
    world.node.ask_until("the popular name", &popular(), is_popular);
    hangs.store(true, Ordering::Relaxed);
    let is_stale = |answer: &Answer| is_popular(answer) && answer.ede().iter().any(|(code, _)| *code == 3);
    world.node.ask_until("that it has expired", &popular(), is_stale);

    let dns = world.node.dns();
    let ended = Arc::new(AtomicBool::new(false));
    let flood = thread::spawn({
        let ended = ended.clone();
        let flooder = Flooder::new(1, dns, &Arc::default());
        move || {
            let is_on = |_: &usize| !ended.load(Ordering::Relaxed);
            let ask = |number: usize| {
                flooder.ask(number);
                // More than can be looked at, and not more than can be read: what the kernel drops is nobody's to answer.
                if number.is_multiple_of(BATCH) {
                    thread::sleep(PACE);
                }
            };
            (0..LONG_FLOOD).take_while(is_on).map(ask).count()
        }
    });
    for number in 0..INNOCENT {
        // A socket for each, so that each socket of the node has some of these, too.
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.connect(dns).unwrap();
        let answer = ask_until_heard(&client, Query::a(&format!("n{number}.{GOOD}")).edns(1232), 1);
        assert_eq!(answer.rcode(), ResponseCode::NoError, "{:?} after {number}", answer.ede());
        let answer = ask_until_heard(&client, popular(), 2);
        assert!(is_stale(&answer), "{:?} {:?} after {number}", answer.rcode(), answer.ede());
    }
    ended.store(true, Ordering::Relaxed);
    let sent = flood.join().unwrap();
    assert!(sent > MAX_WAITING, "that was a flood: {sent}");
    let limit = |limit| world.metric("outlast_overload_total", &format!("limit=\"{limit}\""));
    assert_eq!(limit("udp_queue"), 0, "there was room for others in every queue");
    println!(
        "{sent} sent; {} had their client's share of a queue, {} of the room",
        limit("udp_queue_per_client"),
        limit("waiting_per_client")
    );
}

/// Has an upstream answer names below [`GOOD`], and [`POPULAR`] until it is told to hang.
fn answer_some(upstream: &UdpSocket) -> Arc<AtomicBool> {
    let (socket, hangs) = (upstream.try_clone().unwrap(), Arc::new(AtomicBool::new(false)));
    let told = hangs.clone();
    // It ends with the test's process.
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let mut message = Message::from_vec(&buffer[..length]).unwrap();
            let name = message.queries[0].name().clone();
            let text = name.to_ascii();
            let is_popular = text == POPULAR.0 && !told.load(Ordering::Relaxed);
            if !is_popular && !text.ends_with(GOOD) {
                continue;
            }
            message.metadata.message_type = MessageType::Response;
            message.add_answer(Record::from_rdata(name, 60, RData::A(POPULAR.1.parse().unwrap())));
            socket.send_to(&message.to_vec().unwrap(), from).unwrap();
        }
    });
    hangs
}

/// Asks until there is an answer: what comes to a socket faster than it is read is lost, whoever sent it. `id` is of no
/// other query of this client.
fn ask_until_heard(client: &UdpSocket, query: Query, id: u16) -> Answer {
    let patience = Duration::from_millis(500);
    client.set_read_timeout(Some(patience)).unwrap();
    let (query, mut buffer) = (query.id(id).bytes(), [0; 4096]);
    for _ in 0..PATIENCE.as_millis() / patience.as_millis() {
        client.send(&query).unwrap();
        // What was asked before may have been answered twice.
        while let Ok(length) = client.recv(&mut buffer) {
            let answer = Answer::parse(buffer[..length].to_vec()).unwrap();
            if answer.message.metadata.id == id {
                return answer;
            }
        }
    }
    panic!("no answer in {PATIENCE:?}")
}

#[test]
fn a_node_raises_its_limit_of_open_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Corefile");
    fs::write(&file, ".:0 {\n bind 127.0.0.1\n whoami\n}\n").unwrap();
    let mut command = std::process::Command::new("sh");
    isolate(&mut command);
    let script = "ulimit -Sn 256 && exec \"$@\"";
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_outlast"), "node", "--conf"]).arg(file);
    let node = Process::start(&mut command).serving();
    let limits = fs::read_to_string(format!("/proc/{}/limits", node.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let soft: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(soft, hard.min(65_536), "{line}");
}
