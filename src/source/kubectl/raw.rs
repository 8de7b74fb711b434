//! The fields of Kubernetes objects that DNS needs, as the API names them.
//!
//! An item's `kind` may come after its other fields, so one [`Item`] has the fields of all four kinds, all
//! optional; `null` stands for an absent value everywhere, since the API server prints empty lists so. Fields
//! that are not named here are skipped in the stream without being stored.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// An object of any of the four kinds.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct Item {
    /// Name, namespace and labels.
    pub(super) metadata: Option<Metadata>,
    /// Of a Service.
    pub(super) spec: Option<Spec>,
    /// Of a Pod.
    pub(super) status: Option<Status>,
    /// Of an EndpointSlice: `IPv4`, `IPv6` or `FQDN`.
    pub(super) address_type: Option<Box<str>>,
    /// Of an EndpointSlice.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) endpoints: Vec<Endpoint>,
    /// Of an EndpointSlice.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) ports: Vec<Port>,
}

/// `metadata`
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the object's metadata")]
pub(super) struct Metadata {
    /// Empty if absent.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) name: Box<str>,
    /// Empty if absent.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) namespace: Box<str>,
    /// In the order of the text.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) labels: LabelList,
    /// When it is set the object is on its way out; the time itself does not matter.
    #[serde(default)]
    pub(super) deletion_timestamp: Option<IgnoredAny>,
    /// A number in decimal.
    pub(super) resource_version: Option<Box<str>>,
    /// Of this object among all that ever had its name.
    pub(super) uid: Option<Box<str>>,
    /// The one that is of use.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) annotations: Annotations,
}

/// `annotations`: most objects have long ones (`kubectl.kubernetes.io/last-applied-configuration`), of which
/// nothing is stored.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(expecting = "annotations, a mapping of strings to strings")]
pub(super) struct Annotations {
    /// Of an EndpointSlice: when what set its last change off happened, in RFC 3339.
    #[serde(rename = "endpoints.kubernetes.io/last-change-trigger-time")]
    pub(super) trigger_time: Option<Box<str>>,
}

/// `spec` of a Service.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the object's spec")]
pub(super) struct Spec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type")]
    pub(super) kind: Option<Box<str>>,
    /// The primary cluster address, or `None` for a headless service.
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: Option<Box<str>>,
    /// All cluster addresses, primary first.
    #[serde(rename = "clusterIPs", default, deserialize_with = "or_default")]
    pub(super) cluster_ips: Vec<Box<str>>,
    /// Of an ExternalName service.
    pub(super) external_name: Option<Box<str>>,
    /// The service's ports.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) ports: Vec<Port>,
}

/// `status` of a Pod.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the object's status")]
pub(super) struct Status {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub(super) phase: Option<Box<str>>,
    /// The primary address; absent until the pod has one.
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Option<Box<str>>,
}

/// One of `endpoints` of an EndpointSlice.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an endpoint")]
pub(super) struct Endpoint {
    /// Usually one.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) addresses: Vec<Box<str>>,
    /// Whether it takes traffic.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) conditions: Conditions,
    /// The pod's host name, if it has one of its own.
    pub(super) hostname: Option<Box<str>>,
    /// What is behind it, usually a pod.
    pub(super) target_ref: Option<TargetRef>,
}

/// `conditions` of an endpoint.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(expecting = "the endpoint's conditions")]
pub(super) struct Conditions {
    /// Absent means true.
    pub(super) ready: Option<bool>,
}

/// `targetRef` of an endpoint.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(expecting = "the endpoint's targetRef")]
pub(super) struct TargetRef {
    /// Name of the pod.
    pub(super) name: Option<Box<str>>,
}

/// A port of a Service or of an EndpointSlice.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(expecting = "a port")]
pub(super) struct Port {
    /// Empty if absent.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) name: Box<str>,
    /// The service's port, or the slice's target port.
    pub(super) port: Option<Number>,
    /// `TCP`, `UDP` or `SCTP`; empty if absent.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) protocol: Box<str>,
}

/// Reads `null` as the default.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(value: D) -> Result<T, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}

/// A number where a port number should be. That it is a number is a matter of type, and of [`Number`]; that
/// it can be a port is a matter of value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// 1 to 65535.
    Port(u16),
    /// Any other number, as text.
    Absurd(Box<str>),
}

impl Number {
    fn new(number: impl TryInto<u16> + ToString + Copy) -> Self {
        match number.try_into() {
            Ok(port) if port > 0 => Self::Port(port),
            _ => Self::Absurd(number.to_string().into()),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Takes numbers of any size.
        struct AnyNumber;

        impl Visitor<'_> for AnyNumber {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number from 1 to 65535")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
                Ok(Number::new(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number::new(number))
            }

            fn visit_i128<E: Error>(self, number: i128) -> Result<Number, E> {
                Ok(Number::new(number))
            }

            fn visit_u128<E: Error>(self, number: u128) -> Result<Number, E> {
                Ok(Number::new(number))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
                Ok(Number::Absurd(number.to_string().into()))
            }
        }

        deserializer.deserialize_any(AnyNumber)
    }
}

/// `labels`, in the order of the text.
#[derive(Debug, Default)]
pub(super) struct LabelList(pub(super) Vec<(Box<str>, Box<str>)>);

impl<'de> Deserialize<'de> for LabelList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Takes a mapping of strings.
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = LabelList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels, a mapping of strings to strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LabelList, A::Error> {
                // Not sized by a hint: the text could promise more than it holds.
                let mut pairs = Vec::new();
                while let Some(key) = map.next_key()? {
                    let value: Option<Box<str>> = map.next_value()?;
                    pairs.push((key, value.unwrap_or_default()));
                }
                Ok(LabelList(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}
