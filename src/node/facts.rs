//! Facts: what plugins know of a query and say to others under a label such as `kubernetes/namespace` (CoreDNS
//! calls it metadata). Collected only where the `metadata` plugin asks for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Most labels of one query: what plugins say is a handful, and pods have at most some dozens.
const MAX: usize = 256;

/// The facts of one query; those that it leads to share them.
#[derive(Debug, Default)]
pub struct Facts {
    /// By label; held for one access only.
    values: Mutex<BTreeMap<String, String>>,
}

impl Facts {
    /// Says a fact; what was said before under the label is forgotten.
    pub fn set(&self, label: impl Into<String>, value: impl Into<String>) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if values.len() < MAX {
            values.insert(label.into(), value.into());
        }
    }

    /// What was said under `label`.
    pub fn get(&self, label: &str) -> Option<String> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).get(label).cloned()
    }
}
