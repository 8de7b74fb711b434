//! What a Corefile is asked, and which plugins an answer goes through.

use std::collections::BTreeSet;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;
use outlast::testkit::client::{Answer, Query};

use super::world::{ELSEWHERE_ADDRESS, World};

/// Questions after which a random order has put another address first: one of three stays first so often with
/// a probability of 1 in 10^14.
const SHUFFLES: usize = 30;

/// Questions for names of which each goes to one of two upstreams at random.
const UPSTREAMS: usize = 40;

/// CH, the class of questions about a server.
const CHAOS: u16 = 3;

/// The EDNS option NSID (RFC 5001).
const NSID: u16 = 3;

/// One thing that is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Probe {
    /// A service, its reverse name, a name that is missing, and an address outside.
    Cluster,
    /// The same of a node that asks the cluster's own DNS service.
    ClusterElsewhere,
    /// A name outside comes from the server in `resolv.conf`.
    Outside,
    /// The second question for a name is a hit.
    Cached,
    /// A name of a stub zone comes from that zone's own servers.
    Stub(&'static str),
    /// Of two servers of a zone, one has DoT, and both are asked.
    OverTls(&'static str, &'static str),
    /// A name, and who has that address, from a file or a block of hosts.
    Hosts(&'static str, &'static str),
    /// Only the address: the name belongs to another block.
    HostsReverse(&'static str, &'static str),
    /// A name that is asked for another, and has the answer's name as well.
    Rewritten(&'static str, &'static str),
    /// A name without records by a template, although the server in `resolv.conf` has it.
    Denied(&'static str),
    /// A name with an address by a template.
    Templated(&'static str, &'static str),
    /// A name that a template leaves to others.
    LeftAlone(&'static str),
    /// The class CH.
    Chaos(&'static str),
    /// `/health`.
    Health(&'static str),
    /// After SIGTERM there are still answers.
    Lameduck,
    /// `/ready`, once there is data.
    Ready(&'static str),
    /// `/metrics`.
    Metrics,
    /// The addresses of a headless service come in changing orders.
    Shuffled,
    /// Replies over UDP are smaller than the client would take them.
    Cut(usize),
    /// Nobody listens elsewhere.
    NotAt(&'static str),
    /// Files that are imported: a block and a line.
    Imported,
    /// The search list is followed for the client, who is a pod.
    SearchFollowed,
    /// ANY gets HINFO.
    Any,
    /// localhost.
    Local,
    /// Who asks is told who answers.
    Nsid(&'static str),
    /// RA is set in answers about the cluster.
    RecursionAvailable,
    /// An SRV record goes without its target's address.
    Minimal,
    /// A line of the log for every query.
    Logged,
    /// Detection of loops asks, and finds none.
    NoLoop,
    /// An exchanged ConfigMap is taken over, and answers go on.
    Reloaded,
    /// A failed query makes an error line.
    ErrorLine,
    /// A failed query makes a line of the log.
    FailureLogged,
}

use Probe::*;

impl Probe {
    /// The plugins that its answer goes through.
    pub(super) fn covers(self) -> &'static [&'static str] {
        match self {
            Cluster => &["kubernetes", "forward"],
            ClusterElsewhere | Outside | Stub(_) | OverTls(..) => &["forward"],
            Cached => &["cache"],
            Hosts(..) | HostsReverse(..) => &["hosts"],
            Rewritten(..) => &["rewrite"],
            Denied(_) | Templated(..) | LeftAlone(_) => &["template"],
            Chaos(_) => &["chaos"],
            Health(_) | Lameduck => &["health"],
            Ready(_) => &["ready"],
            Metrics => &["prometheus"],
            Shuffled => &["loadbalance"],
            Cut(_) => &["bufsize"],
            NotAt(_) => &["bind"],
            Imported => &["rewrite"],
            SearchFollowed => &["autopath"],
            Any => &["any"],
            Local => &["local"],
            Nsid(_) => &["nsid"],
            RecursionAvailable => &["header"],
            Minimal => &["minimal"],
            Logged | FailureLogged => &["log"],
            NoLoop => &["loop"],
            Reloaded => &["reload"],
            ErrorLine => &["errors"],
        }
    }

    /// When it is asked: some are an end of something.
    pub(super) fn turn(self) -> u8 {
        match self {
            Reloaded => 1,
            ErrorLine | FailureLogged => 2,
            Lameduck => 3,
            _ => 0,
        }
    }

    /// Asks it.
    ///
    /// # Panics
    /// When the answer is another one.
    pub(super) fn check(self, world: &mut World) {
        match self {
            Cluster => cluster(world),
            ClusterElsewhere => {
                expect(world, "web.shop.svc.cluster.local.", "10.96.0.7");
                expect_name(world, "7.0.96.10.in-addr.arpa.", "web.shop.svc.cluster.local.");
                expect_name(world, "80.2.0.192.in-addr.arpa.", "");
            }
            Outside => expect(world, "www.outside.example.", "192.0.2.80"),
            Cached => cached(world),
            Stub(name) => expect(world, name, ELSEWHERE_ADDRESS),
            OverTls(zone, to) => over_tls(world, zone, to),
            Hosts(name, address) => {
                expect(world, name, address);
                expect_name(world, &reverse(address), name);
            }
            HostsReverse(name, address) => expect_name(world, &reverse(address), name),
            Rewritten(name, address) => expect(world, name, address),
            Denied(name) => {
                let answer = world.ask(&Query::a(name));
                assert_eq!(answer.rcode(), ResponseCode::NXDomain, "{name}: {:?}", answer.answers());
            }
            Templated(name, address) => expect(world, name, address),
            LeftAlone(name) => expect(world, name, "192.0.2.82"),
            Chaos(name) => {
                let answer = world.ask(&Query::new(name, RecordType::TXT).class(CHAOS));
                assert_eq!(answer.answers().len(), 1, "{:?}", answer.message);
            }
            Health(at) => assert_eq!(world.get(at, "/health"), (200, "OK".to_owned())),
            Lameduck => lameduck(world),
            Ready(at) => {
                // Names of one kind of object may be known before there is everything.
                world.node.wait_for("readiness", |_| (world.get(at, "/ready").0 == 200).then_some(()));
            }
            Metrics => {
                world.ask(&Query::a("www.outside.example."));
                assert!(world.metric("coredns_dns_requests_total", "type=\"A\"") > 0.0);
                assert_eq!(world.metric("coredns_build_info", ""), 1.0);
            }
            Shuffled => shuffled(world),
            Cut(size) => cut(world, size),
            NotAt(at) => {
                assert!(!world.answers_at(at, &Query::a("www.outside.example.")), "somebody answers at {at}");
            }
            Imported => {
                expect(world, "www.custom.example.", ELSEWHERE_ADDRESS);
                expect(world, "alias.override.example.", "192.0.2.80");
            }
            SearchFollowed => search_followed(world),
            Any => {
                let answer = world.ask(&Query::new("www.outside.example.", RecordType::ANY));
                assert!(answer.answers().iter().any(|r| r.contains("HINFO")), "{:?}", answer.answers());
            }
            Local => expect(world, "db.localhost.", "127.0.0.1"),
            Nsid(want) => {
                let answer = world.ask(&Query::a("web.shop.svc.cluster.local.").option(NSID, b""));
                let told = answer.raw.windows(want.len()).any(|bytes| bytes == want.as_bytes());
                assert!(told, "{:?}", answer.message);
            }
            RecursionAvailable => {
                let answer = world.ask(&Query::a("web.shop.svc.cluster.local."));
                assert!(answer.message.metadata.recursion_available, "{:?}", answer.message);
            }
            Minimal => {
                let answer =
                    world.ask(&Query::new("_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV));
                assert!(
                    answer.answers().len() == 1 && answer.additionals().is_empty(),
                    "{:?}",
                    answer.message
                );
            }
            Logged => {
                world.ask(&Query::a("logged.cold.example."));
                wait_for_line(world, &["\"A IN logged.cold.example. udp ", "NOERROR"]);
            }
            NoLoop => no_loop(world),
            Reloaded => reloaded(world),
            ErrorLine => {
                fail(world, "error.outside.example.");
                wait_for_line(world, &["[ERROR] plugin/errors: 2 error.outside.example. A: "]);
            }
            FailureLogged => {
                fail(world, "logged.outside.example.");
                // Without a code, as no plugin has written the reply: CoreDNS does the same.
                wait_for_line(world, &["\"A IN logged.outside.example. udp ", "\" - - 0 "]);
            }
        }
    }
}

// === Answers ===

/// An address or a name at the end of one of the records.
fn has(want: &str) -> impl Fn(&Answer) -> bool + Sync {
    let want = format!(" {want}");
    move |answer| answer.answers().iter().any(|record| record.ends_with(&want))
}

/// The name has this address, and the answer is about the name that was asked for.
fn expect(world: &World, name: &str, address: &str) {
    let answer = world.ask(&Query::a(name));
    let first = answer.answers().first().cloned().unwrap_or_default();
    assert!(
        has(address)(&answer) && first.starts_with(&format!("{name} ")),
        "{name}: {:?} {:?}, not {address}\n{}",
        answer.rcode(),
        answer.answers(),
        world.node.output()
    );
}

/// The reverse name leads to this name; to none where it is empty.
fn expect_name(world: &World, reverse: &str, name: &str) {
    let answer = world.ask(&Query::new(reverse, RecordType::PTR));
    let right = if name.is_empty() { answer.answers().is_empty() } else { has(name)(&answer) };
    assert!(right, "{reverse}: {:?} {:?}, not {name:?}", answer.rcode(), answer.answers());
}

fn reverse(address: &str) -> String {
    let mut parts: Vec<_> = address.split('.').collect();
    parts.reverse();
    format!("{}.in-addr.arpa.", parts.join("."))
}

/// Waits for a line of the log with all of this in it.
fn wait_for_line(world: &World, parts: &[&str]) {
    world.node.wait_for(&format!("a line with {parts:?}"), |node| {
        node.output().lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
    });
}

/// A name that nobody has in memory is asked for while its upstream is gone.
fn fail(world: &mut World, name: &str) {
    world.kill_upstream();
    let answer = world.ask(&Query::a(name));
    assert_eq!(answer.rcode(), ResponseCode::ServFail, "{name}");
    expect_still(world);
}

/// What does not need the upstream goes on.
fn expect_still(world: &World) {
    expect(world, "web.shop.svc.cluster.local.", "10.96.0.7");
}

// === Probes of several questions ===

fn cluster(world: &World) {
    world.node.wait_for("live data", |node| node.output().contains("cluster data is live").then_some(()));
    expect(world, "web.shop.svc.cluster.local.", "10.96.0.7");
    expect_name(world, "7.0.96.10.in-addr.arpa.", "web.shop.svc.cluster.local.");
    let missing = world.ask(&Query::a("nothing.shop.svc.cluster.local."));
    assert_eq!(missing.rcode(), ResponseCode::NXDomain);
    assert!(missing.message.metadata.authoritative, "the cluster's own answer");
    // Falls through.
    expect_name(world, "80.2.0.192.in-addr.arpa.", "www.outside.example.");
}

fn cached(world: &World) {
    let hits = || world.metric("coredns_cache_hits_total", "");
    expect(world, "hit.cold.example.", "192.0.2.81");
    let before = hits();
    expect(world, "hit.cold.example.", "192.0.2.81");
    assert!(hits() > before, "the second question for a name is a hit");
}

fn over_tls(world: &World, zone: &str, to: &str) {
    for number in 0..UPSTREAMS {
        expect(world, &format!("n{number}.{zone}"), ELSEWHERE_ADDRESS);
    }
    let count = world.metric("coredns_proxy_request_duration_seconds_count", &format!("to=\"{to}\""));
    assert!(count > 0.0, "{to} was not asked");
}

fn shuffled(world: &World) {
    let query = Query::a("db.shop.svc.cluster.local.");
    world.ask_until("data", &query, |answer| answer.answers().len() == 3);
    let first = || world.ask(&query).answers()[0].clone();
    let firsts: BTreeSet<_> = (0..SHUFFLES).map(|_| first().rsplit(' ').next().unwrap().to_owned()).collect();
    assert!(firsts.len() > 1, "always first: {firsts:?}");
}

fn cut(world: &World, size: usize) {
    let query = Query::a("many.shop.svc.cluster.local.").edns(4096);
    let answer = world.ask_until("data", &query, |answer| !answer.answers().is_empty());
    assert!(answer.message.metadata.truncation, "{} bytes", answer.raw.len());
    assert!((size / 2..=size).contains(&answer.raw.len()), "{} bytes", answer.raw.len());
}

/// One question of the client leads to what four would.
fn search_followed(world: &World) {
    world.ask_until("data", &Query::a("web.shop.svc.cluster.local."), has("10.96.0.7"));
    let asked = "www.outside.example.shop.svc.cluster.local.";
    let answer = world.ask(&Query::a(asked));
    let first = answer.answers().first().cloned().unwrap_or_default();
    assert!(has("192.0.2.80")(&answer) && first.contains(asked), "{:?}", answer.answers());
}

fn no_loop(world: &World) {
    world.node.wait_for("the question that would come back", |_| {
        (world.metric("coredns_dns_requests_total", "type=\"other\"") > 0.0).then_some(())
    });
    assert!(!world.node.output().contains("Loop ("), "{}", world.node.output());
}

/// A new block is answered from some moment on, and cluster names all the time.
fn reloaded(world: &World) {
    take_over(world, || world.reload());
}

/// Exchanges the Corefile, does `then`, and waits for the new one's answers.
pub(super) fn take_over(world: &World, then: impl FnOnce()) {
    let query = Query::a("www.reloaded.example.");
    let before = world.ask(&query);
    assert_eq!(before.rcode(), ResponseCode::NXDomain, "{:?}", before.answers());
    let (address, port) = world.place.at.rsplit_once(':').unwrap();
    // Where other blocks bind, all have to.
    let bind =
        if address == "127.0.0.1" { String::new() } else { format!("bind {}", world.place.local.join(" ")) };
    let block = format!("reloaded.example:{port} {{\n    {bind}\n    forward . 10.9.0.53\n}}\n");
    world.replace(&format!("{}{block}", world.corefile()));
    then();
    let still = |answer: &Answer| {
        expect_still(world);
        has(ELSEWHERE_ADDRESS)(answer)
    };
    // Nested: the test's own thread asks about the cluster between two looks.
    let deadline = std::time::Instant::now() + super::process::PATIENCE;
    while !still(&world.ask(&query)) {
        assert!(std::time::Instant::now() < deadline, "not taken over\n{}", world.node.output());
        std::thread::sleep(Duration::from_millis(20));
    }
    expect_still(world);
}

fn lameduck(world: &mut World) {
    world.node.signal(Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(500));
    expect_still(world);
    assert!(world.node.ended().is_none(), "{}", world.node.output());
}
