//! `process_*` and `go_goroutines`: what dashboards made for Go programs ask of every process; and how many tasks each
//! runtime of ours has.
//!
//! Read at the time of a scrape, from `/proc`. CPU seconds have fractions, as in the Go client: whole seconds
//! would make `rate()` over a node's server, which needs little CPU, jump between 0 and too much.

use metrics_process::collector::{Metrics, collect};
use tokio::runtime::RuntimeMetrics;

use super::exposition::{Exposition, FamilyType};

/// Whose tasks are counted.
#[derive(Default)]
pub(super) struct Runtimes {
    /// Those that `go_goroutines` counts together.
    pub(super) together: Vec<RuntimeMetrics>,
    /// Those that `outlast_runtime_tasks` tells of, by name.
    pub(super) each: Vec<(&'static str, RuntimeMetrics)>,
}

/// How many tasks a runtime has.
const RUNTIME_TASKS: &str = "outlast_runtime_tasks";

/// Appends the process's figures now and the numbers of alive tasks of its runtimes.
pub(super) fn render(text: &mut String, runtimes: &Runtimes) {
    let tasks: usize = runtimes.together.iter().map(RuntimeMetrics::num_alive_tasks).sum();
    render_figures(text, &collect(), tasks);
    let mut out = Exposition::append_to(text);
    if !runtimes.each.is_empty() {
        out.family(RUNTIME_TASKS, FamilyType::Gauge, "Tasks of a runtime that have not ended.");
    }
    for (name, runtime) in &runtimes.each {
        out.sample(RUNTIME_TASKS, &[("runtime", name)], runtime.num_alive_tasks());
    }
}

/// Appends these figures; one that the system does not tell is left out.
fn render_figures(text: &mut String, figures: &Metrics, tasks: usize) {
    let mut out = Exposition::append_to(text);
    if let Some(seconds) = figures.cpu_seconds_total {
        let help = "Total user and system CPU time spent in seconds.";
        out.single("process_cpu_seconds_total", FamilyType::Counter, help, seconds);
    }
    let gauges = [
        ("process_open_fds", "Number of open file descriptors.", figures.open_fds),
        ("process_max_fds", "Maximum number of open file descriptors, 0 if unlimited.", figures.max_fds),
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", figures.virtual_memory_bytes),
        (
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory in bytes, 0 if unlimited.",
            figures.virtual_memory_max_bytes,
        ),
        ("process_resident_memory_bytes", "Resident memory size in bytes.", figures.resident_memory_bytes),
        (
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            figures.start_time_seconds,
        ),
        ("process_threads", "Number of OS threads of the process.", figures.threads),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            out.single(name, FamilyType::Gauge, help, value);
        }
    }
    let help = "Number of alive tasks; there are no goroutines, the name keeps panels working.";
    out.single("go_goroutines", FamilyType::Gauge, help, tasks);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_cpu_seconds_are_kept() {
        let mut text = String::new();
        let figures = Metrics { cpu_seconds_total: Some(1.25), threads: Some(3), ..Metrics::default() };
        render_figures(&mut text, &figures, 7);
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
        assert_eq!(
            lines,
            [
                "# TYPE process_cpu_seconds_total counter",
                "process_cpu_seconds_total 1.25",
                "# TYPE process_threads gauge",
                "process_threads 3",
                "# TYPE go_goroutines gauge",
                "go_goroutines 7",
            ]
        );
    }
}
