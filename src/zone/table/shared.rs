//! Objects as tables share them: a pointer, whichever kind it is.

use std::sync::Arc;

use super::Table;
use crate::zone::object::{EndpointSlice, Namespace, Object, ObjectRef, Pod, Service};

/// An object that generations share.
#[derive(Clone, Debug)]
pub(super) enum Shared {
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
    pub(super) fn as_ref(&self) -> ObjectRef<'_> {
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
    /// Every object, as a pointer of its own.
    pub(super) fn shared(&self) -> impl Iterator<Item = Shared> {
        let namespaces = self.namespaces.iter().map(|o| Shared::Namespace(o.0.clone()));
        let services = self.services.iter().filter_map(|e| e.service.clone()).map(Shared::Service);
        let slices = self.slices.iter().map(|o| Shared::EndpointSlice(o.0.clone()));
        let pods = self.pods.iter().map(|o| Shared::Pod(o.0.clone()));
        namespaces.chain(services).chain(slices).chain(pods)
    }
}
