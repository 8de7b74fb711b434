//! A disk in memory that remembers every operation, so that the power can be cut after any of them.
//!
//! The model is POSIX's, which promises less than any one file system keeps:
//! * content that was not synced may be lost, torn at any length, or be zeros; after a failed sync it is
//!   unreliable for good, although later syncs succeed;
//! * of the names that were made, renamed or removed since the folder was synced, any subset may be kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use crate::snapshot::disk::{Disk, DiskFile, Entry};

/// The most changes of names between two syncs of a folder: every subset of them is a disk of its own.
const MAX_PENDING: usize = 12;

/// What is on a disk: folders, and the content of files.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    /// The folders.
    pub dirs: BTreeSet<PathBuf>,
    /// The files.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

/// How finely unsynced content is torn by [`RecordingDisk::power_cuts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// After every byte.
    EveryByte,
    /// Nothing, half and all of it.
    Coarse,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call of this number (from 0, counted since the fault was set) fails, once.
    Once(usize, Errno),
    /// Nothing more can be written into files: ENOSPC. Everything else works.
    Full,
    /// Nothing can be changed: EROFS.
    ReadOnly,
}

/// A disk in memory that remembers every operation. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct RecordingDisk {
    state: Arc<Mutex<State>>,
}

/// An index into [`State::files`].
type FileId = usize;

#[derive(Debug, Default)]
struct State {
    /// What was on the disk at first, all of it durable.
    base: Image,
    /// Every change since.
    log: Vec<Op>,
    /// Content as a running system sees it; a file keeps its place when its name goes.
    files: Vec<File>,
    /// Names as a running system sees them.
    names: BTreeMap<PathBuf, FileId>,
    /// Folders.
    dirs: BTreeSet<PathBuf>,
    /// What goes wrong, if anything.
    fault: Option<Fault>,
    /// Calls since the fault was set.
    calls: usize,
}

#[derive(Clone, Debug, Default)]
struct File {
    content: Vec<u8>,
    /// Whether a writer holds it.
    held: bool,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Op {
    MakeDir(PathBuf),
    Create(PathBuf, FileId),
    Write(FileId, Vec<u8>),
    Sync(FileId),
    SyncFailed(FileId),
    Rename(PathBuf, PathBuf, FileId),
    Remove(PathBuf),
    SyncDir(PathBuf),
}

/// Which calls a lasting fault concerns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Read,
    Change,
    Content,
}

impl RecordingDisk {
    /// A disk that holds `image`, all of it durable.
    pub fn holding(image: Image) -> Self {
        let mut state = State { dirs: image.dirs.clone(), ..State::default() };
        for (path, content) in &image.files {
            state.names.insert(path.clone(), state.files.len());
            state.files.push(File { content: content.clone(), held: false });
        }
        state.base = image;
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// What a running system sees on it.
    pub fn image(&self) -> Image {
        let state = self.lock();
        let files = state.names.iter().map(|(path, id)| (path.clone(), state.files[*id].content.clone()));
        Image { dirs: state.dirs.clone(), files: files.collect() }
    }

    /// From now on this goes wrong; replaces what went wrong before, and counts calls anew.
    pub fn fail(&self, fault: Fault) {
        let mut state = self.lock();
        (state.fault, state.calls) = (Some(fault), 0);
    }

    /// From now on nothing goes wrong; returns how many calls there were since the fault was set.
    pub fn heal(&self) -> usize {
        let mut state = self.lock();
        state.fault = None;
        std::mem::take(&mut state.calls)
    }

    /// How many changes were made so far.
    pub fn changes(&self) -> usize {
        self.lock().log.len()
    }

    /// Every disk that may be found when the power is cut after the first `changes` changes.
    ///
    /// # Panics
    /// If more than a dozen names are changed without a sync of their folder: test fewer steps at a time.
    pub fn power_cuts(&self, changes: usize, tear: Tear) -> BTreeSet<Image> {
        let state = self.lock();
        let mut durable = Durable::new(&state.base);
        state.log[..changes].iter().for_each(|op| durable.apply(op));
        durable.outcomes(tear)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a call and fails it if its turn has come.
    fn call(&mut self, call: Call) -> io::Result<()> {
        let number = self.calls;
        self.calls += 1;
        let errno = match self.fault {
            Some(Fault::Once(at, errno)) if at == number => errno,
            Some(Fault::Full) if call == Call::Content => Errno::ENOSPC,
            Some(Fault::ReadOnly) if call != Call::Read => Errno::EROFS,
            _ => return Ok(()),
        };
        Err(io::Error::from(errno))
    }

    fn id(&self, path: &Path) -> io::Result<FileId> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn dir(&self, dir: &Path) -> io::Result<()> {
        if self.dirs.contains(dir) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

impl Disk for RecordingDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.dirs.contains(dir) {
            return state.call(Call::Read);
        }
        state.call(Call::Change)?;
        state.dirs.insert(dir.to_owned());
        state.log.push(Op::MakeDir(dir.to_owned()));
        Ok(())
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        state.call(Call::Change)?;
        state.dir(path.parent().unwrap_or(Path::new("")))?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.files.len();
        state.files.push(File { content: Vec::new(), held: true });
        state.names.insert(path.to_owned(), id);
        state.log.push(Op::Create(path.to_owned(), id));
        Ok(Box::new(Writer { disk: self.clone(), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call(Call::Change)?;
        let id = state.id(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), id);
        state.log.push(Op::Rename(from.to_owned(), to.to_owned(), id));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call(Call::Change)?;
        state.dir(dir)?;
        state.log.push(Op::SyncDir(dir.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call(Call::Change)?;
        state.id(path)?;
        state.names.remove(path);
        state.log.push(Op::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_abandoned(&self, path: &Path) -> io::Result<bool> {
        let id = self.lock().id(path)?;
        if self.lock().files[id].held {
            return Ok(false);
        }
        self.remove(path).map(|()| true)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut state = self.lock();
        state.call(Call::Read)?;
        state.dir(dir)?;
        let here = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, id): (&PathBuf, &FileId)| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some(Entry { name, bytes: state.files[*id].content.len() as u64 })
        };
        Ok(here.filter_map(entry).collect())
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut state = self.lock();
        state.call(Call::Read)?;
        let content = state.files[state.id(path)?].content.clone();
        if content.len() as u64 > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(content) }
    }
}

/// Holds a file while it is written.
#[derive(Debug)]
struct Writer {
    disk: RecordingDisk,
    id: FileId,
}

impl Write for Writer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.lock();
        let outcome = state.call(Call::Content);
        // A failing write may still have written a part.
        let written = if outcome.is_ok() { buf } else { &buf[..buf.len() / 2] };
        state.files[self.id].content.extend_from_slice(written);
        state.log.push(Op::Write(self.id, written.to_owned()));
        outcome.map(|()| buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Writer {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let outcome = state.call(Call::Change);
        let op = if outcome.is_ok() { Op::Sync(self.id) } else { Op::SyncFailed(self.id) };
        state.log.push(op);
        outcome
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.disk.lock().files[self.id].held = false;
    }
}

// === What outlives a power cut ===

/// What is durable after some operations, and what is not yet.
struct Durable {
    dirs: BTreeSet<PathBuf>,
    /// Names as of the last sync of their folder.
    names: BTreeMap<PathBuf, FileId>,
    /// Changes of names since, in order.
    pending: Vec<Op>,
    contents: BTreeMap<FileId, Content>,
}

#[derive(Clone, Default)]
struct Content {
    all: Vec<u8>,
    /// How much of it is durable.
    synced: usize,
    /// Whether a sync failed: then nothing more of it becomes durable.
    lost: bool,
}

impl Durable {
    fn new(base: &Image) -> Self {
        // Ids as in `RecordingDisk::holding`.
        let names = base.files.keys().cloned().zip(0..).collect();
        let contents = base.files.values().map(|c| Content { all: c.clone(), synced: c.len(), lost: false });
        let contents = (0..).zip(contents).collect();
        Self { dirs: base.dirs.clone(), names, pending: Vec::new(), contents }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::MakeDir(dir) => drop(self.dirs.insert(dir.clone())),
            Op::Create(_, id) => {
                self.contents.insert(*id, Content::default());
                self.pending.push(op.clone());
            }
            Op::Rename(..) | Op::Remove(_) => self.pending.push(op.clone()),
            Op::Write(id, bytes) => self.content(*id).all.extend_from_slice(bytes),
            Op::Sync(id) => {
                let content = self.content(*id);
                if !content.lost {
                    content.synced = content.all.len();
                }
            }
            Op::SyncFailed(id) => self.content(*id).lost = true,
            Op::SyncDir(dir) => {
                let (synced, pending): (Vec<_>, _) =
                    std::mem::take(&mut self.pending).into_iter().partition(|op| op.dir() == Some(dir));
                synced.iter().for_each(|op| op.rename_in(&mut self.names));
                self.pending = pending;
            }
        }
    }

    fn content(&mut self, id: FileId) -> &mut Content {
        self.contents.entry(id).or_default()
    }

    fn outcomes(&self, tear: Tear) -> BTreeSet<Image> {
        assert!(self.pending.len() <= MAX_PENDING, "{} changes of names without a sync", self.pending.len());
        let mut images = BTreeSet::new();
        for kept in 0..1_u32 << self.pending.len() {
            let mut names = self.names.clone();
            let kept = self.pending.iter().enumerate().filter(|(i, _)| kept & 1 << i != 0);
            kept.for_each(|(_, op)| op.rename_in(&mut names));
            let mut these = vec![Image { dirs: self.dirs.clone(), files: BTreeMap::new() }];
            for (path, id) in &names {
                let found = self.contents[id].outcomes(tear);
                these = these
                    .into_iter()
                    .flat_map(|image| {
                        found.iter().map(move |content| {
                            let mut image = image.clone();
                            image.files.insert(path.clone(), content.clone());
                            image
                        })
                    })
                    .collect();
            }
            images.extend(these);
        }
        images
    }
}

impl Op {
    /// The folder whose names it changes.
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Create(path, _) | Self::Rename(path, ..) | Self::Remove(path) => path.parent(),
            _ => None,
        }
    }

    /// Does to `names` what it did to those of the running system, whether or not what came before it was kept.
    fn rename_in(&self, names: &mut BTreeMap<PathBuf, FileId>) {
        match self {
            Self::Create(path, id) => drop(names.insert(path.clone(), *id)),
            Self::Rename(from, to, id) => {
                names.remove(from);
                names.insert(to.clone(), *id);
            }
            Self::Remove(path) => drop(names.remove(path)),
            _ => {}
        }
    }
}

impl Content {
    /// What may be found of it.
    fn outcomes(&self, tear: Tear) -> Vec<Vec<u8>> {
        let (synced, all) = (self.synced, self.all.len());
        if synced == all {
            return vec![self.all.clone()];
        }
        let lengths: Vec<_> = match tear {
            Tear::EveryByte => (synced..=all).collect(),
            Tear::Coarse => vec![synced, usize::midpoint(synced, all), all],
        };
        let mut outcomes: Vec<_> = lengths.into_iter().map(|length| self.all[..length].to_vec()).collect();
        // The length may be durable before the content is.
        let mut zeros = self.all.clone();
        zeros[synced..].fill(0);
        outcomes.push(zeros);
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files that may be found, by name.
    fn files(disk: &RecordingDisk) -> Vec<Vec<(String, Vec<u8>)>> {
        let cuts = disk.power_cuts(disk.changes(), Tear::EveryByte);
        let name = |path: &Path| path.display().to_string();
        cuts.iter().map(|i| i.files.iter().map(|(p, c)| (name(p), c.clone())).collect()).collect()
    }

    fn disk_with(path: &str, content: &[u8]) -> RecordingDisk {
        let mut image = Image::default();
        image.dirs.insert("d".into());
        image.files.insert(path.into(), content.to_vec());
        RecordingDisk::holding(image)
    }

    fn found(names: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
        names.iter().map(|(n, c)| ((*n).to_owned(), c.to_vec())).collect()
    }

    #[test]
    fn a_rename_before_the_sync_may_lead_to_torn_content() {
        let disk = disk_with("d/f", b"old");
        let mut file = disk.create_new(Path::new("d/t")).expect("made");
        file.write_all(b"new").expect("written");
        disk.rename(Path::new("d/t"), Path::new("d/f")).expect("renamed");
        disk.sync_dir(Path::new("d")).expect("synced");
        let images = files(&disk);
        for torn in [&b""[..], b"n", b"ne", b"new", b"\0\0\0"] {
            assert!(images.contains(&found(&[("d/f", torn)])), "{torn:?}");
        }
        assert_eq!(images.len(), 5);
    }

    #[test]
    fn a_rename_without_a_sync_of_the_folder_may_be_lost_or_kept() {
        let disk = disk_with("d/f", b"old");
        let mut file = disk.create_new(Path::new("d/t")).expect("made");
        file.write_all(b"new").expect("written");
        file.sync().expect("synced");
        disk.rename(Path::new("d/t"), Path::new("d/f")).expect("renamed");
        let images = files(&disk);
        let expected = [
            found(&[("d/f", b"old")]),
            found(&[("d/f", b"new")]),
            found(&[("d/f", b"old"), ("d/t", b"new")]),
        ];
        assert_eq!(images.len(), expected.len());
        assert!(expected.iter().all(|e| images.contains(e)));
        disk.sync_dir(Path::new("d")).expect("synced");
        assert_eq!(files(&disk), [found(&[("d/f", b"new")])]);
    }

    #[test]
    fn a_sync_after_a_failed_one_saves_nothing() {
        let disk = disk_with("d/f", b"old");
        let mut file = disk.create_new(Path::new("d/t")).expect("made");
        file.write_all(b"new").expect("written");
        disk.fail(Fault::Once(0, Errno::EIO));
        assert!(file.sync().is_err());
        file.sync().expect("says it went well");
        assert!(files(&disk).contains(&found(&[("d/f", b"old"), ("d/t", b"")])));
    }

    #[test]
    fn faults_strike_when_they_should() {
        let disk = disk_with("d/f", b"old");
        disk.fail(Fault::Once(1, Errno::EIO));
        assert!(disk.list(Path::new("d")).is_ok());
        assert_eq!(disk.list(Path::new("d")).expect_err("fails").raw_os_error(), Some(Errno::EIO as i32));
        assert!(disk.list(Path::new("d")).is_ok());
        assert_eq!(disk.heal(), 3);
        disk.fail(Fault::Full);
        let mut file = disk.create_new(Path::new("d/t")).expect("names still fit");
        assert_eq!(file.write_all(b"new").expect_err("full").kind(), io::ErrorKind::StorageFull);
        disk.fail(Fault::ReadOnly);
        assert!(disk.create_new(Path::new("d/u")).is_err() && disk.read(Path::new("d/f"), 9).is_ok());
    }
}
