//! Whatever happens to an API server and to a node that follows it: what the node serves was true at some moment that
//! is no longer ago than it says, and once everything is well it serves what is true.
//!
//! Random scripts in paused time, each with a stand-in of its own; `seeds` says which, and how to play one again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]

#[path = "common/asked.rs"]
mod asked;
#[path = "common/disks.rs"]
mod disks;
#[path = "following/known.rs"]
mod known;
#[path = "following/node.rs"]
mod node;
#[path = "common/past.rs"]
mod past;
#[path = "following/play.rs"]
mod play;
#[path = "following/seeding.rs"]
mod seeding;
#[path = "common/seeds.rs"]
mod seeds;
#[path = "following/step.rs"]
mod step;
#[path = "common/unwired.rs"]
#[allow(dead_code, reason = "shared with tests whose nodes are put together in another way")]
mod unwired;

use self::play::play;
use self::seeds::play_seeds;
use self::step::{Theme, script};

/// How often a script that fails is made shorter: each try takes up to some seconds.
const SHRINKING: u32 = 400;

fn name(theme: Theme) -> String {
    format!("following {theme:?}").to_lowercase()
}

fn play_theme(theme: Theme) {
    play_seeds(&name(theme), SHRINKING, || script(theme), play);
}

/// Scripts that are made from seeds.
mod random {
    use super::{Theme, play_theme};

    #[test]
    fn faults() {
        play_theme(Theme::Faults);
    }

    #[test]
    fn restarts() {
        play_theme(Theme::Restarts);
    }

    #[test]
    fn disks() {
        play_theme(Theme::Disks);
    }

    #[test]
    fn restores() {
        play_theme(Theme::Restores);
    }
}

#[test]
fn known_scripts() {
    known::play_all();
}

#[test]
fn a_gap_is_found_after_a_restart() {
    known::play_gap();
}
