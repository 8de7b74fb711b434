//! What an operator has frozen: a snapshot of it that rotation does not take away, and until when it is served.
//!
//! Two files: `frozen.snap`, a snapshot as all others are, and `frozen.json`, which says that it counts. The mark is
//! written last and removed first, so that whatever is cut off, a mark never leads to a snapshot that is not there.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic;
use super::decode::Verified;
use super::disk::{Disk, DiskError};
use super::encode::{self, EncodeError};
use super::format::MAX_FILE_BYTES;
use super::header::Header;
use super::load::Sink;
use super::save::SaveError;
use crate::zone::object::ObjectRef;

/// The snapshot.
const SNAPSHOT: &str = "frozen.snap";

/// The mark.
const MARK: &str = "frozen.json";

/// A mark is a line; what is longer is none.
const MAX_MARK_BYTES: u64 = 4096;

/// Version of the mark. An older one stays readable.
const VERSION: u32 = 1;

/// What is served stays what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// When it ends by itself, Unix milliseconds.
    pub until_ms: u64,
    /// The number of the snapshot that was rolled back to, if that is what it is.
    pub rolled_back_to: Option<u64>,
}

/// The mark on the disk.
#[derive(Serialize, Deserialize)]
struct MarkFile {
    /// See [`VERSION`].
    version: u32,
    /// See [`Mark`].
    since_ms: u64,
    /// See [`Mark`].
    until_ms: u64,
    /// See [`Mark`].
    #[serde(default)]
    rolled_back_to: Option<u64>,
}

/// What was frozen, read back.
#[derive(Debug)]
pub struct Kept<S> {
    /// For how long.
    pub mark: Mark,
    /// What the snapshot says of itself.
    pub header: Header,
    /// The sink that took its objects.
    pub sink: S,
}

/// Keeps what is frozen in the folder `dir`, in place of what was kept before.
///
/// # Errors
/// What failed; what was kept before may be gone.
pub fn keep<'a>(
    disk: &dyn Disk,
    dir: &Path,
    mark: Mark,
    header: &Header,
    objects: impl IntoIterator<Item = ObjectRef<'a>>,
) -> Result<(), SaveError> {
    forget(disk, dir)?;
    let path = dir.join(SNAPSHOT);
    let failed = |path: &PathBuf, source| SaveError::Encode { path: path.clone(), source };
    atomic::replace(disk, &path, |to| encode::encode(to, header, objects).map_err(|e| failed(&path, e)))?;
    let Mark { since_ms, until_ms, rolled_back_to } = mark;
    let file = MarkFile { version: VERSION, since_ms, until_ms, rolled_back_to };
    let path = dir.join(MARK);
    atomic::replace(disk, &path, |to: &mut dyn Write| {
        let text = serde_json::to_vec(&file).map_err(io::Error::from);
        let written = text.and_then(|text| to.write_all(&text));
        written.map_err(|e| failed(&path, EncodeError::Io(e)))
    })
}

/// Nothing is frozen any more.
///
/// # Errors
/// The disk failed.
pub fn forget(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
    for name in [MARK, SNAPSHOT] {
        let path = dir.join(name);
        match disk.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(DiskError::at("removing", &path))?,
        }
    }
    disk.sync_dir(dir).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(DiskError::at("syncing folder", dir)(error)),
    })
}

/// What is kept in the folder `dir`; `None` if nothing is frozen.
///
/// # Errors
/// For people: why what is there cannot be served.
pub fn load<S: Sink>(
    disk: &dyn Disk,
    dir: &Path,
    zone: &str,
    mut sink: S,
) -> Result<Option<Kept<S>>, String> {
    let path = dir.join(MARK);
    let mark = match disk.read(&path, MAX_MARK_BYTES) {
        Ok(bytes) => {
            serde_json::from_slice::<MarkFile>(&bytes).map_err(|e| format!("{}: {e}", path.display()))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("reading {}: {error}", path.display())),
    };
    let MarkFile { version, since_ms, until_ms, rolled_back_to } = mark;
    if version > VERSION {
        return Err(format!("{}: of version {version}, and {VERSION} is known", path.display()));
    }
    let path = dir.join(SNAPSHOT);
    let file = disk.read(&path, MAX_FILE_BYTES).map_err(|e| format!("reading {}: {e}", path.display()))?;
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let verified = Verified::new(&file).map_err(|e| wrong(&e))?;
    if verified.header().zone != zone {
        return Err(wrong(&format!("of zone {}, and {zone} is served", verified.header().zone)));
    }
    verified.objects(|object| sink.take(object)).map_err(|e| wrong(&e))?;
    let mark = Mark { since_ms, until_ms, rolled_back_to };
    Ok(Some(Kept { mark, header: verified.into_header(), sink }))
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::*;
    use crate::zone::object::{Namespace, Object};

    #[test]
    fn what_is_kept_comes_back_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let load = || load(&RealDisk, dir.path(), "z.", Vec::new());
        assert!(load().unwrap().is_none());
        forget(&RealDisk, dir.path()).unwrap();
        let object = Object::Namespace(Namespace { name: "shop".into(), labels: [].into() });
        let header = Header { zone: "z.".into(), ..Header::default() };
        let mark = Mark { since_ms: 1, until_ms: 2, rolled_back_to: Some(7) };
        keep(&RealDisk, dir.path(), mark, &header, [ObjectRef::from(&object)]).unwrap();
        let kept = load().unwrap().unwrap();
        assert_eq!((kept.mark, kept.header.zone.as_str(), kept.sink), (mark, "z.", vec![object]));
        assert!(super::load(&RealDisk, dir.path(), "y.", Vec::new()).is_err(), "of another zone");
        forget(&RealDisk, dir.path()).unwrap();
        assert!(load().unwrap().is_none());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_mark_without_its_snapshot_is_said_to_be_wrong() {
        let dir = tempfile::tempdir().unwrap();
        for text in
            ["{", r#"{"version":9,"since_ms":1,"until_ms":2}"#, r#"{"version":1,"since_ms":1,"until_ms":2}"#]
        {
            std::fs::write(dir.path().join(MARK), text).unwrap();
            assert!(load(&RealDisk, dir.path(), "z.", Vec::new()).is_err(), "{text}");
        }
    }
}
