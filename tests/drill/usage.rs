//! What the command says of drills, and of arguments that it cannot mean.

use outlast::drill::catalogue::DRILLS;
use serde_json::Value;

use super::process::{outlast, run};

/// What `outlast drill` says to these arguments: exit status, standard output and standard error.
fn drill(arguments: &[&str]) -> (i32, String, String) {
    run(outlast().arg("drill").args(arguments))
}

#[test]
fn the_list_is_the_catalogue() {
    let (code, out, _) = drill(&["--list", "--json"]);
    let listed: Vec<Value> = serde_json::from_str(&out).unwrap();
    let names: Vec<_> = DRILLS.iter().map(|drill| drill.name).collect();
    let listed: Vec<_> = listed.iter().filter_map(|drill| drill["drill"].as_str()).collect();
    assert_eq!((code, &listed), (0, &names));

    let (code, out, _) = drill(&["--list"]);
    let first =
        out.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_whitespace().next());
    let want = if names.is_empty() { vec!["This"] } else { names };
    assert_eq!((code, first.collect::<Vec<_>>()), (0, want), "{out}");
    for drill in DRILLS {
        let told =
            drill.minutes.map(|minutes| format!("(processes, {minutes} minutes or --minutes, not in all)"));
        let is_told = |told: &String| out.contains(&format!("{} {told}\n", drill.about));
        assert!(told.iter().all(is_told), "{out}");
    }
}

#[test]
fn what_cannot_be_meant_is_said_before_anything_starts() {
    let unknown = match DRILLS {
        [] => "outlast: this build has no drills",
        _ => "there is no drill called \"ofline\": outlast drill --list says which there are",
    };
    for (name, arguments, want) in [
        ("nothing", vec![], "Usage: outlast drill"),
        ("no drill", vec!["--short"], "<DRILL>..."),
        ("an unknown drill", vec!["ofline"], unknown),
        ("a list of some", vec!["--list", "offline"], "cannot be used with"),
        ("two forms", vec!["all", "--json", "--markdown"], "cannot be used with"),
        ("a seed that is no number", vec!["all", "--seed", "x"], "invalid value 'x'"),
        (
            "minutes of nothing long",
            vec!["offline", "--minutes", "5"],
            "--minutes is for drills whose length",
        ),
        ("minutes of all", vec!["all", "--minutes", "5"], "--minutes is for drills whose length"),
        ("too few minutes", vec!["soak", "--minutes", "1"], "write a whole number from 2 to 120"),
        ("too many minutes", vec!["soak", "--minutes", "121"], "write a whole number from 2 to 120"),
        ("no number of minutes", vec!["soak", "--minutes", "5m"], "write a whole number from 2 to 120"),
        ("short, and so long", vec!["soak", "--short", "--minutes", "5"], "cannot be used with"),
        ("none at once", vec!["all", "--at-once", "0"], "write a whole number from 1 to 32"),
        ("too many at once", vec!["all", "--at-once", "33"], "write a whole number from 1 to 32"),
        ("at once, and a list", vec!["--list", "--at-once", "2"], "cannot be used with"),
        ("minutes of a list", vec!["--list", "--minutes", "5"], "cannot be used with"),
        ("an unknown protection", vec!["all", "--without", "luck"], "there is no protection called \"luck\""),
        ("the stand-in as a drill", vec!["--short", "standin", "--kubeconfig", "x"], "'--kubeconfig'"),
    ] {
        let (code, out, errors) = drill(&arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{name}: {errors}");
        assert!(errors.contains(want), "{name}: {errors}");
    }
}

#[test]
fn help_does_not_tell_how_protections_are_switched_off() {
    let (code, out, _) = drill(&["--help"]);
    let told = ["--fail-fast", "standin", "--minutes", "a soak is none of all"];
    assert!(code == 0 && told.iter().all(|word| out.contains(word)), "{out}");
    assert!(!out.contains("--without"), "{out}");
}
