//! Case groups B2 and B5 as far as small plugins decide them: what a client gets of the cluster's names.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::EdnsCode;
use outlast::testkit::client::{Answer, Query};
use tokio::net::UdpSocket;

use super::fixture;

const HERD: &str = "herd.shop.svc.cluster.local.";
const STOREFRONT: &str = "storefront.shop.svc.cluster.local.";

/// What a case looks at in a reply.
fn nsid(reply: &Answer) -> Option<Vec<u8>> {
    let option = reply.message.edns.as_ref()?.option(EdnsCode::NSID)?;
    Vec::try_from(option).ok()
}

#[tokio::test]
async fn plugins_change_replies() {
    struct Case {
        row: u16,
        plugin: &'static str,
        query: Query,
        check: fn(&Answer) -> bool,
    }
    let storefront = || Query::a(STOREFRONT);
    let cases = [
        Case {
            row: 436,
            plugin: "bufsize 600",
            query: Query::a(HERD).edns(4096),
            check: |reply| {
                let message = &reply.message;
                let size = message.edns.as_ref().map(|edns| edns.max_payload());
                message.metadata.truncation && message.answers.len() == 34 && size == Some(600)
            },
        },
        Case {
            row: 442,
            plugin: "nsid node-7",
            query: storefront().option(3, b""),
            check: |reply| nsid(reply).as_deref() == Some(b"node-7"),
        },
        Case {
            row: 525,
            plugin: "hosts /nowhere {\n 10.1.2.3 reg.corp.example\n fallthrough\n reload 0\n }",
            query: Query::new("3.2.1.10.in-addr.arpa.", RecordType::PTR),
            check: |reply| reply.answers() == ["3.2.1.10.in-addr.arpa. 3600 IN PTR reg.corp.example."],
        },
        Case {
            row: 537,
            plugin: "header {\n response set ra\n }",
            query: storefront(),
            check: |reply| reply.message.metadata.recursion_available && reply.message.metadata.authoritative,
        },
        Case {
            row: 538,
            plugin: "minimal",
            query: Query::new("_sql._tcp.ledger.shop.svc.cluster.local.", RecordType::SRV),
            check: |reply| reply.answers().len() == 2 && reply.additionals().is_empty(),
        },
        Case {
            row: 539,
            plugin: "any",
            query: Query::new(STOREFRONT, RecordType::ANY),
            check: |reply| {
                let hinfo = reply.answers().concat().replace('"', "");
                hinfo == format!("{STOREFRONT} 8482 IN HINFO ANY obsoleted See RFC 8482")
                    && !reply.message.metadata.authoritative
            },
        },
        Case {
            row: 540,
            plugin: "acl {\n block net 127.0.0.0/8\n }",
            query: storefront(),
            check: |reply| reply.rcode() == ResponseCode::Refused && reply.ede() == [(15, String::new())],
        },
    ];
    for Case { row, plugin, query, check } in cases {
        let with = fixture::start(&format!(".:0 {{\n BIND\n {plugin}\n KUBE\n}}")).await;
        let reply = with.client.udp(&query).await.unwrap();
        assert!(check(&reply), "row {row}: {:?}", reply.message);
        let without = fixture::base().await;
        let reply = without.client.udp(&query).await.unwrap();
        assert!(!check(&reply), "row {row} without the plugin: {:?}", reply.message);
    }
}

/// What is dropped gets no reply; the query behind it does.
#[tokio::test]
async fn what_is_dropped_gets_no_reply() {
    let node = fixture::start(".:0 {\n BIND\n acl {\n drop type TXT\n }\n KUBE\n}").await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for query in [Query::new(STOREFRONT, RecordType::TXT).id(1), Query::a(STOREFRONT).id(2)] {
        socket.send_to(&query.bytes(), node.node.dns).await.unwrap();
    }
    let mut buffer = [0; 512];
    let len = socket.recv(&mut buffer).await.unwrap();
    assert_eq!(Message::from_vec(&buffer[..len]).unwrap().metadata.id, 2);
    let dropped = "coredns_acl_dropped_requests_total{server=\"dns://127.0.0.1:0\",zone=\".\",view=\"\"}";
    assert_eq!(node.node.metric(dropped), Some(1.0));
}
