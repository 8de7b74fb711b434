//! The writer, driven as a source drives it.

use super::*;
use crate::source::Listed;
use crate::zone::object::{Kind, Namespace, Object};

const NAMESPACES: Kinds = Kinds::NONE.with(Kind::Namespace);

fn writer(store: Arc<Store>) -> Writer {
    let clock = Arc::new(WallClock::new(0));
    Writer::new(store, None, Wanted::default(), Limits::default(), clock, &Metrics::new())
}

/// A store and its writer in a task.
struct Written {
    store: Arc<Store>,
    updates: mpsc::Sender<Update>,
}

impl Written {
    fn new() -> Self {
        let store = Store::new();
        let (updates, queue) = mpsc::channel(4);
        tokio::spawn(writer(store.clone()).run(queue, CancellationToken::new()));
        Self { store, updates }
    }

    /// Sends a list of so many namespaces and its end.
    async fn list(&self, namespaces: usize) {
        let entries = (0..namespaces).map(|n| {
            let object = Object::Namespace(Namespace { name: format!("n{n}").into(), labels: [].into() });
            Listed::Object { object, trigger: None }
        });
        let part = Update::ListPart { kinds: NAMESPACES, entries: entries.collect() };
        for update in [part, Update::ListEnd { kinds: NAMESPACES }] {
            self.updates.send(update).await.expect("the writer runs");
        }
    }

    /// Waits until so many namespaces are served, and says how often others had their turn meanwhile.
    async fn served(&self, namespaces: usize) -> usize {
        let mut turns = 0;
        while self.store.current().table.count(Kind::Namespace) != namespaces {
            tokio::task::yield_now().await;
            turns += 1;
        }
        turns
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_list_leaves_the_runtime_to_others() {
    let written = Written::new();
    written.list(10).await;
    assert!(written.served(10).await < 10, "a small one is applied in its turn");
    // Time does not pass, and so no tick helps.
    let many = 2 * INLINE_WORK;
    written.list(many).await;
    assert!(written.served(many).await > 10, "others went on");
    written.list(0).await;
    written.served(0).await;
    let generation = written.store.current().clone();
    assert_eq!((generation.number, generation.verified), (3, false), "lists prove nothing");
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_is_not_vouched_for_until_it_is_listed() {
    let store = Store::new();
    let mut writer = writer(store.clone());
    let fresh = || Update::Fresh { as_of: Instant::now() };
    writer.lineage.broke(NAMESPACES);
    writer.take(fresh()).await;
    assert!(!store.current().verified);
    writer.take(Update::ListEnd { kinds: Kinds::CORE }).await;
    writer.take(fresh()).await;
    assert!(store.current().verified);
}
