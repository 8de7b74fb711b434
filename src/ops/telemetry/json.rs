//! Lines as JSON objects: timestamp (RFC 3339, UTC), level, target, message, fields.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::fields::{Fields, Value};

/// Formats events as JSON objects, one a line.
pub(super) struct Json;

/// One object.
#[derive(Serialize)]
struct Line<'a> {
    /// RFC 3339, UTC, microseconds.
    timestamp: String,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG`, `TRACE`.
    level: &'a str,
    /// The whole target: the module's path, or `plugin/NAME`.
    target: &'a str,
    /// What happened.
    message: &'a str,
    /// The other values; absent if there are none.
    #[serde(skip_serializing_if = "Pairs::is_empty")]
    fields: Pairs<'a>,
}

/// Fields as a JSON object in their order.
struct Pairs<'a>(&'a [(&'static str, Value)]);

impl Pairs<'_> {
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            match value {
                Value::Bare(value) => map.serialize_entry(name, value)?,
                Value::Text(text) => map.serialize_entry(name, text)?,
            }
        }
        map.end()
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let fields = Fields::of(event);
        out.write_str(&line(metadata.level().as_str(), metadata.target(), &fields)?)
    }
}

/// The line that says that lines are missing.
pub(super) fn dropped_notice(lines: u64) -> String {
    let fields = Fields {
        message: "lines dropped, the reader of the log is too slow".to_owned(),
        others: vec![("lines", Value::Bare(lines.into()))],
    };
    line("WARN", module_path!(), &fields).unwrap_or_default()
}

/// One line, with its end.
fn line(level: &str, target: &str, fields: &Fields) -> Result<String, fmt::Error> {
    let mut timestamp = String::new();
    SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
    let object = Line { timestamp, level, target, message: &fields.message, fields: Pairs(&fields.others) };
    let mut line = serde_json::to_string(&object).map_err(|_| fmt::Error)?;
    line.push('\n');
    Ok(line)
}
