//! The files of `outlast certs`: whole or not at all, the owner's alone, and never overwritten by accident.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::snapshot::atomic;
use crate::snapshot::disk::{Disk as _, DiskError, RealDisk};
use crate::trust::issue::Authority;
use crate::trust::pem;

use super::{CA_CERT, CA_KEY};

/// A file's content, with its path.
pub(super) struct Text {
    /// Its path.
    pub(super) path: PathBuf,
    /// Its content.
    pub(super) bytes: Vec<u8>,
}

/// Reads a file of a folder.
pub(super) fn read(path: PathBuf) -> anyhow::Result<Text> {
    Ok(Text { bytes: pem::read(&path)?, path })
}

/// Reads the authority in a folder, and the text of its certificate.
pub(super) fn authority(folder: &Path) -> anyhow::Result<(Authority, Text)> {
    let missing = || {
        let folder = folder.display();
        format!(
            "--ca {folder} is to be a folder with {CA_CERT} and {CA_KEY}: 'outlast certs init --out {folder}' makes one"
        )
    };
    let certificate = read(folder.join(CA_CERT)).with_context(missing)?;
    let key = read(folder.join(CA_KEY)).with_context(missing)?;
    let authority = Authority::read((&certificate.path, &certificate.bytes), (&key.path, &key.bytes))?;
    Ok((authority, certificate))
}

/// Writes files to a folder, which is made if it is missing, in their order, each in one step.
///
/// # Errors
/// A file that is there already, unless `force`: then nothing was written.
pub(super) fn write(folder: &Path, files: &[(&str, &[u8])], force: bool) -> anyhow::Result<()> {
    if !force {
        for (name, _) in files {
            let path = folder.join(name);
            // A link that leads nowhere is somebody's, too.
            if path.symlink_metadata().is_ok() {
                bail!(
                    "{} is there already: name another folder, or say --force to overwrite it",
                    path.display()
                );
            }
        }
    }
    RealDisk.make_dir(folder).with_context(|| format!("making folder {}", folder.display()))?;
    for (name, bytes) in files {
        let path = folder.join(name);
        atomic::replace(&RealDisk, &path, |to| to.write_all(bytes).map_err(DiskError::at("writing", &path)))?;
    }
    Ok(())
}
