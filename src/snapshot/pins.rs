//! What operators have pinned: `pins.json` beside the snapshots, so that a restart goes on answering so.
//!
//! One small file that is there whole or not at all, and is not there where nothing is pinned. What the values mean, who
//! reads them knows: here they are text.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::atomic;
use super::disk::{Disk, DiskError};

/// The file.
const FILE: &str = "pins.json";

/// Version of the file. An older one stays readable.
const VERSION: u32 = 1;

/// A file that is longer was not written by us: a thousand values of half a kilobyte, each with its name, are less.
const MAX_BYTES: u64 = 4 << 20;

/// Values of one name and type, as they are on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPin {
    /// The name in presentation form, absolute.
    pub name: String,
    /// The type of record, e.g. `AAAA`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The values, as the operator wrote them.
    pub values: Vec<String>,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// When it ends by itself, Unix milliseconds.
    pub until_ms: u64,
}

/// The file as a whole.
#[derive(Serialize, Deserialize)]
struct PinsFile {
    /// See [`VERSION`].
    version: u32,
    /// When it was written, Unix milliseconds.
    written_ms: u64,
    /// What is pinned.
    pins: Vec<KeptPin>,
}

/// What was pinned, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPins {
    /// When it was written, Unix milliseconds: it is no earlier now, whatever the clock says.
    pub written_ms: u64,
    /// What is pinned.
    pub pins: Vec<KeptPin>,
}

/// Keeps this in the folder `dir` in place of what was kept before. The folder is made if it is missing.
///
/// # Errors
/// What failed; what was kept before is still there.
pub fn keep(disk: &dyn Disk, dir: &Path, written_ms: u64, pins: Vec<KeptPin>) -> Result<(), DiskError> {
    let path = dir.join(FILE);
    if pins.is_empty() {
        return forget(disk, dir, &path);
    }
    disk.make_dir(dir).map_err(DiskError::at("making folder", dir))?;
    let file = PinsFile { version: VERSION, written_ms, pins };
    atomic::replace(disk, &path, |to| {
        let text = serde_json::to_vec(&file).map_err(io::Error::from);
        text.and_then(|text| to.write_all(&text)).map_err(DiskError::at("writing", &path))
    })
}

/// Nothing is pinned any more.
fn forget(disk: &dyn Disk, dir: &Path, path: &Path) -> Result<(), DiskError> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DiskError::at("removing", path)(error)),
        Ok(()) => disk.sync_dir(dir).map_err(DiskError::at("syncing folder", dir)),
    }
}

/// What is kept in the folder `dir`; `None` where that is nothing.
///
/// # Errors
/// For people: why what is there cannot be read.
pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<KeptPins>, String> {
    let path = dir.join(FILE);
    let bytes = match disk.read(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("reading {}: {error}", path.display())),
    };
    let file: PinsFile = serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    let PinsFile { version, written_ms, pins } = file;
    if version > VERSION {
        return Err(format!("{}: of version {version}, and {VERSION} is known", path.display()));
    }
    Ok(Some(KeptPins { written_ms, pins }))
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::*;
    use crate::testkit::disk::{RecordingDisk, Tear};

    /// So many pins.
    fn pins(count: usize) -> Vec<KeptPin> {
        let pin = |n: usize| KeptPin {
            name: format!("n{n}."),
            kind: "A".to_owned(),
            values: vec!["192.0.2.1".to_owned()],
            since_ms: 1,
            until_ms: 2,
        };
        (0..count).map(pin).collect()
    }

    #[test]
    fn what_is_pinned_comes_back_until_nothing_is() {
        let folder = tempfile::tempdir().unwrap();
        // One that nobody has made yet.
        let dir = folder.path().join("new");
        let load = || load(&RealDisk, &dir).unwrap();
        let keep = |count| keep(&RealDisk, &dir, 7, pins(count)).unwrap();
        assert_eq!(load(), None);
        keep(0);
        assert_eq!(load(), None);
        for count in [2, 1] {
            keep(count);
            assert_eq!(load(), Some(KeptPins { written_ms: 7, pins: pins(count) }));
        }
        keep(0);
        assert_eq!(load(), None);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    }

    /// A file of this release, for all that follow.
    #[test]
    fn version_1_stays_readable() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"version":1,"written_ms":9,"pins":[{"name":"web.shop.","type":"A","values":["192.0.2.1"],
            "since_ms":1,"until_ms":2}]}"#;
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let kept = load(&RealDisk, folder.path()).unwrap().unwrap();
        let KeptPin { name, kind, values, since_ms, until_ms } = &kept.pins[0];
        assert_eq!(
            (name.as_str(), kind.as_str(), &**values),
            ("web.shop.", "A", &["192.0.2.1".to_owned()][..])
        );
        assert_eq!((kept.written_ms, *since_ms, *until_ms), (9, 1, 2));
    }

    #[test]
    fn what_cannot_be_read_is_said_to_be_wrong() {
        let folder = tempfile::tempdir().unwrap();
        for (text, says) in
            [("{", "EOF"), (r#"{"version":9,"written_ms":1,"pins":[]}"#, "of version 9, and 1 is known")]
        {
            std::fs::write(folder.path().join(FILE), text).unwrap();
            let why = load(&RealDisk, folder.path()).unwrap_err();
            assert!(why.contains(says) && why.contains(FILE), "{why}");
        }
    }

    /// Whenever the power is cut, what was pinned before is there, or what is pinned now.
    #[test]
    fn a_cut_leaves_one_or_the_other() {
        let (disk, dir) = (RecordingDisk::default(), Path::new("/d"));
        disk.make_dir(dir).unwrap();
        keep(&disk, dir, 1, pins(1)).unwrap();
        let before = disk.changes();
        keep(&disk, dir, 2, pins(2)).unwrap();
        let found = |image| {
            let kept = load(&RecordingDisk::holding(image), dir).unwrap().unwrap();
            assert_eq!(kept.pins.len() as u64, kept.written_ms);
            kept.written_ms
        };
        for changes in before..=disk.changes() {
            for image in disk.power_cuts(changes, Tear::Coarse) {
                assert!((1..=2).contains(&found(image)), "after {changes} changes");
            }
        }
        let cut = disk.power_cuts(disk.changes(), Tear::Coarse);
        assert!(cut.into_iter().all(|image| found(image) == 2));
    }
}
