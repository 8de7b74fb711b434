//! What a node says and does over its control socket.
//!
//! * here: commands, and the status as a whole.
//! * `shown`: what the configuration that runs has; a reload exchanges it.
//! * `lookup`: questions, answered by the plugins that answer pods.
//! * `top`: what is asked for most.

pub mod lookup;
pub mod shown;
pub mod top;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use serde_json::Value;
use tokio::runtime::Handle;

use self::shown::Shown;
use self::top::TopReport;
use super::pins::keep::PinKeeper;
use crate::ops::clock::WallClock;
use crate::ops::control::section::Tells;
use crate::ops::control::{Command, Handler, Refusal, RefusalKind, value};
use crate::ops::metrics::BuildInfo;
use crate::ops::pulse::{Pulses, STUCK};
use crate::ops::readiness::Readiness;
use crate::ops::switches;
use crate::source::SourceConfig;
use crate::store::orders;
use crate::store::status::{Alive, Certificate, Ready, Role, Status};
use crate::trust::config::TrustConfig;
use crate::trust::validity::{self, Validity};

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
    /// Signs of life of whoever answers.
    pulses: Pulses,
    /// Where queries are answered.
    data: Handle,
    /// The time that certificates are judged by.
    clock: Arc<WallClock>,
    /// What operators have pinned, where that can be done.
    pins: Option<Arc<PinKeeper>>,
    /// What is asked for most, where that is counted.
    top: Option<TopReport>,
    /// What else there is to say, in this order.
    tells: Vec<Arc<dyn Tells>>,
}

impl NodeControl {
    /// For the node that `shown` is kept up to date of.
    pub fn new(
        name: String,
        shown: Arc<ArcSwap<Shown>>,
        readiness: Readiness,
        pulses: Pulses,
        data: Handle,
        clock: Arc<WallClock>,
    ) -> Self {
        let (began, tells) = (Instant::now(), Vec::new());
        Self { name, began, shown, readiness, pulses, data, clock, pins: None, top: None, tells }
    }

    /// What is asked for most can be counted.
    #[must_use]
    pub fn watching(mut self, top: TopReport) -> Self {
        self.top = Some(top);
        self
    }

    /// Names can be pinned, and what is pinned has something to say.
    #[must_use]
    pub fn pinning(mut self, pins: Arc<PinKeeper>) -> Self {
        self.pins = Some(pins.clone());
        self.telling([pins as Arc<dyn Tells>])
    }

    /// What else has something to say.
    #[must_use]
    pub fn telling(mut self, tells: impl IntoIterator<Item = Arc<dyn Tells>>) -> Self {
        self.tells.extend(tells);
        self
    }

    /// What operators have pinned.
    fn pins(&self) -> Result<&PinKeeper, Refusal> {
        let none = || Refusal::new(RefusalKind::Unknown, "nothing can be pinned here");
        self.pins.as_deref().ok_or_else(none)
    }

    /// Everything.
    async fn status(&self) -> Status {
        let shown = self.shown.load_full();
        let stores = orders::status(&shown.ordered()).await;
        Status {
            role: Role::Node,
            release: BuildInfo::CURRENT.version.to_owned(),
            name: self.name.clone(),
            pid: std::process::id(),
            up_s: self.began.elapsed().as_secs(),
            ready: self.readiness.state().into(),
            listening: shown.sites.iter().map(|(identity, at)| format!("{identity} at {at}")).collect(),
            stores,
            certificate: certificate(&shown, &self.clock).await,
            sections: self.tells.iter().map(|tells| tells.section()).chain(switches::section()).collect(),
        }
    }
}

#[async_trait]
impl Handler for NodeControl {
    async fn handle(&self, command: Command) -> Result<Value, Refusal> {
        match command {
            Command::Status => value(&self.status().await),
            Command::Ready => value(&Ready::from(self.readiness.state())),
            Command::Alive => value(&Alive::from(self.pulses.silent(STUCK))),
            Command::Lookup { name, kind } => {
                // By the threads that answer, whose connections and timers the plugins use.
                let shown = self.shown.load_full();
                let lookup = self.data.spawn(async move { lookup::answer(&shown, &name, &kind).await });
                match lookup.await {
                    Ok(answered) => value(&answered.map_err(|error| Refusal::wrong(format!("{error:#}")))?),
                    Err(error) => Err(Refusal::failed(format!("answering: {error}"))),
                }
            }
            Command::Pin { name, kind, value: text, for_s } => {
                let for_ = for_s.map(Duration::from_secs);
                value(&self.pins()?.pin(&name, &kind, &text, for_).await?)
            }
            Command::Unpin { name, kind } => {
                value(&self.pins()?.unpin(name.as_deref(), kind.as_deref()).await?)
            }
            Command::Pins => value(&self.pins()?.list()),
            Command::Top => {
                let none = || Refusal::new(RefusalKind::Unknown, "nothing is counted here");
                let top = self.top.as_ref().ok_or_else(none)?;
                value(&top.look(&self.name, &self.shown.load()))
            }
            order => {
                let stores = self.shown.load().ordered();
                Ok(orders::carry_out(&stores, order).await?.reply)
            }
        }
    }
}

/// The certificate that hubs know the node by: of several stores the first that has one.
async fn certificate(shown: &Shown, clock: &WallClock) -> Option<Certificate> {
    let trust = shown.stores.iter().find_map(|store| match &store.config.source {
        SourceConfig::Hub(access) if access.trust != TrustConfig::Plain => Some(access.trust.clone()),
        _ => None,
    })?;
    let Validity { path, left_s, life_s, grace_s } = validity::of_now(trust, clock).await?;
    Some(Certificate::new(&path, left_s, life_s, grace_s))
}
