//! Which files there are, and what tells one version of them from the next, without reading any.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::read::ReadError;
use crate::source::kubectl::Format;

/// Most files of a folder. A ConfigMap holds at most 1 MiB, a folder of one file an object a few thousand;
/// beyond that the path is a mistake.
const MAX_FILES: usize = 10_000;

/// Most bytes of a file or folder: a million endpoints with their pods are about 1 GiB as kubectl prints them.
const MAX_BYTES: u64 = 8 << 30;

/// The files of a path at one moment. Equal surveys: nothing changed in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Survey {
    /// The files in the order in which they are read.
    pub(super) files: Vec<Version>,
    /// Whether the path is a folder.
    pub(super) folder: bool,
}

/// What tells a version of a file from the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// Where the file is.
    pub(super) path: PathBuf,
    /// Where a link points, if it is one.
    link: Option<PathBuf>,
    /// Device and inode: another file under the same name.
    identity: (u64, u64),
    /// Bytes, and the time of the last write.
    pub(super) content: Content,
    /// Seconds and nanoseconds of the last change of the inode, which no tool sets back as it does with the
    /// time of the last write.
    changed: (i64, i64),
}

/// What tells that a file was written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Size in bytes.
    size: u64,
    /// Time of the last write, if the file system knows it.
    written: Option<SystemTime>,
}

impl Content {
    /// The content that `metadata` tells of.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), written: metadata.modified().ok() }
    }
}

impl Survey {
    /// Looks at `path`: a file, or a folder with its `*.json`, `*.yaml` and `*.yml` in the order of their names.
    pub(super) fn of(path: &Path) -> Result<Self, ReadError> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(ReadError::Gone { path: path.into() });
            }
            Err(source) => return Err(ReadError::Io { path: path.into(), source }),
        };
        let folder = metadata.is_dir();
        let files = if folder { folder_files(path)? } else { vec![version(path.into(), metadata)?] };
        if files.iter().map(|f| f.content.size).fold(0, u64::saturating_add) > MAX_BYTES {
            return Err(unusable(path, format!("holds more than {} GiB", MAX_BYTES >> 30)));
        }
        Ok(Self { files, folder })
    }

    /// Whether these are the same files under the same names, whatever is in them.
    pub(super) fn is_same_files(&self, other: &Self) -> bool {
        let same = |(a, b): (&Version, &Version)| a.path == b.path && a.identity == b.identity;
        self.files.len() == other.files.len() && self.files.iter().zip(&other.files).all(same)
    }

    /// Whether some file was written to less than `settle` ago. One from the future was not: a clock that
    /// disagrees must not keep the file from being read for ever.
    pub(super) fn is_being_written(&self, settle: Duration, now: SystemTime) -> bool {
        let age = |f: &Version| f.content.written.and_then(|written| now.duration_since(written).ok());
        self.files.iter().filter_map(age).any(|age| age < settle)
    }
}

fn folder_files(folder: &Path) -> Result<Vec<Version>, ReadError> {
    let failed = |source| ReadError::Io { path: folder.into(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if is_data(&name) {
            paths.push(folder.join(name));
        }
        if paths.len() > MAX_FILES {
            return Err(unusable(folder, format!("holds more than {MAX_FILES} files")));
        }
    }
    if paths.is_empty() {
        return Err(unusable(folder, "holds no *.json, *.yaml or *.yml".to_owned()));
    }
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        // A file that went since it was listed makes this look fail, not the state smaller.
        let metadata = fs::metadata(&path).map_err(|source| ReadError::Io { path: path.clone(), source })?;
        if !metadata.is_dir() {
            files.push(version(path, metadata)?);
        }
    }
    Ok(files)
}

/// Whether a name in a folder is one of ours. Hidden names are not: the kubelet keeps the versions of a mounted
/// ConfigMap in hidden folders, with links of the plain names into the current one.
fn is_data(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    !name.starts_with('.') && Format::of_name(&name).is_some()
}

/// The version of the file at `path`, which `metadata` describes, links followed.
fn version(path: PathBuf, metadata: Metadata) -> Result<Version, ReadError> {
    // Opening a pipe or a device could block for ever.
    if !metadata.is_file() {
        return Err(unusable(&path, "is neither a file nor a folder".to_owned()));
    }
    Ok(Version {
        link: fs::read_link(&path).ok(),
        identity: (metadata.dev(), metadata.ino()),
        content: Content::of(&metadata),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        path,
    })
}

fn unusable(path: &Path, what: String) -> ReadError {
    ReadError::Unusable { path: path.into(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours() {
        for (name, ours) in [
            ("a.json", true),
            ("a.yaml", true),
            ("a.yml", true),
            (".a.json", false),
            ("..data", false),
            ("..2026_11_22.json", false),
            ("a.txt", false),
            ("a.json~", false),
        ] {
            assert_eq!(is_data(OsStr::new(name)), ours, "{name}");
        }
    }

    #[test]
    fn a_file_is_settled_when_it_was_left_alone_or_the_clocks_disagree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, "{}").unwrap();
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        let survey = Survey::of(&path).unwrap();
        let settle = Duration::from_secs(1);
        assert!(survey.is_being_written(settle, written));
        assert!(survey.is_being_written(settle, written + settle / 2));
        assert!(!survey.is_being_written(settle, written + settle));
        assert!(!survey.is_being_written(settle, written - settle));
    }

    #[test]
    fn every_way_to_change_a_file_shows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, "{}").unwrap();
        let first = Survey::of(folder.path()).unwrap();
        assert_eq!(Survey::of(folder.path()).unwrap(), first);

        let changes: [(&str, &dyn Fn()); 4] = [
            ("longer", &|| fs::write(&path, "{} ").unwrap()),
            ("replaced", &|| {
                let beside = folder.path().join("new");
                fs::write(&beside, "{} ").unwrap();
                fs::rename(beside, &path).unwrap();
            }),
            ("another file", &|| fs::write(folder.path().join("b.yml"), "").unwrap()),
            ("gone again", &|| fs::remove_file(folder.path().join("b.yml")).unwrap()),
        ];
        let mut before = first;
        for (what, change) in changes {
            change();
            let after = Survey::of(folder.path()).unwrap();
            assert_ne!(after, before, "{what}");
            before = after;
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_unopened() {
        let folder = tempfile::tempdir().unwrap();
        let why = |path: &Path| Survey::of(path).unwrap_err().to_string();
        assert!(why(folder.path()).ends_with("holds no *.json, *.yaml or *.yml"));
        assert!(why(Path::new("/dev/null")).ends_with("is neither a file nor a folder"));
        assert!(why(&folder.path().join("a.json")).ends_with("there is no such file or folder"));
        std::os::unix::fs::symlink("nowhere", folder.path().join("a.json")).unwrap();
        assert!(matches!(Survey::of(folder.path()), Err(ReadError::Io { .. })));
    }
}
