//! The weight file, as [`follow`](crate::node::plugins::follow) reads it.

use std::fmt;

use tracing::Level;

use super::TARGET;
use super::weights::Weights;
use crate::node::plugins::follow::Reader;

/// Reads weight files.
pub(super) struct WeightFile;

impl Reader for WeightFile {
    type Content = Weights;

    const WHAT: &'static str = "weight file";

    /// Some 50,000 addresses. What is larger is not a weight file.
    const MAX_BYTES: u64 = 1 << 20;

    const BEFORE: &'static str = "the weights before it";

    const OPTIONAL: bool = false;

    fn parse(&self, text: &str) -> Result<Weights, String> {
        Weights::parse(text).map_err(|error| error.to_string())
    }

    fn log(level: Level, text: fmt::Arguments<'_>) {
        match level {
            Level::ERROR => tracing::error!(target: TARGET, "{text}"),
            Level::WARN => tracing::warn!(target: TARGET, "{text}"),
            _ => tracing::info!(target: TARGET, "{text}"),
        }
    }
}
