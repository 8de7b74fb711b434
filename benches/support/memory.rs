//! The memory of a process, as the kernel counts it.

/// Resident memory in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// Now (`VmRSS`).
    pub(crate) now: u64,
    /// At most so far (`VmHWM`).
    pub(crate) peak: u64,
    /// Of what there is now, what lies in no file (`RssAnon`): the rest is the program itself, which the kernel reads
    /// again when it needs the memory.
    pub(crate) anonymous: u64,
}

impl Memory {
    /// Of this process; zero where there is no `/proc`.
    pub(crate) fn read() -> Self {
        Self::of("self")
    }

    /// Of this process (an id, or `self`); zero where there is none.
    pub(crate) fn of(process: impl std::fmt::Display) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        let [now, peak, anonymous] = ["VmRSS:", "VmHWM:", "RssAnon:"].map(|name| field(name).unwrap_or(0));
        Self { now, peak, anonymous }
    }

    /// Lets the peak of a process begin anew, with what it has now; see proc(5), `clear_refs`. Errors where the
    /// kernel or the container does not allow it.
    pub(crate) fn reset_peak(process: u32) -> std::io::Result<()> {
        std::fs::write(format!("/proc/{process}/clear_refs"), "5")
    }
}

/// Megabytes with one digit behind the point.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
