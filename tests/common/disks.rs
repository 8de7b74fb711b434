//! The disk of one party, in memory: what goes wrong with it, and what its owner has to find there.
//!
//! Independent of the code that reads snapshots: what is whole is told from what was once synced to its last byte.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use outlast::snapshot::disk::Disk;
use outlast::testkit::disk::{Fault, RecordingDisk};
use proptest::prelude::*;

/// Changes, from the last one backwards, after which the power may be cut: those of a write and a half.
const LAST_CHANGES: u64 = 16;

/// What happens to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is full.
    Full,
    /// It can only be read.
    ReadOnly,
    /// After so many calls one fails.
    Fails(usize),
    /// All is well again.
    Well,
    /// A byte of the newest snapshot is another one.
    Spoilt(usize),
}

/// What random scripts have happen to a disk.
pub(crate) fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        2 => Just(Trouble::Full),
        1 => Just(Trouble::ReadOnly),
        3 => (0..40usize).prop_map(Trouble::Fails),
        3 => Just(Trouble::Well),
        2 => (0..2_000usize).prop_map(Trouble::Spoilt),
    ]
}

/// The disk of one party.
pub(crate) struct PartyDisk {
    /// Where its snapshots are.
    dir: PathBuf,
    /// The disk.
    disk: RecordingDisk,
    /// Every snapshot that was whole once, on disks from before power cuts as well.
    whole: HashSet<Vec<u8>>,
    /// Whether the newest snapshot may be older than what was served last.
    behind: bool,
}

impl PartyDisk {
    /// A new one, with snapshots in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), disk: RecordingDisk::default(), whole: HashSet::new(), behind: false }
    }

    /// For its owner.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    /// Something happens to it.
    pub(crate) fn meets(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Full => self.disk.fail(Fault::Full),
            Trouble::ReadOnly => self.disk.fail(Fault::ReadOnly),
            Trouble::Fails(after) => self.disk.fail(Fault::Once(after, Errno::EIO)),
            Trouble::Well => drop(self.disk.heal()),
            Trouble::Spoilt(at) => {
                if let Some(newest) = self.snapshots().pop() {
                    self.disk.spoil(&newest, at);
                    self.behind = true;
                }
            }
        }
    }

    /// Everything on it is lost; nobody uses it.
    pub(crate) fn wipe(&mut self) {
        *self = Self { behind: true, ..Self::new(&self.dir) };
    }

    /// The power was cut during its last changes; nobody uses it any more. What is found depends on `seed`.
    pub(crate) fn cut(&mut self, seed: u64) {
        let undone = usize::try_from(seed % LAST_CHANGES).unwrap();
        self.cut_after(self.disk.changes().saturating_sub(undone), seed);
        self.behind = true;
    }

    /// The power was cut after its last change.
    pub(crate) fn cut_at_rest(&mut self, seed: u64) {
        self.cut_after(self.disk.changes(), seed);
    }

    fn cut_after(&mut self, changes: usize, seed: u64) {
        self.whole.extend(self.disk.synced());
        self.disk = RecordingDisk::holding(self.disk.power_cut(changes, seed));
    }

    /// Its owner is about to stop, and to write what is new.
    pub(crate) fn stops(&mut self) {
        self.behind |= self.disk.is_faulty();
    }

    /// Its owner was killed.
    pub(crate) fn crashed(&mut self) {
        self.behind = true;
    }

    /// Its owner is about to start. Whether what it finds may be older than what was served last, and whether it has to
    /// find something.
    pub(crate) fn starts(&mut self) -> (bool, bool) {
        let is_faulty = self.disk.is_faulty();
        let behind = std::mem::take(&mut self.behind) || is_faulty;
        (behind, !is_faulty && self.has_snapshot())
    }

    /// Whether one of its snapshots is whole.
    pub(crate) fn has_snapshot(&self) -> bool {
        let (image, synced) = (self.disk.image(), self.disk.synced());
        let is_whole = |path: &PathBuf| {
            let content = &image.files[path];
            self.whole.contains(content) || synced.contains(content)
        };
        self.snapshots().iter().any(is_whole)
    }

    /// Its snapshots, the newest last.
    fn snapshots(&self) -> Vec<PathBuf> {
        let is_snapshot = |path: &PathBuf| {
            path.parent() == Some(&*self.dir) && path.extension().is_some_and(|extension| extension == "snap")
        };
        self.disk.image().files.into_keys().filter(is_snapshot).collect()
    }
}
