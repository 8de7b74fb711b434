//! What a client of the forwarder sees when upstreams behave, and when they do not; and what the upstreams see.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use outlast::forward::{ForwardConfig, Forwarder, Outcome, Policy, Transport};
use outlast::ops::metrics::Metrics;
use outlast::testkit::client::{Answer, Query};
use outlast::testkit::upstream::{Behaviour, FakeUpstream};
use tokio::time::{Instant, timeout};

/// Long enough for a busy machine to answer, short enough to wait for in a test.
const READ_TIMEOUT: Duration = Duration::from_millis(500);

/// A pause over TCP after which no reply comes within [`READ_TIMEOUT`].
const SLOW: Duration = Duration::from_millis(50);

// === What the client sees ===

/// What became of a query, as text: `A` or `B` for the whole reply of that upstream, else its code, `TC`, or
/// the outcome.
fn describe(outcome: &Outcome, id: u16) -> String {
    let message = match outcome {
        Outcome::Reply(reply) => reply.message.clone(),
        Outcome::Failed { error, .. } => {
            return format!("failed: {}", error.rsplit(": ").next().unwrap_or(error));
        }
        other => return format!("{other:?}"),
    };
    let answer = Answer::parse(message).expect("a reply can be decoded");
    assert_eq!(answer.message.metadata.id, id, "a reply carries the id of the client's query");
    if answer.message.metadata.truncation {
        assert!(answer.answers().is_empty() && answer.authorities().is_empty());
        return "TC".to_owned();
    }
    match (answer.rcode(), answer.answers().first()) {
        (ResponseCode::NoError, Some(record)) if record.ends_with(".1") => "A".to_owned(),
        (ResponseCode::NoError, Some(record)) if record.ends_with(".2") => "B".to_owned(),
        (code, _) => format!("{code:?} {}", answer.authorities().join(", ")).trim().to_owned(),
    }
}

/// 100 addresses that end in `.host`, too many for 512 bytes, and one.
fn zone(host: u8) -> String {
    let many: String = (0..100).map(|i| format!("many.test. 60 A 198.51.{i}.{host}\n")).collect();
    format!("www.test. 60 A 192.0.2.{host}\n{many}")
}

/// A reply to `www.test. A` whose header promises an answer that is not there.
fn cut_reply() -> Vec<u8> {
    let mut reply = Query::a("www.test.").bytes();
    (reply[2], reply[7]) = (0x80, 1);
    reply
}

/// A reply that is a header, with FORMERR.
fn header_only() -> Vec<u8> {
    let mut reply = vec![0; 12];
    (reply[2], reply[3]) = (0x80, 1);
    reply
}

struct Case {
    name: &'static str,
    /// How upstream A treats `www.test.` and `many.test.`; upstream B answers.
    a: Behaviour,
    query: Query,
    client: Transport,
    configure: fn(&mut ForwardConfig),
    want: &'static str,
    /// The transports of the queries that A saw.
    seen_by_a: &'static [Transport],
    /// How many queries B saw.
    seen_by_b: usize,
}

impl Case {
    /// `www.test. A`, answered by A.
    fn new(name: &'static str, client: Transport, a: Behaviour) -> Self {
        let seen_by_a: &[Transport] = match client {
            Transport::Udp => &[Transport::Udp],
            Transport::Tcp | Transport::Tls => &[Transport::Tcp],
        };
        let query = Query::a("www.test.");
        Self { name, a, query, client, configure: |_| {}, want: "A", seen_by_a, seen_by_b: 0 }
    }

    /// A's reply never comes, or is none; B's counts.
    fn next(self) -> Self {
        Self { want: "B", seen_by_b: 1, ..self }
    }

    async fn run(self) {
        let Self { name, a, query, client, configure, want, seen_by_a, seen_by_b } = self;
        let first = FakeUpstream::start(&zone(1)).await.on("www.test.", a.clone()).on("many.test.", a);
        let second = FakeUpstream::start(&zone(2)).await;
        let mut config = ForwardConfig::new(".", vec![first.addr(), second.addr()]);
        (config.policy, config.read_timeout) = (Policy::Sequential, READ_TIMEOUT);
        configure(&mut config);
        let forwarder = Forwarder::new(config, &Arc::default()).expect("a valid configuration");

        let query = query.id(4711).bytes();
        let outcome = forwarder.forward(&query, client).await;
        assert_eq!(describe(&outcome, 4711), want, "{name}");
        // An upstream that fails is probed, too.
        let queries = |upstream: &FakeUpstream| {
            let mut seen = upstream.seen();
            seen.retain(|seen| seen.name != ".");
            seen
        };
        let transports: Vec<Transport> = queries(&first).iter().map(|seen| seen.transport).collect();
        assert_eq!((&*transports, queries(&second).len()), (seen_by_a, seen_by_b), "{name}");
        for seen in queries(&first) {
            assert_eq!(seen.raw[2..], query[2..], "{name}: only the id changes");
        }
    }
}

#[tokio::test]
async fn what_the_client_sees() {
    use Behaviour::*;
    use Transport::{Tcp, Udp};
    let cases = [
        // Replies are passed on, whatever they say.
        Case::new("an answer", Udp, Answer),
        Case::new("an answer over TCP", Tcp, Answer),
        Case::new("a late answer", Udp, Delay(SLOW)),
        Case { want: "ServFail", ..Case::new("SERVFAIL", Udp, Rcode(ResponseCode::ServFail)) },
        Case { want: "Refused", ..Case::new("REFUSED", Tcp, Rcode(ResponseCode::Refused)) },
        Case {
            want: "NXDomain . 900 IN SOA stub. host.stub. 1 60 60 60 60",
            ..Case::new("NXDOMAIN", Udp, NxDomain)
        },
        Case {
            query: Query::new("www.test.", RecordType::AAAA),
            want: "NoError . 900 IN SOA stub. host.stub. 1 60 60 60 60",
            ..Case::new("NODATA", Udp, Answer)
        },
        Case {
            query: Query::a("wWw.TeSt.").rd(false).ad().cd().dnssec_ok().option(10, b"12345678"),
            ..Case::new("letter case, flags and options go along", Udp, Answer)
        },
        // No reply: the next upstream.
        Case::new("silence", Udp, Silent).next(),
        Case::new("silence over TCP", Tcp, Silent).next(),
        Case::new("closed without a reply", Tcp, CloseTcp).next(),
        Case::new("closed within the reply", Tcp, HalfTcp).next(),
        Case::new("a reply that drips in", Tcp, DribbleTcp(Duration::from_micros(10))),
        Case::new("a reply that drips in too slowly", Tcp, DribbleTcp(SLOW)).next(),
        Case::new("fewer records than promised, over TCP", Tcp, Raw(cut_reply())).next(),
        // Forged replies are never taken.
        Case::new("wrong ids first", Udp, WrongIds(3)),
        Case::new("wrong ids first, over TCP", Tcp, WrongIds(3)),
        Case::new("as many wrong ids as are let pass", Udp, WrongIds(64)),
        Case::new("more wrong ids", Udp, WrongIds(65)).next(),
        Case::new("the query itself comes back first", Udp, EchoFirst),
        Case::new("a reply from another port", Udp, OtherPort).next(),
        Case::new("two bytes are no reply", Udp, Raw(vec![0; 2])).next(),
        Case { want: "FormErr", ..Case::new("another question", Udp, WrongQuestion) },
        Case { want: "FormErr", ..Case::new("another question, over TCP", Tcp, WrongQuestion) },
        Case { want: "FormErr", ..Case::new("no question", Udp, Raw(header_only())) },
        // Sizes.
        Case { want: "TC", ..Case::new("truncated", Udp, TruncateUdp) },
        Case { want: "TC", ..Case::new("fewer records than promised", Udp, Raw(cut_reply())) },
        Case {
            query: Query::a("many.test."),
            want: "TC",
            ..Case::new("more than the query takes", Udp, IgnoreSize)
        },
        Case {
            query: Query::a("many.test.").edns(4096),
            ..Case::new("no more than the query takes", Udp, IgnoreSize)
        },
        // Options.
        Case { configure: |c| c.force_tcp = true, seen_by_a: &[Tcp], ..Case::new("force_tcp", Udp, Answer) },
        Case {
            configure: |c| c.prefer_udp = true,
            seen_by_a: &[Udp],
            ..Case::new("prefer_udp", Tcp, Answer)
        },
        Case {
            configure: |c| c.prefer_udp = true,
            seen_by_a: &[Udp, Tcp],
            ..Case::new("prefer_udp asks again over TCP", Udp, TruncateUdp)
        },
        Case {
            configure: |c| (c.prefer_udp, c.force_tcp) = (true, true),
            seen_by_a: &[Tcp],
            ..Case::new("force_tcp wins", Udp, TruncateUdp)
        },
        Case {
            configure: |c| c.max_connect_attempts = Some(1),
            want: "failed: i/o timeout",
            ..Case::new("one attempt", Udp, Silent)
        },
    ];
    // Those that wait for A in vain wait together; all others have the machine for themselves, or B would be asked
    // because A is late.
    let (waiting, others): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.seen_by_b > 0);
    for case in others {
        case.run().await;
    }
    join_all(waiting.into_iter().map(Case::run)).await;
}

// === One upstream after the other ===

fn forwarder(
    upstreams: Vec<SocketAddr>,
    configure: impl FnOnce(&mut ForwardConfig),
) -> (Forwarder, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let mut config = ForwardConfig::new(".", upstreams);
    configure(&mut config);
    (Forwarder::new(config, &metrics).expect("a valid configuration"), metrics)
}

fn www() -> Vec<u8> {
    Query::a("www.test.").bytes()
}

fn failure(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed { error, .. } => error,
        other => format!("not failed: {other:?}"),
    }
}

/// An address where nobody listens. No test binds 127.0.0.9 and up, so nobody takes the port meanwhile.
fn closed(host: u8) -> SocketAddr {
    let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("a free port");
    socket.local_addr().expect("a bound socket has an address")
}

#[tokio::test]
async fn a_refusal_is_noticed_at_once() {
    let alive = FakeUpstream::start(&zone(2)).await;
    for client in [Transport::Udp, Transport::Tcp] {
        let (forwarder, _) = forwarder(vec![closed(9), alive.addr()], |config| {
            (config.policy, config.read_timeout) = (Policy::Sequential, Duration::from_secs(60));
        });
        let query = Query::a("www.test.").id(7).bytes();
        let outcome = timeout(Duration::from_secs(20), forwarder.forward(&query, client)).await.unwrap();
        assert_eq!(describe(&outcome, 7), "B", "{client}");
    }
}

#[tokio::test]
async fn failures_are_told_in_the_words_of_coredns() {
    let silent = FakeUpstream::start("").await;
    silent.set_all(Behaviour::Silent);
    let closing = FakeUpstream::start("").await;
    closing.set_all(Behaviour::CloseTcp);
    let closed = closed(9);
    let cases = [
        (silent.addr(), Transport::Udp, "read udp 127.0.0.1:", "i/o timeout"),
        (silent.addr(), Transport::Tcp, "read tcp 127.0.0.1:", "i/o timeout"),
        (closing.addr(), Transport::Tcp, "read tcp 127.0.0.1:", "EOF"),
        (closed, Transport::Udp, "read udp 127.0.0.1:", "read: connection refused"),
        (closed, Transport::Tcp, "dial tcp ", "connect: connection refused"),
    ];
    for (upstream, client, start, end) in cases {
        let (forwarder, _) = forwarder(vec![upstream], |config| config.read_timeout = SLOW);
        let error = failure(forwarder.forward(&www(), client).await);
        let arrow = if start.starts_with("dial") { "" } else { "->" };
        assert!(error.starts_with(start) && error.ends_with(&format!("{arrow}{upstream}: {end}")), "{error}");
    }
}

#[tokio::test]
async fn attempts_wrap_around_and_are_bounded() {
    struct Case {
        name: &'static str,
        attempts: Option<u32>,
        want: [usize; 3],
    }
    let cases = [
        Case { name: "twice each by default", attempts: None, want: [2, 2, 2] },
        Case { name: "as configured", attempts: Some(4), want: [2, 1, 1] },
        Case { name: "one", attempts: Some(1), want: [1, 0, 0] },
        Case { name: "no limit of their own", attempts: Some(0), want: [86, 85, 85] },
    ];
    for case in cases {
        let upstreams = [closed(9), closed(10), closed(11)];
        let (forwarder, metrics) = forwarder(upstreams.to_vec(), |config| {
            (config.policy, config.max_connect_attempts) = (Policy::Sequential, case.attempts);
        });
        let error = failure(forwarder.forward(&www(), Transport::Udp).await);
        assert!(error.ends_with("connection refused"), "{}: {error}", case.name);
        let text = metrics.render();
        for (upstream, want) in upstreams.iter().zip(case.want).filter(|(_, want)| *want > 0) {
            let line =
                format!("outlast_forward_failures_total{{to=\"{upstream}\",cause=\"refused\"}} {want}\n");
            assert!(text.contains(&line), "{}: {line} in {text}", case.name);
        }
    }
}

/// Nothing answers here, so no reply can come late: paused time is exact.
#[tokio::test(start_paused = true)]
async fn no_attempt_starts_after_five_seconds() {
    // Of three upstreams, the second is asked beside the first when that is late.
    for (attempts, count, queries) in [(None, 3, 4), (Some(0), 1, 3)] {
        let mut upstreams = Vec::new();
        for _ in 0..count {
            let silent = FakeUpstream::start("").await;
            silent.set_all(Behaviour::Silent);
            upstreams.push(silent);
        }
        let addrs = upstreams.iter().map(FakeUpstream::addr).collect();
        let (forwarder, _) = forwarder(addrs, |config| config.max_connect_attempts = attempts);
        let started = Instant::now();
        let error = failure(forwarder.forward(&www(), Transport::Udp).await);
        assert!(error.ends_with("i/o timeout"), "{error}");
        // Attempts at 0, 2 and 4 s; paused time rounds up to a millisecond each.
        let took = started.elapsed();
        assert!((Duration::from_secs(6)..Duration::from_millis(6010)).contains(&took), "{took:?}");
        tokio::time::sleep(SLOW).await;
        assert_eq!(upstreams.iter().map(|u| u.count("www.test.")).sum::<usize>(), queries);
    }
}

#[tokio::test]
async fn policies_spread_queries() {
    struct Case {
        policy: Policy,
        queries: usize,
        fits: fn(&[usize]) -> bool,
    }
    let cases = [
        // Where the machine is busy, one that is late for once has the next one asked beside it.
        Case { policy: Policy::Sequential, queries: 60, fits: |seen| seen[0] >= 50 },
        Case {
            policy: Policy::RoundRobin,
            queries: 60,
            fits: |seen| seen.iter().all(|n| (16..=24).contains(n)),
        },
        Case { policy: Policy::Random, queries: 90, fits: |seen| seen.iter().all(|&n| n > 0 && n < 90) },
    ];
    for case in cases {
        let upstreams = join_all((1..=3).map(async |host| FakeUpstream::start(&zone(host)).await)).await;
        let addrs = upstreams.iter().map(FakeUpstream::addr).collect();
        let (forwarder, _) = forwarder(addrs, |config| config.policy = case.policy);
        for _ in 0..case.queries {
            assert!(matches!(forwarder.forward(&www(), Transport::Udp).await, Outcome::Reply(_)));
        }
        let seen: Vec<usize> = upstreams.iter().map(FakeUpstream::total).collect();
        assert!((case.fits)(&seen), "{:?}: {seen:?}", case.policy);
    }
}

// === Guessing is hard ===

#[tokio::test]
async fn ids_and_ports_are_new_for_every_query() {
    const QUERIES: usize = 32;
    let upstream = FakeUpstream::start(&zone(1)).await;
    let (forwarder, _) = forwarder(vec![upstream.addr()], |_| {});
    for _ in 0..QUERIES {
        let query = Query::a("www.test.").id(1).bytes();
        assert_eq!(describe(&forwarder.forward(&query, Transport::Udp).await, 1), "A");
    }
    let seen = upstream.seen();
    let ids: HashSet<u16> = seen.iter().map(|seen| seen.id).collect();
    let ports: HashSet<u16> = seen.iter().map(|seen| seen.source.port()).collect();
    assert_eq!(seen.len(), QUERIES);
    // Some may coincide; a counter or a kept port would not get this far, nor look like this.
    assert!(ids.len() > QUERIES - 4 && ports.len() > QUERIES - 4, "{ids:?} {ports:?}");
    let steps = seen.windows(2).filter(|pair| pair[0].id.abs_diff(pair[1].id) < 16).count();
    assert!(steps < 4, "{ids:?}");
}

// === Limits ===

#[tokio::test]
async fn forwards_in_flight_are_bounded() {
    type Check = fn(&Outcome) -> bool;
    struct Case {
        name: &'static str,
        configure: fn(&mut ForwardConfig),
        refused: Check,
        counter: &'static str,
    }
    let cases = [
        Case {
            name: "max_concurrent",
            configure: |config| config.max_concurrent = Some(2),
            refused: |o| matches!(o, Outcome::Refused { why } if why == "concurrent queries exceeded maximum 2"),
            counter: "coredns_forward_max_concurrent_rejects_total",
        },
        Case {
            name: "without max_concurrent",
            configure: |config| (config.max_concurrent, config.max_in_flight) = (Some(0), 2),
            refused: |o| matches!(o, Outcome::Overloaded { .. }),
            counter: "outlast_forward_in_flight_rejects_total",
        },
    ];
    for case in cases {
        let upstream = FakeUpstream::start(&zone(1)).await.on("silent.test.", Behaviour::Silent);
        let (forwarder, metrics) = forwarder(vec![upstream.addr()], case.configure);
        let silent = Query::a("silent.test.").bytes();
        let mut first = Box::pin(forwarder.forward(&silent, Transport::Udp));
        let mut second = Box::pin(forwarder.forward(&silent, Transport::Tcp));
        // A timeout of no time polls once: both are in flight from here on.
        assert!(timeout(Duration::ZERO, &mut first).await.is_err());
        assert!(timeout(Duration::ZERO, &mut second).await.is_err());

        let third = forwarder.forward(&www(), Transport::Udp).await;
        assert!((case.refused)(&third), "{}: {third:?}", case.name);
        assert!(metrics.render().contains(&format!("\n{} 1\n", case.counter)), "{}", case.name);
        assert_eq!(upstream.count("www.test."), 0, "{}", case.name);

        // Listeners spawn forwards on a runtime with several threads.
        let first: Box<dyn Send> = Box::new(first);
        drop(first);
        let fourth = forwarder.forward(&www(), Transport::Udp).await;
        assert!(matches!(fourth, Outcome::Reply(_)), "{}: a cancelled forward frees its place", case.name);
        drop(second);
    }
}

#[tokio::test]
async fn queries_that_cannot_be_forwarded_reach_nobody() {
    let upstream = FakeUpstream::start(&zone(1)).await;
    let (forwarder, _) = forwarder(vec![upstream.addr()], |_| {});
    let mut two_questions = www();
    two_questions[5] = 2;
    let overlong = [www(), vec![0; 65_536]].concat();
    for query in [vec![], vec![0; 12], www()[..20].to_vec(), two_questions, overlong] {
        assert_eq!(forwarder.forward(&query, Transport::Tcp).await, Outcome::FormErr);
    }
    assert_eq!(upstream.total(), 0);
}

// === What is counted ===

#[tokio::test]
async fn replies_are_counted_by_upstream_and_code() {
    let upstream = FakeUpstream::start(&zone(1)).await;
    let (forwarder, metrics) = forwarder(vec![upstream.addr()], |config| config.from = "test.".into());
    assert!(forwarder.matches(b"\x03WWW\x04test\x00") && !forwarder.matches(b"\x07example\x00"));
    for name in ["www.test.", "none.test.", "none.test."] {
        forwarder.forward(&Query::a(name).bytes(), Transport::Udp).await;
    }
    let text = metrics.render();
    let to = upstream.addr();
    for line in [
        format!(
            "coredns_proxy_request_duration_seconds_count{{proxy_name=\"forward\",to=\"{to}\",rcode=\"NXDOMAIN\"}} 2"
        ),
        format!("coredns_forward_requests_total{{to=\"{to}\"}} 3"),
        format!("coredns_forward_responses_total{{to=\"{to}\",rcode=\"NOERROR\"}} 1"),
        format!("coredns_forward_request_duration_seconds_count{{to=\"{to}\",rcode=\"NXDOMAIN\"}} 2"),
        "coredns_forward_healthcheck_broken_total 0".to_owned(),
        "coredns_forward_max_concurrent_rejects_total 0".to_owned(),
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line} in {text}");
    }
}
