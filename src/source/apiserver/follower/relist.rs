//! A whole list of the kind, as a stream where the server has that, in pages where it has not.

use tokio::time::Instant;

use super::check::VERIFY_TIMEOUT;
use super::{Follower, Interrupt, Why};
use crate::source::apiserver::fault::Fault;
use crate::source::apiserver::list::{AtLeast, Pages};
use crate::source::apiserver::seen::Seen;
use crate::source::apiserver::watch::{From, Step, Watch};
use crate::source::kubectl::single::{Decoded, Slim};
use crate::source::{Listed, Update, command};
use crate::zone::object::Kinds;

/// Entries of a list that are sent to the store together: enough that the channel costs nothing, few enough that a
/// queue full of parts is no second copy of a cluster.
const PART: usize = 256;

/// A list that is complete but not yet applied.
struct Complete {
    /// The version of the whole.
    version: u64,
    /// How many objects it has.
    count: usize,
    /// The watch that goes on from it, where it came as a stream.
    watch: Option<Watch>,
}

impl Follower {
    /// Takes a whole list, and returns the watch that goes on from it, if there is one already.
    pub(super) async fn relist(&mut self, why: Why) -> Result<Option<Watch>, Interrupt> {
        let began = Instant::now();
        self.asked.answered();
        let kinds = Kinds::NONE.with(self.kind);
        let at_least = self.at_least(why);
        // What is left of a list that was broken off, also by a change of lineage, is no part of this one.
        self.report.tell(self.lineage, Update::ListFailed { kinds }).await?;
        let result = match self.gather(why, at_least).await {
            Ok(complete) => {
                let judged = self.judge(began, at_least, complete.version).await;
                judged.map(|()| complete)
            }
            Err(interrupt) => Err(interrupt),
        };
        let Complete { version, count, watch } = match result {
            Ok(complete) => complete,
            Err(interrupt) => {
                // Invariant: nothing of a list is served that is not whole and right.
                if !matches!(interrupt, Interrupt::Stop(_)) {
                    self.report.tell(self.lineage, Update::ListFailed { kinds }).await?;
                }
                return Err(interrupt);
            }
        };
        if why == Why::Asked(command::Why::Audit) && self.catches_up(version).await? {
            self.report.tell(self.lineage, Update::Audited { kind: self.kind }).await?;
        }
        self.report.tell(self.lineage, Update::ListEnd { kinds }).await?;
        self.report.tell(self.lineage, Update::Told { kind: self.kind, version, digest: None }).await?;
        self.report.tell(self.lineage, Update::Reached { kind: self.kind, version }).await?;
        self.measure.listed(why);
        tracing::info!(kind = %self.kind, reason = why.as_str(), objects = count, version,
            streamed = watch.is_some(), took = ?began.elapsed(), "listed");
        (self.position, self.told, self.resumed) = (version, version, 0);
        self.seen = Seen::at(version);
        self.listed = Some(began);
        let as_of = (at_least == AtLeast::Now).then_some(began);
        self.freshness.listed(version, as_of);
        if let Some(as_of) = as_of {
            self.report.prove(self.lineage, self.kind, as_of).await?;
        }
        Ok(watch)
    }

    /// Whether a complete list of this version is of our cluster, and no older than what is known. What it may take
    /// away is the store's matter.
    async fn judge(&mut self, began: Instant, at_least: AtLeast, version: u64) -> Result<(), Interrupt> {
        let malformed = |why: String| Err(Fault::Malformed { why }.into());
        if version == 0 {
            return malformed("a list without resourceVersion".to_owned());
        }
        // The list may have come from another server than the one that was asked who it is.
        self.identify(began).await?;
        match at_least {
            AtLeast::Version(floor) if version < floor => {
                malformed(format!("a list of resourceVersion {version} where {floor} or later was asked for"))
            }
            AtLeast::Now if version < self.highest() => {
                // Invariant: only a consistent list below what is known is a restore.
                self.lineage = self.report.restored(self.lineage).await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Tells everything that happened up to `version`, so that where a list of that version differs something was
    /// left out. Whether that came about: a server that does not say how far it is leaves it open.
    async fn catches_up(&mut self, version: u64) -> Result<bool, Interrupt> {
        let mut events = Vec::new();
        if self.known() < version {
            let from = From::Version(self.known());
            let opened = Watch::open(&self.client, self.kind, self.wanted, from, VERIFY_TIMEOUT).await;
            let Ok(mut watch) = opened else { return Ok(false) };
            // What fails here fails again where it matters.
            while self.position < version
                && let Ok(Some(step)) = watch.next().await
            {
                let to = match &step {
                    Step::Bookmark { version, .. } => *version,
                    Step::Upsert(decoded) | Step::Delete(decoded) => decoded.version,
                };
                // What is younger than the list is told by the watch that goes on from it.
                if to <= version {
                    self.take_main(step, &mut events);
                }
                self.position = self.position.max(to.min(version));
            }
        }
        let before = self.seen.floor();
        self.send(events, before).await?;
        Ok(self.known() >= version)
    }

    async fn gather(&mut self, why: Why, at_least: AtLeast) -> Result<Complete, Interrupt> {
        // A stream waits for the server's cache, which may never come, or is what is under suspicion; pages can come
        // from behind it.
        let failed = std::mem::take(&mut self.stream_failed);
        if !self.streaming || failed || matches!(why, Why::Suspicious | Why::Asked(_)) {
            return self.gather_pages(at_least).await;
        }
        let gathered = self.gather_stream(at_least).await;
        self.stream_failed = matches!(
            gathered,
            Err(Interrupt::Fault(Fault::Unreachable { .. } | Fault::Behind { .. } | Fault::Malformed { .. }))
        );
        gathered
    }

    async fn gather_stream(&mut self, at_least: AtLeast) -> Result<Complete, Interrupt> {
        let from = From::Whole(at_least);
        let mut watch = Watch::open(&self.client, self.kind, self.wanted, from, self.watch_timeout()).await?;
        let mut part = Part::default();
        loop {
            let step = match watch.next().await {
                // A server that has not come as far says nothing until it has, which after a restore it never does.
                Err(Fault::Unreachable { why }) if at_least != AtLeast::Now => {
                    return Err(Fault::Behind { why }.into());
                }
                step => step?,
            };
            match step {
                Some(Step::Upsert(decoded)) => self.part(&mut part, decoded).await?,
                Some(Step::Delete(decoded)) => {
                    let why = format!("{} is deleted within a list", decoded.key);
                    return Err(Fault::Malformed { why }.into());
                }
                Some(Step::Bookmark { ends_initial: false, .. }) => {}
                Some(Step::Bookmark { version, ends_initial: true }) => {
                    self.flush(&mut part).await?;
                    return Ok(Complete { version, count: part.count, watch: Some(watch) });
                }
                None => {
                    let why = "a streaming list ended before it was complete".to_owned();
                    return Err(Fault::Unreachable { why }.into());
                }
            }
        }
    }

    async fn gather_pages(&mut self, at_least: AtLeast) -> Result<Complete, Interrupt> {
        let mut pages = Pages::new(self.client.clone(), self.kind, self.wanted, at_least);
        let mut part = Part::default();
        while let Some(decoded) = pages.next().await? {
            self.part(&mut part, decoded).await?;
        }
        self.flush(&mut part).await?;
        Ok(Complete { version: pages.version().unwrap_or(0), count: part.count, watch: None })
    }

    /// Adds an object to the part, and sends the part when it is full.
    async fn part(&self, part: &mut Part, decoded: Decoded) -> Result<(), Interrupt> {
        part.count += 1;
        let Decoded { key, object, trigger, .. } = decoded;
        match object {
            Slim::Facts(object) => part.entries.push(Listed::Object { object, trigger }),
            Slim::Nothing => {}
            Slim::Unreadable { why } => {
                tracing::warn!(object = %key, %why, "an object cannot be read: what is known of it stays");
                part.entries.push(Listed::Unreadable(key));
            }
        }
        if part.entries.len() >= PART { self.flush(part).await } else { Ok(()) }
    }

    async fn flush(&self, part: &mut Part) -> Result<(), Interrupt> {
        let entries = std::mem::take(&mut part.entries);
        let kinds = Kinds::NONE.with(self.kind);
        Ok(self.report.tell(self.lineage, Update::ListPart { kinds, entries }).await?)
    }
}

/// A part of a list that is being gathered.
#[derive(Default)]
struct Part {
    /// What is to be sent.
    entries: Vec<Listed>,
    /// Objects in the whole list so far.
    count: usize,
}
