//! A file that is there whole or not at all.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::disk::{Disk, DiskError};
use super::names;

/// Bytes gathered before they are written: what the compressor hands out at a time.
const BUFFER_BYTES: usize = 128 << 10;

/// Writes the file `target` by way of a temporary file in the same folder: whatever is cut off, `target` is
/// afterwards what it was before or what `fill` wrote, never a part of it. After success it outlives a power
/// cut.
///
/// On failure the temporary file is removed, or left to be found abandoned, and `target` is what it was;
/// except where only the last step, the sync of the folder, fails: then `target` is new but may not outlive a
/// power cut.
pub fn replace<T, E: From<DiskError>>(
    disk: &dyn Disk,
    target: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = target.with_file_name(names::temporary(&name));
    let filled = write_synced(disk, &temporary, fill).and_then(|value| {
        // A name must never lead to content that was not synced, hence not before `write_synced` is through.
        disk.rename(&temporary, target).map_err(DiskError::at("renaming", &temporary))?;
        Ok(value)
    });
    match filled {
        Ok(value) => {
            let folder = parent(target);
            disk.sync_dir(&folder).map_err(DiskError::at("syncing folder", &folder))?;
            Ok(value)
        }
        Err(error) => {
            // Best effort: the error that is told is the first one, and what stays is found abandoned later.
            let _ = disk.remove(&temporary);
            Err(error)
        }
    }
}

/// Makes a file and syncs its content. A failed sync is final for this file: the kernel may have dropped the
/// pages and say success the next time.
fn write_synced<T, E: From<DiskError>>(
    disk: &dyn Disk,
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let file = disk.create_new(path).map_err(DiskError::at("creating", path))?;
    let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, file);
    let value = fill(&mut buffered)?;
    buffered.flush().map_err(DiskError::at("writing", path))?;
    buffered.get_mut().sync().map_err(DiskError::at("syncing", path))?;
    Ok(value)
}

/// The folder that a file is in.
fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
