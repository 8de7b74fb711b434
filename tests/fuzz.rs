//! What was found by fuzzing, replayed: each input of `fuzz/corpus` and `fuzz/found`, and the same with a few bytes changed.
//!
//! `fuzz/run` looks for more of them; `src/testkit/fuzz` says what has to hold.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use outlast::testkit::fuzz::{self, TARGETS, packet};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Fewest inputs that each target has to have: an empty folder must not pass.
const FEWEST: usize = 7;

/// Inputs that are made of those of a target, unless `OUTLAST_TEST_INPUTS` says otherwise: seconds without optimisation.
const MADE: usize = 4_000;

/// Most changes of one of them.
const CHANGES: usize = 4;

/// An input and where it is from.
struct Input {
    path: PathBuf,
    bytes: Vec<u8>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The inputs of a target, by name: the same everywhere.
fn inputs(name: &str) -> Vec<Input> {
    let folders = ["corpus", "found"].map(|folder| root().join("fuzz").join(folder).join(name));
    // Nothing may have been found.
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| Input { bytes: fs::read(&path).unwrap(), path };
    let inputs: Vec<_> = paths.into_iter().map(read).collect();
    assert!(inputs.len() >= FEWEST, "{name} has {} inputs", inputs.len());
    inputs
}

/// Replays the inputs of a target, and as many that are made of them.
fn replay(name: &str) {
    let inputs = inputs(name);
    for Input { path, bytes } in &inputs {
        let holds = catch_unwind(|| fuzz::run(name, bytes)).is_ok();
        assert!(holds, "{}: see above", path.display());
    }
    let made_of = |text: String| text.parse().unwrap();
    let count = std::env::var("OUTLAST_TEST_INPUTS").map_or(MADE, made_of);
    let mut rng = SmallRng::seed_from_u64(1);
    for _ in 0..count {
        let bytes = made(&inputs, &mut rng);
        let holds = catch_unwind(|| fuzz::run(name, &bytes)).is_ok();
        assert!(holds, "see above, and keep this in fuzz/found/{name}: {bytes:02x?}");
    }
}

/// An input with a few changes.
fn made(inputs: &[Input], rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = inputs.choose(rng).unwrap().bytes.clone();
    for _ in 0..rng.random_range(1..=CHANGES) {
        if bytes.is_empty() {
            bytes.push(rng.random());
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..6) {
            0 => bytes[at] = rng.random(),
            // Lengths and pointers.
            1 => bytes[at] = *[0, 1, 0x3f, 0x7f, 0x80, 0xc0, 0xff].choose(rng).unwrap(),
            2 => bytes[at] ^= 1 << rng.random_range(0..8),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            _ => {
                let other = &inputs.choose(rng).unwrap().bytes;
                let from = rng.random_range(0..=other.len());
                bytes.splice(at..at, other[from..].iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn packets_are_answered_rightly_whatever_they_are() {
    replay("packet");
    packet::has_not_panicked();
}

#[test]
fn corefiles_are_read_or_refused_whatever_they_are() {
    replay("corefile");
}

#[test]
fn snapshots_are_read_or_refused_whatever_they_are() {
    replay("snapshot");
}

#[test]
fn hubs_are_believed_or_left_whatever_they_say() {
    replay("feed");
}

#[test]
fn objects_are_read_or_refused_whatever_they_are() {
    replay("object");
}

/// Each function has a target, a corpus and its place in the script.
#[test]
fn every_target_is_run() {
    let script = fs::read_to_string(root().join("fuzz/run")).unwrap();
    let names = TARGETS.map(|target| target.name);
    assert!(script.contains(&format!("targets=({})\n", names.join(" "))));
    for name in names {
        let text = fs::read_to_string(root().join(format!("fuzz/fuzz_targets/{name}.rs"))).unwrap();
        assert!(text.contains(&format!("fuzz::run(\"{name}\", input)")), "{text}");
    }
}
