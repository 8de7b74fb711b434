//! What to do next: from what a process says of itself to what an operator may do about it, the most urgent first.
//!
//! Pure. It says what is safe to do, too: in an outage the wrong restart is what turns old answers into none.

use super::words::{count, time};
use crate::store::status::store::{Follows, Frozen, HoldStatus, State};
use crate::store::status::{Advice, Certificate, Level, Status, StoreStatus};
use crate::trust::peer::WARN_BELOW;

/// Zones that are named where something is said of several.
const ZONES: usize = 3;

/// Everything that is to be said about a status, at least one line.
pub(in crate::cli) fn advice(status: &Status) -> Vec<Advice> {
    let mut said = Advices { all: Vec::new(), zone: None };
    if status.ready.shutting_down {
        said.warn("This process is about to end.");
    }
    for store in &status.stores {
        said.zone = (status.stores.len() > 1).then(|| store.zone.clone());
        data(store, &mut said);
        orders(store, &mut said);
        disk(store, &mut said);
    }
    said.zone = None;
    if status.stores.is_empty() {
        said.warn("No cluster data is followed here: the Corefile has no kubernetes block.");
    }
    if let Some(certificate) = &status.certificate {
        trust(certificate, &mut said);
    }
    let mut all: Vec<_> = said.all.into_iter().map(Advice::from).collect();
    all.extend(status.sections.iter().flat_map(|section| section.advice.iter().cloned()));
    if all.is_empty() {
        all.push(Advice { level: Level::Fine, text: "Nothing to do.".to_owned() });
    }
    // Stable: what belongs together stays together.
    all.sort_by_key(|advice| std::cmp::Reverse(advice.level));
    all
}

/// What was said so far.
struct Advices {
    all: Vec<Said>,
    /// Which data is meant, where there is more than one.
    zone: Option<String>,
}

/// Something that was said.
struct Said {
    level: Level,
    text: String,
    /// Of which data, where there is more than one.
    zones: Vec<String>,
}

impl From<Said> for Advice {
    fn from(Said { level, text, zones }: Said) -> Self {
        let text = match zones.as_slice() {
            [] => text,
            zones if zones.len() <= ZONES => format!("{} {text}", zones.join(" ")),
            zones => format!("{} and {} more {text}", zones[..ZONES].join(" "), zones.len() - ZONES),
        };
        Self { level, text }
    }
}

impl Advices {
    fn say(&mut self, level: Level, text: &str) {
        let said = Said { level, text: text.to_owned(), zones: self.zone.iter().cloned().collect() };
        match self.all.iter_mut().find(|other| (other.level, &other.text) == (level, &said.text)) {
            // The same of several stores is said once.
            Some(other) => {
                let further = said.zones.into_iter().filter(|zone| !other.zones.contains(zone));
                other.zones.extend(further.collect::<Vec<_>>());
            }
            None => self.all.push(said),
        }
    }

    fn warn(&mut self, text: &str) {
        self.say(Level::Warn, text);
    }

    fn bad(&mut self, text: &str) {
        self.say(Level::Bad, text);
    }
}

/// On the state of the data.
fn data(store: &StoreStatus, said: &mut Advices) {
    let source = source(store);
    match store.state {
        State::Empty => {
            said.bad(&format!("There is no data, names get SERVFAIL until the source gives it. {source}"));
            if let Some(dir) = &store.snapshot.dir {
                said.bad(&format!(
                    "Without the source: copy another node's newest .snap file into {dir}, and restart."
                ));
            }
        }
        State::Expired => said.bad(&format!(
            "The data is older than max_stale, names get SERVFAIL. Take max_stale out of the configuration to serve \
             what is known. {source}"
        )),
        State::Stale if store.frozen.is_some() => {}
        State::Stale if store.lost.is_some() || store.verified => said.warn(&format!(
            "Answers go on from memory, however long it takes; only changes are missing. {source}"
        )),
        State::Stale => said.warn(&format!(
            "Answers are from the disk, and no source has confirmed them yet. That is normal in the first minute. \
             {source}"
        )),
        State::Live | State::Other => {}
    }
    if let Some(uid) = &store.refused_cluster {
        said.bad(&format!(
            "Another cluster answers (uid {uid}), and is refused. If it is the right one: outlast ctl accept"
        ));
    }
    if let Some(why) = &store.mismatch {
        said.warn(&format!(
            "The data differs from the hub's even after a whole transfer ({why}). It is served, and asked for again. \
             See whether another hub does better, and report it."
        ));
    }
    if store.partial {
        said.warn(
            "What follows the source has not answered just now: the disk may hang. Answers go on. If that lasts, \
             the log says why.",
        );
    }
}

/// Where to look for the source.
fn source(store: &StoreStatus) -> String {
    match store.follows {
        Follows::File => {
            format!("Check that {} is there and whole.", store.source.trim_start_matches("file:"))
        }
        Follows::ApiServer => "Check the API server: kubectl get --raw /readyz".to_owned(),
        Follows::Hub => "Check the hubs: outlast ctl status there.".to_owned(),
        Follows::Other => "Check the source.".to_owned(),
    }
}

/// On what is served in place of what the source says.
fn orders(store: &StoreStatus, said: &mut Advices) {
    let remaining = |hold: &HoldStatus| hold.remaining_s;
    let objects: u64 = store.holds.iter().map(|hold| hold.objects).sum();
    if let Some(remaining) = store.holds.iter().map(remaining).min() {
        let at = if store.follows == Follows::Hub { " at the hub, which held it back" } else { "" };
        said.warn(&format!(
            "{} on being served although the source says they are gone. If that is meant: outlast ctl accept{at}. If \
             not, put the source right: they are let go in {} at the earliest.",
            count(objects, "object goes", "objects go"),
            time(remaining),
        ));
    }
    if let Some(Frozen { remaining_s, rolled_back_to, .. }) = &store.frozen {
        let what = rolled_back_to.map_or_else(|| "what is served".to_owned(), |g| format!("snapshot {g}"));
        said.warn(&format!(
            "An operator has frozen {what}: changes are received and not served, for {} more. To end it: outlast ctl \
             thaw",
            time(*remaining_s),
        ));
    }
}

/// On what a restart would find.
fn disk(store: &StoreStatus, said: &mut Advices) {
    let snapshot = &store.snapshot;
    let has_data = !matches!(store.state, State::Empty);
    match (&snapshot.dir, &snapshot.why) {
        (None, _) if has_data && !matches!(store.state, State::Live) => said.warn(
            "Do not restart this process: no snapshot folder is configured, the data is in memory only and would be \
             lost.",
        ),
        (None, _) => {
            said.warn("No snapshot folder is configured: a restart without the source would have no data.");
        }
        (Some(dir), why) if snapshot.memory_only => {
            let restart = if has_data { "Do not restart this process: n" } else { "N" };
            let why = why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
            said.warn(&format!(
                "{restart}othing reaches the disk{why}. Make room in {dir}, or make it writable: it is tried again."
            ));
        }
        _ => {}
    }
}

/// On the certificate.
fn trust(certificate: &Certificate, said: &mut Advices) {
    let Certificate { path, expires_in_s, life_s, grace_s, why } = certificate;
    if let Some(why) = why {
        said.bad(&format!(
            "The certificate {path} cannot be used: {why}. Put the file right, and do not restart this process before: \
             one that has read a good file goes on with what was in it."
        ));
        return;
    }
    let since = expires_in_s.unsigned_abs();
    if *expires_in_s as f64 >= *life_s as f64 * WARN_BELOW && *expires_in_s >= 0 {
    } else if *expires_in_s >= 0 {
        said.warn(&format!("The certificate {path} expires in {}: renew it.", time(since)));
    } else if since <= *grace_s {
        said.warn(&format!(
            "The certificate {path} expired {} ago and is still taken, for {} more: renew it.",
            time(since),
            time(grace_s - since),
        ));
    } else {
        said.bad(&format!(
            "The certificate {path} expired {} ago, and nobody takes it any more: renew it, it is read again.",
            time(since),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::status::Section;
    use crate::store::status::store::SnapshotStatus;

    fn live() -> StoreStatus {
        StoreStatus {
            zone: "cluster.local.".to_owned(),
            follows: Follows::ApiServer,
            state: State::Live,
            verified: true,
            snapshot: SnapshotStatus { dir: Some("/d".to_owned()), ..SnapshotStatus::default() },
            ..StoreStatus::default()
        }
    }

    fn of(stores: Vec<StoreStatus>) -> Status {
        Status { stores, ..Status::default() }
    }

    /// What is said of one store, one line each with its level's first letter.
    fn said(store: StoreStatus) -> Vec<String> {
        advised(&of(vec![store]))
    }

    fn advised(status: &Status) -> Vec<String> {
        let letter = |level| match level {
            Level::Fine => 'f',
            Level::Warn => 'w',
            Level::Bad => 'b',
        };
        advice(status).iter().map(|Advice { level, text }| format!("{} {text}", letter(*level))).collect()
    }

    #[test]
    fn one_store() {
        struct Case {
            name: &'static str,
            change: fn(&mut StoreStatus),
            /// What each line begins with, has in it.
            want: &'static [(&'static str, &'static str)],
        }
        let cases = [
            Case { name: "all is well", change: |_| {}, want: &[("f Nothing to do", "")] },
            Case {
                name: "no data, no API server",
                change: |s| s.state = State::Empty,
                want: &[("b There is no data", "/readyz"), ("b Without the source", "into /d, and restart")],
            },
            Case {
                name: "no data, no file",
                change: |s| {
                    s.state = State::Empty;
                    (s.follows, s.source) = (Follows::File, "file:/etc/c.yaml".to_owned());
                    s.snapshot.dir = None;
                },
                want: &[
                    ("b There is no data", "Check that /etc/c.yaml is there"),
                    ("w No snapshot folder", ""),
                ],
            },
            Case {
                name: "older than allowed",
                change: |s| s.state = State::Expired,
                want: &[("b The data is older", "Take max_stale out")],
            },
            Case {
                name: "the hubs are lost",
                change: |s| {
                    (s.state, s.follows) = (State::Stale, Follows::Hub);
                    s.lost = Some("refused".to_owned());
                },
                want: &[("w Answers go on from memory", "Check the hubs")],
            },
            Case {
                name: "just started from the disk",
                change: |s| (s.state, s.verified) = (State::Stale, false),
                want: &[("w Answers are from the disk", "normal in the first minute")],
            },
            Case {
                name: "stale with nothing on the disk",
                change: |s| {
                    s.state = State::Stale;
                    s.snapshot.memory_only = true;
                    s.snapshot.why = Some("no space left".to_owned());
                },
                want: &[
                    ("w Answers go on", ""),
                    ("w Do not restart this process", "(no space left). Make room in /d"),
                ],
            },
            Case {
                name: "stale without a folder",
                change: |s| {
                    s.state = State::Stale;
                    s.snapshot.dir = None;
                },
                want: &[("w Answers go on", ""), ("w Do not restart", "no snapshot folder")],
            },
            Case {
                name: "removals are held back",
                change: |s| {
                    let hold =
                        |objects, remaining_s| HoldStatus { objects, remaining_s, ..HoldStatus::default() };
                    s.holds = vec![hold(6_000, 3_000), hold(1, 120)];
                },
                want: &[(
                    "w 6,001 objects go on being served",
                    "ctl accept. If not, put the source right: they are let go in 2 min",
                )],
            },
            Case {
                name: "a hub holds them back",
                change: |s| {
                    s.follows = Follows::Hub;
                    s.holds = vec![HoldStatus { objects: 1, ..HoldStatus::default() }];
                },
                want: &[("w 1 object goes on", "ctl accept at the hub")],
            },
            Case {
                name: "frozen: that it becomes stale is meant",
                change: |s| {
                    s.state = State::Stale;
                    s.frozen = Some(Frozen { remaining_s: 60, ..Frozen::default() });
                },
                want: &[(
                    "w An operator has frozen what is served",
                    "for 1 min more. To end it: outlast ctl thaw",
                )],
            },
            Case {
                name: "rolled back",
                change: |s| s.frozen = Some(Frozen { rolled_back_to: Some(41), ..Frozen::default() }),
                want: &[("w An operator has frozen snapshot 41", "")],
            },
            Case {
                name: "another cluster: the worst comes first",
                change: |s| {
                    s.state = State::Stale;
                    s.refused_cluster = Some("u-2".to_owned());
                },
                want: &[("b Another cluster answers (uid u-2)", "ctl accept"), ("w Answers go on", "")],
            },
            Case {
                name: "a digest differs",
                change: |s| s.mismatch = Some("Service".to_owned()),
                want: &[("w The data differs from the hub's", "(Service)")],
            },
            Case {
                name: "the writer hangs",
                change: |s| s.partial = true,
                want: &[("w What follows the source has not answered", "")],
            },
        ];
        for Case { name, change, want } in cases {
            let mut store = live();
            change(&mut store);
            let said = said(store);
            assert_eq!(said.len(), want.len(), "{name}: {said:#?}");
            for (line, (begins, has)) in said.iter().zip(want) {
                assert!(line.starts_with(begins) && line.contains(has), "{name}: {line}");
            }
        }
    }

    #[test]
    fn certificates() {
        let days = |days: i64| days * 86_400;
        for (expires_in_s, life, why, want) in [
            (days(200), 365, None, "f Nothing to do."),
            (days(121), 365, None, "w The certificate /c expires in 121 d: renew it."),
            (days(3), 7, None, "f Nothing to do."),
            (days(2), 7, None, "w The certificate /c expires in 2 d: renew it."),
            (
                days(-2),
                365,
                None,
                "w The certificate /c expired 2 d ago and is still taken, for 28 d more: renew it.",
            ),
            (days(-31), 365, None, "b The certificate /c expired 31 d ago, and nobody takes it any more"),
            (
                0,
                0,
                Some("no key"),
                "b The certificate /c cannot be used: no key. Put the file right, and do not restart",
            ),
        ] {
            let certificate = Certificate {
                path: "/c".to_owned(),
                expires_in_s,
                life_s: days(life).unsigned_abs(),
                grace_s: days(30).unsigned_abs(),
                why: why.map(str::to_owned),
            };
            let said = advised(&Status { certificate: Some(certificate), ..of(vec![live()]) });
            assert!(said.len() == 1 && said[0].starts_with(want), "{said:?}");
        }
    }

    #[test]
    fn several_stores_are_told_apart_and_roles_have_their_say() {
        let (mut one, mut two) = (live(), live());
        one.state = State::Stale;
        (two.state, two.zone) = (State::Empty, "b.example.".to_owned());
        two.snapshot.dir = None;
        let own = Advice { level: Level::Bad, text: "The API server sheds load.".to_owned() };
        let section = Section { advice: vec![own], ..Section::default() };
        let mut status = Status { sections: vec![section], ..of(vec![one, two]) };
        status.ready.shutting_down = true;
        let begins: Vec<_> = advised(&status).iter().map(|line| line[..20].to_owned()).collect();
        assert_eq!(
            begins,
            [
                "b b.example. There i",
                "b The API server she",
                "w This process is ab",
                "w cluster.local. Ans",
                "w b.example. No snap",
            ]
        );
        assert_eq!(advised(&of(Vec::new())).len(), 1);
        // What is the same of several is said once.
        let lost = |n: usize| StoreStatus { zone: format!("z{n}."), state: State::Stale, ..live() };
        let said = advised(&of((0..5).map(lost).collect()));
        assert!(said.len() == 1 && said[0].starts_with("w z0. z1. z2. and 2 more Answers go on"), "{said:?}");
    }
}
