//! Threads that give way to those that answer.
//!
//! A list of a large cluster keeps a core busy for a while. Where all cores are, a query would wait for the end of its
//! turn; a thread that is nicer than others is interrupted at once for them, and has a third of their share where
//! everybody is busy. Within a container that is a matter of its own threads alone: its share of the machine stays what
//! it is.

/// How much nicer than others, `setpriority(2)`: a third of their share.
const NICENESS: i32 = 5;

/// Has the calling thread give way to the others of the process, and all threads that it starts. Without it queries only
/// wait longer while a list is taken.
pub fn give_way() {
    // Linux has priorities of threads: this is the calling one's.
    let niceness = rustix::process::getpriority_process(None).unwrap_or(0).max(0);
    if let Err(error) = rustix::process::setpriority_process(None, (niceness + NICENESS).min(19)) {
        tracing::debug!(%error, "giving way to threads that answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn a_thread_gives_way_with_those_that_it_starts_and_nobody_else() {
        let before = niceness();
        let (own, started) = std::thread::spawn(|| {
            give_way();
            (niceness(), std::thread::spawn(niceness).join().unwrap())
        })
        .join()
        .unwrap();
        assert_eq!((own, started), ((before.max(0) + NICENESS).min(19), own));
        assert_eq!(niceness(), before);
    }
}
