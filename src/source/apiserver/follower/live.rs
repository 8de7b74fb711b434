//! Watching, with a check beside it.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::check::{Check, Finding, VERIFY_TIMEOUT};
use super::{Follower, Interrupt, Why};
use crate::ops::switches::{self, Protection};
use crate::source::apiserver::fault::Fault;
use crate::source::apiserver::freshness::Verdict;
use crate::source::apiserver::report;
use crate::source::apiserver::watch::{Step, Watch};
use crate::source::kubectl::single::{Decoded, Slim};
use crate::source::{Event, Update};
use crate::zone::change::Change;

/// Events that are sent to the store together, if so many are there at once.
const BATCH: usize = 256;

/// The main watch has this long to say what a verifying watch has said before it, then it is dead. Twice what a loaded
/// API server lets its slowest watcher wait.
const OWED_FOR: Duration = Duration::from_secs(10);

/// How much shorter than its timeout a watch may live: the server's clock begins earlier than ours.
const SLACK: Duration = Duration::from_millis(500);

/// Checks that may fail before the source is called lost: one is no more than a hiccup.
const TOLERATED_CHECKS: u32 = 1;

/// Events of the verifying watch that wait for the main one; far more than happen in the seconds of a check. Beyond
/// that they are told at once: what is compared at a version is then not exact, which costs a comparison.
const MAX_AHEAD: usize = 10_000;

/// Which stream said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    /// The main watch.
    Main,
    /// The verifying watch of the current check.
    Verifying,
}

/// What the next call of a watch says.
type Said = Result<Option<Step>, Fault>;

/// What becomes of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It goes on by itself.
    Wait,
    /// It is over.
    Enough,
    /// What was announced has not come: it goes on with another watch.
    Again,
}

/// What becomes of the main watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Main {
    /// It goes on.
    Open,
    /// The server has ended it.
    Ended,
}

/// What the two streams have said of versions.
struct Progress {
    /// What the verifying watch has come to.
    verifying: u64,
    /// A version that the verifying watch has said and the main watch has not, and since when.
    owed: Option<(u64, Instant)>,
    /// Events of the verifying watch that the main watch has not come to, and whether they are deletions.
    ahead: Vec<(Decoded, bool)>,
    /// Events that the main watch had passed over, in the current check.
    missed: u64,
    /// Verifying watches one after the other whose beginning was not kept any more.
    expired: u32,
}

impl Follower {
    /// Watches until the server ends the watch.
    pub(super) async fn live(&mut self, watch: Watch) -> Result<(), Interrupt> {
        let ended = self.stay(watch).await;
        self.measure.watch_age(Duration::ZERO);
        ended
    }

    async fn stay(&mut self, mut watch: Watch) -> Result<(), Interrupt> {
        let opened = Instant::now();
        let mut lineage = self.report.lineage();
        let mut check = Check::new(self.client.clone(), self.kind, self.wanted);
        let mut progress =
            Progress { verifying: self.seen.floor(), owed: None, ahead: Vec::new(), missed: 0, expired: 0 };
        // What was announced before an interruption could not be told during it.
        self.freshness.resumed();
        self.failed_checks = 0;
        self.backoff.healthy(Instant::now());
        loop {
            self.measure.watch_age(opened.elapsed());
            let (verified, highest, ours) = (self.freshness.version(), self.highest(), self.lineage);
            tokio::select! {
                biased;
                stop = report::overtaken(&mut lineage, ours) => return Err(stop.into()),
                why = self.asked.relist() => return Err(Interrupt::List(Why::Asked(why))),
                said = watch.next() => {
                    if self.main(said, &mut watch, &mut progress).await? == Main::Ended {
                        return Ok(());
                    }
                }
                finding = check.next((verified, highest), &self.jitter) => {
                    match self.finding(finding, &mut progress).await? {
                        Next::Wait => {}
                        Next::Enough => check.rest(&self.jitter),
                        Next::Again => check.again(self.freshness.version()),
                    }
                }
            }
        }
    }

    /// Takes what the main watch has to say, as far as it is there.
    async fn main(
        &mut self,
        first: Said,
        watch: &mut Watch,
        progress: &mut Progress,
    ) -> Result<Main, Interrupt> {
        let (mut events, before) = (Vec::new(), self.seen.floor());
        let mut said = Some(first);
        let end = loop {
            match said.take() {
                Some(Ok(Some(step))) => {
                    let version = self.take(step, Stream::Main, &mut events, progress);
                    self.position = self.position.max(version);
                }
                None => break Ok(Main::Open),
                Some(Ok(None)) => break Ok(Main::Ended),
                Some(Err(fault)) => break Err(fault),
            }
            if events.len() < BATCH {
                said = watch.next().now_or_never();
            }
        };
        if progress.owed.is_some_and(|(version, _)| self.position >= version) {
            progress.owed = None;
        }
        self.send(events, before).await?;
        if switches::is_off(Protection::Check) {
            self.report.prove(self.lineage, self.kind, Instant::now()).await?;
        }
        if self.seen.is_full() {
            tracing::warn!(kind = %self.kind, "too much has changed since the last check: listing anew");
            return Err(Interrupt::List(Why::Suspicious));
        }
        Ok(end?)
    }

    /// Takes what the check finds.
    async fn finding(&mut self, finding: Finding, progress: &mut Progress) -> Result<Next, Interrupt> {
        match finding {
            Finding::SmallList { sent, highest, version } => {
                self.failed_checks = 0;
                (progress.verifying, progress.missed) = (self.seen.floor(), 0);
                let verdict = self.freshness.small_list(sent, highest, version);
                if verdict == Verdict::Older {
                    tracing::warn!(kind = %self.kind, known = highest, found = version,
                        "the cluster's store is behind what is known: listing to see whether it was restored");
                    return Err(Interrupt::List(Why::Restored));
                }
                self.prove().await?;
                if verdict == Verdict::Ahead {
                    return Ok(Next::Wait);
                }
                // Where nothing at all has happened there is nothing to go over; what the main watch has not said of
                // what was gone over before, it still owes.
                self.verified(progress)?;
                Ok(Next::Enough)
            }
            Finding::Step(step) => {
                let bookmark = matches!(*step, Step::Bookmark { .. });
                let (mut events, before) = (Vec::new(), self.seen.floor());
                let version = self.take(*step, Stream::Verifying, &mut events, progress);
                progress.verifying = progress.verifying.max(version);
                if bookmark || progress.ahead.len() >= MAX_AHEAD {
                    self.release(progress, &mut events);
                    self.gone_over(progress.verifying);
                }
                self.send(events, before).await?;
                if bookmark {
                    self.prove().await?;
                }
                Ok(Next::Wait)
            }
            Finding::Done { opened } => {
                progress.expired = 0;
                let (mut events, before) = (Vec::new(), self.seen.floor());
                self.release(progress, &mut events);
                self.gone_over(progress.verifying);
                // A watch that was ended before its time may have had more to say.
                if opened.elapsed() + SLACK >= VERIFY_TIMEOUT {
                    self.freshness.said_all(opened);
                }
                self.send(events, before).await?;
                self.prove().await?;
                self.verified(progress)?;
                Ok(if self.freshness.announced() > 0 { Next::Again } else { Next::Wait })
            }
            // The version that was gone over is not kept any more, so that nobody can tell what happened since. Of
            // several API servers one may have been restarted: a second opinion is worth ten seconds.
            Finding::Failed(fault @ Fault::Expired { .. }) => {
                // What it has said is thrown away, and therefore not gone over.
                progress.ahead.clear();
                progress.verifying = self.seen.floor();
                progress.expired += 1;
                if progress.expired > TOLERATED_CHECKS { Err(fault.into()) } else { Ok(Next::Wait) }
            }
            Finding::Failed(fault) => {
                // What it has said is true, however little it was, and all that there was up to the last of it.
                let (mut events, before) = (Vec::new(), self.seen.floor());
                self.release(progress, &mut events);
                self.gone_over(progress.verifying);
                self.send(events, before).await?;
                self.measure.fault(&fault);
                self.failed_checks += 1;
                if self.failed_checks > TOLERATED_CHECKS {
                    self.lose(fault.to_string()).await?;
                }
                // Nothing can be concluded from a question that was not answered, least of all that everything has to
                // be listed.
                Ok(Next::Wait)
            }
        }
    }

    /// What follows at the end of a check.
    fn verified(&mut self, progress: &mut Progress) -> Result<(), Interrupt> {
        let missed = std::mem::take(&mut progress.missed);
        let overdue = progress.owed.is_some_and(|(_, since)| since.elapsed() > OWED_FOR);
        if missed > 0 || overdue {
            self.measure.missed(missed);
            self.measure.dead();
            let why = if missed > 0 { "left events out" } else { "has gone silent" };
            tracing::warn!(kind = %self.kind, missed, "the watch {why}: opening another one");
            return Err(Interrupt::Reopen);
        }
        self.suspect()
    }

    /// Lists everything where versions were announced that do not come.
    fn suspect(&mut self) -> Result<(), Interrupt> {
        if self.freshness.is_suspicious(Instant::now()) {
            tracing::warn!(kind = %self.kind, known = self.known(), announced = self.freshness.announced(),
                "the API server announces changes that it does not tell: listing anew");
            return Err(Interrupt::List(Why::Suspicious));
        }
        Ok(())
    }

    /// Everything up to `version` was gone over without a gap.
    fn gone_over(&mut self, version: u64) {
        self.seen.raise_floor(version);
        self.freshness.verified(version);
    }

    async fn prove(&self) -> Result<(), Interrupt> {
        if let Some(as_of) = self.freshness.proved() {
            self.report.prove(self.lineage, self.kind, as_of).await?;
        }
        Ok(())
    }

    /// Takes one step of a stream; returns the version that the stream has come to.
    fn take(&mut self, step: Step, stream: Stream, events: &mut Vec<Event>, progress: &mut Progress) -> u64 {
        let (decoded, deletes) = match step {
            Step::Bookmark { version, .. } => {
                let said = if stream == Stream::Main { self.position } else { progress.verifying };
                if version > said {
                    self.freshness.bookmarks_tell();
                }
                return version;
            }
            Step::Upsert(decoded) => (decoded, false),
            Step::Delete(decoded) => (decoded, true),
        };
        let version = decoded.version;
        if stream == Stream::Verifying && version > self.position {
            // The oldest: a watch that is steadily a moment behind pays its debts.
            progress.owed.get_or_insert((version, Instant::now()));
            // Invariant: the store has nothing that is ahead of what it is told that it has.
            progress.ahead.push((decoded, deletes));
            return version;
        }
        self.news(decoded, deletes, stream, events, progress);
        version
    }

    /// Takes an event of a watch that stands in for the main one.
    pub(super) fn take_main(&mut self, step: Step, events: &mut Vec<Event>) {
        let (decoded, deletes) = match step {
            Step::Upsert(decoded) => (decoded, false),
            Step::Delete(decoded) => (decoded, true),
            Step::Bookmark { .. } => return,
        };
        if self.seen.is_news(&decoded.key, decoded.version, deletes) {
            events.extend(event(decoded, deletes));
        }
    }

    /// Takes what the verifying watch has said ahead of the main one: one of the two has come to it by now, or says no
    /// more.
    fn release(&mut self, progress: &mut Progress, events: &mut Vec<Event>) {
        for (decoded, deletes) in std::mem::take(&mut progress.ahead) {
            self.news(decoded, deletes, Stream::Verifying, events, progress);
        }
    }

    /// Takes an event, if it is news.
    fn news(
        &mut self,
        decoded: Decoded,
        deletes: bool,
        stream: Stream,
        events: &mut Vec<Event>,
        progress: &mut Progress,
    ) {
        let version = decoded.version;
        if !self.seen.is_news(&decoded.key, version, deletes) {
            return;
        }
        if stream == Stream::Verifying && version <= self.position {
            progress.missed += 1;
            tracing::debug!(object = %decoded.key, version, "the watch has left this out");
        }
        events.extend(event(decoded, deletes));
    }

    /// Tells the store what has changed, how far that is, and up to where everything was gone over; `before` is where
    /// that was before.
    ///
    /// A restart goes on from there, and not from what the main watch has come to: what that has left out would be
    /// lost for good.
    pub(super) async fn send(&mut self, events: Vec<Event>, before: u64) -> Result<(), Interrupt> {
        if !events.is_empty() {
            self.report.tell(self.lineage, Update::Changes(events)).await?;
        }
        let version = self.known();
        if version > self.told {
            self.report.tell(self.lineage, Update::Told { kind: self.kind, version, digest: None }).await?;
            self.told = version;
        }
        let version = self.seen.floor();
        if version > before {
            self.report.tell(self.lineage, Update::Reached { kind: self.kind, version }).await?;
        }
        Ok(())
    }
}

/// What an event of the API server means for the store; nothing where the object cannot be read.
fn event(decoded: Decoded, deletes: bool) -> Option<Event> {
    let Decoded { key, object, trigger, .. } = decoded;
    let change = match object {
        _ if deletes => Change::Delete(key),
        Slim::Facts(object) => Change::Upsert(object),
        Slim::Nothing => Change::Delete(key),
        Slim::Unreadable { why } => {
            tracing::warn!(object = %key, %why, "an object cannot be read: what is known of it stays");
            return None;
        }
    };
    Some(Event { change, trigger, held: None })
}
