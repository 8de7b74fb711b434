//! What a look at the files shows, and what follows from it. No tasks and no time of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::read::{ReadError, read_surveyed};
use super::report::Report;
use super::survey::Survey;
use crate::source::Wanted;
use crate::source::kubectl::Found;
use crate::zone::object::Object;

/// What a look at the files shows.
#[derive(Debug)]
pub(super) enum Look {
    /// The version seen before.
    Same,
    /// A new version that somebody may still be writing.
    Unsettled(Survey),
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
        return Look::Unsettled(survey);
    }
    match read_surveyed(path, &survey, wanted) {
        Ok(found) => Look::Read(survey, found),
        Err(e @ (ReadError::Malformed { .. } | ReadError::Empty { .. } | ReadError::Incomplete { .. })) => {
            Look::Broken(survey, e)
        }
        Err(e) => Look::Failed(e),
    }
}

/// What follows from a look.
#[derive(Debug)]
pub(super) enum Step {
    /// The store has to know this state, which is everything.
    State(Vec<Object>),
    /// The state is what it was.
    Fresh,
    /// The source is lost, and why.
    Lost(String),
    /// There is nothing to say.
    Nothing,
    /// Nothing can be said yet: look again soon.
    Wait,
}

/// After files have been replaced so often between looks they are read without waiting: a publisher that renames
/// new versions into place without a pause must not keep the data from ever being followed. A file that is
/// written in place is never read before it is left alone: cut between two YAML documents it would pass for
/// whole.
const MAX_REPLACED: u32 = 4;

/// What was seen and said so far.
#[derive(Debug)]
pub(super) struct Follower {
    /// The last version that was judged.
    seen: Option<Arc<Survey>>,
    /// Whether the last thing said is that the source is lost.
    lost: bool,
    /// Whether there has been a look.
    begun: bool,
    /// The files that were last found too fresh to be read, and how often in a row they had been replaced by
    /// others since.
    unsettled: Option<(Survey, u32)>,
    /// The last failure that was logged, until a read succeeds.
    logged: Option<String>,
}

impl Follower {
    /// Nothing seen yet.
    pub(super) const fn new() -> Self {
        Self { seen: None, lost: false, begun: false, unsettled: None, logged: None }
    }

    /// The last version that was judged: it need not be read again.
    pub(super) fn seen(&self) -> Option<Arc<Survey>> {
        self.seen.clone()
    }

    /// The next look reads the files, also if they have not changed.
    pub(super) fn reread(&mut self) {
        self.seen = None;
    }

    /// How long the files have to have been left alone: the first read waits for nothing, and files that are
    /// replaced all the time are read all the same.
    pub(super) fn settle(&self, settle: Duration) -> Duration {
        let replaced = self.unsettled.as_ref().map_or(0, |(_, replaced)| *replaced);
        if self.begun && replaced < MAX_REPLACED { settle } else { Duration::ZERO }
    }

    /// Takes note of a look and says what to do.
    pub(super) fn judge(&mut self, look: Look, report: &Report) -> Step {
        self.begun = true;
        self.unsettled = match &look {
            Look::Unsettled(survey) => Some(match self.unsettled.take() {
                Some((last, replaced)) if !last.is_same_files(survey) => (survey.clone(), replaced + 1),
                Some((_, replaced)) => (survey.clone(), replaced),
                None => (survey.clone(), 0),
            }),
            _ => None,
        };
        match look {
            Look::Same if self.lost => Step::Nothing,
            Look::Same => Step::Fresh,
            Look::Unsettled(_) => Step::Wait,
            Look::Read(survey, found) => {
                report.read(&found);
                self.seen = Some(Arc::new(survey));
                self.lost = false;
                self.logged = None;
                Step::State(found.objects)
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
        Step::Lost(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::metrics::Metrics;
    use crate::zone::object::{Kinds, Namespace};

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
            See::Unsettled => Look::Unsettled(survey()),
        }
    }

    #[test]
    fn files_that_are_replaced_all_the_time_are_read_and_files_written_in_place_are_not() {
        let report = Report::new(Path::new("cluster.json"), Arc::new(Metrics::new()));
        let settle = Duration::from_millis(250);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.json");
        let unsettled = |replace: bool| {
            if replace {
                let new = folder.path().join("new");
                std::fs::write(&new, "{}").unwrap();
                std::fs::rename(&new, &file).unwrap();
            } else {
                std::fs::write(&file, "{}").unwrap();
            }
            Look::Unsettled(Survey::of(&file).unwrap())
        };
        let mut follower = Follower::new();
        assert_eq!(follower.settle(settle), Duration::ZERO, "the first look");
        follower.judge(look_like(See::Good), &report);
        for _ in 0..20 {
            follower.judge(unsettled(false), &report);
            assert_eq!(follower.settle(settle), settle, "written in place");
        }
        for _ in 0..MAX_REPLACED {
            assert_eq!(follower.settle(settle), settle, "not yet often enough");
            follower.judge(unsettled(true), &report);
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
            let mut follower = Follower::new();
            let heard: Vec<_> = seen
                .iter()
                .map(|see| match follower.judge(look_like(*see), &report) {
                    Step::State(_) => "state",
                    Step::Fresh => "fresh",
                    Step::Lost(_) => "lost",
                    Step::Nothing => "-",
                    Step::Wait => "wait",
                })
                .collect();
            assert_eq!(heard.join(" "), said, "{name}");
        }
    }
}
