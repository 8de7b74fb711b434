//! The `outlast` command; everything lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    outlast::cli::run(std::env::args_os().collect())
}
