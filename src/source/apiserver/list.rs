//! Lists: page by page for the whole state, and the small ones that prove freshness.
//!
//! Invariants:
//! * A list is over only after a document that says it is a list of that kind, has `items` and ends properly:
//!   nothing else that answers 200 to a GET can look like an empty cluster.
//! * One item is held and decoded at a time.

use super::client::{Client, LeftOut};
use super::fault::Fault;
use super::metrics::Verb;
use super::page::Page;
use super::resource::{self, Query};
use crate::source::Wanted;
use crate::source::kubectl::Drops;
use crate::source::kubectl::single::{self, Decoded};
use crate::zone::object::Kind;

/// Objects a page: client-go's number. Of full-size EndpointSlices (15 kB) a page is 8 MB, which an API server
/// sends in well under a second, and 10,000 objects take 20 requests.
const PAGE_SIZE: u32 = 500;

/// Most pages of a list: fifty million objects, more than an etcd can hold. A server that always names a next
/// page is not followed for ever.
const MAX_PAGES: u32 = 100_000;

/// Longest `continue` in bytes; those of an API server hold a key of etcd and have some hundred.
const MAX_CONTINUE: usize = 8 << 10;

/// How fresh a list has to be.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtLeast {
    /// As the cluster's store has it now (a quorum read).
    Now,
    /// Not older than this resourceVersion; a server's cache may answer.
    Version(u64),
}

/// A whole list in pages of a few hundred.
pub(super) struct Pages {
    /// Whom to ask.
    client: Client,
    /// Of what.
    kind: Kind,
    /// What the objects are needed for.
    wanted: Wanted,
    /// What comes next.
    state: State,
    /// How many pages have been asked for.
    asked: u32,
    /// The version of the first page.
    version: Option<u64>,
    /// Counted and logged once a list, also of one that is given up.
    left_out: LeftOut,
}

/// What comes next in a list.
enum State {
    /// The first page.
    First(AtLeast),
    /// The rest of this page.
    Within(Box<Page>),
    /// The page after the one that named this token.
    Next(String),
    /// Nothing more.
    End,
}

impl Pages {
    /// Nothing is sent before the first entry is asked for.
    pub(super) fn new(client: Client, kind: Kind, wanted: Wanted, at_least: AtLeast) -> Self {
        let state = State::First(at_least);
        let left_out = LeftOut::new(client.clone());
        Self { client, kind, wanted, state, asked: 0, version: None, left_out }
    }

    /// The resourceVersion of the whole list (that of its first page), once it is known: before the first entry,
    /// if the server sends it first, as every API server does.
    pub(super) fn version(&self) -> Option<u64> {
        self.version
    }

    /// The next entry; `None` at the end of the last page. After a fault there is no going on. Not cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Decoded>, Fault> {
        loop {
            match std::mem::replace(&mut self.state, State::End) {
                State::First(at_least) => {
                    self.open(Query::default().limit(PAGE_SIZE).at_least(at_least)).await?;
                }
                State::Next(token) => {
                    // The first page's version is in the token, and must not be given again.
                    self.open(Query::default().limit(PAGE_SIZE).with("continue", &token)).await?;
                }
                State::End => return Ok(None),
                State::Within(mut page) => {
                    let item = page.item().await?;
                    // The following pages repeat the version of the first.
                    self.version = self.version.or(page.version());
                    let Some(item) = item else {
                        self.state = after(*page)?;
                        self.version.ok_or_else(|| malformed("a list without a resourceVersion"))?;
                        continue;
                    };
                    self.state = State::Within(page);
                    return match single::decode(self.kind, &item, self.wanted, &mut self.left_out.drops) {
                        Ok(decoded) => Ok(Some(decoded)),
                        Err(why) => Err(Fault::Malformed { why }),
                    };
                }
            }
        }
    }

    /// Asks for a page.
    async fn open(&mut self, query: Query) -> Result<(), Fault> {
        self.asked += 1;
        if self.asked > MAX_PAGES {
            return Err(malformed("a list that does not end"));
        }
        let page = Page::open(&self.client, Verb::List, self.kind, query).await?;
        self.state = State::Within(Box::new(page));
        Ok(())
    }
}

/// What comes after a page that is complete.
fn after(page: Page) -> Result<State, Fault> {
    match page.next_token() {
        None => Ok(State::End),
        Some(token) if token.len() > MAX_CONTINUE => Err(malformed("a continue token of more than 8 KiB")),
        Some(token) => Ok(State::Next(token)),
    }
}

/// The resourceVersion of a consistent list with `limit=1`: how far the cluster's store has come.
pub(super) async fn small(client: &Client, kind: Kind) -> Result<u64, Fault> {
    let mut page = Page::open(client, Verb::SmallList, kind, Query::default().limit(1)).await?;
    while page.item().await?.is_some() {}
    page.version().ok_or_else(|| malformed("a list without a resourceVersion"))
}

/// Asks for one object by its name, consistently and without a limit, and forgets the answer.
///
/// Servers that answer this from their cache (from 1.31 on) have the cache catch up with the store first, and the
/// bookmarks of this kind's watches move with it. It costs a look-up of one key; that there is no such object is an
/// answer, too.
pub(super) async fn nudge(client: &Client, kind: Kind) -> Result<(), Fault> {
    let target = resource::one(kind);
    let mut page = Page::of(client, Verb::SmallList, kind, &target).await?;
    while page.item().await?.is_some() {}
    Ok(())
}

/// The uid of the kube-system namespace, by a consistent list with a field selector (following needs no right to
/// `get`). Empty where there is no such namespace.
pub(super) async fn cluster_uid(client: &Client) -> Result<String, Fault> {
    let query = Query::default().with("fieldSelector", "metadata.name=kube-system").limit(1);
    let mut page = Page::open(client, Verb::Identity, Kind::Namespace, query).await?;
    let mut uid = String::new();
    while let Some(item) = page.item().await? {
        let decoded = single::decode(Kind::Namespace, &item, Wanted::default(), &mut Drops::default());
        let namespace = decoded.map_err(|why| Fault::Malformed { why })?;
        // A server that does not know the selector lists them all.
        if &*namespace.key.name == resource::KUBE_SYSTEM {
            uid = namespace.uid.into();
        }
    }
    Ok(uid)
}

fn malformed(why: &str) -> Fault {
    Fault::Malformed { why: why.to_owned() }
}
