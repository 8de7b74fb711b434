//! Reads all files of a path into one state.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::survey::{Content, Survey, Version};
use crate::source::Wanted;
use crate::source::kubectl::{DecodeError, Decoder, Format, Found, Malformed};
use crate::zone::object::{Kind, Kinds, Object, Shape};

/// Why a path could not be read. The text begins with the file's name, and for an error in its content with
/// `FILE:LINE:COLUMN`.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is nothing under this name.
    #[error("{}: there is no such file or folder", path.display())]
    Gone {
        /// The path as configured.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// There is something that is no place for objects.
    #[error("{}: {what}", path.display())]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A syntax or type error.
    #[error("{}:{at}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in it, and what.
        at: Malformed,
    },
    /// There is not one object to answer from, which no cluster is like: a write was cut short.
    #[error("{}: holds no {}{}", path.display(), list(*kinds), left_out.as_deref().unwrap_or_default())]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// What was looked for.
        kinds: Kinds,
        /// What there was instead, for people.
        left_out: Option<String>,
    },
    /// It lacks a whole kind of object without which the names of the others would be denied: it was printed
    /// with too few kinds.
    #[error(
        "{}: holds no {missing}, and {because}: print all kinds, as in 'kubectl get ns,svc,endpointslices,pods -A -o json'",
        path.display()
    )]
    Incomplete {
        /// The file or folder.
        path: PathBuf,
        /// The kind that is missing.
        missing: Kind,
        /// Why it has to be there.
        because: &'static str,
    },
    /// It was written to while it was read, so that what was read may be of two versions.
    #[error("{}: changed while it was being read", path.display())]
    Torn {
        /// The file or folder.
        path: PathBuf,
    },
}

/// Reads the file or folder at `path` once: every object of the `wanted` kinds, and what was left out.
///
/// Blocks; a list of 100,000 endpoints takes in the order of a second.
pub fn read(path: &Path, wanted: Wanted) -> Result<Found, ReadError> {
    read_surveyed(path, &Survey::of(path)?, wanted)
}

/// Reads the files of `survey`, which was made of `path`.
pub(super) fn read_surveyed(path: &Path, survey: &Survey, wanted: Wanted) -> Result<Found, ReadError> {
    let mut decoder = Decoder::new(wanted);
    for file in &survey.files {
        decode(file, wanted, &mut decoder)?;
    }
    // A file that is replaced while it is read is read whole. Files of a folder belong together: of a mounted
    // ConfigMap, half could be of the version before.
    if survey.folder && Survey::of(path)? != *survey {
        return Err(ReadError::Torn { path: path.into() });
    }
    let found = decoder.finish();
    if found.objects.is_empty() {
        let left_out = left_out(&found);
        return Err(ReadError::Empty { path: path.into(), kinds: wanted.kinds(), left_out });
    }
    match missing_kind(&found.objects) {
        Some((missing, because)) => Err(ReadError::Incomplete { path: path.into(), missing, because }),
        None => Ok(found),
    }
}

/// A kind that every cluster has and these objects lack, though others depend on it.
fn missing_kind(objects: &[Object]) -> Option<(Kind, &'static str)> {
    let has = |kind| objects.iter().any(|o| o.kind() == kind);
    let headless = |o: &Object| matches!(o, Object::Service(s) if s.shape == Shape::Headless);
    if !has(Kind::Namespace) && objects.iter().any(|o| !matches!(o, Object::Namespace(_))) {
        Some((Kind::Namespace, "no name below a namespace exists without it"))
    } else if !has(Kind::Service) && has(Kind::EndpointSlice) {
        Some((Kind::Service, "endpoints have no names without it"))
    } else if !has(Kind::EndpointSlice) && objects.iter().any(headless) {
        Some((Kind::EndpointSlice, "headless services have no addresses without it"))
    } else {
        None
    }
}

fn decode(file: &Version, wanted: Wanted, decoder: &mut Decoder) -> Result<(), ReadError> {
    let path = || file.path.clone();
    let failed = |source| ReadError::Io { path: path(), source };
    let opened = File::open(&file.path).map_err(failed)?;
    let before = Content::of(&opened.metadata().map_err(failed)?);
    let mut text = BufReader::new(&opened);
    let format = match Format::of_name(&file.path.to_string_lossy()) {
        Some(format) => format,
        None => Format::of_text(text.fill_buf().map_err(failed)?),
    };
    let decoded = decoder.decode(format, text);
    // Judged before the text is: half a write is no syntax error.
    if Content::of(&opened.metadata().map_err(failed)?) != before {
        return Err(ReadError::Torn { path: path() });
    }
    match decoded {
        // A folder may hold a file of other kinds only, but none at all is a write cut short.
        Ok(0) => Err(ReadError::Empty { path: path(), kinds: wanted.kinds(), left_out: None }),
        Ok(_) => Ok(()),
        Err(DecodeError::Malformed(at)) => Err(ReadError::Malformed { path: path(), at }),
        Err(DecodeError::Io(source)) => Err(failed(source)),
    }
}

/// `Namespace, Service or EndpointSlice`
fn list(kinds: Kinds) -> String {
    let names: Vec<_> = kinds.iter().map(|k| k.as_str()).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// What there was instead of objects.
fn left_out(found: &Found) -> Option<String> {
    let skipped = found.skipped.iter().map(|(kind, count)| format!("{count} of kind {kind}"));
    let dropped = found.drops.iter().filter_map(|(_, _, dropped)| dropped.examples.first().cloned());
    // A sentence, not a report: the first of either.
    let first: Vec<_> = skipped.take(1).chain(dropped.take(1)).collect();
    (!first.is_empty()).then(|| format!("; it has {}", first.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_as_in_a_sentence() {
        assert_eq!(list(Kinds::CORE), "Namespace, Service or EndpointSlice");
        assert_eq!(list(Kinds::ALL), "Namespace, Service, EndpointSlice or Pod");
        assert_eq!(list(Kinds::NONE), "");
    }
}
