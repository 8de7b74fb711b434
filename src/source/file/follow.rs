//! What a look at the files shows, and what follows from it. No tasks and no time of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::read::{ReadError, read_surveyed};
use super::report::Report;
use super::survey::Survey;
use crate::source::kubectl::Found;
use crate::source::{Update, Wanted};
use crate::zone::object::Kinds;

/// What a look at the files shows.
#[derive(Debug)]
pub(super) enum Look {
    /// The version seen before.
    Same,
    /// A new version that somebody may still be writing.
    Unsettled,
    /// A new version, read whole.
    Read(Survey, Found),
    /// A new version that stays as broken as it is until it is written again.
    Broken(Survey, ReadError),
    /// Nothing that would tell anything about versions.
    Failed(ReadError),
}

/// Looks at `path`, and reads it if it is not the version `seen`. Blocks.
pub(super) fn look(path: &Path, wanted: Wanted, seen: Option<&Survey>, settle: Duration) -> Look {
    let survey = match Survey::of(path) {
        Ok(survey) => survey,
        Err(e) => return Look::Failed(e),
    };
    if seen == Some(&survey) {
        return Look::Same;
    }
    if survey.is_being_written(settle, SystemTime::now()) {
        return Look::Unsettled;
    }
    match read_surveyed(path, &survey, wanted) {
        Ok(found) => Look::Read(survey, found),
        Err(e @ (ReadError::Malformed { .. } | ReadError::Empty { .. })) => Look::Broken(survey, e),
        Err(e) => Look::Failed(e),
    }
}

/// What follows from a look.
#[derive(Debug)]
pub(super) enum Step {
    /// The store has to know this.
    Tell(Update),
    /// Nothing is new.
    Nothing,
    /// Nothing can be said yet: look again soon.
    Wait,
}

/// After so many looks at files that somebody keeps writing they are read as they are: a publisher that replaces
/// them without a pause must not keep the data from ever being followed. A file that is caught half written is
/// told apart while it is read, but for a cut between two YAML documents, which waiting is there for.
const MAX_UNSETTLED: u32 = 5;

/// What was seen and said so far.
#[derive(Debug)]
pub(super) struct Follower {
    /// What a state is complete for.
    kinds: Kinds,
    /// The last version that was judged.
    seen: Option<Arc<Survey>>,
    /// Whether the last thing said is that the source is lost.
    lost: bool,
    /// Whether there has been a look.
    begun: bool,
    /// Looks in a row that found the files too fresh to be read.
    unsettled: u32,
    /// The last failure that was logged, until a read succeeds.
    logged: Option<String>,
}

impl Follower {
    /// Nothing seen yet; states are complete for `kinds`.
    pub(super) const fn new(kinds: Kinds) -> Self {
        Self { kinds, seen: None, lost: false, begun: false, unsettled: 0, logged: None }
    }

    /// The last version that was judged: it need not be read again.
    pub(super) fn seen(&self) -> Option<Arc<Survey>> {
        self.seen.clone()
    }

    /// How long the files have to have been left alone: the first read waits for nothing, and files that are
    /// never left alone are read all the same.
    pub(super) const fn settle(&self, settle: Duration) -> Duration {
        if self.begun && self.unsettled < MAX_UNSETTLED { settle } else { Duration::ZERO }
    }

    /// Takes note of a look and says what to do.
    pub(super) fn judge(&mut self, look: Look, report: &Report) -> Step {
        self.begun = true;
        self.unsettled = if matches!(look, Look::Unsettled) { self.unsettled + 1 } else { 0 };
        match look {
            Look::Same if self.lost => Step::Nothing,
            Look::Same => Step::Tell(Update::Fresh),
            Look::Unsettled => Step::Wait,
            Look::Read(survey, found) => {
                report.read(&found);
                self.seen = Some(Arc::new(survey));
                self.lost = false;
                self.logged = None;
                Step::Tell(Update::State { objects: found.objects, kinds: self.kinds })
            }
            Look::Broken(survey, error) => {
                // Said once a version, even in the words of the one before: this one is not read again.
                self.seen = Some(Arc::new(survey));
                report.failed(&error, true);
                self.lose(&error)
            }
            Look::Failed(error @ ReadError::Torn { .. }) => {
                report.failed(&error, false);
                Step::Wait
            }
            Look::Failed(error) => {
                // Tried again at every look, so it is said when there is something new to say.
                self.seen = None;
                let text = Some(error.to_string());
                report.failed(&error, self.logged != text);
                self.logged = text;
                self.lose(&error)
            }
        }
    }

    /// Says once that the source is lost. Nothing is taken away: the store keeps what it has.
    fn lose(&mut self, error: &ReadError) -> Step {
        if std::mem::replace(&mut self.lost, true) {
            return Step::Nothing;
        }
        Step::Tell(Update::Lost { why: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::metrics::Metrics;
    use crate::zone::object::{Namespace, Object};

    /// A look as a scenario names it.
    #[derive(Clone, Copy)]
    enum See {
        Good,
        Broken,
        Same,
        Gone,
        Torn,
        Unsettled,
    }

    fn look_like(see: See) -> Look {
        let path = Path::new("cluster.json");
        let survey = || Survey { files: vec![], folder: false };
        match see {
            See::Good => {
                let namespace = Namespace { name: "shop".into(), labels: [].into() };
                Look::Read(
                    survey(),
                    Found { objects: vec![Object::Namespace(namespace)], ..Found::default() },
                )
            }
            See::Broken => {
                let kinds = Kinds::CORE;
                Look::Broken(survey(), ReadError::Empty { path: path.into(), kinds, left_out: None })
            }
            See::Same => Look::Same,
            See::Gone => Look::Failed(ReadError::Gone { path: path.into() }),
            See::Torn => Look::Failed(ReadError::Torn { path: path.into() }),
            See::Unsettled => Look::Unsettled,
        }
    }

    #[test]
    fn files_that_are_never_left_alone_are_read_all_the_same() {
        let report = Report::new(Path::new("cluster.json"), Arc::new(Metrics::new()));
        let mut follower = Follower::new(Kinds::CORE);
        let settle = Duration::from_millis(250);
        assert_eq!(follower.settle(settle), Duration::ZERO, "the first look");
        follower.judge(look_like(See::Good), &report);
        for _ in 0..MAX_UNSETTLED {
            assert_eq!(follower.settle(settle), settle);
            follower.judge(look_like(See::Unsettled), &report);
        }
        assert_eq!(follower.settle(settle), Duration::ZERO);
        follower.judge(look_like(See::Good), &report);
        assert_eq!(follower.settle(settle), settle, "and patience begins again");
    }

    #[test]
    fn what_is_said_of_what_is_seen() {
        use See::*;
        struct Case {
            name: &'static str,
            seen: &'static [See],
            said: &'static str,
        }
        let cases = [
            Case { name: "quiet", seen: &[Good, Same, Same], said: "state fresh fresh" },
            Case { name: "changing", seen: &[Good, Good, Same], said: "state state fresh" },
            Case {
                name: "breaks, stays so, heals",
                seen: &[Good, Broken, Same, Good],
                said: "state lost - state",
            },
            Case { name: "breaks twice", seen: &[Good, Broken, Broken, Same], said: "state lost - -" },
            Case { name: "never there", seen: &[Gone, Gone], said: "lost -" },
            Case {
                name: "vanishes, returns",
                seen: &[Good, Gone, Gone, Good, Same],
                said: "state lost - state fresh",
            },
            Case { name: "breaks, vanishes", seen: &[Good, Broken, Gone, Good], said: "state lost - state" },
            Case { name: "two losses", seen: &[Good, Gone, Good, Gone], said: "state lost state lost" },
            Case {
                name: "torn is no loss",
                seen: &[Good, Torn, Unsettled, Good],
                said: "state wait wait state",
            },
        ];
        for Case { name, seen, said } in cases {
            let report = Report::new(Path::new("cluster.json"), Arc::new(Metrics::new()));
            let mut follower = Follower::new(Kinds::CORE);
            let heard: Vec<_> = seen
                .iter()
                .map(|see| match follower.judge(look_like(*see), &report) {
                    Step::Tell(Update::State { .. }) => "state",
                    Step::Tell(Update::Fresh) => "fresh",
                    Step::Tell(Update::Lost { .. }) => "lost",
                    Step::Tell(Update::Changes(_)) => "changes",
                    Step::Nothing => "-",
                    Step::Wait => "wait",
                })
                .collect();
            assert_eq!(heard.join(" "), said, "{name}");
        }
    }
}
