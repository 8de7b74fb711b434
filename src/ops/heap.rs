//! The heap of a process that serves: what it needs for a moment, a list or a flood say, does not stay its own.
//!
//! The C library's allocator keeps a heap for each thread that has ever had to wait for another one's, up to eight for
//! a core, and what is free in one is of no use to the others. Two are enough for threads that allocate next to nothing
//! while they answer. Nor does it give free memory back that lies below something in use; it does when it is told to.
//!
//! Other C libraries than GNU's have nothing to set: there these functions do nothing.
//!
//! Invariant of the `unsafe` blocks: both functions take numbers only, and may be called by any thread at any time.
#![expect(unsafe_code, reason = "two functions of the C library that no wrapper has")]

use std::time::Duration;

/// Heaps at most: one, and one for who meets it locked.
#[cfg(target_env = "gnu")]
const HEAPS: i32 = 2;

/// How often memory is given back. Far more often than floods and lists come, far more seldom than it would cost
/// anything.
const PERIOD: Duration = Duration::from_secs(30);

/// Has all threads share few heaps. To be called before there are any.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a number that is an option, and one that is a count.
    let done = unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, HEAPS) };
    #[cfg(target_env = "gnu")]
    if done == 0 {
        tracing::debug!("the allocator takes no limit of its heaps");
    }
}

/// Gives back what is free, again and again; never ends.
pub async fn give_back() {
    let mut beat = tokio::time::interval(PERIOD);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        trim();
    }
}

/// Gives back what is free. Takes as long as there is free memory in pieces: milliseconds after a list.
fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the number of bytes to keep at the end of a heap.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(target_env = "gnu")]
#[cfg(test)]
mod tests {
    use super::*;

    /// Pages of the process that are its own.
    fn anonymous() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_lies_below_something_in_use_is_given_back() {
        share();
        // Too small to be mapped by themselves; the last keeps the heap's end where it is.
        let mut pieces: Vec<_> = (0..40_000).map(|_| vec![1_u8; 2_000]).collect();
        let full = anonymous();
        let last = pieces.pop();
        drop(pieces);
        tokio::select! {
            () = give_back() => {}
            () = tokio::time::sleep(PERIOD * 2) => {}
        }
        let after = anonymous();
        assert!(full > after + 40_000, "{full} kB, and {after} kB after it");
        drop(last);
    }
}
