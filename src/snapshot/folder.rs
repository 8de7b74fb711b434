//! The folder of generations and how it is kept tidy; [`super::save`] adds the next generation, [`super::load`]
//! reads the newest that is whole.
//!
//! Invariants, each repeated where it is kept:
//! * A generation's file never changes once it has its name, and no number is used twice.
//! * A generation goes only when [`KEEP_GENERATIONS`] newer ones have durable names.
//! * A sink sees objects only of a file that passed its checksum and is of the right zone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskError};
use super::names::Name;
use crate::ops::switches::{self, Protection};

/// How many generations are kept: the one in use, one to fall back to, and one more to look at afterwards.
pub const KEEP_GENERATIONS: usize = 3;

/// How many rejected files are kept for people to look at, so that a disk that damages everything does not
/// fill up with the proof.
pub const KEEP_REJECTED: usize = 3;

/// The folder that holds a node's snapshots.
#[derive(Debug)]
pub struct Folder {
    /// Where it is kept.
    pub(super) disk: Arc<dyn Disk>,
    /// The folder's path.
    pub(super) dir: PathBuf,
    /// Whether the last attempt to write went well.
    pub(super) access: Access,
    /// The highest generation that was seen or written; its number is never used again.
    pub(super) newest: u64,
}

/// Whether snapshots reach the disk.
#[derive(Debug)]
pub enum Access {
    /// The last attempt went well.
    Writable,
    /// The last attempt failed: what is served is in memory only. Saving may be tried again at any time.
    MemoryOnly {
        /// For people: what was being done, and how it failed.
        why: String,
    },
}

/// A generation in the folder; whether it is whole is known only when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number; higher is newer.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
    /// The file's size.
    pub bytes: u64,
}

impl Folder {
    /// Makes the folder if it is missing, tries whether it can be written, and removes what dead writers left.
    /// Never fails: a folder that cannot be written, or not even read, is one without snapshots.
    pub fn open(disk: Arc<dyn Disk>, dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        let access = match disk.make_dir(&dir).and_then(|()| disk.check_writable(&dir)) {
            Ok(()) => Access::Writable,
            Err(error) => {
                Access::MemoryOnly { why: DiskError::at("trying to write to", &dir)(error).to_string() }
            }
        };
        let folder = Self { disk, dir, access, newest: 0 };
        if let Ok(names) = folder.names() {
            folder.remove_abandoned(&names);
        }
        folder
    }

    /// The folder for those who only read it: nothing is made, tried or removed.
    pub fn look_at(disk: Arc<dyn Disk>, dir: impl Into<PathBuf>) -> Self {
        Self { disk, dir: dir.into(), access: Access::Writable, newest: 0 }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the last attempt to write went well.
    pub const fn access(&self) -> &Access {
        &self.access
    }

    /// The generations in the folder, newest first.
    pub fn generations(&self) -> Result<Vec<Generation>, DiskError> {
        Ok(generations(&self.dir, self.names()?))
    }

    // === Tidying ===

    /// Removes the generations and rejected files beyond those that are kept.
    pub(super) fn prune(&self) -> Vec<DiskError> {
        if switches::is_off(Protection::Limits) {
            return Vec::new();
        }
        let names = match self.names() {
            Ok(names) => names,
            Err(error) => return vec![error],
        };
        let mut untidy = self.keep(&names, KEEP_GENERATIONS, |name| match name {
            Name::Generation(number) => Some(number),
            _ => None,
        });
        untidy.extend(self.prune_rejected(&names));
        untidy
    }

    pub(super) fn prune_rejected(&self, names: &[(Name, String, u64)]) -> Vec<DiskError> {
        self.keep(names, KEEP_REJECTED, |name| match name {
            Name::Rejected(number) => Some(number),
            _ => None,
        })
    }

    /// Removes all but the `count` newest of the files that `number` picks out.
    fn keep(
        &self,
        names: &[(Name, String, u64)],
        count: usize,
        number: fn(Name) -> Option<u64>,
    ) -> Vec<DiskError> {
        let mut picked: Vec<_> = names.iter().filter_map(|(n, file, _)| Some((number(*n)?, file))).collect();
        picked.sort_unstable();
        picked.truncate(picked.len().saturating_sub(count));
        picked.into_iter().filter_map(|(_, file)| self.remove(file).err()).collect()
    }

    fn remove(&self, file: &str) -> Result<(), DiskError> {
        let path = self.dir.join(file);
        self.disk.remove(&path).map_err(DiskError::at("removing", &path))
    }

    /// Removes the temporary files of dead writers. Best effort: what stays is tried again at the next save.
    pub(super) fn remove_abandoned(&self, names: &[(Name, String, u64)]) {
        for (name, file, _) in names {
            if *name == Name::Temporary {
                let _ = self.disk.remove_abandoned(&self.dir.join(file));
            }
        }
    }

    /// What is in the folder: what each file is, its name and its size.
    pub(super) fn names(&self) -> Result<Vec<(Name, String, u64)>, DiskError> {
        names(&*self.disk, &self.dir)
    }
}

/// The newest generation in the folder at `dir`, whole or not; `None` if it has none. Only reads: for those who
/// look at a folder that a node is writing to.
pub fn newest(disk: &dyn Disk, dir: &Path) -> Result<Option<Generation>, DiskError> {
    Ok(generations(dir, names(disk, dir)?).into_iter().next())
}

/// The generations among these files, newest first.
fn generations(dir: &Path, names: Vec<(Name, String, u64)>) -> Vec<Generation> {
    let mut generations: Vec<_> = names
        .into_iter()
        .filter_map(|(name, file, bytes)| match name {
            Name::Generation(number) => Some(Generation { number, path: dir.join(file), bytes }),
            _ => None,
        })
        .collect();
    generations.sort_unstable_by_key(|g| std::cmp::Reverse(g.number));
    generations
}

fn names(disk: &dyn Disk, dir: &Path) -> Result<Vec<(Name, String, u64)>, DiskError> {
    let entries = disk.list(dir).map_err(DiskError::at("listing", dir))?;
    Ok(entries.into_iter().map(|e| (Name::parse(&e.name), e.name, e.bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::*;

    #[test]
    fn the_newest_is_the_highest_number_among_our_own_names() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(newest(&RealDisk, dir.path()).unwrap(), None);
        for name in [
            "gen-00000000000000000009.snap",
            "gen-00000000000000000010.snap",
            "gen-00000000000000000011.snap.rejected-checksum",
            "gen-12.snap",
            "zz.snap",
        ] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let found = newest(&RealDisk, dir.path()).unwrap().unwrap();
        assert_eq!((found.number, found.bytes), (10, 1));
        assert!(newest(&RealDisk, &dir.path().join("none")).is_err());
    }
}
