//! The chain of plugins that a server block answers by.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tokio::time::Instant;

use super::facts::Facts;
use super::lane::Role;
use super::query::Query;
use super::reply::{Ede, EdeCode, Reply};
use crate::zone::name::Labels;

/// A plugin that takes part in answering.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Its name in the Corefile.
    fn name(&self) -> &'static str;

    /// Whether it may have answers to questions of other classes than IN.
    fn takes_other_classes(&self) -> bool {
        false
    }

    /// What becomes of it in the inline lane of the listener of this identity.
    fn role(self: Arc<Self>, _identity: &str) -> Role {
        Role::General
    }

    /// Answers `query`, or passes it on to `next` and does what it will with what comes back.
    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome;

    /// Whether it answers `name` from data of its own that is always newer than what a cache before it would
    /// hold: the cache stands behind it for such names.
    fn answers_from_memory(&self, _name: &Labels) -> bool {
        false
    }

    /// Whether the servers that it would ask for `query` are known to answer, or not to; `None` where it would
    /// ask nobody.
    fn upstreams(&self, _query: &Query) -> Option<Upstreams> {
        None
    }

    /// When the servers that it would ask for `name`, which is on the wire in any letter case, last answered again
    /// after none had: what [`upstreams`](Self::upstreams) says of it, at no more cost than reading it. `None` if that
    /// never was, or if it would ask nobody.
    fn recovered(&self, _name: &[u8]) -> Option<Instant> {
        None
    }

    /// Whether it gives no reply at all to such a question of `client`: nor does who turns it away before it comes here.
    fn drops(&self, _client: IpAddr, _name: &Labels, _kind: RecordType) -> bool {
        false
    }

    /// The search path of the client that sent `query`, for `autopath`: the domains in order, the root where a
    /// name is to be tried as it is. `None` if it knows none.
    fn search_path(&self, _query: &Query) -> Option<Vec<Labels>> {
        None
    }

    /// Says what it knows of `query` to whoever reads metadata (`log`, `rewrite`, `template`).
    fn describe(&self, _query: &Query, _facts: &Facts) {}
}

/// What is known of servers without asking them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstreams {
    /// Nothing speaks against asking.
    Answering {
        /// When one of them last answered again after none had; `None` if that never was.
        recovered: Option<Instant>,
    },
    /// None of them has answered lately: asking costs time and leads to nothing.
    Failing,
}

/// How a plugin, or the chain behind it, answered.
#[derive(Debug)]
pub enum Outcome {
    /// A reply for the client.
    Reply(Box<Reply>),
    /// No reply was made; the server makes one of this rcode (AA=0, empty sections).
    Failed(Failure),
    /// The client gets no reply at all.
    Silence,
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

    /// SERVFAIL of a query that would have to wait and must not; `None` if it may. To be asked before anything is
    /// begun for it.
    pub fn if_turned_away(query: &Query) -> Option<Self> {
        let why = query.refusal()?;
        // A line for each would make a flood of queries one of lines; they are counted.
        let ede = Some(Ede { code: EdeCode::Other, text: why.to_owned() });
        Some(Self::Failed(Failure { rcode: ResponseCode::ServFail, error: None, ede }))
    }

    /// The rcode that the client sees.
    pub fn rcode(&self) -> ResponseCode {
        match self {
            Self::Reply(reply) => reply.rcode,
            Self::Failed(failure) => failure.rcode,
            // As CoreDNS counts and logs it.
            Self::Silence => ResponseCode::NoError,
        }
    }

    /// The reply, made by the server where no plugin made one. `None` if the client gets none.
    pub fn into_reply(self) -> Option<Reply> {
        match self {
            Self::Reply(reply) => Some(*reply),
            Self::Failed(failure) => Some(Reply { ede: failure.ede, ..Reply::new(failure.rcode, "") }),
            Self::Silence => None,
        }
    }
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

/// The plugins of a server block, in the order of the chain.
pub type Chain = Arc<[Arc<dyn Plugin>]>;

/// The plugins behind the one that holds this.
#[derive(Clone, Copy)]
pub struct Next<'a> {
    /// The whole chain.
    chain: &'a Chain,
    /// Where they begin in it.
    at: usize,
}

impl<'a> Next<'a> {
    /// The whole chain of a server block.
    pub const fn all(chain: &'a Chain) -> Self {
        Self { chain, at: 0 }
    }

    /// The plugins that follow, in the order of the chain.
    pub fn plugins(self) -> &'a [Arc<dyn Plugin>] {
        self.chain.get(self.at..).unwrap_or_default()
    }

    /// The plugins before the one that holds this, in the order of the chain.
    pub fn before(self) -> &'a [Arc<dyn Plugin>] {
        self.chain.get(..self.at.saturating_sub(1)).unwrap_or_default()
    }

    /// The first of the plugins that follow that knows of the servers that it would ask.
    pub fn upstreams(self, query: &Query) -> Option<Upstreams> {
        self.plugins().iter().find_map(|plugin| plugin.upstreams(query))
    }

    /// The same for a task that outlives the query.
    pub fn detach(self) -> Rest {
        Rest { chain: self.chain.clone(), at: self.at }
    }

    /// Passes `query` on.
    pub async fn run(self, query: &Query) -> Outcome {
        let Self { chain, at } = self;
        if let Some(plugin) = chain.get(at) {
            return plugin.serve(query, Next { chain, at: at + 1 }).await;
        }
        match chain.last() {
            Some(caller) => Outcome::error(format!("plugin/{}: no next plugin found", caller.name())),
            // A block without plugins answers nothing.
            None => Outcome::Failed(Failure { rcode: ResponseCode::Refused, error: None, ede: None }),
        }
    }
}

/// What [`Next`] is, owned.
#[derive(Clone)]
pub struct Rest {
    /// The whole chain.
    chain: Chain,
    /// Where the rest begins in it.
    at: usize,
}

impl Rest {
    /// The plugins that follow.
    pub const fn next(&self) -> Next<'_> {
        Next { chain: &self.chain, at: self.at }
    }
}
