//! What people see of each reply, and whether it is good news.

use std::io::IsTerminal;

use super::{advice, screen, words};
use crate::cli::lookup;
use crate::store::status::outcome::{GenerationStatus, LookupStatus, StoreOutcome};
use crate::store::status::{Alive, Ready, Status};

/// The status on one screen.
pub(super) fn status(status: &Status) -> (String, bool) {
    let colours =
        std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    (screen::render(status, &advice::advice(status), colours), true)
}

/// Ready or not.
pub(super) fn ready(ready: &Ready) -> (String, bool) {
    let text = match ready {
        Ready { ready: true, .. } => "ready".to_owned(),
        Ready { shutting_down: true, .. } => "not ready: shutting down".to_owned(),
        Ready { pending, .. } => words::plain(&format!("not ready: waiting for {}", pending.join(", "))),
    };
    (text, ready.ready)
}

/// Alive or not.
pub(super) fn alive(alive: &Alive) -> (String, bool) {
    let text = match &alive.silent {
        _ if alive.alive => "alive".to_owned(),
        Some(silent) => words::plain(&format!("not alive: {silent}")),
        None => "not alive".to_owned(),
    };
    (text, alive.alive)
}

/// An answer as dig prints it, and how old the data is that it is from.
pub(super) fn lookup(answer: &LookupStatus) -> (String, bool) {
    let mut text = if answer.rcode.is_empty() {
        format!(";; {} {}: no reply at all\n", answer.name, answer.kind)
    } else {
        lookup::text(answer)
    };
    if let (Some(state), Some(age)) = (answer.state, answer.age_s) {
        text += &format!(";; DATA {}, {} old\n", state.as_str(), words::time(age));
    }
    if !answer.server.is_empty() {
        text += &format!(";; SERVER {}, {} us\n", answer.server, answer.took_us);
    }
    (text, matches!(answer.rcode.as_str(), "NOERROR" | "NXDOMAIN"))
}

/// A table of snapshots, the newest first.
pub(super) fn generations(generations: &[GenerationStatus]) -> (String, bool) {
    if generations.is_empty() {
        return ("no snapshots".to_owned(), true);
    }
    let mut text = "GENERATION  WRITTEN            DATA PROVED        OBJECTS       SIZE  ZONE\n".to_owned();
    for generation in generations {
        let GenerationStatus { zone, generation, age_s, proved_s, objects, bytes, unusable, served } =
            generation;
        let ago = |seconds: u64| format!("{} ago", words::time(seconds));
        let number = generation.to_string() + if *served { " *" } else { "" };
        text += &format!(
            "{number:<10}  {:<17}  {:<17}  {:>7}  {:>9}  {}\n",
            ago(*age_s),
            ago(*proved_s),
            words::number(*objects),
            words::size(*bytes),
            words::plain(zone),
        );
        if let Some(why) = unusable {
            text += &format!("            cannot be served: {}\n", words::plain(why));
        }
    }
    if generations.iter().any(|generation| generation.served) {
        text += "* is what is served\n";
    }
    (text, true)
}

/// What became of an order: a line for each store.
pub(super) fn outcomes(outcomes: &[StoreOutcome]) -> (String, bool) {
    let line =
        |StoreOutcome { zone, outcome }: &StoreOutcome| words::plain(&format!("{zone} {outcome}")) + "\n";
    let done = !outcomes.is_empty() && outcomes.iter().all(|of| of.outcome.is_done());
    let text = if outcomes.is_empty() { "there is no data here\n".to_owned() } else { String::new() };
    (outcomes.iter().map(line).fold(text, |text, line| text + &line), done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::status::outcome::Outcome;
    use crate::store::status::store::State;

    #[test]
    fn answers() {
        let answer = LookupStatus {
            name: "web.shop.svc.cluster.local.".to_owned(),
            kind: "A".to_owned(),
            server: "dns://:53".to_owned(),
            rcode: "NOERROR".to_owned(),
            authoritative: true,
            answers: vec!["web.shop.svc.cluster.local.\t30\tIN\tA\t10.0.0.1".to_owned()],
            ede: Some((3, "90 s old".to_owned())),
            state: Some(State::Stale),
            age_s: Some(90),
            took_us: 12,
            ..LookupStatus::default()
        };
        let want = "\
;; web.shop.svc.cluster.local. A: NOERROR, authoritative
;; ANSWER
web.shop.svc.cluster.local.\t30\tIN\tA\t10.0.0.1
;; EDE 3: 90 s old
;; DATA stale, 1 min old
;; SERVER dns://:53, 12 us
";
        assert_eq!(lookup(&answer), (want.to_owned(), true));
        for (rcode, fine) in [("NXDOMAIN", true), ("SERVFAIL", false), ("REFUSED", false), ("", false)] {
            let answer = LookupStatus { rcode: rcode.to_owned(), ..LookupStatus::default() };
            assert_eq!(lookup(&answer).1, fine, "{rcode}");
        }
    }

    #[test]
    fn readiness() {
        let pending = vec!["kubernetes".to_owned()];
        for (given, text) in [
            (Ready { ready: true, ..Ready::default() }, "ready"),
            (Ready { pending, ..Ready::default() }, "not ready: waiting for kubernetes"),
            (Ready { shutting_down: true, ..Ready::default() }, "not ready: shutting down"),
        ] {
            assert_eq!(ready(&given), (text.to_owned(), given.ready));
        }
    }

    #[test]
    fn signs_of_life() {
        let silent = "udp at 10.96.0.10:53 gives no sign of life for 5100 ms";
        for (given, text) in [
            (Alive { alive: true, silent: None }, "alive"),
            (Alive { alive: false, silent: Some(silent.to_owned()) }, &format!("not alive: {silent}")),
        ] {
            assert_eq!(alive(&given), (text.to_owned(), given.alive));
        }
    }

    #[test]
    fn snapshots() {
        let zone = "cluster.local.".to_owned();
        let good = GenerationStatus {
            zone,
            generation: 42,
            age_s: 30,
            proved_s: 3_700,
            objects: 20_040,
            bytes: 1_300_000,
            served: true,
            ..GenerationStatus::default()
        };
        let bad = GenerationStatus {
            generation: 41,
            served: false,
            unusable: Some("checksum differs".to_owned()),
            ..good.clone()
        };
        let want = "\
GENERATION  WRITTEN            DATA PROVED        OBJECTS       SIZE  ZONE
42 *        30 s ago           1 h 1 min ago       20,040       1 MB  cluster.local.
41          30 s ago           1 h 1 min ago       20,040       1 MB  cluster.local.
            cannot be served: checksum differs
* is what is served
";
        assert_eq!(generations(&[good, bad]).0, want);
        assert_eq!(generations(&[]), ("no snapshots".to_owned(), true));
    }

    #[test]
    fn an_order_is_done_where_every_store_has_done_it() {
        let of = |outcome| StoreOutcome { zone: "cluster.local.".to_owned(), outcome };
        let (text, done) = outcomes(&[of(Outcome::Thawed), of(Outcome::NotFrozen)]);
        assert!(done && text.starts_with("cluster.local. thawed: ") && text.lines().count() == 2, "{text}");
        let failed = of(Outcome::NoSuchGeneration { generation: 7 });
        let (text, done) = outcomes(&[of(Outcome::Thawed), failed]);
        assert!(!done && text.contains("no snapshot 7"), "{text}");
        assert!(!outcomes(&[]).1);
    }
}
