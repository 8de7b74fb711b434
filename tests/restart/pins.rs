//! What an operator has pinned, over SIGKILL and a clock that was set back.

use std::path::{Path, PathBuf};

use outlast::testkit::client::Answer;
use serde_json::Value;

use super::load::{query, served};
use super::node::Node;
use super::place::Place;
use super::process::{outlast, run};

/// The name that the client asks for.
const NAME: &str = "web.shop.svc.cluster.local";

/// What it is pinned to.
const PINNED: &str = "192.0.2.77";

/// A day.
const DAY_S: i64 = 86_400;

fn socket(place: &Place) -> PathBuf {
    place.corefile().with_file_name("node.sock")
}

/// A node that can be given orders and whose clock is off by so many seconds.
fn start(place: &Place, clock_s: i64) -> Node {
    Node::spawn(place, || {
        let mut command = outlast();
        command.env("OUTLAST_CONTROL", socket(place));
        if clock_s != 0 {
            command.env("OUTLAST_DRILL_PARENT", std::process::id().to_string());
            command.env("OUTLAST_DRILL_FAULTS", format!("clock={clock_s}"));
        }
        command
    })
}

/// Carries out an order, once the socket is there.
fn order(node: &Node, socket: &Path, arguments: &[&str]) -> String {
    node.until("the socket", |_| outlast::ops::control::is_answered(socket).is_ok_and(|answers| answers));
    let (code, out, error) = run(outlast().args(["ctl", "--socket"]).arg(socket).args(arguments));
    assert_eq!(code, 0, "{arguments:?}: {out}{error}\n{}", node.log());
    out
}

/// Whether an answer is as it is pinned, and says so.
fn is_pinned(answer: &Answer) -> bool {
    let says_so =
        answer.ede().iter().any(|(code, text)| *code == 4 && text.starts_with("pinned by an operator"));
    says_so && answer.answers().iter().all(|record| record.ends_with(PINNED)) && !answer.answers().is_empty()
}

#[test]
fn what_is_pinned_outlives_sigkill_with_any_clock_until_it_is_unpinned() {
    let place = Place::new("snapshot_interval 1s");
    place.publish(1);
    let node = start(&place, 0);
    node.until_state("live");
    node.until("a snapshot", |node| node.metric("outlast_snapshot_saves_total") >= Some(1.0));
    assert_eq!(served(&node.ask(&query())), Ok(1));
    let out = order(&node, &socket(&place), &["pin", NAME, "A", PINNED, "--for", "2h"]);
    assert!(out.contains(&format!("kept in {}: a restart goes on so", place.snapshots().display())), "{out}");
    assert!(is_pinned(&node.ask(&query())));
    node.kill();

    place.hide_source();
    // Back, right, and ahead by less than it lasts.
    for clock_s in [-DAY_S, -30 * DAY_S, 0, 1_800] {
        let node = start(&place, clock_s);
        let first = node.first_answer(&query());
        assert!(is_pinned(&first), "{clock_s} s: {:?} {:?}\n{}", first.answers(), first.ede(), node.log());
        assert_eq!(node.metric("outlast_pins"), Some(1.0));
        let pins: Value = serde_json::from_str(&order(&node, &socket(&place), &["pins", "--json"])).unwrap();
        let left = pins[0]["remaining_s"].as_i64().unwrap();
        let most = 7_200 - clock_s.max(0);
        assert!((most - 300..=most).contains(&left), "{clock_s} s: {left} s are left of {most}");
        node.kill();
    }

    let node = start(&place, 0);
    let out = order(&node, &socket(&place), &["unpin", NAME]);
    assert!(out.starts_with("not pinned any more"), "{out}");
    assert_eq!(served(&node.ask(&query())), Ok(1));
    node.kill();
    let node = start(&place, 0);
    assert_eq!(served(&node.first_answer(&query())), Ok(1), "{}", node.log());
    assert_eq!(node.metric("outlast_pins"), Some(0.0));
}

#[test]
fn what_was_pinned_ends_in_time_over_a_restart() {
    let place = Place::new("snapshot_interval 1s");
    place.publish(1);
    let node = start(&place, 0);
    node.until_state("live");
    order(&node, &socket(&place), &["pin", NAME, "A", PINNED, "--for", "3s"]);
    node.kill();
    let node = start(&place, 0);
    node.until("the data's answer", |node| served(&node.ask(&query())) == Ok(1));
    node.until("nothing on the disk", |_| !place.snapshots().join("pins.json").exists());
    // An hour ahead it has ended long before the start.
    order(&node, &socket(&place), &["pin", NAME, "A", PINNED, "--for", "1h"]);
    node.kill();
    let node = start(&place, 3_700);
    node.until("the data's answer", |node| served(&node.ask(&query())) == Ok(1));
}
