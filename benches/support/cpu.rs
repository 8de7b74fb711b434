//! The processor time of a process, as the kernel counts it.

use std::ops::Sub;
use std::time::Duration;

/// The kernel's clock ticks (`USER_HZ`): what `/proc` counts processor time in on every architecture of Linux.
const TICKS_A_SECOND: u64 = 100;

/// Processor time of all threads, those that have ended too.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    /// In the program.
    pub(crate) user: Duration,
    /// In the kernel on its behalf.
    pub(crate) system: Duration,
}

impl Cpu {
    /// What this process has spent so far, to a tick of 10 ms.
    pub(crate) fn of(process: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        // Behind the name, which may hold anything: utime and stime are the 14th and 15th of all, see proc(5).
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let mut ticks = rest.split_whitespace().skip(11).map(|n| n.parse::<u64>().unwrap());
        let mut next = || Duration::from_millis(ticks.next().unwrap() * 1000 / TICKS_A_SECOND);
        Self { user: next(), system: next() }
    }

    /// Both together.
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }
}
