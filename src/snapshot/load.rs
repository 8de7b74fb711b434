//! Loading the newest generation that is whole.

use std::io;
use std::time::{Duration, Instant};

use super::decode::Verified;
use super::disk::DiskError;
use super::folder::{Folder, Generation};
use super::format::{FormatError, MAX_FILE_BYTES};
use super::header::Header;
use super::names;
use super::reject::{Aside, Reason, Rejected};
use crate::zone::object::Object;
use crate::zone::table::Builder;

/// What the loader expects of a snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expect<'a> {
    /// The zone that is served, lower case with the final dot. A snapshot of another is rejected.
    pub zone: &'a str,
    /// The configured source, where it is known: a differing one only warns.
    pub source: Option<&'a str>,
}

/// Takes objects one at a time while a snapshot is read.
pub trait Sink {
    /// Takes the next object.
    fn take(&mut self, object: Object);
}

impl Sink for Vec<Object> {
    fn take(&mut self, object: Object) {
        self.push(object);
    }
}

/// Makes a table, with no list of all objects in between.
impl Sink for Builder {
    fn take(&mut self, object: Object) {
        self.add(object);
    }
}

/// What came of loading.
#[derive(Debug)]
pub struct Loaded<S> {
    /// What was loaded, if anything.
    pub outcome: Outcome<S>,
    /// The generations that are not served, newest first, each newer than the one that is.
    pub rejected: Vec<Rejected>,
    /// What is worth a line in the log but keeps nothing from being served.
    pub warnings: Vec<Warning>,
}

/// What was loaded, if anything.
#[derive(Debug)]
pub enum Outcome<S> {
    /// The newest generation that is whole.
    Loaded(Box<Restored<S>>),
    /// There is none.
    None,
}

/// A generation read back from the disk.
#[derive(Debug)]
pub struct Restored<S> {
    /// Its number.
    pub generation: u64,
    /// What it says of itself.
    pub header: Header,
    /// The sink that took its objects.
    pub sink: S,
    /// How many objects the sink took.
    pub objects: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// What is worth a line in the log but keeps nothing from being served.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// The folder could not be listed.
    #[error(transparent)]
    Unlistable(DiskError),
    /// The snapshot came from another source than is configured now.
    #[error("the snapshot came from source {was}, and {now} is configured")]
    Source {
        /// In the snapshot.
        was: String,
        /// Configured.
        now: String,
    },
    /// A rejected file too many could not be removed.
    #[error(transparent)]
    Untidy(DiskError),
}

/// What a search for the newest whole generation found.
pub(super) struct Found<T> {
    /// It, as it was read.
    pub(super) whole: Option<T>,
    /// Newer ones that are not whole, newest first.
    pub(super) rejected: Vec<Rejected>,
    /// See [`Loaded::warnings`].
    pub(super) warnings: Vec<Warning>,
}

impl Folder {
    /// Loads the newest generation that is whole and of the expected zone. What is not is renamed aside, with
    /// its reason, and the next older one is tried; each attempt gets a sink of its own from `new_sink`.
    pub fn load<S: Sink>(
        &mut self,
        expect: &Expect<'_>,
        mut new_sink: impl FnMut(&Header) -> S,
    ) -> Loaded<S> {
        let found =
            self.newest_whole(|folder, generation| folder.read(generation, expect.zone, &mut new_sink));
        let Found { whole, rejected, mut warnings } = found;
        let outcome = match whole {
            Some(restored) => {
                warnings.extend(differing_source(&restored.header, expect));
                Outcome::Loaded(Box::new(restored))
            }
            None => Outcome::None,
        };
        Loaded { outcome, rejected, warnings }
    }

    /// Reads generations, the newest first, until one is whole; those before it are renamed aside.
    pub(super) fn newest_whole<T>(
        &mut self,
        mut read: impl FnMut(&Self, &Generation) -> Result<T, Reason>,
    ) -> Found<T> {
        let (mut rejected, mut warnings) = (Vec::new(), Vec::new());
        let generations = self.generations().unwrap_or_else(|error| {
            warnings.push(Warning::Unlistable(error));
            Vec::new()
        });
        self.newest = generations.first().map_or(self.newest, |g| g.number.max(self.newest));
        let mut whole = None;
        for generation in generations {
            match read(self, &generation) {
                Ok(found) => {
                    whole = Some(found);
                    break;
                }
                Err(reason) => rejected.push(self.put_aside(generation, reason)),
            }
        }
        if !rejected.is_empty() {
            // A node that crashes while it starts must not gather them without bound, even if it never saves.
            let untidy = self.names().map_or_else(|e| vec![e], |names| self.prune_rejected(&names));
            warnings.extend(untidy.into_iter().map(Warning::Untidy));
        }
        Found { whole, rejected, warnings }
    }

    /// The bytes of a generation.
    pub(super) fn bytes(&self, generation: &Generation) -> Result<Vec<u8>, Reason> {
        self.disk.read(&generation.path, MAX_FILE_BYTES).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => Reason::Format(FormatError::FileSize),
            _ => Reason::Unreadable(error),
        })
    }

    /// Loads one generation, whatever its age, e.g. to roll back to it. Its file stays where it is.
    pub fn load_generation<S: Sink>(
        &self,
        number: u64,
        zone: &str,
        new_sink: impl FnMut(&Header) -> S,
    ) -> Result<Restored<S>, Reason> {
        let path = self.dir.join(names::generation(number));
        self.read(&Generation { number, path, bytes: 0 }, zone, new_sink)
    }

    fn read<S: Sink>(
        &self,
        generation: &Generation,
        zone: &str,
        mut new_sink: impl FnMut(&Header) -> S,
    ) -> Result<Restored<S>, Reason> {
        let start = Instant::now();
        let file = self.bytes(generation)?;
        // A sink sees objects only of a file that passed its checksum and is of the right zone.
        let verified = Verified::new(&file)?;
        if verified.header().zone != zone {
            let found = verified.into_header().zone;
            return Err(Reason::Zone { found, expected: zone.to_owned() });
        }
        let mut sink = new_sink(verified.header());
        // An error here drops the sink with what it has built so far.
        let objects = verified.objects(|object| sink.take(object))?;
        Ok(Restored {
            generation: generation.number,
            header: verified.into_header(),
            sink,
            objects,
            bytes: file.len() as u64,
            elapsed: start.elapsed(),
        })
    }

    /// Renames a rejected file aside, unless reading it may work another time.
    fn put_aside(&self, generation: Generation, reason: Reason) -> Rejected {
        let Generation { number, path, .. } = generation;
        let aside = if let Reason::Unreadable(_) = reason {
            Aside::Left
        } else {
            let to = self.dir.join(names::rejected(number, reason.slug()));
            match self.disk.rename(&path, &to) {
                Ok(()) => Aside::Moved(to),
                // Of no consequence but noise: the next generation has a higher number in any case.
                Err(error) => Aside::Stuck(error),
            }
        };
        Rejected { generation: number, path, reason, aside }
    }
}

/// The source in a header, if it differs from the one that was expected: no reason to reject the snapshot.
fn differing_source(header: &Header, expect: &Expect<'_>) -> Option<Warning> {
    let now = expect.source.filter(|now| !header.source.is_empty() && *now != header.source)?;
    Some(Warning::Source { was: header.source.clone(), now: now.to_owned() })
}
