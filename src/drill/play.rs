//! Plays drills, several at once, and reports what became of them.
//!
//! Invariants:
//!
//! * A drill that cannot be played through, or panics, has broken its promise: nobody has seen it kept.
//! * Its folder is removed when its promise was kept, and stays, with all logs, when it was broken.
//! * Reports are in the order in which drills were named, whichever ended first.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;

use super::report::{Report, Verdict};
use super::{Drill, Play, Played, Without, files};

/// How drills are played.
pub struct Setting<'a> {
    /// Where each gets a folder of its own.
    pub folder: &'a Path,
    /// The program whose processes are started.
    pub program: &'a Path,
    /// Whether in their short form.
    pub short: bool,
    /// See [`Play::minutes`].
    pub minutes: Option<u64>,
    /// Protections that are off; in this process [`switches::set`](crate::ops::switches::set) has to have been called.
    pub without: &'a [Without],
    /// What chance depends on.
    pub seed: u64,
    /// How many are played at once, at least 1.
    pub at_once: usize,
    /// Whether none is begun once a promise was broken; those that are played end.
    pub fail_fast: bool,
    /// Tells people how far it is; a line, without its end.
    pub say: &'a (dyn Fn(&str) + Sync),
}

/// Plays drills, and reports in their order; those that are to be alone after the others, one by one. With `fail_fast` those
/// that were not begun are left out.
pub fn all(drills: &[&Drill], setting: &Setting<'_>) -> Vec<Report> {
    let stop = AtomicBool::new(false);
    let reports = Mutex::new(drills.iter().map(|_| None).collect::<Vec<Option<Report>>>());
    let play = |number: usize, drill: &Drill| {
        let report = one(drill, setting);
        (setting.say)(&report.line());
        if setting.fail_fast && report.is_broken() {
            stop.store(true, Ordering::Relaxed);
        }
        reports.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(report);
    };
    let (alone, together): (Vec<_>, Vec<_>) = drills.iter().enumerate().partition(|(_, drill)| drill.alone);
    for (drills, at_once) in [(together, setting.at_once), (alone, 1)] {
        let next = AtomicUsize::new(0);
        let lane = || {
            while !stop.load(Ordering::Relaxed)
                && let Some((number, drill)) = drills.get(next.fetch_add(1, Ordering::Relaxed))
            {
                play(*number, drill);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..at_once.clamp(1, drills.len().max(1)) {
                scope.spawn(lane);
            }
        });
    }
    reports.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

/// Plays one.
fn one(drill: &Drill, setting: &Setting<'_>) -> Report {
    let folder = setting.folder.join(drill.name);
    let say = |line: &str| (setting.say)(&format!("{}: {line}", drill.name));
    let play = Play {
        folder: &folder,
        program: setting.program,
        short: setting.short,
        minutes: setting.minutes,
        without: setting.without,
        seed: setting.seed,
        say: &say,
    };
    let began = Instant::now();
    // Lanes share nothing with a drill but what it is given, which it cannot change.
    let played = catch_unwind(AssertUnwindSafe(|| {
        files::make(&folder).with_context(|| format!("making folder {}", folder.display()))?;
        (drill.play)(&play)
    }));
    let report = match played {
        Ok(Ok(Played::Observed(observed))) => Report::observed(drill, &play, *observed, began.elapsed()),
        Ok(Ok(Played::Skipped(why))) => Report::unseen(drill, &play, Verdict::Skipped(why)),
        Ok(Err(error)) => unplayed(drill, &play, &format!("{error:#}")),
        Err(panic) => unplayed(drill, &play, &format!("panicked: {}", words(&*panic))),
    };
    if report.is_broken() {
        return Report { folder: Some(folder), ..report };
    }
    if let Err(error) = files::remove(&folder) {
        say(&format!("removing {}: {error}", folder.display()));
    }
    report
}

/// On a drill that came to no end.
fn unplayed(drill: &Drill, play: &Play<'_>, why: &str) -> Report {
    Report::unseen(drill, play, Verdict::Broken(vec![format!("not played through: {why}")]))
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::drill::test_support::{drill, figures, kept};
    use crate::drill::{Observed, report::Figures};

    /// Answers were missing; a log says so.
    fn broken(play: &Play<'_>) -> anyhow::Result<Played> {
        files::replace(&play.folder.join("log"), "a line")?;
        let figures = Figures { failed: 1, ..figures() };
        Ok(Played::Observed(Box::new(Observed { figures, ..Observed::default() })))
    }

    /// It cannot be played here.
    fn skipped(_: &Play<'_>) -> anyhow::Result<Played> {
        Ok(Played::Skipped("it takes root".to_owned()))
    }

    /// Kept, once the others have ended.
    fn slow(play: &Play<'_>) -> anyhow::Result<Played> {
        std::thread::sleep(Duration::from_millis(50));
        (play.say)("half way");
        kept(play)
    }

    /// Drills of this folder are played one by one.
    fn within<'a>(folder: &'a Path, say: &'a (dyn Fn(&str) + Sync)) -> Setting<'a> {
        let program = Path::new("/nowhere/outlast");
        Setting {
            folder,
            program,
            short: false,
            minutes: None,
            without: &[],
            seed: 1,
            at_once: 1,
            fail_fast: false,
            say,
        }
    }

    /// What is played, in a folder of its own; and the lines that were said, in any order.
    fn played(
        drills: &[&Drill],
        at_once: usize,
        fail_fast: bool,
    ) -> (tempfile::TempDir, Vec<Report>, Vec<String>) {
        let (folder, said) = (tempfile::tempdir().unwrap(), Mutex::new(Vec::new()));
        let say = |line: &str| said.lock().unwrap().push(line.to_owned());
        let setting = Setting { at_once, fail_fast, ..within(folder.path(), &say) };
        let reports = all(drills, &setting);
        let mut said = said.into_inner().unwrap();
        said.sort();
        (folder, reports, said)
    }

    /// Names and verdicts.
    fn verdicts(reports: &[Report]) -> Vec<(&str, &str)> {
        reports.iter().map(|report| (report.drill, report.verdict.as_str())).collect()
    }

    #[test]
    fn reports_are_in_the_order_of_drills_and_logs_of_broken_ones_stay() {
        let drills = [&drill("slow", slow), &drill("broken", broken), &drill("skipped", skipped)];
        for at_once in [1, 2, 9] {
            let (folder, reports, said) = played(&drills, at_once, false);
            assert_eq!(verdicts(&reports), [("slow", "kept"), ("broken", "broken"), ("skipped", "skipped")]);
            let left: Vec<_> =
                std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(left, ["broken"]);
            assert_eq!(reports[1].folder.as_deref(), Some(&*folder.path().join("broken")));
            assert_eq!(std::fs::read_to_string(folder.path().join("broken/log")).unwrap(), "a line");
            assert_eq!(said.len(), 4, "{said:?}");
            assert!(said.contains(&"slow: half way".to_owned()), "{said:?}");
        }
    }

    #[test]
    fn who_is_to_be_alone_is_played_when_the_others_have_ended() {
        let alone = |name| Drill { alone: true, ..drill(name, kept) };
        let drills = [&alone("one"), &drill("slow", slow), &alone("other"), &drill("broken", broken)];
        let lines = Mutex::new(Vec::new());
        let (folder, say) =
            (tempfile::tempdir().unwrap(), |line: &str| lines.lock().unwrap().push(line.to_owned()));
        let reports = all(&drills, &Setting { at_once: 4, ..within(folder.path(), &say) });
        let names = ["one", "slow", "other", "broken"];
        assert!(reports.iter().map(|report| report.drill).eq(names), "{:?}", verdicts(&reports));
        let lines = lines.lock().unwrap();
        let at = |name: &str| lines.iter().rposition(|line| line.starts_with(name));
        assert!(at("slow") < at("one") && at("broken") < at("one") && at("one") < at("other"), "{lines:?}");
    }

    #[test]
    fn the_first_broken_promise_may_be_the_last_thing_that_is_played() {
        let drills = [&drill("first", kept), &drill("second", broken), &drill("third", kept)];
        let (_folder, reports, _) = played(&drills, 1, true);
        assert_eq!(verdicts(&reports), [("first", "kept"), ("second", "broken")]);
        let (_folder, reports, _) = played(&drills, 1, false);
        assert_eq!(reports.len(), 3);
    }

    #[test]
    fn what_does_not_come_to_an_end_is_broken() {
        let error = drill("error", |_| anyhow::bail!("no port is free"));
        let panic = drill("panic", |play| panic!("seed {}", play.seed));
        let (_folder, reports, _) = played(&[&error, &panic, &drill("kept", kept)], 1, false);
        let reasons = |why: &str| Verdict::Broken(vec![format!("not played through: {why}")]);
        assert_eq!(reports[0].verdict, reasons("no port is free"));
        assert_eq!(reports[1].verdict, reasons("panicked: seed 1"));
        assert_eq!(reports[2].verdict, Verdict::Kept);
        assert_eq!(Report::exit(&reports), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_said() {
        let reports = all(&[&drill("kept", kept)], &within(Path::new("/proc/nowhere"), &|_| {}));
        assert!(
            reports[0]
                .line()
                .starts_with("kept: broken: not played through: making folder /proc/nowhere/kept")
        );
    }
}
