//! Changes of single objects, and the difference between two states.

use super::object::{Key, Object};

/// A change of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The object is now this.
    Upsert(Object),
    /// The object is gone.
    Delete(Key),
}
