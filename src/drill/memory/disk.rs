//! A disk that can be full.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::snapshot::disk::{Disk, DiskFile, Entry, RealDisk};

/// The operating system's file system, on which nothing can be written for a while. Clones are one disk.
#[derive(Clone, Debug, Default)]
pub struct FillingDisk {
    /// Whether it is full.
    full: Arc<AtomicBool>,
}

impl FillingDisk {
    /// Whether it is full from now on: ENOSPC for whatever is written into files. Everything else works.
    pub fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }
}

impl Disk for FillingDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.make_dir(dir)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Writing { file: RealDisk.create_new(path)?, disk: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn remove_abandoned(&self, path: &Path) -> io::Result<bool> {
        RealDisk.remove_abandoned(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        RealDisk.read(path, limit)
    }
}

/// A file on it that is being written.
struct Writing {
    /// The file.
    file: Box<dyn DiskFile>,
    /// Where it is.
    disk: FillingDisk,
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.disk.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl DiskFile for Writing {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_no_room_until_there_is_some() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), FillingDisk::default());
        let mut file = disk.create_new(&dir.path().join("one")).unwrap();
        file.write_all(b"1").unwrap();
        disk.clone().fill(true);
        assert_eq!(file.write_all(b"2").unwrap_err().kind(), io::ErrorKind::StorageFull);
        let mut other = disk.create_new(&dir.path().join("other")).unwrap();
        assert!(other.write_all(b"3").is_err(), "names still fit");
        disk.fill(false);
        file.write_all(b"4").unwrap();
        file.sync().unwrap();
        assert_eq!(disk.read(&dir.path().join("one"), 9).unwrap(), b"14");
    }
}
