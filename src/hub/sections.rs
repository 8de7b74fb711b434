//! What the parts of a hub say to operators.

use std::time::Duration;

use serde_json::{Value, json};

use super::audit::Last;
use super::metrics::Counts;
use super::probe::Seen;
use super::siblings::{Family, Shown};
use crate::feed::frame::State;
use crate::ops::age::Age;
use crate::ops::control::section::{Advice, Level, Row, Section, Tells};

/// Answers from `/readyz` that take longer than this are worth a look: a healthy one takes some milliseconds.
const SLOW: Duration = Duration::from_secs(1);

/// So many siblings have a row of their own.
const MAX_ROWS: usize = 4;

impl Tells for Counts {
    fn section(&self) -> Section {
        let counts = self.all();
        let total: usize = counts.iter().map(|(_, count)| count).sum();
        let words: Vec<_> =
            counts.iter().filter(|(_, n)| *n > 0).map(|(of, n)| format!("{n} {of}")).collect();
        let text = if total == 0 { "none".to_owned() } else { format!("{total}: {}", words.join(", ")) };
        let data = counts.iter().map(|(of, n)| ((*of).to_owned(), json!(n))).collect();
        Section {
            title: "followers".to_owned(),
            rows: vec![Row { text, level: Level::Fine }],
            advice: Vec::new(),
            data: Value::Object(data),
        }
    }
}

impl Tells for Seen {
    fn section(&self) -> Section {
        let title = "apiserver".to_owned();
        let Some((health, took)) = self.get() else {
            let row = Row { text: "not asked yet".to_owned(), level: Level::Fine };
            return Section { title, rows: vec![row], ..Section::default() };
        };
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let level = if !health.is_ready() || took > SLOW { Level::Warn } else { Level::Fine };
        let mut advice = Vec::new();
        if !health.is_ready() {
            let text = "The API server is in trouble. Nodes go on answering from memory: restarting nodes or hubs does \
                        not help it."
                .to_owned();
            advice.push(Advice { level, text });
        }
        let text = if health.is_ready() {
            format!("ready, /readyz answers in {millis} ms")
        } else {
            format!("{}: {health}", health.name().replace('_', " "))
        };
        let data = json!({ "outcome": health.name(), "why": health.to_string(), "took_ms": millis });
        Section { title, rows: vec![Row { text, level }], advice, data }
    }
}

impl Tells for Last {
    fn section(&self) -> Section {
        let (ago, every) = (self.ago(), Age(self.every()));
        let text = match ago {
            Some(ago) => format!("the last one began {} ago, one about every {every}", Age(ago)),
            None => format!("none since the start, one about every {every}"),
        };
        Section {
            title: "audit".to_owned(),
            rows: vec![Row { text, level: Level::Fine }],
            advice: Vec::new(),
            data: json!({ "began_ago_s": ago.map(|ago| ago.as_secs()), "every_s": self.every().as_secs() }),
        }
    }
}

impl Tells for Family {
    fn section(&self) -> Section {
        let (shown, behind) = (self.shown(), self.behind());
        let mut rows: Vec<_> = shown.iter().take(MAX_ROWS).map(row).collect();
        if shown.len() > MAX_ROWS {
            let text = format!("and {} more", shown.len() - MAX_ROWS);
            rows.push(Row { text, level: Level::Fine });
        }
        if shown.is_empty() {
            rows.push(Row { text: "none known".to_owned(), level: Level::Fine });
        }
        let mut advice = Vec::new();
        if let Some(why) = &behind {
            rows.insert(0, Row { text: format!("this hub is {why}"), level: Level::Warn });
            let text = "This hub does not keep up with its siblings: nodes leave it by themselves. Look at its API server \
                    and its load."
            .to_owned();
            advice.push(Advice { level: Level::Warn, text });
        }
        let data = shown.iter().map(|s| {
            json!({
                "name": s.name,
                "address": s.address.map(|address| address.to_string()),
                "release": s.release,
                "state": s.state.map(state),
                "age_s": s.age.as_secs(),
                "epoch": s.epoch,
                "why": s.why,
            })
        });
        let data = json!({ "behind": behind.map(|why| why.to_string()), "hubs": data.collect::<Vec<_>>() });
        Section { title: "siblings".to_owned(), rows, advice, data }
    }
}

fn row(sibling: &Shown) -> Row {
    let address = sibling.address.map(|address| address.to_string());
    let who = match (&address, sibling.name.as_str()) {
        (Some(address), "") => address.clone(),
        (Some(address), name) => format!("{name} at {address}"),
        (None, name) => name.to_owned(),
    };
    let text = match (&sibling.why, sibling.state) {
        (Some(why), _) => format!("{who}: {why}"),
        (None, Some(of)) => format!("{who}: {}, age {}", state(of), Age(sibling.age)),
        (None, None) => who,
    };
    let level = if sibling.why.is_some() { Level::Warn } else { Level::Fine };
    Row { text, level }
}

const fn state(state: State) -> &'static str {
    match state {
        State::Live => "live",
        State::Stale => "stale",
        State::Empty => "empty",
        State::Frozen => "frozen",
    }
}
