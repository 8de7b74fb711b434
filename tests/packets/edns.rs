//! Case group B2: sizes, truncation, and the OPT record.
//!
//! 436 and 442 are in `plugins.rs`. 438 asks nothing of a server: tests here parse replies and do not depend on
//! compression.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use outlast::testkit::client::{Answer, Query};

use super::fixture;

const HERD: &str = "herd.shop.svc.cluster.local.";
const STOREFRONT: &str = "storefront.shop.svc.cluster.local.";

/// EDNS options: codes and data.
type Options = Vec<(u16, Vec<u8>)>;

/// Size, flags and options of a reply's OPT record, as they stand at its end.
fn opt(reply: &Answer) -> Option<(u16, u16, Options)> {
    let edns = reply.message.edns.as_ref()?;
    let options: Options = edns
        .options()
        .as_ref()
        .iter()
        .map(|(code, option)| (u16::from(*code), Vec::try_from(option).unwrap()))
        .collect();
    let len = 11 + options.iter().map(|(_, data)| 4 + data.len()).sum::<usize>();
    // The parser raises sizes below 512; the bytes tell.
    let raw = &reply.raw[reply.raw.len() - len..];
    assert_eq!(raw[..3], [0, 0, 41], "the OPT record is the last");
    Some((u16::from_be_bytes([raw[3], raw[4]]), u16::from_be_bytes([raw[7], raw[8]]), options))
}

#[tokio::test]
async fn sizes_and_options() {
    struct Case {
        row: u16,
        query: Query,
        tcp: bool,
        tc: bool,
        /// Records in the answer and the additional section.
        counts: [usize; 2],
        /// Bytes at most.
        max: usize,
        opt: Option<(u16, u16, Options)>,
    }
    let none = Options::new();
    let herd =
        Case { row: 431, query: Query::a(HERD), tcp: false, tc: false, counts: [60, 0], max: 512, opt: None };
    let storefront = || Query::a(STOREFRONT);
    let srv = |name: &str| Query::new(name, RecordType::SRV);
    let one = Case { row: 439, query: storefront(), counts: [1, 0], opt: None, ..herd };
    let cases = [
        Case { row: 431, query: Query::a(HERD), tc: true, counts: [29, 0], max: 509, opt: None, ..herd },
        Case {
            row: 432,
            query: Query::a(HERD).edns(1232),
            max: 1016,
            opt: Some((1232, 0, none.clone())),
            ..herd
        },
        Case {
            row: 433,
            query: Query::a(HERD).edns(4096),
            max: 1480,
            opt: Some((4096, 0, none.clone())),
            ..herd
        },
        Case {
            row: 434,
            query: Query::a(HERD).edns(300),
            tc: true,
            counts: [28, 0],
            opt: Some((300, 0, none.clone())),
            ..herd
        },
        Case { row: 435, query: Query::a(HERD), tcp: true, max: 2625, opt: None, ..herd },
        Case {
            row: 437,
            query: srv(&format!("_p._tcp.{HERD}")),
            tc: true,
            counts: [7, 0],
            opt: None,
            ..herd
        },
        Case { row: 439, query: storefront().dnssec_ok(), opt: Some((1232, 0x8000, none.clone())), ..one },
        Case {
            row: 440,
            query: storefront().option(10, b"12345678"),
            opt: Some((1232, 0, vec![(10, b"12345678".to_vec())])),
            ..one
        },
        Case {
            row: 441,
            query: storefront().option(8, &[0, 1, 24, 0, 192, 0, 2]),
            opt: Some((1232, 0, none.clone())),
            ..one
        },
        // Both SRV records and one of two addresses fit beside the padding.
        Case {
            row: 443,
            query: srv("_sql._tcp.ledger.shop.svc.cluster.local.").edns(512).option(12, &[0; 302]),
            tc: true,
            counts: [2, 1],
            opt: Some((512, 0, vec![(12, vec![0; 302])])),
            ..herd
        },
        Case {
            row: 444,
            query: Query::a("nosuch.shop.svc.cluster.local.").edns(1232),
            counts: [0, 0],
            opt: Some((1232, 0, none)),
            ..herd
        },
    ];
    let fixture = fixture::base().await;
    for Case { row, query, tcp, tc, counts, max, opt: want } in cases {
        let client = fixture.client;
        let reply = if tcp { client.tcp(&query).await } else { client.udp(&query).await }.unwrap();
        let message = &reply.message;
        assert_eq!(message.metadata.truncation, tc, "row {row}: TC");
        assert_eq!([message.answers.len(), message.additionals.len()], counts, "row {row}");
        let limit = max.max(if tcp { 0 } else { usize::from(want.as_ref().map_or(512, |o| o.0)) });
        assert!(reply.raw.len() <= limit, "row {row}: {} bytes", reply.raw.len());
        assert_eq!(opt(&reply), want, "row {row}: OPT");
        assert!(!message.metadata.authentic_data, "row {row}: AD");
        let (rcode, soa) = if row == 444 { (ResponseCode::NXDomain, 1) } else { (ResponseCode::NoError, 0) };
        assert_eq!((reply.rcode(), message.authorities.len()), (rcode, soa), "row {row}");
    }
}

#[tokio::test]
async fn sizes_are_exact() {
    let fixture = fixture::base().await;
    for (query, want) in [(Query::a(HERD), 509), (Query::a(HERD).edns(1232), 1016)] {
        assert_eq!(fixture.client.udp(&query).await.unwrap().raw.len(), want);
    }
}

#[tokio::test]
async fn the_question_and_the_owner_names_keep_their_letter_case() {
    let fixture = fixture::base().await;
    let name = "sToReFrOnT.Shop.SVC.Cluster.LOCAL.";
    let reply = fixture.client.udp(&Query::a(name)).await.unwrap();
    assert_eq!(reply.answers(), [format!("{name} 0 IN A 10.96.14.20")]);
    assert_eq!(reply.message.queries[0].name().to_ascii(), name);
    let reply = fixture.client.udp(&Query::a("noSuch.Cluster.LOCAL.")).await.unwrap();
    assert!(reply.authorities()[0].starts_with("Cluster.LOCAL. 0 IN SOA ns.dns.Cluster.LOCAL. "));
}

#[tokio::test]
async fn padding_longer_than_what_the_client_takes_does_not_cost_it_the_reply() {
    let fixture = fixture::base().await;
    let query = Query::a(STOREFRONT).edns(512).option(12, &[0; 530]);
    let reply = fixture.client.udp(&query).await.unwrap();
    assert_eq!(reply.message.answers.len(), 1);
    assert_eq!(opt(&reply), Some((512, 0, vec![])));
}
