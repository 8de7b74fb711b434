//! The disk: the only place in the program that writes files.
//!
//! A trait, so that tests can cut the power after any operation (`testkit::disk`).

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Mode of every file: a snapshot tells the names of all services.
const FILE_MODE: u32 = 0o600;

/// Mode of every folder that is made here.
const DIR_MODE: u32 = 0o700;

/// Name of the file that tells whether a folder can be written.
const PROBE: &str = "probe";

/// What is needed of a file system. Every call may block for as long as the disk hangs.
///
/// Of names and contents only what was synced outlives a power cut: contents by [`DiskFile::sync`], names
/// (made, renamed, removed) by [`Disk::sync_dir`].
pub trait Disk: Debug + Send + Sync {
    /// Makes a folder and the missing ones above it, with mode 0700, and syncs their names. Fine if it exists.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes an empty file with mode 0600 that must not exist yet, and holds it as the live writer of it.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name in the same folder, in one step, replacing what has that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Syncs the names in a folder.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a file that no live writer holds, of this process or another; returns whether it did.
    fn remove_abandoned(&self, path: &Path) -> io::Result<bool>;

    /// The regular files in a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// A whole file; one of more than `limit` bytes is [`io::ErrorKind::FileTooLarge`].
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// Whether files can be made in a folder, by trying it.
    fn check_writable(&self, dir: &Path) -> io::Result<()> {
        let probe = dir.join(format!("{PROBE}.{:016x}.tmp", rand::random::<u64>()));
        drop(self.create_new(&probe)?);
        self.remove(&probe)
    }
}

/// A file that is being written.
pub trait DiskFile: Write + Send {
    /// Syncs the content. After an error the file is lost: a second call may succeed although the content
    /// never reached the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// What was being done to what, and how it failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {source}", path.display())]
pub struct DiskError {
    /// What was being done, e.g. `renaming`.
    pub doing: &'static str,
    /// To what.
    pub path: PathBuf,
    /// How it failed.
    pub source: io::Error,
}

impl DiskError {
    /// For `map_err`: says what was being done to what.
    pub fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { doing, path, source }
    }
}

// === The real one ===

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// A file with mode 0600 for what a process says, which writes behind what is there; made if there is none.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn append(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
    }
}

impl Disk for RealDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = match dir.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        self.make_dir(parent)?;
        match DirBuilder::new().mode(DIR_MODE).create(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        // A synced file in a folder whose own name was lost is lost with it.
        self.sync_dir(parent)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
        // The lock tells a live writer from a dead one, across processes and pid namespaces; it goes with the
        // process. Where the file system has no locks, every file counts as abandoned.
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::ResourceBusy.into()),
            Err(TryLockError::Error(_)) => {}
        }
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_abandoned(&self, path: &Path) -> io::Result<bool> {
        let file = File::open(path)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Ok(false);
        }
        // A writer between creating and locking finds its file gone when it renames it, and tries again.
        fs::remove_file(path)?;
        Ok(true)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // A file that goes away meanwhile, or whose name is no text, is none of ours.
            if let (Ok(meta), Ok(name)) = (entry.metadata(), entry.file_name().into_string())
                && meta.is_file()
            {
                entries.push(Entry { name, bytes: meta.len() });
            }
        }
        Ok(entries)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        if size > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut content = Vec::with_capacity(size as usize);
        // What grows while it is read is still bounded.
        file.take(limit).read_to_end(&mut content)?;
        Ok(content)
    }
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn files_and_folders_are_the_owners_alone() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let dir = temp.path().join("a/b");
        RealDisk.make_dir(&dir).expect("made");
        RealDisk.make_dir(&dir).expect("fine if it exists");
        let path = dir.join("f");
        let mut file = RealDisk.create_new(&path).expect("made");
        file.write_all(b"content").expect("written");
        file.sync().expect("synced");
        assert_eq!((mode(&dir), mode(&path)), (0o700, 0o600));
        let again = RealDisk.create_new(&path).map(drop).map_err(|e| e.kind());
        assert_eq!(again, Err(io::ErrorKind::AlreadyExists));
        assert_eq!(RealDisk.list(&dir).expect("listed"), [Entry { name: "f".into(), bytes: 7 }]);
    }

    #[test]
    fn a_live_writers_file_is_not_abandoned() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let path = temp.path().join("f");
        let file = RealDisk.create_new(&path).expect("made");
        assert!(!RealDisk.remove_abandoned(&path).expect("tried"), "its writer lives");
        drop(file);
        assert!(RealDisk.remove_abandoned(&path).expect("tried"), "its writer is gone");
        assert!(!path.exists());
    }

    #[test]
    fn no_more_is_read_than_allowed() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let path = temp.path().join("f");
        fs::write(&path, [0; 11]).expect("written");
        assert_eq!(RealDisk.read(&path, 11).expect("just fits").len(), 11);
        assert_eq!(RealDisk.read(&path, 10).map_err(|e| e.kind()), Err(io::ErrorKind::FileTooLarge));
    }

    #[test]
    fn the_probe_leaves_nothing() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        RealDisk.check_writable(temp.path()).expect("it can be written");
        assert_eq!(RealDisk.list(temp.path()).expect("listed"), []);
        assert!(RealDisk.check_writable(&temp.path().join("missing")).is_err());
    }
}
