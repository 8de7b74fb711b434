//! Tables: an item as the API prints it, and what is left of it.

use outlast::source::Wanted;
use outlast::source::kubectl::{Decoder, Format, Found, Reason};
use outlast::testkit::cluster::{ns, pod, slice, svc};
use outlast::zone::object::{Kind, Labels, Object, Protocol};

/// Decodes items and a namespace beside them, which has to survive whatever they are.
fn decode(items: &str, wanted: Wanted) -> Found {
    let text = format!(
        r#"{{"items": [{items}, {{"kind": "Namespace", "metadata": {{"name": "beside"}}}}], "kind": "List"}}"#
    );
    let mut decoder = Decoder::new(wanted);
    decoder.decode(Format::Json, text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {items}"));
    let mut found = decoder.finish();
    let before = found.objects.len();
    found.objects.retain(|o| *o != ns("beside"));
    assert_eq!(found.objects.len() + 1, before, "what stands beside is kept: {items}");
    found
}

fn service(spec: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "web", "namespace": "shop"}}, "spec": {spec}}}"#
    )
}

fn endpoint_slice(family: &str, endpoints: &str, ports: &str) -> String {
    format!(
        r#"{{"addressType": {family}, "apiVersion": "discovery.k8s.io/v1", "endpoints": {endpoints}, "kind": "EndpointSlice",
            "metadata": {{"labels": {{"kubernetes.io/service-name": "web"}}, "name": "web-1", "namespace": "shop"}},
            "ports": {ports}}}"#
    )
}

/// `metadata` is what the pod's has besides its name.
fn pod_with(metadata: &str, status: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "web-a", "namespace": "shop"{metadata}}}, "status": {status}}}"#
    )
}

#[test]
fn objects_become_what_dns_needs_of_them() {
    struct Case {
        name: &'static str,
        item: String,
        object: Option<Object>,
    }
    let web = || svc("shop/web");
    let cases = [
        Case {
            name: "namespace",
            item: r#"{"kind": "Namespace", "metadata": {"name": "shop"}, "spec": {"finalizers": ["kubernetes"]}}"#.into(),
            object: Some(ns("shop")),
        },
        Case {
            name: "namespace on its way out still exposes its names",
            item: r#"{"kind": "Namespace", "metadata": {"name": "shop", "deletionTimestamp": "2026-11-22T16:56:57Z"}}"#
                .into(),
            object: Some(ns("shop")),
        },
        Case {
            name: "cluster addresses of both families, in their order",
            item: service(
                r#"{"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"], "type": "LoadBalancer",
                    "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http", "nodePort": 30080},
                              {"port": 53, "protocol": "UDP"}]}"#,
            ),
            object: Some(web().ip("10.96.0.1").ip("fd00::1").port("http", 80).udp("", 53).build()),
        },
        Case {
            name: "clusterIP where clusterIPs is absent",
            item: service(r#"{"clusterIP": "10.96.0.1"}"#),
            object: Some(web().ip("10.96.0.1").build()),
        },
        Case {
            name: "clusterIP where clusterIPs is null or empty",
            item: service(r#"{"clusterIP": "10.96.0.1", "clusterIPs": null, "ports": null}"#),
            object: Some(web().ip("10.96.0.1").build()),
        },
        Case {
            name: "no address yet",
            item: service(r#"{"clusterIP": "", "type": "ClusterIP"}"#),
            object: Some(web().build()),
        },
        Case { name: "no spec", item: service("null"), object: Some(web().build()) },
        Case {
            name: "headless",
            item: service(r#"{"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80}]}"#),
            object: Some(web().headless().any_port("", Some(80), Protocol::Unset).build()),
        },
        Case {
            name: "headless by clusterIP alone",
            item: service(r#"{"clusterIP": "None"}"#),
            object: Some(web().headless().build()),
        },
        Case {
            name: "the type ExternalName comes before headless",
            item: service(r#"{"clusterIP": "None", "externalName": "WWW.example.test.", "type": "ExternalName"}"#),
            object: Some(web().external("WWW.example.test.").build()),
        },
        Case {
            name: "an address as externalName is kept",
            item: service(r#"{"externalName": "fd00::1", "type": "ExternalName"}"#),
            object: Some(web().external("fd00::1").build()),
        },
        Case {
            name: "externalName without the type means nothing",
            item: service(r#"{"clusterIPs": ["10.96.0.1"], "externalName": "www.example.test"}"#),
            object: Some(web().ip("10.96.0.1").build()),
        },
        Case {
            name: "used endpoints are those ready or silent about it",
            item: endpoint_slice(
                r#""IPv4""#,
                r#"[{"addresses": ["10.0.0.1"], "conditions": {"ready": true, "serving": false, "terminating": true}},
                    {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true}},
                    {"addresses": ["10.0.0.3"], "conditions": {"ready": null}},
                    {"addresses": ["10.0.0.4"], "conditions": {}},
                    {"addresses": ["10.0.0.5"], "conditions": null},
                    {"addresses": ["10.0.0.6", "10.0.0.7"]}, {"addresses": null}, {}]"#,
                "null",
            ),
            object: Some(
                ["10.0.0.1", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"]
                    .into_iter()
                    .fold(slice("shop/web-1", "web"), |slice, address| slice.v4(address))
                    .build(),
            ),
        },
        Case {
            name: "names of endpoints",
            item: endpoint_slice(
                r#""IPv4""#,
                &format!(
                    r#"[{{"addresses": ["10.0.0.1"], "hostname": "a", "nodeName": "n", "targetRef": {{"kind": "Pod", "name": "p.q"}}}},
                        {{"addresses": ["10.0.0.2"], "hostname": null, "targetRef": {{"name": "{}"}}}},
                        {{"addresses": ["10.0.0.3"], "hostname": "", "targetRef": {{"name": "{}"}}}},
                        {{"addresses": ["10.0.0.4"], "targetRef": null}}]"#,
                    "p".repeat(63),
                    "p".repeat(64),
                ),
                r#"[{"name": "http", "port": 8080, "protocol": "TCP"}]"#,
            ),
            object: Some(
                slice("shop/web-1", "web")
                    .v4("10.0.0.1")
                    .host("a")
                    .pod("p.q")
                    .v4("10.0.0.2")
                    .pod(&"p".repeat(63))
                    .v4("10.0.0.3")
                    .v4("10.0.0.4")
                    .port("http", 8080)
                    .build(),
            ),
        },
        Case {
            name: "ports that say little",
            item: endpoint_slice(
                r#""IPv4""#,
                "null",
                r#"[{}, {"name": null, "port": null, "protocol": null}, {"name": "a", "protocol": "sctp", "appProtocol": "x"}]"#,
            ),
            object: Some(
                slice("shop/web-1", "web")
                    .any_port("", None, Protocol::Unset)
                    .any_port("", None, Protocol::Unset)
                    .any_port("a", None, Protocol::Sctp)
                    .build(),
            ),
        },
        Case {
            name: "spellings of IPv6 that are not canonical are kept",
            item: endpoint_slice(
                r#""IPv6""#,
                r#"[{"addresses": ["fd00::1"]}, {"addresses": ["FD00::2"]}, {"addresses": ["fd00:0:0:0:0:0:0:3"]},
                    {"addresses": ["fd00::"]}, {"addresses": ["::10.0.0.1"]}]"#,
                "[]",
            ),
            object: Some(
                slice("shop/web-1", "web")
                    .v6("fd00::1")
                    .v6("FD00::2")
                    .v6("fd00:0:0:0:0:0:0:3")
                    .v6("fd00::")
                    .v6("::a00:1")
                    .build(),
            ),
        },
        Case {
            name: "a slice of no service",
            item: r#"{"addressType": "IPv4", "kind": "EndpointSlice", "metadata": {"name": "x", "namespace": "shop"}}"#.into(),
            object: Some(slice("shop/x", "").build()),
        },
        Case {
            name: "kind after everything else",
            item: r#"{"status": {"podIP": "fd00::1"}, "metadata": {"namespace": "shop", "name": "web-a"}, "kind": "Pod"}"#.into(),
            object: Some(pod("shop/web-a", "fd00::1")),
        },
        Case {
            name: "running pod",
            item: pod_with("", r#"{"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}"#),
            object: Some(pod("shop/web-a", "10.0.0.1")),
        },
        Case { name: "finished pod", item: pod_with("", r#"{"phase": "Succeeded", "podIP": "10.0.0.1"}"#), object: None },
        Case { name: "failed pod", item: pod_with("", r#"{"phase": "Failed", "podIP": "10.0.0.1"}"#), object: None },
        Case { name: "lost pod", item: pod_with("", r#"{"phase": "Unknown", "podIP": "10.0.0.1"}"#), object: None },
        Case {
            name: "pod on its way out",
            item: pod_with(r#", "deletionTimestamp": "2026-11-22T16:56:57Z""#, r#"{"podIP": "10.0.0.1"}"#),
            object: None,
        },
        Case {
            name: "pod that nobody deletes",
            item: pod_with(r#", "deletionTimestamp": null"#, r#"{"podIP": "10.0.0.1"}"#),
            object: Some(pod("shop/web-a", "10.0.0.1")),
        },
        Case { name: "pod without an address yet", item: pod_with("", r#"{"phase": "Pending"}"#), object: None },
        Case { name: "pod without a status", item: pod_with("", "null"), object: None },
        Case {
            name: "an empty list in the list",
            item: r#"{"items": null, "kind": "List", "metadata": {}}"#.into(),
            object: None,
        },
        Case {
            name: "a typed list, whose items say nothing",
            item: r#"{"kind": "NamespaceList", "apiVersion": "v1", "items": [{"metadata": {"name": "shop"}}]}"#.into(),
            object: Some(ns("shop")),
        },
    ];
    for Case { name, item, object } in cases {
        let found = decode(&item, Wanted { labels: false, pods: true });
        assert_eq!(found.objects, Vec::from_iter(object), "{name}");
        assert!(found.drops.is_empty(), "{name}: {:?}", found.drops);
        assert!(found.skipped.is_empty(), "{name}: {:?}", found.skipped);
    }
}

#[test]
fn labels_are_kept_sorted_if_they_are_wanted() {
    let item = r#"{"kind": "Service", "metadata": {"name": "web", "namespace": "shop", "labels":
                  {"tier": "b", "app": "web", "empty": null}}}"#;
    let labelled = svc("shop/web").label("tier", "b").label("app", "web").label("empty", "").build();
    assert_eq!(decode(item, Wanted { labels: true, pods: false }).objects, [labelled]);
    assert_eq!(decode(item, Wanted::default()).objects, [svc("shop/web").build()]);
}

#[test]
fn labels_of_a_slice_include_its_service() {
    let found = decode(&endpoint_slice(r#""IPv4""#, "[]", "[]"), Wanted::ALL);
    let [Object::EndpointSlice(slice)] = &found.objects[..] else { panic!("{found:?}") };
    let expected: Labels = [("kubernetes.io/service-name".into(), "web".into())].into();
    assert_eq!((&*slice.service, &slice.labels), ("web", &expected));
}

#[test]
fn other_kinds_are_passed_over_whatever_they_look_like() {
    let items = r#"
        {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "a"}, "spec": {"ports": 1}},
        {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": 5, "spec": []},
        {"kind": "Endpoints", "apiVersion": "v1", "subsets": [{"addresses": [{"ip": "10.0.0.1"}]}]},
        {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}, "spec": "x"},
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {"items": "x"}},
        {"apiVersion": "v1", "kind": "", "metadata": {"name": "x"}}"#;
    let found = decode(items, Wanted::ALL);
    assert!(found.objects.is_empty() && found.drops.is_empty(), "{found:?}");
    assert_eq!(
        found.skipped.iter().collect::<Vec<_>>(),
        [("", 1), ("ConfigMap", 1), ("Deployment", 2), ("Endpoints", 1), ("Service.serving.knative.dev", 1)]
    );
}

#[test]
fn the_absurd_costs_the_smallest_unit_that_makes_sense() {
    struct Case {
        name: &'static str,
        item: String,
        left: Option<Object>,
        drops: Vec<(Kind, Reason, u64)>,
    }
    use Kind::{EndpointSlice, Namespace, Pod, Service};
    let web = || svc("shop/web");
    let named = |kind: &str, namespace: &str, name: &str| {
        format!(
            r#"{{"addressType": "IPv4", "kind": "{kind}", "metadata": {{"name": "{name}", "namespace": "{namespace}"}},
                "status": {{"podIP": "10.0.0.1"}}}}"#
        )
    };
    let long = "a".repeat(64);
    let mut cases = vec![
        Case {
            name: "ports outside of their range, of all sorts",
            item: service(
                r#"{"ports": [{"name": "a", "port": 99999}, {"port": 0}, {"port": -1}, {"port": 1e30}, {"port": 80.5},
                              {"port": 99999999999999999999999999}, {"name": "none"}, {"name": "ok", "port": 65535}]}"#,
            ),
            left: Some(web().any_port("ok", Some(65535), Protocol::Unset).build()),
            drops: vec![(Service, Reason::Port, 7)],
        },
        Case {
            name: "port names and protocols",
            item: endpoint_slice(
                r#""IPv4""#,
                "[]",
                &format!(r#"[{{"name": "{long}"}}, {{"name": "a b"}}, {{"protocol": "QUIC"}}, {{"name": "ok"}}]"#),
            ),
            left: Some(slice("shop/web-1", "web").any_port("ok", None, Protocol::Unset).build()),
            drops: vec![(EndpointSlice, Reason::PortName, 2), (EndpointSlice, Reason::Protocol, 1)],
        },
        Case {
            name: "cluster addresses",
            item: service(r#"{"clusterIPs": ["10.96.0.300", "fd00::1", "::ffff:10.0.0.1", "10.96.0.01"]}"#),
            left: Some(web().ip("fd00::1").build()),
            drops: vec![(Service, Reason::Address, 3)],
        },
        Case {
            name: "endpoint addresses",
            item: endpoint_slice(
                r#""IPv4""#,
                r#"[{"addresses": ["10.0.0.1", "10.0.0.256", "", "host", "fd00::1"]}, {"addresses": ["10.0.0.2"]}]"#,
                "[]",
            ),
            left: Some(slice("shop/web-1", "web").v4("10.0.0.1").v4("10.0.0.2").build()),
            drops: vec![(EndpointSlice, Reason::Address, 3), (EndpointSlice, Reason::AddressFamily, 1)],
        },
        Case {
            name: "endpoint addresses of IPv6",
            item: endpoint_slice(
                r#""IPv6""#,
                r#"[{"addresses": ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "fd00::1"]}]"#,
                "[]",
            ),
            left: Some(slice("shop/web-1", "web").v6("fd00::1").build()),
            drops: vec![(EndpointSlice, Reason::Address, 1), (EndpointSlice, Reason::AddressFamily, 2)],
        },
        Case {
            name: "names of endpoints",
            item: endpoint_slice(
                r#""IPv4""#,
                &format!(
                    r#"[{{"addresses": ["10.0.0.1"], "hostname": "{long}", "targetRef": {{"name": "a..b"}}}},
                        {{"addresses": ["10.0.0.2"], "hostname": "a.b"}}]"#
                ),
                "[]",
            ),
            left: Some(slice("shop/web-1", "web").v4("10.0.0.1").v4("10.0.0.2").build()),
            drops: vec![(EndpointSlice, Reason::Hostname, 2), (EndpointSlice, Reason::TargetName, 1)],
        },
        Case {
            name: "pod address",
            item: r#"{"kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}, "status": {"podIP": "10.0.0"}}"#.into(),
            left: None,
            drops: vec![(Pod, Reason::Address, 1)],
        },
        Case {
            name: "service label",
            item: r#"{"addressType": "IPv4", "kind": "EndpointSlice", "metadata": {"name": "x", "namespace": "shop",
                      "labels": {"kubernetes.io/service-name": "a.b"}}}"#
                .into(),
            left: None,
            drops: vec![(EndpointSlice, Reason::ServiceName, 1)],
        },
        Case {
            name: "no metadata",
            item: r#"{"kind": "Service", "metadata": null}"#.into(),
            left: None,
            drops: vec![(Service, Reason::Name, 1)],
        },
        Case {
            name: "twice the same",
            item: format!("{}, {}", service(r#"{"clusterIP": "10.96.0.1"}"#), service(r#"{"clusterIP": "10.96.0.2"}"#)),
            left: Some(web().ip("10.96.0.2").build()),
            drops: vec![(Service, Reason::Duplicate, 1)],
        },
    ];
    for family in [r#""FQDN""#, r#""IPv5""#, "null"] {
        cases.push(Case {
            name: "addressType",
            item: endpoint_slice(family, r#"[{"addresses": ["a.example.test"]}]"#, "[]"),
            left: None,
            drops: vec![(EndpointSlice, Reason::AddressType, 1)],
        });
    }
    for target in [
        "null".to_owned(),
        r#""""#.into(),
        r#""a..b""#.into(),
        r#""a b""#.into(),
        format!(r#""{long}.test""#),
    ] {
        cases.push(Case {
            name: "externalName",
            item: service(&format!(r#"{{"externalName": {target}, "type": "ExternalName"}}"#)),
            left: None,
            drops: vec![(Service, Reason::ExternalName, 1)],
        });
    }
    for kind in Kind::ALL {
        let mut bad = vec![
            String::new(),
            long.clone(),
            "-a".into(),
            "A".into(),
            "a_b".into(),
            "a..b".into(),
            "ä".into(),
        ];
        bad.push(vec!["a".repeat(63); 5].join("."));
        for name in bad {
            let item = named(kind.as_str(), "shop", &name);
            cases.push(Case { name: "name", item, left: None, drops: vec![(kind, Reason::Name, 1)] });
        }
        if kind != Namespace {
            for namespace in ["", "a.b", &long] {
                let item = named(kind.as_str(), namespace, "a");
                cases.push(Case {
                    name: "namespace",
                    item,
                    left: None,
                    drops: vec![(kind, Reason::Namespace, 1)],
                });
            }
        }
    }
    for Case { name, item, left, drops } in cases {
        let found = decode(&item, Wanted { labels: false, pods: true });
        assert_eq!(found.objects, Vec::from_iter(left), "{name}: {item}");
        let counted: Vec<_> = found.drops.iter().map(|(kind, reason, d)| (kind, reason, d.count)).collect();
        assert_eq!(counted, drops, "{name}: {item}");
        for (_, _, dropped) in found.drops.iter() {
            assert!((1..=3).contains(&dropped.examples.len()), "{name}: {dropped:?}");
            assert!(dropped.examples.iter().all(|e| e.len() < 500), "{name}: {dropped:?}");
        }
    }
}

#[test]
fn an_example_says_which_object_which_field_and_what_would_be_right() {
    let found = decode(&service(r#"{"ports": [{"name": "http", "port": 99999}]}"#), Wanted::ALL);
    let examples: Vec<_> = found.drops.iter().flat_map(|(_, _, d)| &d.examples).collect();
    assert_eq!(examples, [r#"Service "web" in namespace "shop": port "http" is 99999, not 1 to 65535"#]);
}

#[test]
fn a_slice_of_a_hundred_thousand_endpoints_is_taken_whole() {
    let endpoints: Vec<_> = (0..100_000u32)
        .map(|i| format!(r#"{{"addresses": ["10.{}.{}.{}"]}}"#, i >> 16, i >> 8 & 255, i & 255))
        .collect();
    let found =
        decode(&endpoint_slice(r#""IPv4""#, &format!("[{}]", endpoints.join(",")), "[]"), Wanted::ALL);
    let [Object::EndpointSlice(slice)] = &found.objects[..] else { panic!() };
    assert_eq!(slice.endpoints.len(), 100_000);
}
