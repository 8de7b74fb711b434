//! `outlast drill`: for people who want to see what an outage does, without a cluster.
//!
//! * here: arguments, and which drills are meant.
//! * `run`: plays them and prints reports.
//! * `live`: watches an outage of a real cluster.
//! * `standin`: an API server to try a node with.

mod live;
mod run;
mod standin;

use std::ops::RangeInclusive;
use std::process::ExitCode;

use crate::drill::catalogue::{ALL, DRILLS};
use crate::drill::{Drill, MINUTES, Without};

/// How many drills may be played at once.
const AT_ONCE: RangeInclusive<u64> = 1..=32;

/// Arguments of `outlast drill`.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    after_help = "Examples:
  outlast drill --list                           which drills there are, and what each promises
  outlast drill offline --json                   one of them
  outlast drill soak --minutes 30                a day of a large cluster's changes in half an hour
  outlast drill standin --kubeconfig kubeconfig  a made-up cluster's API server
  outlast drill --live --dns 10.0.0.5:53 --name web.shop.svc.cluster.local --hub-metrics 10.1.0.7:9153

A drill starts an API server of its own, hubs, nodes and clients on loopback, makes an outage, and reports what was \
promised and what was seen. Reports are on standard output, progress is on standard error. Nothing else should be busy on the machine meanwhile.

--live watches an outage of a real cluster that you make yourself (manifests/drill): it asks nodes, and looks \
at the metrics of hubs whether the cut is real. It asks the API server nothing and changes nothing.

Exit status: 0 if no promise was broken, 1 if one was, 2 for wrong usage. A drill that cannot be played here is \
skipped, and said to be."
)]
pub(super) struct Args {
    /// Which drills, or all; a soak is none of all
    #[arg(value_name = "DRILL", required_unless_present_any = ["list", "live"])]
    names: Vec<String>,
    /// Say which drills there are
    #[arg(long, conflicts_with_all = ["names", "short", "minutes", "at_once", "fail_fast", "seed", "without", "markdown"])]
    list: bool,
    /// Watch an outage of a real cluster
    #[arg(long, conflicts_with_all = ["names", "list", "short", "minutes", "at_once", "fail_fast", "without", "markdown"], requires_all = ["dns", "name"])]
    live: bool,
    /// What is watched.
    #[command(flatten)]
    watched: live::Watched,
    /// Print as JSON
    #[arg(long)]
    json: bool,
    /// Print the table in Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Less load for a shorter time, with the same promises
    #[arg(long)]
    short: bool,
    /// How many minutes a soak lasts, 2 to 120
    #[arg(long, value_name = "NUMBER", conflicts_with = "short", value_parser = |text: &str| within(text, &MINUTES))]
    minutes: Option<u64>,
    // Most of their time they wait, and what they start shares two cores.
    /// How many are played at once, 1 to 32; those that promise milliseconds are played alone in any case
    #[arg(long, value_name = "NUMBER", default_value_t = 6, value_parser = |text: &str| within(text, &AT_ONCE))]
    at_once: u64,
    /// Begin no other drill once a promise was broken
    #[arg(long)]
    fail_fast: bool,
    /// What chance depends on
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Protections that are off, with commas between: the drill is to fail
    #[arg(long, value_name = "NAME", value_delimiter = ',', hide = true)]
    without: Vec<Without>,
    /// What is served instead.
    #[command(subcommand)]
    command: Option<Command>,
}

/// What is no drill.
#[derive(clap::Subcommand)]
enum Command {
    /// Serve a made-up cluster as its API server would
    Standin(standin::Args),
}

/// Does what the arguments say.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(Command::Standin(args)) = args.command {
        return standin::run(args);
    }
    if args.live {
        return live::run(args.watched, args.json);
    }
    if args.list {
        run::list(DRILLS, args.json);
        return Ok(ExitCode::SUCCESS);
    }
    match chosen(DRILLS, &args.names, &args.without, args.minutes) {
        Ok(drills) => run::play(&drills, &args),
        Err(error) => Ok(super::wrong(&error)),
    }
}

/// The drills that are meant by these names, each once, in the order of the catalogue.
///
/// # Errors
/// A sentence on what cannot be meant.
fn chosen<'a>(
    drills: &'a [Drill],
    names: &[String],
    without: &[Without],
    minutes: Option<u64>,
) -> Result<Vec<&'a Drill>, String> {
    if drills.is_empty() {
        return Err("this build has no drills".to_owned());
    }
    let is_known = |name: &String| name == ALL || drills.iter().any(|drill| drill.name == *name);
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        return Err(format!(
            "there is no drill called {unknown:?}: outlast drill --list says which there are"
        ));
    }
    let is_of_all = |drill: &Drill| drill.minutes.is_none();
    let is_meant =
        |drill: &&Drill| names.iter().any(|name| name == drill.name || (name == ALL && is_of_all(drill)));
    let chosen: Vec<_> = drills.iter().filter(is_meant).collect();
    if minutes.is_some() && chosen.iter().all(|drill| is_of_all(drill)) {
        return Err("--minutes is for drills whose length may be chosen: outlast drill --list".to_owned());
    }
    for protection in without {
        // It would go well, and look as if the protection were good for nothing.
        if let Some(other) = chosen.iter().find(|drill| !drill.without.contains(protection)) {
            return Err(format!("{} is not about {protection}", other.name));
        }
    }
    Ok(chosen)
}

/// A whole number within these.
fn within(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("write a whole number from {} to {}", range.start(), range.end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::test_support::{drill, kept};

    /// A drill of this name that is about this.
    fn about(name: &'static str, without: &'static [Without]) -> Drill {
        Drill { without, ..drill(name, kept) }
    }

    #[test]
    fn which_drills_are_meant() {
        const BOTH: &[Without] = &[Without::Limit, Without::Snapshot];
        let drills = [about("offline", BOTH), about("empty", &[Without::Guard]), about("restart", BOTH)];
        let unknown = "there is no drill called \"ofline\": outlast drill --list says which there are";
        for (name, names, without, want) in [
            ("one", vec!["empty"], vec![], Ok(vec!["empty"])),
            ("two, the other way round", vec!["restart", "offline"], vec![], Ok(vec!["offline", "restart"])),
            ("one twice", vec!["empty", "empty"], vec![], Ok(vec!["empty"])),
            ("all", vec!["all"], vec![], Ok(vec!["offline", "empty", "restart"])),
            ("all and one", vec!["empty", "all"], vec![], Ok(vec!["offline", "empty", "restart"])),
            ("a wrong one", vec!["empty", "ofline"], vec![], Err(unknown)),
            ("without what it is about", vec!["empty"], vec![Without::Guard], Ok(vec!["empty"])),
            ("without two", vec!["offline", "restart"], BOTH.to_vec(), Ok(vec!["offline", "restart"])),
            ("without something else", vec!["empty"], vec![Without::Hubs], Err("empty is not about hubs")),
            (
                "one is about something else",
                vec!["all"],
                vec![Without::Limit],
                Err("empty is not about limit"),
            ),
        ] {
            let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
            let chosen = chosen(&drills, &names, &without, None);
            let chosen = chosen.map(|drills| drills.iter().map(|drill| drill.name).collect::<Vec<_>>());
            assert_eq!(chosen, want.map_err(str::to_owned), "{name}");
        }
        assert_eq!(
            chosen(&[], &["all".to_owned()], &[], None).map(|_| ()),
            Err("this build has no drills".to_owned())
        );
    }

    #[test]
    fn one_whose_length_may_be_chosen_is_none_of_all() {
        let soak = Drill { minutes: Some(10), ..drill("soak", kept) };
        let drills = [drill("offline", kept), soak];
        let misplaced = "--minutes is for drills whose length may be chosen: outlast drill --list";
        for (name, names, minutes, want) in [
            ("all", vec!["all"], None, Ok(vec!["offline"])),
            ("all, and it", vec!["soak", "all"], None, Ok(vec!["offline", "soak"])),
            ("it alone", vec!["soak"], None, Ok(vec!["soak"])),
            ("so long", vec!["soak"], Some(30), Ok(vec!["soak"])),
            ("so long with others", vec!["all", "soak"], Some(30), Ok(vec!["offline", "soak"])),
            ("others alone", vec!["all"], Some(30), Err(misplaced)),
        ] {
            let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
            let chosen = chosen(&drills, &names, &[], minutes);
            let chosen = chosen.map(|drills| drills.iter().map(|drill| drill.name).collect::<Vec<_>>());
            assert_eq!(chosen, want.map_err(str::to_owned), "{name}");
        }
    }

    #[test]
    fn minutes_are_whole_and_within_bounds() {
        let wrong = || Err("write a whole number from 2 to 120".to_owned());
        for (text, want) in [
            ("2", Ok(2)),
            ("120", Ok(120)),
            ("1", wrong()),
            ("121", wrong()),
            ("-5", wrong()),
            ("5m", wrong()),
            ("", wrong()),
            ("99999999999999999999", wrong()),
        ] {
            assert_eq!(within(text, &MINUTES), want, "{text}");
        }
    }
}
