//! The `outlast` command. Everything lives in the library but the allocator, which is for a program to choose.
#![expect(unsafe_code, reason = "the allocator reads its settings at a symbol, and no wrapper makes that")]

use std::process::ExitCode;

use outlast::ops::heap::SETTINGS;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Where jemalloc looks for its settings before anything runs: a `const char *`, as this type is one that may be null.
// SAFETY: nothing else has this name but the empty one of jemalloc's that it takes the place of.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: Option<&[u8; SETTINGS.to_bytes_with_nul().len()]> =
    SETTINGS.to_bytes_with_nul().first_chunk();

fn main() -> ExitCode {
    outlast::cli::run(std::env::args_os().collect())
}
