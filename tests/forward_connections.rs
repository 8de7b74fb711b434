//! Connections to upstreams: shared, kept, replaced when they are dead, within TLS.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::op::ResponseCode;
use outlast::forward::target::{self, Word};
use outlast::forward::{ForwardConfig, Forwarder, Outcome, Policy, Target, TlsFiles, Transport};
use outlast::ops::metrics::Metrics;
use outlast::testkit::client::{Answer, Query};
use outlast::testkit::upstream::tls::Identity;
use outlast::testkit::upstream::{Behaviour, FakeUpstream};
use tokio::time::{Instant, sleep, timeout};

/// Names `h0.test.` to `h99.test.`, each with an address of its own.
fn zone() -> String {
    (0..100).map(|i| format!("h{i}.test. 60 A 192.0.2.{i}\n")).collect()
}

fn forwarder(
    to: Vec<impl Into<Target>>,
    configure: impl FnOnce(&mut ForwardConfig),
) -> (Forwarder, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let mut config = ForwardConfig::new(".", to);
    configure(&mut config);
    (Forwarder::new(config, &metrics).expect("a valid configuration"), metrics)
}

/// The address of `h{host}.test.`, or what came instead.
async fn ask(forwarder: &Forwarder, host: u8) -> String {
    let query = Query::a(&format!("h{host}.test.")).id(u16::from(host)).bytes();
    match forwarder.forward(&query, Transport::Tcp).await {
        Outcome::Reply(reply) => {
            let answer = Answer::parse(reply.message).unwrap();
            assert_eq!(answer.message.metadata.id, u16::from(host));
            let code = answer.rcode();
            answer.answers().first().cloned().unwrap_or_else(|| format!("{code:?}"))
        }
        Outcome::Failed { error, .. } => error,
        other => format!("{other:?}"),
    }
}

fn answer(host: u8) -> String {
    format!("h{host}.test. 60 IN A 192.0.2.{host}")
}

fn metric(metrics: &Metrics, name: &str, to: SocketAddr, proto: &str) -> u64 {
    let series = format!("{name}{{proxy_name=\"forward\",to=\"{to}\",proto=\"{proto}\"}} ");
    let text = metrics.render();
    text.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn many_queries_share_few_connections_and_each_gets_its_own_reply() {
    for in_order in [false, true] {
        let upstream = FakeUpstream::start(&zone()).await;
        if in_order {
            upstream.answer_in_order();
        }
        // The later a query comes, the sooner it is answered.
        for host in 0..60 {
            let delay = Behaviour::Delay(Duration::from_millis(if in_order { 1 } else { 60 - host }));
            upstream.set(&format!("h{host}.test."), delay);
        }
        let (forwarder, metrics) = forwarder(vec![upstream.addr()], |_| {});
        for round in 1..=2 {
            let answers = join_all((0..60).map(|host| ask(&forwarder, host))).await;
            assert_eq!(answers, (0..60).map(answer).collect::<Vec<_>>(), "round {round}");
        }
        let connections = upstream.connections();
        assert!((2..=16).contains(&connections), "{connections}");
        let ids: HashSet<u16> = upstream.seen().iter().map(|seen| seen.id).collect();
        assert!(ids.len() > 110, "ids are drawn, and not the clients': {}", ids.len());
        let hits = metric(&metrics, "coredns_proxy_conn_cache_hits_total", upstream.addr(), "tcp");
        let misses = metric(&metrics, "coredns_proxy_conn_cache_misses_total", upstream.addr(), "tcp");
        assert_eq!(hits + misses, 120);
        assert!(hits >= 60, "the second round uses what the first has opened: {hits}");
    }
}

#[tokio::test]
async fn more_queries_than_connections_may_carry_are_not_sent() {
    let upstream = FakeUpstream::start(&zone()).await;
    upstream.set_all(Behaviour::Silent);
    let (forwarder, metrics) = forwarder(vec![upstream.addr()], |config| {
        (config.read_timeout, config.max_connect_attempts) = (Duration::from_secs(30), Some(1));
        config.max_fails = 0;
    });
    // 16 connections with 64 queries on each.
    let mut all: Vec<_> = (0..1025).map(|_| Box::pin(ask(&forwarder, 1))).collect();
    for query in &mut all {
        let _ = futures_util::poll!(query);
    }
    let full = all.pop().unwrap();
    drop(all);
    drop(full);
    assert_eq!(
        metrics
            .render()
            .lines()
            .filter(|line| line.starts_with("outlast_forward_failures_total") && line.contains("busy"))
            .collect::<Vec<_>>(),
        [format!("outlast_forward_failures_total{{to=\"{}\",cause=\"busy\"}} 1", upstream.addr())]
    );
}

#[tokio::test]
async fn a_connection_that_the_peer_closed_between_queries_costs_nothing() {
    let upstream = FakeUpstream::start(&zone()).await;
    let (forwarder, metrics) = forwarder(vec![upstream.addr()], |config| {
        // A second attempt would hide it.
        config.max_connect_attempts = Some(1);
    });
    for host in 1..10 {
        assert_eq!(ask(&forwarder, host).await, answer(host));
        upstream.close_connections();
    }
    assert!(!metrics.render().contains("outlast_forward_failures_total{"), "no failure is counted");
}

#[tokio::test]
async fn a_connection_that_the_peer_closes_on_a_query_costs_a_new_one() {
    let upstream = FakeUpstream::start(&zone()).await.on("h2.test.", Behaviour::CloseTcp);
    let (forwarder, _) = forwarder(vec![upstream.addr()], |config| config.max_connect_attempts = Some(1));
    assert_eq!(ask(&forwarder, 1).await, answer(1));
    let error = ask(&forwarder, 2).await;
    assert!(error.ends_with(": EOF"), "{error}");
    assert_eq!(upstream.count("h2.test."), 2, "on the old connection and on a new one");
}

#[tokio::test]
async fn a_dead_connection_is_noticed_in_under_a_second() {
    let upstream = FakeUpstream::start(&zone()).await;
    let (forwarder, _) = forwarder(vec![upstream.addr()], |config| {
        (config.max_connect_attempts, config.max_fails) = (Some(1), 0);
        config.read_timeout = Duration::from_secs(20);
    });
    for host in 1..5 {
        assert_eq!(ask(&forwarder, host).await, answer(host));
    }
    upstream.black_hole_connections();
    let started = Instant::now();
    assert_eq!(ask(&forwarder, 5).await, answer(5), "on a second connection");
    // What is measured is which limit holds: half a second and not twenty.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!((upstream.count("h5.test."), upstream.connections()), (2, 2));
    for host in 6..9 {
        assert_eq!(ask(&forwarder, host).await, answer(host));
        assert_eq!(upstream.count(&format!("h{host}.test.")), 1, "the dead one gets no new queries");
    }
}

#[tokio::test]
async fn a_slow_name_does_not_hold_up_others_where_replies_come_in_order() {
    let slow = Behaviour::Delay(Duration::from_secs(2));
    let upstream = FakeUpstream::start(&zone()).await.on("h1.test.", slow);
    upstream.answer_in_order();
    let (forwarder, _) = forwarder(vec![upstream.addr()], |config| {
        config.read_timeout = Duration::from_secs(20);
    });
    assert_eq!(ask(&forwarder, 0).await, answer(0));
    let mut first = Box::pin(ask(&forwarder, 1));
    assert!(futures_util::poll!(&mut first).is_pending());
    sleep(Duration::from_millis(50)).await;
    for host in 2..20 {
        let (other, first) = tokio::join!(ask(&forwarder, host), async { futures_util::poll!(&mut first) });
        assert_eq!(other, answer(host));
        assert!(first.is_pending(), "the slow one is still waited for");
    }
    assert_eq!(first.await, answer(1));
}

#[tokio::test]
async fn a_given_up_query_leaves_its_connection_usable() {
    let upstream = FakeUpstream::start(&zone()).await.on("h1.test.", Behaviour::Delay(PAUSE));
    let (forwarder, _) = forwarder(vec![upstream.addr()], |_| {});
    assert_eq!(ask(&forwarder, 0).await, answer(0));
    for host in 2..20 {
        let mut given_up = Box::pin(ask(&forwarder, 1));
        assert!(futures_util::poll!(&mut given_up).is_pending());
        drop(given_up);
        assert_eq!(ask(&forwarder, host).await, answer(host));
    }
    assert!(upstream.connections() <= 2, "{}", upstream.connections());
}

/// Longer than an exchange on loopback.
const PAUSE: Duration = Duration::from_millis(30);

/// Where there are several upstreams another one replies before a silent connection is tried beside: it is left
/// alone all the same.
#[tokio::test]
async fn a_dead_connection_is_noticed_where_another_upstream_is_faster() {
    let upstreams = [FakeUpstream::start(&zone()).await, FakeUpstream::start(&zone()).await];
    let [a, b] = &upstreams;
    let (forwarder, _) = forwarder(vec![a.addr(), b.addr()], |config| {
        (config.policy, config.read_timeout) = (Policy::Sequential, Duration::from_secs(60));
        config.probe.interval = Duration::from_millis(5);
    });
    for host in 0..20 {
        assert_eq!(ask(&forwarder, host).await, answer(host));
    }
    assert_eq!(a.connections(), 1);
    a.black_hole_connections();
    assert_eq!(ask(&forwarder, 20).await, answer(20));
    assert_eq!(b.count("h20.test."), 1, "the other one is asked, too");
    // A probe says that the upstream is well; its dead connection would stay for a minute.
    let probed = async {
        while a.count(".") == 0 || forwarder.is_failing() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), probed).await.expect("a probe");
    sleep(PAUSE).await;
    let answers = join_all((21..50).map(|host| ask(&forwarder, host))).await;
    assert_eq!(answers, (21..50).map(answer).collect::<Vec<_>>());
    let seen = a.seen();
    let dead = seen.iter().find(|seen| seen.name == "h0.test.").unwrap().source;
    let of_later = |name: &str| (21..50).any(|host| name == format!("h{host}.test."));
    let on = |is_dead: bool| {
        seen.iter().filter(|seen| of_later(&seen.name) && (seen.source == dead) == is_dead).count()
    };
    assert_eq!(on(true), 0, "the dead one gets none of them");
    assert!(on(false) > 0, "the first upstream is asked again");
}

// === TLS ===

fn tls_target(upstream: &FakeUpstream, name: &str) -> Target {
    let to = upstream.addr();
    let word = format!("tls://{}%{name}:{}", to.ip(), to.port());
    match target::parse(&word, |_| None) {
        Word::Target(target) => target,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn within_tls_as_without() {
    let identity = Identity::new(&["dns.example"]);
    let upstream = FakeUpstream::start_tls(&zone(), &identity).await;
    let (forwarder, metrics) = forwarder(vec![tls_target(&upstream, "dns.example")], |config| {
        config.tls = TlsFiles { ca: Some(identity.ca()), identity: None };
        config.max_connect_attempts = Some(1);
    });
    let answers = join_all((0..60).map(|host| ask(&forwarder, host))).await;
    assert_eq!(answers, (0..60).map(answer).collect::<Vec<_>>());
    for host in 60..63 {
        upstream.close_connections();
        assert_eq!(ask(&forwarder, host).await, answer(host), "closed between queries");
    }
    assert!(upstream.resumed() > 0, "sessions are resumed");
    upstream.black_hole_connections();
    assert_eq!(ask(&forwarder, 63).await, answer(63), "on a second connection");
    assert!(upstream.seen().iter().all(|seen| seen.transport == Transport::Tls));
    assert!(metric(&metrics, "coredns_proxy_conn_cache_misses_total", upstream.addr(), "tcp-tls") > 0);
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let identity = Identity::new(&["dns.example"]);
    let upstream = FakeUpstream::start_tls(&zone(), &identity).await;
    let other = Identity::new(&["dns.example"]);
    for (name, ca, want) in [
        ("dns.example", identity.ca(), None),
        ("other.example", identity.ca(), Some("not valid for name")),
        ("127.0.0.1", identity.ca(), Some("not valid for name")),
        ("dns.example", other.ca(), Some("invalid peer certificate")),
    ] {
        let (forwarder, _) = forwarder(vec![tls_target(&upstream, name)], |config| {
            config.tls = TlsFiles { ca: Some(ca.clone()), identity: None };
        });
        let got = ask(&forwarder, 1).await;
        match want {
            None => assert_eq!(got, answer(1)),
            Some(part) => assert!(got.starts_with("dial tcp ") && got.contains(part), "{name}: {got}"),
        }
    }
    assert_eq!(upstream.total(), 1, "no query was sent to a server that is not the right one");
}

#[tokio::test]
async fn a_server_without_tls_is_no_upstream_within_tls() {
    let identity = Identity::new(&["dns.example"]);
    let upstream = FakeUpstream::start(&zone()).await;
    let (forwarder, _) = forwarder(vec![tls_target(&upstream, "dns.example")], |config| {
        config.tls = TlsFiles { ca: Some(identity.ca()), identity: None };
        config.read_timeout = Duration::from_millis(300);
    });
    let error = ask(&forwarder, 1).await;
    assert!(error.starts_with("dial tcp "), "{error}");
    assert_eq!(upstream.total(), 0);
}

#[tokio::test]
async fn replies_are_passed_on_whatever_they_say() {
    let refused = Behaviour::Rcode(ResponseCode::Refused);
    let upstream = FakeUpstream::start(&zone()).await.on("h1.test.", refused);
    let (forwarder, _) = forwarder(vec![upstream.addr()], |_| {});
    assert_eq!(ask(&forwarder, 1).await, "Refused");
}
