//! What set changes off lately, for those who pass them on: it is no part of the state.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::zone::object::Key;

/// How many are remembered until somebody asks: far more than change within the time that changes are gathered in.
const MAX_TRIGGERS: usize = 65_536;

/// When what set the last change of an object off happened, Unix milliseconds.
#[derive(Debug, Default)]
pub struct Triggers(Mutex<HashMap<Key, u64>>);

impl Triggers {
    /// Remembers it; beyond the limit it is not known.
    pub(super) fn note(&self, key: Key, at_ms: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_TRIGGERS {
            all.insert(key, at_ms);
        }
    }

    /// All of them, which are forgotten with it.
    pub fn take(&self) -> HashMap<Key, u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
