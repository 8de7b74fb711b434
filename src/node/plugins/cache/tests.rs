//! The plugin's options: each changes a reply. What takes more steps is in the scenarios of `tests/cache`.

use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record};
use tokio::time::advance;

use super::*;
use crate::node::chain::Chain;
use crate::node::reply::Reply;
use crate::node::test_support::{Ask, chain, plugins, run};
use crate::testkit::client;
use crate::testkit::node::{Builder, TestNode};
use crate::testkit::upstream::FakeUpstream;

/// What an upstream does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// An address, TTL 300.
    Answers = 0,
    /// NXDOMAIN, TTL 300.
    Denies = 1,
    /// SERVFAIL.
    Fails = 2,
}

/// A cache, and the upstream behind it.
struct Stage {
    chain: Chain,
    mode: Arc<AtomicU8>,
    seen: Arc<AtomicUsize>,
}

impl Stage {
    /// With these words behind `cache`, and these lines in its block.
    fn new(words: &str, lines: &str) -> Self {
        let mode = Arc::new(AtomicU8::new(Mode::Answers as u8));
        let seen = Arc::new(AtomicUsize::new(0));
        let (does, sees) = (mode.clone(), seen.clone());
        let upstream = move |query: &Query| {
            sees.fetch_add(1, Ordering::Relaxed);
            let mode = does.load(Ordering::Relaxed);
            let zone = || Name::from_ascii("org.").unwrap();
            let soa = RData::SOA(SOA::new(zone(), zone(), 1, 60, 60, 60, 300));
            let reply = match mode {
                0 => Reply {
                    answers: vec![Record::from_rdata(
                        query.name().clone(),
                        300,
                        RData::A(A::new(192, 0, 2, 1)),
                    )],
                    ..Reply::new(ResponseCode::NoError, "last")
                },
                1 => Reply {
                    authority: vec![Record::from_rdata(zone(), 300, soa)],
                    ..Reply::new(ResponseCode::NXDomain, "last")
                },
                _ => Reply::new(ResponseCode::ServFail, "last"),
            };
            reply.into()
        };
        Self { chain: chain(&format!("cache {words} {{\n{lines}\n}}"), upstream), mode, seen }
    }

    fn upstream(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }

    /// The rcode, TTL and plugin of a reply.
    async fn ask(&self, name: &'static str) -> String {
        let reply = run(&self.chain, &Ask { name, ..Ask::default() }).await.into_reply().unwrap();
        // Refreshes that it has begun end.
        for _ in 0..9 {
            tokio::task::yield_now().await;
        }
        let ttl = reply.answers.iter().chain(&reply.authority).map(|record| record.ttl.to_string()).next();
        format!("{} {} {}", reply.rcode.low(), ttl.unwrap_or_default(), reply.plugin)
    }

    /// Questions that have reached the upstream since the last call.
    fn seen(&self) -> usize {
        self.seen.swap(0, Ordering::Relaxed)
    }
}

async fn pass(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn cache_ttl() {
    for (words, ttl) in [("", "0 300 last"), ("60", "0 60 last"), ("60 org", "0 60 last")] {
        assert_eq!(Stage::new(words, "").ask("a.org.").await, ttl, "{words}");
    }
    let denied = Stage::new("60", "");
    denied.upstream(Mode::Denies);
    assert_eq!(denied.ask("a.org.").await, "3 60 last", "one number for both");
}

#[tokio::test(start_paused = true)]
async fn cache_zones() {
    let stage = Stage::new("org 10.0.0.0/8", "");
    for (name, seen) in
        [("a.org.", 1), ("org.", 1), ("1.0.0.10.in-addr.arpa.", 1), ("a.com.", 2), ("xorg.", 2)]
    {
        stage.ask(name).await;
        stage.ask(name).await;
        assert_eq!(stage.seen(), seen, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn cache_success() {
    for (lines, seen, ttl) in [
        ("success 2", 2, "0 300 last"),
        ("success 1", 3, "0 300 last"),
        ("success 0", 4, "0 300 last"),
        ("success 2 60", 2, "0 60 last"),
        ("success 2 900 400", 2, "0 400 last"),
        ("success 2 100 400", 2, "0 100 last"),
    ] {
        let stage = Stage::new("", lines);
        assert_eq!(stage.ask("a.org.").await, ttl, "{lines}");
        for name in ["b.org.", "b.org.", "a.org."] {
            stage.ask(name).await;
        }
        assert_eq!(stage.seen(), seen, "{lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn cache_denial() {
    for (lines, seen, ttl) in [
        ("denial 2", 2, "3 300 last"),
        ("denial 1", 3, "3 300 last"),
        ("denial 0", 4, "3 300 last"),
        ("denial 2 60", 2, "3 60 last"),
        ("denial 2 900 400", 2, "3 400 last"),
    ] {
        let stage = Stage::new("", lines);
        stage.upstream(Mode::Denies);
        assert_eq!(stage.ask("a.org.").await, ttl, "{lines}");
        for name in ["b.org.", "b.org.", "a.org."] {
            stage.ask(name).await;
        }
        assert_eq!(stage.seen(), seen, "{lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn cache_prefetch() {
    // Asked for at once, after 1 s, after 62 s, and when so much of its 300 s is left.
    for (lines, left, seen) in [
        ("prefetch 3 1h 20%", 60, 1),
        ("prefetch 3 1h 20%", 91, 0),
        ("prefetch 3 1h 40%", 91, 1),
        ("prefetch 3 1h", 60, 0),
        ("prefetch 3 1h", 30, 1),
        ("prefetch 4 1h 20%", 60, 0),
        ("prefetch 3 1m 20%", 60, 0),
        ("prefetch 1", 30, 1),
        ("prefetch 0", 1, 0),
    ] {
        let stage = Stage::new("", lines);
        stage.ask("a.org.").await;
        for wait in [1, 61, 300 - 62 - left] {
            stage.seen();
            pass(wait).await;
            stage.ask("a.org.").await;
        }
        assert_eq!(stage.seen(), seen, "{lines} with {left} s left");
    }
}

#[tokio::test(start_paused = true)]
async fn cache_serve_stale() {
    // Before it has expired, after that, and after two hours, the upstream failing.
    for (lines, soon, late) in [
        ("", "0 30 cache", "0 30 cache"),
        ("serve_stale off", "2  last", "2  last"),
        ("serve_stale 0s", "2  last", "2  last"),
        ("serve_stale", "0 0 cache", "2  last"),
        ("serve_stale 3h", "0 0 cache", "0 0 cache"),
        ("serve_stale 3h immediate 7s", "0 7 cache", "0 7 cache"),
        ("serve_stale 3h verify", "0 0 cache", "0 0 cache"),
        ("serve_stale 1h verify 1s 9s", "0 9 cache", "2  last"),
    ] {
        let stage = Stage::new("", &format!("servfail 0\n{lines}"));
        stage.ask("a.org.").await;
        stage.upstream(Mode::Fails);
        pass(299).await;
        assert_eq!(stage.ask("a.org.").await, "0 1 cache", "{lines}");
        pass(2).await;
        assert_eq!(stage.ask("a.org.").await, soon, "{lines}");
        pass(7200).await;
        assert_eq!(stage.ask("a.org.").await, late, "{lines}");
    }
    // RECHECK: the pause between attempts.
    for (lines, seen) in
        [("serve_stale 1h immediate 0s 10s", [1, 0, 1]), ("serve_stale 1h immediate", [1, 1, 1])]
    {
        let stage = Stage::new("", lines);
        stage.ask("a.org.").await;
        stage.upstream(Mode::Fails);
        pass(301).await;
        let mut attempts = [0; 3];
        for attempts in &mut attempts {
            stage.seen();
            stage.ask("a.org.").await;
            *attempts = stage.seen();
            pass(6).await;
        }
        assert_eq!(attempts, seen, "{lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn cache_serve_stale_policy() {
    for (lines, want) in [
        ("serve_stale", ["0 0 cache", "3 300 cache"]),
        ("serve_stale\nserve_stale_policy prefer_positive", ["0 0 cache", "0 0 cache"]),
        ("serve_stale_policy prefer_positive", ["0 30 cache", "0 30 cache"]),
        ("", ["3 300 last", "3 300 cache"]),
    ] {
        let stage = Stage::new("", lines);
        stage.ask("a.org.").await;
        stage.upstream(Mode::Denies);
        pass(301).await;
        assert_eq!([stage.ask("a.org.").await, stage.ask("a.org.").await], want, "{lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn cache_servfail() {
    // Asked for 2 s, 7 s and 20 s after the failure.
    for (lines, want) in
        [("", [0, 1]), ("servfail 0", [1, 1]), ("servfail 8s", [0, 0]), ("servfail 1s", [1, 1])]
    {
        let stage = Stage::new("", lines);
        stage.upstream(Mode::Fails);
        stage.ask("a.org.").await;
        let mut seen = [0; 2];
        for (seen, wait) in seen.iter_mut().zip([2, 5]) {
            stage.seen();
            pass(wait).await;
            stage.ask("a.org.").await;
            *seen = stage.seen();
        }
        assert_eq!(seen, want, "{lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn cache_disable() {
    for (words, lines, seen) in [
        ("", "", [1, 1]),
        ("", "disable success", [2, 1]),
        ("", "disable denial", [1, 2]),
        ("", "disable success org\ndisable denial com", [2, 1]),
        ("", "disable denial com org", [1, 2]),
        ("com", "disable success", [2, 2]),
    ] {
        let stage = Stage::new(words, lines);
        stage.ask("a.org.").await;
        stage.ask("a.org.").await;
        let success = stage.seen();
        stage.upstream(Mode::Denies);
        stage.ask("b.org.").await;
        stage.ask("b.org.").await;
        assert_eq!([success, stage.seen()], seen, "{words} {lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn cache_keepttl() {
    for (lines, want) in [("", "0 200 cache"), ("keepttl", "0 300 cache")] {
        let stage = Stage::new("", lines);
        stage.ask("a.org.").await;
        pass(100).await;
        assert_eq!(stage.ask("a.org.").await, want, "{lines}");
    }
}

#[test]
fn persist_is_read() {
    for (lines, want) in [
        ("", Persist::BesideSnapshots),
        ("persist", Persist::BesideSnapshots),
        ("persist off", Persist::Off),
        ("persist /var/lib/cache", Persist::Folder(Path::new("/var/lib/cache").into())),
    ] {
        let plan = Builder::default().check(&format!(".:53 {{\ncache {{\n{lines}\n}}\n}}\n")).unwrap();
        let [kept] = &*plan.process.caches else { panic!("one cache") };
        assert_eq!(kept.persist, want, "{lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn cache_max_bytes() {
    // How many of 1,000 names are still there after the last one has come.
    for (lines, all) in
        [("", true), ("max_bytes 1Mi", true), ("max_bytes 131072", false), ("max_bytes 128Ki", false)]
    {
        let stage = Stage::new("", lines);
        let names: Vec<&'static str> = (0..1000).map(|n| &*format!("name-{n}.org.").leak()).collect();
        for name in &names {
            stage.ask(name).await;
        }
        assert_eq!(stage.seen(), 1000);
        // The last one is always there.
        stage.ask(names[999]).await;
        assert_eq!(stage.seen(), 0, "{lines}");
        for name in &names {
            stage.ask(name).await;
        }
        let gone = stage.seen();
        assert!(if all { gone == 0 } else { gone > 500 }, "{lines}: {gone} are gone");
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    for (body, want) in [
        (
            "cache\ncache",
            "Corefile:3 - Error during parsing: plugin/cache: this plugin can only be used once",
        ),
        ("cache 0", "'0' is not a whole number from 1"),
        ("cache a..b", "Corefile:2"),
        (
            "cache {\n succes 5\n}",
            "Corefile:3 - Error during parsing: plugin/cache: unknown property 'succes'; did you mean 'success'?",
        ),
        ("cache {\n success\n}", "write 'success CAPACITY [TTL [MINTTL]]'"),
        ("cache {\n success 1 2 3 4\n}", "write 'success CAPACITY [TTL [MINTTL]]'"),
        ("cache {\n success x\n}", "'x' is not a whole number"),
        ("cache {\n success 1 0\n}", "'0' is not a whole number from 1"),
        ("cache {\n denial 1 5 -1\n}", "'-1' is not a whole number from 0"),
        ("cache {\n prefetch\n}", "write 'prefetch AMOUNT [DURATION [PERCENTAGE%]]'"),
        ("cache {\n prefetch 2 5\n}", "missing unit"),
        ("cache {\n prefetch 2 5s 50\n}", "'50' is not a percentage from 10% to 90%"),
        ("cache {\n prefetch 2 5s 95%\n}", "'95%' is not a percentage"),
        ("cache {\n serve_stale 5\n}", "missing unit"),
        ("cache {\n serve_stale 1h later\n}", "'later' must be one of: immediate, verify"),
        ("cache {\n serve_stale 1h immediate 1s 2s 3s\n}", "write serve_stale off"),
        ("cache {\n serve_stale 1h immediate 1s 6m\n}", "RECHECK is 5m at most"),
        ("cache {\n serve_stale_policy newest\n}", "'newest' must be one of: prefer_positive"),
        ("cache {\n servfail 6m\n}", "5m at most"),
        ("cache {\n disable\n}", "write 'disable success|denial [ZONES...]'"),
        ("cache {\n disable all\n}", "'all' must be one of: success, denial"),
        ("cache {\n keepttl 5\n}", "write 'keepttl'"),
        ("cache {\n persist a b\n}", "write 'persist [DIR] or persist off'"),
        ("cache {\n max_bytes 1Mb\n}", "'1Mb' is not a size"),
        ("cache {\n max_bytes 1Ki\n}", "'1Ki' is not a size"),
    ] {
        let error = plugins(body).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(want), "{body}: {error}");
    }
}

#[test]
fn a_cache_is_known_by_where_it_is_asked_and_for_what() {
    let text = ".:53 a:54 {\n cache\n}\n.:55 {\n bind 127.0.0.1\n cache 30 org com\n}\n";
    let plan = Builder::default().check(text).unwrap();
    let identities: Vec<_> = plan.process.caches.iter().map(|kept| kept.identity.as_str()).collect();
    assert_eq!(identities, ["dns://.:53 dns://a.:54 for .,a.", "dns://.:55 on 127.0.0.1 for org.,com."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_forwarded_once_for_all_clients() {
    let upstream = FakeUpstream::start("www.example. 60 A 192.0.2.1\n").await;
    let node =
        TestNode::start(&format!(".:0 {{\n bind 127.0.0.1\n cache 30\n forward . {}\n}}\n", upstream.addr()));
    let mut authoritative = Vec::new();
    for query in [client::Query::a("www.example."), client::Query::a("WWW.example.").edns(1232)] {
        for answer in [node.client().udp(&query).await.unwrap(), node.client().tcp(&query).await.unwrap()] {
            assert_eq!(answer.rcode(), ResponseCode::NoError);
            assert!(answer.answers()[0].ends_with("IN A 192.0.2.1"), "{:?}", answer.answers());
            authoritative.push(answer.message.metadata.authoritative);
        }
    }
    assert_eq!(
        authoritative,
        [false, true, true, true],
        "the first is the upstream's, the others the cache's"
    );
    assert_eq!(upstream.total(), 1);
    let hits = node
        .scrape()
        .lines()
        .filter(|l| l.starts_with("coredns_cache_hits_total{server=\"dns://127.0.0.1:0\""))
        .count();
    assert_eq!(hits, 2, "success and denial");
    node.stop().await;
}
