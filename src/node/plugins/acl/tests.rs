//! Whole blocks, from the Corefile to replies and metrics.

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};

use super::*;
use crate::node::test_support::{Ask, Scene, address, plugins};

fn scene(lines: &str) -> Scene {
    let body = format!("acl {{\n {lines}\n}}");
    with(&body)
}

fn with(body: &str) -> Scene {
    Scene::new(body, |query| {
        let answers = vec![address(&query.name().to_ascii(), "192.0.2.1")];
        Reply { answers, ..Reply::new(ResponseCode::NoError, "last") }.into()
    })
}

/// `answer`, `drop`, or the rcode with the EDE code.
async fn verdict(scene: &Scene, ask: &Ask) -> String {
    let Some(message) = scene.message(ask).await else { return "drop".to_owned() };
    match ede(&message) {
        Some(code) => format!("{:?} {code}", message.metadata.response_code),
        None => "answer".to_owned(),
    }
}

fn ede(message: &Message) -> Option<u16> {
    let option = message.edns.as_ref()?.option(EdnsCode::Unknown(15))?;
    let EdnsOption::Unknown(15, data) = option else { return None };
    Some(u16::from_be_bytes([data[0], data[1]]))
}

const PROBE: Ask = Ask {
    name: "example.org.",
    kind: RecordType::A,
    class: hickory_proto::rr::DNSClass::IN,
    id: 7,
    recursion_desired: true,
    checking_disabled: false,
    edns: None,
    options: &[],
    protocol: hickory_server::net::xfer::Protocol::Udp,
    source: "10.244.5.9:4000",
    local: "10.96.0.10:53",
};

#[tokio::test]
async fn acl_block() {
    // 540; the OPT record is there although the query had none.
    let blocked = scene("block net 10.244.5.0/24");
    assert_eq!(verdict(&blocked, &PROBE).await, "Refused 15");
    let with_opt = Ask { edns: Some((1232, false)), ..PROBE };
    assert_eq!(verdict(&blocked, &with_opt).await, "Refused 15");
    assert_eq!(verdict(&blocked, &Ask { source: "10.244.6.9:1", ..PROBE }).await, "answer");
    assert_eq!(blocked.metric(&series(catalogue::ACL_BLOCKED, ".")), Some(2.0));
    let allowed = format!("{}{{server=\"dns://:53\",view=\"\"}}", catalogue::ACL_ALLOWED);
    assert_eq!(blocked.metric(&allowed), Some(1.0));
}

fn series(name: &str, zone: &str) -> String {
    format!("{name}{{server=\"dns://:53\",zone=\"{zone}\",view=\"\"}}")
}

#[tokio::test]
async fn acl_filter() {
    let filtered = scene("filter type A");
    assert_eq!(verdict(&filtered, &PROBE).await, "NoError 17");
    assert!(filtered.message(&PROBE).await.unwrap().answers.is_empty());
    assert_eq!(verdict(&filtered, &Ask { kind: RecordType::AAAA, ..PROBE }).await, "answer");
    assert_eq!(filtered.metric(&series(catalogue::ACL_FILTERED, ".")), Some(2.0));
}

#[tokio::test]
async fn acl_drop() {
    // 541
    let dropped = scene("drop net 10.244.5.9");
    assert_eq!(verdict(&dropped, &PROBE).await, "drop");
    assert_eq!(verdict(&dropped, &Ask { source: "10.244.5.8:1", ..PROBE }).await, "answer");
    assert_eq!(dropped.metric(&series(catalogue::ACL_DROPPED, ".")), Some(1.0));
}

#[tokio::test]
async fn acl_allow() {
    for (lines, want) in [
        ("allow net 10.244.5.0/24\n block", "answer"),
        ("allow net 10.244.6.0/24\n block", "Refused 15"),
        ("block\n allow net 10.244.5.0/24", "Refused 15"),
    ] {
        assert_eq!(verdict(&scene(lines), &PROBE).await, want, "{lines}");
    }
}

#[tokio::test]
async fn acl_types_and_nets() {
    let v6 = Ask { source: "[2001:db8::7]:1", ..PROBE };
    let mapped = Ask { source: "[::ffff:10.244.5.9]:1", ..PROBE };
    let private = Ask { kind: RecordType::from(65_280), ..PROBE };
    let transfer = Ask { kind: RecordType::IXFR, ..PROBE };
    for (lines, ask, want) in [
        ("block type AAAA A", &PROBE, "Refused 15"),
        ("block type aaaa", &PROBE, "answer"),
        ("block type *", &PROBE, "Refused 15"),
        ("block type A net *", &PROBE, "Refused 15"),
        ("block type A net 192.0.2.0/24", &PROBE, "answer"),
        ("BLOCK NET 192.0.2.0/24 10.0.0.0/8 TYPE TXT A", &PROBE, "Refused 15"),
        ("block type AAAA net 10.0.0.0/8", &PROBE, "answer"),
        ("block net 2001:db8::/32", &v6, "Refused 15"),
        ("block net 0.0.0.0/0", &v6, "answer"),
        ("block net 10.0.0.0/8", &mapped, "Refused 15"),
        ("block type TYPE65280", &private, "Refused 15"),
        ("block type IXFR", &transfer, "Refused 15"),
        ("block type URI", &transfer, "answer"),
    ] {
        assert_eq!(verdict(&scene(lines), ask).await, want, "{lines}");
    }
}

#[tokio::test]
async fn acl_zones() {
    let body = "acl a.example example {\n block type TXT\n}\nacl b.example {\n filter\n}";
    let scene = with(body);
    for (name, kind, want) in [
        ("a.example.", RecordType::TXT, "Refused 15"),
        ("x.example.", RecordType::TXT, "Refused 15"),
        // Nothing of the first rule is for it, so the next one has its say.
        ("b.example.", RecordType::A, "NoError 17"),
        ("b.example.", RecordType::TXT, "Refused 15"),
        ("a.test.", RecordType::TXT, "answer"),
    ] {
        assert_eq!(verdict(&scene, &Ask { name, kind, ..PROBE }).await, want, "{name} {kind}");
    }
    assert_eq!(scene.metric(&series(catalogue::ACL_BLOCKED, "a.example.")), Some(1.0));
    assert_eq!(scene.metric(&series(catalogue::ACL_BLOCKED, "example.")), Some(2.0));
    assert_eq!(scene.metric(&series(catalogue::ACL_FILTERED, "b.example.")), Some(1.0));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (body, line, want) in [
        ("acl {\n reject\n}", 3, "unknown property 'reject'"),
        ("acl {\n block 10.0.0.0/8\n}", 3, "'10.0.0.0/8': write 'type' or 'net'"),
        ("acl {\n block net\n}", 3, "'net' needs at least one value"),
        ("acl {\n block type net *\n}", 3, "'type' needs at least one value"),
        ("acl {\n block net 10.0.0.0/33\n}", 3, "invalid CIDR 10.0.0.0/33"),
        ("acl {\n block type AAAAA\n}", 3, "'AAAAA' is not a type"),
        ("acl a..b {\n block\n}", 2, "empty label"),
    ] {
        let error = plugins(body).err().unwrap_or_else(|| panic!("{body} is accepted"));
        assert!(error.position().line == line && error.message().contains(want), "{body}: {error}");
    }
}
