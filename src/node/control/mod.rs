//! What a node says and does over its control socket.
//!
//! * here: commands, and the status as a whole.
//! * `shown`: what the configuration that runs has; a reload exchanges it.
//! * `lookup`: questions, answered by the plugins that answer pods.

pub mod lookup;
pub mod shown;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Handle;

use self::shown::Shown;
use crate::ops::control::{Command, Handler, Refusal};
use crate::ops::metrics::BuildInfo;
use crate::ops::readiness::{Readiness, State};
use crate::store::status::{Ready, Role, Status};

/// Carries out what is asked of a node.
pub struct NodeControl {
    /// The node's name.
    name: String,
    /// When the process began, as far as it matters.
    began: Instant,
    /// What the configuration that runs has.
    shown: Arc<ArcSwap<Shown>>,
    /// What `/ready` says.
    readiness: Readiness,
    /// Where queries are answered.
    data: Handle,
}

impl NodeControl {
    /// For the node that `shown` is kept up to date of.
    pub fn new(name: String, shown: Arc<ArcSwap<Shown>>, readiness: Readiness, data: Handle) -> Self {
        Self { name, began: Instant::now(), shown, readiness, data }
    }

    /// Everything.
    async fn status(&self) -> Status {
        let shown = self.shown.load_full();
        let mut stores = Vec::new();
        for store in &shown.stores {
            stores.push(store.status().await);
        }
        Status {
            role: Role::Node,
            release: BuildInfo::CURRENT.version.to_owned(),
            name: self.name.clone(),
            pid: std::process::id(),
            up_s: self.began.elapsed().as_secs(),
            ready: ready(&self.readiness),
            listening: shown.sites.iter().map(|(identity, at)| format!("{identity} at {at}")).collect(),
            stores,
            certificate: None,
            sections: Vec::new(),
        }
    }
}

#[async_trait]
impl Handler for NodeControl {
    async fn handle(&self, command: Command) -> Result<Value, Refusal> {
        match command {
            Command::Status => value(&self.status().await),
            Command::Ready => value(&ready(&self.readiness)),
            Command::Lookup { name, kind } => {
                // By the threads that answer, whose connections and timers the plugins use.
                let shown = self.shown.load_full();
                let lookup = self.data.spawn(async move { lookup::answer(&shown, &name, &kind).await });
                match lookup.await {
                    Ok(answered) => value(&answered.map_err(|error| Refusal::wrong(format!("{error:#}")))?),
                    Err(error) => Err(Refusal::failed(format!("answering: {error}"))),
                }
            }
            order => shown::carry_out(&self.shown.load().stores, order).await,
        }
    }
}

/// What `/ready` says.
fn ready(readiness: &Readiness) -> Ready {
    match readiness.state() {
        State::Ready => Ready { ready: true, ..Ready::default() },
        State::Pending(names) => {
            Ready { pending: names.into_iter().map(str::to_owned).collect(), ..Ready::default() }
        }
        State::ShuttingDown => Ready { shutting_down: true, ..Ready::default() },
    }
}

fn value(result: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(result).map_err(|error| Refusal::failed(error.to_string()))
}
