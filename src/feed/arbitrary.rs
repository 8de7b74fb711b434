//! Random objects for property tests, with the zone's rules kept: names are not empty, labels are sorted.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::zone::object::{
    Addresses, EndpointSlice, Endpoints, Labels, Namespace, Object, Pod, Port, Protocol, Service, Shape,
};

/// An object of any kind.
pub(crate) fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        (name(), labels()).prop_map(|(name, labels)| Object::Namespace(Namespace { name, labels })),
        service().prop_map(Object::Service),
        slice().prop_map(Object::EndpointSlice),
        (name(), name(), any::<IpAddr>(), labels())
            .prop_map(|(namespace, name, ip, labels)| Object::Pod(Pod { namespace, name, ip, labels })),
    ]
}

fn name() -> impl Strategy<Value = Box<str>> {
    "[a-z0-9-]{1,12}|\\PC{1,4}".prop_map(Into::into)
}

fn name_or_empty() -> impl Strategy<Value = Box<str>> {
    prop_oneof![Just(Box::default()), name()]
}

fn labels() -> impl Strategy<Value = Labels> {
    btree_map(name(), name_or_empty(), 0..3).prop_map(|m: BTreeMap<_, _>| m.into_iter().collect())
}

fn ports() -> impl Strategy<Value = Box<[Port]>> {
    let protocol = prop::sample::select(vec![Protocol::Unset, Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let port = (name_or_empty(), any::<Option<u16>>(), protocol).prop_map(|(name, number, protocol)| Port {
        name,
        number,
        protocol,
    });
    vec(port, 0..3).prop_map(Into::into)
}

fn service() -> impl Strategy<Value = Service> {
    let shape = prop_oneof![
        vec(any::<IpAddr>(), 0..3).prop_map(|ips| Shape::ClusterIp(ips.into())),
        Just(Shape::Headless),
        name_or_empty().prop_map(Shape::ExternalName),
    ];
    (name(), name(), shape, ports(), labels()).prop_map(|(namespace, name, shape, ports, labels)| Service {
        namespace,
        name,
        shape,
        ports,
        labels,
    })
}

fn slice() -> impl Strategy<Value = EndpointSlice> {
    (name(), name(), name_or_empty(), ports(), endpoints(), labels()).prop_map(
        |(namespace, name, service, ports, endpoints, labels)| EndpointSlice {
            namespace,
            name,
            service,
            ports,
            endpoints,
            labels,
        },
    )
}

fn endpoints() -> impl Strategy<Value = Endpoints> {
    let names = |count| prop_oneof![Just(Vec::new()), vec(name_or_empty(), count)];
    let addresses = prop_oneof![
        vec(any::<Ipv4Addr>(), 0..5).prop_map(|a| Addresses::V4(a.into())),
        vec(any::<Ipv6Addr>(), 0..5).prop_map(|a| Addresses::V6(a.into())),
    ];
    addresses
        .prop_flat_map(move |a| {
            let count = a.len();
            (Just(a), names(count), names(count), names(count))
        })
        .prop_map(|(a, h, t, s)| Endpoints::new(a, &h, &t, &s).expect("one name an address or none"))
}
