//! `stacktrace`: where a query's handling panicked, and by which calls it got there.
//!
//! A panic's place is known to the panic hook alone, which runs before the stack is unwound; what catches the panic
//! afterwards finds but its message. So a hook takes notes for the thread while one of our futures is polled on it
//! ([`watch`]), and the notes are read where the panic is caught.
//!
//! Invariants:
//! * Panics outside of [`watch`] are none of the hook's business: it hands every panic on to the hook before it.
//! * A panic goes on after it is told: it is the router that counts it and answers.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Once;
use std::task::Poll;

use super::TARGET;
use crate::node::plugins::log::names::{NameText, TypeText};
use crate::node::query::Query;

/// Calls that are told of, from the one that panicked: further out it is the same for every query.
const MAX_CALLS: usize = 16;

/// Begins of the names of functions that are the panic itself.
const MACHINERY: [&str; 4] =
    ["core::panicking::", "std::panicking::begin_panic", "rust_begin_unwind", "__rustc::rust_begin_unwind"];

/// Part of the names of this module's functions: what called them is the same for every query.
const WATCHER: &str = "::errors::panics::";

thread_local! {
    /// Whether this thread is within [`watch`].
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    /// What the hook has noted.
    static REPORT: RefCell<Option<Report>> = const { RefCell::new(None) };
}

/// What is known of a panic.
#[derive(Debug)]
pub(super) struct Report {
    /// What it said.
    message: String,
    /// `FILE:LINE:COLUMN`
    location: String,
    /// The calls that led to it, the innermost first.
    calls: Vec<String>,
}

impl Report {
    fn of(info: &PanicHookInfo<'_>) -> Self {
        let backtrace = Backtrace::force_capture().to_string();
        Self {
            message: info.payload_as_str().unwrap_or("no message").to_owned(),
            location: info.location().map(ToString::to_string).unwrap_or_default(),
            calls: calls(&backtrace),
        }
    }

    /// Logs it as what became of `query`.
    pub(super) fn log(&self, query: &Query) {
        let (name, kind) = (NameText(query.labels()), TypeText(query.kind()));
        tracing::error!(target: TARGET, location = %self.location, calls = %self.calls.join(" < "),
            "2 {name} {kind}: panic: {}", self.message);
    }
}

/// Installs the hook, once for the process.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if WATCHING.get() {
                // It fails on a thread that is ending, where nothing is polled any more.
                let _ = REPORT.try_with(|report| report.replace(Some(Report::of(info))));
            }
            previous(info);
        }));
    });
}

/// Runs `future`. If it panics, `tell` is told of it and the panic goes on.
pub(super) async fn watch<F: Future>(future: F, tell: impl Fn(&Report)) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        // Every poll may be on another thread.
        let outer = WATCHING.replace(true);
        // The future is not touched again after it has panicked.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        WATCHING.set(outer);
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(output),
            Err(payload) => {
                // It is told once, by the innermost who watches.
                if let Some(report) = REPORT.take() {
                    tell(&report);
                }
                resume_unwind(payload)
            }
        }
    })
    .await
}

/// The calls of a backtrace as std prints it, from the one that panicked to the one that is watched:
/// `FUNCTION (FILE:LINE:COLUMN)`, at most [`MAX_CALLS`].
fn calls(backtrace: &str) -> Vec<String> {
    let mut calls: Vec<(&str, &str)> = Vec::new();
    for line in backtrace.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("at ") {
            if let Some((_, at)) = calls.last_mut() {
                *at = place;
            }
        } else if let Some((number, function)) = line.split_once(": ")
            && number.bytes().all(|b| b.is_ascii_digit())
        {
            calls.push((function, ""));
        }
    }
    let machinery = |(function, _): &(&str, &str)| MACHINERY.iter().any(|name| function.starts_with(name));
    let first = calls.iter().rposition(machinery).map_or(0, |last| last + 1);
    let text = |(function, place): &(&str, &str)| match *place {
        "" => (*function).to_owned(),
        place => format!("{function} ({place})"),
    };
    let watched = calls.iter().skip(first).take_while(|(function, _)| !function.contains(WATCHER));
    watched.take(MAX_CALLS).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_those_between_the_panic_and_the_watcher() {
        let backtrace = "   0: std::backtrace::Backtrace::force_capture
             at /rustc/1/library/std/src/backtrace.rs:1:9
   1: outlast::node::plugins::errors::panics::install::{{closure}}::{{closure}}
   2: core::panicking::panic_fmt
             at /rustc/1/library/core/src/panicking.rs:80:14
   3: outlast::zone::table::lookup
             at ./src/zone/table.rs:42:7
   4: <outlast::x::Y as outlast::Plugin>::serve::{{closure}}
   5: outlast::node::plugins::errors::panics::watch::{{closure}}
             at ./src/x.rs:1:1
   6: main
";
        assert_eq!(
            calls(backtrace),
            [
                "outlast::zone::table::lookup (./src/zone/table.rs:42:7)",
                "<outlast::x::Y as outlast::Plugin>::serve::{{closure}}",
            ]
        );
        let long: String = (0..100).map(|i| format!("{i}: f{i}\n")).collect();
        assert_eq!(calls(&long).len(), MAX_CALLS);
        assert_eq!(calls("disabled backtrace"), [""; 0]);
    }
}
