//! Questions, and what their answers have to be.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;
use outlast::testkit::client::{Answer, Query};

use super::process::PATIENCE;
use super::world::{ELSEWHERE_ADDRESS, World};

/// Questions after which a random order has put another address first: one of three stays first so often with
/// a probability of 1 in 10^14.
const SHUFFLES: usize = 30;

/// Questions for names of which each goes to one of two upstreams at random.
const UPSTREAMS: usize = 40;

/// An address or a name at the end of one of the records.
pub(super) fn has(want: &str) -> impl Fn(&Answer) -> bool + Sync {
    let want = format!(" {want}");
    move |answer| answer.answers().iter().any(|record| record.ends_with(&want))
}

/// The name has this address, and the answer is about the name that was asked for.
pub(super) fn expect(world: &World, name: &str, address: &str) {
    let answer = world.ask(&Query::a(name));
    let first = answer.answers().first().cloned().unwrap_or_default();
    assert!(
        has(address)(&answer) && first.starts_with(&format!("{name} ")),
        "{name}: {:?} {:?}, not {address}\n{}",
        answer.rcode(),
        answer.answers(),
        world.node.output()
    );
}

/// The reverse name leads to this name; to none where it is empty.
pub(super) fn expect_name(world: &World, reverse: &str, name: &str) {
    let answer = world.ask(&Query::new(reverse, RecordType::PTR));
    let right = if name.is_empty() { answer.answers().is_empty() } else { has(name)(&answer) };
    assert!(right, "{reverse}: {:?} {:?}, not {name:?}", answer.rcode(), answer.answers());
}

/// The reverse name of an address.
pub(super) fn reverse(address: &str) -> String {
    let mut parts: Vec<_> = address.split('.').collect();
    parts.reverse();
    format!("{}.in-addr.arpa.", parts.join("."))
}

/// Waits for a line of the log with all of this in it.
pub(super) fn wait_for_line(world: &World, parts: &[&str]) {
    world.node.wait_for(&format!("a line with {parts:?}"), |node| {
        node.output().lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
    });
}

/// A name that nobody has in memory is asked for while its upstream is gone.
pub(super) fn fail(world: &mut World, name: &str) {
    world.kill_upstream();
    let answer = world.ask(&Query::a(name));
    assert_eq!(answer.rcode(), ResponseCode::ServFail, "{name}");
    expect_still(world);
}

/// What does not need the upstream goes on.
pub(super) fn expect_still(world: &World) {
    expect(world, "web.shop.svc.cluster.local.", "10.96.0.7");
}

/// A service, its reverse name, a name that is missing, and an address outside.
pub(super) fn cluster(world: &World) {
    world.node.wait_for("live data", |node| node.output().contains("cluster data is live").then_some(()));
    expect(world, "web.shop.svc.cluster.local.", "10.96.0.7");
    expect_name(world, "7.0.96.10.in-addr.arpa.", "web.shop.svc.cluster.local.");
    let missing = world.ask(&Query::a("nothing.shop.svc.cluster.local."));
    assert_eq!(missing.rcode(), ResponseCode::NXDomain);
    assert!(missing.message.metadata.authoritative, "the cluster's own answer");
    // Falls through.
    expect_name(world, "80.2.0.192.in-addr.arpa.", "www.outside.example.");
}

/// The second question for a name is a hit.
pub(super) fn cached(world: &World) {
    let hits = || world.metric("coredns_cache_hits_total", "");
    expect(world, "hit.cold.example.", "192.0.2.81");
    let before = hits();
    expect(world, "hit.cold.example.", "192.0.2.81");
    assert!(hits() > before, "the second question for a name is a hit");
}

/// Names of a zone are asked of this server, too.
pub(super) fn over_tls(world: &World, zone: &str, to: &str) {
    for number in 0..UPSTREAMS {
        expect(world, &format!("n{number}.{zone}"), ELSEWHERE_ADDRESS);
    }
    let count = world.metric("coredns_proxy_request_duration_seconds_count", &format!("to=\"{to}\""));
    assert!(count > 0.0, "{to} was not asked");
}

/// The addresses of a headless service come in changing orders.
pub(super) fn shuffled(world: &World) {
    let query = Query::a("db.shop.svc.cluster.local.");
    world.ask_until("data", &query, |answer| answer.answers().len() == 3);
    let first = || world.ask(&query).answers()[0].clone();
    let firsts: BTreeSet<_> = (0..SHUFFLES).map(|_| first().rsplit(' ').next().unwrap().to_owned()).collect();
    assert!(firsts.len() > 1, "always first: {firsts:?}");
}

/// A reply over UDP keeps to this size.
pub(super) fn cut(world: &World, size: usize) {
    let query = Query::a("many.shop.svc.cluster.local.").edns(4096);
    let answer = world.ask_until("data", &query, |answer| !answer.answers().is_empty());
    assert!(answer.message.metadata.truncation, "{} bytes", answer.raw.len());
    assert!((size / 2..=size).contains(&answer.raw.len()), "{} bytes", answer.raw.len());
}

/// One question of the client leads to what four would.
pub(super) fn search_followed(world: &World) {
    world.ask_until("data", &Query::a("web.shop.svc.cluster.local."), has("10.96.0.7"));
    let asked = "www.outside.example.shop.svc.cluster.local.";
    let answer = world.ask(&Query::a(asked));
    let first = answer.answers().first().cloned().unwrap_or_default();
    assert!(has("192.0.2.80")(&answer) && first.contains(asked), "{:?}", answer.answers());
}

/// Detection of loops asks, and finds none.
pub(super) fn no_loop(world: &World) {
    world.node.wait_for("the question that would come back", |_| {
        (world.metric("coredns_dns_requests_total", "type=\"other\"") > 0.0).then_some(())
    });
    assert!(!world.node.output().contains("Loop ("), "{}", world.node.output());
}

/// A new block is answered from some moment on, and cluster names all the time.
pub(super) fn reloaded(world: &World) {
    take_over(world, || world.reload());
}

/// Exchanges the Corefile, does `then`, and waits for the new one's answers.
pub(super) fn take_over(world: &World, then: impl FnOnce()) {
    let query = Query::a("www.reloaded.example.");
    let before = world.ask(&query);
    assert_eq!(before.rcode(), ResponseCode::NXDomain, "{:?}", before.answers());
    let (address, port) = world.place.at.rsplit_once(':').unwrap();
    // Where other blocks bind, all have to.
    let bind =
        if address == "127.0.0.1" { String::new() } else { format!("bind {}", world.place.local.join(" ")) };
    let block = format!("reloaded.example:{port} {{\n    {bind}\n    forward . 10.9.0.53\n}}\n");
    world.replace(&format!("{}{block}", world.corefile()));
    then();
    let still = |answer: &Answer| {
        expect_still(world);
        has(ELSEWHERE_ADDRESS)(answer)
    };
    // Nested: the test's own thread asks about the cluster between two looks.
    let deadline = Instant::now() + PATIENCE;
    while !still(&world.ask(&query)) {
        assert!(Instant::now() < deadline, "not taken over\n{}", world.node.output());
        std::thread::sleep(Duration::from_millis(20));
    }
    expect_still(world);
}

/// After SIGTERM there are still answers.
pub(super) fn lameduck(world: &mut World) {
    world.node.signal(Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(500));
    expect_still(world);
    assert!(world.node.ended().is_none(), "{}", world.node.output());
}
