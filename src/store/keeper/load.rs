//! What a start finds on the disk, and how much of it a source may go on from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Keeper, now};
use crate::snapshot::frozen::{self, Kept};
use crate::snapshot::header::{Header, KindDigest};
use crate::snapshot::load::{Expect, Outcome};
use crate::source::{Resume, SourceConfig};
use crate::store::Generation;
use crate::zone::digest;
use crate::zone::object::{Kind, Kinds};
use crate::zone::table::Builder;

/// A snapshot that was loaded.
pub struct Booted {
    /// What to serve.
    pub generation: Generation,
    /// How long ago it was proved to be current.
    pub age: Duration,
    /// From where the source may go on.
    pub resume: Resume,
    /// Kinds that are served, and are not all of what is wanted now.
    pub broken: Kinds,
}

/// Something frozen that goes on being so.
pub(in crate::store) struct Thawing {
    /// What is to be served.
    pub(in crate::store) generation: Generation,
    /// How long ago it was proved to be current.
    pub(in crate::store) age: Duration,
    /// How long ago it was frozen.
    pub(in crate::store) since: Duration,
    /// For how much longer it is.
    pub(in crate::store) remaining: Duration,
    /// The snapshot that was rolled back to.
    pub(in crate::store) rolled_back_to: Option<u64>,
}

impl Keeper {
    /// Loads the newest snapshot that is whole.
    pub fn load(&mut self) -> Option<Booted> {
        let expect = Expect { zone: &self.config.zone, source: Some(&self.config.source) };
        let start = Instant::now();
        let loaded = self.folder.as_mut()?.load(&expect, |_| Builder::default());
        for rejected in &loaded.rejected {
            self.gauges.rejected.increment(1);
            tracing::error!(file = %rejected.path.display(), "snapshot is not served: {rejected}");
        }
        for warning in &loaded.warnings {
            tracing::warn!(%warning, "snapshot");
        }
        let Outcome::Loaded(mut restored) = loaded.outcome else { return None };
        let header = restored.header;
        self.clock.raise_floor(header.written_at_ms);
        let mut complete = header.complete;
        if self.config.labels && !header.labels {
            // Selectors cannot be applied to objects without labels.
            tracing::warn!(
                "the snapshot has no labels and the configuration selects by them: waiting for the source"
            );
            complete = Kinds::NONE;
            // Not even what is there can be answered by.
            restored.sink = Builder::default();
        }
        let table = restored.sink.finish(complete, header.serial);
        let digests = KindDigest::of(&table);
        let differs = header.digest_version == digest::VERSION && header.digests != digests;
        if differs {
            tracing::warn!("the snapshot's digests differ from its objects");
        }
        // A position that promises more than the table holds would leave a gap for good.
        let same = SourceConfig::is_same_origin(&header.source, &self.config.source);
        let trusted = if differs || !same { Kinds::NONE } else { complete };
        // Their digest is one of other slices.
        let other_slices = header.headless_only != self.config.headless_only;
        let broken = if other_slices { Kinds::NONE.with(Kind::EndpointSlice) } else { Kinds::NONE };
        let resume = resume(&header, trusted.minus(broken));
        let age = Duration::from_millis(self.clock.age_ms(header.proved_at_ms));
        let elapsed = start.elapsed();
        self.gauges.load.set(elapsed.as_secs_f64());
        self.gauges.bytes.set(restored.bytes as f64);
        self.newest = Some(restored.generation);
        self.note_written(header.written_at_ms);
        if !complete.is_empty() {
            // What is good for nothing is not written back either: an older configuration may still want the file.
            let unit = self.jitter.unit();
            self.schedule.restored(now(), age, unit);
        }
        tracing::info!(snapshot = restored.generation, objects = restored.objects, endpoints = table.endpoint_count(),
            age = ?Duration::from_secs(age.as_secs()), took = ?elapsed, source = %header.source, "loaded snapshot");
        let generation = Generation { table, number: 1, ..Generation::default() };
        Some(Booted { generation, age, resume, broken })
    }

    /// What an operator has frozen before the process began, and is to be served for so much longer.
    pub(in crate::store) fn load_frozen(&self) -> Option<Thawing> {
        let place = self.place();
        let kept = match frozen::load(&*place.disk, &place.dir, &place.zone, Builder::default()) {
            Ok(kept) => kept?,
            Err(why) => {
                tracing::error!(%why, "what was frozen cannot be served");
                return None;
            }
        };
        let Kept { mark, header, sink } = kept;
        self.clock.raise_floor(header.written_at_ms);
        let now = self.clock.now_unix_ms();
        // A clock that was set back makes nothing last longer than it was meant to.
        let remaining = mark.until_ms.saturating_sub(now.max(mark.since_ms));
        if remaining == 0 || (self.config.labels && !header.labels) {
            return None;
        }
        let resume = resume(&header, header.complete);
        let table = sink.finish(header.complete, header.serial);
        Some(Thawing {
            generation: Generation { table, number: 1, reached: Arc::new(resume), ..Generation::default() },
            age: Duration::from_millis(self.clock.age_ms(header.proved_at_ms)),
            since: Duration::from_millis(now.saturating_sub(mark.since_ms)),
            remaining: Duration::from_millis(remaining),
            rolled_back_to: mark.rolled_back_to,
        })
    }
}

/// What a snapshot lets its source go on from: its position for the kinds that are `trusted`. Which cluster and epoch
/// it was is worth knowing even where every kind has to be listed.
fn resume(header: &Header, trusted: Kinds) -> Resume {
    let (mut position, mut told) = (header.position, header.told);
    // What is missing from the objects is not known where removals were held back.
    for kind in Kinds::ALL.minus(trusted.minus(header.held)).iter() {
        position.versions[kind.index()] = 0;
        told.versions[kind.index()] = 0;
    }
    Resume { cluster_uid: header.cluster_uid.clone(), position, told, ..Resume::default() }
}
