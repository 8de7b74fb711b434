//! Orders to a node: what is served, and what is said of it, before, during and after.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::process::Process;
use super::world::{Node, cluster, is_live};

/// A name of the made-up cluster.
fn name(n: usize) -> String {
    format!("s{n}.shop.svc.cluster.local")
}

impl Node {
    /// Waits until a name has this answer, `-` for none.
    fn says(&self, process: &Process, n: usize, address: &str) {
        process.wait_for(address, |_| {
            let (_, out, _) = self.ctl(&["lookup", &name(n), "--json"]);
            let answer: Value = serde_json::from_str(&out).ok()?;
            let first = answer["answers"][0].as_str().and_then(|record| record.split('\t').next_back());
            (first.unwrap_or("-") == address).then_some(())
        });
    }

    /// Carries out an order that has to succeed, and returns what is said of it.
    pub(super) fn order(&self, arguments: &[&str]) -> String {
        let (code, out, error) = self.ctl(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{error}");
        out
    }

    pub(super) fn screen(&self) -> String {
        self.order(&["status"])
    }
}

#[test]
fn what_is_frozen_stays_over_a_restart_until_it_is_thawed() {
    let node = Node::soon_stale();
    node.set(&cluster(1, 3));
    let process = node.start();
    node.says(&process, 0, "10.1.0.0");
    assert!(node.order(&["thaw"]).contains("not frozen"), "nothing is frozen yet");
    let out = node.order(&["freeze", "--for", "2h"]);
    assert!(out.starts_with("cluster.local. frozen for 7200 s"), "{out}");
    node.set(&cluster(2, 3));
    // Frozen data is not proved, and grows old.
    node.status(&process, "stale data", |status| status["stores"][0]["state"] == "stale");
    node.says(&process, 0, "10.1.0.0");
    let screen = node.screen();
    assert!(screen.contains("frozen") && screen.contains("To end it: outlast ctl thaw"), "{screen}");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().0, 0);

    let process = node.start();
    node.says(&process, 0, "10.1.0.0");
    let status = node.status(&process, "frozen data", |status| !status["stores"][0]["frozen"].is_null());
    let remaining = status["stores"][0]["frozen"]["remaining_s"].as_u64().unwrap();
    assert!((7000..=7200).contains(&remaining), "{remaining}");
    assert!(node.order(&["thaw", "--zone", "Cluster.Local"]).contains("thawed"), "zones are names");
    node.says(&process, 0, "10.2.0.0");
    node.status(&process, "live data", is_live);
}

#[test]
fn what_is_frozen_for_a_second_thaws_by_itself() {
    let node = Node::new();
    node.set(&cluster(1, 3));
    let process = node.start();
    node.says(&process, 0, "10.1.0.0");
    node.order(&["freeze", "--for", "1s"]);
    node.set(&cluster(2, 3));
    node.says(&process, 0, "10.2.0.0");
    let log = process.output();
    assert!(
        log.contains("its time is over, no longer frozen") && !log.contains("thawed by an operator"),
        "{log}"
    );
}

#[test]
fn a_snapshot_is_served_again() {
    let node = Node::new();
    node.set(&cluster(1, 3));
    let process = node.start();
    let newest = |status: &Value| status["stores"][0]["snapshot"]["newest"].as_u64();
    let status = node.status(&process, "a snapshot", |status| is_live(status) && newest(status).is_some());
    let first = newest(&status).unwrap();
    node.set(&cluster(2, 3));
    node.says(&process, 0, "10.2.0.0");
    node.status(&process, "another snapshot", |status| newest(status) > Some(first));
    let table = node.order(&["generations"]);
    assert!(table.lines().count() >= 3 && table.contains("cluster.local."), "{table}");

    let out = node.order(&["rollback", &first.to_string()]);
    assert!(out.contains(&format!("snapshot {first} is served, frozen for 3600 s")), "{out}");
    node.says(&process, 0, "10.1.0.0");
    assert!(node.screen().contains(&format!("snapshot {first} is served")));
    node.order(&["thaw"]);
    node.says(&process, 0, "10.2.0.0");

    let (code, out, _) = node.ctl(&["rollback", "999"]);
    assert!(code == 1 && out.contains("there is no snapshot 999"), "{out}");
    let (code, _, error) = node.ctl(&["freeze", "--zone", "example.org"]);
    assert!(code == 2 && error.contains("there is no data of zone example.org here"), "{error}");
}

#[test]
fn what_the_guard_holds_back_is_accepted() {
    let node = Node::new();
    node.set(&cluster(1, 40));
    let process = node.start();
    node.says(&process, 39, "10.1.0.39");
    assert!(node.order(&["accept"]).contains("nothing is held back"));
    node.set(&cluster(1, 5));
    let holds = |status: &Value| status["stores"][0]["holds"].as_array().map_or(0, Vec::len);
    let status = node.status(&process, "a hold", |status| holds(status) == 1);
    let hold = &status["stores"][0]["holds"][0];
    assert_eq!(hold["objects"], 35, "{hold}");
    assert!(!hold["examples"].as_array().unwrap().is_empty(), "{hold}");
    node.says(&process, 39, "10.1.0.39");
    let screen = node.screen();
    assert!(screen.contains("held       35 objects") && screen.contains("outlast ctl accept"), "{screen}");

    let out = node.order(&["accept"]);
    assert!(out.contains("accepted: 35 objects of 1 holds"), "{out}");
    node.says(&process, 39, "-");
    node.says(&process, 4, "10.1.0.4");
    node.status(&process, "nothing held", |status| holds(status) == 0);
}
