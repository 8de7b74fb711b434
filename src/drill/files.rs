//! Files of drills: what those who are drilled read (kubeconfigs, Corefiles, certificates) and write.

use std::io;
use std::path::{Path, PathBuf};

use crate::snapshot::atomic;
use crate::snapshot::disk::{Disk, DiskError, RealDisk};

/// Memory that looks like a disk: drills are not about how fast a disk is.
const SHARED_MEMORY: &str = "/dev/shm";

/// The largest file that is damaged: far more than a drill's snapshots.
const MAX_DAMAGED: u64 = 64 << 20;

/// Bytes of it that are.
const DAMAGE: usize = 16;

/// Makes `path` a file of this text, whole or not at all. For its owner alone: a kubeconfig holds a token.
///
/// # Errors
/// The folder cannot be written.
pub fn replace(path: &Path, text: &str) -> Result<(), DiskError> {
    atomic::replace(&RealDisk, path, |to| {
        to.write_all(text.as_bytes()).map_err(DiskError::at("writing", path))
    })
}

/// Turns some bytes in the middle of a file, as a bad disk does.
///
/// # Errors
/// It cannot be read or written.
pub(in crate::drill) fn damage(path: &Path) -> Result<(), DiskError> {
    let mut bytes = RealDisk.read(path, MAX_DAMAGED).map_err(DiskError::at("reading", path))?;
    let middle = bytes.len() / 2;
    for byte in bytes.iter_mut().skip(middle).take(DAMAGE) {
        *byte = !*byte;
    }
    atomic::replace(&RealDisk, path, |to| to.write_all(&bytes).map_err(DiskError::at("writing", path)))
}

/// Makes a new folder for drills, with mode 0700: in memory where that is possible, else with other temporary files.
///
/// # Errors
/// It cannot be made in either place.
pub fn scratch() -> io::Result<PathBuf> {
    let name = format!("outlast-drill-{}-{:08x}", std::process::id(), rand::random::<u32>());
    let in_memory = Path::new(SHARED_MEMORY).join(&name);
    if Path::new(SHARED_MEMORY).is_dir() && make(&in_memory).is_ok() {
        return Ok(in_memory);
    }
    let folder = std::env::temp_dir().join(name);
    make(&folder).map(|()| folder)
}

/// Makes a folder, with mode 0700.
pub(in crate::drill) fn make(folder: &Path) -> io::Result<()> {
    RealDisk.make_dir(folder)
}

/// Removes a folder of a drill with all that is in it.
///
/// # Errors
/// Something of it stays.
pub fn remove(folder: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(folder)
}

/// Removes a folder of drills, unless one of them has left something there.
pub fn remove_if_empty(folder: &Path) {
    // Where logs were left it is not empty.
    let _ = std::fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_for_drills_is_its_owners_and_goes_once_it_is_empty() {
        let (one, other) = (scratch().unwrap(), scratch().unwrap());
        assert_ne!(one, other);
        assert_eq!(std::fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o700);
        let file = one.join("kubeconfig");
        replace(&file, "a token").unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        remove_if_empty(&one);
        remove_if_empty(&other);
        assert!(one.exists() && !other.exists());
        remove(&one).unwrap();
        assert!(!one.exists());
    }
}
