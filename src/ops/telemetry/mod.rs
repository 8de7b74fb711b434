//! Logs: tracing's events as lines, in the form that CoreDNS's users grep or as JSON objects.
//!
//! ```text
//! text   [INFO] plugin/kubernetes: source lost, serving stale data age=31s
//! json   {"timestamp":"…","level":"INFO","target":"plugin/kubernetes","message":"…","fields":{"age":"31s"}}
//! ```
//!
//! Invariants:
//!
//! * An event is one line, whatever is in its values: names in queries are written by strangers.
//! * Logging never waits for the sink: a line goes into a bounded buffer or is dropped and counted
//!   ([`writer`]).
//!
//! What is logged at all is a filter of targets and levels, `OUTLAST_LOG=info,plugin/forward=debug` say; the
//! `debug` plugin switches on debug output of everything that is ours while the process runs.

mod fields;
mod json;
mod text;
pub mod writer;

use std::io::Write;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, fmt, reload};

use writer::{LineBuffer, LogWriter};

/// The environment variable with the filter.
pub const FILTER_VARIABLE: &str = "OUTLAST_LOG";

/// Targets that the `debug` plugin turns on: our modules, and what speaks in CoreDNS's names.
const OWN_TARGETS: [&str; 2] = ["outlast", "plugin/"];

/// What warns of every request that the kernel refuses: many are made to see whether it does, and what a refusal means
/// is said by who asked. Only its errors are logged, unless a filter names it.
const QUIET_TARGET: &str = "nlink";

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: `[LEVEL] target: message key=value`, without timestamps, as CoreDNS writes them.
    #[default]
    Text,
    /// For machines: one JSON object a line, with timestamp, level, target, message and fields.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat(text.to_owned())),
        }
    }
}

/// A log format that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown log format {0:?}: it is text or json")]
pub struct UnknownFormat(String);

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter cannot be read.
    #[error(
        "{FILTER_VARIABLE}={filter:?}: {reason}; it is LEVEL or TARGET=LEVEL, separated by commas, e.g. info,plugin/forward=debug"
    )]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The writer's thread could not be started.
    #[error("starting the log writer: {0}")]
    Thread(#[from] std::io::Error),
    /// There already are logs in this process.
    #[error("logs are already set up")]
    Twice,
}

/// The logs of a process. Keep it until the end: dropping it flushes what is buffered.
pub struct Telemetry {
    /// Turns debug output on and off.
    debug: DebugSwitch,
    /// Writes the lines.
    writer: LogWriter,
}

impl Telemetry {
    /// The switch of the `debug` plugin.
    pub const fn debug_switch(&self) -> &DebugSwitch {
        &self.debug
    }

    /// How many lines were dropped because the sink did not take them.
    pub fn dropped_lines(&self) -> u64 {
        self.writer.dropped()
    }

    /// Waits until what was logged before is written, or `limit` has passed (a sink may hang); whether it is
    /// written.
    pub fn flush(&self, limit: std::time::Duration) -> bool {
        self.writer.flush(limit)
    }
}

/// Turns debug output of our own targets on and off while the process runs.
#[derive(Clone)]
pub struct DebugSwitch {
    /// The filter without it.
    configured: Targets,
    /// Replaces the filter.
    handle: reload::Handle<Targets, Registry>,
}

impl DebugSwitch {
    /// With `on`, our targets log at debug level or as the filter says, whichever is more; else as the filter
    /// says.
    pub fn set(&self, on: bool) {
        let targets = if on { with_debug(&self.configured) } else { self.configured.clone() };
        // It fails only once the subscriber is gone, and then nothing logs anyway.
        let _ = self.handle.reload(targets);
    }
}

/// The filter with debug output of our targets, never less than before.
fn with_debug(configured: &Targets) -> Targets {
    let raise = |level: LevelFilter| level.max(LevelFilter::DEBUG);
    let default = configured.default_level().unwrap_or(LevelFilter::OFF);
    let own = OWN_TARGETS.map(|target| (target.to_owned(), raise(default)));
    // Of two directives for one target the later one counts, so a directive for exactly ours is raised too.
    configured.clone().with_targets(own).with_targets(configured.iter().map(|(target, level)| {
        let is_ours = OWN_TARGETS.iter().any(|own| target.starts_with(own));
        (target.to_owned(), if is_ours { raise(level) } else { level })
    }))
}

/// Reads a filter: `LEVEL` or `TARGET=LEVEL`, separated by commas; empty is `info`. Errors say what is wrong.
pub fn parse_filter(filter: &str) -> Result<Targets, InitError> {
    let bad = |reason: String| InitError::Filter { filter: filter.to_owned(), reason };
    let mut targets = Targets::new().with_default(LevelFilter::INFO);
    for directive in filter.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        let level = |text: &str| {
            text.parse::<LevelFilter>()
                .map_err(|_| bad(format!("{text:?} is no level (off, error, warn, info, debug, trace)")))
        };
        targets = match directive.split_once('=') {
            Some(("", _)) => return Err(bad(format!("{directive:?} names no target"))),
            Some((target, text)) => targets.with_target(target, level(text)?),
            None => targets.with_default(level(directive)?),
        };
    }
    let named = targets.iter().any(|(target, _)| target.starts_with(QUIET_TARGET));
    match targets.default_level() {
        Some(default) if !named => Ok(targets.with_target(QUIET_TARGET, default.min(LevelFilter::ERROR))),
        _ => Ok(targets),
    }
}

/// Sets up the logs of this process on standard output, with the filter of `OUTLAST_LOG` (default `info`).
///
/// Call it once, at the start. Errors: a filter that cannot be read, or a second call.
pub fn init(format: LogFormat) -> Result<Telemetry, InitError> {
    let filter = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let (subscriber, telemetry) = build(format, parse_filter(&filter)?, std::io::stdout())?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError::Twice)?;
    Ok(telemetry)
}

/// The subscriber and its [`Telemetry`] over any sink: for tests, which install it for a thread
/// (`tracing::subscriber::with_default`). Errors: the writer's thread could not be started.
pub fn build(
    format: LogFormat,
    filter: Targets,
    sink: impl Write + Send + 'static,
) -> Result<(impl Subscriber + Send + Sync, Telemetry), InitError> {
    let notice = match format {
        LogFormat::Text => text::dropped_notice,
        LogFormat::Json => json::dropped_notice,
    };
    let writer = LogWriter::start(sink, notice)?;
    let (reloadable, handle) = reload::Layer::new(filter.clone());
    let subscriber = Registry::default().with(reloadable).with(lines(format, writer.buffer()));
    Ok((subscriber, Telemetry { debug: DebugSwitch { configured: filter, handle }, writer }))
}

/// The layer that turns events into lines of `format`.
fn lines<S>(format: LogFormat, buffer: LineBuffer) -> Box<dyn tracing_subscriber::Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    let layer = fmt::layer().with_ansi(false).with_writer(buffer);
    match format {
        LogFormat::Text => Box::new(layer.event_format(text::Text)),
        LogFormat::Json => Box::new(layer.event_format(json::Json)),
    }
}

#[cfg(test)]
mod tests;
