//! Plays random scripts that are made from numbers: a seed is the same script on every machine.
//!
//! What is played is said by variables, each of them for every theme of a test:
//!
//! * `OUTLAST_SIM_FIRST` and `OUTLAST_SIM_COUNT`: the first seed, and how many; 0 and a few if nobody says otherwise.
//! * `OUTLAST_SIM_THREADS`: how many are played at once; 1 if nobody says otherwise.
//! * `OUTLAST_SIM_SECONDS`: after so many seconds none is begun.
//! * `OUTLAST_SIM_SEED`: this one alone, with its log.
//!
//! Every seed of a range is played. One that fails is told with its script, made shorter and printed as Rust, so that it
//! can become a row of the test's known scripts. A panic in whatever task or thread is a failure.

#![allow(clippy::print_stdout, reason = "which seeds were played belongs into the output of the test")]

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use outlast::ops::blocking::Simulating;
use outlast::testkit::node::Log;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// Seeds of each theme, unless somebody says otherwise.
const COUNT: u64 = 16;

/// Failures that are told with their scripts; of the others the seeds are told.
const TOLD: usize = 3;

// === What is played ===

/// The seeds to play, and how.
pub(crate) struct Range {
    /// The first.
    pub(crate) first: u64,
    /// How many.
    pub(crate) count: u64,
    /// How many at once.
    pub(crate) threads: u64,
    /// When none is begun any more.
    pub(crate) end: Option<Instant>,
}

/// The number that a variable has, if it is set.
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// The seed that is played alone, with its log.
fn alone() -> Option<u64> {
    variable("OUTLAST_SIM_SEED")
}

impl Range {
    fn of_environment() -> Self {
        let seconds = variable("OUTLAST_SIM_SECONDS").map(Duration::from_secs);
        let (first, count) = match alone() {
            Some(seed) => (seed, 1),
            None => {
                (variable("OUTLAST_SIM_FIRST").unwrap_or(0), variable("OUTLAST_SIM_COUNT").unwrap_or(COUNT))
            }
        };
        let threads = variable("OUTLAST_SIM_THREADS").unwrap_or(1).clamp(1, count.max(1));
        Self { first, count, threads, end: seconds.map(|seconds| Instant::now() + seconds) }
    }

    fn goes_on(&self) -> bool {
        self.end.is_none_or(|end| Instant::now() < end)
    }
}

/// The script of a seed, and all that are shorter.
pub(crate) fn tree<S: Strategy>(strategy: &S, seed: u64) -> S::Tree {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    strategy.new_tree(&mut runner).unwrap()
}

// === How it is played ===

/// Plays the seeds of `theme` that are asked for, and makes scripts that fail shorter in so many tries at most.
///
/// # Panics
/// With the seeds and scripts that fail, once all are played.
pub(crate) fn play_seeds<S: Strategy>(
    theme: &str,
    shrinking: u32,
    strategy: impl Fn() -> S + Sync,
    play: impl Fn(&S::Value) -> Result<Traces, String> + Sync,
) {
    play_range(theme, &Range::of_environment(), shrinking, strategy, play);
}

/// The same of this range.
pub(crate) fn play_range<S: Strategy>(
    theme: &str,
    range: &Range,
    shrinking: u32,
    strategy: impl Fn() -> S + Sync,
    play: impl Fn(&S::Value) -> Result<Traces, String> + Sync,
) {
    let began = Instant::now();
    let (next, traces, failed) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Vec::new()));
    let lane = || {
        let strategy = strategy();
        while range.goes_on() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= range.count {
                return;
            }
            let seed = range.first + number;
            match whole(|| play(&tree(&strategy, seed).current())) {
                Ok(trace) => drop(traces.fetch_add(trace.value(), Ordering::Relaxed)),
                Err(why) => failed.lock().unwrap_or_else(PoisonError::into_inner).push((seed, why)),
            }
        }
    };
    std::thread::scope(|scope| (0..range.threads).for_each(|_| drop(scope.spawn(lane))));

    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort();
    let played = next.into_inner().min(range.count);
    println!(
        "{theme}: seeds {} to {}, failed {}, traces {:016x}, took {:.1?}",
        range.first,
        (range.first + played).saturating_sub(1),
        failed.len(),
        traces.into_inner(),
        began.elapsed()
    );
    if failed.is_empty() {
        return;
    }
    for (seed, why) in &failed {
        println!("{theme}: seed {seed}: {why}");
    }
    let told = failed.iter().take(TOLD).map(|(seed, why)| {
        let (script, shorter) = shortest(tree(&strategy(), *seed), shrinking, &play);
        let shorter = shorter.unwrap_or_else(|| "not seen with any shorter script".to_owned());
        format!("seed {seed}: {why}\n\nmade shorter: {shorter}\n{script}\n\n")
    });
    let told: String = told.collect();
    let seeds: Vec<_> = failed.iter().map(|(seed, _)| seed).collect();
    panic!("{theme}: {} of {played} seeds failed: {seeds:?}\n\n{told}", failed.len());
}

/// The shortest script that fails still, as Rust, and why; none if it does not fail again.
fn shortest<T: ValueTree>(
    mut tree: T,
    tries: u32,
    play: impl Fn(&T::Value) -> Result<Traces, String>,
) -> (String, Option<String>) {
    let mut last = (format!("{:#?}", tree.current()), None);
    if alone().is_some() || !tree.simplify() {
        return last;
    }
    for _ in 0..tries {
        let script = tree.current();
        let goes_on = match whole(|| play(&script)) {
            Ok(_) => tree.complicate(),
            Err(why) => {
                last = (format!("{script:#?}"), Some(why));
                tree.simplify()
            }
        };
        if !goes_on {
            break;
        }
    }
    last
}

// === In what it is played ===

/// The name of threads for what blocks.
const BLOCKING: &str = "simulated";

/// Runs all of a script in a runtime of its own, in paused time. With `OUTLAST_SIM_SEED` or `OUTLAST_SIM_LOG` the log is
/// printed.
pub(crate) fn in_paused_time<T>(
    seed: u64,
    all: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).thread_name(BLOCKING);
    // Which of several things that are ready comes first depends on the seed, where tokio can be told so.
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
    #[cfg(not(tokio_unstable))]
    let _ = seed;
    let _simulating = Simulating::begin(seed);
    let logged = alone().is_some() || std::env::var_os("OUTLAST_SIM_LOG").is_some();
    let log = logged.then(Log::start);
    let result = builder.build().unwrap().block_on(all);
    if let Some(log) = log {
        println!("{}", log.text());
    }
    result
}

/// What was seen in a play, in short: equal for plays that went alike.
#[derive(Default)]
pub(crate) struct Traces(DefaultHasher);

impl Traces {
    /// This was seen.
    pub(crate) fn note(&mut self, seen: impl Hash) {
        seen.hash(&mut self.0);
    }

    fn value(&self) -> u64 {
        self.0.finish()
    }
}

// === Panics ===

/// Panics of threads that play, and of those for what blocks (without an id), until somebody takes them.
static PANICS: Mutex<Vec<(Option<ThreadId>, String)>> = Mutex::new(Vec::new());

/// Begins to take note of panics.
static NOTING: Once = Once::new();

thread_local! {
    /// Whether this thread plays.
    static PLAYS: Cell<bool> = const { Cell::new(false) };
}

/// Plays to the end: what panics, in whatever task, has failed.
fn whole(play: impl FnOnce() -> Result<Traces, String>) -> Result<Traces, String> {
    NOTING.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let plays = PLAYS.get();
            if plays || thread.name() == Some(BLOCKING) {
                let noted = (plays.then(|| thread.id()), panic.to_string());
                PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(noted);
            }
            usual(panic);
        }));
    });
    PLAYS.set(true);
    let played = catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|_| Err("it panicked".to_owned()));
    PLAYS.set(false);
    let us = std::thread::current().id();
    let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    // A thread for what blocks does not say for whom: whoever comes first has failed.
    let ours = panics.extract_if(.., |(id, _)| id.is_none_or(|id| id == us));
    let ours: Vec<_> = ours.map(|(_, panic)| panic).collect();
    match played {
        played if ours.is_empty() => played,
        Ok(_) => Err(ours.join("\n")),
        Err(why) => Err(format!("{why}\n{}", ours.join("\n"))),
    }
}
