//! A typo in a selector: a reload that would answer for no service any more, although there are some, is refused.
//!
//! It looks like a list from which everything is missing, and the store's guard never sees it: selectors are applied to
//! answers. A start takes what is written as it is, because nobody is used to anything else yet.

use std::sync::Arc;

use crate::store::Store;
use crate::zone::rules::Rules;

/// What one `kubernetes` block selects, and from what.
#[derive(Clone)]
pub struct Selection {
    /// The zone that it is of, for people.
    pub zone: String,
    /// What is selected.
    pub rules: Rules,
    /// From what.
    pub store: Arc<Store>,
}

impl Selection {
    /// Whether any service is answered.
    fn selects_any(&self) -> bool {
        self.rules.selects_any(&self.store.current().table)
    }

    /// How many services there are.
    fn services(&self) -> usize {
        self.store.current().table.services().filter(|entry| entry.service().is_some()).count()
    }
}

/// Why the selections of a new configuration are not taken over from those that hold; `None` where they may be.
pub(super) fn refusal(held: &[Selection], new: &[Selection]) -> Option<String> {
    let selected = |zone: &str| held.iter().any(|held| held.zone == zone && held.selects_any());
    let lost = new.iter().find(|new| new.services() > 0 && !new.selects_any() && selected(&new.zone))?;
    Some(format!(
        "none of the {} services of zone {} would be answered any more: look at 'namespaces', 'namespace_labels' and \
         'labels'; if that is meant, a restart takes it as it is",
        lost.services(),
        lost.zone
    ))
}
