use std::path::Path;

use super::*;
use crate::drill::processes::footprint::Footprint;
use crate::drill::test_support::{drill, figures, kept};
use crate::drill::{Drill, Play};
use crate::ops::switches::Protection;

/// How drills are played here.
fn play() -> Play<'static> {
    Play {
        folder: Path::new("/nowhere"),
        program: Path::new("/nowhere/outlast"),
        short: true,
        minutes: None,
        without: &[Without::Limit, Without::Switched(Protection::Audit)],
        seed: 7,
        say: &|_| {},
    }
}

/// A report on a drill that saw this.
fn observed(name: &'static str, figures: Figures, first_wrong: usize) -> Report {
    let first_wrong = (1..=first_wrong).map(|n| format!("answer {n}")).collect();
    let observed = Observed { figures, first_wrong, ..Observed::default() };
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
        "notes": [],
        "growth": [],
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

#[test]
fn what_processes_have_at_first_and_at_last_is_a_table_of_its_own() {
    let of = |rss_mib: u64| Footprint {
        rss: rss_mib << 20,
        private: 20 << 20,
        descriptors: 30,
        threads: 9,
        tasks: 25,
        snapshots: 3 << 20,
    };
    let grown = |process: &str, last| Growth { process: process.to_owned(), first: of(40), last: of(last) };
    let observed = Observed {
        figures: figures(),
        notes: vec!["10 of 10 changes".to_owned(), "no more".to_owned()],
        growth: vec![grown("node-0", 41), grown("hub-0", 60)],
        ..Observed::default()
    };
    let report = Report::observed(&drill("soak", kept), &play(), observed, Duration::from_millis(83_050));
    let text = Report::text(std::slice::from_ref(&report));
    let want = "
soak: 10 of 10 changes; no more
process        RSS, MiB    private, MiB  descriptors  threads     tasks  snapshots, MiB
node-0   40.00 -> 41.00  20.00 -> 20.00     30 -> 30   9 -> 9  25 -> 25    3.00 -> 3.00
hub-0    40.00 -> 60.00  20.00 -> 20.00     30 -> 30   9 -> 9  25 -> 25    3.00 -> 3.00

soak (broken)
  promise: answers go on
  hub-0 has 60.00 MiB of memory, at first 40.00, promised 58.00
";
    assert!(text.contains(want), "{text}");
    let page = Report::markdown(std::slice::from_ref(&report));
    let want = "
soak: 10 of 10 changes; no more:

| process | RSS, MiB | private, MiB | descriptors | threads | tasks | snapshots, MiB |
| --- | --: | --: | --: | --: | --: | --: |
| node-0 | 40.00 -> 41.00 | 20.00 -> 20.00 | 30 -> 30 | 9 -> 9 | 25 -> 25 | 3.00 -> 3.00 |
";
    assert!(page.contains(want), "{page}");
    let json = Report::json(&[report]);
    assert_eq!(json["drills"][0]["growth"][1]["last"]["rss"], 60 << 20);
    assert_eq!(json["drills"][0]["notes"][1], "no more");
}
