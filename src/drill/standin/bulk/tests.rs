//! Full objects against the slim ones that they were made from.

use std::ops::RangeInclusive;

use super::*;
use crate::drill::cluster::Cluster;
use crate::source::Wanted;
use crate::source::kubectl::{Decoder, Format};
use crate::zone::object::{Addresses, EndpointSlice, Endpoints, Object, Pod, Port, Protocol, Service, Shape};

/// What the file source makes of these texts.
fn decoded<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Object> {
    let mut decoder = Decoder::new(Wanted { labels: false, pods: true });
    for text in texts {
        assert_eq!(decoder.decode(Format::Json, text).expect("JSON"), 1);
    }
    let found = decoder.finish();
    assert!(found.drops.is_empty() && found.skipped.is_empty(), "{:?} {:?}", found.drops, found.skipped);
    found.objects
}

#[test]
fn a_cluster_reads_back_as_it_was() {
    let mut objects = Cluster::sized(200, 2_500).with_pods().objects();
    let texts: Vec<Full> = objects.iter().map(|o| full(o.into())).collect();
    for (text, object) in texts.iter().zip(&objects) {
        let key = object.key();
        assert_eq!((text.kind, &text.namespace, &text.name), (key.kind, &key.namespace, &key.name));
    }
    objects.sort_by_key(Object::key);
    assert_eq!(decoded(texts.iter().map(|t| &*t.text)), objects);
}

#[test]
fn what_is_rare_reads_back_as_it_was() {
    let service = |shape, ports: &[Port]| {
        let (namespace, name) = ("shop".into(), "web".into());
        Object::Service(Service { namespace, name, shape, ports: ports.into(), labels: [].into() })
    };
    let slice = |service: &str, endpoints, ports: &[Port]| {
        Object::EndpointSlice(EndpointSlice {
            namespace: "shop".into(),
            name: "web-x".into(),
            service: service.into(),
            ports: ports.into(),
            endpoints,
            labels: [].into(),
        })
    };
    let port = |name: &str, number, protocol| Port { name: name.into(), number, protocol };
    let v6 = Addresses::V6(
        ["fd00::1".parse().expect("an address"), "fd00::2".parse().expect("an address")].into(),
    );
    let spelled = Endpoints::new(v6, &["a", ""], &["", "pod"], &["FD00::1", ""]).expect("even");
    let ip = "fd00:10:128:7::2".parse().expect("an address");
    for (name, object) in [
        ("a service without an address yet", service(Shape::ClusterIp([].into()), &[])),
        (
            "a port without name and protocol",
            service(Shape::Headless, &[port("", Some(80), Protocol::Unset)]),
        ),
        ("an alias with a final dot", service(Shape::ExternalName("example.com.".into()), &[])),
        ("an empty slice of no service", slice("", Endpoints::none(), &[])),
        ("every port", slice("web", Endpoints::none(), &[port("", None, Protocol::Unset)])),
        ("the API's own spelling", slice("web", spelled, &[port("dns", Some(53), Protocol::Udp)])),
        (
            "a pod with an IPv6 address",
            Object::Pod(Pod { namespace: "shop".into(), name: "bare".into(), ip, labels: [].into() }),
        ),
    ] {
        assert_eq!(decoded([&*full((&object).into()).text]), [object], "{name}");
    }
}

#[test]
fn labels_are_kept_among_others() {
    let own = [("app.kubernetes.io/name".into(), "mine \"quoted\"".into()), ("zz".into(), "last".into())];
    let object = Object::Namespace(Namespace { name: "shop".into(), labels: own.into() });
    let mut decoder = Decoder::new(Wanted::ALL);
    decoder.decode(Format::Json, &*full((&object).into()).text).expect("JSON");
    let objects = decoder.finish().objects;
    let [Object::Namespace(found)] = &objects[..] else { panic!("{objects:?}") };
    let labels: Vec<(&str, &str)> = found.labels.iter().map(|(k, v)| (&**k, &**v)).collect();
    let expected = [
        ("app.kubernetes.io/name", "mine \"quoted\""),
        ("kubernetes.io/metadata.name", "shop"),
        ("zz", "last"),
    ];
    assert_eq!(labels, expected);
}

#[test]
fn sizes_are_those_of_real_clusters() {
    struct Case {
        name: &'static str,
        of: fn(&Object) -> bool,
        bytes: RangeInclusive<usize>,
    }
    let objects = Cluster::sized(60, 60_000).with_pods().objects();
    let serves = |o: &Object| matches!(o, Object::Service(s) if !matches!(s.shape, Shape::ExternalName(_)));
    for case in [
        Case {
            name: "slices of 100 endpoints",
            of: |o| matches!(o, Object::EndpointSlice(s) if s.endpoints.len() == 100),
            bytes: 30_000..=40_000,
        },
        Case { name: "services", of: serves, bytes: 1_500..=2_500 },
        Case { name: "namespaces", of: |o| matches!(o, Object::Namespace(_)), bytes: 400..=700 },
        Case { name: "pods", of: |o| matches!(o, Object::Pod(_)), bytes: 4_000..=8_000 },
    ] {
        let sizes: Vec<usize> =
            objects.iter().filter(|o| (case.of)(o)).map(|o| full(o.into()).text.len()).collect();
        assert!(!sizes.is_empty(), "{}", case.name);
        let wrong: Vec<_> = sizes.iter().filter(|size| !case.bytes.contains(size)).take(5).collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", case.name);
    }
}

#[test]
fn fields_come_in_an_api_servers_order() {
    const METADATA: [&str; 9] = [
        "name",
        "generateName",
        "namespace",
        "uid",
        "generation",
        "creationTimestamp",
        "labels",
        "annotations",
        "managedFields",
    ];
    let slice = Cluster::sized(1, 3).objects().into_iter().find(|o| o.kind() == Kind::EndpointSlice);
    let full = full((&slice.expect("a service with endpoints has a slice")).into());
    let text = str::from_utf8(&full.text).expect("JSON is UTF-8");
    let places = |fields: &[&str]| -> Vec<usize> {
        fields.iter().map(|f| text.find(&format!("\"{f}\":")).unwrap_or_else(|| panic!("no {f}"))).collect()
    };
    let start = ["kind", "apiVersion", "metadata"];
    let endpoint = ["addresses", "conditions", "targetRef", "nodeName", "zone"];
    for fields in [&start[..], &METADATA, &["metadata", "addressType", "endpoints", "ports"], &endpoint] {
        assert!(places(fields).is_sorted(), "{fields:?} in {text}");
    }
}

#[test]
fn a_change_says_when() {
    let objects = Cluster::sized(1, 1).objects();
    let slice = objects.iter().find(|o| o.kind() == Kind::EndpointSlice).expect("its slice");
    let annotation = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        value["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"].clone()
    };
    assert_eq!(annotation(Printer::default().print(slice.into())), LONG_AGO);
    assert_ne!(annotation(Printer::of_changes().print(slice.into())), LONG_AGO);
}
