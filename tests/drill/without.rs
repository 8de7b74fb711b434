//! Every drill without each protection that it is about: it breaks its promise. A drill that cannot fail shows nothing.

use std::collections::VecDeque;
use std::sync::Mutex;

use outlast::drill::How;
use outlast::drill::catalogue::DRILLS;

use super::program::{at_once, turn};
use super::short::play;

/// What reasons say that are of figures: what was answered, when, what the API server was asked, how old data is said to be,
/// and what is on a disk. Another sentence, on what can be seen with the protection only, shows nothing about whoever judges.
const OF_FIGURES: [&str; 6] = [
    ", promised",
    "not every node said",
    "answers said",
    "nodes have asked",
    "ages of data are",
    ", at first",
];

#[test]
fn no_drill_keeps_its_promise_without_what_it_is_about() {
    let _turn = turn();
    let each = |drill: &'static outlast::drill::Drill| {
        drill.without.iter().map(move |without| (drill, without.as_str()))
    };
    let left: Mutex<VecDeque<_>> = Mutex::new(DRILLS.iter().flat_map(each).collect());
    let kept = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once() {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().pop_front();
                    let Some((drill, without)) = next else { return };
                    let (code, reports) = play(&[drill.name, "--without", without]);
                    let [report] = &reports[..] else { panic!("{reports:?}") };
                    let skipped = drill.how == How::Root && report["verdict"] == "skipped";
                    // One that was not played through has shown nothing, either.
                    let shows = report["reasons"].as_array().unwrap().iter().any(|reason| {
                        OF_FIGURES.iter().any(|words| reason.as_str().unwrap().contains(words))
                    });
                    let broken = code == 1 && report["verdict"] == "broken" && shows;
                    if !broken && !skipped {
                        kept.lock().unwrap().push(format!("{} without {without}: {report:#}", drill.name));
                    }
                }
            });
        }
    });
    let kept = kept.into_inner().unwrap();
    assert!(kept.is_empty(), "{}", kept.join("\n"));
}
