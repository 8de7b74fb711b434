//! What a hub says and does over its control socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Value, json};

use super::audit::Last;
use super::metrics::Counts;
use super::probe::Seen;
use super::siblings::{Family, Shown};
use crate::feed::frame::State;
use crate::ops::age::Age;
use crate::ops::control::{Command, Handler, Refusal};
use crate::ops::metrics::BuildInfo;
use crate::ops::readiness::{self, Readiness};
use crate::store::control::Control;
use crate::store::status::outcome::{Outcome, StoreOutcome};
use crate::store::status::store::Follows;
use crate::store::status::{Advice, Level, Ready, Role, Row, Section, Status, StoreStatus};

/// Answers from `/readyz` that take longer than this are worth a look: a healthy one takes some milliseconds.
const SLOW: Duration = Duration::from_secs(1);

/// So many siblings have a row of their own.
const MAX_ROWS: usize = 4;

/// Carries out what is asked of a hub.
pub struct HubControl {
    /// The hub's name.
    pub(super) name: String,
    /// When it began.
    pub(super) began: Instant,
    /// The API server, as it is configured.
    pub(super) source: String,
    /// The folder of its snapshots, if there is one.
    pub(super) snapshot: Option<String>,
    /// The zone that its snapshots are of.
    pub(super) zone: String,
    /// Where followers are served.
    pub(super) listening: Vec<SocketAddr>,
    /// To its store.
    pub(super) control: Control,
    /// What `/ready` says.
    pub(super) readiness: Readiness,
    /// Its followers.
    pub(super) followers: Arc<Counts>,
    /// Other hubs.
    pub(super) family: Arc<Family>,
    /// The API server's health.
    pub(super) probed: Arc<Seen>,
    /// Its last audit.
    pub(super) audited: Arc<Last>,
}

impl HubControl {
    /// Everything.
    async fn status(&self) -> Status {
        Status {
            role: Role::Hub,
            release: BuildInfo::CURRENT.version.to_owned(),
            name: self.name.clone(),
            pid: std::process::id(),
            up_s: self.began.elapsed().as_secs(),
            ready: self.ready(),
            listening: self.listening.iter().map(ToString::to_string).collect(),
            stores: vec![self.store().await],
            certificate: None,
            sections: vec![self.followers(), siblings(&self.family), self.api_server(), self.audits()],
        }
    }

    async fn store(&self) -> StoreStatus {
        let mut status = self.control.status().await;
        status.zone.clone_from(&self.zone);
        status.source.clone_from(&self.source);
        status.follows = Follows::ApiServer;
        status.snapshot.dir.clone_from(&self.snapshot);
        status
    }

    fn ready(&self) -> Ready {
        match self.readiness.state() {
            readiness::State::Ready => Ready { ready: true, ..Ready::default() },
            readiness::State::Pending(names) => {
                Ready { pending: names.into_iter().map(str::to_owned).collect(), ..Ready::default() }
            }
            readiness::State::ShuttingDown => Ready { shutting_down: true, ..Ready::default() },
        }
    }

    fn followers(&self) -> Section {
        let counts = self.followers.all();
        let total: usize = counts.iter().map(|(_, count)| count).sum();
        let words: Vec<_> = counts.iter().filter(|(_, n)| *n > 0).map(|(of, n)| format!("{n} {of}")).collect();
        let text = if total == 0 { "none".to_owned() } else { format!("{total}: {}", words.join(", ")) };
        let data = counts.iter().map(|(of, n)| ((*of).to_owned(), json!(n))).collect();
        Section {
            title: "followers".to_owned(),
            rows: vec![Row { text, level: Level::Fine }],
            advice: Vec::new(),
            data: Value::Object(data),
        }
    }

    fn api_server(&self) -> Section {
        let title = "api server".to_owned();
        let Some((health, took)) = self.probed.get() else {
            let row = Row { text: "not asked yet".to_owned(), level: Level::Fine };
            return Section { title, rows: vec![row], ..Section::default() };
        };
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let level = if !health.is_ready() || took > SLOW { Level::Warn } else { Level::Fine };
        let mut advice = Vec::new();
        if !health.is_ready() {
            let text = "The API server is in trouble. Nodes go on answering from memory; nothing has to be restarted \
                        here, and restarting nodes or hubs does not help it."
                .to_owned();
            advice.push(Advice { level, text });
        }
        let text = match health.is_ready() {
            true => format!("ready, /readyz answers in {millis} ms"),
            false => format!("{}: {health}", health.name().replace('_', " ")),
        };
        let data = json!({ "outcome": health.name(), "why": health.to_string(), "took_ms": millis });
        Section { title, rows: vec![Row { text, level }], advice, data }
    }

    fn audits(&self) -> Section {
        let ago = self.audited.ago();
        let text = match ago {
            Some(ago) => format!("the last one began {} ago", Age(ago)),
            None => "none since the start".to_owned(),
        };
        Section {
            title: "audit".to_owned(),
            rows: vec![Row { text, level: Level::Fine }],
            advice: Vec::new(),
            data: json!({ "began_ago_s": ago.map(|ago| ago.as_secs()) }),
        }
    }

    // === Orders ===

    /// Accepts what is held here, and has siblings accept it.
    async fn accept(&self) -> Outcome {
        let accepted = self.control.accept().await;
        self.family.accepted(accepted.keys);
        accepted.outcome
    }

    fn outcome(&self, outcome: Outcome) -> Result<Value, Refusal> {
        value(&[StoreOutcome { zone: self.zone.clone(), outcome }])
    }
}

/// The section about siblings.
fn siblings(family: &Family) -> Section {
    let (shown, behind) = (family.shown(), family.behind());
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

#[async_trait]
impl Handler for HubControl {
    async fn handle(&self, command: Command) -> Result<Value, Refusal> {
        match command {
            Command::Status => value(&self.status().await),
            Command::Ready => value(&self.ready()),
            Command::Lookup { .. } => Err(Refusal::wrong(
                "a hub answers no names: ask a node, outlast ctl --socket /run/outlast/node.sock lookup NAME",
            )),
            // A hub has one store, whatever zone its nodes call it.
            Command::Accept { .. } => self.outcome(self.accept().await),
            Command::Freeze { for_s, .. } => {
                self.outcome(self.control.freeze(for_s.map(Duration::from_secs)).await)
            }
            Command::Thaw { .. } => self.outcome(self.control.thaw().await),
            Command::Generations { .. } => {
                let mut generations = self.control.generations().await.map_err(Refusal::failed)?;
                generations.iter_mut().for_each(|g| g.zone.clone_from(&self.zone));
                value(&generations)
            }
            Command::Rollback { .. } => Err(Refusal::wrong(
                "a hub is not rolled back: that is done where names are answered, at a node; to keep nodes from what this \
                 hub receives: outlast ctl freeze",
            )),
        }
    }
}

fn value(result: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(result).map_err(|error| Refusal::failed(error.to_string()))
}
