//! Files that are read again when they change, and taken whole or not at all.
//!
//! Whether they have changed is told by their content: a Secret's files change by a swap of symbolic links, and times
//! of last change are coarse.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_128;

use super::pem::{self, PemError};

/// What a look at the files found.
#[derive(Debug)]
pub enum Look<T> {
    /// They are what they were when they were last looked at.
    Same,
    /// What they hold now.
    Changed(T),
    /// They are broken, or gone. Said once for each change.
    Broken(PemError),
}

/// A set of files.
#[derive(Debug)]
pub struct Watched {
    /// Where they are.
    paths: Vec<PathBuf>,
    /// How they were found last. Held for one look.
    seen: Mutex<Seen>,
}

/// How files were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seen {
    /// They were not looked at.
    #[default]
    Never,
    /// One could not be read.
    Unreadable,
    /// Their content had this hash, be it right or wrong.
    Content(u128),
}

impl Watched {
    /// Files that were not looked at yet.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, seen: Mutex::default() }
    }

    /// Reads the files, and if they are not what they were, makes something of their contents, which come in the order
    /// of the paths. Blocks while it does.
    pub fn look<T>(&self, make: impl Fn(&[Vec<u8>]) -> Result<T, PemError>) -> Look<T> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *seen;
        let mut broken = None;
        // Files may be exchanged between the reading of one and of the next: what does not belong together is read
        // once more before it is called broken.
        for _ in 0..2 {
            let texts = match self.read() {
                Ok(texts) => texts,
                Err(_) if before == Seen::Unreadable => return Look::Same,
                Err(error) => {
                    *seen = Seen::Unreadable;
                    return Look::Broken(error);
                }
            };
            let found = Seen::Content(hash(&texts));
            if *seen == found {
                break;
            }
            *seen = found;
            match make(&texts) {
                Ok(made) => return Look::Changed(made),
                Err(error) => broken = Some(error),
            }
        }
        broken.map_or(Look::Same, Look::Broken)
    }

    /// The same for a first look, of which an error is the caller's to tell.
    ///
    /// # Errors
    /// A file that cannot be read, or what is wrong with the contents.
    pub fn first<T>(&self, make: impl Fn(&[Vec<u8>]) -> Result<T, PemError>) -> Result<T, PemError> {
        let texts = self.read()?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::Content(hash(&texts));
        make(&texts)
    }

    fn read(&self) -> Result<Vec<Vec<u8>>, PemError> {
        self.paths.iter().map(|path| pem::read(path)).collect()
    }
}

/// A hash of all, and of where one ends.
fn hash(texts: &[Vec<u8>]) -> u128 {
    let hashes: Vec<u8> = texts.iter().flat_map(|text| xxh3_128(text).to_be_bytes()).collect();
    xxh3_128(&hashes)
}
