//! Asking the API server whether it is ready, for people: nothing that is followed depends on it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Transport;
use super::access::Access;
use super::client::Client;
use super::fault::Fault;
use super::metrics::Verb;
use crate::ops::metrics::Metrics;

/// Asked by any user, also without rights
/// ([health endpoints](https://kubernetes.io/docs/reference/using-api/health-checks/)).
const READYZ: &str = "/readyz";

/// An answer that takes longer is none: load balancers give up much sooner.
const PROBE_LIMIT: Duration = Duration::from_secs(5);

/// Asks over a connection of its own, and is counted as every request is.
pub struct Probe(Client);

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is ready.
    Ready,
    /// It answers that it is not, or that it cannot answer now.
    NotReady {
        /// Its words.
        why: String,
    },
    /// It answers, and will not tell us.
    Denied {
        /// Its words.
        why: String,
    },
    /// Nobody answers.
    Unreachable {
        /// What was tried and what happened.
        why: String,
    },
}

impl Health {
    /// Every name, for metrics.
    pub const NAMES: [&'static str; 4] = ["ready", "not_ready", "denied", "unreachable"];

    /// As metrics and logs name it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ready => Self::NAMES[0],
            Self::NotReady { .. } => Self::NAMES[1],
            Self::Denied { .. } => Self::NAMES[2],
            Self::Unreachable { .. } => Self::NAMES[3],
        }
    }

    /// Whether it is ready.
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::NotReady { why } | Self::Denied { why } | Self::Unreachable { why } => f.write_str(why),
        }
    }
}

impl From<Fault> for Health {
    fn from(fault: Fault) -> Self {
        let why = fault.to_string();
        match fault {
            Fault::Denied { .. } => Self::Denied { why },
            Fault::Unreachable { .. } => Self::Unreachable { why },
            Fault::Expired { .. }
            | Fault::Behind { .. }
            | Fault::NotStreaming { .. }
            | Fault::Busy { .. }
            | Fault::Malformed { .. } => Self::NotReady { why },
        }
    }
}

impl Probe {
    /// Of this API server; nothing is opened before the first probe.
    pub fn new(access: Access, metrics: Arc<Metrics>) -> Self {
        Self(Client::new(access, Transport::Tcp, metrics))
    }

    /// Whether it is ready, and how long the answer took.
    pub async fn look(&self) -> (Health, Duration) {
        let began = Instant::now();
        let health = match timeout(PROBE_LIMIT, self.ask()).await {
            Ok(Ok(())) => Health::Ready,
            Ok(Err(fault)) => fault.into(),
            Err(_) => Health::Unreachable { why: format!("no answer to {READYZ} within {PROBE_LIMIT:?}") },
        };
        (health, began.elapsed())
    }

    async fn ask(&self) -> Result<(), Fault> {
        let mut answer = self.0.get(Verb::Ready, "readyz", READYZ).await?;
        let until = answer.began() + PROBE_LIMIT;
        // To its end: the connection serves the next one.
        while answer.piece(until, "reading /readyz").await?.is_some() {}
        Ok(())
    }
}
