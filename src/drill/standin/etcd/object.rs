//! Objects as they are stored: the JSON text that goes on the wire, with the place of its resourceVersion.
//!
//! Invariants: the text is one JSON object without `kind` and `apiVersion` (lists do not have them, watches and
//! single objects get them in front), begins with `{"metadata":{`, and has the fields of `metadata` in the order
//! in which an API server writes them. Only this file looks into texts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::ids;
use crate::zone::object::{Kind, Labels};

/// What `put` was given is not an object that can be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("storing a {kind}: {problem}")]
pub struct ObjectError {
    /// The kind that it was to be stored as.
    kind: Kind,
    /// What is wrong with it.
    problem: String,
}

/// One object at one revision. Shared by everybody who reads it.
#[derive(Debug)]
pub struct Stored {
    /// `namespace/name`, or `name` of a Namespace: the order of lists.
    key: Arc<str>,
    /// See the module.
    text: Bytes,
    /// Where the digits of the resourceVersion are in the text.
    version_at: Range<usize>,
    /// For label selectors.
    labels: Labels,
}

impl Stored {
    /// `namespace/name`; `name` for a Namespace.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// The namespace; empty for a Namespace.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(_, name)| name)
    }

    /// The JSON text, without `kind` and `apiVersion`.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// The JSON as a value, without `kind` and `apiVersion`.
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_slice(&self.text).unwrap_or_default()
    }

    /// The text as it is shared with connections.
    pub(in super::super) fn bytes(&self) -> &Bytes {
        &self.text
    }

    /// Its labels.
    pub(in super::super) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The resourceVersion in the text.
    pub fn version(&self) -> u64 {
        self.text().get(self.version_at.clone()).and_then(|v| v.parse().ok()).unwrap_or_default()
    }

    /// The same object with another resourceVersion: how a deletion is told.
    pub(in super::super) fn at_version(&self, version: u64) -> Self {
        let version = version.to_string();
        let (before, after) = (&self.text[..self.version_at.start], &self.text[self.version_at.end..]);
        let text = [before, version.as_bytes(), after].concat();
        let version_at = self.version_at.start..self.version_at.start + version.len();
        Self { key: self.key.clone(), text: text.into(), version_at, labels: self.labels.clone() }
    }

    /// A top-level field of `metadata` as its JSON text.
    fn metadata_field(&self, name: &str) -> Option<String> {
        let object = Fields::parse(self.text()).ok()?;
        let metadata = Fields::parse(object.get("metadata")?).ok()?;
        metadata.get(name).map(str::to_owned)
    }

    /// The value at a path like `status.phase`, if it is a string: for field selectors.
    pub(in super::super) fn string_at(&self, path: &str) -> String {
        let mut text = self.text().to_owned();
        for part in path.split('.') {
            let inner = Fields::parse(&text).ok().and_then(|fields| fields.get(part).map(str::to_owned));
            let Some(inner) = inner else { return String::new() };
            text = inner;
        }
        serde_json::from_str(&text).unwrap_or_default()
    }
}

/// The fields of `metadata`, as an API server orders them.
const METADATA_ORDER: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// An object that was read and not yet written.
pub(super) struct Draft<'a> {
    /// What it is stored as.
    kind: Kind,
    /// Its key.
    pub(super) key: Arc<str>,
    /// Its own resourceVersion, if it has one.
    version: Option<u64>,
    /// Its labels.
    labels: Labels,
    /// The fields of `metadata`.
    metadata: Fields<'a>,
    /// The other fields.
    rest: Fields<'a>,
}

impl<'a> Draft<'a> {
    /// Reads an object of `kind`.
    ///
    /// # Errors
    /// When it is not a JSON object with a name, and a namespace where the kind has one.
    pub(super) fn parse(kind: Kind, text: &'a str) -> Result<Self, ObjectError> {
        let fail = |problem: String| ObjectError { kind, problem };
        let mut rest = Fields::parse(text).map_err(|e| fail(e.to_string()))?;
        let metadata = rest.get("metadata").ok_or_else(|| fail("it has no metadata".to_owned()))?;
        let metadata = Fields::parse(metadata).map_err(|e| fail(format!("metadata: {e}")))?;
        rest.0.retain(|(name, _)| !matches!(&**name, "kind" | "apiVersion" | "metadata"));
        let text_of = |field: &str| match metadata.get(field) {
            None | Some("null") => Ok(String::new()),
            Some(json) => {
                serde_json::from_str::<String>(json).map_err(|e| fail(format!("metadata.{field}: {e}")))
            }
        };
        let (namespace, name) = (text_of("namespace")?, text_of("name")?);
        let version = text_of("resourceVersion")?.parse().ok();
        if name.is_empty() || name.contains('/') || namespace.contains('/') {
            return Err(fail("metadata.name is missing, or has a `/`".to_owned()));
        }
        let key: Arc<str> = match kind {
            Kind::Namespace => name.into(),
            _ if namespace.is_empty() => return Err(fail("metadata.namespace is missing".to_owned())),
            _ => format!("{namespace}/{name}").into(),
        };
        let labels: Option<BTreeMap<Box<str>, Box<str>>> = match metadata.get("labels") {
            None => None,
            Some(json) => serde_json::from_str(json).map_err(|e| fail(format!("metadata.labels: {e}")))?,
        };
        let labels = labels.unwrap_or_default().into_iter().collect();
        Ok(Self { kind, key, version, labels, metadata, rest })
    }

    /// Its own resourceVersion, where that is after `revision`.
    ///
    /// # Errors
    /// Where it is not, or is missing.
    pub(super) fn version_after(&self, revision: u64) -> Result<u64, ObjectError> {
        let problem = match self.version {
            Some(version) if version > revision => return Ok(version),
            Some(version) => format!("{} at {version}: the store is at {revision} already", self.key),
            None => format!("{} has no resourceVersion", self.key),
        };
        Err(ObjectError { kind: self.kind, problem })
    }

    /// The object at `version`. What it does not say itself it takes from the one that it replaces: uid and
    /// creationTimestamp; without that, they are made up.
    pub(super) fn render(&self, version: u64, before: Option<&Stored>) -> Stored {
        let own = |field: &str| {
            let given =
                self.metadata.get(field).filter(|v| !matches!(*v, "null" | "\"\"")).map(str::to_owned);
            given.or_else(|| before.and_then(|b| b.metadata_field(field)))
        };
        let uid = own("uid").unwrap_or_else(|| format!("\"{}\"", ids::uuid()));
        let created = own("creationTimestamp").unwrap_or_else(|| format!("\"{}\"", ids::timestamp()));
        let size: usize =
            self.rest.0.iter().chain(&self.metadata.0).map(|(k, v)| k.len() + v.get().len() + 4).sum();
        let mut text = String::with_capacity(size + 160);
        let mut version_at = 0..0;
        text.push_str("{\"metadata\":{");
        let unknown = self.metadata.0.iter().map(|(k, _)| &**k).filter(|k| !METADATA_ORDER.contains(k));
        for field in METADATA_ORDER.into_iter().chain(unknown) {
            let json = match field {
                "uid" => Some(&*uid),
                "creationTimestamp" => Some(&*created),
                "resourceVersion" => {
                    text.push_str("\"resourceVersion\":\"");
                    let start = text.len();
                    text.push_str(&version.to_string());
                    version_at = start..text.len();
                    text.push_str("\",");
                    None
                }
                _ => self.metadata.get(field),
            };
            if let Some(json) = json {
                push_field(&mut text, field, json);
                text.push(',');
            }
        }
        text.pop();
        text.push('}');
        for (field, json) in &self.rest.0 {
            text.push(',');
            push_field(&mut text, field, json.get());
        }
        text.push('}');
        // There are a million of them.
        text.shrink_to_fit();
        debug_assert!(!version_at.is_empty(), "a {} always gets its version", self.kind);
        Stored { key: self.key.clone(), text: text.into(), version_at, labels: self.labels.clone() }
    }
}

/// Appends `"name":json`.
fn push_field(text: &mut String, name: &str, json: &str) {
    text.push_str(&serde_json::to_string(name).unwrap_or_default());
    text.push(':');
    text.push_str(json);
}

/// The fields of a JSON object, in their order, values as they are written.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let fields = deserializer.deserialize_map(InOrder)?;
        deserializer.end().map_err(serde_json::Error::custom)?;
        Ok(fields)
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.get())
    }
}
