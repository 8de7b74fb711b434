//! The status on one screen of 24 lines and 80 columns, for somebody who has been woken up.
//!
//! What does not fit goes by importance: the state of the data and what to do about it are always there.

use super::words::{COLUMNS, count, plain, time, wrap};
use crate::store::status::store::{HoldStatus, SnapshotStatus, State};
use crate::store::status::{Advice, Level, Ready, Section, Status, StoreStatus};
use crate::zone::object::Kind;

/// Lines of the smallest terminal that anybody has, but for one: the prompt comes back below.
const LINES: usize = 23;

/// Where values begin.
const INDENT: usize = 11;

/// What a line is worth when there is no room for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Goes first.
    Detail,
    /// Goes if it has to.
    Useful,
    /// Goes where there is much that is out of order.
    Fact,
    /// What is held back: goes where advice would go otherwise, which says it, too.
    Held,
    /// What is wrong with a store: likewise.
    Wrong,
    /// The state of a store: goes where there are so many that there would be no room for advice.
    State,
    /// What to do: goes from its end, where there is more of it than there is room at all.
    Advice,
    /// Stays.
    Needed,
}

/// Lines of advice that stay, however many stores there are.
const ADVICE_LINES: usize = 12;

/// Verdicts of the guard that are shown of a store; of the others it is said how many there are.
const HOLDS: usize = 2;

/// A line of the screen.
struct Line {
    text: String,
    /// Its colour, if it has one.
    level: Option<Level>,
    worth: Worth,
    /// Lines of one number belong together.
    group: usize,
}

/// The screen so far.
#[derive(Default)]
struct Screen(Vec<Line>);

/// The screen. `colours` for terminals.
pub(super) fn render(status: &Status, advice: &[Advice], colours: bool) -> String {
    let mut screen = Screen::default();
    head(status, &mut screen);
    for store in &status.stores {
        data(store, &mut screen);
    }
    for section in &status.sections {
        role(section, &mut screen);
    }
    screen.row(Worth::Needed, None, "");
    screen.row(Worth::Needed, None, "WHAT TO DO");
    for Advice { level, text } in advice {
        let mark = match level {
            Level::Fine => "  ",
            Level::Warn => "! ",
            Level::Bad => "!!",
        };
        screen.wrapped(Worth::Advice, Some(*level), &format!("{mark} "), 3, text);
    }
    screen.fit();
    let text = |line: &Line| if colours { coloured(line) } else { line.text.clone() };
    screen.0.iter().map(|line| text(line) + "\n").collect()
}

/// Who it is, and whether it is ready.
fn head(status: &Status, screen: &mut Screen) {
    let (ready, level) = match &status.ready {
        Ready { ready: true, .. } => ("READY", Level::Fine),
        Ready { shutting_down: true, .. } => ("ENDING", Level::Warn),
        Ready { .. } => ("NOT READY", Level::Bad),
    };
    let Status { name, release, pid, up_s, .. } = status;
    let role = status.role.as_str();
    let who = plain(&format!("outlast {role} {name}  {release}  pid {pid}  up {}", time(*up_s)));
    let room = COLUMNS.saturating_sub(ready.len() + 2);
    let who: String = who.chars().take(room).collect();
    screen.row(Worth::Needed, Some(level), &format!("{who:<room$}  {ready}"));
    if !status.ready.pending.is_empty() {
        screen.fact(Worth::Needed, "waits for", &status.ready.pending.join(", "));
    }
    if let Some((first, more)) = status.listening.split_first() {
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        screen.fact(Worth::Detail, "answers", &format!("{first}{more}"));
    }
}

/// One store.
fn data(store: &StoreStatus, screen: &mut Screen) {
    screen.row(Worth::Useful, None, "");
    let (level, age) = how_old(store);
    let state = store.state.as_str().to_uppercase();
    screen.wrapped(Worth::State, Some(level), "", INDENT, &format!("DATA {} {state} {age}", store.zone));
    screen.fact(Worth::Fact, "from", &from(store));
    if let Some(lost) = &store.lost {
        screen.wrapped(Worth::Wrong, Some(Level::Warn), &label("lost"), INDENT, lost);
    }
    screen.fact(Worth::Fact, "knows", &knows(store));
    let cluster = cluster(store);
    if !cluster.is_empty() {
        screen.fact(Worth::Detail, "cluster", &cluster);
    }
    for hold in store.holds.iter().take(HOLDS) {
        held(hold, screen);
    }
    if let Some(more @ 1..) = store.holds.len().checked_sub(HOLDS) {
        screen.wrapped(Worth::Held, Some(Level::Warn), &label(""), INDENT, &format!("and {more} more"));
    }
    if let Some(frozen) = &store.frozen {
        let what = match frozen.rolled_back_to {
            Some(generation) => format!("snapshot {generation} is served"),
            None => "what was served then is served".to_owned(),
        };
        let (since, remaining) = (time(frozen.since_s), time(frozen.remaining_s));
        let text = format!("{since} ago, for {remaining} more: {what}");
        screen.wrapped(Worth::Wrong, Some(Level::Warn), &label("frozen"), INDENT, &text);
    }
    let (text, level) = on_disk(&store.snapshot);
    let worth = if level.is_some() { Worth::Wrong } else { Worth::Fact };
    screen.wrapped(worth, level, &label("disk"), INDENT, &text);
}

/// How old the data of a store is, and how good that is.
pub(in crate::cli) fn how_old(store: &StoreStatus) -> (Level, String) {
    let level = match store.state {
        State::Live => Level::Fine,
        State::Stale | State::Other => Level::Warn,
        State::Expired | State::Empty => Level::Bad,
    };
    let age = match store.state {
        State::Empty => format!("never seen whole: {}", store.missing.join(", ")),
        _ => format!("proved {} ago", time(store.age_s)),
    };
    let age = if store.verified { age } else { format!("{age}, not confirmed since the start") };
    (level, age)
}

/// Where the data comes from.
pub(in crate::cli) fn from(store: &StoreStatus) -> String {
    let Some(connected) = &store.connected else { return store.source.clone() };
    let named = |what: &str| if what.is_empty() { String::new() } else { format!(" {what}") };
    let unwell = match connected.unwell.as_deref() {
        None => String::new(),
        Some("") => ", whose own data is not live".to_owned(),
        Some(why) => format!(", whose own data is not live: {why}"),
    };
    format!(
        "{}, connected to {}{}{} for {}{unwell}",
        store.source,
        connected.address,
        named(&connected.name),
        named(&connected.release),
        time(connected.since_s),
    )
}

/// How much there is.
pub(in crate::cli) fn knows(store: &StoreStatus) -> String {
    let mut parts = vec![
        count(store.count(Kind::Service), "service", "services"),
        count(store.endpoints, "ready endpoint", "ready endpoints"),
        count(store.count(Kind::Namespace), "namespace", "namespaces"),
    ];
    if store.objects.contains_key(Kind::Pod.as_str()) {
        parts.push(count(store.count(Kind::Pod), "pod", "pods"));
    }
    parts.join(", ")
}

/// Which cluster it is of, and how far it has come; empty where nothing is known of that.
pub(in crate::cli) fn cluster(store: &StoreStatus) -> String {
    let furthest = store.told.values().max().copied().unwrap_or_default();
    let mut parts = Vec::new();
    if !store.cluster_uid.is_empty() {
        parts.push(format!("uid {}", store.cluster_uid));
    }
    if furthest > 0 {
        parts.push(format!("version {furthest}"));
    }
    if store.epoch > 0 {
        parts.push(format!("restored {}", count(store.epoch, "time", "times")));
    }
    parts.join(", ")
}

/// One verdict of the guard.
fn held(hold: &HoldStatus, screen: &mut Screen) {
    screen.wrapped(Worth::Held, Some(Level::Warn), &label("held"), INDENT, &verdict(hold));
    if !hold.examples.is_empty() {
        screen.fact(Worth::Useful, "", &format!("such as {}", hold.examples.join(", ")));
    }
}

/// How much it holds back, for how long, and why.
pub(in crate::cli) fn verdict(hold: &HoldStatus) -> String {
    let HoldStatus { why, objects, held_s, remaining_s, postponed, .. } = hold;
    let more = if *postponed {
        "until the source confirms it".to_owned()
    } else {
        format!("{} more", time(*remaining_s))
    };
    format!("{}, for {}, {more}: {why}", count(*objects, "object", "objects"), time(*held_s))
}

/// What a restart would find.
pub(in crate::cli) fn on_disk(snapshot: &SnapshotStatus) -> (String, Option<Level>) {
    let Some(dir) = &snapshot.dir else {
        return ("no folder is configured: memory only".to_owned(), Some(Level::Warn));
    };
    let newest = match (snapshot.newest, snapshot.age_s) {
        (Some(newest), Some(age)) => format!("snapshot {newest}, written {} ago", time(age)),
        (None, Some(age)) => format!("written {} ago", time(age)),
        _ => "no snapshot yet".to_owned(),
    };
    if snapshot.memory_only {
        let why = snapshot.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        return (format!("NOTHING REACHES THE DISK{why}; {dir}: {newest}"), Some(Level::Warn));
    }
    (format!("{dir}: {newest}"), None)
}

/// What only some processes have to say.
fn role(section: &Section, screen: &mut Screen) {
    for (n, row) in section.rows.iter().enumerate() {
        let title = if n == 0 { plain(&section.title) } else { String::new() };
        let worth = match row.level {
            Level::Fine if n > 0 => Worth::Detail,
            Level::Fine => Worth::Useful,
            Level::Warn | Level::Bad => Worth::Wrong,
        };
        let level = (row.level > Level::Fine).then_some(row.level);
        screen.wrapped(worth, level, &label(&title), INDENT, &row.text);
    }
}

/// What stands before a value.
fn label(name: &str) -> String {
    let name: String = name.chars().take(INDENT - 1).collect();
    format!("{name:<INDENT$}")
}

impl Screen {
    fn row(&mut self, worth: Worth, level: Option<Level>, text: &str) {
        let group = self.next_group();
        self.0.push(Line { text: text.to_owned(), level, worth, group });
    }

    fn wrapped(&mut self, worth: Worth, level: Option<Level>, head: &str, indent: usize, text: &str) {
        let group = self.next_group();
        self.0.extend(wrap(head, indent, text).into_iter().map(|text| Line { text, level, worth, group }));
    }

    fn fact(&mut self, worth: Worth, name: &str, value: &str) {
        self.wrapped(worth, None, &label(name), INDENT, value);
    }

    fn next_group(&self) -> usize {
        self.0.last().map_or(0, |line| line.group + 1)
    }

    /// Leaves out lines of this worth, the last ones first, until all is within `room`, or `least` of them are left.
    fn shorten(&mut self, room: usize, worth: Worth, least: usize) {
        while self.0.len() > room
            && self.0.iter().filter(|line| line.worth == worth).count() > least
            && let Some(last) = self.0.iter().rfind(|line| line.worth == worth).map(|line| line.group)
        {
            self.0.retain(|line| line.group != last);
        }
    }

    /// Leaves out what there is no room for, and says so.
    fn fit(&mut self) {
        let all = self.0.len();
        if all <= LINES {
            return;
        }
        // One of them is to say it.
        let room = LINES - 1;
        for worth in [Worth::Detail, Worth::Useful, Worth::Fact, Worth::Held, Worth::Wrong] {
            self.shorten(room, worth, 0);
        }
        self.shorten(room, Worth::Advice, ADVICE_LINES);
        self.shorten(room, Worth::State, 0);
        // The least urgent advice comes last.
        self.shorten(room, Worth::Advice, 0);
        self.0.truncate(room);
        let more = count((all - self.0.len()) as u64, "line is", "lines are");
        self.row(Worth::Needed, None, &format!("({more} left out: outlast ctl status --json has it all)"));
    }
}

/// A line in the colour of its level (ECMA-48, SGR).
fn coloured(Line { text, level, .. }: &Line) -> String {
    let colour = match level {
        None => return text.clone(),
        Some(Level::Fine) => 32,
        Some(Level::Warn) => 33,
        Some(Level::Bad) => 31,
    };
    format!("\u{1b}[{colour}m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_by_worth_and_advice_stays() {
        let row = |n: usize| crate::store::status::Row { text: format!("row {n}"), level: Level::Fine };
        let section =
            Section { title: "followers".to_owned(), rows: (0..40).map(row).collect(), ..Section::default() };
        let status = Status { sections: vec![section], ..Status::default() };
        let advice = [Advice { level: Level::Bad, text: "Do something.".to_owned() }];
        let screen = render(&status, &advice, false);
        assert_eq!(screen.lines().count(), LINES, "{screen}");
        assert!(screen.contains("row 0\n") && screen.contains("!! Do something."), "{screen}");
        assert!(screen.ends_with("left out: outlast ctl status --json has it all)\n"), "{screen}");
    }

    /// However much is wrong, it is said who it is and what to do.
    #[test]
    fn advice_is_never_cut_off() {
        let hold = |n: usize| HoldStatus {
            why: format!("a list without {n} of the services, which were there a moment ago"),
            objects: 6_000,
            examples: vec!["shop/web".to_owned()],
            ..HoldStatus::default()
        };
        let store = |n: usize| StoreStatus {
            zone: format!("cluster-{n}.local."),
            source: "apiserver:in-cluster".to_owned(),
            state: State::Stale,
            lost: Some("connecting to https://10.96.0.1:443: connection refused after 10 tries".to_owned()),
            holds: if n == 0 { (0..6).map(hold).collect() } else { Vec::new() },
            ..StoreStatus::default()
        };
        for (stores, shown) in [(4, 4), (40, 1)] {
            let stores = (0..stores).map(store).collect();
            let status = Status { name: "n1".to_owned(), stores, ..Status::default() };
            let screen = render(&status, &super::super::advice::advice(&status), false);
            assert!(screen.lines().count() <= LINES, "{screen}");
            assert!(screen.contains("NOT READY\n") && screen.contains("\nWHAT TO DO\n!"), "{screen}");
            assert!(screen.matches("\nDATA ").count() >= shown, "{screen}");
            assert!(screen.contains("objects go on being served"), "{screen}");
        }
    }

    #[test]
    fn of_many_verdicts_a_few_are_shown() {
        let holds = vec![HoldStatus::default(); 7];
        let status =
            Status { stores: vec![StoreStatus { holds, ..StoreStatus::default() }], ..Status::default() };
        let screen = render(&status, &[], false);
        assert!(
            screen.matches("held ").count() == 2 && screen.contains("           and 5 more\n"),
            "{screen}"
        );
    }

    #[test]
    fn colours_are_for_terminals_and_others_words_are_not() {
        let status = Status { name: "n\u{1b}[2J".to_owned(), ..Status::default() };
        let advice = [Advice { level: Level::Warn, text: "a\u{7}b".to_owned() }];
        assert!(!render(&status, &advice, false).contains(|c: char| c.is_control() && c != '\n'));
        let coloured = render(&status, &advice, true);
        assert!(coloured.contains("\u{1b}[33m!  a b\u{1b}[0m\n"), "{coloured:?}");
        assert!(!coloured.contains("[2J\u{1b}") && !coloured.contains("\u{1b}[2J"), "{coloured:?}");
    }
}
