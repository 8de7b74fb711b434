//! Disks that fail: serving goes on, and it shows.

use std::fs;

use super::load::{query, served};
use super::node::Node;
use super::place::Place;

/// Whether nothing reaches the disk.
const MEMORY_ONLY: &str = "outlast_snapshot_memory_only";

#[test]
fn a_folder_that_cannot_be_written_costs_the_snapshots_and_nothing_else() {
    let place = Place::new("snapshot_interval 1s");
    place.publish(1);
    // Permissions would not stop root; a file in the folder's place stops everybody.
    fs::write(place.snapshots(), "not a folder").unwrap();
    let node = Node::start(&place);
    node.until_state("live");
    assert_eq!(served(&node.ask(&query())), Ok(1));
    assert_eq!(node.metric(MEMORY_ONLY), Some(1.0));
    node.until("tried, too", |node| node.metric("outlast_snapshot_failures_total") >= Some(2.0));
    assert_eq!(node.get("/ready").unwrap().0, 200);
    place.publish(2);
    node.until("still followed", |node| served(&node.ask(&query())) == Ok(2));
    let log = node.log();
    let errors: Vec<_> = log.lines().filter(|l| l.contains("memory only")).collect();
    assert!(matches!(&*errors, [line] if line.contains("[ERROR]")), "said once: {log}");

    // Somebody puts it right: no restart needed.
    fs::remove_file(place.snapshots()).unwrap();
    node.until("written again", |node| node.metric(MEMORY_ONLY) == Some(0.0));
    node.until("said", |node| node.log().contains("snapshots are written again"));
    node.kill();
    place.hide_source();
    assert_eq!(served(&Node::start(&place).first_answer(&query())), Ok(2));
}

#[test]
fn a_full_disk_keeps_what_it_has() {
    let place = Place::new("snapshot_interval 1s");
    place.publish(1);
    let node = Node::start(&place);
    node.until("a snapshot", |node| node.metric("outlast_snapshot_saves_total") >= Some(1.0));
    node.kill();
    let before = place.snapshot_files();

    let node = Node::start_on_a_full_disk(&place);
    assert_eq!(served(&node.first_answer(&query())), Ok(1));
    place.publish(2);
    node.until("tried, and again", |node| node.metric("outlast_snapshot_failures_total") >= Some(2.0));
    assert_eq!(node.metric(MEMORY_ONLY), Some(1.0));
    assert_eq!(node.metric("outlast_snapshot_saves_total"), Some(0.0));
    assert_eq!(served(&node.ask(&query())), Ok(2));
    let log = node.log();
    assert_eq!(log.matches("snapshot not written").count(), 1, "said once: {log}");
    let (status, log) = node.terminate();
    assert_eq!(status, 0, "a full disk does not keep it from stopping: {log}");
    assert_eq!(place.snapshot_files(), before, "and nothing half done is left");

    place.hide_source();
    assert_eq!(served(&Node::start(&place).first_answer(&query())), Ok(1));
}

#[test]
fn a_damaged_snapshot_is_put_aside_and_the_one_before_is_served() {
    let place = Place::new("snapshot_interval 1s");
    place.publish(1);
    let node = Node::start(&place);
    node.until("a snapshot", |node| node.metric("outlast_snapshot_saves_total") >= Some(1.0));
    place.publish(2);
    node.until("another", |node| node.metric("outlast_snapshot_saves_total") >= Some(2.0));
    node.kill();
    place.hide_source();
    let files = place.snapshot_files();
    assert_eq!(files.len(), 2, "{files:?}");
    let newest = place.snapshots().join(&files[1]);
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();

    let node = Node::start(&place);
    let answer = node.first_answer(&query());
    assert_eq!((served(&answer), answer.ede().len()), (Ok(1), 1));
    node.until("metrics are served", |node| node.metric("outlast_snapshot_rejected_total") == Some(1.0));
    assert!(node.log().contains("snapshot is not served"), "{}", node.log());
    let files = place.snapshot_files();
    assert!(files.iter().any(|f| f.contains(".rejected-")), "{files:?}");

    // The number of the damaged one is not used again, and the data goes on from the source.
    place.show_source();
    node.until("a snapshot", |node| node.metric("outlast_snapshot_saves_total") >= Some(1.0));
    assert_eq!(served(&node.ask(&query())), Ok(2));
    node.kill();
    place.hide_source();
    let node = Node::start(&place);
    assert_eq!(served(&node.first_answer(&query())), Ok(2));
    node.until("metrics are served", |node| node.metric("outlast_snapshot_rejected_total") == Some(0.0));
}
