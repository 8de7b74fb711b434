//! Counters with the label `server`: a block may be asked by several listeners, and a plugin does not know by
//! which before a query comes.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::node::query::Query;

/// One set of counters for each listener, made with its first query: at most as many as the block has keys and
/// addresses.
pub(super) struct ByServer<T> {
    /// By the listener's identity; a handful.
    sets: ArcSwap<Vec<(Box<str>, Arc<T>)>>,
    /// Makes the set of a listener of this identity.
    make: Box<dyn Fn(&str) -> T + Send + Sync>,
}

impl<T> ByServer<T> {
    /// Sets that `make` makes from a listener's identity, e.g. `dns://:53`.
    pub(super) fn new(make: impl Fn(&str) -> T + Send + Sync + 'static) -> Self {
        Self { sets: ArcSwap::default(), make: Box::new(make) }
    }

    /// The set of the listener that a query came in by.
    pub(super) fn of(&self, query: &Query) -> Arc<T> {
        let server = query.router().identity();
        let find = |sets: &[(Box<str>, Arc<T>)]| {
            sets.iter().find(|(name, _)| **name == *server).map(|(_, set)| set.clone())
        };
        if let Some(set) = find(&self.sets.load()) {
            return set;
        }
        let set = Arc::new((self.make)(server));
        // Two queries may come to this at once; counters of one name and labels are the same counter.
        self.sets.rcu(|sets| {
            let mut sets = Vec::clone(sets);
            if find(&sets).is_none() {
                sets.push((server.into(), set.clone()));
            }
            sets
        });
        set
    }
}
