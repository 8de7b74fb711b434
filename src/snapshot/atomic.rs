//! A file that is there whole or not at all.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::disk::{Disk, DiskError, DiskFile};
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
    let file = disk.create_new(&temporary).map_err(DiskError::at("creating", &temporary))?;
    let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, file);
    let outcome = fill_and_sync(&mut buffered, &temporary, fill).and_then(|value| {
        // A name must never lead to content that was not synced, hence not before the sync is through.
        disk.rename(&temporary, target).map_err(DiskError::at("renaming", &temporary))?;
        Ok(value)
    });
    // Held until here, so that no other process takes the file for abandoned; and taken apart, because a
    // buffer that is merely dropped would be written after the error.
    drop(buffered.into_parts());
    match outcome {
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

/// Writes and syncs the content. A failed sync is final for this file: the kernel may have dropped the pages
/// and say success the next time.
fn fill_and_sync<T, E: From<DiskError>>(
    buffered: &mut BufWriter<Box<dyn DiskFile>>,
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let value = fill(buffered)?;
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
