//! Instructions of what a node does most, counted by callgrind, and a check that they have not grown.
//!
//! ```text
//! .ci/instructions [--check FILE | --write FILE]
//! ```
//!
//! The code is built as it is shipped. Without an option it prints. `--check` compares with `benches/instructions.txt` (or
//! another file) and fails where an operation takes a tenth more than it did; `--write` makes the file anew. Rows are in
//! `instructions/rows.rs`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its figures")]

#[path = "instructions/record.rs"]
mod record;
#[path = "instructions/rows.rs"]
mod rows;
mod support;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;

use record::Record;
use support::callgrind::{self, counted};

/// The build whose instructions compare: another one inlines other things.
const PROFILE: &str = "dist";

/// Makes this program do each row's work and print the rows' names and how often they did it.
const COUNT: &str = "--count";

/// What becomes of the figures.
enum Mode {
    /// They are printed.
    Print,
    /// They are compared with those of a file.
    Check(PathBuf),
    /// They become those of a file.
    Write(PathBuf),
}

impl Mode {
    /// Reads the arguments; cargo itself adds `--bench`.
    fn from_args(arguments: &[String]) -> Self {
        let file = |option: &str| {
            let at = arguments.iter().position(|a| a == option)?;
            Some(PathBuf::from(arguments.get(at + 1).expect("a file follows the option")))
        };
        match (file("--check"), file("--write")) {
            (Some(file), _) => Self::Check(file),
            (None, Some(file)) => Self::Write(file),
            (None, None) => Self::Print,
        }
    }
}

/// What runs under callgrind.
fn count(quick: bool) {
    rows::each(quick, |row| {
        // Once before, so that what is made at first use is not counted.
        (row.work)();
        counted(&mut *row.work);
        println!("{}\t{}", row.operations, row.name);
    });
}

/// The figures of this program.
fn measure(quick: bool) -> Result<Record, String> {
    let arguments = [COUNT, "--quick"];
    let run = callgrind::run(&arguments[..=usize::from(quick)]).map_err(|why| why.to_string())?;
    let rows: Vec<_> = run.printed.lines().filter_map(|line| line.split_once('\t')).collect();
    if rows.len() != run.calls.len() || rows.is_empty() {
        return Err(format!("{} rows and {} counts", rows.len(), run.calls.len()));
    }
    let mut record = Record::default();
    for ((operations, name), total) in rows.into_iter().zip(run.calls) {
        let operations: u64 = operations.parse().map_err(|e| format!("{name}: {operations}: {e}"))?;
        record.add(name, (total + operations / 2) / operations);
    }
    Ok(record)
}

/// The cargo profile that this program was built in: its folder is named after it.
fn profile() -> Option<String> {
    let this = std::env::current_exe().ok()?;
    // target/PROFILE/deps/PROGRAM
    this.ancestors().nth(2).and_then(|p| p.file_name()).and_then(OsStr::to_str).map(str::to_owned)
}

fn run(mode: &Mode, quick: bool) -> Result<ExitCode, String> {
    if !matches!(mode, Mode::Print) && (quick || profile().as_deref() != Some(PROFILE)) {
        return Err(format!(
            "figures compare only without --quick and as .ci/instructions builds it (profile {PROFILE})"
        ));
    }
    let found = match (measure(quick), mode) {
        (Ok(found), _) => found,
        (Err(why), Mode::Print) => {
            println!("{why}");
            return Ok(ExitCode::SUCCESS);
        }
        (Err(why), _) => return Err(why),
    };
    match mode {
        Mode::Print => found.print(),
        Mode::Write(file) => found.write(file)?,
        Mode::Check(file) => return Ok(Record::read(file)?.check(&found, file)),
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|a| a == "--quick");
    if arguments.iter().any(|a| a == COUNT) {
        count(quick);
        return ExitCode::SUCCESS;
    }
    run(&Mode::from_args(&arguments), quick).unwrap_or_else(|why| {
        eprintln!("instructions: {why}");
        ExitCode::FAILURE
    })
}
