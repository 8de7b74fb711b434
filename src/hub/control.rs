//! What a hub says and does over its control socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::Value;

use super::siblings::Family;
use crate::ops::clock::WallClock;
use crate::ops::control::section::Tells;
use crate::ops::control::{Command, Handler, Refusal, RefusalKind, value};
use crate::ops::metrics::BuildInfo;
use crate::ops::readiness::Readiness;
use crate::ops::switches;
use crate::store::orders::{self, Ordered};
use crate::store::status::{Alive, Certificate, Ready, Role, Status};
use crate::trust::config::TrustConfig;
use crate::trust::validity::{self, Validity};

/// Carries out what is asked of a hub.
pub struct HubControl {
    /// The hub's name.
    pub(super) name: String,
    /// When the process began, as far as it matters.
    pub(super) began: Instant,
    /// Where followers are served.
    pub(super) addresses: Vec<SocketAddr>,
    /// Its data.
    pub(super) store: Ordered,
    /// What `/ready` says.
    pub(super) readiness: Readiness,
    /// Whose certificate it has.
    pub(super) trust: TrustConfig,
    /// The time that certificates are judged by.
    pub(super) clock: Arc<WallClock>,
    /// Other hubs, which are told what was accepted.
    pub(super) family: Arc<Family>,
    /// What else there is to say, in this order.
    pub(super) tells: Vec<Arc<dyn Tells>>,
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
            ready: self.readiness.state().into(),
            listening: self.addresses.iter().map(|address| format!("followers at {address}")).collect(),
            stores: vec![self.store.status().await],
            certificate: self.certificate().await,
            sections: self.tells.iter().map(|part| part.section()).chain(switches::section()).collect(),
        }
    }

    async fn certificate(&self) -> Option<Certificate> {
        let read = validity::of_now(self.trust.clone(), &self.clock).await?;
        let Validity { path, left_s, life_s, grace_s } = read;
        Some(Certificate::new(&path, left_s, life_s, grace_s))
    }
}

#[async_trait]
impl Handler for HubControl {
    async fn handle(&self, command: Command) -> Result<Value, Refusal> {
        match command {
            Command::Status => value(&self.status().await),
            Command::Ready => value(&Ready::from(self.readiness.state())),
            // Followers are served by tasks that share its threads: one that can say so much is alive.
            Command::Alive => value(&Alive::from(None)),
            Command::Lookup { .. } | Command::Top => {
                Err(Refusal::new(RefusalKind::Unknown, "a hub answers no names: ask a node"))
            }
            Command::Pin { .. } | Command::Unpin { .. } | Command::Pins => {
                Err(Refusal::new(RefusalKind::Unknown, "pins are of nodes, each has its own: ask a node"))
            }
            Command::Rollback { .. } => Err(Refusal::new(
                RefusalKind::Unknown,
                "a hub is not rolled back: that is done at the nodes that answer, one by one; what keeps all of them from \
                 what comes is 'outlast ctl freeze', at every hub",
            )),
            order => {
                let done = orders::carry_out(std::slice::from_ref(&self.store), order).await?;
                self.family.accepted(done.accepted);
                Ok(done.reply)
            }
        }
    }
}
