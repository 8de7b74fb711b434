//! Server blocks side by side, and what their keys mean.

use hickory_proto::rr::RecordType;
use outlast::testkit::client::Query;

use super::process::{Process, outlast};
use super::world::{World, write};

fn ptr(name: &str) -> Query {
    Query::new(name, RecordType::PTR)
}

/// The longest zone decides, whatever the order of the blocks.
#[tokio::test]
async fn a_block_within_the_cluster_s_zone_has_its_names() {
    let world = World::start(
        "cluster.local:0 {
            BIND
            KUBE
        }
        .:0 {
            BIND
            forward . STUB
        }
        lab.svc.cluster.local:0 {
            BIND
            forward . STUB
        }",
    )
    .await;
    world.upstream.add("storefront.lab.svc.cluster.local. 60 A 192.0.2.9");
    world
        .check(&[
            (
                "in the inner block",
                Query::a("storefront.lab.svc.cluster.local."),
                "NoError ra: storefront.lab.svc.cluster.local. 60 IN A 192.0.2.9",
            ),
            (
                "its letter case means nothing",
                Query::a("storefront.LAB.svc.cluster.local."),
                "NoError ra: storefront.lab.svc.cluster.local. 60 IN A 192.0.2.9",
            ),
            (
                "beside it",
                Query::a("storefront.shop.svc.cluster.local."),
                "NoError aa: storefront.shop.svc.cluster.local. 0 IN A 10.96.14.20",
            ),
            ("a longer label is another", Query::a("storefront.xlab.svc.cluster.local."), "NXDomain aa soa"),
            (
                "outside",
                Query::a("smtp.example.net."),
                "NoError ra: smtp.example.net. 120 IN A 198.51.100.25",
            ),
        ])
        .await;
}

/// A prefix that does not end at a dot of the name is several zones (RFC 1035 §3.5).
#[tokio::test]
async fn a_prefix_as_a_key_is_its_reverse_zones() {
    let world = World::start("10.96.0.0/12:0 fd10::/16:0 cluster.local:0 {\n BIND\n KUBE\n}").await;
    // fd10:96::e1e, and the same in the prefix behind it.
    let v6 = |prefix: &str| format!("e.1.e.0.{}6.9.0.0.{prefix}.ip6.arpa.", "0.".repeat(20));
    let duo = v6("0.1.d.f");
    let found = format!("NoError aa: {duo} 0 IN PTR duo.shop.svc.cluster.local.");
    world
        .check(&[
            (
                "the first of sixteen",
                ptr("20.14.96.10.in-addr.arpa."),
                "NoError aa: 20.14.96.10.in-addr.arpa. 0 IN PTR storefront.shop.svc.cluster.local.",
            ),
            ("one in the middle", ptr("1.0.104.10.in-addr.arpa."), "NXDomain aa soa"),
            ("the last", ptr("1.0.111.10.in-addr.arpa."), "NXDomain aa soa"),
            ("the one behind it", ptr("1.0.112.10.in-addr.arpa."), "Refused"),
            ("the one before it", ptr("1.0.95.10.in-addr.arpa."), "Refused"),
            ("what they are part of", ptr("10.in-addr.arpa."), "Refused"),
            ("IPv6, four bits a label", ptr(&duo), &found),
            ("IPv6, the prefix behind it", ptr(&v6("1.1.d.f")), "Refused"),
            (
                "the domain beside them",
                Query::a("cart.shop.svc.cluster.local."),
                "NoError aa: cart.shop.svc.cluster.local. 0 IN A 10.96.14.21",
            ),
        ])
        .await;
}

#[tokio::test]
async fn a_key_of_an_unset_variable_is_none() {
    let world = World::start("{$OUTLAST_TEST_UNSET} .:0 {%OUTLAST_TEST_UNSET%} {\n BIND\n KUBE\n}").await;
    let found = "NoError aa: cart.shop.svc.cluster.local. 0 IN A 10.96.14.21";
    world.check(&[("the other key is there", Query::a("cart.shop.svc.cluster.local."), found)]).await;
    assert_eq!(world.node.addresses().len(), 1);
}

/// A ConfigMap without custom blocks is the rule: a pattern that matches nothing is said, and no more.
#[test]
fn imports_that_match_nothing_start() {
    let folder = tempfile::tempdir().unwrap();
    let text = ".:0 {\n bind 127.0.0.1\n hosts {\n 10.1.2.3 a.example\n }\n import custom/*.override\n}\n\
                import custom/*.server\n";
    let corefile = write(folder.path(), "Corefile", text);
    let start = || Process::start(outlast().args(["node", "--conf"]).arg(&corefile)).serving();
    let node = start();
    for pattern in ["custom/*.override", "custom/*.server"] {
        node.wait_for(pattern, |node| {
            node.output().lines().any(|l| l.contains("[WARNING]") && l.contains(pattern)).then_some(())
        });
    }
    assert_eq!(node.ask(&Query::a("a.example.")).answers(), ["a.example. 3600 IN A 10.1.2.3"]);
    drop(node);

    // And with files they are part of it.
    write(folder.path(), "custom/a.override", "rewrite name exact b.example a.example\n");
    write(
        folder.path(),
        "custom/a.server",
        "corp.example:0 {\n bind 127.0.0.1\n template IN A {\n answer \"{{ .Name }} 7 IN A 10.9.9.9\"\n }\n}\n",
    );
    let node = start();
    assert_eq!(node.ask(&Query::a("b.example.")).answers(), ["b.example. 3600 IN A 10.1.2.3"]);
    assert_eq!(node.ask(&Query::a("x.corp.example.")).answers(), ["x.corp.example. 7 IN A 10.9.9.9"]);
}
