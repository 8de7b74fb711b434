//! A node's life: a start without an API server, other configurations, a loop, and its end.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hickory_proto::op::ResponseCode;
use nix::sys::signal::Signal;
use outlast::ops::admin::Face;
use outlast::testkit::client::Query;
use outlast::testkit::upstream::Behaviour;

use super::http;
use super::process::{Process, outlast};
use super::world::{Cluster, World, write};

const STOREFRONT: &str = "storefront.shop.svc.cluster.local.";

/// Status and body, without holding up the node in this thread.
async fn get(world: &World, face: Face) -> (u16, String) {
    let path = match face {
        Face::Health => "/health",
        Face::Ready => "/ready",
        _ => "/metrics",
    };
    let address = world.node.faces().iter().find(|(f, _)| *f == face).unwrap().1;
    tokio::task::spawn_blocking(move || http::get(address, path)).await.unwrap()
}

/// CoreDNS opens its port after five seconds of waiting; here it is open from the start, since names outside,
/// and all that a snapshot has, need no API server.
#[tokio::test]
async fn without_an_api_server_everything_else_is_answered_from_the_start() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = World::start_without_data(
        &format!(
            ".:0 {{
                BIND
                health 127.0.0.1:0
                ready 127.0.0.1:0
                kubernetes cluster.local {{
                    endpoint http://{closed}
                }}
                forward . STUB
            }}"
        ),
        Cluster::new(),
    )
    .await;
    world
        .check(&[
            (
                "a name outside",
                Query::a("smtp.example.net."),
                "NoError ra: smtp.example.net. 120 IN A 198.51.100.25",
            ),
            ("a name of the cluster", Query::a(STOREFRONT), "ServFail aa soa"),
        ])
        .await;
    assert_eq!(get(&world, Face::Health).await, (200, "OK".to_owned()));
    assert_eq!(get(&world, Face::Ready).await, (503, "kubernetes".to_owned()));
    let why = world.client.udp(&Query::a(STOREFRONT).edns(1232)).await.unwrap().ede();
    assert_eq!(
        why,
        [(14, "no data yet: Namespace, Service, EndpointSlice".to_owned())],
        "not ready (RFC 8914)"
    );
}

/// Queries that are under way end as they began, and new ones have the new configuration.
#[tokio::test]
async fn no_query_is_lost_to_a_new_configuration() {
    let mut world = World::start(".:0 {\n BIND\n KUBE\n forward . STUB\n}").await;
    world.upstream.add("slow.test. 60 A 192.0.2.1");
    world.upstream.set("slow.test.", Behaviour::Delay(Duration::from_millis(500)));
    let client = world.client;
    let slow = tokio::spawn(async move {
        join_all((0..20).map(|_| async move { client.udp(&Query::a("slow.test.")).await })).await
    });
    let mut connection = client.connect().await.unwrap();
    connection.send(&Query::a("slow.test.").id(1)).await.unwrap();
    while world.upstream.count("slow.test.") < 21 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world
        .reload(".:0 {\n BIND\n KUBE\n rewrite name exact new.test smtp.example.net\n forward . STUB\n}")
        .await
        .unwrap();
    let rewritten = world.ask(&Query::a("new.test.")).await;
    assert_eq!(rewritten, "NoError ra: new.test. 120 IN A 198.51.100.25");
    for answer in slow.await.unwrap() {
        assert_eq!(answer.unwrap().answers(), ["slow.test. 60 IN A 192.0.2.1"]);
    }
    assert_eq!(connection.receive().await.unwrap().message.metadata.id, 1, "the connection is still there");
    connection.send(&Query::a(STOREFRONT).id(2)).await.unwrap();
    assert_eq!(connection.receive().await.unwrap().answers().len(), 1, "and the cluster's data");
}

#[tokio::test]
async fn a_broken_configuration_changes_nothing() {
    let mut world = World::start(".:0 {\n BIND\n KUBE\n forward . STUB\n}").await;
    for (broken, part) in [
        (".:0 {\n BIND\n KUBE\n forward . STUB\n", "Unexpected EOF"),
        (
            ".:0 {\n BIND\n KUBE\n forwrd . STUB\n}",
            "Corefile:8 - Error during parsing: Unknown directive 'forwrd'",
        ),
        (".:0 {\n bind 192.0.2.77\n forward . STUB\n}", "192.0.2.77"),
    ] {
        let error = format!("{:#}", world.reload(broken).await.unwrap_err());
        assert!(error.contains(part), "{error}");
        world
            .check(&[
                (
                    "the cluster",
                    Query::a(STOREFRONT),
                    "NoError aa: storefront.shop.svc.cluster.local. 0 IN A 10.96.14.20",
                ),
                (
                    "the world",
                    Query::a("smtp.example.net."),
                    "NoError ra: smtp.example.net. 120 IN A 198.51.100.25",
                ),
            ])
            .await;
    }
}

/// CoreDNS ends itself when it finds that it forwards to itself, and takes the cluster's names with it, again
/// and again. Here the loop is broken and said: names that would go round fail, all others are answered.
#[tokio::test]
async fn a_loop_is_broken_and_does_not_end_the_node() {
    let mut world = World::start(".:0 {\n BIND\n errors\n KUBE\n forward . STUB\n}").await;
    let own = world.node.dns;
    // Its port is known only now.
    let looping = format!(".:0 {{\n BIND\n errors\n loop\n KUBE\n forward . {own}\n}}");
    world.reload(&looping).await.unwrap();
    assert_eq!(world.node.dns, own);
    world.node.logged("detected for zone \".\"").await;
    let outside = world.client.udp(&Query::a("smtp.example.net.").edns(1232)).await.unwrap();
    assert_eq!(outside.rcode(), ResponseCode::ServFail);
    let why = "forwarding of zone . leads back to this server".to_owned();
    assert_eq!(outside.ede(), [(0, why)]);
    let found = "NoError aa: storefront.shop.svc.cluster.local. 0 IN A 10.96.14.20";
    world.check(&[("the cluster", Query::a(STOREFRONT), found)]).await;
    assert_eq!(world.node.metric("outlast_loop_detected{zone=\".\"}"), Some(1.0));
    // And it ends with the configuration that made it.
    world.reload(".:0 {\n BIND\n errors\n loop\n KUBE\n forward . STUB\n}").await.unwrap();
    world.until("smtp.example.net.", "NoError ra: smtp.example.net. 120 IN A 198.51.100.25").await;
}

/// Whoever looks at `/ready` sends nobody here any more; who still comes is answered.
#[test]
fn in_the_lameduck_readiness_is_gone_and_answers_go_on() {
    const LAMEDUCK: Duration = Duration::from_secs(5);
    let (cluster, folder) = (Cluster::new(), tempfile::tempdir().unwrap());
    let text = format!(
        ".:0 {{
            bind 127.0.0.1
            health 127.0.0.1:0 {{
                lameduck 5s
            }}
            ready 127.0.0.1:0
            kubernetes cluster.local {{
                source file {}
            }}
        }}",
        cluster.file().display()
    );
    let corefile = write(folder.path(), "Corefile", &text);
    let node = Process::start(outlast().args(["node", "--conf"]).arg(corefile));
    let query = Query::a(STOREFRONT);
    node.ask_until("data", &query, |answer| answer.answers().len() == 1);
    let (health, ready) = (node.address("serving /health"), node.address("serving /ready"));
    let is_ready = |at: SocketAddr| TcpStream::connect(at).is_ok() && http::get(at, "/ready").0 == 200;
    node.wait_for("readiness", |_| is_ready(ready).then_some(()));
    node.signal(Signal::SIGTERM);
    let began = Instant::now();
    node.wait_for("the end of readiness", |_| (!is_ready(ready)).then_some(()));
    assert_eq!(node.ask(&query).answers().len(), 1);
    assert_eq!(http::get(health, "/health"), (200, "OK".to_owned()));
    let (code, output) = node.wait();
    assert_eq!(code, 0, "{output}");
    assert!(began.elapsed() >= LAMEDUCK, "{output}");
}
