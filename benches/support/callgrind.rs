//! Instructions, as callgrind counts them: the figure that other work on the machine does not change.
//!
//! A bench runs itself again below `valgrind --tool=callgrind`, where only what happens within [`counted`] is counted.
//! What differs between runs is the hash seed that each process draws; figures of more than a few operations
//! differ by less than a percent for it.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Why nothing was counted.
#[derive(Debug)]
pub(crate) enum NotCounted {
    /// There is no valgrind on this machine.
    NoValgrind,
    /// It ran, and not to its end; for people.
    Failed(String),
}

impl std::fmt::Display for NotCounted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoValgrind => f.write_str("not counted: valgrind is missing (apt-get install valgrind)"),
            Self::Failed(why) => write!(f, "not counted: {why}"),
        }
    }
}

/// What is counted: callgrind knows this function by its name.
#[inline(never)]
pub(crate) fn counted(work: &mut dyn FnMut()) {
    work();
    // Without anything behind it the call would become a jump, which callgrind takes for no call.
    std::hint::black_box(());
}

/// A run below callgrind.
pub(crate) struct Counts {
    /// Instructions of each call of [`counted`], in order.
    pub(crate) calls: Vec<u64>,
    /// What the program printed.
    pub(crate) printed: String,
}

/// Runs this program with these arguments below callgrind, and gives what it counted.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<Counts, NotCounted> {
    let failed = |error: std::io::Error| NotCounted::Failed(error.to_string());
    let folder = tempfile::tempdir().map_err(failed)?;
    let counts = folder.path().join("counts");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*callgrind::counted*"])
        // A file for each call. The pattern is another one because callgrind knows one thing to do by a pattern.
        .arg("--dump-after=*support::callgrind::counted*")
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(std::env::current_exe().map_err(failed)?)
        .args(arguments)
        .output()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => NotCounted::NoValgrind,
            _ => failed(error),
        })?;
    if !run.status.success() {
        return Err(NotCounted::Failed(String::from_utf8_lossy(&run.stderr).into_owned()));
    }
    let mut calls = Vec::new();
    loop {
        let dump = folder.path().join(format!("counts.{}", calls.len() + 1));
        match total(&dump) {
            Ok(Some(total)) => calls.push(total),
            Ok(None) => return Err(NotCounted::Failed(format!("no total in dump {}", calls.len() + 1))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Counts { calls, printed: String::from_utf8_lossy(&run.stdout).into_owned() })
}

/// The total of a dump.
fn total(dump: &Path) -> std::io::Result<Option<u64>> {
    let text = fs::read_to_string(dump)?;
    Ok(text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok()))
}
