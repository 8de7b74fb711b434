//! The list of hubs, as the last hub told it: it outlives the process, because what the configuration names may be gone
//! by the time of a restart. A small file of JSON with a version; what cannot be read is as good as not there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ops::blocking;

/// Most hubs that are remembered: many times as many replicas as anybody runs, and a list that is made up by a broken
/// hub stays small.
pub const MAX_HUBS: usize = 64;

/// How long the list is waited for at the start: a disk that hangs must not keep a node from the hubs of its
/// configuration.
const LOAD_LIMIT: Duration = Duration::from_secs(2);

/// Version of the file's form.
const VERSION: u32 = 1;

/// Where the list outlives the process. Called on threads that may block.
pub trait Memory: Send + Sync {
    /// Whether this process may save anything now; another one of the node may have the place.
    fn is_ours(&self) -> bool;

    /// What was saved last, if there is anything.
    fn load(&self) -> Option<Vec<u8>>;

    /// Replaces what was saved.
    ///
    /// # Errors
    /// It cannot be written; the text says what was being done to what.
    fn save(&self, list: &[u8]) -> Result<(), String>;
}

/// The file.
#[derive(Deserialize, Serialize)]
struct File {
    /// Version of its form.
    version: u32,
    /// IP:PORT or an IPv6 address in brackets with its port.
    hubs: Vec<SocketAddr>,
}

/// A list that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no such list.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
    /// It is one of another version.
    #[error("version {0} of the list is not known")]
    Version(u32),
}

/// Writes a list.
pub fn encode(hubs: &[SocketAddr]) -> Vec<u8> {
    let file = File { version: VERSION, hubs: hubs.to_vec() };
    serde_json::to_vec(&file).expect("addresses are text")
}

/// Reads a list; at most [`MAX_HUBS`] of it.
///
/// # Errors
/// It is none, or one of a later version.
pub fn decode(bytes: &[u8]) -> Result<Vec<SocketAddr>, Unreadable> {
    let File { version, mut hubs } = serde_json::from_slice(bytes)?;
    if version != VERSION {
        return Err(Unreadable::Version(version));
    }
    hubs.truncate(MAX_HUBS);
    Ok(hubs)
}

/// Keeps the list.
pub(super) struct Keeping {
    /// Where, if anywhere.
    memory: Option<Arc<dyn Memory>>,
    /// What was handed to it last.
    saved: Vec<SocketAddr>,
    /// Whether it is being written: one write at a time.
    busy: Arc<AtomicBool>,
    /// Whether there was something to save while another process had the place.
    owed: bool,
}

impl Keeping {
    pub(super) fn new(memory: Option<Arc<dyn Memory>>) -> Self {
        Self { memory, saved: Vec::new(), busy: Arc::default(), owed: false }
    }

    /// What was saved, if it can be had soon.
    pub(super) async fn load(&mut self) -> Option<Vec<SocketAddr>> {
        let memory = self.memory.clone()?;
        let load = blocking::spawn(move || memory.load());
        let Ok(loaded) = tokio::time::timeout(LOAD_LIMIT, load).await else {
            tracing::warn!(limit = ?LOAD_LIMIT, "the list of hubs is not read in time, going on without it");
            return None;
        };
        match decode(&loaded.ok()??) {
            Ok(hubs) => {
                self.saved.clone_from(&hubs);
                Some(hubs)
            }
            Err(error) => {
                tracing::warn!(%error, "the list of hubs cannot be read, going on without it");
                None
            }
        }
    }

    /// Whether there was something to save that was not ours to save then.
    pub(super) const fn is_owed(&self) -> bool {
        self.owed
    }

    /// Saves the list, if it is not saved; one that cannot be written, or not yet, is tried again with the next.
    pub(super) fn save(&mut self, hubs: &[SocketAddr]) {
        let Some(memory) = self.memory.clone() else { return };
        self.owed = !memory.is_ours();
        if self.owed {
            return;
        }
        if hubs.is_empty() || self.saved == hubs || self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        self.saved = hubs.to_vec();
        let (list, busy) = (encode(hubs), self.busy.clone());
        // Nobody waits for it: a hub is followed whether or not its address outlives the process.
        drop(blocking::spawn(move || {
            if let Err(error) = memory.save(&list) {
                tracing::warn!(%error, "the list of hubs cannot be saved");
            }
            busy.store(false, Ordering::Release);
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let hubs: Vec<SocketAddr> =
            ["10.0.0.1:9953", "[fd00::1]:7"].iter().map(|a| a.parse().expect("an address")).collect();
        assert_eq!(decode(&encode(&hubs)).ok(), Some(hubs.clone()));
        let text = br#"{"version":1,"hubs":["10.0.0.1:9953","[fd00::1]:7"],"later":true}"#;
        assert_eq!(decode(text).ok(), Some(hubs), "fields of a later release are passed over");
    }

    /// Whether it may be saved, and what was.
    #[derive(Default)]
    struct Shared(AtomicBool, std::sync::Mutex<Vec<Vec<u8>>>);

    impl Memory for Shared {
        fn is_ours(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }

        fn load(&self) -> Option<Vec<u8>> {
            None
        }

        fn save(&self, list: &[u8]) -> Result<(), String> {
            self.1.lock().expect("no writer has panicked").push(list.to_vec());
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_list_that_another_process_keeps_is_saved_once_it_is_ours() {
        let hubs: Vec<SocketAddr> = vec!["10.0.0.1:9953".parse().expect("an address")];
        let memory = Arc::new(Shared::default());
        let mut keeping = Keeping::new(Some(memory.clone()));
        assert!(!keeping.is_owed());
        keeping.save(&hubs);
        assert!(keeping.is_owed() && !keeping.busy.load(Ordering::Acquire), "nothing is written");
        memory.0.store(true, Ordering::Relaxed);
        keeping.save(&hubs);
        assert!(!keeping.is_owed());
        while keeping.busy.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        assert_eq!(*memory.1.lock().expect("no writer has panicked"), [encode(&hubs)]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (text, want) in [
            (r#"{"version":2,"hubs":[]}"#, "version 2 of the list is not known"),
            (r#"{"version":1,"hubs":["hub:9953"]}"#, "invalid socket address"),
            ("", "EOF"),
        ] {
            let error = decode(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
