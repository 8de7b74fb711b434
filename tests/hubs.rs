//! Whatever happens to an API server, to hubs, to nodes that follow them and to the connections between: what a node
//! serves was true at some moment that is no longer ago than it says, it never goes back, no digest ever differs, and
//! once everything is well every node serves what is true.
//!
//! Random scripts in paused time, with everything but sockets as it is; `seeds` says which, and how to play one again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]

#[path = "common/asked.rs"]
mod asked;
#[path = "common/disks.rs"]
mod disks;
#[path = "hubs/known.rs"]
mod known;
#[path = "hubs/node.rs"]
mod node;
#[path = "common/past.rs"]
mod past;
#[path = "hubs/play.rs"]
mod play;
#[path = "common/seeds.rs"]
mod seeds;
#[path = "hubs/step.rs"]
mod step;
#[path = "common/unwired.rs"]
#[allow(dead_code, reason = "shared with tests whose nodes are put together in another way")]
mod unwired;
#[path = "hubs/world.rs"]
mod world;

use self::play::play;
use self::seeds::{Traces, play_seeds};
use self::step::{Script, Theme, script};

/// How often a script that fails is made shorter: each try takes up to some seconds.
const SHRINKING: u32 = 300;

fn name(theme: Theme) -> String {
    format!("hubs {theme:?}").to_lowercase()
}

fn traces(script: &Script) -> Result<Traces, String> {
    play(script).map(|played| played.traces)
}

fn play_theme(theme: Theme) {
    play_seeds(&name(theme), SHRINKING, || script(theme), traces);
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

    #[test]
    fn losses() {
        play_theme(Theme::Losses);
    }
}

#[test]
fn known_scripts() {
    known::play_all();
}
