//! The chain of plugins that a server block answers by.

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;

use super::query::Query;
use super::reply::{Ede, Reply};

/// A plugin that takes part in answering.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Its name in the Corefile.
    fn name(&self) -> &'static str;

    /// Whether it may have answers to questions of other classes than IN.
    fn takes_other_classes(&self) -> bool {
        false
    }

    /// Answers `query`, or passes it on to `next` and does what it will with what comes back.
    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome;
}

/// How a plugin, or the chain behind it, answered.
#[derive(Debug)]
pub enum Outcome {
    /// A reply for the client.
    Reply(Box<Reply>),
    /// No reply was made; the server makes one of this rcode (AA=0, empty sections).
    Failed(Failure),
}

/// Why no reply was made.
#[derive(Debug)]
pub struct Failure {
    /// What the client is told.
    pub rcode: ResponseCode,
    /// What `errors` logs; `None` where the rcode says it all.
    pub error: Option<String>,
    /// Said to clients that sent an OPT record.
    pub ede: Option<Ede>,
}

impl Outcome {
    /// SERVFAIL because of `error`.
    pub fn error(error: impl Into<String>) -> Self {
        Self::Failed(Failure { rcode: ResponseCode::ServFail, error: Some(error.into()), ede: None })
    }

    /// The rcode that the client sees.
    pub fn rcode(&self) -> ResponseCode {
        match self {
            Self::Reply(reply) => reply.rcode,
            Self::Failed(failure) => failure.rcode,
        }
    }

    /// The reply, made by the server where no plugin made one.
    pub fn into_reply(self) -> Reply {
        match self {
            Self::Reply(reply) => *reply,
            Self::Failed(failure) => Reply { ede: failure.ede, ..Reply::new(failure.rcode, "") },
        }
    }
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

/// The plugins behind the one that holds this.
#[derive(Clone, Copy)]
pub struct Next<'a> {
    /// They, in the order of the chain.
    rest: &'a [Arc<dyn Plugin>],
    /// The plugin before them.
    caller: &'static str,
}

impl<'a> Next<'a> {
    /// The whole chain of a server block.
    pub const fn all(plugins: &'a [Arc<dyn Plugin>]) -> Self {
        Self { rest: plugins, caller: "" }
    }

    /// Passes `query` on.
    pub async fn run(self, query: &Query) -> Outcome {
        match self.rest.split_first() {
            Some((plugin, rest)) => plugin.serve(query, Next { rest, caller: plugin.name() }).await,
            // A block without plugins answers nothing.
            None if self.caller.is_empty() => {
                Outcome::Failed(Failure { rcode: ResponseCode::Refused, error: None, ede: None })
            }
            None => Outcome::error(format!("plugin/{}: no next plugin found", self.caller)),
        }
    }
}
