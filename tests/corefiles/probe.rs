//! What a Corefile is asked, and which plugins an answer goes through.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use outlast::testkit::client::Query;

use super::checks::{
    cached, cluster, cut, expect, expect_name, fail, lameduck, no_loop, over_tls, reloaded, reverse,
    search_followed, shuffled, wait_for_line,
};
use super::world::{ELSEWHERE_ADDRESS, World};

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
