//! `metadata`: what every object has, in the order in which an API server writes it.

use super::super::ids;
use super::text::{Identity, Text};
use crate::zone::object::Kind;

/// Every object was created after this (2026-01-01T00:00:00Z, Unix seconds), …
const FIRST_CREATED: u64 = 1_767_225_600;

/// … within so many seconds, most of a year.
const CREATED_WITHIN: u64 = 320 * 86_400;

/// What varies of `metadata`. Labels and annotations are written sorted, one value a key.
#[derive(Debug, Default)]
pub(super) struct Metadata<'a> {
    /// The name.
    pub(super) name: &'a str,
    /// Empty where the name was not generated.
    pub(super) generate_name: &'a str,
    /// Empty for a Namespace.
    pub(super) namespace: &'a str,
    /// Of a kind that counts changes of its content.
    pub(super) generation: Option<u64>,
    /// The labels; of several values for a key the first counts.
    pub(super) labels: Vec<(&'a str, &'a str)>,
    /// The annotations.
    pub(super) annotations: Vec<(&'a str, &'a str)>,
    /// Kind and name of the controller that made it.
    pub(super) owner: Option<Owner<'a>>,
    /// Who wrote which fields.
    pub(super) manager: Manager<'a>,
}

/// What an object belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    /// Its `apiVersion`.
    pub(super) version: &'a str,
    /// Its `kind`.
    pub(super) kind: &'a str,
    /// Its name, in the same namespace.
    pub(super) name: &'a str,
    /// Its uid.
    pub(super) uid: Identity,
}

/// An entry of `managedFields`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manager<'a> {
    /// Who: `helm`, `kube-controller-manager`.
    pub(super) name: &'a str,
    /// The `apiVersion` that it wrote.
    pub(super) version: &'a str,
    /// Members of `fieldsV1` that come before `f:metadata`, each with a comma behind it.
    pub(super) before: &'a str,
    /// Members that come after it, each with a comma before it.
    pub(super) after: &'a str,
}

impl Metadata<'_> {
    /// Writes `"metadata":{…}`.
    pub(super) fn write(mut self, kind: Kind, out: &mut Text) {
        for list in [&mut self.labels, &mut self.annotations] {
            list.sort_by_key(|(key, _)| *key);
            list.dedup_by_key(|(key, _)| *key);
        }
        let identity = Identity::of(kind, self.namespace, self.name);
        let created = created(identity);
        out.raw("\"metadata\":{\"name\":").string(self.name).raw(",");
        out.optional("generateName", self.generate_name);
        out.optional("namespace", self.namespace);
        out.raw("\"uid\":").quoted(identity).raw(",");
        if let Some(generation) = self.generation {
            out.raw("\"generation\":").plain(generation).raw(",");
        }
        out.raw("\"creationTimestamp\":").string(&created).raw(",");
        for (name, list) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if !list.is_empty() {
                out.string(name).raw(":");
                out.object(list, |out, (key, value)| {
                    out.string(key).raw(":").string(value);
                });
                out.raw(",");
            }
        }
        if let Some(Owner { version, kind, name, uid }) = self.owner {
            out.raw("\"ownerReferences\":[{\"apiVersion\":").string(version).raw(",\"kind\":").string(kind);
            out.raw(",\"name\":").string(name).raw(",\"uid\":").quoted(uid);
            out.raw(",\"controller\":true,\"blockOwnerDeletion\":true}],");
        }
        self.managed_fields(&created, out);
        out.raw("}");
    }

    /// Writes `"managedFields":[…]` with one entry, which names every field that is there.
    fn managed_fields(&self, time: &str, out: &mut Text) {
        let Manager { name, version, before, after } = self.manager;
        out.raw("\"managedFields\":[{\"manager\":")
            .string(name)
            .raw(",\"operation\":\"Update\",\"apiVersion\":");
        out.string(version).raw(",\"time\":").string(time).raw(",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{");
        out.raw(before).raw("\"f:metadata\":");
        let names = |list: &[(&str, &str)]| -> Vec<String> {
            [".".to_owned()].into_iter().chain(list.iter().map(|(key, _)| format!("f:{key}"))).collect()
        };
        let owner = self.owner.map(|owner| vec![".".to_owned(), format!("k:{{\"uid\":\"{}\"}}", owner.uid)]);
        let members = [
            ("f:annotations", (!self.annotations.is_empty()).then(|| names(&self.annotations))),
            ("f:generateName", (!self.generate_name.is_empty()).then(Vec::new)),
            ("f:labels", (!self.labels.is_empty()).then(|| names(&self.labels))),
            ("f:ownerReferences", owner),
        ];
        out.object(members.iter().filter_map(|(f, of)| Some((f, of.as_ref()?))), |out, (field, of)| {
            out.string(field).raw(":").object(of, |out, name| {
                out.string(name).raw(":{}");
            });
        });
        out.raw(after).raw("}}]");
    }
}

/// When the object was created, as RFC 3339 has it.
fn created(identity: Identity) -> String {
    ids::rfc3339(FIRST_CREATED + identity.draw(1, CREATED_WITHIN))
}
