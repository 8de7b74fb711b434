//! Whole replies, from the Corefile to the order of their records.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::SRV;
use tempfile::TempDir;

use super::*;
use crate::node::test_support::{Ask, Logs, Scene, address, chain, plugins, record, run};

/// Four addresses in each section.
fn addresses(rcode: ResponseCode) -> Reply {
    let section = || ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(|ip| address("a.", ip)).to_vec();
    Reply { answers: section(), authority: section(), additional: section(), ..Reply::new(rcode, "last") }
}

/// How many different orders the answer, authority and additional sections of 50 replies have.
async fn orders(body: &str, kind: RecordType, rcode: ResponseCode) -> [usize; 3] {
    let chain = chain(body, move |_| addresses(rcode).into());
    let mut seen: [BTreeSet<String>; 3] = Default::default();
    for _ in 0..200 {
        let outcome = run(&chain, &Ask { kind, ..Ask::default() }).await;
        let Outcome::Reply(reply) = outcome else { panic!("{outcome:?}") };
        for (seen, section) in seen.iter_mut().zip([reply.answers, reply.authority, reply.additional]) {
            seen.insert(section.iter().map(|r| r.data.to_string()).collect::<Vec<_>>().join(" "));
        }
    }
    seen.map(|orders| orders.len())
}

#[tokio::test]
async fn only_replies_with_an_order_of_no_meaning_are_touched() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("weights");
    fs::write(&file, "a.\n10.0.0.1 1\n").unwrap();
    let weighted = format!("loadbalance weighted {} {{\n reload 0\n}}", file.display());
    // 200 replies of 24 orders: nearly all are seen; 4 come first with weights.
    const MANY: [std::ops::RangeInclusive<usize>; 3] = [15..=24, 15..=24, 15..=24];
    const NONE: [std::ops::RangeInclusive<usize>; 3] = [1..=1, 1..=1, 1..=1];
    const FIRST: [std::ops::RangeInclusive<usize>; 3] = [4..=4, 1..=1, 4..=4];
    for (body, kind, rcode, want) in [
        ("loadbalance", RecordType::A, ResponseCode::NoError, MANY),
        ("loadbalance round_robin", RecordType::TXT, ResponseCode::NoError, MANY),
        ("loadbalance", RecordType::A, ResponseCode::NXDomain, NONE),
        ("loadbalance", RecordType::A, ResponseCode::ServFail, NONE),
        ("loadbalance", RecordType::AXFR, ResponseCode::NoError, NONE),
        ("loadbalance", RecordType::IXFR, ResponseCode::NoError, NONE),
        (&weighted, RecordType::A, ResponseCode::NoError, FIRST),
        (&weighted, RecordType::AAAA, ResponseCode::NoError, FIRST),
        (&weighted, RecordType::SRV, ResponseCode::NoError, FIRST),
        (&weighted, RecordType::TXT, ResponseCode::NoError, NONE),
        (&weighted, RecordType::A, ResponseCode::NXDomain, NONE),
        // The last one decides.
        ("loadbalance weighted /nowhere\nloadbalance", RecordType::A, ResponseCode::NoError, MANY),
    ] {
        let orders = orders(body, kind, rcode).await;
        let fits = orders.iter().zip(&want).all(|(orders, want)| want.contains(orders));
        assert!(fits, "{body} {kind} {rcode}: {orders:?}, not {want:?}");
    }
}

#[tokio::test]
async fn loadbalance_prefer() {
    let body = "loadbalance {\n prefer 10.0.0.3/32 10.0.0.4/32\n}\nloadbalance round_robin {\n prefer 10.0.0.2/32\n}";
    assert_eq!(orders(body, RecordType::A, ResponseCode::NoError).await, [1, 1, 1], "every place is given");
    let body = "loadbalance {\n prefer 10.0.0.4/31\n}";
    assert_eq!(orders(body, RecordType::A, ResponseCode::NoError).await, [6, 6, 6], "three are left");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_orders() {
    let replies = |seed| {
        let plugin = LoadBalance { policy: Policy::RoundRobin { prefer: Vec::new() }, dice: Dice::new(seed) };
        let reply = move |_: u8| {
            let mut reply = addresses(ResponseCode::NoError);
            plugin.reorder(RecordType::A, &mut reply);
            reply.answers
        };
        (0..20).map(reply).collect::<Vec<_>>()
    };
    assert_eq!(replies(1), replies(1));
    assert_ne!(replies(1), replies(1 << 40));
}

#[tokio::test]
async fn records_beside_addresses_come_before_them() {
    let chain = chain("loadbalance", |_| {
        let srv = |port| record("_x.a.", RData::SRV(SRV::new(0, 0, port, "a.".parse().unwrap())));
        let answers = vec![address("a.", "10.0.0.1"), srv(2), srv(1)];
        Reply { answers, ..Reply::new(ResponseCode::NoError, "last") }.into()
    });
    for _ in 0..20 {
        let reply = run(&chain, &Ask::default()).await.into_reply().unwrap();
        let ports = |r: &hickory_proto::rr::Record| if let RData::SRV(srv) = &r.data { srv.port } else { 0 };
        assert_eq!(reply.answers.iter().map(ports).collect::<Vec<_>>(), [2, 1, 0]);
    }
}

/// How many of 400 replies have 10.0.0.4 first.
async fn lifted(scene: &Scene) -> usize {
    let mut lifted = 0;
    for _ in 0..400 {
        let reply = scene.run(&Ask::default()).await.into_reply().unwrap();
        lifted += usize::from(reply.answers[0] == address("a.", "10.0.0.4"));
    }
    lifted
}

#[tokio::test(start_paused = true)]
async fn a_weight_file_is_followed() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("weights");
    let path = file.display();
    let logs = Logs::capture("");
    let scene = Scene::new(&format!("loadbalance weighted {path} {{\n reload 10s\n}}"), |_| {
        addresses(ResponseCode::NoError).into()
    });
    let missing =
        format!("reading weight file {path}: No such file or directory (os error 2); trying again every 10s");
    assert_eq!(logs.take(), [format!("[WARNING] plugin/loadbalance: {missing}")]);
    assert!((50..150).contains(&lifted(&scene).await), "all are equal");

    let next = || tokio::time::sleep(Duration::from_secs(10));
    // The first reading is at once.
    tokio::time::sleep(Duration::from_secs(1)).await;
    next().await;
    assert_eq!(logs.take(), [""; 0], "it is still missing");

    fs::write(&file, "a\n10.0.0.4 255\n").unwrap();
    next().await;
    assert_eq!(logs.take(), [format!("[INFO] plugin/loadbalance: reloaded weight file {path}")]);
    assert!(lifted(&scene).await > 380, "255 of 258");

    fs::write(&file, "a\n10.0.0.4 256\n").unwrap();
    next().await;
    next().await;
    let broken =
        format!("weight file {path}: line 2: '256' is not a weight: write a whole number from 1 to 255");
    assert_eq!(
        logs.take(),
        [format!("[ERROR] plugin/loadbalance: {broken}; the weights before it stay")],
        "once"
    );
    assert!(lifted(&scene).await > 380);

    fs::write(&file, "a\n10.0.0.1 255\n").unwrap();
    next().await;
    assert_eq!(logs.take().len(), 1);
    assert!(lifted(&scene).await < 20);

    fs::remove_file(&file).unwrap();
    next().await;
    assert_eq!(
        logs.take(),
        [format!(
            "[ERROR] plugin/loadbalance: reading weight file {path}: No such file or directory (os error 2); the \
             weights before it stay"
        )]
    );
    assert!(lifted(&scene).await < 20);
}

#[tokio::test(start_paused = true)]
async fn loadbalance_reload() {
    let folder = TempDir::new().unwrap();
    // After so many seconds a change is seen, or is not yet.
    for (reload, seconds, seen) in [
        ("", 29, false),
        ("", 31, true),
        (" {\n reload 2m\n}", 119, false),
        (" {\n reload 2m\n}", 121, true),
        (" {\n reload 0s\n}", 1_000_000, false),
    ] {
        let file = folder.path().join("weights");
        fs::write(&file, "a\n10.0.0.1 255\n").unwrap();
        let body = format!("loadbalance weighted {}{reload}", file.display());
        let scene = Scene::new(&body, |_| addresses(ResponseCode::NoError).into());
        // It is read again at once: let that pass.
        tokio::time::sleep(Duration::from_millis(1)).await;
        fs::write(&file, "a\n10.0.0.4 255\n").unwrap();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        assert_eq!(lifted(&scene).await > 380, seen, "{body} after {seconds} s");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let broken = format!("loadbalance weighted {}", write("broken", b"a\n10.0.0.1 x\n"));
    let binary = format!("loadbalance weighted {}", write("binary", b"\xff"));
    let large = format!("loadbalance weighted {}", write("large", &vec![b'\n'; (1 << 20) + 1]));
    for (body, line, want) in [
        (
            "loadbalance random",
            2,
            "unknown policy 'random': write 'loadbalance [round_robin | weighted FILE]'",
        ),
        ("loadbalance random x", 2, "unknown policy 'random'"),
        ("loadbalance round_robin x", 2, "write 'loadbalance [round_robin | weighted FILE]'"),
        ("loadbalance weighted", 2, "write 'loadbalance [round_robin | weighted FILE]'"),
        ("loadbalance weighted a b", 2, "write 'loadbalance [round_robin | weighted FILE]'"),
        ("loadbalance {\n prefer\n}", 3, "write 'prefer CIDR...'"),
        ("loadbalance {\n prefer 10.0.0.0\n}", 3, "invalid CIDR 10.0.0.0"),
        ("loadbalance {\n perfer 10.0.0.0/8\n}", 3, "did you mean 'prefer'?"),
        ("loadbalance {\n reload 5s\n}", 3, "'reload' needs 'weighted FILE'"),
        ("loadbalance weighted f {\n prefer 10.0.0.0/8\n}", 3, "'prefer' needs 'round_robin'"),
        ("loadbalance weighted f {\n reload 5\n}", 3, "missing unit in duration '5'"),
        ("loadbalance weighted f {\n reload\n}", 3, "write 'reload DURATION'"),
        ("loadbalance weighted f {\n load 5s\n}", 3, "unknown property 'load'"),
        ("loadbalance weighted /nowhere {\n reload 0\n}", 2, "reading weight file /nowhere: No such file"),
        (&broken, 2, "line 2: 'x' is not a weight"),
        (&binary, 2, "line 1: '\u{fffd}' is not a domain name"),
        (&large, 2, "it is larger than 1 MiB"),
    ] {
        let Err(error) = plugins(body) else { panic!("{body} is accepted") };
        assert_eq!((&*error.position().file, error.position().line), ("Corefile", line), "{body}");
        assert!(error.message().contains(want), "{body}: {error}");
    }
}
