//! `cache` between clients and a cluster, and between clients and an upstream: what is kept and what is not.
//!
//! Whatever depends on time is played without sockets, in the scripts of `tests/cache`.

use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use outlast::testkit::client::Query;
use outlast::testkit::upstream::Behaviour;
use serde_json::json;

use super::world::{Cluster, World, object, said};

const STOREFRONT: &str = "storefront.shop.svc.cluster.local.";

/// A block with this cache between the cluster and an upstream.
fn block(cache: &str) -> String {
    format!(".:0 {{\n BIND\n errors\n {cache}\n KUBE\n forward . STUB\n}}")
}

/// Answers that came from the cache.
fn hits(world: &World) -> f64 {
    let text = world.node.scrape();
    let hits = text.lines().filter(|line| line.starts_with("coredns_cache_hits_total{"));
    hits.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// CoreDNS caches the names of the cluster like any others: it raises their TTL to 5 s, bounds it by `cache
/// 30`, and goes on with an old address, or with a failure from before the first list, for as long. Here the
/// table is as fast as a cache, and it is the truth: its names are never cached, and their TTLs are those of
/// the `kubernetes` block.
#[tokio::test]
async fn cluster_names_are_not_cached() {
    let cluster = Cluster::new();
    std::fs::rename(cluster.file(), cluster.hidden()).unwrap();
    let back = [cluster.hidden(), cluster.file()];
    let world = World::start_without_data(&block("cache 30"), cluster).await;
    assert_eq!(world.ask(&Query::a(STOREFRONT)).await, "ServFail aa soa");
    std::fs::rename(&back[0], &back[1]).unwrap();
    world.node.state("live").await;
    world
        .check(&[
            (
                "a failure ends with its reason",
                Query::a(STOREFRONT),
                "NoError aa: storefront.shop.svc.cluster.local. 0 IN A 10.96.14.20",
            ),
            (
                "a TTL of 0 is not raised",
                Query::a(STOREFRONT),
                "NoError aa: storefront.shop.svc.cluster.local. 0 IN A 10.96.14.20",
            ),
            ("nor that of a denial", Query::a("nosuch.shop.svc.cluster.local."), "NXDomain aa soa"),
            (
                "an alias is the cluster's",
                Query::a("mail.shop.svc.cluster.local."),
                "NoError aa: mail.shop.svc.cluster.local. 0 IN CNAME smtp.example.net., \
                 smtp.example.net. 30 IN A 198.51.100.25",
            ),
        ])
        .await;
    world.client.udp(&Query::a("mail.shop.svc.cluster.local.")).await.unwrap();
    assert_eq!(world.upstream.count("smtp.example.net."), 1, "where it leads to is cached");
    let version = world.client.udp(&Query::new("dns-version.cluster.local.", RecordType::TXT)).await.unwrap();
    assert!(version.message.answers[0].ttl > 30, "{:?}: not bounded by the cache", version.answers());
    let soa = &world.client.udp(&Query::a("nosuch.shop.svc.cluster.local.")).await.unwrap().authorities()[0];
    assert!(soa.starts_with("cluster.local. 0 IN SOA "), "{soa}");
}

/// People write this to be rid of caching for their cluster. It says what is so anyway.
#[tokio::test]
async fn a_changed_address_is_seen_at_once() {
    let cache = "cache 30 {\n disable success cluster.local\n disable denial cluster.local\n }";
    for cache in [cache, "cache 30"] {
        let world = World::start(&block(cache)).await;
        world.until(STOREFRONT, &format!("NoError aa: {STOREFRONT} 0 IN A 10.96.14.20")).await;
        world.change(|items| {
            let service = object(items, "Service", "storefront");
            service["spec"]["clusterIP"] = json!("10.96.14.99");
            service["spec"]["clusterIPs"] = json!(["10.96.14.99"]);
        });
        world.until(STOREFRONT, &format!("NoError aa: {STOREFRONT} 0 IN A 10.96.14.99")).await;
        assert_eq!(hits(&world), 0.0, "{cache}");
    }
}

/// The same question twice: what the client gets each time, and how often the upstream was asked.
#[tokio::test]
async fn what_is_kept_of_an_upstream_s_replies() {
    struct Case {
        name: &'static str,
        behaviour: Behaviour,
        first: &'static str,
        second: &'static str,
        asked: usize,
    }
    const FOUND: &str = ": www.test. 30 IN A 192.0.2.1";
    let case = |name, behaviour, first, second, asked| Case { name, behaviour, first, second, asked };
    let cases = [
        // A reply from the cache has AA set, as in CoreDNS: clients of clusters have never seen anything
        // else.
        case("an answer", Behaviour::Answer, "NoError ra", "NoError aa ra", 1),
        case("a denial", Behaviour::NxDomain, "NXDomain ra soa", "NXDomain aa ra soa", 1),
        case(
            "a denial without an SOA",
            Behaviour::Rcode(ResponseCode::NXDomain),
            "NXDomain ra",
            "NXDomain ra",
            2,
        ),
        case(
            "no data, and no SOA",
            Behaviour::Rcode(ResponseCode::NoError),
            "NoError ra",
            "NoError aa ra",
            1,
        ),
        case(
            "a failure of the upstream",
            Behaviour::Rcode(ResponseCode::ServFail),
            "ServFail ra",
            "ServFail aa ra",
            1,
        ),
        case("a refusal", Behaviour::Rcode(ResponseCode::Refused), "Refused ra", "Refused ra", 2),
        case("a truncated reply", Behaviour::TruncateUdp, "NoError ra tc", "NoError ra tc", 2),
        // CoreDNS does not remember that an upstream is silent, and has each client wait for it. RFC 9520
        // §3.2 asks for it to be remembered like any other failure.
        case("silence", Behaviour::Silent, "ServFail", "ServFail", 2),
    ];
    for Case { name, behaviour, first, second, asked } in cases {
        // Short where it has to pass, else long enough for any machine.
        let patience = if matches!(behaviour, Behaviour::Silent) { "100ms" } else { "10s" };
        let forward = format!("forward . STUB {{\n read_timeout {patience}\n }}");
        let world = World::start(&format!(".:0 {{\n BIND\n cache 30\n {forward}\n}}")).await;
        world.upstream.add("www.test. 300 A 192.0.2.1");
        let answered = matches!(behaviour, Behaviour::Answer);
        world.upstream.set("www.test.", behaviour);
        let query = Query::a("www.test.");
        let found = |flags: &str| if answered { format!("{flags}{FOUND}") } else { flags.to_owned() };
        assert_eq!(world.ask(&query).await, found(first), "{name}");
        let mut got = world.ask(&query).await;
        if answered {
            // A few seconds may have passed.
            got = (20..30).fold(got, |got, ttl| got.replace(&format!(" {ttl} IN "), " 30 IN "));
        }
        assert_eq!(got, found(second), "{name}, the second time");
        assert_eq!(world.upstream.count("www.test."), asked, "{name}");
    }
}

/// Truncated replies are not kept; the whole one that the client fetches over TCP is.
#[tokio::test]
async fn a_truncated_reply_is_fetched_over_tcp_and_kept() {
    let world = World::start(".:0 {\n BIND\n cache 30\n forward . STUB\n}").await;
    world.upstream.add("www.test. 300 A 192.0.2.1");
    world.upstream.set("www.test.", Behaviour::TruncateUdp);
    for _ in 0..2 {
        let answer = world.client.ask(&Query::a("www.test.")).await.unwrap();
        assert_eq!(answer.answers().len(), 1);
    }
    // Over UDP and TCP for the first client; the second had it over UDP from the cache.
    assert_eq!(world.upstream.count("www.test."), 2);
}

/// CoreDNS asks once for each of them: a name that expires under load hits its upstreams with all of the
/// load.
#[tokio::test]
async fn twenty_who_ask_at_once_are_one_question_upstream() {
    let world = World::start(".:0 {\n BIND\n cache 30\n forward . STUB\n}").await;
    world.upstream.add("www.test. 300 A 192.0.2.1");
    world.upstream.set("www.test.", Behaviour::Delay(Duration::from_millis(300)));
    let query = Query::a("www.test.");
    let answers = join_all((0..20).map(|_| world.client.udp(&query))).await;
    for answer in answers {
        assert!(said(&query, &answer.unwrap()).ends_with(" IN A 192.0.2.1"));
    }
    assert_eq!(world.upstream.count("www.test."), 1);
}

/// CoreDNS begins with an empty cache after each reload. Here a changed Corefile does not cost the names that
/// are in use, in the moment in which their upstream may be away.
#[tokio::test]
async fn the_cache_survives_a_reload() {
    let mut world = World::start(".:0 {\n BIND\n cache 30\n forward . STUB\n}").await;
    let query = Query::a("smtp.example.net.");
    world.client.udp(&query).await.unwrap();
    world.upstream.set_all(Behaviour::Silent);
    world.reload(".:0 {\n BIND\n errors\n cache 60\n forward . STUB\n}").await.unwrap();
    let kept = world.client.udp(&query).await.unwrap();
    assert_eq!((kept.answers().len(), kept.message.metadata.authoritative), (1, true), "from the cache");
    assert_eq!(hits(&world), 1.0);
    assert_eq!(world.upstream.count("smtp.example.net."), 1);
}
