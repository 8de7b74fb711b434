//! What a document is: an object, or a list of documents, taken apart while it streams by.
//!
//! A list hands each of its items on as soon as that is complete; nothing is held of a list itself. Lists may
//! stand in lists; the parsers bound how deep.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Decoder;
use super::names::quote;
use super::raw::Item;
use crate::zone::object::Kind;

/// What the text should have held, for people.
const EXPECTED: &str = "a Kubernetes object or a List of objects, as `kubectl get ns,svc,endpointslices,pods -A -o json` prints them";

/// `kind` and `apiVersion` of an object.
#[derive(Clone, Debug, Default)]
struct Type {
    /// Such as `Service` or `List`.
    kind: Option<Box<str>>,
    /// Such as `v1` or `discovery.k8s.io/v1`.
    api_version: Option<Box<str>>,
}

impl Type {
    /// The kind of ours that it stands for; `None` for every other. Other groups have a Service as well.
    fn known(&self) -> Option<Kind> {
        let kind = self.kind.as_deref()?;
        let kind = Kind::ALL.into_iter().find(|k| k.as_str() == kind)?;
        let ours = match (&self.api_version, kind) {
            (None, _) => true,
            (Some(version), Kind::EndpointSlice) => version.starts_with("discovery.k8s.io/"),
            (Some(version), Kind::Namespace | Kind::Service | Kind::Pod) => &**version == "v1",
        };
        ours.then_some(kind)
    }

    /// Whether it stands for a list: `List`, or a typed one such as `ServiceList`.
    fn is_list(&self) -> bool {
        self.kind.as_deref().is_some_and(|k| k.ends_with("List"))
    }

    /// What items without a type of their own have: those of a `ServiceList` as the API prints it are
    /// services of its version. Those of a plain `List` carry their own.
    fn of_items(&self) -> Self {
        let kind = self.kind.as_deref().and_then(|k| k.strip_suffix("List")).filter(|k| !k.is_empty());
        Self { kind: kind.map(Into::into), api_version: kind.and(self.api_version.clone()) }
    }

    /// The name to count it by: the kind, with its group if the kind alone would be taken for one of ours.
    fn label(&self) -> String {
        let kind = self.kind.as_deref().unwrap_or_default();
        let group = self.api_version.as_deref().and_then(|v| v.split_once('/')).map(|(group, _)| group);
        match group {
            Some(group) if Kind::ALL.iter().any(|k| k.as_str() == kind) => format!("{kind}.{group}"),
            _ => kind.to_owned(),
        }
    }
}

/// Decodes one document into `decoder`.
pub(super) struct Document<'a> {
    /// Takes the objects.
    decoder: &'a mut Decoder,
    /// What the document is if it does not say so itself.
    inherited: Type,
}

impl<'a> Document<'a> {
    /// A document that stands on its own.
    pub(super) fn of(decoder: &'a mut Decoder) -> Self {
        Self { decoder, inherited: Type::default() }
    }
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// The fields of a document; all others are skipped.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    ApiVersion,
    Kind,
    Items,
    Metadata,
    Spec,
    Status,
    AddressType,
    Endpoints,
    Ports,
    #[serde(other)]
    Other,
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut own = Type::default();
        let mut item = Item::default();
        let mut has_items = false;
        while let Some(field) = map.next_key()? {
            match field {
                Field::ApiVersion => own.api_version = map.next_value()?,
                Field::Kind => own.kind = map.next_value()?,
                Field::Items => {
                    has_items = true;
                    map.next_value_seed(Items { decoder: &mut *self.decoder, of: own.of_items() })?;
                }
                // Once it is known to be of a foreign kind its fields may have any type.
                _ if own.kind.is_some() && own.known().is_none() => drop(map.next_value::<IgnoredAny>()?),
                Field::Metadata => item.metadata = map.next_value()?,
                Field::Spec => item.spec = map.next_value()?,
                Field::Status => item.status = map.next_value()?,
                Field::AddressType => item.address_type = map.next_value()?,
                Field::Endpoints => item.endpoints = map.next_value::<Option<_>>()?.unwrap_or_default(),
                Field::Ports => item.ports = map.next_value::<Option<_>>()?.unwrap_or_default(),
                Field::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if own.kind.is_none() && !has_items {
            own = Type { api_version: own.api_version.or(self.inherited.api_version), ..self.inherited };
        }
        match own.known() {
            // `kubectl` prints the kind of a list last: one without is a text cut short.
            _ if own.kind.is_none() => {
                let what = if has_items { "a list" } else { "an object" };
                Err(Error::custom(format_args!("{what} without \"kind\"; expected {EXPECTED}")))
            }
            _ if own.is_list() => Ok(()),
            _ if has_items => {
                let kind = quote(own.kind.as_deref().unwrap_or_default());
                Err(Error::custom(format_args!("\"items\" in an object of kind {kind}; expected {EXPECTED}")))
            }
            Some(kind) => {
                self.decoder.take(kind, item);
                Ok(())
            }
            None => {
                self.decoder.found.skipped.note(&own.label(), 1);
                Ok(())
            }
        }
    }
}

/// The `items` of a list.
struct Items<'a> {
    /// Takes the objects.
    decoder: &'a mut Decoder,
    /// What an item is that does not say so itself.
    of: Type,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence of objects")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        loop {
            let item = Document { decoder: &mut *self.decoder, inherited: self.of.clone() };
            if items.next_element_seed(item)?.is_none() {
                return Ok(());
            }
        }
    }
}
