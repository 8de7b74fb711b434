//! The cluster and the upstream that the written cases are about.

use std::path::Path;

use hickory_proto::op::ResponseCode;
use outlast::testkit::cluster::{Slice, ns, pod, slice, svc, write_json};
use outlast::testkit::upstream::{Behaviour, FakeUpstream};
use outlast::zone::object::{Namespace, Object};
use serde_json::{Value, json};

/// An upstream that knows three names; any other is NXDOMAIN with the root as its zone.
pub(crate) async fn upstream() -> FakeUpstream {
    FakeUpstream::start(
        "smtp.example.net. 120 IN A 198.51.100.25
         Api.Example.NET. 60 IN A 198.51.100.26
         7.113.0.203.in-addr.arpa. 600 IN PTR edge.example.net.",
    )
    .await
    .on("broken.example.net.", Behaviour::Rcode(ResponseCode::ServFail))
}

/// Writes the cluster to `path` as kubectl prints it.
pub(crate) fn write(path: &Path) {
    let mut text = Vec::new();
    write_json(&objects(), &mut text).unwrap();
    let mut list: Value = serde_json::from_slice(&text).unwrap();
    add_what_dns_leaves_out(list["items"].as_array_mut().unwrap());
    std::fs::write(path, list.to_string()).unwrap();
}

/// Its objects, as far as they are part of answers.
pub(crate) fn objects() -> Vec<Object> {
    let mut objects = namespaces();
    objects.extend(cluster_services());
    objects.extend(headless_services());
    objects.extend(external_services());
    objects.extend([
        pod("lab/probe", "10.244.5.9"),
        pod("lab/probe6", "fd10:244:5::9"),
        pod("lab/dual", "10.244.5.10"),
        pod("lab/hostnet", "192.0.2.10"),
        pod("kube-system/agent", "192.0.2.10"),
        pod("shop/storefront-7d9f-aaaaa", "10.244.1.11"),
    ]);
    objects
}

fn namespaces() -> Vec<Object> {
    let team = |name: &str, team: &str| {
        let labels = [("team".into(), team.into())].into();
        Object::Namespace(Namespace { name: name.into(), labels })
    };
    vec![ns("default"), ns("kube-system"), team("shop", "green"), team("lab", "blue"), team("quiet", "green")]
}

/// A slice named after its service.
fn of(namespace: &str, service: &str) -> Slice {
    slice(&format!("{namespace}/{service}-x"), service)
}

fn cluster_services() -> Vec<Object> {
    vec![
        svc("default/kubernetes").ip("10.96.0.1").port("https", 443).build(),
        svc("kube-system/kube-dns")
            .ip("10.96.0.10")
            .udp("dns", 53)
            .port("dns-tcp", 53)
            .port("metrics", 9153)
            .build(),
        of("kube-system", "kube-dns")
            .udp("dns", 53)
            .port("dns-tcp", 53)
            .port("metrics", 9153)
            .v4("10.244.0.2")
            .v4("10.244.0.3")
            .build(),
        svc("shop/storefront")
            .ip("10.96.14.20")
            .port("web", 80)
            .port("grpc", 9000)
            .label("tier", "web")
            .build(),
        of("shop", "storefront")
            .port("web", 8080)
            .port("grpc", 9000)
            .label("tier", "web")
            .v4("10.244.1.11")
            .pod("storefront-7d9f-aaaaa")
            .v4("10.244.2.12")
            .build(),
        svc("shop/cart").ip("10.96.14.21").port("", 8080).build(),
        svc("shop/duo").ip("10.96.14.30").ip("fd10:96::e1e").port("api", 443).build(),
        slice("shop/duo-v4", "duo").port("api", 8443).v4("10.244.1.15").build(),
        slice("shop/duo-v6", "duo").port("api", 8443).v6("fd10:244:1::15").build(),
        svc("shop/six").ip("fd10:96::66").port("web", 80).build(),
        svc("shop/lb").ip("10.96.14.40").port("https", 443).build(),
        svc("lab/storefront").ip("10.96.20.20").port("web", 8081).build(),
    ]
}

fn headless_services() -> Vec<Object> {
    let web = |name: &str| svc(&format!("shop/{name}")).headless().port("web", 80).build();
    let herd = |slice: Slice, host: u8| slice.v4(&format!("10.244.9.{host}"));
    vec![
        svc("shop/ledger").headless().port("sql", 5432).build(),
        slice("shop/ledger-v4", "ledger")
            .port("sql", 5432)
            .v4("10.244.1.31")
            .host("ledger-0")
            .v4("10.244.2.32")
            .host("ledger-1")
            .build(),
        slice("shop/ledger-v6", "ledger").port("sql", 5432).v6("fd10:244:1::31").host("ledger-0").build(),
        svc("shop/gossip").headless().udp("swim", 7946).port("swim-tcp", 7946).build(),
        of("shop", "gossip")
            .udp("swim", 7946)
            .port("swim-tcp", 7946)
            .v4("10.244.1.41")
            .pod("gossip-x1")
            .v4("10.244.2.42")
            .pod("gossip-x2")
            .build(),
        svc("shop/portless").headless().build(),
        of("shop", "portless").v4("10.244.1.51").build(),
        web("hollow"),
        of("shop", "hollow").port("web", 80).build(),
        web("twins"),
        of("shop", "twins")
            .port("web", 80)
            .v4("10.244.1.61")
            .host("twin")
            .v4("10.244.2.62")
            .host("twin")
            .build(),
        web("leaving"),
        of("shop", "leaving").port("web", 80).v4("10.244.1.71").build(),
        web("skew"),
        slice("shop/skew-1", "skew").port("web", 80).v4("10.244.1.81").build(),
        slice("shop/skew-2", "skew").port("web", 80).v4("10.244.1.81").v4("10.244.1.82").build(),
        web("canary"),
        of("shop", "canary").port("web", 8080).v4("10.244.1.11").build(),
        svc("shop/noname").headless().port("", 7000).build(),
        of("shop", "noname").port("", 7000).v4("10.244.1.91").build(),
        web("zeros"),
        // A label has 63 letters at most.
        of("shop", "zeros").port("web", 80).v6("fd10:244:7::").pod(&"z".repeat(64)).build(),
        svc("shop/herd").headless().port("p", 9).build(),
        (1..=60).fold(of("shop", "herd").port("p", 9), herd).build(),
    ]
}

fn external_services() -> Vec<Object> {
    [
        ("mail", "smtp.example.net"),
        ("alias", "storefront.shop.svc.cluster.local"),
        ("alias2", "alias.shop.svc.cluster.local"),
        ("alias-gone", "nosuch.shop.svc.cluster.local"),
        ("alias-self", "alias-self.shop.svc.cluster.local"),
        ("loop-a", "loop-b.shop.svc.cluster.local"),
        ("loop-b", "loop-a.shop.svc.cluster.local"),
        ("ipname", "192.0.2.55"),
        ("cased", "Api.Example.NET"),
        ("ext-gone", "gone.example.net"),
        ("ext-broken", "broken.example.net"),
    ]
    .map(|(name, target)| svc(&format!("shop/{name}")).external(target).build())
    .into()
}

/// Adds what is no part of any answer, and so of no slim object: endpoints that are not ready, addresses of load
/// balancers, pods that have ended, and second addresses of pods.
fn add_what_dns_leaves_out(items: &mut Vec<Value>) {
    let not_ready = |address: &str, hostname: &str| {
        json!({
            "addresses": [address],
            "conditions": {"ready": false, "serving": true, "terminating": true},
            "hostname": hostname,
        })
    };
    let endpoint = |items: &mut [Value], slice: &str, endpoint: Value| {
        let endpoints = &mut find(items, "EndpointSlice", slice)["endpoints"];
        match endpoints {
            Value::Array(endpoints) => endpoints.push(endpoint),
            none => *none = json!([endpoint]),
        }
    };
    endpoint(items, "storefront-x", not_ready("10.244.3.13", ""));
    endpoint(items, "ledger-v4", not_ready("10.244.3.33", "ledger-2"));
    endpoint(items, "hollow-x", not_ready("10.244.1.55", ""));
    endpoint(items, "leaving-x", not_ready("10.244.2.72", ""));
    // Absent means ready.
    find(items, "EndpointSlice", "leaving-x")["endpoints"][0]["conditions"] = json!({});

    let balanced = find(items, "Service", "lb");
    balanced["spec"]["type"] = json!("LoadBalancer");
    balanced["spec"]["externalIPs"] = json!(["198.51.100.9"]);
    balanced["status"]["loadBalancer"] = json!({"ingress": [{"ip": "203.0.113.7"}]});

    let pod = find(items, "Pod", "dual");
    pod["status"]["podIPs"] = json!([{"ip": "10.244.5.10"}, {"ip": "fd10:244:5::10"}]);
    let mut done = pod.clone();
    done["metadata"]["name"] = json!("done");
    done["status"] = json!({"phase": "Succeeded", "podIP": "10.244.5.11", "podIPs": [{"ip": "10.244.5.11"}]});
    items.push(done);
}

fn find<'a>(items: &'a mut [Value], kind: &str, name: &str) -> &'a mut Value {
    items
        .iter_mut()
        .find(|item| item["kind"] == kind && item["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}
