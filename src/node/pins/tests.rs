//! What the router makes of questions for names that are pinned, and of others.

use std::time::Duration;

use hickory_proto::rr::RecordType;

use super::pin::{Span, Wanted};
use super::*;
use crate::node::router::{Block, Route, Router};
use crate::node::test_support::{Ask, plugins};
use crate::ops::dns_metrics::ServerMetrics;

/// Names that plugins have something to say about.
const BODY: &str = "prometheus localhost:0\nhosts /dev/null {\n 192.0.2.10 www.example.\n 2001:db8::10 www.example.\n \
                    192.0.2.11 other.example.\n}\nacl {\n block net 10.9.0.0/16\n}\ntemplate IN ANY absent.example {\n rcode NXDOMAIN\n}";

/// A listener whose one block is for `zone`.
struct World {
    router: Arc<Router>,
    metrics: Arc<Metrics>,
    pins: Pins,
}

impl World {
    fn new(zone: &str) -> Self {
        let metrics = Arc::new(Metrics::new());
        let pins = Pins::new(&metrics);
        let server = Arc::new(ServerMetrics::new(&metrics, "dns://:53", &[zone.to_owned()]));
        let block = Arc::new(Block { plugins: plugins(BODY).unwrap().into() });
        let routes = vec![Route { zone: Labels::parse(zone).unwrap(), block }];
        let router = Router::pinning("dns://:53".to_owned(), routes, server, Counter::noop(), pins.clone());
        Self { router, metrics, pins }
    }

    /// Pins this for a minute.
    fn pin(&self, name: &str, kind: &str, value: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        let span = Span { since_ms: 0, until_ms: 60_000, until };
        self.pins.change(|table| table.add(Wanted::parse(name, kind, value).unwrap(), span)).unwrap();
    }

    /// Rcode and records, in short.
    async fn ask(&self, ask: Ask) -> String {
        let reply = self.router.answer(&ask.by(&self.router)).await.unwrap();
        let record = |r: &Record| format!("{} {} {}", r.name, r.ttl, r.data);
        let answers = reply.answers.iter().map(record).collect::<Vec<_>>().join(", ");
        let ede = reply.ede.map_or_else(String::new, |ede| format!(" ({} {})", ede.code.number(), ede.text));
        format!("{:?}{ede} {answers}", reply.rcode)
    }

    async fn asks(&self, name: &'static str, kind: RecordType) -> String {
        self.ask(Ask { name, kind, ..Ask::default() }).await
    }

    fn counted(&self, line: &str) -> bool {
        self.metrics.upkeep();
        self.metrics.render().lines().any(|of| of == line)
    }
}

const FORGED: &str = "NoError (4 pinned by an operator, for 1m0s more)";

#[tokio::test(start_paused = true)]
async fn what_is_pinned_is_the_answer_whatever_plugins_say() {
    let world = World::new(".");
    world.pin("www.example", "A", "192.0.2.77");
    world.pin("www.example", "A", "192.0.2.78");
    world.pin("absent.example", "TXT", "hello");
    world.pin("alias.example", "CNAME", "other.example");
    world.pin("loop.example", "CNAME", "loop2.example");
    world.pin("loop2.example", "CNAME", "loop.example");
    let (a, aaaa, txt) = (RecordType::A, RecordType::AAAA, RecordType::TXT);
    for (name, kind, want) in [
        ("WWW.example.", a, format!("{FORGED} WWW.example. 30 192.0.2.77, WWW.example. 30 192.0.2.78")),
        ("www.example.", aaaa, format!("{FORGED} ")),
        // The name is there now, whatever type is asked for.
        ("absent.example.", txt, format!("{FORGED} absent.example. 30 hello")),
        ("absent.example.", a, "NoError ".to_owned()),
        ("www.example.", txt, "NoError ".to_owned()),
        ("other.absent.example.", a, "NXDomain ".to_owned()),
        ("alias.example.", RecordType::CNAME, format!("{FORGED} alias.example. 30 other.example.")),
        (
            "alias.example.",
            a,
            format!("{FORGED} alias.example. 30 other.example., other.example. 3600 192.0.2.11"),
        ),
        ("other.example.", a, "NoError other.example. 3600 192.0.2.11".to_owned()),
    ] {
        assert_eq!(world.asks(name, kind).await, want, "{name} {kind}");
    }
    // An endless chain ends.
    let answer = world.asks("loop.example.", a).await;
    assert!(answer.starts_with(FORGED) && answer.matches("loop").count() < 50, "{answer}");
    // Whom `acl` turns away, too.
    let source = "10.9.0.1:53";
    let turned_away = world.ask(Ask { name: "other.example.", source, ..Ask::default() }).await;
    assert!(turned_away.starts_with("Refused"), "{turned_away}");
    let answered = world.ask(Ask { name: "www.example.", source, ..Ask::default() }).await;
    assert!(answered.starts_with(FORGED), "{answered}");
    // Questions of other classes are none for it.
    let class = DNSClass::CH;
    let other = world.ask(Ask { name: "www.example.", class, ..Ask::default() }).await;
    assert!(!other.contains("192.0.2.77"), "{other}");
}

#[tokio::test(start_paused = true)]
async fn what_is_pinned_needs_no_block() {
    let world = World::new("cluster.local.");
    let name = "www.example.";
    assert!(world.asks(name, RecordType::A).await.starts_with("Refused"));
    world.pin(name, "A", "192.0.2.77");
    assert!(world.asks(name, RecordType::A).await.starts_with(FORGED));
    assert_eq!(world.asks(name, RecordType::TXT).await, "NoError ", "and nobody is refused the rest of it");
    world.pins.change(|table| table.take(|_| true));
    assert!(world.asks(name, RecordType::A).await.starts_with("Refused"));
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_is_answered_as_ever() {
    let world = World::new(".");
    world.pin("www.example", "A", "192.0.2.77");
    tokio::time::advance(Duration::from_secs(50)).await;
    let last = world.asks("www.example.", RecordType::A).await;
    assert_eq!(
        last, "NoError (4 pinned by an operator, for 10s more) www.example. 10 192.0.2.77",
        "nobody keeps it for longer"
    );
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(world.asks("www.example.", RecordType::A).await, "NoError www.example. 3600 192.0.2.10");
    assert!(world.pins.has(&Labels::parse("www.example").unwrap()), "nobody has tidied up");
}

#[tokio::test(start_paused = true)]
async fn it_is_counted_as_any_answer_is() {
    let world = World::new(".");
    assert!(world.counted("outlast_pinned_answers_total 0"));
    world.pin("www.example", "A", "192.0.2.77");
    for _ in 0..3 {
        world.asks("www.example.", RecordType::A).await;
    }
    world.asks("www.example.", RecordType::TXT).await;
    assert!(world.counted("outlast_pinned_answers_total 3"));
    let of = |plugin: &str, rcode: &str, count: u64| {
        format!(
            "coredns_dns_responses_total{{server=\"dns://:53\",zone=\".\",view=\"\",rcode=\"{rcode}\",plugin=\"{plugin}\"}} {count}"
        )
    };
    assert!(world.counted(&of("pin", "NOERROR", 3)), "{}", world.metrics.render());
}

/// The self-check is about the configuration and the data.
#[tokio::test(start_paused = true)]
async fn a_rehearsal_knows_of_no_pins() {
    let world = World::new(".");
    world.pin("www.example", "A", "192.0.2.77");
    let query = Ask { name: "www.example.", ..Ask::default() }.by(&world.router);
    let reply = world.router.rehearse(&query).await.unwrap();
    assert_eq!(reply.answers[0].data.to_string(), "192.0.2.10");
}
