//! DNS over TCP as clients use it (RFC 7766): many queries on one connection, answered as they are ready.
//!
//! Limits and timeouts are tested beside the listener, where they can be made short.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::collections::HashSet;

use outlast::testkit::client::{Answer, Query};
use outlast::testkit::node::TestNode;
use outlast::testkit::upstream::{Behaviour, FakeUpstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

/// A node that forwards to an upstream which knows `www.test.`
async fn start() -> (TestNode, FakeUpstream) {
    let upstream = FakeUpstream::start("www.test. 60 A 192.0.2.1\nslow.test. 60 A 192.0.2.2").await;
    let corefile = format!(".:0 {{\n bind 127.0.0.1\n forward . {}\n}}", upstream.addr());
    (TestNode::start(&corefile), upstream)
}

fn framed(query: &Query) -> Vec<u8> {
    let message = query.bytes();
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

/// CoreDNS keeps the order: RFC 7766 §6.2.1.1 asks for answers as they are ready, and a cluster
/// name must not wait behind an upstream.
#[tokio::test]
async fn a_query_that_waits_does_not_hold_up_the_next() {
    let (node, upstream) = start().await;
    upstream.set("silent.test.", Behaviour::Silent);
    let mut connection = node.client().connect().await.unwrap();
    connection.send(&Query::a("silent.test.").id(1)).await.unwrap();
    connection.send(&Query::a("www.test.").id(2)).await.unwrap();
    let first = connection.receive().await.unwrap();
    assert_eq!(first.message.metadata.id, 2);
    assert_eq!(first.answers(), ["www.test. 60 IN A 192.0.2.1"]);
}

/// More than may be at work at one time: the rest waits its turn in the connection.
#[tokio::test]
async fn two_hundred_queries_on_one_connection_are_all_answered() {
    let (node, upstream) = start().await;
    upstream.set("slow.test.", Behaviour::Delay(Duration::from_millis(20)));
    let name = |i| if i % 3 == 0 { "slow.test." } else { "www.test." };
    let mut bytes = Vec::new();
    for id in 0..200 {
        bytes.extend(framed(&Query::a(name(id)).id(id)));
    }
    let mut connection = node.client().connect().await.unwrap();
    connection.send_bytes(&bytes).await.unwrap();
    let mut ids = HashSet::new();
    for _ in 0..200 {
        let reply = connection.receive().await.unwrap();
        let id = reply.message.metadata.id;
        assert_eq!(reply.message.queries[0].name().to_ascii(), name(id));
        assert_eq!(reply.message.answers.len(), 1);
        ids.insert(id);
    }
    assert_eq!(ids.len(), 200);
}

/// Neither is a message of no bytes, nor one that is no query, the end of a connection.
#[tokio::test]
async fn what_gets_no_reply_does_not_end_the_connection() {
    let (node, _upstream) = start().await;
    let mut connection = node.client().connect().await.unwrap();
    let mut response = Query::a("www.test.").bytes();
    response[2] |= 0x80;
    connection.send_bytes(&[0, 0]).await.unwrap();
    connection.send(&Query::raw(response)).await.unwrap();
    connection.send_bytes(&[0, 3, b'x', b'y', b'z']).await.unwrap();
    connection.send(&Query::a("www.test.").id(7)).await.unwrap();
    assert_eq!(connection.receive().await.unwrap().message.metadata.id, 7);
}

#[tokio::test]
async fn a_client_that_has_said_all_still_gets_its_answers() {
    let (node, upstream) = start().await;
    upstream.set("slow.test.", Behaviour::Delay(Duration::from_millis(100)));
    let mut stream = TcpStream::connect(node.dns).await.unwrap();
    let queries = [framed(&Query::a("slow.test.").id(1)), framed(&Query::a("www.test.").id(2))].concat();
    stream.write_all(&queries).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.expect("it ends").unwrap();
    let mut ids = Vec::new();
    let mut rest = &bytes[..];
    while let Some((len, tail)) = rest.split_first_chunk::<2>() {
        let (message, tail) = tail.split_at(usize::from(u16::from_be_bytes(*len)));
        let reply = Answer::parse(message.to_vec()).unwrap();
        assert_eq!(reply.message.answers.len(), 1);
        ids.push(reply.message.metadata.id);
        rest = tail;
    }
    assert_eq!(ids, [2, 1]);
}

/// A query may come in as many segments as it has bytes.
#[tokio::test]
async fn a_query_in_pieces_is_put_together() {
    let (node, _upstream) = start().await;
    let mut connection = node.client().connect().await.unwrap();
    for byte in framed(&Query::a("www.test.").id(5)) {
        connection.send_bytes(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.receive().await.unwrap().message.metadata.id, 5);
}
