//! A day's changes replayed as fast as they go, and what becomes of a node's memory, with each allocator that it could
//! have.
//!
//! ```text
//! cargo bench --features allocators --bench churn [-- --quick] [--only NAME]
//! ```
//!
//! Without the feature mimalloc is not measured; with a name only those whose names contain it.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::panic, reason = "a bench that cannot measure has to fail")]

#[path = "churn/allocator.rs"]
mod allocator;
#[path = "churn/node.rs"]
mod node;
mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use outlast::drill::day::{CHANGES, Day};
use outlast::feed::digests::Digests;
use outlast::feed::entry::Entry;
use outlast::feed::frame::{Batch, Frame, Packet};
use outlast::feed::wire;
use outlast::ops::heap::SETTINGS;
use outlast::testkit::cluster::Cluster;
use prost::Message;

use support::cluster::table;
use support::memory::megabytes;
use support::{Figures, grouped, snapshot};

#[global_allocator]
static ALLOCATOR: allocator::Chosen = allocator::Chosen;

/// Changes between two snapshots, a minute's.
const CHANGES_A_SNAPSHOT: u64 = 600;

/// How often the memory is looked at, but for the beginning.
const MARKS: u64 = 4;

/// Makes this program the node.
const NODE: &str = "--node";

/// An allocator and how it is set.
struct Choice {
    /// For people.
    name: &'static str,
    /// As `allocator.rs` knows it.
    allocator: &'static str,
    /// How it is told what to do: a variable of its environment, and its value.
    settings: Option<(&'static str, &'static str)>,
}

/// Where jemalloc reads its settings, in front of those that it is built with.
const JEMALLOC: &str = "_RJEM_MALLOC_CONF";

/// What a node sets.
const OF_A_NODE: &str = match SETTINGS.to_str() {
    Ok(settings) => settings,
    Err(_) => panic!("settings are plain text"),
};

/// What a node could have.
const CHOICES: &[Choice] = &[
    Choice { name: "as a node has it", allocator: "jemalloc", settings: Some((JEMALLOC, OF_A_NODE)) },
    Choice { name: "jemalloc's defaults", allocator: "jemalloc", settings: None },
    Choice {
        name: "jemalloc, 2 arenas, decays in 1 s",
        allocator: "jemalloc",
        settings: Some((JEMALLOC, "narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0")),
    },
    Choice { name: "glibc", allocator: "glibc", settings: None },
    Choice { name: "glibc, 2 arenas", allocator: "glibc", settings: Some(("MALLOC_ARENA_MAX", "2")) },
    Choice { name: "glibc, 1 arena", allocator: "glibc", settings: Some(("MALLOC_ARENA_MAX", "1")) },
    #[cfg(feature = "allocators")]
    Choice { name: "mimalloc", allocator: "mimalloc", settings: None },
    #[cfg(feature = "allocators")]
    Choice {
        name: "mimalloc, purges at once",
        allocator: "mimalloc",
        settings: Some(("MIMALLOC_PURGE_DELAY", "0")),
    },
];

/// The cluster, and how many changes it sees.
fn sizes(quick: bool) -> (Cluster, u64) {
    if quick { (Cluster::sized(1_000, 10_000), 6_000) } else { (Cluster::benchmark(), CHANGES) }
}

/// Sends a day's changes, as a hub would; returns how many there were.
fn send(cluster: Cluster, changes: u64, mut to: impl Write) -> std::io::Result<u64> {
    let (mut day, mut sent) = (Day::of(cluster, 1), 0);
    while sent < changes {
        for change in day.go_on() {
            let entries = vec![Entry::from(change)];
            let (cluster_uid, position) = ("bench".to_owned(), None);
            let batch = Batch { cluster_uid, position, digests: Digests::default(), entries, holds: None };
            let message: wire::FollowReply = Packet::from(&Frame::Batch(batch)).into();
            let bytes = message.encode_to_vec();
            to.write_all(&(bytes.len() as u32).to_le_bytes())?;
            to.write_all(&bytes)?;
            sent += 1;
        }
    }
    to.flush()?;
    Ok(sent)
}

/// What a node said of itself: a word and its numbers.
struct Said(Vec<(String, Vec<u64>)>);

impl Said {
    fn of(text: &str) -> Self {
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.filter_map(|word| word.parse().ok()).collect()))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// The numbers behind each such word.
    fn all(&self, word: &str) -> impl Iterator<Item = &[u64]> {
        self.0.iter().filter(move |(w, _)| w == word).map(|(_, numbers)| &**numbers)
    }

    /// The number behind the first such word.
    fn one(&self, word: &str) -> u64 {
        let number = self.all(word).next().and_then(|numbers| numbers.first());
        *number.unwrap_or_else(|| panic!("a node says {word}"))
    }
}

/// Has a process of its own live through the day.
fn live(choice: &Choice, dir: &Path, quick: bool) -> Said {
    let (cluster, changes) = sizes(quick);
    let this = std::env::current_exe().expect("a program has a path");
    let mut node = Command::new(this)
        .arg(NODE)
        .arg(dir)
        .args(quick.then_some("--quick"))
        .env(allocator::VARIABLE, choice.allocator)
        .envs(choice.settings)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let input = node.stdin.take().expect("it is a pipe");
    // What it says fits into its pipe.
    let sent = send(cluster, changes, std::io::BufWriter::new(input)).expect("it listens to the end");
    let output = node.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the node came to the end: {}", output.status);
    let said = Said::of(&String::from_utf8_lossy(&output.stdout));
    assert!(said.one("generation") > sent, "every change was a generation");
    said
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|a| a == "--quick");
    let (cluster, changes) = sizes(quick);
    if let Some(at) = arguments.iter().position(|a| a == NODE) {
        return node::run(Path::new(&arguments[at + 1]), cluster, changes);
    }
    let marks = (0..=MARKS).map(|at| format!("{} %", 100 * at / MARKS));
    let head = ["allocator", "loaded", "peak of the load"].map(str::to_owned).into_iter().chain(marks);
    let ends = ["peak of the day", "CPU", "an answer", "answers"].map(str::to_owned);
    let mut figures = Figures::new(head.chain(ends));
    let only = arguments.iter().position(|a| a == "--only").and_then(|at| arguments.get(at + 1));
    for choice in CHOICES.iter().filter(|choice| only.is_none_or(|name| choice.name.contains(&**name))) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let table = table(cluster.objects());
        let (header, endpoints) = (snapshot::header(&table), table.endpoint_count());
        snapshot::folder(dir.path()).save(&header, table.objects()).expect("saved");
        drop(table);
        let said = live(choice, dir.path(), quick);
        assert_eq!(said.one("endpoints"), endpoints as u64, "the day ends as it began");
        let loaded = said.all("loaded").next().unwrap_or_default();
        let at: Vec<_> = said.all("at").map(<[u64]>::to_vec).collect();
        assert_eq!(at.len() as u64, MARKS + 1, "all of the day was seen");
        let day = at.iter().map(|numbers| megabytes(numbers[0]));
        let peak = at.last().map_or(0, |numbers| numbers[1]);
        let ends = [
            megabytes(peak),
            format!("{:.1} s", said.one("cpu") as f64 / 1e3),
            format!("{} ns", said.one("answer")),
            grouped(said.one("answered")),
        ];
        let begin = [choice.name.to_owned()].into_iter().chain(loaded.iter().map(|bytes| megabytes(*bytes)));
        figures.row(begin.chain(day).chain(ends));
    }
    figures.print(&format!("Resident memory through {} changes, one process an allocator", grouped(changes)));
}
