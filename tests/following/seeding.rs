//! How seeds are played.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use proptest::strategy::ValueTree as _;

use super::seeds::{Range, Traces, in_paused_time, play_range, tree};

/// So many seeds, of this one and those after it.
fn range(first: u64, count: u64) -> Range {
    Range { first, count, threads: 2, end: None }
}

/// What is said when these seeds are played.
fn failed(range: &Range, play: impl Fn(u64) -> Result<Traces, String> + Sync) -> Option<String> {
    let numbers = || 0..1_000_000u64;
    let played = || play_range("numbers", range, 100, numbers, |number| play(*number));
    let panic = catch_unwind(AssertUnwindSafe(played)).err()?;
    Some(panic.downcast_ref::<String>().unwrap().clone())
}

/// The number that is the script of a seed.
fn number(seed: u64) -> u64 {
    tree(&(0..1_000_000u64), seed).current()
}

#[test]
fn a_seed_is_the_same_script_everywhere() {
    assert_eq!([0, 1, 2, u64::MAX].map(number), [563_445, 574_492, 224_557, 918_965]);
}

#[test]
fn each_seed_of_a_range_is_played_once() {
    let played = Mutex::new(Vec::new());
    let said = failed(&range(40, 100), |number| {
        played.lock().unwrap().push(number);
        Ok(Traces::default())
    });
    assert_eq!(said, None);
    let (mut played, mut want) = (played.into_inner().unwrap(), (40..140).map(number).collect::<Vec<_>>());
    played.sort_unstable();
    want.sort_unstable();
    assert_eq!(played, want);
}

#[test]
fn seeds_that_fail_are_told_and_made_shorter() {
    let play = |number: u64| if number >= 4711 { Err("too much".to_owned()) } else { Ok(Traces::default()) };
    let said = failed(&range(0, 20), play).unwrap();
    let seeds: Vec<_> = (0..20).filter(|seed| number(*seed) >= 4711).collect();
    assert!(said.starts_with(&format!("numbers: {} of 20 seeds failed: {seeds:?}", seeds.len())), "{said}");
    assert!(said.contains(&format!("seed {}: too much", seeds[0])), "{said}");
    assert!(said.contains("made shorter: too much\n4711"), "{said}");
}

#[test]
fn panics_of_tasks_and_threads_are_failures() {
    type Break = fn(u64) -> Result<Traces, String>;
    let here: Break = |_| panic!("here");
    let task: Break = |seed| {
        in_paused_time(seed, async {
            let _ = tokio::spawn(async { panic!("in a task") }).await;
            Ok(Traces::default())
        })
    };
    let thread: Break = |seed| {
        in_paused_time(seed, async {
            let _ = tokio::task::spawn_blocking(|| panic!("in a thread")).await;
            Ok(Traces::default())
        })
    };
    for (what, play) in [("here", here), ("in a task", task), ("in a thread", thread)] {
        let said = failed(&range(0, 1), play).unwrap();
        assert!(said.contains(what), "{said}");
    }
}
