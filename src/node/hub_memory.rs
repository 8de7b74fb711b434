//! The list of hubs on the disk, beside the snapshots: what a restart dials when the configured address leads nowhere.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ops::ownership::Ownership;
use crate::snapshot::atomic;
use crate::snapshot::disk::{Disk, DiskError, RealDisk};
use crate::source::hub::known::{self, Memory};

/// Name of the file.
pub const FILE: &str = "hubs.json";

/// A list that is larger was not written by us.
const MAX_BYTES: u64 = 64 << 10;

/// A file in the folder of a store.
#[derive(Debug)]
pub struct HubMemory {
    /// Its path.
    path: PathBuf,
    /// Where it is.
    disk: Arc<dyn Disk>,
    /// Whether it is ours to write.
    ownership: Ownership,
}

impl HubMemory {
    /// The list in the folder of a store, which the process that owns it writes.
    pub fn new(folder: &Path, disk: Arc<dyn Disk>, ownership: Ownership) -> Self {
        Self { path: folder.join(FILE), disk, ownership }
    }
}

/// The hubs that processes with this folder were told of last; none where that cannot be read.
pub fn told_last(folder: &Path) -> Vec<SocketAddr> {
    let memory = HubMemory::new(folder, Arc::new(RealDisk), Ownership::always());
    memory.load().and_then(|list| known::decode(&list).ok()).unwrap_or_default()
}

impl Memory for HubMemory {
    fn is_ours(&self) -> bool {
        self.ownership.is_ours()
    }

    fn load(&self) -> Option<Vec<u8>> {
        match self.disk.read(&self.path, MAX_BYTES) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the list of hubs cannot be read");
                None
            }
        }
    }

    fn save(&self, list: &[u8]) -> Result<(), String> {
        let written = atomic::replace(&*self.disk, &self.path, |to| {
            to.write_all(list).map_err(DiskError::at("writing", &self.path))
        });
        written.map_err(|error: DiskError| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_there_for_the_next_process() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let memory = || HubMemory::new(folder.path(), Arc::new(RealDisk), Ownership::always());
        assert_eq!(memory().load(), None);
        memory().save(b"one").expect("the folder can be written");
        memory().save(b"two").expect("the folder can be written");
        assert_eq!(memory().load().as_deref(), Some(&b"two"[..]));
        let gone = HubMemory::new(&folder.path().join("gone"), Arc::new(RealDisk), Ownership::always());
        let error = gone.save(b"one").expect_err("no such folder");
        assert!(error.starts_with("creating ") && error.contains(FILE), "{error}");
    }
}
