//! The drills that there are.
//!
//! Invariants, each of them checked:
//!
//! * A drill has a name of its own, lower case with hyphens, which is not a word of the command line.
//! * A drill of the control plane promises that no answer fails and none is wrong.
//! * A drill names at least one protection without which it breaks its promise.

use super::Drill;

/// In place of names: every drill.
pub const ALL: &str = "all";

/// Every drill, in the order in which they are told and begun.
pub const DRILLS: &[Drill] = &[];

/// The drill of this name.
pub fn find(name: &str) -> Option<&'static Drill> {
    DRILLS.iter().find(|drill| drill.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::test_support::drill;

    /// Words that mean something else where a name may stand.
    const TAKEN: [&str; 3] = [ALL, "standin", "help"];

    /// What is wrong with drills.
    fn flaws(drills: &[Drill]) -> Vec<String> {
        let mut flaws = Vec::new();
        for (n, drill) in drills.iter().enumerate() {
            let Drill { name, about, promise, load, control_plane, without, bounds, .. } = drill;
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            for (is_so, flaw) in [
                (name.is_empty() || !name.chars().all(is_plain), "is not spelled as a name"),
                (TAKEN.contains(name), "is called by a word of the command line"),
                (drills[..n].iter().any(|other| other.name == *name), "is there twice"),
                (about.is_empty() || promise.is_empty() || load.is_empty(), "does not say what it is"),
                (*control_plane && bounds.failed + bounds.wrong > 0, "lets answers fail or be wrong"),
                (without.is_empty(), "cannot fail"),
            ] {
                flaws.extend(is_so.then(|| format!("{name:?} {flaw}")));
            }
        }
        flaws
    }

    #[test]
    fn the_catalogue_is_without_flaws() {
        assert_eq!(flaws(DRILLS), Vec::<String>::new());
        assert!(DRILLS.iter().all(|drill| find(drill.name).is_some_and(|found| std::ptr::eq(found, drill))));
    }

    #[test]
    fn flaws_are_found() {
        let right = || drill("right", |_| unreachable!("it is not played"));
        let mut lenient = right().bounds;
        lenient.wrong = 1;
        for (name, drill, want) in [
            ("none", right(), None),
            ("no name", Drill { name: "", ..right() }, Some("\"\" is not spelled as a name")),
            ("capitals", Drill { name: "Right", ..right() }, Some("\"Right\" is not spelled as a name")),
            (
                "all",
                Drill { name: "all", ..right() },
                Some("\"all\" is called by a word of the command line"),
            ),
            ("no promise", Drill { promise: "", ..right() }, Some("\"right\" does not say what it is")),
            (
                "lenient",
                Drill { bounds: lenient, ..right() },
                Some("\"right\" lets answers fail or be wrong"),
            ),
            ("no fault", Drill { without: &[], ..right() }, Some("\"right\" cannot fail")),
        ] {
            assert_eq!(flaws(&[drill]), want.into_iter().collect::<Vec<_>>(), "{name}");
        }
        assert_eq!(flaws(&[right(), right()]), ["\"right\" is there twice"]);
    }
}
