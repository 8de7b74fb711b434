//! Objects in full size: what an API server stores of the few facts that DNS needs.
//!
//! A slim object of [`crate::zone`] becomes the JSON text of the whole object around it: managedFields, labels,
//! annotations, owners, references to pods with their uids, nodes, zones, conditions, status. Fields come in the
//! order in which an API server writes them, sizes are those of real clusters: a slice of 100 endpoints has 30
//! to 40 kB, a service 1.5 to 2.5 kB.
//!
//! Invariants: texts are written as text, one object at a time, so that a cluster costs the memory of its texts;
//! read back, a text gives exactly the slim object that it was made from (beside labels, which are more); the
//! same object gives the same text in every run.
//!
//! Known limits: every endpoint is ready, because slim objects have no others.

mod meta;
mod pod;
mod service;
mod slice;
mod text;

use bytes::Bytes;

use self::meta::{Manager, Metadata};
use self::text::Text;
use super::ids;
use crate::zone::object::{Kind, Namespace, ObjectRef};

/// When the slices of a cluster changed for the last time, where nothing else is said.
const LONG_AGO: &str = "2026-11-22T16:56:59Z";

/// An object as an API server stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for a Namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its JSON, on one line, with `kind` and `apiVersion` and without a resourceVersion.
    pub text: Bytes,
}

/// The object around these facts.
pub fn full(object: ObjectRef<'_>) -> Full {
    let (namespace, name) = object.parts();
    let text = Bytes::copy_from_slice(Printer::default().print(object).as_bytes());
    Full { kind: object.kind(), namespace: namespace.into(), name: name.into(), text }
}

/// Writes objects one after the other, each into the room of the one before.
#[derive(Debug, Default)]
pub struct Printer {
    /// The last text.
    text: Text,
    /// When slices say that they changed; empty for [`LONG_AGO`].
    triggered: String,
}

impl Printer {
    /// One whose EndpointSlices say that they have changed just now.
    pub fn of_changes() -> Self {
        Self { text: Text::default(), triggered: ids::timestamp() }
    }

    /// The JSON of the object around these facts, as in [`Full::text`].
    pub fn print(&mut self, object: ObjectRef<'_>) -> &str {
        let out = &mut self.text;
        out.clear();
        let version = match object.kind() {
            Kind::EndpointSlice => "discovery.k8s.io/v1",
            Kind::Namespace | Kind::Service | Kind::Pod => "v1",
        };
        out.raw("{\"kind\":").quoted(object.kind()).raw(",\"apiVersion\":").string(version).raw(",");
        match object {
            ObjectRef::Namespace(o) => namespace(o, out),
            ObjectRef::Service(o) => service::write(o, out),
            ObjectRef::EndpointSlice(o) => {
                let triggered = if self.triggered.is_empty() { LONG_AGO } else { &self.triggered };
                slice::write(o, triggered, out);
            }
            ObjectRef::Pod(o) => pod::write(o, out),
        }
        out.as_str()
    }
}

/// Writes all of a Namespace but the bracket that opens it.
fn namespace(o: &Namespace, out: &mut Text) {
    let mut labels: Vec<_> = o.labels.iter().map(|(key, value)| (&**key, &**value)).collect();
    labels.push(("kubernetes.io/metadata.name", &o.name));
    Metadata {
        name: &o.name,
        labels,
        manager: Manager { name: "kubectl-create", version: "v1", before: "", after: "" },
        ..Metadata::default()
    }
    .write(Kind::Namespace, out);
    out.raw(",\"spec\":{\"finalizers\":[\"kubernetes\"]},\"status\":{\"phase\":\"Active\"}}");
}

#[cfg(test)]
mod tests;
