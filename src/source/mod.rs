//! Where a follower gets its objects: a file, the API server or a hub.
//!
//! A source runs in a task of its own on the control runtime and speaks to the one writer ([`crate::node`]'s
//! store) over a bounded channel of [`Update`]s. It never touches a table and never waits for the query path.

pub mod apiserver;
pub mod choice;
pub mod command;
pub mod file;
pub mod hub;
pub mod kubectl;
pub mod report;
pub mod start;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::sync::oneshot;
use tokio::time::Instant;

use self::apiserver::access::Access;
use self::hub::access::HubAccess;
use crate::feed::position::Position;
use crate::zone::change::Change;
use crate::zone::digest::Digest;
use crate::zone::hold::{Held, Hold};
use crate::zone::object::{Key, Kind, Kinds, Object};

/// How many updates may wait for the store before a source has to wait itself: a few parts of a list, so that source
/// and store work side by side and nothing piles up between them.
pub const UPDATE_QUEUE: usize = 16;

/// Where a follower gets its objects, as it is configured and shown: `file:/etc/outlast/cluster.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceConfig {
    /// A file or a folder of objects.
    File(PathBuf),
    /// The Kubernetes API server.
    ApiServer(Access),
    /// Hubs, which have it from the API server.
    Hub(HubAccess),
}

impl fmt::Display for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::ApiServer(access) => write!(f, "apiserver:{access}"),
            Self::Hub(access) => write!(f, "hub:{access}"),
        }
    }
}

impl SourceConfig {
    /// Whether both are one source, however much each asks of it.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::ApiServer(one), Self::ApiServer(other)) => one.place == other.place,
            (Self::Hub(one), Self::Hub(other)) => one.is_same_place(other),
            _ => self == other,
        }
    }

    /// Whether it tells of EndpointSlices of headless services only.
    pub const fn is_headless_only(&self) -> bool {
        matches!(self, Self::Hub(HubAccess { headless_only: true, .. }))
    }

    /// Whether a position that the one of these sources has told means anything at the other. Positions are the
    /// cluster's, whichever hub or API server tells them and however it is reached, and whether it is the cluster is
    /// found out by its uid; files have none.
    pub fn is_same_origin(one: &str, other: &str) -> bool {
        one == other || [one, other].iter().all(|source| !source.starts_with("file:"))
    }
}

/// What the configuration needs of the objects; the rest is never kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Labels, for the selectors `labels` and `namespace_labels`.
    pub labels: bool,
    /// Pods, for `pods verified`.
    pub pods: bool,
}

impl Wanted {
    /// Everything that can be kept.
    pub const ALL: Self = Self { labels: true, pods: true };

    /// The kinds that a whole state has to be complete for.
    pub const fn kinds(self) -> Kinds {
        if self.pods { Kinds::ALL } else { Kinds::CORE }
    }
}

/// A change of one object, as a source reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What changed.
    pub change: Change,
    /// For an EndpointSlice: what set the change off, where the object says so.
    pub trigger: Option<Trigger>,
    /// What is served in its place, where a guard at the origin holds the change back. Without one, what was held of
    /// the object before is held no longer.
    pub held: Option<Held>,
}

impl From<Change> for Event {
    fn from(change: Change) -> Self {
        Self { change, trigger: None, held: None }
    }
}

/// What set a change of an EndpointSlice off, by its annotation `endpoints.kubernetes.io/last-change-trigger-time`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The service of the slice, in the slice's namespace.
    pub service: Box<str>,
    /// Unix milliseconds.
    pub at_ms: u64,
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// An object.
    Object {
        /// The object.
        object: Object,
        /// For an EndpointSlice: what set its last change off.
        trigger: Option<Trigger>,
    },
    /// An object that is there and could not be read: what is known of it stays.
    Unreadable(Key),
    /// An object of which a guard at the origin holds a change back.
    Held {
        /// What the origin says: the object as it really is, or that there is none.
        change: Change,
        /// What is served.
        held: Held,
    },
}

/// From where a source may go on after a restart: what the snapshot says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// uid of the cluster's kube-system namespace; empty where it is not known.
    pub cluster_uid: String,
    /// How far the snapshot had come, proved; 0 for kinds that have to be listed.
    pub position: Position,
    /// How far it had come as far as was told, see [`Update::Told`]; at least `position`.
    pub told: Position,
    /// Kinds of which the store holds something that the source has not yet told the version of: their state may be
    /// ahead of `told`.
    pub ahead: Kinds,
}

/// What became of the question whether the state is what the origin has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It is.
    Same,
    /// It is not.
    Differs {
        /// The kinds that differ.
        kinds: Kinds,
    },
    /// Nothing can be said now: a part of the state waits for what it has been before.
    Unsettled,
}

/// How far a store has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Cluster and position.
    pub resume: Resume,
    /// Of the state as it was received, by [`Kind::index`].
    pub digests: [Digest; Kind::ALL.len()],
    /// Of what is held of it.
    pub held: Digest,
    /// The kinds that are complete.
    pub complete: Kinds,
    /// Whether a source has confirmed the state since this process started.
    pub verified: bool,
}

/// Who is at the other end of a source that follows somebody in particular, and what is known of them: for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Who is followed; `None` while nobody is.
    pub peer: Option<Peer>,
    /// Why the peer's own data is not live, as it says; empty where it gives no reason.
    pub unwell: Option<String>,
    /// The kinds that differ from what the peer has, even after a whole state.
    pub mismatch: Option<String>,
}

/// One that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it was dialled.
    pub address: SocketAddr,
    /// Its name, as it says.
    pub name: String,
    /// Its release, as it says.
    pub release: String,
    /// Since when it is followed.
    pub since: Instant,
}

/// What a source tells the store. All of it travels through one channel and is applied in its order.
#[derive(Debug)]
pub enum Update {
    /// A part of a list of `kinds`. Nothing of it is served before [`Update::ListEnd`].
    ListPart {
        /// The kinds that are listed together.
        kinds: Kinds,
        /// The next entries; a part is small, a list has as many parts as it takes.
        entries: Vec<Listed>,
    },
    /// The list of `kinds` is complete: what was not in it does not exist. A list without any part is empty.
    ListEnd {
        /// The kinds that were listed together.
        kinds: Kinds,
    },
    /// The list of `kinds` failed half way: its parts are forgotten.
    ListFailed {
        /// The kinds that were listed together.
        kinds: Kinds,
    },
    /// Single objects changed.
    Changes(Vec<Event>),
    /// The state of `kind` is now that of this resourceVersion.
    Reached {
        /// The kind.
        kind: Kind,
        /// Its resourceVersion.
        version: u64,
    },
    /// All of `kind` up to this resourceVersion has been told, if nothing was left out on the way: what hubs and
    /// their followers compare. [`Update::Reached`] is what has been gone over, and therefore told.
    ///
    /// A version below what was told before, within an epoch, says that the source goes on from behind: it is said
    /// ahead of the changes that it is about. Changes of the kind then wait, so that nothing goes back, until as much
    /// has been told again. Lists are all there is to know: a source does not send one that is behind.
    Told {
        /// The kind.
        kind: Kind,
        /// Its resourceVersion.
        version: u64,
        /// What the kind is there, where the source says so: what has waited counts only if it leads there. Else it waits
        /// on, and the kind differs ([`Update::Compare`]), until it is listed or told with a digest that is right: changes
        /// from one state to another say nothing of what came and went in between, and the table may be from there.
        digest: Option<Digest>,
    },
    /// Every hold of the guard at the origin, after this; those of [`Event`]s and [`Listed`] refer to them.
    Holds(Vec<Hold>),
    /// Asks whether the state, as it was received, has these digests.
    Compare {
        /// By [`Kind::index`]; `None` is not compared.
        digests: [Option<Digest>; Kind::ALL.len()],
        /// Where the answer goes.
        answer: oneshot::Sender<Comparison>,
    },
    /// Asks how far the store has come: where a source that begins anew goes on from.
    Where {
        /// Where the answer goes.
        answer: oneshot::Sender<Standing>,
    },
    /// The list of `kind` that ends next was made to find what the watch has left out, and everything that was told
    /// before goes as far as the list does: where it differs from the state, something was left out.
    Audited {
        /// The kind.
        kind: Kind,
    },
    /// Another cluster answers than the one that is followed, and is refused until somebody accepts it
    /// ([`command::Command::AcceptCluster`]).
    Refused {
        /// uid of its kube-system namespace.
        cluster_uid: String,
    },
    /// Who is at the other end, as that changes: for people, it decides nothing.
    Link(Link),
    /// What positions count within, from now on: the cluster and its epoch. Positions of all kinds are unknown
    /// until they are reached anew.
    Lineage {
        /// uid of the kube-system namespace.
        cluster_uid: String,
        /// Counts the restores of the cluster that were noticed.
        epoch: u64,
    },
    /// Everything was current at this time, and the source has proved it. Nothing else proves anything.
    Fresh {
        /// When what is known was known to be all there is.
        as_of: Instant,
    },
    /// The source cannot prove its state any more, and why; said once a loss.
    Lost {
        /// For people: what was tried and what happened.
        why: String,
    },
}
