use std::sync::atomic::AtomicU64;

use super::*;
use crate::node::chain::{Chain, Upstreams};
use crate::node::reply::Reply;
use crate::node::test_support::{Ask, Logs, plugins, router, run};
use crate::ops::metrics::Metrics;

/// Answers what is below its zone; counts what it answers.
struct Forwards {
    zone: Labels,
    fails: AtomicBool,
    answered: AtomicU64,
}

impl Forwards {
    fn new(zone: &str) -> Arc<Self> {
        let zone = Labels::parse(zone).unwrap();
        Arc::new(Self { zone, fails: AtomicBool::new(false), answered: AtomicU64::new(0) })
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Plugin for Forwards {
    fn name(&self) -> &'static str {
        "forwards"
    }

    fn upstreams(&self, query: &Query) -> Option<Upstreams> {
        query.labels().is_within(&self.zone).then_some(Upstreams::Answering { recovered: None })
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        if !query.labels().is_within(&self.zone) {
            return next.run(query).await;
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        match self.fails.load(Ordering::Relaxed) {
            true => Outcome::error("as scripted"),
            false => Reply::new(ResponseCode::NXDomain, "forwards").into(),
        }
    }
}

/// A block with `loop`, a stub zone and a forward for all names.
struct Fixture {
    watch: Arc<Watch>,
    metrics: Metrics,
    stub: Arc<Forwards>,
    all: Arc<Forwards>,
    chain: Chain,
}

fn fixture() -> Fixture {
    let metrics = Metrics::new();
    let watch = Arc::new(Watch {
        zone: ".".to_owned(),
        probe: ArcSwapOption::empty(),
        broken: ArcSwapOption::empty(),
        failed: AtomicBool::new(false),
        detected: metrics.gauge(DETECTED, &[("zone", ".")]),
    });
    let (stub, all) = (Forwards::new("corp.example."), Forwards::new("."));
    let chain: Vec<Arc<dyn Plugin>> = vec![Arc::new(Loop(watch.clone())), stub.clone(), all.clone()];
    Fixture { watch, metrics, stub, all, chain: chain.into() }
}

impl Fixture {
    /// A probe is under way; the question for it as it comes in.
    fn probe(&self) -> (Arc<Probe>, Query) {
        let probe = Arc::new(Probe::new(".").unwrap());
        self.watch.probe.store(Some(probe.clone()));
        let name = Box::leak(probe.name().to_ascii().into_boxed_str());
        let ask = Ask { name, kind: RecordType::HINFO, ..Ask::default() };
        (probe, ask.by(&router(self.chain.clone())))
    }

    async fn ask(&self, name: &'static str) -> Outcome {
        run(&self.chain, &Ask { name, ..Ask::default() }).await
    }

    fn detected(&self) -> bool {
        self.metrics.render().contains("outlast_loop_detected{zone=\".\"} 1\n")
    }
}

#[tokio::test(start_paused = true)]
async fn the_third_time_is_certain_and_only_what_goes_round_is_refused() {
    let logs = Logs::capture("");
    let fixture = fixture();
    let (probe, query) = fixture.probe();
    for came in 1..=2 {
        let outcome = Next::all(&fixture.chain).run(&query).await;
        assert_eq!((outcome.rcode(), fixture.all.answered()), (ResponseCode::NXDomain, came));
        assert!(!fixture.detected());
    }
    let Outcome::Failed(failure) = Next::all(&fixture.chain).run(&query).await else { panic!("passed on") };
    let ede = failure.ede.unwrap();
    let text = "forwarding of zone . leads back to this server";
    assert_eq!((failure.rcode, ede.code, &*ede.text), (ResponseCode::ServFail, EdeCode::Other, text));
    assert!(fixture.detected());
    let lines = logs.take();
    let want = format!(
        "[ERROR] plugin/loop: Loop (10.240.0.1:40212 -> 10.96.0.10:53) detected for zone \".\", see \
         https://coredns.io/plugins/loop#troubleshooting. Query: \"HINFO {}\".",
        probe.name()
    );
    assert!(lines.len() == 1 && lines[0].starts_with(&want), "{lines:?}");

    assert_eq!(fixture.ask("www.example.").await.rcode(), ResponseCode::ServFail);
    assert_eq!(fixture.ask("www.corp.example.").await.rcode(), ResponseCode::NXDomain);
    assert_eq!(
        (fixture.all.answered(), fixture.stub.answered()),
        (2, 1),
        "one forward leads back, not the other"
    );
    // Of the same probe there is no more to say.
    Next::all(&fixture.chain).run(&query).await;
    assert_eq!(logs.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_passes_the_break_and_the_cache() {
    let fixture = fixture();
    fixture.watch.broken.store(Some(Arc::new(Broken { forward: None })));
    assert_eq!(fixture.ask("www.corp.example.").await.rcode(), ResponseCode::ServFail);
    let (probe, query) = fixture.probe();
    assert_eq!(Next::all(&fixture.chain).run(&query).await.rcode(), ResponseCode::NXDomain);
    assert!(fixture.chain[0].answers_from_memory(probe.labels()));
    assert!(!fixture.chain[0].answers_from_memory(&Labels::parse("www.example.").unwrap()));
    // Another type of the same name is no probe.
    let name = Box::leak(probe.name().to_ascii().into_boxed_str());
    assert_eq!(fixture.ask(name).await.rcode(), ResponseCode::ServFail);
}

/// What a loop has failed is not held against a name once the loop has gone.
#[tokio::test(start_paused = true)]
async fn a_cache_remembers_nothing_of_a_loop() {
    let fixture = fixture();
    let chain: Chain = plugins("cache").unwrap().into_iter().take(1).chain(fixture.chain.to_vec()).collect();
    let ask = async || run(&chain, &Ask { name: "www.example.", ..Ask::default() }).await.rcode();
    fixture.watch.broken.store(Some(Arc::new(Broken { forward: None })));
    assert_eq!(ask().await, ResponseCode::ServFail);
    fixture.watch.broken.store(None);
    assert_eq!(ask().await, ResponseCode::NXDomain);
}

/// Paused time, and a server on loopback that answers the probe.
#[tokio::test]
async fn a_probe_that_does_not_come_back_ends_the_break() {
    let logs = Logs::capture("");
    let fixture = fixture();
    fixture.watch.broken.store(Some(Arc::new(Broken { forward: None })));
    fixture.watch.detected.set(1.0);
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(fixture.watch.look(silent.local_addr().unwrap()).await, Finding::Unanswered);
    assert!(fixture.detected(), "nothing is known");

    let answers = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = answers.local_addr().unwrap();
    let echo = async {
        let mut packet = [0; 512];
        let (len, from) = answers.recv_from(&mut packet).await.unwrap();
        answers.send_to(&packet[..len], from).await.unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = echo => {}
        finding = fixture.watch.look(address) => assert_eq!(finding, Finding::Straight),
    }
    assert!(!fixture.detected());
    assert_eq!(logs.take(), ["[INFO] plugin/loop: the loop is gone, questions are forwarded again zone=."]);
    assert_eq!(fixture.ask("www.example.").await.rcode(), ResponseCode::NXDomain);
}

/// When probes are sent, seen by a server that answers none, so that nothing but the pause decides.
#[tokio::test(start_paused = true)]
async fn later_probes_need_a_reason() {
    let fixture = fixture();
    // Nobody listens there: each probe is refused by the kernel, or waits for its time to be over.
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let watch = fixture.watch.clone();
    let task = tokio::spawn(async move { watch.run(closed, &Jitter::from_seed(1)).await });
    let probes = async |seconds: u64| {
        let mut names = std::collections::BTreeSet::new();
        for _ in 0..seconds * 10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            names.extend(fixture.watch.probe.load().as_ref().map(|p| p.name().to_ascii()));
        }
        names.len()
    };
    assert!(probes(45).await >= 5, "at first it is tried again and again");
    assert_eq!(probes(300).await, 0);
    fixture.ask("www.example.").await;
    assert_eq!(probes(120).await, 0, "what is answered is no reason");
    fixture.all.fails.store(true, Ordering::Relaxed);
    fixture.ask("www.example.").await;
    assert_eq!(probes(120).await, 1, "one failure, one probe");
    fixture.watch.broken.store(Some(Arc::new(Broken { forward: None })));
    let again = probes(300).await;
    assert!((6..=10).contains(&again), "{again} while there is a loop");
    task.abort();
}

#[test]
fn names_are_two_numbers_below_the_zone() {
    for (zone, end) in [(".", "."), ("corp.example.", ".corp.example.")] {
        let name = Probe::new(zone).unwrap().name().to_ascii();
        let digits = name.strip_suffix(end).unwrap();
        let numbers: Vec<_> = digits.split('.').map(|n| n.parse::<i64>()).collect();
        assert!(numbers.len() == 2 && numbers.iter().all(Result::is_ok), "{name}");
    }
    assert_ne!(Probe::new(".").unwrap().name(), Probe::new(".").unwrap().name());
    let long = format!("{0}.{0}.{0}.{1}.", "a".repeat(63), "a".repeat(60));
    assert!(Probe::new(&long).is_none(), "no room");
}
