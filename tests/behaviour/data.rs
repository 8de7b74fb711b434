//! The cluster changes while a node answers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{RData, RecordType};
use outlast::testkit::client::Query;
use serde_json::{Value, json};

use super::world::{POD, World, object, take};

const GOSSIP: &str = "gossip.shop.svc.cluster.local.";
const STOREFRONT: &str = "storefront.shop.svc.cluster.local.";

async fn world() -> World {
    World::start(
        ".:0 {\n BIND\n kubernetes cluster.local in-addr.arpa {\n CLUSTER\n ttl 0\n pods verified\n }\n}",
    )
    .await
}

async fn serial(world: &World) -> u32 {
    let soa = world.client.udp(&Query::new("cluster.local.", RecordType::SOA)).await.unwrap();
    match &soa.message.answers[0].data {
        RData::SOA(SOA { serial, .. }) => *serial,
        other => panic!("{other}"),
    }
}

/// Waits until the wall clock is past this second.
async fn second_after(second: u32) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    while now() <= u64::from(second) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_ready_is_gone_and_the_serial_moves() {
    let world = world().await;
    let both = format!("NoError aa: {GOSSIP} 0 IN A 10.244.1.41, {GOSSIP} 0 IN A 10.244.2.42");
    world.until(GOSSIP, &both).await;
    let before = serial(&world).await;
    // It is the time of the last change in seconds, as in CoreDNS: two within one second have the same.
    second_after(before).await;
    world.change(|items| {
        object(items, "EndpointSlice", "gossip-x")["endpoints"][0]["conditions"]["ready"] = json!(false);
    });
    world.until(GOSSIP, &format!("NoError aa: {GOSSIP} 0 IN A 10.244.2.42")).await;
    let after = serial(&world).await;
    assert!(after > before, "{before} and then {after}");
    second_after(after).await;
    world.change(|items| {
        object(items, "EndpointSlice", "gossip-x")["endpoints"][0]["conditions"]["ready"] = json!(true);
    });
    world.until(GOSSIP, &both).await;
    assert!(serial(&world).await > after);
}

#[tokio::test]
async fn a_service_that_is_deleted_and_made_again_has_its_new_address() {
    let world = world().await;
    world.until(STOREFRONT, &format!("NoError aa: {STOREFRONT} 0 IN A 10.96.14.20")).await;
    let mut service = Value::Null;
    world.change(|items| service = take(items, "Service", "storefront"));
    world.until(STOREFRONT, "NXDomain aa soa").await;
    let back = Query::new("20.14.96.10.in-addr.arpa.", RecordType::PTR);
    assert_eq!(world.ask(&back).await, "NXDomain aa soa", "its address is nobody's");
    service["spec"]["clusterIP"] = json!("10.96.14.77");
    service["spec"]["clusterIPs"] = json!(["10.96.14.77"]);
    world.change(|items| items.push(service));
    world.until(STOREFRONT, &format!("NoError aa: {STOREFRONT} 0 IN A 10.96.14.77")).await;
}

/// Services without their namespace are left over from its deletion, or come before it: there are no names in
/// it.
#[tokio::test]
async fn without_its_namespace_a_service_has_no_name() {
    let world = world().await;
    let mut namespace = Value::Null;
    world.change(|items| namespace = take(items, "Namespace", "shop"));
    world.until(STOREFRONT, "NXDomain aa soa").await;
    world
        .check(&[
            ("a headless one", Query::a(GOSSIP), "NXDomain aa soa"),
            ("the namespace itself", Query::a("shop.svc.cluster.local."), "NXDomain aa soa"),
            (
                "another namespace",
                Query::a("storefront.lab.svc.cluster.local."),
                "NoError aa: storefront.lab.svc.cluster.local. 0 IN A 10.96.20.20",
            ),
        ])
        .await;
    world.change(|items| items.push(namespace));
    world.until(STOREFRONT, &format!("NoError aa: {STOREFRONT} 0 IN A 10.96.14.20")).await;
}

/// A pod on its way out has no name. In CoreDNS it keeps its name where the server has known it from before,
/// and has none where the server was started later; two servers of one cluster then disagree until the pod is
/// deleted. Here the answer does not depend on when a node was started.
#[tokio::test]
async fn a_pod_that_is_over_or_going_has_no_name() {
    let world = world().await;
    let name = "127-244-5-9.lab.pod.cluster.local.";
    let found = format!("NoError aa: {name} 0 IN A {POD}");
    world.until(name, &found).await;
    let cases: [(&str, &str, Value); 2] = [
        ("it is being deleted", "/metadata", json!({"deletionTimestamp": "2026-11-22T16:56:57Z"})),
        ("it has succeeded", "/status", json!({"phase": "Succeeded"})),
    ];
    for (why, place, fields) in cases {
        let mut whole = Value::Null;
        world.change(|items| {
            let pod = object(items, "Pod", "asker");
            whole = pod.clone();
            let part = pod.pointer_mut(place).unwrap().as_object_mut().unwrap();
            part.extend(fields.as_object().unwrap().clone());
        });
        world.until(name, "NXDomain aa soa").await;
        world.change(|items| *object(items, "Pod", "asker") = whole);
        world.until(name, &found).await;
        assert!(world.node.metric("outlast_objects{kind=\"Pod\"}") > Some(0.0), "{why}");
    }
    // So is one of the first list that has ended.
    assert_eq!(world.ask(&Query::a("10-244-5-11.lab.pod.cluster.local.")).await, "NXDomain aa soa");
}

/// While an EndpointSlice is replaced by two, an address is in both: it is one record.
#[tokio::test]
async fn an_address_in_two_slices_is_one_record() {
    let world = world().await;
    let name = "skew.shop.svc.cluster.local.";
    let want = format!("NoError aa: {name} 0 IN A 10.244.1.81, {name} 0 IN A 10.244.1.82");
    assert_eq!(world.ask(&Query::a(name)).await, want);
    world.change(|items| _ = take(items, "EndpointSlice", "skew-2"));
    world.until(name, &format!("NoError aa: {name} 0 IN A 10.244.1.81")).await;
}
