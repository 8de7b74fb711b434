//! A packet, over UDP and TCP, by the inline lane and by the general handler.
//!
//! * Every query is answered, and nothing else is; a reply is a message of the query's id that echoes its question byte
//!   for byte, no larger than whoever asks can take.
//! * The lane's reply is the general handler's.
//! * Nothing panics: neither here nor behind what keeps a panic from ending more than its own query.

#![allow(clippy::panic, reason = "what does not hold has to fail")]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use hickory_proto::op::{Message, MessageType};
use hickory_server::net::xfer::Protocol;

use crate::node::gate::{Gate, judge};
use crate::node::reply;
use crate::node::router::Router;
use crate::ops::dns_metrics::ServerMetrics;
use crate::ops::metrics::Metrics;
use crate::source::Wanted;
use crate::testkit::cluster::{ns, slice, svc};
use crate::testkit::lanes::Lanes;
use crate::testkit::node::Builder;
use crate::zone::Table;
use crate::zone::object::Object;

/// Length of a header, RFC 1035 §4.1.1.
const HEADER: usize = 12;

/// The largest reply to who says nothing of sizes, RFC 1035 §4.2.1.
const MIN_UDP: u16 = 512;

/// The zones that a cluster's `kubernetes` block has. A TTL of 0 has no jitter, which would differ from one minute to the
/// next.
const KUBE: &str = "kubernetes cluster.local in-addr.arpa ip6.arpa {\n ttl 0\n source file /nowhere.json\n";

/// What decides nothing by chance and keeps nothing: both ways are to have the same to say.
const SETTINGS: [(&str, &str); 3] = [
    ("plain", ".:53 {\n KUBE }\n}"),
    (
        "plugins",
        ".:53 {\n errors\n prometheus\n nsid somebody\n bufsize 600\n any\n chaos Shelf-1 somebody\n local\n minimal\n
         hosts /nowhere shop.svc.cluster.local test {\n 10.96.0.200 one.hosts.test storefront.shop.svc.cluster.local\n
         fallthrough\n }\n
         KUBE pods insecure\n fallthrough in-addr.arpa ip6.arpa\n }\n
         template IN AAAA v6.example {\n rcode NXDOMAIN\n }\n
         whoami\n}",
    ),
    (
        "rewriting",
        ".:53 {\n
         rewrite continue name suffix .shop.example .shop.svc.cluster.local answer auto\n
         rewrite continue type MX A\n
         rewrite continue class CH IN\n
         rewrite edns0 local set 0xffee 0x61626364 revert\n
         acl {\n block type TXT\n drop type NULL\n filter type SRV\n allow\n }\n
         template IN A pod.example {\n match \"^(?P<a>[0-9]+)-(?P<b>[0-9]+)[.]pod[.]example[.]$\"\n
         answer \"{{ .Name }} 60 IN A 10.0.{{ .Group.a }}.{{ .Group.b }}\"\n fallthrough\n }\n
         KUBE fallthrough\n }\n}\n
         lab.svc.cluster.local:53 {\n whoami\n}",
    ),
];

/// A ClusterIP service, a StatefulSet, and a headless service of 60 addresses.
pub fn objects() -> Vec<Object> {
    let mut herd = slice("shop/herd-1", "herd").port("p", 9);
    for host in 1..=60 {
        herd = herd.v4(&format!("10.244.9.{host}"));
    }
    let ledger = slice("shop/ledger-1", "ledger").port("sql", 5432);
    let ledger = ledger.v4("10.244.1.31").host("ledger-0").v4("10.244.2.32").host("ledger-1");
    vec![
        ns("shop"),
        svc("shop/storefront").ip("10.96.14.20").port("web", 80).build(),
        svc("shop/ledger").headless().port("sql", 5432).build(),
        ledger.build(),
        svc("shop/herd").headless().port("p", 9).build(),
        herd.build(),
    ]
}

/// A listener without its sockets.
struct Listener {
    /// For people.
    name: &'static str,
    /// Who answers.
    router: Arc<Router>,
    /// Both ways over UDP.
    lanes: Lanes,
    /// What is counted.
    metrics: Arc<Metrics>,
}

impl Listener {
    /// One with this Corefile, over the objects.
    fn new(name: &'static str, corefile: &str) -> Self {
        let plan = Builder::default().check(&corefile.replace("KUBE", KUBE));
        let plan = plan.unwrap_or_else(|e| panic!("{name}: {e}"));
        for (_, store) in &plan.process.stores {
            store.hold(Table::build(objects(), Wanted::ALL.kinds(), 1));
        }
        let metrics = Arc::new(Metrics::new());
        let server = plan.servers.into_iter().next().expect("a listener");
        let counted = Arc::new(ServerMetrics::new(&metrics, &server.identity, &server.counted));
        let panics = metrics.counter("panics", &[]);
        let router = Router::new(server.identity, server.routes, counted, panics);
        let lanes = Lanes::of_router(router.clone(), &metrics);
        Self { name, router, lanes, metrics }
    }

    /// What is sent back for a packet, by the general way.
    fn answer(&self, packet: &[u8], protocol: Protocol) -> Option<Vec<u8>> {
        match judge(packet, source(), local(), protocol, &self.router) {
            Gate::Silence => None,
            Gate::Reply(reply) => Some(reply),
            // Without forwards nothing waits.
            Gate::Pass(query) => {
                let reply = self.router.answer(&query).now_or_never().expect("an answer from memory")?;
                Some(reply::encode(&query, &reply).expect("whatever passes the gate is answered"))
            }
            Gate::Refuse(query) => reply::encode(&query, &self.router.refuse(&query)),
        }
    }

    /// Whether no reply is what the configuration asks for: `acl` may `drop`.
    fn may_be_silent(&self) -> bool {
        self.name == "rewriting"
    }

    /// What is sent back over UDP, by the general way with everything around it.
    fn general(&self, packet: &[u8]) -> Option<Vec<u8>> {
        self.lanes.general(packet, source(), local()).now_or_never().expect("an answer from memory")
    }

    fn check(&mut self, packet: &[u8]) {
        let name = self.name;
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let reply = self.answer(packet, protocol);
            check(name, packet, protocol, reply.as_deref(), self.may_be_silent());
        }
        let before = self.general(packet);
        let Some(inline) = self.lanes.inline(packet, source()) else { return };
        // What tells its age may have grown a second older meanwhile.
        if before.as_ref() != Some(&inline) {
            let general = self.general(packet);
            let same = general.as_ref() == Some(&inline);
            assert!(same, "{name}: {packet:02x?}\nthe lane {inline:02x?}\nnot {general:02x?}");
        }
    }
}

thread_local! {
    static LISTENERS: RefCell<Vec<Listener>> =
        RefCell::new(SETTINGS.iter().map(|(name, corefile)| Listener::new(name, corefile)).collect());
}

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5353))
}

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 53))
}

/// Takes a packet.
///
/// # Panics
/// If something does not hold.
pub fn run(packet: &[u8]) {
    LISTENERS.with_borrow_mut(|listeners| listeners.iter_mut().for_each(|listener| listener.check(packet)));
}

/// Asserts that no query of this thread has panicked so far: one that does is answered all the same.
///
/// # Panics
/// If one has.
pub fn has_not_panicked() {
    LISTENERS.with_borrow(|listeners| {
        for Listener { name, metrics, .. } in listeners {
            metrics.upkeep();
            let text = metrics.render();
            let panics = text.lines().find_map(|line| line.strip_prefix("panics ")).expect("it is counted");
            assert_eq!(panics, "0", "{name}: queries that panicked");
        }
    });
}

/// The question of a packet: its name, label by label, type and class.
fn question(packet: &[u8]) -> Option<&[u8]> {
    let mut end = HEADER;
    loop {
        match packet.get(end)? {
            0 => break,
            length @ 1..=63 => end += 1 + usize::from(*length),
            // Nobody who asks needs a pointer.
            _ => return None,
        }
    }
    packet.get(HEADER..end + 5)
}

/// Checks the reply to a packet.
fn check(name: &str, packet: &[u8], protocol: Protocol, reply: Option<&[u8]>, may_be_silent: bool) {
    let is_query = packet.len() >= HEADER && packet[2] & 0x80 == 0;
    let Some(reply) = reply else {
        assert!(!is_query || may_be_silent, "{name}: every query is answered: {packet:02x?}");
        return;
    };
    assert!(is_query, "{name}: nothing but queries is answered: {packet:02x?}");
    let message = Message::from_vec(reply).unwrap_or_else(|e| panic!("{name}: {packet:02x?}: {e}"));
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert_eq!(reply[..2], packet[..2], "{name}: {packet:02x?}");
    if message.queries.len() == 1 {
        let question = question(packet).unwrap_or_else(|| panic!("{name}: {packet:02x?} has no question"));
        let echoed = reply.get(HEADER..HEADER + question.len());
        assert_eq!(echoed, Some(question), "{name}: the question is echoed byte for byte");
    }
    if protocol == Protocol::Udp {
        let limit = message.edns.map_or(MIN_UDP, |edns| edns.max_payload().max(MIN_UDP));
        assert!(reply.len() <= limit.into(), "{name}: {} bytes, at most {limit}", reply.len());
    }
}
