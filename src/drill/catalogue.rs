//! The drills that there are.
//!
//! Invariants, each of them checked:
//!
//! * A drill has a name of its own, lower case with hyphens, which is not a word of the command line.
//! * A drill of the control plane promises that no answer fails and none is wrong.
//! * A drill names at least one protection without which it breaks its promise.

use std::time::Duration;

use super::{
    Asked, Bounds, Drill, How, Without, addresses, control_plane, hubs, nodes, simulated, soak, storm,
};
use crate::ops::switches::Protection;

/// In place of names: every drill but those whose length is the user's to choose.
pub const ALL: &str = "all";

/// Requests that two hubs may make at the API server in a minute, all kinds together: one a second each. Looking whether
/// anything was missed takes two requests for each of three kinds every 15 s.
const A_MINUTE: Asked = Asked::EachMinute(120);

/// What a fleet is asked.
const STRICT: &str =
    "3 nodes, 100 questions a second each, no second try within 1 s; 20 changes of the cluster a second";

/// The same by clients that ask again.
const STUB: &str = "3 nodes, 100 questions a second each, asked again every 20 ms for 2 s; 20 changes of the cluster a second";

/// How soon a node that is started answers. A program that is built without optimisation takes its time to read what it
/// finds on its disk.
const QUICK: Duration = if cfg!(debug_assertions) { s(5) } else { Duration::from_millis(250) };

/// The same of three that are started at once, and share the processors of one machine.
const AT_ONCE: Duration = if cfg!(debug_assertions) { s(10) } else { Duration::from_millis(500) };

/// How soon it answers from its cache what nobody else answers.
const PROMPT: Duration = if cfg!(debug_assertions) { s(1) } else { Duration::from_millis(20) };

/// A drill of the control plane with processes, whose answers are as they always are.
const CONTROL_PLANE: Drill = Drill {
    name: "",
    about: "",
    promise: "",
    load: STRICT,
    how: How::Processes,
    minutes: None,
    alone: false,
    control_plane: true,
    without: &[],
    bounds: Bounds {
        failed: 0,
        wrong: 0,
        gap: s(1),
        detect: None,
        recover: Some(s(45)),
        asked: A_MINUTE,
        p99: None,
    },
    play: |_| Ok(super::Played::Skipped("it has nothing to play".to_owned())),
};

/// A drill in simulated time.
const SIMULATED: Drill = Drill {
    load: "2 nodes, a question a second each, and as many changes of the cluster, in simulated time",
    how: How::Simulated,
    bounds: Bounds {
        gap: Duration::ZERO,
        detect: Some(s(15)..=s(45)),
        recover: Some(s(60)),
        asked: Asked::Freely,
        ..CONTROL_PLANE.bounds
    },
    ..CONTROL_PLANE
};

/// Every drill, in the order in which they are told and begun.
pub static DRILLS: &[Drill] = &[
    Drill {
        name: "offline",
        about: "nobody reaches the API server for 46 s, and its connections end",
        promise: "every answer is right or says how old it is; that begins within 45 s and ends within 45 s",
        without: &[Without::Limit],
        bounds: Bounds { detect: Some(s(15)..=s(45)), ..CONTROL_PLANE.bounds },
        play: control_plane::offline,
        ..CONTROL_PLANE
    },
    Drill {
        name: "overloaded",
        about: "for 20 s each the API server says 429, says 504, and answers 30 s late",
        promise: "every answer is right; each hub asks at most once a second",
        without: &[Without::Switched(Protection::Backoff)],
        play: control_plane::overloaded,
        ..CONTROL_PLANE
    },
    Drill {
        name: "flapping",
        about: "the API server is away for 2 s and there for 2 s, 20 times",
        promise: "no node goes back to what was before; each hub asks at most once a second",
        without: &[Without::Switched(Protection::Backoff)],
        play: control_plane::flapping,
        ..CONTROL_PLANE
    },
    Drill {
        name: "history-lost",
        about: "the API server forgets its history three times: whoever follows it has to list everything",
        promise: "each hub lists each kind once each time, and no answer is old",
        without: &[Without::Hubs],
        bounds: Bounds {
            asked: Asked::InAll { lists: 18, watches: u64::MAX, small: u64::MAX },
            ..CONTROL_PLANE.bounds
        },
        play: control_plane::history_lost,
        ..CONTROL_PLANE
    },
    Drill {
        name: "restored",
        about: "the API server is restored from a backup with its version, after many changes",
        promise: "every node goes back to it, once, within 90 s",
        without: &[Without::Switched(Protection::Epoch)],
        bounds: Bounds { recover: Some(s(90)), ..CONTROL_PLANE.bounds },
        play: control_plane::restored,
        ..CONTROL_PLANE
    },
    Drill {
        name: "bumped",
        about: "the API server is restored from a backup with a fifth of the services, as of a later version",
        promise: "what is missing goes on being answered, and says why; one order at one hub ends that everywhere",
        without: &[Without::Guard],
        play: control_plane::bumped,
        ..CONTROL_PLANE
    },
    Drill {
        name: "empty",
        about: "for 40 s all lists of the API server are empty",
        promise: "every name goes on being answered, and says why; each hub lists each kind at most three times",
        without: &[Without::Guard],
        bounds: Bounds {
            asked: Asked::InAll { lists: 18, watches: u64::MAX, small: u64::MAX },
            ..CONTROL_PLANE.bounds
        },
        play: control_plane::empty,
        ..CONTROL_PLANE
    },
    Drill {
        name: "rights-lost",
        about: "the API server lets hubs read nothing for 40 s, and then does not know them for 40 s",
        promise: "every answer is right or says how old it is; that ends within 45 s",
        without: &[Without::Limit],
        play: control_plane::rights_lost,
        ..CONTROL_PLANE
    },
    Drill {
        name: "hub-lost",
        about: "one of two hubs is killed and does not come back",
        promise: "all nodes follow the other one before an answer is old",
        without: &[Without::SecondHub],
        play: hubs::hub_lost,
        ..CONTROL_PLANE
    },
    Drill {
        name: "hub-wrong",
        about: "one of two hubs leaves out changes, and the other one is started anew, so that all nodes follow the wrong one",
        promise: "every answer is right: what is left out is noticed, and made up for before an answer is old",
        without: &[Without::Switched(Protection::Digests)],
        play: hubs::hub_wrong,
        ..CONTROL_PLANE
    },
    Drill {
        name: "hubs-lost",
        about: "both hubs are killed for 46 s, and a node meanwhile; then one comes back",
        promise: "every answer is right or says how old it is, and the node answers from its disk within 250 ms",
        load: STUB,
        alone: true,
        without: &[Without::Snapshot],
        bounds: Bounds { detect: Some(s(15)..=s(45)), gap: QUICK, ..CONTROL_PLANE.bounds },
        play: hubs::hubs_lost,
        ..CONTROL_PLANE
    },
    Drill {
        name: "clock",
        about: "all are started again with clocks a day behind, and then a day ahead",
        promise: "all is live again within 45 s each time, and ages are right",
        load: STUB,
        without: &[Without::Switched(Protection::Floor)],
        bounds: Bounds { gap: s(2), ..CONTROL_PLANE.bounds },
        play: hubs::clock,
        ..CONTROL_PLANE
    },
    Drill {
        name: "certificates",
        about: "all are started again three days after their certificates have ended",
        promise: "hubs and nodes go on believing each other",
        load: STUB,
        without: &[Without::Grace],
        bounds: Bounds { gap: s(2), ..CONTROL_PLANE.bounds },
        play: hubs::certificates,
        ..CONTROL_PLANE
    },
    Drill {
        name: "storm",
        about: "200 clients of others list everything again and again, and all nodes are started anew meanwhile",
        promise: "nodes ask the API server nothing, and each hub asks at most once a second",
        load: STUB,
        alone: true,
        without: &[Without::Hubs],
        bounds: Bounds { gap: QUICK, ..CONTROL_PLANE.bounds },
        play: storm::storm,
        ..CONTROL_PLANE
    },
    Drill {
        name: "restart",
        about: "a node is killed five times, and five times while there are no hubs and no API server",
        promise: "it answers within 250 ms, from its disk",
        load: STUB,
        alone: true,
        control_plane: false,
        without: &[Without::Snapshot],
        bounds: Bounds { gap: QUICK, asked: Asked::Freely, ..CONTROL_PLANE.bounds },
        play: nodes::restart,
        ..CONTROL_PLANE
    },
    Drill {
        name: "restart-all",
        about: "everything is killed, and of a cluster of 10,000 services only the nodes come back at first, all at once",
        promise: "they answer within 500 ms from their disks, three of them on this machine",
        load: STUB,
        alone: true,
        control_plane: false,
        without: &[Without::Snapshot],
        bounds: Bounds { gap: AT_ONCE, asked: Asked::Freely, ..CONTROL_PLANE.bounds },
        play: nodes::restart_all,
        ..CONTROL_PLANE
    },
    Drill {
        name: "corrupt",
        about: "the newest snapshot of a node is damaged while there are no hubs and no API server",
        promise: "it answers from the one before within 250 ms, puts the damaged one aside and counts it",
        load: STUB,
        alone: true,
        control_plane: false,
        without: &[Without::Generations],
        bounds: Bounds { gap: QUICK, asked: Asked::Freely, ..CONTROL_PLANE.bounds },
        play: nodes::corrupt,
        ..CONTROL_PLANE
    },
    Drill {
        name: "upstream",
        about: "the upstream of names outside says nothing for 20 s",
        promise: "they go on being answered, 99 of 100 questions within 20 ms; names of the cluster do not notice",
        load: STUB,
        alone: true,
        control_plane: false,
        without: &[Without::ServeStale],
        bounds: Bounds {
            gap: s(2),
            recover: None,
            asked: Asked::Freely,
            p99: Some(PROMPT),
            ..CONTROL_PLANE.bounds
        },
        play: nodes::upstream,
        ..CONTROL_PLANE
    },
    Drill {
        name: "upgrade",
        about: "all nodes are replaced ten times, one after the other, while nobody reaches the API server",
        promise: "no query is lost, over UDP and TCP",
        without: &[Without::Handover],
        play: nodes::upgrade,
        ..CONTROL_PLANE
    },
    Drill {
        name: "addresses",
        about: "somebody takes a node's address from the machine, and then the tables that lead queries to it, 10 times each",
        promise: "both are back before a client notices: no query is lost, and no gap is longer than a second",
        load: "a node at an address of its own, 100 questions a second, asked again every 20 ms for 2 s",
        how: How::Root,
        control_plane: false,
        without: &[Without::Switched(Protection::Repair)],
        bounds: Bounds { asked: Asked::Freely, ..CONTROL_PLANE.bounds },
        play: addresses::addresses,
        ..CONTROL_PLANE
    },
    Drill {
        name: "offline-hour",
        about: "nobody reaches the API server for an hour; half way all nodes and hubs are killed and started again",
        promise: "every answer is right and says how old it is, give or take 15 s; that ends within 60 s",
        without: &[Without::Limit],
        play: simulated::offline_hour,
        ..SIMULATED
    },
    Drill {
        name: "offline-day",
        about: "the same for 24 hours",
        promise: "every answer is right and says how old it is, give or take 15 s; that ends within 60 s",
        load: "2 nodes, a question each 5 s, and as many changes of the cluster, in simulated time",
        without: &[Without::Snapshot],
        play: simulated::offline_day,
        ..SIMULATED
    },
    Drill {
        name: "gap",
        about: "the API server's watches leave out 5 events each, and go on",
        promise: "what was missed is found: every answer was right within the last 45 s",
        without: &[Without::Switched(Protection::Check)],
        bounds: Bounds { detect: None, ..SIMULATED.bounds },
        play: simulated::gap,
        ..SIMULATED
    },
    Drill {
        name: "audit",
        about: "the API server never tells of 5 changes, however often it is asked what is new",
        promise: "they are found within 45 minutes",
        control_plane: false,
        without: &[Without::Switched(Protection::Audit)],
        bounds: Bounds { detect: None, ..SIMULATED.bounds },
        play: simulated::audit,
        ..SIMULATED
    },
    Drill {
        name: "disk-full",
        about: "disks of nodes are full for 10 minutes; then all are killed, nobody reaches the API server, and the newest snapshot is damaged",
        promise: "no answer fails: nodes start from the snapshot before it, and say how old it is",
        control_plane: false,
        without: &[Without::Generations],
        bounds: Bounds { detect: None, ..SIMULATED.bounds },
        play: simulated::disk_full,
        ..SIMULATED
    },
    Drill {
        name: "herd",
        about: "the hubs of a thousand nodes are away for 10 minutes",
        promise: "the busiest second of the last 5 minutes has at most 3 times as many attempts as a mean one",
        load: "1,000 followers of two hubs, whose attempts are counted, in simulated time",
        control_plane: false,
        without: &[Without::Switched(Protection::Jitter)],
        bounds: Bounds { detect: None, recover: None, ..SIMULATED.bounds },
        play: simulated::herd,
        ..SIMULATED
    },
    Drill {
        name: "soak",
        about: "a day's 864,000 changes of a cluster of 5,000 nodes (10,000 services with 100,000 endpoints), only quicker; connections to the API server end every minute",
        promise: "every answer is right or says how old it is, and nothing is listed again; at last each process has at most 5/4 of its memory and 8 MiB, 8 descriptors, 8 threads and 8 tasks more than after the first half of another day, and snapshots of the same size give or take a quarter",
        load: "3 nodes, 100 questions a second each, one in ten over TCP, no second try within 1 s",
        minutes: Some(soak::MINUTES),
        control_plane: false,
        without: &[Without::Switched(Protection::Limits)],
        bounds: Bounds {
            asked: Asked::InAll { lists: 0, watches: u64::MAX, small: u64::MAX },
            ..CONTROL_PLANE.bounds
        },
        play: soak::soak,
        ..CONTROL_PLANE
    },
];

/// So many seconds.
const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

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
            let Drill { name, about, promise, load, alone, control_plane, without, bounds, .. } = drill;
            let is_of_ms = [QUICK, AT_ONCE].contains(&bounds.gap) || bounds.p99.is_some();
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            for (is_so, flaw) in [
                (name.is_empty() || !name.chars().all(is_plain), "is not spelled as a name"),
                (TAKEN.contains(name), "is called by a word of the command line"),
                (drills[..n].iter().any(|other| other.name == *name), "is there twice"),
                (about.is_empty() || promise.is_empty() || load.is_empty(), "does not say what it is"),
                (*control_plane && bounds.failed + bounds.wrong > 0, "lets answers fail or be wrong"),
                (without.is_empty(), "cannot fail"),
                (is_of_ms && !alone, "promises milliseconds among others"),
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
        let right = || Drill { alone: true, ..drill("right", |_| unreachable!("it is not played")) };
        let mut lenient = right().bounds;
        lenient.wrong = 1;
        let mut quick = right().bounds;
        quick.gap = QUICK;
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
            (
                "quick",
                Drill { bounds: quick.clone(), alone: false, ..right() },
                Some("\"right\" promises milliseconds among others"),
            ),
            ("quick, alone", Drill { bounds: quick, ..right() }, None),
        ] {
            assert_eq!(flaws(&[drill]), want.into_iter().collect::<Vec<_>>(), "{name}");
        }
        assert_eq!(flaws(&[right(), right()]), ["\"right\" is there twice"]);
    }
}
