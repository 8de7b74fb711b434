//! What a source says of a single object; [`super::table`] applies it.

use super::object::{Key, Kind, Object, ObjectRef};

/// A change of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The object is now this.
    Upsert(Object),
    /// The object is gone.
    Delete(Key),
}

impl Change {
    /// The kind of the object.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Upsert(object) => object.kind(),
            Self::Delete(key) => key.kind,
        }
    }

    /// Which object it is about.
    pub fn key(&self) -> Key {
        match self {
            Self::Upsert(object) => object.key(),
            Self::Delete(key) => key.clone(),
        }
    }

    /// The namespace that the object is in; empty for a Namespace.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Upsert(object) => ObjectRef::from(object).parts().0,
            Self::Delete(key) => &key.namespace,
        }
    }
}
