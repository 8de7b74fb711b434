//! What the lane leaves to the general handler, and what it says where that has no room.

use std::net::Ipv4Addr;

use hickory_proto::rr::RecordType;

use super::*;
use crate::node::opt::CLIENT_SUBNET;
use crate::node::test_support::{plugins, router};
use crate::ops::metrics::Metrics;
use crate::testkit::client::Query;

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
fn what_is_no_query_goes_nowhere() {
    let mut reply = Query::a("www.example.org.").bytes();
    reply[2] |= 0x80;
    let query = Query::a("www.example.org.").bytes();
    for (name, datagram) in [("nothing", &b""[..]), ("half a header", &query[..11]), ("a reply", &reply)] {
        assert!(matches!(outcome(HOSTS, datagram), Outcome::Silence), "{name}");
    }
    assert!(matches!(outcome(HOSTS, &query[..12]), Outcome::General { at_hand: false }));
}
