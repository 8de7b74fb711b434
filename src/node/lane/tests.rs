//! What the lane leaves to the general handler, and what it says where that has no room.

use std::net::Ipv4Addr;

use hickory_proto::rr::RecordType;
use metrics::Counter;

use super::*;
use crate::node::opt::CLIENT_SUBNET;
use crate::node::router::{Block, Route};
use crate::node::test_support::{plugins, router};
use crate::ops::dns_metrics::ServerMetrics;
use crate::ops::metrics::Metrics;
use crate::testkit::client::{Answer, Query};
use crate::testkit::lanes::{Crowd, Lanes};

const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 5353);

/// Some hosts, for whom other names go on.
const HOSTS: &str = "hosts /dev/null {\n 192.0.2.10 www.example.org\n fallthrough\n}";

/// What the lane of a block with these plugins makes of a datagram.
fn outcome(body: &str, datagram: &[u8]) -> Outcome {
    let (router, mut worker) = (router(plugins(body).unwrap()), Worker::new(Metrics::new().shard()));
    answer(&router, datagram, CLIENT, &mut worker, &mut [0; 4096]).0
}

#[test]
fn questions_whose_answers_are_at_hand_go_ahead() {
    let (www, other) = (|| Query::a("www.example.org."), || Query::a("other.example.org."));
    let any = |name: &'static str| Query::new(name, RecordType::ANY);
    let subnet = |query: Query| query.option(CLIENT_SUBNET, b"\0\x01\x18\0\xc0\0\x02");
    let ptr = |name: &'static str| Query::new(name, RecordType::PTR);
    let cached = &format!("cache\n{HOSTS}");
    let rewritten = &format!("rewrite name a. b.\n{HOSTS}");
    for (name, body, query, at_hand) in [
        ("a host", HOSTS, www(), true),
        ("no host", HOSTS, other(), false),
        ("a host's address", HOSTS, ptr("10.2.0.192.in-addr.arpa."), true),
        ("another address", HOSTS, ptr("11.2.0.192.in-addr.arpa."), false),
        ("where no name falls through", "hosts /dev/null {\n 192.0.2.10 a.test\n}", other(), true),
        ("behind a cache", cached, www(), true),
        ("no host behind a cache", cached, other(), false),
        ("behind what is not known here", rewritten, www(), true),
        ("ANY of a host", cached, any("www.example.org."), true),
        ("ANY of no host", cached, any("other.example.org."), false),
        ("DS of a host", cached, Query::new("www.example.org.", RecordType::DS), true),
        ("a host with a client subnet", cached, subnet(www()), true),
        ("no host with a client subnet", cached, subnet(other()), false),
        ("localhost", "local", Query::a("localhost."), true),
        ("localhost below a name", "local", Query::a("localhost.example.org."), true),
        ("a loopback address", "local", ptr("1.0.0.127.in-addr.arpa."), true),
        ("not localhost", "local", www(), false),
    ] {
        match outcome(body, &query.bytes()) {
            Outcome::General { at_hand: is } => assert_eq!(is, at_hand, "{name}"),
            Outcome::Reply { .. } | Outcome::Silence => panic!("{name} is the general handler's"),
        }
    }
}

#[test]
fn who_only_asks_whether_somebody_is_there_hears_it_at_once() {
    let status = [0x12, 0x34, 2 << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let longer = [&status[..], b"whatever"].concat();
    for (name, datagram) in [("a header alone", &status[..]), ("with something behind it", &longer)] {
        let (router, mut worker) = (router(plugins(HOSTS).unwrap()), Worker::new(Metrics::new().shard()));
        let mut buffer = [0; 4096];
        let (outcome, counted) = answer(&router, datagram, CLIENT, &mut worker, &mut buffer);
        assert!(matches!(outcome, Outcome::Reply { len: 12, seen: None }), "{name}");
        assert!(counted.is_none(), "{name}: probes are no queries");
        assert_eq!(buffer[..4], [0x12, 0x34, 0x90, 4], "{name}: NOTIMP");
    }
    // A notification is somebody's.
    let notify = [0x12, 0x34, 4 << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(outcome(HOSTS, &notify), Outcome::General { .. }));
}

#[test]
fn what_is_no_query_goes_nowhere() {
    let mut reply = Query::a("www.example.org.").bytes();
    reply[2] |= 0x80;
    let query = Query::a("www.example.org.").bytes();
    for (name, datagram) in [("nothing", &b""[..]), ("half a header", &query[..11]), ("a reply", &reply)] {
        assert!(matches!(outcome(HOSTS, datagram), Outcome::Silence), "{name}");
    }
    assert!(matches!(outcome(HOSTS, &query[..12]), Outcome::General { at_hand: false }));
}

/// The lane's reply where the general handler has no room.
fn crowd(body: &str, query: &Query) -> Crowd {
    Lanes::of_router(router(plugins(body).unwrap()), &Metrics::new()).crowded(&query.bytes(), CLIENT)
}

#[test]
fn who_gets_no_reply_gets_none_where_there_is_no_room() {
    let drops = format!("acl {{\n drop type A ANY net 10.0.0.0/8\n}}\n{HOSTS}");
    let blocks = format!("acl {{\n block net 10.0.0.0/8\n}}\n{HOSTS}");
    let name = "www.example.org.";
    for kind in [RecordType::A, RecordType::ANY] {
        let crowd = crowd(&drops, &Query::new(name, kind));
        assert!(matches!(crowd, Crowd::Silence), "{kind}: {crowd:?}");
    }
    for (body, kind) in [(&drops, RecordType::AAAA), (&blocks, RecordType::A)] {
        let crowd = crowd(body, &Query::new(name, kind));
        assert!(matches!(crowd, Crowd::Refused(_)), "{kind}: {crowd:?}");
    }
}

#[test]
fn a_reply_where_there_is_no_room_is_framed_as_any_other() {
    let body = format!("bufsize 600\n{HOSTS}");
    let Crowd::Refused(reply) = crowd(&body, &Query::a("www.example.org.").edns(4096)) else {
        panic!("a host's addresses are not the lane's")
    };
    let answer = Answer::parse(reply).unwrap();
    assert_eq!(answer.rcode(), ResponseCode::ServFail);
    assert_eq!(answer.message.edns.unwrap().max_payload(), 600);
}

#[tokio::test(start_paused = true)]
async fn both_ways_refuse_what_no_block_is_for() {
    let world = || {
        let metrics = Arc::new(Metrics::new());
        let server = Arc::new(ServerMetrics::new(&metrics, "dns://:53", &["example.org.".to_owned()]));
        let block = Arc::new(Block { plugins: plugins("prometheus localhost:0\nwhoami").unwrap().into() });
        let routes = vec![Route { zone: Labels::parse("example.org").unwrap(), block }];
        let router = Router::new("dns://:53".to_owned(), routes, server, Counter::noop());
        (Lanes::of_router(router, &metrics), metrics)
    };
    let ((mut lane, counted_inline), (general, counted)) = (world(), world());
    let other = || Query::a("Other.Example.");
    for (name, query) in [
        ("plain", other()),
        ("without RD", other().rd(false)),
        ("CD and AD", other().cd().ad()),
        ("with EDNS", other().edns(1232)),
        ("a small size", other().edns(7)),
        ("DO", other().edns(4096).dnssec_ok()),
        ("with a cookie and a question for the server", other().option(10, b"12345678").option(3, b"")),
    ] {
        let reply = general.general(&query.bytes(), CLIENT, "127.0.0.1:53".parse().unwrap()).await.unwrap();
        assert_eq!(Answer::parse(reply.clone()).unwrap().rcode(), ResponseCode::Refused, "{name}");
        assert_eq!(lane.inline(&query.bytes(), CLIENT), Some(reply), "{name}");
    }
    let [inline, general] = [counted_inline, counted].map(|metrics| {
        metrics.upkeep();
        let lines = |text: String| -> Vec<_> {
            text.lines().filter(|line| line.contains("zone=\"dropped\"")).map(str::to_owned).collect()
        };
        lines(metrics.render())
    });
    assert!(
        general.iter().any(|line| line.starts_with("coredns_dns_requests_total") && line.ends_with(" 7"))
    );
    assert_eq!(inline, general);
}
