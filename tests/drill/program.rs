//! The program that drills are played with: that of this build or, where a variable names another one, that: as it is shipped
//! it takes a tenth of the processor's time, so that more is played at once.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use super::process::isolate;

/// Names the program to be played with: of the same commit, built to be shipped.
const VARIABLE: &str = "OUTLAST_TEST_SHIPPED";

/// How many drills are played at once with a program that was built to be tested, and with one to be shipped.
const AT_ONCE: (usize, usize) = (4, 8);

/// The program to be shipped, if it is that one.
///
/// # Panics
/// There is no such program.
fn shipped() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(VARIABLE)?);
    // Relative paths are the repository's; those of processes are their own.
    Some(path.canonicalize().unwrap_or_else(|error| panic!("{VARIABLE}: {}: {error}", path.display())))
}

/// Where the program is.
pub(super) fn path() -> PathBuf {
    shipped().unwrap_or_else(|| env!("CARGO_BIN_EXE_outlast").into())
}

/// The program, without what this process's own environment would tell it.
pub(super) fn command() -> Command {
    let mut command = Command::new(path());
    isolate(&mut command);
    command
}

/// How many drills are played at once.
pub(super) fn at_once() -> usize {
    if shipped().is_some() { AT_ONCE.1 } else { AT_ONCE.0 }
}

/// Drills measure: whoever makes load has its turn alone, in this and other tests.
pub(super) fn turn() -> File {
    let file = File::create(concat!(env!("CARGO_TARGET_TMPDIR"), "/load")).unwrap();
    file.lock().unwrap();
    file
}

/// A turn for what takes little of the processor as it is shipped, and does not measure.
pub(super) fn turn_unless_shipped() -> Option<File> {
    shipped().is_none().then(turn)
}
