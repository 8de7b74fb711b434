//! Orders to a writer that runs, over a folder on a real disk.

use std::path::Path;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::snapshot::disk::RealDisk;
use crate::source::{Update, Wanted};
use crate::store::keeper::{Keeper, KeeperConfig};
use crate::store::writer::Writer;
use crate::zone::change::Change;
use crate::zone::object::{Namespace, Object};

/// When what is frozen ends.
const UNTIL: &str = "outlast_data_frozen_until_timestamp_seconds";

/// A store with its writer and its folder.
struct Running {
    store: Arc<Store>,
    metrics: Metrics,
    control: Control,
    updates: mpsc::Sender<Update>,
    stop: CancellationToken,
    writer: JoinHandle<()>,
}

impl Running {
    /// Starts on what the folder has.
    fn start(dir: &Path) -> Self {
        let config = KeeperConfig {
            max_stale: None,
            dir: dir.to_owned(),
            zone: "cluster.local.".to_owned(),
            source: "file:x".to_owned(),
            labels: false,
            headless_only: false,
            interval: Duration::from_secs(60),
        };
        let (clock, metrics, store) = (Arc::new(WallClock::new(0)), Metrics::new(), Store::new());
        let keeper = Keeper::open(config, Arc::new(RealDisk), clock.clone(), Jitter::from_seed(1), &metrics);
        let (wanted, limits) = (Wanted::default(), Limits::default());
        let mut writer = Writer::new(store.clone(), Some(keeper), wanted, limits, clock, &metrics);
        writer.boot();
        let (control, stop) = (writer.control(), CancellationToken::new());
        let (updates, queue) = mpsc::channel(4);
        let writer = tokio::spawn(writer.run(queue, stop.clone()));
        Self { store, metrics, control, updates, stop, writer }
    }

    /// Lists nothing but these namespaces, and waits until they are served or, behind something frozen, taken.
    async fn list(&self, names: &[&str]) {
        self.updates.send(Update::ListEnd { kinds: Kinds::CORE }).await.unwrap();
        let change = |name: &&str| {
            Change::Upsert(Object::Namespace(Namespace { name: (*name).into(), labels: [].into() })).into()
        };
        self.updates.send(Update::Changes(names.iter().map(change).collect())).await.unwrap();
        let (answer, taken) = oneshot::channel();
        self.updates.send(Update::Where { answer }).await.unwrap();
        taken.await.unwrap();
    }

    /// A clean stop, with its last snapshot.
    async fn stop(self) {
        self.stop.cancel();
        self.writer.await.unwrap();
    }

    /// The value of a gauge, once the writer has said it.
    fn gauge(&self, name: &str) -> f64 {
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.expect("it is there").parse().unwrap()
    }

    fn names(&self) -> Vec<String> {
        let table = &self.store.current().table;
        let mut names: Vec<_> = table.objects().map(|object| object.parts().1.to_owned()).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn what_is_frozen_outlives_a_restart_and_a_thaw_brings_back_what_was_received() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    assert_eq!(running.control.freeze(None).await, Outcome::NoData);
    running.list(&["a"]).await;
    let frozen = running.control.freeze(Some(Duration::from_secs(600))).await;
    assert_eq!(frozen, Outcome::Frozen { remaining_s: 600 });
    running.list(&["b"]).await;
    assert_eq!(running.names(), ["a"]);
    running.stop().await;

    let running = Running::start(dir.path());
    assert_eq!(running.names(), ["a"], "what was frozen is served");
    let status = running.control.status().await;
    let frozen = status.frozen.expect("it says so");
    assert!(!status.partial && (590..=600).contains(&frozen.remaining_s), "{frozen:?}");
    let left = running.gauge(UNTIL) - WallClock::new(0).now_unix_ms() as f64 / 1_000.0;
    assert!((590.0..=600.0).contains(&left), "{left}");
    assert_eq!(running.control.thaw().await, Outcome::Thawed);
    assert_eq!(running.names(), ["b"], "the last snapshot is what was received");
    assert_eq!(running.control.thaw().await, Outcome::NotFrozen);
    assert_eq!(running.gauge(UNTIL), 0.0);
    running.stop().await;

    let running = Running::start(dir.path());
    assert_eq!(running.names(), ["b"], "thawed for good");
    running.stop().await;
}

#[tokio::test]
async fn what_is_frozen_is_served_also_if_no_snapshot_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    running.list(&["a"]).await;
    running.control.freeze(Some(Duration::from_secs(600))).await;
    running.stop().await;
    for generation in Folder::look_at(Arc::new(RealDisk), dir.path()).generations().unwrap() {
        std::fs::write(generation.path, b"no snapshot").unwrap();
    }

    let running = Running::start(dir.path());
    assert_eq!(running.names(), ["a"]);
    assert!(running.control.status().await.frozen.is_some());
    assert_eq!(running.control.thaw().await, Outcome::Thawed);
    assert_eq!(running.names(), ["a"], "there is nothing else");
    assert!(!running.store.current().verified);
    running.stop().await;
}

#[tokio::test]
async fn a_snapshot_is_served_in_place_of_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    for names in [["a"], ["b"]] {
        let running = Running::start(dir.path());
        running.list(&names).await;
        running.stop().await;
    }
    let running = Running::start(dir.path());
    let all = running.control.generations().await.unwrap();
    assert_eq!(all.iter().map(|g| (g.generation, g.objects)).collect::<Vec<_>>(), [(2, 1), (1, 1)]);
    let for_ = Some(Duration::from_secs(600));
    assert_eq!(running.control.rollback(9, for_).await, Outcome::NoSuchGeneration { generation: 9 });
    let rolled_back = Outcome::RolledBack { generation: 1, remaining_s: 600 };
    assert_eq!(running.control.rollback(1, for_).await, rolled_back);
    assert_eq!(running.names(), ["a"]);
    let served: Vec<_> = running.control.generations().await.unwrap().into_iter().map(|g| g.served).collect();
    assert_eq!(served, [false, true]);
    running.list(&["c"]).await;
    running.stop().await;

    let running = Running::start(dir.path());
    assert_eq!(running.names(), ["a"]);
    assert_eq!(running.control.thaw().await, Outcome::Thawed);
    assert_eq!(running.names(), ["c"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_does_not_answer_is_not_waited_for() {
    let store = Store::new();
    let needed = (Kinds::CORE, Limits::default());
    let (control, orders) = Control::new(store, needed, None, Arc::new(WallClock::new(0)));
    assert!(control.status().await.partial);
    assert!(matches!(control.freeze(None).await, Outcome::Failed { .. }));
    drop(orders);
    assert_eq!(control.accept().await.outcome, Outcome::Failed { why: "the store has stopped".to_owned() });
    assert_eq!(control.generations().await, Ok(vec![]), "no folder");
}
