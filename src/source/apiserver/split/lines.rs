//! The events of a watch: one JSON value a line.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>

use bytes::Bytes;
use memchr::memchr;

use super::{Broken, Input};

/// Takes a watch apart.
#[derive(Debug, Default)]
pub(in super::super) struct Lines {
    /// What has come.
    input: Input,
}

impl Lines {
    /// Takes the next piece of the body.
    pub(in super::super) fn push(&mut self, piece: Bytes) {
        self.input.push(piece);
    }

    /// The next line that is not blank; `None` until its end has come.
    pub(in super::super) fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        while let Some(end) = memchr(b'\n', &self.input.piece) {
            let line = self.input.take(end)?;
            self.input.skip(1);
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
        self.input.hold()?;
        Ok(None)
    }

    /// Whether the body may end here: not in the middle of a line.
    pub(in super::super) fn finish(&self) -> Result<(), Broken> {
        if self.input.held.trim_ascii().is_empty() {
            Ok(())
        } else {
            Err(self.input.broken(0, "cut in the middle of an event"))
        }
    }
}
