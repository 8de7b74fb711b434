//! One object by itself, as an API server sends it.
//!
//! Invariants:
//! * One pass over the text; a second one, over the metadata alone, only for an object that cannot be read.
//! * An object that cannot be read is not the same as one that is not there: it is told apart by its key.

use super::convert::convert;
use super::drops::{Drops, Reason};
use super::names::quote;
use super::raw::{Item, Metadata};
use crate::source::{Trigger, Wanted};
use crate::zone::object::{Key, Kind, Object};

/// An object, and what its metadata says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Decoded {
    /// Which object.
    pub(in crate::source) key: Key,
    /// `metadata.resourceVersion`; 0 if it is missing or not a number.
    pub(in crate::source) version: u64,
    /// `metadata.uid`; empty if it is missing.
    pub(in crate::source) uid: Box<str>,
    /// What is left of it for DNS.
    pub(in crate::source) object: Slim,
    /// For an EndpointSlice.
    pub(in crate::source) trigger: Option<Trigger>,
}

/// What an object is to DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum Slim {
    /// These facts.
    Facts(Object),
    /// Nothing (a finished pod, a slice of names): as good as not there.
    Nothing,
    /// Its metadata could be read and the rest could not: not known.
    Unreadable {
        /// What is wrong with it.
        why: String,
    },
}

/// Decodes one object of `kind`, in JSON. What no API server would have accepted is counted in `drops`; an
/// object of which nothing is left for that is [`Slim::Nothing`].
///
/// Fails if not even its name can be read, with what is wrong.
pub(in crate::source) fn decode(
    kind: Kind,
    text: &[u8],
    wanted: Wanted,
    drops: &mut Drops,
) -> Result<Decoded, String> {
    let read = serde_json::from_slice::<Item>(text);
    let (metadata, item) = match read {
        Ok(mut item) => {
            let metadata = item.metadata.take().unwrap_or_default();
            (metadata, Ok(item))
        }
        Err(error) => match serde_json::from_slice::<Stub>(text) {
            Ok(stub) => (stub.metadata.unwrap_or_default(), Err(error.to_string())),
            Err(_) => return Err(format!("not an object of kind {kind}: {error}")),
        },
    };
    if metadata.name.is_empty() {
        return Err(format!("an object of kind {kind} without a name"));
    }
    // Namespaces have none; one that says so nevertheless is still the same namespace.
    let namespace = if kind == Kind::Namespace { Box::default() } else { metadata.namespace.clone() };
    let key = Key { kind, namespace, name: metadata.name.clone() };
    let version = metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0);
    let uid = metadata.uid.clone().unwrap_or_default();
    let at_ms = metadata.annotations.trigger_time.as_deref().and_then(unix_milliseconds);
    let object = match item {
        Ok(item) => match convert(kind, Item { metadata: Some(metadata), ..item }, wanted, drops) {
            Some(object) => Slim::Facts(object),
            None => Slim::Nothing,
        },
        Err(why) => {
            drops.note(kind, Reason::Unreadable, || {
                format!("{kind} {} in namespace {}: {why}", quote(&key.name), quote(&key.namespace))
            });
            Slim::Unreadable { why }
        }
    };
    let trigger = match (&object, at_ms) {
        (Slim::Facts(Object::EndpointSlice(slice)), Some(at_ms)) if !slice.service.is_empty() => {
            Some(Trigger { service: slice.service.clone(), at_ms })
        }
        _ => None,
    };
    Ok(Decoded { key, version, uid, object, trigger })
}

/// An object of which only the metadata is looked at.
#[derive(serde::Deserialize)]
struct Stub {
    /// Name and version.
    metadata: Option<Metadata>,
}

/// An RFC 3339 time as Unix milliseconds; `None` for any other text, and for times before 1970.
fn unix_milliseconds(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    time.as_millisecond().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(kind: Kind, text: &str) -> (Result<Decoded, String>, Drops) {
        let mut drops = Drops::default();
        let decoded = decode(kind, text.as_bytes(), Wanted::ALL, &mut drops);
        (decoded, drops)
    }

    #[test]
    fn a_slice_as_the_api_server_sends_it() {
        let text = r#"{"metadata":{"name":"web-x","namespace":"shop","uid":"2c27","resourceVersion":"301",
            "labels":{"kubernetes.io/service-name":"web"},
            "annotations":{"other":"x","endpoints.kubernetes.io/last-change-trigger-time":"2026-11-22T16:57:44.5Z"},
            "managedFields":[{"fieldsV1":{"f:addressType":{}}}]},
            "addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":true}}],"ports":null}"#;
        let (decoded, drops) = read(Kind::EndpointSlice, text);
        let decoded = decoded.unwrap();
        assert!(drops.is_empty());
        assert_eq!(decoded.key.name.as_ref(), "web-x");
        assert_eq!((decoded.version, &*decoded.uid), (301, "2c27"));
        assert_eq!(decoded.trigger, Some(Trigger { service: "web".into(), at_ms: 1_795_366_664_500 }));
        assert!(matches!(decoded.object, Slim::Facts(Object::EndpointSlice(_))), "{decoded:?}");
    }

    #[test]
    fn what_an_object_is_to_dns() {
        struct Case {
            name: &'static str,
            kind: Kind,
            rest: &'static str,
            object: &'static str,
        }
        let cases = [
            Case {
                name: "null lists",
                kind: Kind::EndpointSlice,
                rest: r#""addressType":"IPv6","endpoints":null,"ports":null"#,
                object: "facts",
            },
            Case {
                name: "null parts",
                kind: Kind::Service,
                rest: r#""spec":{"clusterIPs":null,"ports":null},"status":null"#,
                object: "facts",
            },
            Case {
                name: "a pod that is over",
                kind: Kind::Pod,
                rest: r#""status":{"phase":"Failed","podIP":"10.0.0.1"}"#,
                object: "nothing",
            },
            Case {
                name: "a slice of names",
                kind: Kind::EndpointSlice,
                rest: r#""addressType":"FQDN""#,
                object: "nothing",
            },
            Case {
                name: "another type than the API's",
                kind: Kind::Service,
                rest: r#""spec":{"ports":{}}"#,
                object: "unreadable",
            },
            Case {
                name: "a list of no endpoints",
                kind: Kind::EndpointSlice,
                rest: r#""addressType":"IPv4","endpoints":"none""#,
                object: "unreadable",
            },
        ];
        for Case { name, kind, rest, object } in cases {
            let text =
                format!(r#"{{"metadata":{{"name":"a","namespace":"b","resourceVersion":"7"}},{rest}}}"#);
            let (decoded, drops) = read(kind, &text);
            let decoded = decoded.unwrap_or_else(|e| panic!("{name}: {e}"));
            let seen = match decoded.object {
                Slim::Facts(_) => "facts",
                Slim::Nothing => "nothing",
                Slim::Unreadable { .. } => "unreadable",
            };
            assert_eq!(seen, object, "{name}");
            assert_eq!((decoded.version, &*decoded.key.namespace), (7, "b"), "{name}");
            assert_eq!(drops.count(kind, Reason::Unreadable), u64::from(object == "unreadable"), "{name}");
        }
    }

    #[test]
    fn names_that_dns_cannot_carry_are_counted_and_known() {
        let (decoded, drops) = read(Kind::Service, r#"{"metadata":{"name":"A B","namespace":"b"}}"#);
        let decoded = decoded.unwrap();
        assert_eq!((&*decoded.key.name, decoded.object), ("A B", Slim::Nothing));
        assert_eq!(drops.count(Kind::Service, Reason::Name), 1);
    }

    #[test]
    fn without_a_name_there_is_no_object() {
        for text in ["", "null", "[]", "{", "{}", r#"{"metadata":null}"#, r#"{"metadata":{"name":5}}"#] {
            assert!(read(Kind::Service, text).0.is_err(), "{text}");
        }
    }

    #[test]
    fn versions_and_times_that_are_none() {
        let text = r#"{"metadata":{"name":"a","namespace":"b","resourceVersion":"x7","uid":null,
            "labels":{"kubernetes.io/service-name":"web"},
            "annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"yesterday"}},"addressType":"IPv4"}"#;
        let decoded = read(Kind::EndpointSlice, text).0.unwrap();
        assert_eq!((decoded.version, &*decoded.uid, decoded.trigger), (0, "", None));
        for (text, ms) in [
            ("1970-01-01T00:00:01Z", Some(1000)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1969-12-31T23:59:59Z", None),
            ("", None),
        ] {
            assert_eq!(unix_milliseconds(text), ms, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(Kind::Service, &text, Wanted::ALL, &mut Drops::default());
        }
    }
}
