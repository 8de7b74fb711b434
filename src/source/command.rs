//! What the store asks of its source, and what operators ask of it.

use tokio::sync::mpsc;

use crate::zone::object::Kinds;

/// How many commands may wait for a source: each says something that the next look does anyway.
pub const COMMAND_QUEUE: usize = 8;

/// Asked of a source. One that cannot do it ignores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// List these kinds anew, consistently, and send what differs as a list.
    Relist {
        /// The kinds.
        kinds: Kinds,
        /// Why, for metrics and logs.
        why: Why,
    },
    /// Begin this epoch, if it is later than the one that holds: another hub of the cluster has noticed a restore.
    /// Everything is listed anew in it.
    BeginEpoch(u64),
    /// Follow the cluster that answers, whatever was followed before.
    AcceptCluster,
}

/// Why everything is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The guard holds a list back and wants to see another one.
    Held,
    /// To find what watches have left out.
    Audit,
    /// What was told was lost on its way.
    Lost,
}

impl Why {
    /// As metrics and logs name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Audit => "audit",
            Self::Lost => "lost",
        }
    }
}

/// To a source.
pub type Commands = mpsc::Sender<Command>;

/// At the source.
pub type Commanded = mpsc::Receiver<Command>;

/// The next command; never, if nobody gives any. Cancel-safe.
pub async fn next(commanded: &mut Option<Commanded>) -> Command {
    if let Some(commands) = commanded {
        match commands.recv().await {
            Some(command) => return command,
            None => *commanded = None,
        }
    }
    std::future::pending().await
}

/// The way to a source.
pub fn channel() -> (Commands, Commanded) {
    mpsc::channel(COMMAND_QUEUE)
}
