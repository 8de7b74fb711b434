//! What a source says of a single object; [`super::table`] applies it.

use super::object::{Key, Object};

/// A change of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The object is now this.
    Upsert(Object),
    /// The object is gone.
    Delete(Key),
}
