//! SIGKILL, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outlast::testkit::client::{Answer, Query};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use hickory_proto::rr::RecordType;

use super::load::{Client, Publisher, query, served};
use super::node::Node;
use super::place::Place;

/// How often the node is killed.
const KILLS: u32 = 50;

/// Every tenth life is long enough for snapshots to be written in it, and goes on from the disk alone; the others
/// end at any moment of a start, a read or a write.
const LONG_EVERY: u32 = 10;

/// Snapshots of a long life: the first state, and what changed an interval later.
const SNAPSHOTS: f64 = 2.0;

/// `snapshot_interval`.
const INTERVAL: Duration = Duration::from_secs(1);

/// The share of an interval that jitter may leave, and a little for what is measured.
const SHORTEST: f64 = 0.7;

/// Snapshots that have been written.
const SAVES: &str = "outlast_snapshot_saves_total";

#[test]
fn killed_fifty_times_without_a_wrong_answer() {
    let place = Arc::new(Place::new("snapshot_interval 1s"));
    place.publish(1);
    let mut born = Instant::now();
    let mut node = Node::start(&place);
    // The first snapshot of all: before it there is nothing to survive in.
    node.until("a snapshot", |node| node.metric(SAVES) >= Some(1.0));

    let publisher = Publisher::start(&place, 1);
    let client = Client::start(place.dns());
    client.born();
    let mut random = StdRng::seed_from_u64(7);
    for life in 0..KILLS {
        let long = life % LONG_EVERY == 0;
        if long {
            lives_long(&node, &client, &place, born);
        } else {
            std::thread::sleep(Duration::from_millis(random.random_range(20..800)));
        }
        node.until("the client was there", |_| client.newest().is_some());

        // What is on the disk now outlasts it; it may write one more before it is gone.
        let kept = place.on_disk();
        client.dies();
        node.kill();
        let left = place.on_disk();
        assert!(left >= kept, "life {life} leaves {left:?}, {kept:?} was on the disk");
        // After a long life the disk is all there is.
        let _held = publisher.pause.lock().unwrap();
        if long {
            place.hide_source();
        }
        born = Instant::now();
        node = Node::start(&place);
        let answer = node.first_answer(&query());
        client.born();
        let first = served(&answer).unwrap_or_else(|wrong| panic!("life {life}: {wrong}\n{}", node.log()));
        assert!(Some(first) >= left, "life {life}: then {first}, {left:?} was on the disk\n{}", node.log());
        if long {
            let ede = answer.ede();
            assert!(matches!(&*ede, [(3, _)]), "life {life}: from the disk, and not said so: {ede:?}");
            assert_eq!(Some(first), left, "life {life}: nothing else is known");
            place.show_source();
        }
    }
    drop(publisher);
    let seen = client.stop();
    assert_eq!(seen.failures, [""; 0], "of {}", seen.answers);
    assert!(seen.answers >= u64::from(KILLS), "one in each life at least: {}", seen.answers);
}

/// Lives until snapshots were written, about every interval, and what the client has been served is in one.
fn lives_long(node: &Node, client: &Client, place: &Place, born: Instant) {
    let before = place.on_disk();
    node.until("snapshots", |node| node.metric(SAVES) >= Some(SNAPSHOTS));
    assert!(place.on_disk() > before, "what changes is kept: {before:?} was on the disk");
    let newest = client.newest();
    node.until("what was served is on the disk", |_| place.on_disk() >= newest);
    // The first is written at once, and none sooner than an interval after another, however fast the machine is.
    let saves = node.metric(SAVES).unwrap();
    let most = 1.0 + born.elapsed().div_duration_f64(INTERVAL.mul_f64(SHORTEST));
    assert!(saves <= most, "{saves} snapshots, at most {most} are due\n{}", node.log());
}

#[test]
fn a_start_without_a_source_answers_as_before() {
    let place = Place::new("");
    place.publish(7);
    let node = Node::start(&place);
    node.until_state("live");
    node.until("a snapshot", |node| node.metric(SAVES) >= Some(1.0));
    let questions = [
        Query::a("web.shop.svc.cluster.local."),
        Query::new("web.shop.svc.cluster.local.", RecordType::AAAA),
        Query::a("db.shop.svc.cluster.local."),
        Query::new("_sql._tcp.db.shop.svc.cluster.local.", RecordType::SRV),
        Query::new("7.0.0.10.in-addr.arpa.", RecordType::PTR),
        Query::a("missing.shop.svc.cluster.local."),
    ]
    .map(|query| query.edns(1232));
    let before = questions.each_ref().map(|query| node.ask(query));
    for answer in &before {
        assert_eq!(answer.ede(), [], "live answers have nothing to say");
    }

    node.kill();
    place.hide_source();
    // How soon it answers is measured by `benches/start.rs`; its first answer of all is one of these.
    let node = Node::start(&place);
    let mut first = Some(node.first_answer(&questions[0]));
    for (query, before) in questions.iter().zip(&before) {
        let after = first.take().unwrap_or_else(|| node.ask(query));
        assert_eq!(content(&after), content(before));
        let code = if before.answers().is_empty() { 19 } else { 3 };
        let ede = after.ede();
        assert!(matches!(&*ede, [(found, _)] if *found == code), "{:?} {ede:?}", after.answers());
    }
}

/// A reply without what age changes of it: its TTLs.
fn content(answer: &Answer) -> (String, Vec<String>) {
    let without_ttl = |line: &String| {
        let words: Vec<_> = line.split(' ').collect();
        [&words[..1], &words[2..]].concat().join(" ")
    };
    let sections = [answer.answers(), answer.authorities(), answer.additionals()];
    let mut lines: Vec<_> = sections.iter().flatten().map(without_ttl).collect();
    // Records of one set are given in turn.
    lines.sort();
    (format!("{:?}", answer.rcode()), lines)
}
