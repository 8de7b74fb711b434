//! Every drill in its short form, as people play it: it keeps its promise.

use std::process::Stdio;

use outlast::drill::How;
use outlast::drill::catalogue::DRILLS;
use serde_json::Value;

use super::program::{at_once, command, turn};

/// Plays drills like that; the exit status, and what is known of each.
pub(super) fn play(arguments: &[&str]) -> (i32, Vec<Value>) {
    let mut command = command();
    command.args(["drill", "--short", "--json"]).args(arguments).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let drills = reports["drills"].as_array().unwrap().clone();
    (output.status.code().unwrap_or(-1), drills)
}

#[test]
fn every_drill_keeps_its_promise() {
    let _turn = turn();
    let (code, reports) = play(&["all", "--at-once", &at_once().to_string()]);
    let told: Vec<_> = reports.iter().map(|report| report["drill"].as_str().unwrap()).collect();
    let of_all = || DRILLS.iter().filter(|drill| drill.minutes.is_none());
    assert_eq!(told, of_all().map(|drill| drill.name).collect::<Vec<_>>());
    for (report, drill) in reports.iter().zip(of_all()) {
        let skipped = drill.how == How::Root && report["verdict"] == "skipped";
        assert!(report["verdict"] == "kept" || skipped, "{report:#}");
    }
    assert_eq!(code, 0);
}

#[test]
fn a_soak_tells_what_each_process_has_at_first_and_at_last() {
    let _turn = turn();
    let (code, reports) = play(&["soak"]);
    let [report] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((code, &report["verdict"]), (0, &Value::from("kept")), "{report:#}");
    assert!(report["notes"][0].as_str().unwrap().contains("of a day's 864000 changes"), "{report:#}");
    let growth = report["growth"].as_array().unwrap();
    let names: Vec<_> = growth.iter().map(|process| process["process"].as_str().unwrap()).collect();
    assert_eq!(names, ["node-0", "node-1", "node-2", "hub-0", "hub-1"]);
    for process in growth {
        for when in ["first", "last"] {
            for figure in ["rss", "private", "descriptors", "threads", "tasks", "snapshots"] {
                assert!(process[when][figure].as_u64() > Some(0), "{when} {figure}: {process:#}");
            }
        }
    }
}
