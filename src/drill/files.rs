//! Files that those who are drilled read: kubeconfigs, Corefiles, certificates.

use std::path::Path;

use crate::snapshot::atomic;
use crate::snapshot::disk::{DiskError, RealDisk};

/// Makes `path` a file of this text, whole or not at all. For its owner alone: a kubeconfig holds a token.
///
/// # Errors
/// The folder cannot be written.
pub fn replace(path: &Path, text: &str) -> Result<(), DiskError> {
    atomic::replace(&RealDisk, path, |to| {
        to.write_all(text.as_bytes()).map_err(DiskError::at("writing", path))
    })
}
