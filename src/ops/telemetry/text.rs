//! Lines as CoreDNS writes them: `[LEVEL] target: message`, here followed by `key=value`.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::fields::{Fields, Value};

/// Targets beginning so are CoreDNS's names and are printed whole.
const PLUGIN: &str = "plugin/";

/// The query log's target: its message follows the level directly, as in CoreDNS.
const QUERY_LOG: &str = "plugin/log";

/// Formats events as text lines.
pub(super) struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let fields = Fields::of(event);
        write!(out, "[{}] ", level(metadata.level()))?;
        match prefix(metadata.target()) {
            "" => {}
            target => write!(out, "{target}: ")?,
        }
        // One event is one line, whatever is in it.
        write_escaped(&mut out, &fields.message)?;
        for (name, value) in &fields.others {
            write!(out, " {name}=")?;
            match value {
                Value::Bare(value) => write!(out, "{value}")?,
                Value::Text(text) => write_value(&mut out, text)?,
            }
        }
        out.write_char('\n')
    }
}

/// The line that says that lines are missing.
pub(super) fn dropped_notice(lines: u64) -> String {
    format!("[{}] log: lines dropped, the reader of the log is too slow lines={lines}\n", level(&Level::WARN))
}

/// CoreDNS's names of the levels.
const fn level(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// What stands before the message: plugins whole, our modules by their last name, others whole.
fn prefix(target: &str) -> &str {
    if target == QUERY_LOG {
        return "";
    }
    if target.starts_with(PLUGIN) {
        return target;
    }
    match target.strip_prefix(env!("CARGO_CRATE_NAME")) {
        Some(path) if path.is_empty() || path.starts_with("::") => path.rsplit("::").next().unwrap_or(path),
        _ => target,
    }
}

/// A value, in quotes if it would not be told from what follows.
fn write_value(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    let quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    let plain = |c: char| !(c.is_whitespace() || c.is_control() || c == '"' || c == '=');
    if quoted || (!text.is_empty() && text.chars().all(plain)) {
        write_escaped(out, text)
    } else {
        write!(out, "{text:?}")
    }
}

/// Text with its control characters escaped, so that it can neither end the line nor steer a terminal.
fn write_escaped(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    let mut rest = text;
    while let Some(at) = rest.find(char::is_control) {
        let (clean, tail) = rest.split_at(at);
        out.write_str(clean)?;
        let mut chars = tail.chars();
        if let Some(control) = chars.next() {
            write!(out, "{}", control.escape_default())?;
        }
        rest = chars.as_str();
    }
    out.write_str(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_become_prefixes() {
        for (target, want) in [
            ("plugin/kubernetes", "plugin/kubernetes"),
            ("plugin/log", ""),
            ("plugin/logger", "plugin/logger"),
            ("outlast::store", "store"),
            ("outlast::node", "node"),
            ("outlast", ""),
            ("outlaster::node", "outlaster::node"),
            ("hyper::proto::h1", "hyper::proto::h1"),
        ] {
            assert_eq!(prefix(target), want, "{target}");
        }
    }

    #[test]
    fn values_are_quoted_where_needed() {
        for (value, want) in [
            ("plain", "plain"),
            ("10.0.0.1:53", "10.0.0.1:53"),
            ("", r#""""#),
            ("two words", r#""two words""#),
            ("a=b", r#""a=b""#),
            (r#"a"b"#, r#""a\"b""#),
            (r#""quoted by Debug""#, r#""quoted by Debug""#),
            ("line\nbreak", r#""line\nbreak""#),
            ("\u{1b}[31m", r#""\u{1b}[31m""#),
        ] {
            let mut out = String::new();
            write_value(&mut out, value).unwrap();
            assert_eq!(out, want, "{value:?}");
        }
    }
}
