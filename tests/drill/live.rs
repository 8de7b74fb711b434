//! `outlast drill --live` against a cluster of processes: an API server that hangs is not cut off as long as watches go on,
//! and one that is away is.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use outlast::drill::Play;
use outlast::drill::processes::fleet::{Fleet, Shape};
use outlast::drill::standin::faults::{Fault, Rule};
use outlast::drill::standin::requests::Verb;
use serde_json::Value;

use super::program::{command, path, turn_unless_shipped};

/// A fleet, and what `--live` is told of it.
fn fleet(folder: &Path) -> (Fleet, Vec<String>) {
    let play =
        Play { folder, program: &path(), short: true, minutes: None, without: &[], seed: 1, say: &|_| {} };
    let fleet = Fleet::start(&play, Shape { services: 50, ..Shape::usual() }).unwrap();
    let dns: Vec<_> = fleet.nodes.iter().map(|node| node.dns.to_string()).collect();
    let hubs: Vec<_> = fleet.hubs.iter().map(|hub| hub.metrics.to_string()).collect();
    let words = ["drill", "--live", "--json", "--name", "ghost.drill.svc.cluster.local", "--dns"];
    let mut arguments: Vec<_> = words.map(str::to_owned).to_vec();
    arguments.extend([dns.join(","), "--hub-metrics".to_owned(), hubs.join(",")]);
    let nodes: Vec<_> = fleet.nodes.iter().map(|node| node.metrics().to_string()).collect();
    arguments.extend(["--node-metrics".to_owned(), nodes.join(",")]);
    (fleet, arguments)
}

/// Watches for so long while `happens`; exit status and what was seen.
fn live(arguments: &[String], lasts: &str, happens: impl FnOnce()) -> (i32, Value) {
    let mut command = command();
    command.args(arguments).args(["--for", lasts]).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    happens();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap_or(-1), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_cut_that_leaves_watches_alive_is_none() {
    let _turn = turn_unless_shipped();
    let folder = tempfile::tempdir().unwrap();
    let (fleet, arguments) = fleet(folder.path());
    let (code, seen) = live(&arguments, "60s", || {
        // New requests find nobody; watches that are there go on.
        for verb in [Verb::Get, Verb::List, Verb::Watch, Verb::Other] {
            fleet.standin.faults().add(Rule::new(Fault::Hang).on(verb));
        }
    });
    assert_eq!(code, 1, "{seen:#}");
    let broken = seen["broken"][0].as_str().unwrap();
    assert!(broken.contains("not cut") && broken.contains("an established watch goes on"), "{seen:#}");
    assert_eq!((&seen["cut_s"], &seen["verified"]), (&Value::Null, &Value::Bool(false)), "{seen:#}");
}

#[test]
fn a_real_cut_is_watched_from_its_beginning_to_its_end() {
    let _turn = turn_unless_shipped();
    let folder = tempfile::tempdir().unwrap();
    let (fleet, arguments) = fleet(folder.path());
    let (code, seen) = live(&arguments, "5m", || {
        std::thread::sleep(Duration::from_secs(32));
        fleet.cut();
        std::thread::sleep(Duration::from_secs(75));
        fleet.heal();
    });
    assert_eq!((code, &seen["broken"]), (0, &Value::Array(vec![])), "{seen:#}");
    assert_eq!((&seen["verified"], &seen["failed"], &seen["wrong"]), (&true.into(), &0.into(), &0.into()));
    assert!(seen["oldest_s"].as_u64() >= Some(60), "{seen:#}");
    assert!(seen["cut_s"].as_u64() > Some(40) && seen["detect_s"].as_u64() > Some(5), "{seen:#}");
    assert!(seen["stale"].as_u64() > Some(30), "{seen:#}");
}
