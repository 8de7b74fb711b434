//! The same over the network: what comes back over UDP is what comes back over TCP, which is the general handler's alone;
//! from the address that was asked; also while a node stops, or has more to do than it can.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use outlast::testkit::client::{Answer, Client, Query};
use outlast::testkit::node::TestNode;
use outlast::testkit::upstream::{Behaviour, FakeUpstream};
use tempfile::TempDir;

use crate::fixture;
use crate::spelling::SPELLINGS;

/// What is asked: names of the cluster of every shape, names outside that are kept, and names that are nobody's.
const QUESTIONS: [(&str, RecordType); 16] = [
    ("storefront.shop.svc.cluster.local.", RecordType::A),
    ("StoreFront.shop.svc.Cluster.local.", RecordType::AAAA),
    ("duo.shop.svc.cluster.local.", RecordType::AAAA),
    ("ledger.shop.svc.cluster.local.", RecordType::A),
    ("ledger-0.ledger.shop.svc.cluster.local.", RecordType::AAAA),
    ("_sql._tcp.ledger.shop.svc.cluster.local.", RecordType::SRV),
    ("herd.shop.svc.cluster.local.", RecordType::A),
    ("nosuch.shop.svc.cluster.local.", RecordType::A),
    ("mail.shop.svc.cluster.local.", RecordType::A),
    ("10-244-5-9.lab.pod.cluster.local.", RecordType::A),
    ("20.14.96.10.in-addr.arpa.", RecordType::PTR),
    ("cluster.local.", RecordType::NS),
    ("dns-version.cluster.local.", RecordType::TXT),
    ("kept.example.net.", RecordType::A),
    ("gone.example.net.", RecordType::A),
    ("storefront.shop.svc.cluster.local.", RecordType::ANY),
];

/// Clients that ask at the same time.
const CLIENTS: usize = 4;

/// How long a reply over loopback may take: only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Datagrams that a queue of the general handler holds.
const QUEUE: usize = 1024;

/// Clients beside one that floods: so many that one of them comes to the same socket.
const OTHERS: usize = 32;

/// A node with the cluster of the written cases and names outside.
struct World {
    node: TestNode,
    upstream: FakeUpstream,
    /// Where the cluster is.
    _dir: TempDir,
}

impl World {
    async fn start(bind: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let cluster = dir.path().join("cluster.json");
        fixture::write(&cluster);
        let upstream = fixture::upstream().await;
        // Not due before any test has ended.
        upstream.add("kept.example.net. 3600 A 198.51.100.27");
        // TTLs that do not depend on the moment.
        let node = TestNode::start(&format!(
            ".:0 {{
                {bind}
                prometheus 127.0.0.1:0
                cache {{
                    keepttl
                }}
                kubernetes cluster.local in-addr.arpa ip6.arpa {{
                    source file \"{}\"
                    pods insecure
                    ttl 0
                }}
                forward . {}
            }}",
            cluster.display(),
            upstream.addr()
        ));
        node.state("live").await;
        // What is outside is kept from now on, whoever asks.
        for edns in [false, true] {
            for (name, kind) in QUESTIONS {
                let query = Query::new(name, kind);
                let query = if edns { query.dnssec_ok() } else { query };
                node.client().tcp(&query).await.unwrap();
                node.client().tcp(&query.cd()).await.unwrap();
            }
        }
        Self { node, upstream, _dir: dir }
    }

    /// Addresses that lead to it.
    fn reached_at(&self) -> Vec<SocketAddr> {
        let all = |listening: &SocketAddr| -> Vec<SocketAddr> {
            let ips: &[&str] = match listening.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => &["127.0.0.1", "127.0.0.2", "127.8.9.10"],
                IpAddr::V6(ip) if ip.is_unspecified() => &["::1"],
                _ => return vec![*listening],
            };
            ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), listening.port())).collect()
        };
        self.node.addresses().iter().flat_map(all).collect()
    }
}

#[tokio::test]
async fn every_address_says_the_same_over_udp_and_tcp() {
    for bind in ["", "bind 127.0.0.1 ::1"] {
        let world = World::start(bind).await;
        let servers = world.reached_at();
        assert!(servers.iter().any(SocketAddr::is_ipv4) && servers.iter().any(SocketAddr::is_ipv6));
        // All at once, so that replies of several clients leave together.
        let clients = servers.iter().flat_map(|server| (0..CLIENTS).map(|_| ask_everything(*server)));
        join_all(clients).await;

        // That was a test of the lane.
        let (mut lanes, source) = (world.node.lanes(), SocketAddr::from(([127, 0, 0, 1], 5353)));
        let mut is_inline = |query: Query| lanes.inline(&query.bytes(), source).is_some();
        let inline = QUESTIONS.iter().filter(|(name, kind)| is_inline(Query::new(name, *kind).edns(4096)));
        assert!(inline.count() >= QUESTIONS.len() - 3, "an alias, ANY, and perhaps a denial that is due");
        world.node.stop().await;
    }
}

/// Asks a server every question in every spelling, over UDP and TCP.
async fn ask_everything(server: SocketAddr) {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    // Not connected, so that a reply from elsewhere is seen.
    let socket = tokio::net::UdpSocket::bind(any).await.unwrap();
    let mut connection = Client::new(server).connect().await.unwrap();
    for (number, (name, kind)) in QUESTIONS.into_iter().enumerate() {
        for (spelled, spelling) in SPELLINGS.iter().enumerate() {
            let id = (number * SPELLINGS.len() + spelled) as u16;
            let query = (spelling.of)(Query::new(name, kind).id(id));
            socket.send_to(&query.bytes(), server).await.unwrap();
            connection.send(&query).await.unwrap();
            let mut reply = vec![0; 65_535];
            let received = tokio::time::timeout(PATIENCE, socket.recv_from(&mut reply)).await;
            let (len, from) = received.expect("a reply over UDP").unwrap();
            reply.truncate(len);
            let by_udp = Answer::parse(reply).unwrap();
            let by_tcp = connection.receive().await.unwrap();
            let case = format!("{server}: {name} {kind}, {}", spelling.name);
            assert_eq!(from, server, "{case}");
            assert!(len <= usize::from(spelling.size), "{case}: {len} bytes");
            if by_udp.message.metadata.truncation {
                assert!(by_tcp.raw.len() > len, "{case}");
            } else {
                assert_eq!(by_udp.raw, by_tcp.raw, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn what_has_arrived_when_a_node_stops_is_answered() {
    const EACH: u16 = 40;
    let world = World::start("bind 127.0.0.1").await;
    let late = Duration::from_millis(300);
    world.upstream.set("late.example.net.", Behaviour::Delay(late));
    world.upstream.add("late.example.net. 60 A 192.0.2.9");
    let clients = [(); CLIENTS].map(|()| client_at("127.0.0.1", world.node.dns));
    let question = |id: u16| match id % 4 {
        0 => Query::a("storefront.shop.svc.cluster.local."),
        1 => Query::a("kept.example.net."),
        // The general handler's: an alias, and what somebody has to wait for.
        2 => Query::a("mail.shop.svc.cluster.local."),
        _ => Query::a("late.example.net."),
    };
    let whole = |answer: &Answer| (answer.rcode(), answer.answers().is_empty(), answer.ede());
    for id in 0..EACH {
        clients.iter().for_each(|client| _ = client.send(&question(id).id(id).bytes()).unwrap());
    }
    // Nothing has been awaited since: of what goes through the runtime, nothing is done yet.
    world.node.stop().await;
    let received = tokio::task::spawn_blocking(move || {
        clients.map(|client| (0..EACH).map(|_| receive(&client)).collect::<Vec<_>>())
    });
    for mut answers in received.await.unwrap() {
        answers.sort_unstable_by_key(|answer| answer.message.id);
        for (answer, id) in answers.iter().zip(0..EACH) {
            assert_eq!(answer.message.id, id);
            assert_eq!(whole(answer), (ResponseCode::NoError, false, vec![]), "{id}");
        }
    }
}

#[tokio::test]
async fn a_client_that_floods_has_half_of_a_queue_and_loses_what_is_nobody_s_to_answer_at_once() {
    let world = World::start("bind 127.0.0.1").await;
    world.upstream.add("other.example.net. 60 A 192.0.2.7");
    let limited = |limit| world.node.metric(&format!("outlast_overload_total{{limit=\"{limit}\"}}"));
    // All of a client's datagrams come to one socket, in their order.
    let client = client_at("127.0.0.1", world.node.dns);
    let storefront = || Query::a("storefront.shop.svc.cluster.local.");
    let is_answered_at_once = |query: Query| {
        client.send(&query.bytes()).unwrap();
        let answer = receive(&client);
        assert_eq!((answer.rcode(), answer.answers().len()), (ResponseCode::NoError, 1));
    };
    let send_many = |bytes: &[u8], count: usize| {
        for sent in 1..=count {
            client.send(bytes).unwrap();
            // Not more at a time than a socket's buffer holds.
            if sent % 64 == 0 {
                is_answered_at_once(storefront());
            }
        }
    };

    // Nothing is awaited in here, so that nothing leaves the queue. What gets no reply does not come into it.
    let mut reply = Query::a("junk.example.net.").bytes();
    reply[2] |= 0x80;
    send_many(&reply, QUEUE);
    send_many(b"too short", QUEUE);
    // ANY is the general handler's.
    let any = Query::new("junk.example.net.", RecordType::ANY).bytes();
    send_many(&any, QUEUE / 2);
    assert_eq!(limited("udp_queue_per_client"), Some(0.0));
    client.send(&any).unwrap();
    let bare = receive(&client);
    assert_eq!((bare.rcode(), bare.raw.len()), (ResponseCode::ServFail, 12));
    client.send(&Query::a("fresh.example.net.").edns(1232).bytes()).unwrap();
    let whole = receive(&client);
    assert_eq!((whole.rcode(), whole.message.queries.len()), (ResponseCode::ServFail, 1));
    assert_eq!(whole.ede(), [(0, "more queries of this client come in than can be looked at".to_owned())]);
    is_answered_at_once(storefront());
    is_answered_at_once(Query::a("kept.example.net."));
    assert_eq!(limited("udp_queue_per_client"), Some(2.0));
    // Others have room, at whichever socket they are.
    let others = [(); OTHERS].map(|()| client_at("127.0.0.2", world.node.dns));
    for other in &others {
        other.send(&Query::a("other.example.net.").bytes()).unwrap();
    }
    // A name of the cluster that the lane leaves has a queue of its own, ahead of the others.
    let alias = Query::a("mail.shop.svc.cluster.local.").id(0xa11a);
    client.send(&alias.bytes()).unwrap();

    // It comes among the first, before the client's own buffer has no room for more.
    let received = tokio::task::spawn_blocking(move || {
        let is_among = (0..=QUEUE / 2).any(|_| receive(&client).message.id == 0xa11a);
        (is_among, others.map(|other| receive(&other).answers()))
    });
    let (is_among, others) = received.await.unwrap();
    assert!(is_among);
    for answers in others {
        assert!(matches!(&*answers, [answer] if answer.ends_with("192.0.2.7")), "{answers:?}");
    }
    assert_eq!((limited("udp_queue_per_client"), limited("udp_queue")), (Some(2.0), Some(0.0)));
    world.node.stop().await;
}

/// A client's socket, to be used without a runtime.
fn client_at(ip: &str, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server).unwrap();
    socket
}

/// The next reply.
fn receive(client: &UdpSocket) -> Answer {
    let mut bytes = vec![0; 65_535];
    let len = client.recv(&mut bytes).unwrap_or_else(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => panic!("no reply in {PATIENCE:?}"),
        _ => panic!("{error}"),
    });
    bytes.truncate(len);
    Answer::parse(bytes).unwrap()
}
