//! SIGKILL, again and again.

use std::sync::Arc;
use std::time::Duration;

use outlast::testkit::client::{Answer, Query};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use hickory_proto::rr::RecordType;

use super::load::{Client, Publisher, query, served};
use super::place::Place;
use super::process::Process;

/// How often the node is killed.
const KILLS: u32 = 50;

/// Every tenth life is long enough for more than its first change to have to be on the disk; the others end at
/// any moment of a start, a read or a write.
const LONG_EVERY: u32 = 10;

/// How long such a life is, in milliseconds.
const LONG: u64 = 4000;

/// `snapshot_interval`.
const INTERVAL: Duration = Duration::from_secs(1);

/// What may pass between the end of an interval and the end of its write.
const WRITE: Duration = Duration::from_secs(1);

#[test]
fn killed_fifty_times_without_a_wrong_answer() {
    let place = Arc::new(Place::new("snapshot_interval 1s"));
    place.publish(1);
    let mut node = Process::start(&place);
    // The first snapshot of all: before it there is nothing to survive in.
    node.until("a snapshot", |node| node.metric("outlast_snapshot_saves_total") >= Some(1.0));

    let publisher = Publisher::start(&place, 1);
    let client = Client::start(place.dns());
    client.born();
    let mut random = StdRng::seed_from_u64(7);
    let (mut kept, mut stale_starts) = (1, 0);
    for life in 0..KILLS {
        let long = life % LONG_EVERY == 0;
        let lives = if long { LONG } else { random.random_range(20..800) };
        std::thread::sleep(Duration::from_millis(lives));

        // What had been live for this long is on the disk.
        kept = client.dies(INTERVAL + WRITE).unwrap_or(0).max(kept);
        node.kill();
        // After a long life the disk is all there is.
        let _held = publisher.pause.lock().unwrap();
        if long {
            place.hide_source();
        }
        node = Process::start(&place);
        let (answer, _) = node.first_answer(&query());
        client.born();
        let first = served(&answer).unwrap_or_else(|wrong| panic!("life {life}: {wrong}\n{}", node.log()));
        assert!(first >= kept, "life {life} begins with {first}, {kept} was on the disk\n{}", node.log());
        if long {
            let ede = answer.ede();
            assert!(matches!(&*ede, [(3, _)]), "life {life}: from the disk, and not said so: {ede:?}");
            // It came from the disk, where nothing ever gets older.
            kept = first;
            stale_starts += 1;
            place.show_source();
        }
    }
    drop(publisher);
    let seen = client.stop();
    assert_eq!(seen.failures, [""; 0], "of {}", seen.answers);
    assert!(seen.answers > 1000, "the client was there: {}", seen.answers);
    assert_eq!(stale_starts, KILLS / LONG_EVERY);
    assert!(kept > 20, "what changes is kept: {kept}");
}

#[test]
fn a_start_without_a_source_answers_as_before_within_a_second() {
    let place = Place::new("");
    place.publish(7);
    let node = Process::start(&place);
    node.until_state("live");
    node.until("a snapshot", |node| node.metric("outlast_snapshot_saves_total") >= Some(1.0));
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
    // The machine may be busy with something else; not three times.
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let node = Process::start(&place);
        let (_, took) = node.first_answer(&questions[0]);
        fastest = fastest.min(took);
        for (query, before) in questions.iter().zip(&before) {
            let after = node.ask(query);
            assert_eq!(content(&after), content(before));
            let code = if before.answers().is_empty() { 19 } else { 3 };
            let ede = after.ede();
            assert!(matches!(&*ede, [(found, _)] if *found == code), "{:?} {ede:?}", after.answers());
        }
        node.kill();
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
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
