//! Upstreams that are silent, slow, down and back again: who is asked, and what it costs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

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
use tokio::time::{sleep, timeout};

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(30);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Names whose address ends in the upstream's number.
fn zone(upstream: u8) -> String {
    format!("www.test. 60 A 192.0.2.{upstream}\nslow.test. 60 A 192.0.2.{upstream}\n")
}

/// Two upstreams, asked in their order.
async fn two(
    configure: impl FnOnce(&mut ForwardConfig),
) -> (FakeUpstream, FakeUpstream, Forwarder, Arc<Metrics>) {
    let (a, b) = (FakeUpstream::start(&zone(1)).await, FakeUpstream::start(&zone(2)).await);
    let (forwarder, metrics) = forwarder(vec![a.addr().into(), b.addr().into()], configure);
    (a, b, forwarder, metrics)
}

fn forwarder(to: Vec<Target>, configure: impl FnOnce(&mut ForwardConfig)) -> (Forwarder, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let mut config = ForwardConfig::new(".", to);
    config.policy = Policy::Sequential;
    configure(&mut config);
    (Forwarder::new(config, &metrics).expect("a valid configuration"), metrics)
}

/// `A` or `B` for an answer of that upstream, else the code or what happened.
async fn ask(forwarder: &Forwarder, name: &str) -> String {
    match forwarder.forward(&Query::a(name).bytes(), Transport::Udp).await {
        Outcome::Reply(reply) => {
            let answer = Answer::parse(reply.message).unwrap();
            match answer.answers().first().and_then(|record| record.chars().last()) {
                Some('1') => "A".to_owned(),
                Some('2') => "B".to_owned(),
                _ => format!("{:?}", answer.rcode()),
            }
        }
        Outcome::Failed { error, .. } => error,
        other => format!("{other:?}"),
    }
}

/// The sum of all series of a counter.
fn count(metrics: &Metrics, name: &str) -> u64 {
    let text = metrics.render();
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values = text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<u64>().unwrap()).sum()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            sleep(ms(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

// === The order ===

#[tokio::test]
async fn a_dead_first_upstream_costs_a_little_once() {
    let (a, b, forwarder, metrics) = two(|_| {}).await;
    a.set_all(Behaviour::Silent);
    for _ in 0..20 {
        assert_eq!(ask(&forwarder, "www.test.").await, "B");
    }
    // Where the machine is busy the second one may be late, too.
    let (asked, hedges) = (a.count("www.test."), count(&metrics, "outlast_forward_hedges_total"));
    assert!((1..10).contains(&asked) && (1..10).contains(&hedges), "{asked} {hedges}");
    assert_eq!(b.count("www.test."), 20);
    // A probe finds it when it is back.
    a.set_all(Behaviour::Answer);
    until("the first one is asked first again", async || ask(&forwarder, "www.test.").await == "A").await;
}

#[tokio::test]
async fn an_upstream_that_dies_under_load_costs_a_little_to_each_query_in_flight() {
    let (a, _b, forwarder, _) = two(|config| config.read_timeout = Duration::from_secs(20)).await;
    for _ in 0..20 {
        assert_eq!(ask(&forwarder, "www.test.").await, "A");
    }
    a.set_all(Behaviour::Silent);
    // None of them waits for the twenty seconds: the budget of second tries is for slow names only.
    let answers =
        timeout(Duration::from_secs(15), join_all((0..200).map(|_| ask(&forwarder, "www.test.")))).await;
    assert_eq!(answers.expect("well before the timeout of one try"), vec!["B"; 200]);
}

#[tokio::test]
async fn a_refusal_puts_an_upstream_behind_the_others() {
    let b = FakeUpstream::start(&zone(2)).await;
    let closed = FakeUpstream::start("").await.stop().await;
    let (forwarder, metrics) = forwarder(vec![closed.into(), b.addr().into()], |_| {});
    for _ in 0..20 {
        assert_eq!(ask(&forwarder, "www.test.").await, "B");
    }
    // One, and one more for each time that the other is late on a busy machine.
    let (failures, hedges) = ("outlast_forward_failures_total", "outlast_forward_hedges_total");
    assert!((1..=1 + count(&metrics, hedges)).contains(&count(&metrics, failures)));
}

// === Second tries ===

#[tokio::test]
async fn the_first_good_reply_wins() {
    struct Case {
        name: &'static str,
        a: Behaviour,
        b: Behaviour,
        want: &'static str,
        hedges: u64,
    }
    let cases = [
        Case { name: "the first in time", a: Behaviour::Answer, b: Behaviour::Answer, want: "A", hedges: 0 },
        Case {
            name: "the second is faster",
            a: Behaviour::Delay(Duration::from_secs(1)),
            b: Behaviour::Answer,
            want: "B",
            hedges: 1,
        },
        Case {
            name: "the second cannot",
            a: Behaviour::Delay(ms(900)),
            b: Behaviour::Rcode(ResponseCode::ServFail),
            want: "A",
            hedges: 1,
        },
        Case {
            name: "neither can",
            a: Behaviour::Silent,
            b: Behaviour::Rcode(ResponseCode::Refused),
            want: "Refused",
            hedges: 1,
        },
        Case {
            name: "NXDOMAIN is an answer",
            a: Behaviour::Delay(Duration::from_secs(1)),
            b: Behaviour::NxDomain,
            want: "NXDomain",
            hedges: 1,
        },
    ];
    let run = async |Case { name, a: of_a, b: of_b, want, hedges }| {
        let (a, b, forwarder, metrics) = two(|_| {}).await;
        a.set("www.test.", of_a);
        b.set("www.test.", of_b);
        assert_eq!(ask(&forwarder, "www.test.").await, want, "{name}");
        assert_eq!(count(&metrics, "outlast_forward_hedges_total"), hedges, "{name}");
    };
    join_all(cases.map(run)).await;
}

#[tokio::test]
async fn slow_names_do_not_double_the_load_of_others() {
    const SLOW: usize = 300;
    let (a, b, forwarder, metrics) = two(|config| config.max_fails = 0).await;
    a.set("slow.test.", Behaviour::Delay(ms(500)));
    for _ in 0..40 {
        assert_eq!(ask(&forwarder, "www.test.").await, "A");
    }
    let mut slow = Box::pin(join_all((0..SLOW).map(|_| ask(&forwarder, "slow.test."))));
    // Meanwhile it answers other names.
    let answers = loop {
        tokio::select! {
            answers = &mut slow => break answers,
            // On a busy machine even this may be late now and then.
            fast = ask(&forwarder, "www.test.") => assert!(fast == "A" || fast == "B", "{fast}"),
        }
    };
    assert!(answers.iter().all(|answer| answer == "A" || answer == "B"), "{answers:?}");
    let hedges = count(&metrics, "outlast_forward_hedges_total") as usize;
    // A tenth of all queries, and what was saved up.
    let all = a.total() + b.total();
    assert!(hedges > 0 && hedges <= all / 10 + 25, "{hedges} of {all}");
}

// === Whether there is hope ===

fn silent(upstream: &FakeUpstream) {
    upstream.set_all(Behaviour::Silent);
}

/// Nothing answers here, so no reply can come late: paused time is exact.
#[tokio::test(start_paused = true)]
async fn silence_for_1_8_seconds_is_failing() {
    let (a, b, forwarder, _) = two(|_| {}).await;
    silent(&a);
    silent(&b);
    let forwarder = Arc::new(forwarder);
    let query = tokio::spawn({
        let forwarder = forwarder.clone();
        async move { ask(&forwarder, "www.test.").await }
    });
    // The second is asked 0.4 s after the first.
    let mut judged = Vec::new();
    for at in [100, 1790, 1850, 2150, 2250] {
        let now = judged.last().map_or(0, |(at, _)| *at);
        sleep(ms(at - now)).await;
        judged.push((at, forwarder.is_failing()));
    }
    assert_eq!(judged, [(100, false), (1790, false), (1850, false), (2150, false), (2250, true)]);
    let error = query.await.unwrap();
    assert!(error.ends_with("i/o timeout"), "{error}");
    assert!(forwarder.is_failing());
}

#[tokio::test(start_paused = true)]
async fn without_probes_one_query_in_five_seconds_may_hope() {
    let a = FakeUpstream::start("").await;
    silent(&a);
    let (forwarder, _) = forwarder(vec![a.addr().into()], |config| config.max_fails = 0);
    let error = ask(&forwarder, "www.test.").await;
    assert!(error.ends_with("i/o timeout"), "{error}");
    let mut hopeful = 0;
    for _ in 0..600 {
        sleep(ms(100)).await;
        hopeful += usize::from(!forwarder.is_failing());
    }
    // A minute, 5 s less or more a quarter each.
    assert!((9..=16).contains(&hopeful), "{hopeful}");
    assert_eq!(a.count("."), 0, "no probes");
}

#[tokio::test]
async fn any_reply_ends_a_failure() {
    let upstream = FakeUpstream::start(&zone(1)).await;
    let addr = upstream.addr();
    let (forwarder, _) = forwarder(vec![addr.into()], |config| config.max_fails = 0);
    assert_eq!(ask(&forwarder, "www.test.").await, "A");
    upstream.stop().await;
    let error = ask(&forwarder, "www.test.").await;
    assert!(error.ends_with("connection refused"), "{error}");
    assert!(forwarder.is_failing());
    let upstream = FakeUpstream::start_at(addr, &zone(1)).await.unwrap();
    upstream.set_all(Behaviour::Rcode(ResponseCode::ServFail));
    assert_eq!(ask(&forwarder, "www.test.").await, "ServFail", "a reply, whatever it says");
    assert!(!forwarder.is_failing());
}

// === Probes ===

#[tokio::test]
async fn probes_go_the_way_of_queries() {
    let identity = Identity::new(&["dns.example"]);
    let plain = FakeUpstream::start("").await;
    let within_tls = FakeUpstream::start_tls("", &identity).await;
    let word = format!("tls://127.0.0.1%dns.example:{}", within_tls.addr().port());
    let Word::Target(tls) = target::parse(&word, |_| None) else { panic!("{word}") };
    for (upstream, to, force_tcp, want) in [
        (&plain, plain.addr().into(), false, Transport::Udp),
        (&plain, plain.addr().into(), true, Transport::Tcp),
        (&within_tls, tls, false, Transport::Tls),
    ] {
        upstream.set("www.test.", Behaviour::Silent);
        upstream.forget();
        let (forwarder, _) = forwarder(vec![to], |config| {
            (config.force_tcp, config.read_timeout) = (force_tcp, ms(200));
            config.tls = TlsFiles { ca: Some(identity.ca()), identity: None };
        });
        let error = ask(&forwarder, "www.test.").await;
        assert!(error.ends_with("i/o timeout"), "{want:?}: {error}");
        until("a probe", async || upstream.count(".") > 0).await;
        let probe = upstream.seen().into_iter().find(|seen| seen.name == ".").unwrap();
        assert_eq!(probe.transport, want);
        until("it is good again", async || !forwarder.is_failing()).await;
    }
}

#[tokio::test]
async fn probes_end_with_their_forwarder() {
    let closed = FakeUpstream::start("").await.stop().await;
    let (forwarder, metrics) = forwarder(vec![closed.into()], |config| config.probe.interval = ms(2));
    let probes = || count(&metrics, "coredns_proxy_healthcheck_failures_total");
    let _ = ask(&forwarder, "www.test.").await;
    until("some probes", async || probes() > 3).await;
    drop(forwarder);
    sleep(ms(20)).await;
    let before = probes();
    sleep(ms(100)).await;
    assert_eq!(probes(), before);
}
