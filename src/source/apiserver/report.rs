//! What the followers of all kinds have in common: whose data it is, how current all of it is, and the one channel
//! to the store.
//!
//! Invariants:
//! * What is sent is sent in the lineage that it belongs to: once the cluster or its epoch has changed, nothing that a
//!   follower still has from before reaches the store.
//! * The proof that is told is the oldest of the kinds': one kind that is not proved leaves everything unproved.
//! * A cluster that was live is never exchanged for another one; a restore opens one epoch, however many kinds
//!   notice it.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::client::Client;
use super::fault::Fault;
use super::{list, version};
use crate::ops::switches::{self, Protection};
use crate::source::{Resume, Update};
use crate::zone::object::{Kind, Kinds};

/// The release of the server is worth no longer wait: data is.
const VERSION_WITHIN: Duration = Duration::from_secs(2);

/// Counts the changes of cluster and epoch within this process.
pub(super) type Lineage = u64;

/// A follower must not go on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nobody listens any more.
    Closed,
    /// The cluster or its epoch is another one: everything has to be listed anew.
    Lineage,
}

/// Whether the server is that of the cluster that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// It is.
    Ours,
    /// It is not, and what was live is not given up.
    Foreign {
        /// For people.
        why: String,
    },
}

/// What the followers of one API server share.
pub(super) struct Report {
    /// All that changes; held while the store's queue is full, so that what is sent stays in order.
    inner: Mutex<Inner>,
    /// The kinds that are followed.
    kinds: Kinds,
    /// Tells followers of a new lineage.
    lineage: watch::Sender<Lineage>,
    /// When the cluster's uid was last asked for, successfully. A lock of its own: while the server is asked, the
    /// followers of the other kinds go on telling what they hear.
    identified: Mutex<Option<Instant>>,
    /// Whether the server's bookmarks tell how far it is, once that is known.
    tells: OnceLock<bool>,
}

/// See [`Report`].
struct Inner {
    /// To the store.
    updates: Sender<Update>,
    /// uid of the cluster's kube-system namespace; empty while it is not known.
    cluster_uid: String,
    /// Restores that were noticed.
    epoch: u64,
    /// By kind: as of when all of it was known.
    proofs: [Option<Instant>; Kind::ALL.len()],
    /// The proof that was told last.
    told: Option<Instant>,
    /// Whether a loss was told after the last proof.
    lost: bool,
    /// uid of the cluster that was refused last: each is said once.
    refused: String,
    /// uid of a cluster that is to be followed if it answers, whatever was followed before.
    accepted: String,
}

impl Report {
    /// Goes on from where a snapshot ends.
    pub(super) fn new(kinds: Kinds, resume: &Resume, updates: Sender<Update>) -> Self {
        let inner = Inner {
            updates,
            cluster_uid: resume.cluster_uid.clone(),
            epoch: resume.position.epoch,
            proofs: Default::default(),
            told: None,
            lost: false,
            refused: String::new(),
            accepted: String::new(),
        };
        Self {
            inner: Mutex::new(inner),
            kinds,
            lineage: watch::Sender::new(0),
            identified: Mutex::default(),
            tells: OnceLock::new(),
        }
    }

    /// The lineage, and the changes of it.
    pub(super) fn lineage(&self) -> watch::Receiver<Lineage> {
        self.lineage.subscribe()
    }

    /// Tells the store something that belongs to `lineage`.
    pub(super) async fn tell(&self, lineage: Lineage, update: Update) -> Result<(), Stop> {
        let inner = self.inner.lock().await;
        // Invariant: nothing of an older lineage reaches the store.
        if *self.lineage.borrow() != lineage {
            return Err(Stop::Lineage);
        }
        inner.send(update).await
    }

    /// All of `kind` was known as of `as_of`.
    pub(super) async fn prove(&self, lineage: Lineage, kind: Kind, as_of: Instant) -> Result<(), Stop> {
        let mut inner = self.inner.lock().await;
        if *self.lineage.borrow() != lineage {
            return Err(Stop::Lineage);
        }
        let proof = &mut inner.proofs[kind.index()];
        *proof = (*proof).max(Some(as_of));
        // Invariant: the oldest proof counts, and a kind without one leaves all unproved.
        let oldest = self.kinds.iter().map(|k| inner.proofs[k.index()]).min().flatten();
        let Some(as_of) = oldest.filter(|oldest| inner.told.is_none_or(|told| *oldest > told)) else {
            return Ok(());
        };
        inner.told = Some(as_of);
        inner.lost = false;
        inner.send(Update::Fresh { as_of }).await
    }

    /// The state of a kind cannot be proved at present. Told once until the next proof.
    pub(super) async fn lose(&self, why: String) -> Result<(), Stop> {
        let mut inner = self.inner.lock().await;
        if std::mem::replace(&mut inner.lost, true) {
            return Ok(());
        }
        inner.send(Update::Lost { why }).await
    }

    /// Makes sure that the server is that of our cluster, unless that was done since `since`.
    pub(super) async fn identify(&self, client: &Client, since: Instant) -> Result<Identity, Fault> {
        // Held while the server is asked: one answer does for all kinds.
        let mut identified = self.identified.lock().await;
        if identified.is_some_and(|at| at >= since) {
            return Ok(Identity::Ours);
        }
        let asked = Instant::now();
        let uid = list::cluster_uid(client).await?;
        let identity = self.compare(uid).await?;
        if identity == Identity::Ours {
            self.ask_version(client).await;
            *identified = Some(asked);
        }
        Ok(identity)
    }

    /// Finds out, once, whether the server's bookmarks tell how far it is. Nothing fails if it does not say.
    async fn ask_version(&self, client: &Client) {
        if self.tells.get().is_some() {
            return;
        }
        match tokio::time::timeout(VERSION_WITHIN, version::tells_progress(client)).await {
            Ok(Ok(tells)) => drop(self.tells.set(tells)),
            Ok(Err(fault)) => tracing::debug!(%fault, "the API server does not say of which release it is"),
            Err(_) => tracing::debug!("the API server has not said in time of which release it is"),
        }
    }

    /// Whether the server's bookmarks are known to tell how far it is, by its release.
    pub(super) fn tells_progress(&self) -> bool {
        self.tells.get().copied().unwrap_or_default()
    }

    /// Compares a uid with the one that is followed, and takes it over where that is right.
    async fn compare(&self, uid: String) -> Result<Identity, Fault> {
        let mut inner = self.inner.lock().await;
        if inner.cluster_uid == uid {
            return Ok(Identity::Ours);
        }
        if uid.is_empty() {
            // Every API server makes this namespace before it answers anybody.
            return Err(Fault::Malformed { why: "there is no kube-system namespace".to_owned() });
        }
        let known = std::mem::take(&mut inner.cluster_uid);
        // Invariant: what was live is not given up for another cluster.
        let stopped = |_| Fault::Unreachable { why: "the store has stopped".to_owned() };
        let is_accepted = inner.accepted == uid;
        if inner.told.is_some() && !known.is_empty() && !is_accepted {
            let why = format!(
                "another cluster answers: the uid of its kube-system namespace is {uid}, and {known} was followed; \
                 to follow the other one: outlast ctl accept"
            );
            inner.cluster_uid = known;
            if inner.refused != uid {
                tracing::error!("{why}");
                inner.refused.clone_from(&uid);
                inner.send(Update::Refused { cluster_uid: uid }).await.map_err(stopped)?;
            }
            return Ok(Identity::Foreign { why });
        }
        if is_accepted {
            tracing::warn!(was = %known, now = %uid, "another cluster was accepted: taking over this one");
        } else if !known.is_empty() {
            tracing::warn!(was = %known, now = %uid, "the snapshot belongs to another cluster: taking over this one");
        }
        (inner.refused, inner.accepted) = Default::default();
        inner.cluster_uid = uid;
        inner.epoch = 0;
        self.begin(&mut inner).await.map_err(stopped)?;
        Ok(Identity::Ours)
    }

    /// The cluster that was refused last is to be followed, if it still answers.
    pub(super) async fn accept_cluster(&self) {
        let mut inner = self.inner.lock().await;
        inner.accepted = std::mem::take(&mut inner.refused);
    }

    /// Somebody else has noticed so many restores of the cluster: everything is listed anew, unless as many are known.
    pub(super) async fn begin_epoch(&self, epoch: u64) -> Result<(), Stop> {
        let mut inner = self.inner.lock().await;
        if epoch <= inner.epoch || inner.cluster_uid.is_empty() {
            return Ok(());
        }
        inner.epoch = epoch;
        tracing::warn!(
            epoch,
            "the cluster was restored from an older state, as another hub has found: a new epoch begins"
        );
        self.begin(&mut inner).await
    }

    /// The cluster was restored from an older state, as a follower of `lineage` has found out: a new epoch begins,
    /// unless another follower has found it out before. Returns the lineage that holds now.
    pub(super) async fn restored(&self, lineage: Lineage) -> Result<Lineage, Stop> {
        if switches::is_off(Protection::Epoch) {
            return std::future::pending().await;
        }
        let mut inner = self.inner.lock().await;
        let current = *self.lineage.borrow();
        if current != lineage {
            return Err(Stop::Lineage);
        }
        // A number that is near its end was made up: it stays there.
        inner.epoch = inner.epoch.saturating_add(1);
        tracing::warn!(
            epoch = inner.epoch,
            "the cluster was restored from an older state: a new epoch begins"
        );
        self.begin(&mut inner).await?;
        Ok(current + 1)
    }

    /// Begins a new lineage.
    async fn begin(&self, inner: &mut Inner) -> Result<(), Stop> {
        inner.proofs = Default::default();
        self.lineage.send_modify(|lineage| *lineage += 1);
        let (cluster_uid, epoch) = (inner.cluster_uid.clone(), inner.epoch);
        inner.send(Update::Lineage { cluster_uid, epoch }).await
    }
}

/// Waits until another lineage than `ours` holds. Cancel-safe.
pub(super) async fn overtaken(lineage: &mut watch::Receiver<Lineage>, ours: Lineage) -> Stop {
    match lineage.wait_for(|current| *current != ours).await {
        Ok(_) => Stop::Lineage,
        Err(_) => Stop::Closed,
    }
}

impl Inner {
    async fn send(&self, update: Update) -> Result<(), Stop> {
        self.updates.send(update).await.map_err(|_| Stop::Closed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{self, Receiver};

    use super::*;
    use crate::feed::position::Position;

    /// A report that goes on from cluster `uid` in epoch 3, and what the store would hear.
    fn report(uid: &str) -> (Report, Receiver<Update>) {
        let (updates, heard) = mpsc::channel(64);
        let resume = Resume {
            cluster_uid: uid.to_owned(),
            position: Position { epoch: 3, versions: [7; 4] },
            ..Resume::default()
        };
        (Report::new(Kinds::CORE, &resume, updates), heard)
    }

    /// Everything that was heard, in words.
    fn said(heard: &mut Receiver<Update>, origin: Instant) -> Vec<String> {
        std::iter::from_fn(|| heard.try_recv().ok())
            .map(|update| match update {
                Update::Fresh { as_of } => format!("fresh {}", as_of.duration_since(origin).as_secs()),
                Update::Lost { why } => format!("lost {why}"),
                Update::Lineage { cluster_uid, epoch } => format!("lineage {cluster_uid} {epoch}"),
                Update::Reached { kind, version } => format!("reached {kind} {version}"),
                Update::Refused { cluster_uid } => format!("refused {cluster_uid}"),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_proof_of_all_kinds_is_told() {
        let (report, mut heard) = report("a");
        let origin = Instant::now();
        let prove = async |kind, second| {
            report.prove(0, kind, origin + Duration::from_secs(second)).await.unwrap();
        };
        prove(Kind::Namespace, 5).await;
        prove(Kind::Service, 6).await;
        assert!(said(&mut heard, origin).is_empty(), "one kind is unproved");
        prove(Kind::EndpointSlice, 9).await;
        prove(Kind::EndpointSlice, 8).await;
        prove(Kind::Namespace, 20).await;
        prove(Kind::Service, 19).await;
        assert_eq!(said(&mut heard, origin), ["fresh 5", "fresh 6", "fresh 9"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_told_once_until_the_next_proof() {
        let (report, mut heard) = report("a");
        let origin = Instant::now();
        for why in ["one", "two"] {
            report.lose(why.to_owned()).await.unwrap();
        }
        for kind in Kinds::CORE.iter() {
            report.prove(0, kind, origin + Duration::from_secs(1)).await.unwrap();
        }
        report.lose("three".to_owned()).await.unwrap();
        assert_eq!(said(&mut heard, origin), ["lost one", "fresh 1", "lost three"]);
    }

    #[tokio::test(start_paused = true)]
    async fn whose_cluster_it_is() {
        struct Case {
            name: &'static str,
            known: &'static str,
            /// Whether everything was proved in this process.
            live: bool,
            found: &'static str,
            /// What is said to the store; `None` if the cluster is refused.
            said: Option<&'static [&'static str]>,
        }
        for case in [
            Case { name: "the one that is followed", known: "a", live: true, found: "a", said: Some(&[]) },
            Case { name: "the first one", known: "", live: false, found: "a", said: Some(&["lineage a 0"]) },
            Case {
                name: "another one than the disk's",
                known: "a",
                live: false,
                found: "b",
                said: Some(&["lineage b 0"]),
            },
            Case { name: "another one than the live one", known: "a", live: true, found: "b", said: None },
        ] {
            let (report, mut heard) = report(case.known);
            let origin = Instant::now();
            if case.live {
                for kind in Kinds::CORE.iter() {
                    report.prove(0, kind, origin).await.unwrap();
                }
                said(&mut heard, origin);
            }
            let identity = report.compare(case.found.to_owned()).await.unwrap();
            assert_eq!(identity == Identity::Ours, case.said.is_some(), "{}", case.name);
            let refused: &[&str] = &["refused b"];
            assert_eq!(said(&mut heard, origin), case.said.unwrap_or(refused), "{}", case.name);
            let again = report.compare(case.found.to_owned()).await.unwrap();
            assert_eq!(again, identity, "{}: asked again", case.name);
        }
        let (report, _heard) = report("a");
        let nobody = report.compare(String::new()).await;
        assert!(matches!(nobody, Err(Fault::Malformed { .. })), "no namespace is no cluster");
    }

    #[tokio::test(start_paused = true)]
    async fn a_restore_opens_one_epoch_however_many_notice_it() {
        let (report, mut heard) = report("a");
        let mut other = report.lineage();
        assert_eq!(report.restored(0).await, Ok(1));
        assert_eq!(report.restored(0).await, Err(Stop::Lineage), "of a kind that was told meanwhile");
        assert_eq!(overtaken(&mut other, 0).await, Stop::Lineage);
        assert_eq!(said(&mut heard, Instant::now()), ["lineage a 4"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_of_an_older_lineage_reaches_the_store() {
        let (report, mut heard) = report("a");
        let reached = |version| Update::Reached { kind: Kind::Service, version };
        report.tell(0, reached(900)).await.unwrap();
        report.restored(0).await.unwrap();
        assert_eq!(report.tell(0, reached(901)).await, Err(Stop::Lineage));
        assert_eq!(report.prove(0, Kind::Service, Instant::now()).await, Err(Stop::Lineage));
        report.tell(1, reached(12)).await.unwrap();
        assert_eq!(
            said(&mut heard, Instant::now()),
            ["reached Service 900", "lineage a 4", "reached Service 12"]
        );
        drop(heard);
        assert_eq!(report.tell(1, reached(13)).await, Err(Stop::Closed));
    }
}
