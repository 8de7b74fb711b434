//! What outlives a configuration: the process has it from its start to its end, and a reload hands it from the
//! plugins of the old configuration to those of the new one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::plugins::cache;
use crate::forward::cache::Limits;
use crate::ops::jitter::Jitter;

/// Everything that is handed on; empty at the process's start.
pub struct Carried {
    /// The caches by identity, for as long as a configuration uses them. Held for a look only.
    caches: Mutex<BTreeMap<String, Weak<cache::Shared>>>,
    /// What caches take their jitter from.
    jitter: Jitter,
}

impl Default for Carried {
    fn default() -> Self {
        Self::with_jitter(Jitter::for_process())
    }
}

impl Carried {
    /// With a jitter that tests can seed.
    pub fn with_jitter(jitter: Jitter) -> Self {
        Self { caches: Mutex::default(), jitter }
    }

    /// The cache of this identity: that of the configuration before, with its bounds, or a new one with these. One
    /// that no configuration uses any more is gone.
    pub fn cache(&self, identity: &str, limits: Limits) -> Arc<cache::Shared> {
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        caches.retain(|_, cache| cache.strong_count() > 0);
        if let Some(cache) = caches.get(identity).and_then(Weak::upgrade) {
            return cache;
        }
        let cache = Arc::new(cache::Shared::new(limits, self.jitter.fork()));
        caches.insert(identity.to_owned(), Arc::downgrade(&cache));
        cache
    }
}
