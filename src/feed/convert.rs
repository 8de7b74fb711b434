//! Between the zone's objects and the messages of the feed, without loss in either direction.
//!
//! Messages come from disks and networks: every length, number and list is checked before it is believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use super::wire;
use crate::zone::object::{
    Addresses, EndpointSlice, Endpoints, Kind, Labels, Namespace, Object, ObjectRef, Pod, Port, Protocol,
    Service, Shape, UnevenNames,
};

/// Why a message is not an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// No kind that this version knows.
    #[error("an object of no known kind")]
    NoKind,
    /// What identifies an object is empty.
    #[error("a {kind} without a {field}")]
    Empty {
        /// The object's kind.
        kind: Kind,
        /// `name` or `namespace`.
        field: &'static str,
    },
    /// An address, or a list of addresses, is not a whole number of addresses.
    #[error("an address, or list of addresses, of {0} bytes")]
    AddressLength(usize),
    /// An enumeration has a value that this version does not know.
    #[error("{field} has the unknown value {value}")]
    UnknownValue {
        /// The enumeration's field.
        field: &'static str,
        /// What it holds.
        value: i32,
    },
    /// A port is beyond 65535.
    #[error("port number {0}")]
    PortNumber(u32),
    /// Two labels have the same key.
    #[error("label {0:?} is given twice")]
    DuplicateLabel(Box<str>),
    /// A list beside the addresses has another length.
    #[error(transparent)]
    Uneven(#[from] UnevenNames),
}

// === Object -> message ===

impl From<ObjectRef<'_>> for wire::Object {
    fn from(object: ObjectRef<'_>) -> Self {
        let object = match object {
            ObjectRef::Namespace(o) => wire::object::Object::Namespace(o.into()),
            ObjectRef::Service(o) => wire::object::Object::Service(o.into()),
            ObjectRef::EndpointSlice(o) => wire::object::Object::EndpointSlice(o.into()),
            ObjectRef::Pod(o) => wire::object::Object::Pod(o.into()),
        };
        Self { object: Some(object) }
    }
}

impl From<&Namespace> for wire::Namespace {
    fn from(o: &Namespace) -> Self {
        Self { name: o.name.to_string(), labels: labels_out(&o.labels) }
    }
}

impl From<&Service> for wire::Service {
    fn from(o: &Service) -> Self {
        let (shape, cluster_ips, external_name) = match &o.shape {
            Shape::ClusterIp(ips) => {
                (wire::service::Shape::ClusterIp, ips.iter().map(|ip| ip_out(*ip)).collect(), String::new())
            }
            Shape::Headless => (wire::service::Shape::Headless, Vec::new(), String::new()),
            Shape::ExternalName(name) => (wire::service::Shape::ExternalName, Vec::new(), name.to_string()),
        };
        Self {
            namespace: o.namespace.to_string(),
            name: o.name.to_string(),
            shape: shape.into(),
            cluster_ips,
            external_name,
            ports: ports_out(&o.ports),
            labels: labels_out(&o.labels),
        }
    }
}

impl From<&EndpointSlice> for wire::EndpointSlice {
    fn from(o: &EndpointSlice) -> Self {
        let (family, addresses) = match o.endpoints.addresses() {
            Addresses::V4(a) => (wire::endpoint_slice::Family::Ipv4, pack(a.iter().map(Ipv4Addr::octets))),
            Addresses::V6(a) => (wire::endpoint_slice::Family::Ipv6, pack(a.iter().map(Ipv6Addr::octets))),
        };
        let (hostnames, targets, spellings) = o.endpoints.has_names();
        // A list whose every entry is empty is not written out.
        let list = |given: bool, name: fn(crate::zone::object::Endpoint<'_>) -> &str| match given {
            true => o.endpoints.iter().map(|e| name(e).to_owned()).collect(),
            false => Vec::new(),
        };
        Self {
            namespace: o.namespace.to_string(),
            name: o.name.to_string(),
            service: o.service.to_string(),
            ports: ports_out(&o.ports),
            family: family.into(),
            addresses,
            hostnames: list(hostnames, |e| e.hostname),
            targets: list(targets, |e| e.target),
            spellings: list(spellings, |e| e.spelling),
            labels: labels_out(&o.labels),
        }
    }
}

impl From<&Pod> for wire::Pod {
    fn from(o: &Pod) -> Self {
        Self {
            namespace: o.namespace.to_string(),
            name: o.name.to_string(),
            ip: ip_out(o.ip),
            labels: labels_out(&o.labels),
        }
    }
}

fn labels_out(labels: &Labels) -> Vec<wire::Label> {
    labels.iter().map(|(k, v)| wire::Label { key: k.to_string(), value: v.to_string() }).collect()
}

fn ports_out(ports: &[Port]) -> Vec<wire::Port> {
    let port = |p: &Port| wire::Port {
        name: p.name.to_string(),
        number: p.number.map(u32::from),
        protocol: protocol_out(p.protocol).into(),
    };
    ports.iter().map(port).collect()
}

const fn protocol_out(protocol: Protocol) -> wire::Protocol {
    match protocol {
        Protocol::Unset => wire::Protocol::Unset,
        Protocol::Tcp => wire::Protocol::Tcp,
        Protocol::Udp => wire::Protocol::Udp,
        Protocol::Sctp => wire::Protocol::Sctp,
    }
}

fn ip_out(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// Addresses end to end.
fn pack<const N: usize>(addresses: impl ExactSizeIterator<Item = [u8; N]>) -> Bytes {
    let mut packed = Vec::with_capacity(addresses.len() * N);
    addresses.for_each(|a| packed.extend_from_slice(&a));
    packed.into()
}

// === Message -> object ===

impl TryFrom<wire::Object> for Object {
    type Error = ConvertError;

    fn try_from(message: wire::Object) -> Result<Self, ConvertError> {
        Ok(match message.object.ok_or(ConvertError::NoKind)? {
            wire::object::Object::Namespace(m) => Self::Namespace(m.try_into()?),
            wire::object::Object::Service(m) => Self::Service(m.try_into()?),
            wire::object::Object::EndpointSlice(m) => Self::EndpointSlice(m.try_into()?),
            wire::object::Object::Pod(m) => Self::Pod(m.try_into()?),
        })
    }
}

impl TryFrom<wire::Namespace> for Namespace {
    type Error = ConvertError;

    fn try_from(m: wire::Namespace) -> Result<Self, ConvertError> {
        Ok(Self { name: identifier(m.name, Kind::Namespace, "name")?, labels: labels_in(m.labels)? })
    }
}

impl TryFrom<wire::Service> for Service {
    type Error = ConvertError;

    fn try_from(m: wire::Service) -> Result<Self, ConvertError> {
        let shape = match wire::service::Shape::try_from(m.shape) {
            Ok(wire::service::Shape::ClusterIp) => {
                Shape::ClusterIp(m.cluster_ips.iter().map(|ip| ip_in(ip)).collect::<Result<_, _>>()?)
            }
            Ok(wire::service::Shape::Headless) => Shape::Headless,
            Ok(wire::service::Shape::ExternalName) => Shape::ExternalName(m.external_name.into()),
            Err(_) => return Err(ConvertError::UnknownValue { field: "shape", value: m.shape }),
        };
        Ok(Self {
            namespace: identifier(m.namespace, Kind::Service, "namespace")?,
            name: identifier(m.name, Kind::Service, "name")?,
            shape,
            ports: ports_in(m.ports)?,
            labels: labels_in(m.labels)?,
        })
    }
}

impl TryFrom<wire::EndpointSlice> for EndpointSlice {
    type Error = ConvertError;

    fn try_from(m: wire::EndpointSlice) -> Result<Self, ConvertError> {
        let addresses = match wire::endpoint_slice::Family::try_from(m.family) {
            Ok(wire::endpoint_slice::Family::Ipv4) => {
                Addresses::V4(unpack::<4>(&m.addresses)?.iter().map(|a| Ipv4Addr::from(*a)).collect())
            }
            Ok(wire::endpoint_slice::Family::Ipv6) => {
                Addresses::V6(unpack::<16>(&m.addresses)?.iter().map(|a| Ipv6Addr::from(*a)).collect())
            }
            Err(_) => return Err(ConvertError::UnknownValue { field: "family", value: m.family }),
        };
        Ok(Self {
            namespace: identifier(m.namespace, Kind::EndpointSlice, "namespace")?,
            name: identifier(m.name, Kind::EndpointSlice, "name")?,
            service: m.service.into(),
            ports: ports_in(m.ports)?,
            endpoints: Endpoints::new(addresses, &m.hostnames, &m.targets, &m.spellings)?,
            labels: labels_in(m.labels)?,
        })
    }
}

impl TryFrom<wire::Pod> for Pod {
    type Error = ConvertError;

    fn try_from(m: wire::Pod) -> Result<Self, ConvertError> {
        Ok(Self {
            namespace: identifier(m.namespace, Kind::Pod, "namespace")?,
            name: identifier(m.name, Kind::Pod, "name")?,
            ip: ip_in(&m.ip)?,
            labels: labels_in(m.labels)?,
        })
    }
}

/// A part of an object's identity, which is never empty.
fn identifier(text: String, kind: Kind, field: &'static str) -> Result<Box<str>, ConvertError> {
    if text.is_empty() { Err(ConvertError::Empty { kind, field }) } else { Ok(text.into()) }
}

fn labels_in(labels: Vec<wire::Label>) -> Result<Labels, ConvertError> {
    let mut labels: Labels = labels.into_iter().map(|l| (l.key.into(), l.value.into())).collect();
    // Sorted by key is the zone's rule, whatever another release, or a hostile file, may send.
    labels.sort_unstable();
    match labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(ConvertError::DuplicateLabel(pair[0].0.clone())),
        None => Ok(labels),
    }
}

fn ports_in(ports: Vec<wire::Port>) -> Result<Box<[Port]>, ConvertError> {
    let port = |p: wire::Port| {
        let number = |n: u32| u16::try_from(n).map_err(|_| ConvertError::PortNumber(n));
        Ok(Port {
            name: p.name.into(),
            number: p.number.map(number).transpose()?,
            protocol: protocol_in(p.protocol)?,
        })
    };
    ports.into_iter().map(port).collect()
}

fn protocol_in(value: i32) -> Result<Protocol, ConvertError> {
    match wire::Protocol::try_from(value) {
        Ok(wire::Protocol::Unset) => Ok(Protocol::Unset),
        Ok(wire::Protocol::Tcp) => Ok(Protocol::Tcp),
        Ok(wire::Protocol::Udp) => Ok(Protocol::Udp),
        Ok(wire::Protocol::Sctp) => Ok(Protocol::Sctp),
        Err(_) => Err(ConvertError::UnknownValue { field: "protocol", value }),
    }
}

fn ip_in(bytes: &[u8]) -> Result<IpAddr, ConvertError> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).map(IpAddr::from).map_err(|_| ConvertError::AddressLength(bytes.len()))
}

/// The addresses that lie end to end in `packed`.
fn unpack<const N: usize>(packed: &[u8]) -> Result<&[[u8; N]], ConvertError> {
    match packed.as_chunks() {
        (addresses, []) => Ok(addresses),
        _ => Err(ConvertError::AddressLength(packed.len())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::feed::arbitrary;

    proptest! {
        #[test]
        fn an_object_comes_back_as_it_was_sent(object in arbitrary::object()) {
            let bytes = wire::Object::from(ObjectRef::from(&object)).encode_to_vec();
            let message = wire::Object::decode(&*bytes).expect("what was encoded decodes");
            prop_assert_eq!(Object::try_from(message), Ok(object));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = wire::Object::decode(&*bytes).map(Object::try_from);
        }

        /// Arbitrary bytes seldom reach the conversion; a message with one byte changed mostly does.
        #[test]
        fn a_damaged_message_never_panics(object in arbitrary::object(), at: prop::sample::Index, to: u8) {
            let mut bytes = wire::Object::from(ObjectRef::from(&object)).encode_to_vec();
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(Ok(object)) = wire::Object::decode(&*bytes).map(Object::try_from) {
                // What was taken for an object is one: it can be sent on.
                let again = wire::Object::from(ObjectRef::from(&object));
                prop_assert_eq!(Object::try_from(again), Ok(object));
            }
        }
    }

    #[test]
    fn hostile_messages_are_refused() {
        struct Case {
            name: &'static str,
            message: Option<wire::object::Object>,
            error: ConvertError,
        }
        fn service(edit: fn(&mut wire::Service)) -> Option<wire::object::Object> {
            let mut m = wire::Service { namespace: "d".into(), name: "s".into(), ..Default::default() };
            edit(&mut m);
            Some(wire::object::Object::Service(m))
        }
        fn slice(edit: fn(&mut wire::EndpointSlice)) -> Option<wire::object::Object> {
            let mut m = wire::EndpointSlice { namespace: "d".into(), name: "s".into(), ..Default::default() };
            m.addresses = Bytes::from_static(&[10, 0, 0, 1]);
            edit(&mut m);
            Some(wire::object::Object::EndpointSlice(m))
        }
        fn label(key: &str) -> wire::Label {
            wire::Label { key: key.into(), value: String::new() }
        }
        let cases = [
            Case { name: "no kind", message: None, error: ConvertError::NoKind },
            Case {
                name: "service without a name",
                message: service(|m| m.name.clear()),
                error: ConvertError::Empty { kind: Kind::Service, field: "name" },
            },
            Case {
                name: "slice without a namespace",
                message: slice(|m| m.namespace.clear()),
                error: ConvertError::Empty { kind: Kind::EndpointSlice, field: "namespace" },
            },
            Case {
                name: "namespace without a name",
                message: Some(wire::object::Object::Namespace(wire::Namespace::default())),
                error: ConvertError::Empty { kind: Kind::Namespace, field: "name" },
            },
            Case {
                name: "pod without an address",
                message: Some(wire::object::Object::Pod(wire::Pod {
                    namespace: "d".into(),
                    name: "p".into(),
                    ..Default::default()
                })),
                error: ConvertError::AddressLength(0),
            },
            Case {
                name: "cluster address of five bytes",
                message: service(|m| m.cluster_ips.push(vec![0; 5])),
                error: ConvertError::AddressLength(5),
            },
            Case {
                name: "a shape of a later release",
                message: service(|m| m.shape = 9),
                error: ConvertError::UnknownValue { field: "shape", value: 9 },
            },
            Case {
                name: "a protocol of a later release",
                message: service(|m| m.ports.push(wire::Port { protocol: 4, ..Default::default() })),
                error: ConvertError::UnknownValue { field: "protocol", value: 4 },
            },
            Case {
                name: "port 65536",
                message: service(|m| m.ports.push(wire::Port { number: Some(65536), ..Default::default() })),
                error: ConvertError::PortNumber(65536),
            },
            Case {
                name: "a label given twice",
                message: service(|m| m.labels = vec![label("b"), label("a"), label("b")]),
                error: ConvertError::DuplicateLabel("b".into()),
            },
            Case {
                name: "half an address",
                message: slice(|m| m.addresses = Bytes::from_static(&[10, 0, 0, 1, 10, 0])),
                error: ConvertError::AddressLength(6),
            },
            Case {
                name: "IPv4 bytes said to be IPv6",
                message: slice(|m| m.family = wire::endpoint_slice::Family::Ipv6.into()),
                error: ConvertError::AddressLength(4),
            },
            Case {
                name: "an address family of a later release",
                message: slice(|m| m.family = -1),
                error: ConvertError::UnknownValue { field: "family", value: -1 },
            },
            Case {
                name: "two hostnames for one address",
                message: slice(|m| m.hostnames = vec!["a".into(), "b".into()]),
                error: ConvertError::Uneven(UnevenNames { names: 2, addresses: 1 }),
            },
        ];
        for Case { name, message, error } in cases {
            assert_eq!(Object::try_from(wire::Object { object: message }), Err(error), "{name}");
        }
    }

    #[test]
    fn labels_out_of_order_are_sorted() {
        let label = |k: &str| wire::Label { key: k.into(), value: k.to_uppercase() };
        let message = wire::Namespace { name: "n".into(), labels: vec![label("b"), label("a")] };
        let namespace = Namespace::try_from(message).expect("order is no error");
        assert_eq!(*namespace.labels, [("a".into(), "A".into()), ("b".into(), "B".into())]);
    }

    #[test]
    fn lists_that_are_all_empty_are_not_written() {
        let addresses = Addresses::V4([Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST].into());
        let slice = EndpointSlice {
            namespace: "d".into(),
            name: "s".into(),
            service: "s".into(),
            ports: [].into(),
            endpoints: Endpoints::new(addresses, &["", ""], &["p-0", ""], &[]).expect("even"),
            labels: [].into(),
        };
        let message = wire::EndpointSlice::from(&slice);
        assert_eq!((message.hostnames.len(), message.targets.len(), message.spellings.len()), (0, 2, 0));
    }
}
