//! What befalls a store as a whole: compaction, backups, restores, another cluster.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::kind::KindState;
use super::object::{Draft, Stored};
use super::{Etcd, State, What};
use crate::zone::object::Kind;

/// The whole state at one revision, as `etcdctl snapshot save` has it. Shares all objects with the store.
#[derive(Clone)]
pub struct Backup {
    /// The revision.
    revision: u64,
    /// By kind, in the order of keys.
    objects: Arc<[Vec<Arc<Stored>>; Kind::ALL.len()]>,
}

impl Backup {
    /// The revision at which it was made.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The same without the objects for which `gone` holds.
    #[must_use]
    pub fn without(&self, gone: impl Fn(Kind, &Stored) -> bool) -> Self {
        let kept = |kind: Kind| {
            let objects = self.objects(kind).iter().filter(|object| !gone(kind, object));
            objects.cloned().collect()
        };
        Self { revision: self.revision, objects: Arc::new(Kind::ALL.map(kept)) }
    }

    /// The objects of a kind, in the order of lists.
    pub fn objects(&self, kind: Kind) -> &[Arc<Stored>] {
        &self.objects[kind.index()]
    }
}

impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backup at {}", self.revision)
    }
}

impl Etcd {
    /// Drops all history up to now: watches, exact lists and continue tokens from before get 410. Watches that
    /// are open go on.
    pub fn compact(&self) {
        self.write(|state, _| {
            for kind in &mut state.kinds {
                kind.raise_floor(state.revision);
            }
        });
    }

    /// The state as it is now.
    pub fn save(&self) -> Backup {
        self.lock().backup()
    }

    /// Everything that there is, and how many writes that took: where an oracle begins, which asks for what came
    /// [since](Self::history_since).
    pub fn so_far(&self) -> (Backup, u64) {
        let state = self.lock();
        (state.backup(), state.written)
    }

    /// An older state comes back, its revision too. What happened since is gone, the history before it as well,
    /// and all watches end.
    pub fn restore(&self, backup: &Backup) {
        self.replace(|_| (backup.clone(), backup.revision));
    }

    /// Older objects come back with their old versions, but the revision goes on: it becomes the present one and
    /// `by` more (`etcdctl snapshot restore --bump-revision --mark-compacted`). All watches end, and none can go
    /// on from before.
    pub fn restore_bumped(&self, backup: &Backup, by: u64) {
        self.replace(|state| (backup.clone(), state.revision + by));
    }

    /// The API server was restarted: its cache has no events yet, so that a watch from any older version gets
    /// 410, and all watches end.
    pub fn forget_history(&self) {
        self.replace(|state| (state.backup(), state.revision));
    }

    /// Another cluster answers here from now on: the kube-system namespace has this uid, without any event. All
    /// watches end.
    pub fn set_cluster_uid(&self, uid: &str) {
        self.replace(|state| {
            let mut backup = state.backup();
            let objects = Arc::make_mut(&mut backup.objects);
            for object in &mut objects[Kind::Namespace.index()] {
                if &**object.key() == "kube-system" {
                    *object = Arc::new(with_uid(object, uid));
                }
            }
            (backup, state.revision)
        });
    }

    /// The uid of the kube-system namespace; empty if there is none.
    pub fn cluster_uid(&self) -> String {
        self.get(Kind::Namespace, "", "kube-system").map(|o| o.string_at("metadata.uid")).unwrap_or_default()
    }

    /// Replaces everything by a backup at a revision, and ends all watches.
    fn replace(&self, with: impl FnOnce(&State) -> (Backup, u64)) {
        let mut state = self.lock();
        let (backup, revision) = with(&state);
        for kind in Kind::ALL {
            let objects = backup.objects(kind).iter().map(|object| (object.version(), object.clone()));
            state.kinds[kind.index()] = KindState::replaced_by(objects, revision);
        }
        state.cache.restart(revision);
        state.reached(revision, Instant::now(), What::Replaced(backup));
        state.generation += 1;
        drop(state);
        self.wake();
    }
}

impl State {
    fn backup(&self) -> Backup {
        let objects = Kind::ALL.map(|kind| self.kinds[kind.index()].live(u64::MAX).cloned().collect());
        Backup { revision: self.revision, objects: Arc::new(objects) }
    }
}

/// The same Namespace with another uid, at the same version.
fn with_uid(object: &Stored, uid: &str) -> Stored {
    let mut value = object.value();
    value["metadata"]["uid"] = uid.into();
    let text = value.to_string();
    let draft = Draft::parse(Kind::Namespace, &text).expect("an object that was stored");
    draft.render(object.version(), None)
}
