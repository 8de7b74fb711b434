//! A disk in memory that remembers every operation, so that the power can be cut after any of them.
//!
//! The model is POSIX's, which promises less than any one file system keeps:
//! * content that was not synced may be lost, torn at any length, or be zeros; after a failed sync it is
//!   unreliable for good, although later syncs succeed;
//! * of the names that were made, renamed or removed since the folder was synced, any subset may be kept.

mod power;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use self::power::Durable;
use crate::snapshot::disk::{Disk, DiskFile, Entry};

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
    /// Shared with its clones and its writers.
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
    /// As a running system sees it.
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
    Spoil(FileId, usize),
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

    /// Whether something goes wrong, or will.
    pub fn is_faulty(&self) -> bool {
        let state = self.lock();
        match state.fault {
            Some(Fault::Once(at, _)) => state.calls <= at,
            Some(Fault::Full | Fault::ReadOnly) => true,
            None => false,
        }
    }

    /// Turns all bits of one byte of a file: the `at`th, counted on from the beginning again where the file ends. The
    /// disk does not notice. Nothing, if there is no such file or nothing in it.
    pub fn spoil(&self, path: &Path, at: usize) {
        let mut state = self.lock();
        let Ok(id) = state.id(path) else { return };
        let content = &mut state.files[id].content;
        let Some(at) = at.checked_rem(content.len()) else { return };
        content[at] ^= 0xff;
        state.log.push(Op::Spoil(id, at));
    }

    /// How many changes were made so far.
    pub fn changes(&self) -> usize {
        self.lock().log.len()
    }

    /// Every content that a file had when it was synced, since the disk was made: as it was written, to the last byte.
    pub fn synced(&self) -> BTreeSet<Vec<u8>> {
        let state = self.lock();
        let (mut contents, mut synced) = (BTreeMap::<FileId, Vec<u8>>::new(), BTreeSet::new());
        for op in &state.log {
            match op {
                Op::Write(id, bytes) => contents.entry(*id).or_default().extend_from_slice(bytes),
                Op::Sync(id) => drop(contents.get(id).map(|content| synced.insert(content.clone()))),
                _ => {}
            }
        }
        synced
    }

    /// Every disk that may be found when the power is cut after the first `changes` changes.
    ///
    /// # Panics
    /// If more than a dozen names are changed without a sync of their folder: test fewer steps at a time.
    pub fn power_cuts(&self, changes: usize, tear: Tear) -> BTreeSet<Image> {
        self.durable(changes).outcomes(tear)
    }

    /// One of those disks, coarsely torn: which, depends on `seed` alone.
    pub fn power_cut(&self, changes: usize, seed: u64) -> Image {
        self.durable(changes).outcome(&mut SmallRng::seed_from_u64(seed))
    }

    /// What is durable after so many changes.
    fn durable(&self, changes: usize) -> Durable {
        let state = self.lock();
        let mut durable = Durable::new(&state.base);
        state.log[..changes].iter().for_each(|op| durable.apply(op));
        durable
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
    /// Where the file is.
    disk: RecordingDisk,
    /// Which one it is.
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
    fn a_power_cut_is_one_of_those_that_there_may_be() {
        let disk = disk_with("d/f", b"old");
        let mut file = disk.create_new(Path::new("d/t")).expect("made");
        file.write_all(b"newer").expect("written");
        disk.rename(Path::new("d/t"), Path::new("d/f")).expect("renamed");
        for changes in 0..=disk.changes() {
            let all = disk.power_cuts(changes, Tear::Coarse);
            let cuts: BTreeSet<_> = (0..200).map(|seed| disk.power_cut(changes, seed)).collect();
            assert_eq!(cuts, all, "after {changes}");
            assert_eq!(disk.power_cut(changes, 7), disk.power_cut(changes, 7));
        }
    }

    #[test]
    fn what_is_spoilt_stays_so() {
        let disk = disk_with("d/f", b"old");
        disk.spoil(Path::new("d/f"), 4);
        disk.spoil(Path::new("d/none"), 4);
        assert_eq!(disk.read(Path::new("d/f"), 9).expect("read"), b"o\x93d");
        assert_eq!(files(&disk), [found(&[("d/f", b"o\x93d")])]);
    }

    #[test]
    fn faults_strike_when_they_should() {
        let disk = disk_with("d/f", b"old");
        disk.fail(Fault::Once(1, Errno::EIO));
        assert!(disk.list(Path::new("d")).is_ok() && disk.is_faulty());
        assert_eq!(disk.list(Path::new("d")).expect_err("fails").raw_os_error(), Some(Errno::EIO as i32));
        assert!(!disk.is_faulty(), "it has struck");
        assert!(disk.list(Path::new("d")).is_ok());
        assert_eq!(disk.heal(), 3);
        assert!(!disk.is_faulty());
        disk.fail(Fault::Full);
        assert!(disk.is_faulty());
        let mut file = disk.create_new(Path::new("d/t")).expect("names still fit");
        assert_eq!(file.write_all(b"new").expect_err("full").kind(), io::ErrorKind::StorageFull);
        disk.fail(Fault::ReadOnly);
        assert!(disk.create_new(Path::new("d/u")).is_err() && disk.read(Path::new("d/f"), 9).is_ok());
    }
}
