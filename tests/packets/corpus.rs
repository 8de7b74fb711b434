//! A corpus of malformed packets, over both transports. The first line of each file says what is wrong and,
//! behind the last colon, what comes back; the rest is the packet in hexadecimal.

use std::path::Path;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use outlast::testkit::client::{Answer, Query};
use tokio::net::UdpSocket;
use tokio::time::{Duration, timeout};

use super::fixture;

/// Longer than any reply takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fewest files that there have to be: an empty folder must not pass.
const FEWEST: usize = 90;

/// A file of the corpus.
struct Case {
    name: String,
    packet: Vec<u8>,
    /// `None` for silence.
    want: Option<ResponseCode>,
}

fn corpus() -> Vec<Case> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packets");
    let mut cases: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| read(&entry.unwrap().path())).collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(cases.len() >= FEWEST, "{} files", cases.len());
    cases
}

fn read(path: &Path) -> Case {
    let text = std::fs::read_to_string(path).unwrap();
    let (comment, hex) = text.split_once('\n').unwrap();
    let want = match comment.rsplit_once(": ").unwrap().1 {
        "silence" => None,
        "noerror" => Some(ResponseCode::NoError),
        "formerr" => Some(ResponseCode::FormErr),
        "servfail" => Some(ResponseCode::ServFail),
        "nxdomain" => Some(ResponseCode::NXDomain),
        "notimp" => Some(ResponseCode::NotImp),
        "refused" => Some(ResponseCode::Refused),
        "badvers" => Some(fixture::BADVERS),
        other => panic!("{}: {other}?", path.display()),
    };
    let digits: Vec<_> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    let packet = digits.chunks(2).map(byte).collect();
    Case { name: path.file_stem().unwrap().to_string_lossy().into_owned(), packet, want }
}

/// The question that tells the end of the replies to a packet; its id is none of the corpus's.
fn marker() -> Query {
    fixture::marker(0x0a0a)
}

/// A question that is asked after each packet.
fn next() -> Query {
    Query::a("storefront.shop.svc.cluster.local.").id(0x0a0b)
}

/// Its answer.
fn check_next(name: &str, answer: &Answer) {
    let want = "storefront.shop.svc.cluster.local. 0 IN A 10.96.14.20";
    assert_eq!(answer.answers(), [want], "{name}: the node goes on");
}

/// What came back for a packet, and then for the marker.
fn check(case: &Case, replies: &[Vec<u8>]) {
    let name = &case.name;
    let (marker, replies) = replies.split_last().unwrap();
    let marker = Answer::parse(marker.clone()).unwrap();
    assert_eq!(marker.rcode(), ResponseCode::ServFail, "{name}: nobody is behind the zone");
    let Some(want) = case.want else {
        assert!(replies.is_empty(), "{name}: {replies:02x?}");
        return;
    };
    let [reply] = replies else { panic!("{name}: {} replies", replies.len()) };
    let message = Message::from_vec(reply).unwrap();
    assert_eq!(message.metadata.response_code, want, "{name}");
    assert_eq!(message.metadata.message_type, MessageType::Response, "{name}");
    assert_eq!(reply[..2], case.packet[..2], "{name}: the id");
}

fn is_marker(reply: &[u8]) -> bool {
    reply.starts_with(&[0x0a, 0x0a])
}

#[tokio::test]
async fn over_udp() {
    let fixture = fixture::base().await;
    for case in corpus() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(fixture.node.dns).await.unwrap();
        let receive = async || {
            let mut buffer = vec![0; 4096];
            let received = timeout(PATIENCE, socket.recv(&mut buffer)).await;
            buffer.truncate(received.unwrap_or_else(|_| panic!("{}: no reply", case.name)).unwrap());
            buffer
        };
        let mut replies = Vec::new();
        socket.send(&case.packet).await.unwrap();
        if case.want.is_some() {
            // What is answered inline and what is not have no order among them.
            replies.push(receive().await);
        }
        socket.send(&marker().bytes()).await.unwrap();
        while !replies.last().is_some_and(|r: &Vec<u8>| is_marker(r)) {
            replies.push(receive().await);
        }
        check(&case, &replies);
        check_next(&case.name, &fixture.client.udp(&next()).await.unwrap());
    }
    assert_eq!(fixture.node.metric("coredns_panics_total"), Some(0.0));
}

#[tokio::test]
async fn over_tcp() {
    let fixture = fixture::base().await;
    let mut connection = fixture.client.connect().await.unwrap();
    for case in corpus() {
        connection.send(&Query::raw(case.packet.clone())).await.unwrap();
        connection.send(&marker()).await.unwrap();
        let mut replies = Vec::new();
        while !replies.last().is_some_and(|r: &Vec<u8>| is_marker(r)) {
            let reply = connection.receive().await.unwrap_or_else(|e| panic!("{}: {e}", case.name));
            replies.push(reply.raw.to_vec());
        }
        check(&case, &replies);
        connection.send(&next()).await.unwrap();
        check_next(&case.name, &connection.receive().await.unwrap());
    }
    assert_eq!(fixture.node.metric("coredns_panics_total"), Some(0.0));
}
