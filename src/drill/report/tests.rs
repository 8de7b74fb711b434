use std::path::Path;

use super::*;
use crate::drill::test_support::{drill, figures, kept};
use crate::drill::{Drill, Play};
use crate::ops::switches::Protection;

/// How drills are played here.
fn play() -> Play<'static> {
    Play {
        folder: Path::new("/nowhere"),
        program: Path::new("/nowhere/outlast"),
        short: true,
        without: &[Without::Limit, Without::Switched(Protection::Audit)],
        seed: 7,
        say: &|_| {},
    }
}

/// A report on a drill that saw this.
fn observed(name: &'static str, figures: Figures, first_wrong: usize) -> Report {
    let first_wrong = (1..=first_wrong).map(|n| format!("answer {n}")).collect();
    let observed = Observed { figures, broken: Vec::new(), first_wrong };
    Report::observed(&drill(name, kept), &play(), observed, Duration::from_millis(83_050))
}

/// One that was kept, one that was broken, one that was skipped.
fn three() -> [Report; 3] {
    let broken = observed("empty", Figures { failed: 2, detect_ms: None, ..figures() }, 9);
    let broken = Report { folder: Some("/dev/shm/outlast-drill-7/empty".into()), ..broken };
    let rooted = Drill { how: How::Root, ..drill("addresses", kept) };
    let skipped = Report::unseen(&rooted, &play(), Verdict::Skipped("it takes root".to_owned()));
    [observed("offline", figures(), 0), broken, skipped]
}

#[test]
fn people_read_a_table_and_then_what_was_broken() {
    let want = "\
drill      how        queries  failed  wrong  stale     p99    gap  detect  recover  lists  watches  other    took  verdict
offline    processes    27000       0      0  11000  0.9 ms  21 ms  30.2 s   12.0 s      6       12     20  83.0 s  kept
empty      processes    27000       2      0  11000  0.9 ms  21 ms       -   12.0 s      6       12     20  83.0 s  broken
addresses  root             -       -      -      -       -      -       -        -      -        -      -       -  skipped

empty (broken)
  promise: answers go on
  failed 2 of 27000, promised 0
  not every node said that its answers were old
    answer 1
    answer 2
    answer 3
    answer 4
    answer 5
  logs: /dev/shm/outlast-drill-7/empty

addresses (skipped)
  it takes root

1 kept, 1 broken, 1 skipped
";
    assert_eq!(Report::text(&three()), want);
}

#[test]
fn a_page_has_the_table() {
    let want = "\
| drill | how | queries | failed | wrong | stale | p99 | gap | detect | recover | lists | watches | other | took | verdict |
| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --- |
| offline | processes | 27000 | 0 | 0 | 11000 | 0.9 ms | 21 ms | 30.2 s | 12.0 s | 6 | 12 | 20 | 83.0 s | kept |
";
    assert_eq!(Report::markdown(&three()[..1]), want);
}

#[test]
fn scripts_read_everything() {
    let json = Report::json(&three());
    assert_eq!((&json["kept"], &json["broken"], &json["skipped"]), (&json!(1), &json!(1), &json!(1)));
    let want = json!({
        "drill": "offline",
        "how": "processes",
        "promise": "answers go on",
        "load": "3 nodes, 100 questions a second each",
        "short": true,
        "seed": 7,
        "without": ["limit", "audit"],
        "verdict": "kept",
        "reasons": [],
        "figures": {
            "queries": 27_000, "failed": 0, "wrong": 0, "stale": 11_000, "p99_us": 900, "gap_ms": 21,
            "detect_ms": 30_250, "recover_ms": 12_000, "lists": 6, "watches": 12, "small": 20,
            "counted_ms": 57_000, "took_ms": 83_050,
        },
        "first_wrong": [],
        "folder": null,
    });
    assert_eq!(json["drills"][0], want);
    assert_eq!(json["drills"][1]["reasons"][0], "failed 2 of 27000, promised 0");
    assert_eq!(json["drills"][1]["folder"], "/dev/shm/outlast-drill-7/empty");
    assert_eq!(
        (&json["drills"][2]["figures"], &json["drills"][2]["verdict"]),
        (&Value::Null, &json!("skipped"))
    );
}

#[test]
fn a_line_is_said_at_the_end_of_each() {
    let lines = three().map(|report| report.line());
    assert_eq!(
        lines,
        [
            "offline: kept in 83.0 s",
            "empty: broken in 83.0 s: failed 2 of 27000, promised 0; not every node said that its answers were old",
            "addresses: skipped: it takes root",
        ]
    );
}

#[test]
fn only_a_broken_promise_is_a_failure() {
    let [kept, broken, skipped] = three();
    for (name, all, want) in [
        ("nothing was played", vec![], 0),
        ("kept", vec![kept.clone()], 0),
        ("kept and skipped", vec![kept.clone(), skipped.clone()], 0),
        ("all of them", vec![kept, broken, skipped], 1),
    ] {
        assert_eq!(Report::exit(&all), want, "{name}");
    }
}
