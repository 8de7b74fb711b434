//! Case group B1: what becomes of a packet before, instead of, and on the way to plugins.
//!
//! Not here: the log line of 419, which is among the unit tests of `errors`; 420 is in `tests/tcp.rs`, 421 among the
//! unit tests of the TCP listener.

use hickory_proto::op::{OpCode, ResponseCode};
use hickory_proto::rr::RecordType;
use outlast::testkit::client::{Answer, Query};
use outlast::testkit::upstream::FakeUpstream;
use tokio::net::UdpSocket;
use tokio::time::{Duration, timeout};

use super::fixture;

/// How long a reply may take: only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

const NAME: &str = "storefront.shop.svc.cluster.local.";

/// A query with bytes of its header changed.
fn edited(query: &Query, edits: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = query.bytes();
    for (at, byte) in edits {
        bytes[*at] = *byte;
    }
    bytes
}

fn asked() -> Query {
    Query::a(NAME).id(0x1234)
}

#[tokio::test]
async fn packets_that_get_no_reply_or_a_bare_one() {
    const FORMERR: Option<&[u8]> = Some(b"\x12\x34\x81\x01\0\0\0\0\0\0\0\0");
    struct Case {
        row: u16,
        packet: Vec<u8>,
        want: Option<&'static [u8]>,
    }
    let two_questions = {
        let mut bytes = edited(&asked(), &[(5, 2)]);
        bytes.extend_from_within(12..);
        bytes
    };
    let records = |count: u8| {
        let mut bytes = edited(&asked().edns(1232), &[(11, count)]);
        bytes.extend((1..count).flat_map(|_| *b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01"));
        bytes
    };
    let looping = [&asked().bytes()[..12], b"\x03www\xc0\x0c\0\x01\0\x01"].concat();
    let cases = [
        Case { row: 401, packet: asked().bytes()[..11].to_vec(), want: None },
        Case { row: 402, packet: edited(&asked(), &[(2, 0x81)]), want: None },
        Case { row: 403, packet: asked().opcode(5).bytes(), want: Some(b"\x12\x34\xa9\x04\0\0\0\0\0\0\0\0") },
        Case { row: 404, packet: asked().opcode(2).bytes(), want: Some(b"\x12\x34\x91\x04\0\0\0\0\0\0\0\0") },
        Case { row: 405, packet: edited(&asked(), &[(5, 0)]), want: FORMERR },
        Case { row: 406, packet: two_questions, want: FORMERR },
        Case { row: 407, packet: edited(&asked(), &[(7, 2)]), want: FORMERR },
        Case { row: 408, packet: records(3), want: FORMERR },
        Case { row: 409, packet: looping, want: FORMERR },
    ];
    let fixture = fixture::base().await;
    for Case { row, packet, want } in cases {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(fixture.node.dns).await.unwrap();
        socket.send(&packet).await.unwrap();
        // This one's answer is the end of silence. It may be there first: replies come in no order.
        socket.send(&fixture::marker(0xffff).bytes()).await.unwrap();
        let (mut got, mut silent) = (None, false);
        while !silent || (got.is_none() && want.is_some()) {
            let mut buffer = [0; 512];
            let received = timeout(PATIENCE, socket.recv(&mut buffer)).await;
            let len = received.unwrap_or_else(|_| panic!("row {row}: nothing came")).unwrap();
            if buffer[..2] == [0xff; 2] {
                silent = true;
            } else {
                got = Some(buffer[..len].to_vec());
            }
        }
        assert_eq!(got.as_deref(), want, "row {row}");
    }
    // Two additional records are as many as there may be.
    let reply = fixture.client.udp(&Query::raw(records(2))).await.unwrap();
    assert_eq!(reply.rcode(), ResponseCode::NoError);
}

#[tokio::test]
async fn queries_that_pass_the_gate() {
    struct Case {
        row: u16,
        query: Query,
        rcode: ResponseCode,
        answers: usize,
        /// The third and fourth byte of the reply, which say all but the rcode.
        flags: [u8; 2],
    }
    let ok = (ResponseCode::NoError, 1);
    let cases = [
        // CoreDNS reads 512 bytes and says FORMERR; here queries of up to 4,096 bytes are read and answered.
        Case { row: 410, query: asked().option(12, &[0; 530]), rcode: ok.0, answers: ok.1, flags: [0x85, 0] },
        Case {
            row: 411,
            query: asked().edns_version(1),
            rcode: fixture::BADVERS,
            answers: 0,
            flags: [0x81, 0],
        },
        Case {
            row: 422,
            query: Query::new("cluster.local.", RecordType::SOA).opcode(4),
            rcode: ok.0,
            answers: 1,
            flags: [0xa4, 0],
        },
        Case {
            row: 423,
            query: asked().rd(false).ad().cd(),
            rcode: ok.0,
            answers: ok.1,
            flags: [0x84, 0x10],
        },
        Case { row: 423, query: asked(), rcode: ok.0, answers: ok.1, flags: [0x85, 0] },
    ];
    let fixture = fixture::base().await;
    for Case { row, query, rcode, answers, flags } in cases {
        let reply = fixture.client.udp(&query).await.unwrap();
        assert_eq!((reply.rcode(), reply.message.answers.len()), (rcode, answers), "row {row}");
        assert_eq!(reply.raw[2..4], flags, "row {row}");
        echoes(&query, &reply);
    }
}

/// The question of the reply is the query's, byte for byte.
fn echoes(query: &Query, reply: &Answer) {
    let (query, question) = (query.bytes(), 12..12 + reply.message.queries[0].name().len() + 1 + 4);
    assert_eq!(reply.raw[question.clone()], query[question]);
}

#[tokio::test]
async fn badvers_says_our_version_in_its_exact_bytes() {
    let fixture = fixture::base().await;
    let query = asked().edns_version(3).dnssec_ok();
    let reply = fixture.client.udp(&query).await.unwrap();
    let question = &query.bytes()[12..12 + NAME.len() + 1 + 4];
    let want = [&b"\x12\x34\x81\0\0\x01\0\0\0\0\0\x01"[..], question, b"\0\0\x29\0\0\x01\0\0\0\0\0"].concat();
    assert_eq!(reply.raw, want);
}

#[tokio::test]
async fn blocks_and_classes() {
    struct Case {
        row: u16,
        corefile: &'static str,
        query: Query,
        rcode: ResponseCode,
        answers: &'static [&'static str],
    }
    const CLUSTER: &str = "cluster.local:0 {\n BIND\n KUBE\n}";
    let version = || Query::new("version.bind.", RecordType::TXT).class(3);
    let refused =
        |row, corefile, query| Case { row, corefile, query, rcode: ResponseCode::Refused, answers: &[] };
    let cases = [
        refused(412, ".:0 {\n BIND\n KUBE\n}", version()),
        Case {
            row: 413,
            corefile: ".:0 {\n BIND\n KUBE\n forward . STUB\n}",
            query: version(),
            rcode: ResponseCode::NoError,
            answers: &["version.bind. 0 IN TXT \"stub\""],
        },
        Case {
            row: 414,
            corefile: ".:0 {\n BIND\n KUBE\n chaos Shelf-1 me\n}",
            query: version(),
            rcode: ResponseCode::NoError,
            answers: &["version.bind. 0 CH TXT \"Shelf-1\""],
        },
        // As CoreDNS: where another class has a way to the plugins, the cluster's records are of class IN.
        Case {
            row: 415,
            corefile: ".:0 {\n BIND\n KUBE\n forward . STUB\n}",
            query: asked().class(3),
            rcode: ResponseCode::NoError,
            answers: &["storefront.shop.svc.cluster.local. 0 IN A 10.96.14.20"],
        },
        refused(416, CLUSTER, Query::a("Example.Com.").edns(1232)),
        refused(417, "example.org:0 {\n BIND\n}", Query::a("example.org.")),
        refused(418, CLUSTER, Query::new("1.2.0.192.in-addr.arpa.", RecordType::PTR)),
        Case {
            row: 419,
            corefile: ".:0 {\n BIND\n KUBE\n}",
            query: Query::a("example.com."),
            rcode: ResponseCode::ServFail,
            answers: &[],
        },
    ];
    for Case { row, corefile, query, rcode, answers } in cases {
        let upstream = FakeUpstream::start("version.bind. 0 TXT stub").await;
        let corefile = corefile.replace("STUB", &upstream.addr().to_string());
        let fixture = fixture::start(&corefile).await;
        for reply in [fixture.client.udp(&query).await.unwrap(), fixture.client.tcp(&query).await.unwrap()] {
            assert_eq!(
                (reply.rcode(), &reply.answers()[..]),
                (rcode, &answers.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "row {row}"
            );
            let ours = answers.first().is_some_and(|a| a.starts_with("storefront"));
            assert_eq!(reply.message.metadata.authoritative, ours, "row {row}");
            echoes(&query, &reply);
            assert_eq!(reply.message.edns.is_some(), row == 416, "row {row}");
        }
        let forwarded = upstream.seen();
        assert_eq!(forwarded.len(), if row == 413 { 2 } else { 0 }, "row {row}");
        assert!(forwarded.iter().all(|seen| seen.raw.ends_with(&[0, 16, 0, 3])), "row {row}: class CH");
        let dropped = fixture.node.scrape().lines().any(|l| {
            l.starts_with("coredns_dns_responses_total{")
                && l.contains("zone=\"dropped\"")
                && l.ends_with(" 2")
        });
        assert_eq!(dropped, matches!(row, 412 | 416 | 418), "row {row}");
    }
}

#[tokio::test]
async fn the_opcode_is_kept() {
    let fixture = fixture::base().await;
    let reply = fixture.client.udp(&asked().opcode(4)).await.unwrap();
    assert_eq!(reply.message.metadata.op_code, OpCode::Notify);
}
