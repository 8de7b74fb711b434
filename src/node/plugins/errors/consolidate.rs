//! `consolidate DURATION REGEXP [LEVEL] [show_first]`: one line in place of many alike.
//!
//! ```text
//! errors      x   x x    x              x
//! windows     |---period---|            |---period---|
//! lines                    ^ 4 errors like ...       ^ 1 errors like ...
//! ```
//!
//! Invariants:
//! * Memory does not grow with errors: a pattern has one number and, while a window is open, one timer.
//! * A window is closed by its timer or by [`Pattern::flush`], whichever comes first, and told by that one
//!   alone.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regex::Regex;
use tokio::task::AbortHandle;
use tracing::Level;

use super::TARGET;
use crate::corefile::{Error, Line, Statement};

/// The longest expression in bytes, CoreDNS's limit: the automaton that an expression becomes can be much larger
/// than itself.
const MAX_REGEXP: usize = 10_000;

/// How the option is written.
const USAGE: &str = "consolidate DURATION REGEXP [warning|error|info|debug] [show_first]";

/// The levels by their names.
const LEVELS: [(&str, Level); 4] =
    [("warning", Level::WARN), ("error", Level::ERROR), ("info", Level::INFO), ("debug", Level::DEBUG)];

/// The word that has the first error of a window logged at once.
const SHOW_FIRST: &str = "show_first";

/// What becomes of an error that a pattern matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// It is part of the line at the end of the window.
    ToldLater,
    /// It is to be logged now, at this level.
    ToldNow(Level),
}

/// Errors that are counted together.
#[derive(Debug)]
pub(super) struct Pattern {
    /// What their texts match.
    regexp: Regex,
    /// How long a window is open.
    period: Duration,
    /// The level of its line.
    level: Level,
    /// Whether the first error of a window is logged at once.
    show_first: bool,
    /// The window, while it is open. Held for a count only.
    window: Mutex<Option<Window>>,
}

/// The time since an error that no earlier window counted.
#[derive(Debug)]
struct Window {
    /// Errors so far.
    count: u64,
    /// Closes it.
    timer: AbortHandle,
}

impl Pattern {
    /// Reads the option.
    pub(super) fn parse(line: &Line) -> Result<Arc<Self>, Error> {
        let [period, regexp, rest @ ..] = line.expect_args(2..=4, USAGE)? else {
            return Err(line.error(format!("plugin/errors: write '{USAGE}'")));
        };
        let (level, show_first) = match rest {
            [] => (Level::ERROR, false),
            [only] if only.text == SHOW_FIRST => (Level::ERROR, true),
            [level] => (level.choice(&LEVELS)?, false),
            [level, last, ..] => (level.choice(&LEVELS)?, last.choice(&[(SHOW_FIRST, true)])?),
        };
        if regexp.text.len() > MAX_REGEXP {
            let len = regexp.text.len();
            return Err(regexp.error(format!(
                "plugin/errors: the expression has {len} bytes: at most {MAX_REGEXP} are allowed"
            )));
        }
        let compiled = Regex::new(&regexp.text).map_err(|error| {
            regexp.error(format!(
                "plugin/errors: '{}' is not a regular expression: {}",
                regexp.text,
                reason(&error)
            ))
        })?;
        Ok(Arc::new(Self {
            regexp: compiled,
            period: period.duration()?,
            level,
            show_first,
            window: Mutex::new(None),
        }))
    }

    /// Whether errors of this text are counted here.
    pub(super) fn matches(&self, error: &str) -> bool {
        self.regexp.is_match(error)
    }

    /// Counts an error. The first one opens a window, and has to be called within the runtime.
    pub(super) fn count(self: &Arc<Self>) -> Counted {
        let mut window = self.window();
        if let Some(open) = &mut *window {
            open.count += 1;
            return Counted::ToldLater;
        }
        let (pattern, end) = (self.clone(), tokio::time::sleep(self.period));
        let timer = tokio::spawn(async move {
            end.await;
            pattern.flush();
        });
        *window = Some(Window { count: 1, timer: timer.abort_handle() });
        if self.show_first { Counted::ToldNow(self.level) } else { Counted::ToldLater }
    }

    /// Closes the window, if one is open, and tells what it counted.
    pub(super) fn flush(&self) {
        let Some(Window { count, timer }) = self.window().take() else { return };
        timer.abort();
        // The only error was told when it happened.
        if count > 1 || !self.show_first {
            let (regexp, period) = (self.regexp.as_str(), GoDuration(self.period));
            log_at(self.level, format_args!("{count} errors like '{regexp}' occurred in last {period}"));
        }
    }

    fn window(&self) -> MutexGuard<'_, Option<Window>> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last line of a regex error: the lines before it draw the expression, which is in the message already.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Logs a line at a level that the configuration names.
pub(super) fn log_at(level: Level, message: fmt::Arguments<'_>) {
    match level {
        Level::ERROR => tracing::error!(target: TARGET, "{message}"),
        Level::WARN => tracing::warn!(target: TARGET, "{message}"),
        Level::INFO => tracing::info!(target: TARGET, "{message}"),
        Level::DEBUG | Level::TRACE => tracing::debug!(target: TARGET, "{message}"),
    }
}

/// A duration as Go prints it: `1m30s`, `1.5s`, `300ms`.
struct GoDuration(Duration);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", Fraction(nanos, 1_000)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", Fraction(nanos, 1_000_000)),
            _ => {
                let minutes = self.0.as_secs() / 60;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                write!(f, "{}s", Fraction(nanos % 60_000_000_000, 1_000_000_000))
            }
        }
    }
}

/// A number of parts, so many of which are one (a power of ten), with as many decimals as it needs.
struct Fraction(u64, u64);

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(parts, one) = *self;
        write!(f, "{}", parts / one)?;
        let digits = one.ilog10() as usize;
        let decimals = format!("{:0digits$}", parts % one);
        match decimals.trim_end_matches('0') {
            "" => Ok(()),
            decimals => write!(f, ".{decimals}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        for (nanos, want) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5µs"),
            (300_000_000, "300ms"),
            (300_000_010, "300.00001ms"),
            (30_000_000_000, "30s"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (90_250_000_000, "1m30.25s"),
            (3_600_000_000_000, "1h0m0s"),
            (90_061_000_000_000, "25h1m1s"),
        ] {
            assert_eq!(GoDuration(Duration::from_nanos(nanos)).to_string(), want);
        }
    }
}
