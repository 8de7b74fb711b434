//! Plays drills and prints what is known of them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::Args;
use crate::cli::say;
use crate::drill::catalogue::ALL;
use crate::drill::play::{self, Setting};
use crate::drill::report::Report;
use crate::drill::{Drill, Without, files};
use crate::ops::switches;

/// Says which drills there are.
pub(super) fn list(drills: &[Drill], as_json: bool) {
    if as_json {
        say(format_args!("{:#}", Value::Array(drills.iter().map(value).collect())));
        return;
    }
    if drills.is_empty() {
        say("This build has no drills.");
    }
    let width = drills.iter().map(|drill| drill.name.len()).max().unwrap_or_default();
    for Drill { name, about, promise, load, how, minutes, .. } in drills {
        let minutes =
            minutes.map(|m| format!(", {m} minutes or --minutes, not in {ALL}")).unwrap_or_default();
        say(format_args!("{name:<width$}  {about} ({}{minutes})", how.as_str()));
        say(format_args!("{:width$}  promise: {promise}", ""));
        say(format_args!("{:width$}  load: {load}", ""));
    }
}

/// A drill of the catalogue for scripts.
fn value(drill: &Drill) -> Value {
    let Drill { name, about, promise, load, how, minutes, control_plane, without, .. } = drill;
    let without: Vec<_> = without.iter().map(|without| without.as_str()).collect();
    json!({
        "drill": name,
        "how": how.as_str(),
        "minutes": minutes,
        "about": about,
        "promise": promise,
        "load": load,
        "control_plane": control_plane,
        "without": without,
    })
}

/// Exit status of who is interrupted, as shells have it.
const INTERRUPTED: i32 = 130;

/// Between two tries to remove a folder in which somebody may still write, and how many there are.
const CLEARING: (Duration, u32) = (Duration::from_millis(100), 30);

/// Has SIGINT and SIGTERM end this process without its files, which may have been in memory: keys and tokens, too. What was
/// started ends by itself once this process has.
fn clear_when_interrupted(folder: PathBuf) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut int, mut term) = {
        let _within = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
        });
        eprintln!("interrupted: removing {}", folder.display());
        for _ in 0..CLEARING.1 {
            if files::remove(&folder).is_ok() {
                break;
            }
            std::thread::sleep(CLEARING.0);
        }
        std::process::exit(INTERRUPTED);
    };
    std::thread::Builder::new().name("outlast-clears".to_owned()).spawn(wait)?;
    Ok(())
}

/// Plays drills, and prints what became of them.
///
/// # Errors
/// The program cannot be found, or there is no place for files.
pub(super) fn play(drills: &[&Drill], args: &Args) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("looking for the program's own file")?;
    // What is played in simulated time is played here.
    switches::set(&Without::switches(&args.without));
    let folder = files::scratch().context("making a folder for drills")?;
    clear_when_interrupted(folder.clone())?;
    let setting = Setting {
        folder: &folder,
        program: &program,
        short: args.short,
        minutes: args.minutes,
        without: &args.without,
        seed: args.seed,
        at_once: usize::try_from(args.at_once).unwrap_or(usize::MAX),
        fail_fast: args.fail_fast,
        say: &|line| eprintln!("{line}"),
    };
    let reports = play::all(drills, &setting);
    // What is left there is named in the report.
    files::remove_if_empty(&folder);
    let printed = match (args.json, args.markdown) {
        (true, _) => format!("{:#}\n", Report::json(&reports)),
        (false, true) => Report::markdown(&reports),
        (false, false) => Report::text(&reports),
    };
    say(printed.trim_end());
    Ok(ExitCode::from(Report::exit(&reports)))
}
