//! Takes an event's values apart: the message, and the other fields in their order.

use std::error::Error;
use std::fmt::{Debug, Write};

use tracing::Event;
use tracing::field::{Field, Visit};

/// A longer text is cut: a few such values still fit a line ([`super::writer::LINE_BYTES`]), which for JSON
/// means that the line stays an object.
const VALUE_BYTES: usize = 3 << 10;

/// A value of a field.
#[derive(Debug, PartialEq)]
pub(super) enum Value {
    /// A number or a truth value: printed bare, in JSON too.
    Bare(serde_json::Value),
    /// Text.
    Text(String),
}

/// The values of one event.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// What happened; empty if the event has no message.
    pub(super) message: String,
    /// The other fields, in the order in which they were written.
    pub(super) others: Vec<(&'static str, Value)>,
}

impl Fields {
    /// The values of `event`.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }

    fn push(&mut self, field: &Field, mut value: Value) {
        if let Value::Text(text) = &mut value
            && text.len() > VALUE_BYTES
        {
            text.truncate(text.floor_char_boundary(VALUE_BYTES));
            text.push_str("...");
        }
        match (field.name(), value) {
            ("message", Value::Text(text)) => self.message = text,
            ("message", Value::Bare(value)) => self.message = value.to_string(),
            (name, value) => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push(field, Value::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, Value::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::Bare(value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::Bare(value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::Bare(value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for NaN and infinity.
        self.push(
            field,
            match serde_json::Number::from_f64(value) {
                Some(number) => Value::Bare(number.into()),
                None => Value::Text(value.to_string()),
            },
        );
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            // Writing to a String does not fail.
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.push(field, Value::Text(text));
    }
}
