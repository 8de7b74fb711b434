//! Objects as tables share them: a pointer, whichever kind it is.

use std::sync::Arc;

use super::{Keyed, Table, hash_key};
use crate::zone::object::{EndpointSlice, Key, Kind, Namespace, Object, ObjectRef, Pod, Service};

/// An object that generations share.
#[derive(Clone, Debug)]
pub(in crate::zone) enum Shared {
    /// See [`Namespace`].
    Namespace(Arc<Namespace>),
    /// See [`Service`].
    Service(Arc<Service>),
    /// See [`EndpointSlice`].
    EndpointSlice(Arc<EndpointSlice>),
    /// See [`Pod`].
    Pod(Arc<Pod>),
}

impl Shared {
    /// The object itself.
    pub(in crate::zone) fn as_ref(&self) -> ObjectRef<'_> {
        match self {
            Self::Namespace(o) => ObjectRef::Namespace(o),
            Self::Service(o) => ObjectRef::Service(o),
            Self::EndpointSlice(o) => ObjectRef::EndpointSlice(o),
            Self::Pod(o) => ObjectRef::Pod(o),
        }
    }
}

impl From<Object> for Shared {
    fn from(object: Object) -> Self {
        match object {
            Object::Namespace(o) => Self::Namespace(Arc::new(o)),
            Object::Service(o) => Self::Service(Arc::new(o)),
            Object::EndpointSlice(o) => Self::EndpointSlice(Arc::new(o)),
            Object::Pod(o) => Self::Pod(Arc::new(o)),
        }
    }
}

impl Table {
    /// The object of this key, as a pointer of its own.
    pub(in crate::zone) fn shared_object(&self, key: &Key) -> Option<Shared> {
        let (namespace, name) = (key.namespace.as_bytes(), key.name.as_bytes());
        let hash = hash_key(namespace, name);
        match key.kind {
            Kind::Namespace => {
                let found = self.namespaces.get(hash_key(b"", name), |o| o.0.name == key.name)?;
                Some(Shared::Namespace(found.0.clone()))
            }
            Kind::Service => self.entry(namespace, name)?.service.clone().map(Shared::Service),
            Kind::EndpointSlice => {
                let found = self.slices.get(hash, |o| o.0.has_key(namespace, name))?;
                Some(Shared::EndpointSlice(found.0.clone()))
            }
            Kind::Pod => {
                let found = self.pods.get(hash, |o| o.0.has_key(namespace, name))?;
                Some(Shared::Pod(found.0.clone()))
            }
        }
    }

    /// Every object, as a pointer of its own.
    pub(super) fn shared(&self) -> impl Iterator<Item = Shared> {
        let namespaces = self.namespaces.iter().map(|o| Shared::Namespace(o.0.clone()));
        let services = self.services.iter().filter_map(|e| e.service.clone()).map(Shared::Service);
        let slices = self.slices.iter().map(|o| Shared::EndpointSlice(o.0.clone()));
        let pods = self.pods.iter().map(|o| Shared::Pod(o.0.clone()));
        namespaces.chain(services).chain(slices).chain(pods)
    }
}
