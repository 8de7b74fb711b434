//! Plugins of one chain together: who comes first, and what one does to another's answers.

use std::collections::BTreeSet;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use outlast::testkit::client::Query;
use serde_json::json;

use super::world::{POD, World, object, said};

const HERD: &str = "herd.shop.svc.cluster.local.";

fn ptr(name: &str) -> Query {
    Query::new(name, RecordType::PTR)
}

/// Two hundred answers: first addresses, and whether all have the same sixty.
async fn orders(world: &World) -> BTreeSet<String> {
    let (mut firsts, mut sets) = (BTreeSet::new(), BTreeSet::new());
    let mut connection = world.client.connect().await.unwrap();
    for _ in 0..4 {
        for answer in connection.pipeline(&vec![Query::a(HERD); 50]).await.unwrap() {
            let mut answers = answer.answers();
            firsts.insert(answers[0].clone());
            answers.sort();
            assert_eq!(answers.len(), 60);
            sets.insert(answers);
        }
    }
    assert_eq!(sets.len(), 1, "the same records each time");
    firsts
}

#[tokio::test]
async fn loadbalance_changes_the_order_and_nothing_else() {
    let without = World::start(".:0 {\n BIND\n KUBE\n}").await;
    assert_eq!(orders(&without).await.len(), 1);
    let with = World::start(".:0 {\n BIND\n loadbalance\n KUBE\n forward . STUB\n}").await;
    // That three or fewer of 60 are ever first has a probability below 10^-250.
    let firsts = orders(&with).await;
    assert!(firsts.len() > 3, "{firsts:?}");
    let name = "herds.shop.svc.cluster.local.";
    with.change(|items| {
        let mut alias = object(items, "Service", "alias").clone();
        alias["metadata"]["name"] = json!("herds");
        alias["spec"]["externalName"] = json!(HERD.trim_end_matches('.'));
        items.push(alias);
    });
    with.node.until("the alias", |node| node.metric("outlast_data_generation") > Some(1.0)).await;
    let mut seconds = BTreeSet::new();
    for _ in 0..50 {
        let answers = with.client.tcp(&Query::a(name)).await.unwrap().answers();
        assert_eq!(answers.len(), 61);
        assert_eq!(answers[0], format!("{name} 0 IN CNAME {HERD}"), "an alias comes first");
        seconds.insert(answers[1].clone());
    }
    assert!(seconds.len() > 3, "{seconds:?}");
}

#[tokio::test]
async fn hosts_come_before_the_cluster() {
    let world = World::start(
        ".:0 {
            BIND
            hosts /nowhere {
                10.1.2.3 Reg.Corp.example
                10.96.14.20 front.corp.example
                fallthrough
                reload 0
            }
            KUBE
            forward . STUB
        }",
    )
    .await;
    world
        .check(&[
            (
                "an owner in lower case",
                Query::a("REG.corp.example."),
                "NoError aa: reg.corp.example. 3600 IN A 10.1.2.3",
            ),
            ("no IPv6 address", Query::new("reg.corp.example.", RecordType::AAAA), "NoError aa"),
            ("no record of another type", Query::new("reg.corp.example.", RecordType::TXT), "NoError aa"),
            (
                "back",
                ptr("3.2.1.10.in-addr.arpa."),
                "NoError aa: 3.2.1.10.in-addr.arpa. 3600 IN PTR reg.corp.example.",
            ),
            (
                "back, where the cluster has another name",
                ptr("20.14.96.10.in-addr.arpa."),
                "NoError aa: 20.14.96.10.in-addr.arpa. 3600 IN PTR front.corp.example.",
            ),
            (
                "back, where only the cluster knows",
                ptr("1.0.96.10.in-addr.arpa."),
                "NoError aa: 1.0.96.10.in-addr.arpa. 0 IN PTR kubernetes.default.svc.cluster.local.",
            ),
            (
                "forth, to the cluster",
                Query::a("cart.shop.svc.cluster.local."),
                "NoError aa: cart.shop.svc.cluster.local. 0 IN A 10.96.14.21",
            ),
            (
                "forth, to the world",
                Query::a("smtp.example.net."),
                "NoError ra: smtp.example.net. 120 IN A 198.51.100.25",
            ),
        ])
        .await;
}

/// A file of hosts has no SOA record that could vouch for a denial.
#[tokio::test]
async fn hosts_without_fallthrough_answer_for_their_zone() {
    let world = World::start(
        ".:0 {\n BIND\n hosts /nowhere corp.example {\n 10.1.2.3 reg.corp.example\n reload 0\n }\n forward . STUB\n}",
    )
    .await;
    world
        .check(&[
            ("unknown, in the zone", Query::a("x.corp.example."), "ServFail"),
            (
                "outside of it",
                Query::a("smtp.example.net."),
                "NoError ra: smtp.example.net. 120 IN A 198.51.100.25",
            ),
        ])
        .await;
    assert_eq!(world.upstream.count("x.corp.example."), 0);
}

#[tokio::test]
async fn the_search_path_of_a_pod_is_followed() {
    let world = World::start(
        ".:0 {
            BIND
            autopath @kubernetes
            kubernetes cluster.local {
                CLUSTER
                pods verified
                ttl 0
            }
            forward . STUB
        }",
    )
    .await;
    struct Case {
        name: &'static str,
        source: &'static str,
        asked: &'static str,
        want: &'static str,
    }
    let cases = [
        Case {
            name: "a name outside, by way of an alias",
            source: POD,
            asked: "smtp.example.net.lab.svc.cluster.local.",
            want: "NoError ra: smtp.example.net.lab.svc.cluster.local. 120 IN CNAME smtp.example.net., \
                   smtp.example.net. 120 IN A 198.51.100.25",
        },
        Case {
            name: "a service of another namespace",
            source: POD,
            asked: "cart.shop.lab.svc.cluster.local.",
            want: "NoError aa: cart.shop.lab.svc.cluster.local. 0 IN CNAME cart.shop.svc.cluster.local., \
                   cart.shop.svc.cluster.local. 0 IN A 10.96.14.21",
        },
        Case {
            name: "a name that exists is what it is",
            source: POD,
            asked: "storefront.lab.svc.cluster.local.",
            want: "NoError aa: storefront.lab.svc.cluster.local. 0 IN A 10.96.20.20",
        },
        Case {
            name: "nothing anywhere",
            source: POD,
            asked: "nosuch.example.net.lab.svc.cluster.local.",
            want: "NXDomain aa soa",
        },
        Case {
            name: "somebody who is no pod",
            source: "127.244.5.99",
            asked: "smtp.example.net.lab.svc.cluster.local.",
            want: "NXDomain aa soa",
        },
        Case {
            name: "the path of another namespace",
            source: POD,
            asked: "smtp.example.net.shop.svc.cluster.local.",
            want: "NXDomain aa soa",
        },
    ];
    for Case { name, source, asked, want } in cases {
        let query = Query::a(asked);
        assert_eq!(said(&query, &world.answer_to(source, &query).await), want, "{name}");
    }
}

/// What is cached is no way round a rule: `acl` stands before `cache`.
#[tokio::test]
async fn clients_that_are_blocked_get_nothing_from_the_cache() {
    let world = World::start(&format!(
        ".:0 {{
            BIND
            cache 30
            acl {{
                block net {POD}/32
            }}
            forward . STUB
        }}"
    ))
    .await;
    let query = Query::a("smtp.example.net.");
    assert_eq!(world.client.udp(&query).await.unwrap().answers().len(), 1);
    for _ in 0..2 {
        let blocked = world.answer_to(POD, &query).await;
        assert_eq!((blocked.rcode(), blocked.answers().len()), (ResponseCode::Refused, 0));
        assert_eq!(blocked.ede(), [(15, String::new())], "RFC 8914: blocked");
    }
    let other = world.answer_to("127.244.6.9", &query).await;
    assert_eq!(other.answers().len(), 1);
    assert_eq!(world.upstream.count("smtp.example.net."), 1, "the others had it from the cache");
}

/// Flags and sections of the cluster's answers and of what came from elsewhere.
#[tokio::test]
async fn header_and_minimal_change_every_answer() {
    let world = World::start(
        ".:0 {\n BIND\n header {\n response set ra\n response clear aa\n }\n minimal\n KUBE\n forward . STUB\n}",
    )
    .await;
    let srv = Query::new("_web._tcp.storefront.shop.svc.cluster.local.", RecordType::SRV);
    world
        .check(&[
            (
                "of the cluster",
                srv,
                "NoError ra: _web._tcp.storefront.shop.svc.cluster.local. 0 IN SRV 0 100 80 \
                 storefront.shop.svc.cluster.local.",
            ),
            ("a denial keeps its SOA", Query::a("nosuch.shop.svc.cluster.local."), "NXDomain ra soa"),
            (
                "from elsewhere",
                Query::a("smtp.example.net."),
                "NoError ra: smtp.example.net. 120 IN A 198.51.100.25",
            ),
        ])
        .await;
}

/// A file without ports: both servers are asked, at port 53. Nobody listens there, which is counted for each.
#[tokio::test]
async fn every_server_of_a_resolv_conf_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let text = "search a.example\nnameserver 127.99.0.1\noptions ndots:5 rotate\nnameserver 127.99.0.2\n";
    let file = super::world::write(folder.path(), "resolv.conf", text);
    let world = World::start(&format!(".:0 {{\n BIND\n errors\n forward . {}\n}}", file.display())).await;
    world.check(&[("nobody is there", Query::a("www.example."), "ServFail")]).await;
    for server in ["127.99.0.1:53", "127.99.0.2:53"] {
        let series = format!("outlast_forward_failures_total{{to=\"{server}\",cause=\"refused\"}}");
        assert!(world.node.metric(&series) >= Some(1.0), "{server}\n{}", world.node.scrape());
    }
}
