//! What anybody may send us, as plain functions of bytes: each reads its input as a node or a hub would, and asserts what
//! has to hold whatever the bytes are.
//!
//! `fuzz/` has a target for each, which looks for inputs of other ways through the code; `tests/fuzz.rs` replays what it
//! has found. A function that returns has found nothing wrong.

mod corefile;
mod feed;
mod object;
pub mod packet;
mod snapshot;

/// One of the functions.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the target, and of the folder of its corpus.
    pub name: &'static str,
    /// Takes one input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 5] = [
    Target { name: "packet", run: packet::run },
    Target { name: "corefile", run: corefile::run },
    Target { name: "snapshot", run: snapshot::run },
    Target { name: "feed", run: feed::run },
    Target { name: "object", run: object::run },
];

/// Runs the target of this name.
///
/// # Panics
/// If there is none, or if something does not hold.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(input);
}
