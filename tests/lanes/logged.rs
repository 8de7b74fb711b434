//! What a node writes down of its queries.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing::Dispatch;

/// Takes the log of what is done under its [`Self::dispatch`].
pub(crate) struct Logged {
    /// To be the default while a query is answered.
    pub(crate) dispatch: Dispatch,
    /// What was written.
    text: Text,
}

/// Text that is written to; clones are the same one.
#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Logged {
    /// Nothing is logged yet.
    pub(crate) fn new() -> Self {
        let text = Text::default();
        let writer = text.clone();
        let subscriber =
            tracing_subscriber::fmt().without_time().with_writer(move || writer.clone()).finish();
        Self { dispatch: Dispatch::new(subscriber), text }
    }

    /// What has been logged since the last call.
    pub(crate) fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.text.0.lock().unwrap())).unwrap()
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
