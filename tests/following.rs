//! Whatever happens to an API server and to a node that follows it: what the node serves was true at some moment that
//! is no longer ago than it says, and once everything is well it serves what is true.
//!
//! Random scripts in paused time, each with a stand-in of its own; `PROPTEST_CASES` says how many. A script that fails
//! is shrunk and printed. With `FOLLOWING_LOG` set, the node's log is printed as well.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]

#[path = "following/known.rs"]
mod known;
#[path = "following/node.rs"]
mod node;
#[path = "common/past.rs"]
mod past;
#[path = "following/play.rs"]
mod play;
#[path = "common/scripts.rs"]
mod scripts;
#[path = "following/step.rs"]
mod step;
#[path = "common/unwired.rs"]
mod unwired;

use self::play::play;
use self::scripts::play_random;
use self::step::{Theme, script};

/// How often a script that fails is made shorter: each try takes up to some seconds.
const SHRINKING: u32 = 400;

fn random(theme: Theme) {
    play_random(&script(theme), SHRINKING, play);
}

#[test]
fn faults() {
    random(Theme::Faults);
}

#[test]
fn restarts() {
    random(Theme::Restarts);
}

#[test]
fn restores() {
    random(Theme::Restores);
}

#[test]
fn known_scripts() {
    known::play_all();
}

#[test]
fn a_gap_is_found_after_a_restart() {
    known::play_gap();
}
