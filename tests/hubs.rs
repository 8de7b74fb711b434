//! Whatever happens to an API server, to hubs, to nodes that follow them and to the connections between: what a node
//! serves was true at some moment that is no longer ago than it says, it never goes back, no digest ever differs, and
//! once everything is well every node serves what is true.
//!
//! Random scripts in paused time, with everything but sockets as it is; `PROPTEST_CASES` says how many. A script that
//! fails is shrunk and printed. With `FOLLOWING_LOG` set, the log is printed as well.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]

#[path = "hubs/known.rs"]
mod known;
#[path = "hubs/node.rs"]
mod node;
#[path = "common/past.rs"]
mod past;
#[path = "hubs/play.rs"]
mod play;
#[path = "common/scripts.rs"]
mod scripts;
#[path = "hubs/step.rs"]
mod step;
#[path = "common/unwired.rs"]
mod unwired;
#[path = "hubs/world.rs"]
mod world;

use self::play::play;
use self::scripts::play_random;
use self::step::{Theme, script};

/// How often a script that fails is made shorter: each try takes up to some seconds.
const SHRINKING: u32 = 300;

fn random(theme: Theme) {
    play_random(&script(theme), SHRINKING, |script| play(script).map(drop));
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
