//! Saving the next generation.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::atomic;
use super::disk::DiskError;
use super::encode::{EncodeError, Written, encode};
use super::folder::{Access, Folder};
use super::header::Header;
use super::names::{self, Name};
use crate::zone::object::ObjectRef;

/// A saved generation.
#[derive(Debug)]
pub struct Saved {
    /// Its number.
    pub generation: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// How many objects it holds.
    pub objects: u64,
    /// How long it took, syncs included.
    pub elapsed: Duration,
    /// What could not be tidied up; the generation itself is safe.
    pub untidy: Vec<DiskError>,
}

/// Why no generation was saved. The generations before are what they were.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The snapshot could not be encoded, or its bytes not be written.
    #[error("writing {}: {source}", path.display())]
    Encode {
        /// The file that was to be.
        path: PathBuf,
        /// What failed.
        source: EncodeError,
    },
    /// A file carries the highest number there is; only removing it by hand helps.
    #[error("generation numbers are used up in {}", .0.display())]
    Exhausted(PathBuf),
}

impl SaveError {
    /// What the operating system said, e.g. that the disk is full; `None` where it was not asked.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Disk(DiskError { source, .. }) | Self::Encode { source: EncodeError::Io(source), .. } => {
                Some(source)
            }
            Self::Encode { .. } | Self::Exhausted(_) => None,
        }
    }
}

impl Folder {
    /// Writes the next generation and removes the oldest. When it returns, the generation outlives a power cut.
    /// After an error the generations before are what they were, and saving can be tried again.
    pub fn save<'a>(
        &mut self,
        header: &Header,
        objects: impl IntoIterator<Item = ObjectRef<'a>>,
    ) -> Result<Saved, SaveError> {
        self.save_with(|to| encode(to, header, objects))
    }

    /// The same for whatever `fill` writes.
    pub(super) fn save_with(
        &mut self,
        fill: impl FnOnce(&mut dyn Write) -> Result<Written, EncodeError>,
    ) -> Result<Saved, SaveError> {
        let start = Instant::now();
        let result = self.write(fill);
        self.access = match &result {
            Ok(_) => Access::Writable,
            Err(error) => Access::MemoryOnly { why: error.to_string() },
        };
        let (generation, Written { bytes, objects }) = result?;
        // Only now that the new one is durable may an old one go.
        let untidy = self.prune();
        Ok(Saved { generation, bytes, objects, elapsed: start.elapsed(), untidy })
    }

    fn write(
        &mut self,
        fill: impl FnOnce(&mut dyn Write) -> Result<Written, EncodeError>,
    ) -> Result<(u64, Written), SaveError> {
        // The folder may have been missing, or removed by somebody, since the last time.
        self.disk.make_dir(&self.dir).map_err(DiskError::at("making folder", &self.dir))?;
        let names = self.names()?;
        self.remove_abandoned(&names);
        // No number is used twice: not that of a rejected file, nor of one that vanished meanwhile.
        let taken = names.iter().filter_map(|(name, ..)| match name {
            Name::Generation(n) | Name::Rejected(n) => Some(*n),
            Name::Temporary | Name::Foreign => None,
        });
        self.newest = taken.fold(self.newest, u64::max);
        let number = self.newest.checked_add(1).ok_or_else(|| SaveError::Exhausted(self.dir.clone()))?;
        let path = self.dir.join(names::generation(number));
        let written = atomic::replace(&*self.disk, &path, |to| {
            fill(to).map_err(|source| SaveError::Encode { path: path.clone(), source })
        })?;
        self.newest = number;
        Ok((number, written))
    }
}
