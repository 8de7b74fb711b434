//! `rewrite` and `template` in front of the cluster and of upstreams: what is asked, and what comes back.

use hickory_proto::rr::RecordType;
use outlast::testkit::client::Query;

use super::world::World;

/// A block with these rules before the cluster and an upstream.
async fn world(rules: &str) -> World {
    World::start(&format!(".:0 {{\n BIND\n {rules}\n KUBE\n forward . STUB\n}}")).await
}

fn srv(name: &str) -> Query {
    Query::new(name, RecordType::SRV)
}

#[tokio::test]
async fn names_of_the_cluster_under_another_name() {
    struct Case {
        name: &'static str,
        rules: &'static str,
        query: Query,
        want: &'static str,
    }
    const CLUSTER: &str = "storefront.shop.svc.cluster.local.";
    let cases = [
        Case {
            name: "an exact name comes back",
            rules: "rewrite name exact shop.corp.example storefront.shop.svc.cluster.local",
            query: Query::a("shop.corp.example."),
            want: "NoError aa: shop.corp.example. 0 IN A 10.96.14.20",
        },
        Case {
            name: "a suffix comes back where it is asked to",
            rules: "rewrite name suffix .corp.example .svc.cluster.local answer auto",
            query: Query::a("storefront.shop.corp.example."),
            want: "NoError aa: storefront.shop.corp.example. 0 IN A 10.96.14.20",
        },
        Case {
            name: "an expression without a rule for answers changes the question alone",
            rules: r"rewrite name regex (.*)\.corp\.example {1}.shop.svc.cluster.local",
            query: Query::a("storefront.corp.example."),
            want: "NoError aa: storefront.shop.svc.cluster.local. 0 IN A 10.96.14.20",
        },
        Case {
            name: "targets, and their addresses, come back as well",
            rules: r"rewrite stop {
                name regex (.*)\.corp\.example {1}.shop.svc.cluster.local
                answer name (.*)\.shop\.svc\.cluster\.local {1}.corp.example
                answer value (.*)\.shop\.svc\.cluster\.local {1}.corp.example
            }",
            query: srv("_web._tcp.storefront.corp.example."),
            want: "NoError aa: _web._tcp.storefront.corp.example. 0 IN SRV 0 100 80 storefront.corp.example. \
                   | storefront.corp.example. 0 IN A 10.96.14.20",
        },
        Case {
            name: "a TTL for one name",
            rules: "rewrite ttl exact storefront.shop.svc.cluster.local. 60",
            query: Query::a(CLUSTER),
            want: "NoError aa: storefront.shop.svc.cluster.local. 60 IN A 10.96.14.20",
        },
        Case {
            name: "and no other",
            rules: "rewrite ttl exact storefront.shop.svc.cluster.local. 60",
            query: Query::a("kubernetes.default.svc.cluster.local."),
            want: "NoError aa: kubernetes.default.svc.cluster.local. 0 IN A 10.96.0.1",
        },
        Case {
            name: "a name that is missing under its other name, too",
            rules: "rewrite name exact shop.corp.example nosuch.shop.svc.cluster.local",
            query: Query::a("shop.corp.example."),
            want: "NXDomain aa soa",
        },
        Case {
            name: "a name outside",
            rules: "rewrite name exact mail.corp.example smtp.example.net",
            query: Query::a("mail.corp.example."),
            want: "NoError ra: mail.corp.example. 120 IN A 198.51.100.25",
        },
    ];
    for Case { name, rules, query, want } in cases {
        assert_eq!(world(rules).await.ask(&query).await, want, "{name}");
    }
}

#[tokio::test]
async fn templates_before_an_upstream() {
    const DEAD: &str = r#"template ANY ANY dead.example.net {
        match "^(?:[^.]+\.){4,}dead\.example\.net\.$"
        rcode NXDOMAIN
        FALLTHROUGH
    }"#;
    let with = DEAD.replace("FALLTHROUGH", "fallthrough");
    let world_with = world(&with).await;
    world_with.upstream.add("a.dead.example.net. 60 A 192.0.2.7");
    world_with
        .check(&[
            ("it matches", Query::a("a.b.c.d.dead.example.net."), "NXDomain aa"),
            (
                "too short",
                Query::a("a.dead.example.net."),
                "NoError ra: a.dead.example.net. 60 IN A 192.0.2.7",
            ),
        ])
        .await;
    assert_eq!(world_with.upstream.count("a.b.c.d.dead.example.net."), 0);

    let without = world(&DEAD.replace("FALLTHROUGH", "")).await;
    without.check(&[("nobody else is asked", Query::a("a.dead.example.net."), "ServFail")]).await;
    assert_eq!(without.upstream.count("a.dead.example.net."), 0);

    let made = world(
        r#"template IN A example.test {
            match "^ip-(?P<a>\d+)-(?P<b>\d+)-(?P<c>\d+)-(?P<d>\d+)\.example\.test\.$"
            answer "{{ .Name }} 60 IN A {{ .Group.a }}.{{ .Group.b }}.{{ .Group.c }}.{{ .Group.d }}"
            fallthrough
        }"#,
    )
    .await;
    made.check(&[
        (
            "an address from the name",
            Query::a("ip-10-1-2-3.example.test."),
            "NoError aa: ip-10-1-2-3.example.test. 60 IN A 10.1.2.3",
        ),
        (
            "another type goes on",
            Query::new("ip-10-1-2-3.example.test.", RecordType::AAAA),
            "NXDomain ra soa",
        ),
    ])
    .await;
}
