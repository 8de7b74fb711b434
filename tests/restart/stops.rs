//! SIGTERM, and what `/ready` says.

use super::load::{query, served};
use super::node::Node;
use super::place::Place;

#[test]
fn a_clean_stop_writes_a_last_snapshot() {
    // The interval is not what writes it.
    let place = Place::new("snapshot_interval 1h");
    place.publish(1);
    let node = Node::start(&place);
    node.until("a snapshot", |node| node.metric("outlast_snapshot_saves_total") >= Some(1.0));
    place.publish(2);
    node.until("the change", |node| served(&node.ask(&query())) == Ok(2));
    assert_eq!(node.metric("outlast_snapshot_saves_total"), Some(1.0));
    let (status, log) = node.terminate();
    assert_eq!(status, 0, "{log}");

    place.hide_source();
    let node = Node::start(&place);
    let answer = node.first_answer(&query());
    assert_eq!(served(&answer), Ok(2));
}

#[test]
fn readiness_waits_for_some_data_not_for_fresh_data() {
    let place = Place::new("stale_after 500ms");
    place.publish(1);
    place.hide_source();
    let node = Node::start(&place);
    node.until("/ready is served", |node| node.get("/ready").is_ok());
    node.until_state("empty");
    let (status, body) = node.get("/ready").unwrap();
    assert_eq!((status, body.trim()), (503, "kubernetes"));
    let answer = node.ask(&query());
    assert_eq!(answer.ede(), [(14, "no data yet: Namespace, Service, EndpointSlice".to_owned())]);

    place.show_source();
    node.until_state("live");
    assert_eq!(node.get("/ready").unwrap().0, 200);

    place.hide_source();
    node.until_state("stale");
    assert_eq!(node.get("/ready").unwrap().0, 200);
    node.until("a snapshot", |node| node.metric("outlast_snapshot_saves_total") >= Some(1.0));

    // A start from the disk is ready without the source, as soon as it has checked its own answers.
    node.kill();
    let node = Node::start(&place);
    node.until("readiness", |node| node.get("/ready").is_ok_and(|(status, _)| status == 200));
}
