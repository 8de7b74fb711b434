//! The allocator that a process is told to have, so that one program measures all of them.

#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicU8, Ordering};

/// The environment variable that names it.
pub(crate) const VARIABLE: &str = "OUTLAST_BENCH_ALLOCATOR";

/// Most of an environment that is looked through for it.
const ENVIRONMENT: usize = 64 << 10;

/// Not yet decided.
const UNDECIDED: u8 = 0;
/// The C library's.
const SYSTEM: u8 = 1;
/// mimalloc.
const MIMALLOC: u8 = 2;
/// jemalloc.
const JEMALLOC: u8 = 3;

/// Which one it is; decided by the first allocation, before there is a second thread.
static CHOSEN: AtomicU8 = AtomicU8::new(UNDECIDED);

/// The allocator that the environment names; the C library's if it names none.
pub(crate) struct Chosen;

fn chosen() -> u8 {
    match CHOSEN.load(Ordering::Relaxed) {
        UNDECIDED => {
            let chosen = named();
            CHOSEN.store(chosen, Ordering::Relaxed);
            chosen
        }
        chosen => chosen,
    }
}

/// What the environment names. Allocates nothing: that would lead back here.
fn named() -> u8 {
    let mut environment = [0; ENVIRONMENT];
    let mut length = 0;
    if let Ok(mut file) = File::open("/proc/self/environ") {
        while let Ok(read @ 1..) = file.read(&mut environment[length..]) {
            length += read;
        }
    }
    let value = environment[..length].split(|byte| *byte == 0).find_map(|variable| {
        variable.strip_prefix(VARIABLE.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
    });
    match value {
        Some(b"mimalloc") => MIMALLOC,
        Some(b"jemalloc") => JEMALLOC,
        _ => SYSTEM,
    }
}

/// Calls a function of the allocator that was chosen.
macro_rules! of_chosen {
    ($function:ident($($argument:expr),+)) => {
        match chosen() {
            // SAFETY: the caller keeps the contract, which is the same for all; what one gave, the same takes back,
            // because the choice is made once.
            #[cfg(feature = "allocators")]
            MIMALLOC => unsafe { mimalloc::MiMalloc.$function($($argument),+) },
            // SAFETY: as above.
            JEMALLOC => unsafe { tikv_jemallocator::Jemalloc.$function($($argument),+) },
            // SAFETY: as above.
            _ => unsafe { System.$function($($argument),+) },
        }
    };
}

// SAFETY: every call goes to one and the same allocator as it came.
unsafe impl GlobalAlloc for Chosen {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        of_chosen!(alloc(layout))
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        of_chosen!(alloc_zeroed(layout))
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        of_chosen!(dealloc(at, layout));
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        of_chosen!(realloc(at, layout, size))
    }
}
