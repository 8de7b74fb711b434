//! The writer, driven as a source drives it.

use tokio::sync::oneshot;

use super::*;
use crate::ops::jitter::Jitter;
use crate::source::{Event, Listed};
use crate::store::status::outcome::Outcome;
use crate::zone::Table;
use crate::zone::change::Change;
use crate::zone::guard::Policy;
use crate::zone::hold::{Held, Hold};
use crate::zone::object::{Kind, Namespace, Object, Service, Shape};

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

// === Operators ===

/// A writer that is driven by hand, without a task of its own.
fn by_hand() -> (Arc<Store>, Writer) {
    let store = Store::new();
    let writer = writer(store.clone());
    (store, writer)
}

fn namespace(name: &str) -> Object {
    Object::Namespace(Namespace { name: name.into(), labels: [].into() })
}

fn upsert(name: &str) -> Update {
    Update::Changes(vec![Change::Upsert(namespace(name)).into()])
}

/// A list of these namespaces.
async fn list(writer: &mut Writer, names: impl IntoIterator<Item = String>) {
    let entries = names.into_iter().map(|name| Listed::Object { object: namespace(&name), trigger: None });
    writer.take(Update::ListPart { kinds: NAMESPACES, entries: entries.collect() }).await;
    writer.take(Update::ListEnd { kinds: NAMESPACES }).await;
}

fn names(store: &Store) -> Vec<String> {
    let mut names: Vec<_> =
        store.current().table.objects().map(|object| object.parts().1.to_owned()).collect();
    names.sort();
    names
}

/// Sends an order and does it.
async fn ordered<T>(writer: &mut Writer, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> T {
    let (answer, mut answered) = oneshot::channel();
    writer.obey(order(answer)).await;
    answered.try_recv().expect("an order is answered")
}

#[tokio::test(start_paused = true)]
async fn what_is_frozen_stays_and_ages_until_its_time_is_over() {
    let (store, mut writer) = by_hand();
    let seconds = Duration::from_secs;
    assert!(ordered(&mut writer, |a| Order::Freeze(seconds(60), a)).await.is_none(), "there is nothing");
    list(&mut writer, ["a".to_owned()]).await;
    writer.take(Update::Fresh { as_of: Instant::now() }).await;
    let frozen = ordered(&mut writer, |a| Order::Freeze(seconds(60), a)).await.expect("there is data");
    assert_eq!((frozen.mark.until_ms - frozen.mark.since_ms, frozen.mark.rolled_back_to), (60_000, None));
    assert!(frozen.header.is_none(), "nobody keeps it");

    tokio::time::advance(seconds(40)).await;
    writer.take(upsert("b")).await;
    writer.take(Update::Fresh { as_of: Instant::now() }).await;
    writer.tick().await;
    assert_eq!((names(&store), store.age()), (vec!["a".to_owned()], seconds(40)), "it is not proved");
    assert_eq!(store.received_age(), seconds(0), "what is behind it is");
    assert_eq!(
        writer.compare(&writer.standing().digests.map(Some)),
        Comparison::Same,
        "of what was received"
    );

    let status = ordered(&mut writer, Order::Status).await;
    let frozen = status.frozen.expect("it says so");
    assert_eq!((frozen.since_s, frozen.remaining_s, frozen.rolled_back_to), (40, 20, None));

    tokio::time::advance(seconds(20)).await;
    writer.tick().await;
    assert_eq!((names(&store), store.age()), (vec!["a".to_owned(), "b".to_owned()], seconds(20)));
    assert!(!ordered(&mut writer, Order::Thaw).await, "it was over");
}

#[tokio::test(start_paused = true)]
async fn a_thaw_serves_what_was_received() {
    let (store, mut writer) = by_hand();
    list(&mut writer, ["a".to_owned()]).await;
    ordered(&mut writer, |a| Order::Freeze(Duration::from_secs(60), a)).await.expect("there is data");
    let number = store.current().number;
    writer.take(upsert("b")).await;
    assert!(ordered(&mut writer, Order::Thaw).await);
    assert!(store.current().number > number);
    assert_eq!(names(&store), ["a", "b"]);
    writer.take(upsert("c")).await;
    assert_eq!(names(&store), ["a", "b", "c"]);
}

// === The guard ===

/// A writer with a guard and a list of twenty services, and what its source is asked.
async fn guarded_writer() -> (Arc<Store>, Writer, crate::source::command::Commanded) {
    let (store, mut writer) = by_hand();
    let (commands, commanded) = crate::source::command::channel();
    writer.asks(commands);
    let hold = Duration::from_secs(3600);
    writer.guards(Some(Guard { policy: Policy::default(), hold, jitter: Jitter::from_seed(1) }));
    services(&mut writer, 0..20).await;
    (store, writer, commanded)
}

const SERVICES: Kinds = Kinds::NONE.with(Kind::Service);

fn service(number: usize) -> Object {
    let (namespace, name) = ("shop".into(), format!("s{number:02}").into());
    Object::Service(Service { namespace, name, shape: Shape::Headless, ports: [].into(), labels: [].into() })
}

/// A list of these services.
async fn services(writer: &mut Writer, numbers: std::ops::Range<usize>) {
    let entries = numbers.map(|number| Listed::Object { object: service(number), trigger: None });
    writer.take(Update::ListPart { kinds: SERVICES, entries: entries.collect() }).await;
    writer.take(Update::ListEnd { kinds: SERVICES }).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_list_lacks_is_held_until_somebody_accepts_it() {
    let (store, mut writer, _commanded) = guarded_writer().await;
    services(&mut writer, 15..25).await;
    let held = store.current().clone();
    assert_eq!((held.table.count(Kind::Service), held.held.len(), held.holds.len()), (25, 15, 1));
    let received = Table::build((15..25).map(service), SERVICES, 1);
    assert_eq!(
        held.received_digest(Kind::Service),
        received.digest(Kind::Service),
        "digests are of what was received"
    );
    assert!(held.hold_of(b"shop", b"s03").is_some() && held.hold_of(b"shop", b"s17").is_none());

    let status = ordered(&mut writer, Order::Status).await;
    assert_eq!((status.holds.len(), status.holds[0].objects, status.holds[0].examples.len()), (1, 15, 5));

    let accepted = ordered(&mut writer, Order::Accept).await;
    assert_eq!(accepted.outcome, Outcome::Accepted { holds: 1, objects: 15 });
    assert_eq!(accepted.keys.len(), 15);
    assert_eq!(store.current().table.count(Kind::Service), 10);
    assert!(store.current().held.is_empty() && store.current().holds.is_empty());
    assert_eq!(ordered(&mut writer, Order::Accept).await.outcome, Outcome::NothingHeld);
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_elsewhere_is_not_held_whenever_the_list_comes() {
    let (_, mut other, _commanded) = guarded_writer().await;
    services(&mut other, 15..20).await;
    let keys = ordered(&mut other, Order::Accept).await.keys;
    for before in [true, false] {
        let (store, mut writer, _commanded) = guarded_writer().await;
        if before {
            writer.obey(Order::AcceptKeys(keys.clone())).await;
        }
        services(&mut writer, 15..20).await;
        if !before {
            assert_eq!(store.current().table.count(Kind::Service), 20);
            writer.obey(Order::AcceptKeys(keys.clone())).await;
        }
        assert_eq!(store.current().table.count(Kind::Service), 5, "before the list: {before}");
        assert!(store.current().holds.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_and_has_come_again_is_held_again() {
    for by_list in [true, false] {
        let (store, mut writer, _commanded) = guarded_writer().await;
        services(&mut writer, 0..0).await;
        ordered(&mut writer, Order::Accept).await;
        assert_eq!(store.current().table.count(Kind::Service), 0);
        // What is still as it was accepted stays so.
        services(&mut writer, 0..0).await;
        if by_list {
            services(&mut writer, 0..20).await;
        } else {
            let events = (0..20).map(|number| Change::Upsert(service(number)).into());
            writer.take(Update::Changes(events.collect())).await;
        }
        services(&mut writer, 0..0).await;
        let current = store.current().clone();
        assert_eq!(
            (current.table.count(Kind::Service), current.held.len()),
            (20, 20),
            "by a list: {by_list}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_source_is_asked_for_another_list_ever_more_rarely() {
    let (store, mut writer, mut commanded) = guarded_writer().await;
    services(&mut writer, 15..20).await;
    let (begin, mut asked) = (Instant::now(), Vec::new());
    while begin.elapsed() < Duration::from_secs(3500) {
        tokio::time::advance(Duration::from_secs(1)).await;
        writer.tick().await;
        if let Ok(command) = commanded.try_recv() {
            assert_eq!(command, Command::Relist { kinds: SERVICES, why: Why::Held });
            asked.push(begin.elapsed().as_secs());
            // It is as it was.
            services(&mut writer, 15..20).await;
        }
    }
    let nominal = [30, 90, 210, 450, 930, 1530, 2130, 2730, 3330];
    assert!((8..=10).contains(&asked.len()), "{asked:?} where {nominal:?} would be without jitter");
    assert!((22..=38).contains(&asked[0]) && asked[1] - asked[0] >= 45, "{asked:?}");
    assert_eq!((store.current().holds.len(), store.current().held.len()), (1, 15), "of one clock");
    tokio::time::advance(Duration::from_secs(101)).await;
    writer.tick().await;
    assert_eq!(store.current().table.count(Kind::Service), 5, "it is believed after an hour");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_confirms_to_be_gone_is_held_for_longer() {
    let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
    let (store, mut writer, _commanded) = guarded_writer().await;
    let held = || store.current().held.len();
    services(&mut writer, 0..0).await;
    tokio::time::advance(hour + second).await;
    writer.tick().await;
    assert_eq!(held(), 20, "one list is no proof");
    let status = ordered(&mut writer, Order::Status).await;
    let hold = &status.holds[0];
    assert!(hold.postponed && hold.remaining_s == 0, "{hold:?}");

    services(&mut writer, 0..0).await;
    writer.take(Update::Lost { why: "gone".to_owned() }).await;
    writer.tick().await;
    assert_eq!(held(), 20, "two lists are, but now nobody knows");
    writer.take(Update::Fresh { as_of: Instant::now() }).await;
    writer.tick().await;
    assert_eq!((held(), store.current().table.count(Kind::Service)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_turns_up_again_is_released_and_the_rest_stays_held() {
    let (store, mut writer, _commanded) = guarded_writer().await;
    services(&mut writer, 15..20).await;
    // Not too much any more by itself.
    services(&mut writer, 4..20).await;
    assert_eq!((store.current().held.len(), store.current().holds[0].objects), (4, 4));
    services(&mut writer, 0..20).await;
    assert!(store.current().holds.is_empty());
    assert_eq!(store.current().table.count(Kind::Service), 20);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_has_what_is_accepted_meanwhile_brings_it_back() {
    let (_, mut other, _commanded) = guarded_writer().await;
    services(&mut other, 15..20).await;
    let keys = ordered(&mut other, Order::Accept).await.keys;
    for elsewhere in [false, true] {
        let (store, mut writer, _commanded) = guarded_writer().await;
        services(&mut writer, 15..20).await;
        assert_eq!(store.current().held.len(), 15);
        let entries = (0..20).map(|number| Listed::Object { object: service(number), trigger: None });
        writer.take(Update::ListPart { kinds: SERVICES, entries: entries.collect() }).await;
        if elsewhere {
            writer.obey(Order::AcceptKeys(keys.clone())).await;
        } else {
            ordered(&mut writer, Order::Accept).await;
        }
        assert_eq!(store.current().table.count(Kind::Service), 5, "elsewhere: {elsewhere}");
        writer.take(Update::ListEnd { kinds: SERVICES }).await;
        assert_eq!(store.current().table.count(Kind::Service), 20, "elsewhere: {elsewhere}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_a_list_is_under_way_is_what_the_list_says() {
    let (store, mut writer) = by_hand();
    services(&mut writer, 0..5).await;
    let entries = (0..5).map(|number| Listed::Object { object: service(number), trigger: None });
    writer.take(Update::ListPart { kinds: SERVICES, entries: entries.collect() }).await;
    let gone = Change::Delete(service(3).key());
    writer.take(Update::Changes(vec![gone.into(), Change::Upsert(service(7)).into()])).await;
    assert_eq!(names(&store), ["s00", "s01", "s02", "s04", "s07"]);
    writer.take(Update::ListEnd { kinds: SERVICES }).await;
    assert_eq!(names(&store), ["s00", "s01", "s02", "s03", "s04"]);
}

#[tokio::test(start_paused = true)]
async fn another_clusters_list_is_not_judged() {
    let (store, mut writer, _commanded) = guarded_writer().await;
    writer.take(Update::Lineage { cluster_uid: "other".to_owned(), epoch: 0 }).await;
    services(&mut writer, 30..31).await;
    assert_eq!((store.current().table.count(Kind::Service), store.current().holds.len()), (1, 0));
    // A restore of the same cluster is.
    writer.take(Update::Lineage { cluster_uid: "other".to_owned(), epoch: 1 }).await;
    services(&mut writer, 0..0).await;
    assert_eq!(store.current().holds.len(), 1);
}

/// The holds of a state, as they are told now.
fn told(generation: &Generation) -> Vec<Hold> {
    generation.holds.iter().map(|hold| hold.tell(Instant::now())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_hubs_holds_are_taken_as_they_are() {
    let (store, mut writer) = by_hand();
    let hold = |id| Hold { id, why: "a list".into(), objects: 1, held_ms: 1000, remaining_ms: 5000 };
    let held = Held { served: service(1), hold: 7 };
    let change = Change::Delete(service(1).key());
    let entries = vec![
        Listed::Object { object: service(0), trigger: None },
        Listed::Held { change: change.clone(), held: held.clone() },
    ];
    writer.take(Update::ListPart { kinds: SERVICES, entries }).await;
    writer.take(Update::ListEnd { kinds: SERVICES }).await;
    writer.take(Update::Holds(vec![hold(7)])).await;
    let current = store.current().clone();
    assert_eq!(
        (current.table.count(Kind::Service), current.held.len(), told(&current)),
        (2, 1, vec![hold(7)])
    );
    let later = Hold { held_ms: 3000, remaining_ms: 3000, ..hold(7) };
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(told(&current), [later], "as of now");
    let received = Table::build([service(0)], SERVICES, 1);
    assert_eq!(current.received_digest(Kind::Service), received.digest(Kind::Service));

    // It ends when the hub says so, and not before.
    tokio::time::advance(Duration::from_secs(60)).await;
    writer.tick().await;
    assert_eq!(store.current().table.count(Kind::Service), 2);
    writer.take(Update::Holds(vec![])).await;
    assert_eq!((store.current().table.count(Kind::Service), store.current().held.len()), (1, 0));
    let event = Event { change, trigger: None, held: Some(held) };
    writer.take(Update::Changes(vec![event])).await;
    assert_eq!(store.current().table.count(Kind::Service), 2, "an event may be held, too");
}

#[tokio::test(start_paused = true)]
async fn a_hold_does_not_end_before_what_waits_says_what_became_of_it() {
    let (store, mut writer) = by_hand();
    let hold = |id| Hold { id, why: "a list".into(), objects: 1, held_ms: 0, remaining_ms: 5000 };
    let version = |version| Update::Told { kind: Kind::Service, version, digest: None };
    let change = Change::Delete(service(1).key());
    let held = Listed::Held { change, held: Held { served: service(1), hold: 7 } };
    writer.take(Update::ListPart { kinds: SERVICES, entries: vec![held] }).await;
    writer.take(Update::ListEnd { kinds: SERVICES }).await;
    writer.take(Update::Holds(vec![hold(7)])).await;
    writer.take(version(10)).await;

    // Another hub, which is behind, tells that the object is there again, and therefore held no longer.
    writer.take(version(8)).await;
    writer.take(Update::Changes(vec![Change::Upsert(service(1)).into()])).await;
    writer.take(Update::Holds(vec![hold(9)])).await;
    let ids = |store: &Store| store.current().holds.iter().map(|hold| hold.id).collect::<Vec<_>>();
    assert_eq!((names(&store), ids(&store)), (vec!["s01".to_owned()], vec![7, 9]));
    writer.take(version(10)).await;
    assert_eq!((names(&store), ids(&store)), (vec!["s01".to_owned()], vec![9]));
    assert!(store.current().held.is_empty());

    writer.take(version(8)).await;
    writer.take(Update::Holds(vec![])).await;
    assert_eq!(ids(&store), [9]);
    writer.take(Update::ListEnd { kinds: SERVICES }).await;
    assert_eq!(ids(&store), [0; 0], "a list is all there is to know");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_anew_is_not_let_go_with_what_waited() {
    let (store, mut writer) = by_hand();
    let version = |version| Update::Told { kind: Kind::Service, version, digest: None };
    let entries = [0, 1].map(|n| Listed::Object { object: service(n), trigger: None });
    writer.take(Update::ListPart { kinds: SERVICES, entries: entries.into() }).await;
    writer.take(Update::ListEnd { kinds: SERVICES }).await;
    writer.take(version(10)).await;

    // Another hub, which is behind, holds nothing, and then something; what it holds is told with what makes up for that.
    writer.take(version(8)).await;
    writer.take(Update::Holds(vec![])).await;
    let held = Some(Held { served: service(1), hold: 7 });
    let event = Event { change: Change::Delete(service(1).key()), trigger: None, held };
    writer.take(Update::Changes(vec![event])).await;
    writer.take(version(10)).await;
    let hold = Hold { id: 7, why: "a list".into(), objects: 1, held_ms: 0, remaining_ms: 5000 };
    writer.take(Update::Holds(vec![hold])).await;
    let current = store.current();
    assert_eq!((names(&store).len(), current.held.len(), current.holds.len()), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn large_holds_begin_and_end_while_others_go_on() {
    let (store, mut writer, _commanded) = guarded_writer().await;
    let many = 2 * INLINE_WORK;
    services(&mut writer, 0..many).await;
    services(&mut writer, 0..0).await;
    assert_eq!((store.current().held.len(), store.current().holds[0].objects), (many, many));
    let turns = std::cell::Cell::new(0);
    let others = async {
        loop {
            turns.set(turns.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        _ = ordered(&mut writer, Order::Accept) => {}
        () = others => {}
    }
    assert!(turns.get() > 1, "others went on");
    assert_eq!((store.current().held.len(), store.current().table.count(Kind::Service)), (0, 0));
    assert!(store.current().holds.is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_guard_nothing_is_held_any_longer_once_it_follows() {
    let (store, mut writer, _commanded) = guarded_writer().await;
    services(&mut writer, 0..0).await;
    writer.guards(None);
    let (_updates, queue) = mpsc::channel(1);
    let stop = CancellationToken::new();
    stop.cancel();
    writer.follow(queue, &stop).await;
    assert_eq!((store.current().held.len(), store.current().holds.len()), (0, 0));
    assert_eq!(store.current().table.count(Kind::Service), 0);
}

// === Losses and audits ===

#[tokio::test(start_paused = true)]
async fn what_was_lost_is_asked_for_once_a_minute_until_it_is_listed() {
    let (_store, mut writer, mut commanded) = guarded_writer().await;
    let asked = Some(Command::Relist { kinds: SERVICES, why: Why::Lost });
    writer.lineage.broke(SERVICES);
    for _ in 0..3 {
        writer.tick().await;
        assert_eq!(commanded.try_recv().ok(), asked);
        tokio::time::advance(Duration::from_secs(59)).await;
        writer.tick().await;
        assert!(commanded.try_recv().is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    writer.take(Update::ListPart { kinds: SERVICES, entries: vec![] }).await;
    writer.tick().await;
    assert!(commanded.try_recv().is_err(), "it is being listed");
    writer.take(Update::ListFailed { kinds: SERVICES }).await;
    writer.tick().await;
    assert_eq!(commanded.try_recv().ok(), asked);
    services(&mut writer, 0..20).await;
    tokio::time::advance(Duration::from_secs(600)).await;
    writer.tick().await;
    assert!(commanded.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_audit_counts_what_it_repairs() {
    let (store, mut writer, _commanded) = guarded_writer().await;
    let metrics = Metrics::new();
    writer.report = Report::new(&metrics);
    services(&mut writer, 0..21).await;
    writer.take(Update::ListPart { kinds: SERVICES, entries: vec![] }).await;
    let line = "outlast_audit_differences_total{kind=\"Service\"}";
    let count = || metrics.render().lines().find_map(|l| l.strip_prefix(line).map(|n| n.trim().to_owned()));
    assert_eq!(count().as_deref(), Some("0"), "a list is no audit");
    let entries = (1..22).map(|number| Listed::Object { object: service(number), trigger: None });
    writer.take(Update::ListPart { kinds: SERVICES, entries: entries.collect() }).await;
    writer.take(Update::Audited { kind: Kind::Service }).await;
    writer.take(Update::ListEnd { kinds: SERVICES }).await;
    assert_eq!(count().as_deref(), Some("2"), "one was missing here and one there");
    assert_eq!(store.current().table.count(Kind::Service), 21);
}

#[tokio::test(start_paused = true)]
async fn an_audit_that_lost_a_part_is_none_and_neither_is_the_next_list() {
    let (_store, mut writer, _commanded) = guarded_writer().await;
    writer.take(Update::ListPart { kinds: SERVICES, entries: vec![] }).await;
    writer.lists.lose(SERVICES);
    writer.take(Update::Audited { kind: Kind::Service }).await;
    assert_eq!(writer.audited, SERVICES);
    writer.take(Update::ListEnd { kinds: SERVICES }).await;
    assert_eq!((writer.audited, writer.lineage.broken()), (Kinds::NONE, SERVICES));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_what_has_been_is_applied_at_once_and_is_not_compared_before() {
    let (store, mut writer) = by_hand();
    list(&mut writer, ["a".to_owned()]).await;
    let told = |version| Update::Told { kind: Kind::Namespace, version, digest: None };
    writer.take(told(10)).await;
    writer.take(told(8)).await;
    writer.take(upsert("b")).await;
    writer.take(upsert("c")).await;
    assert_eq!(names(&store), ["a"]);
    let digests = [Some(Digest::default()), None, None, None];
    assert_eq!(writer.compare(&digests), Comparison::Unsettled);
    let number = store.current().number;
    writer.take(told(10)).await;
    assert_eq!((names(&store).len(), store.current().number), (3, number + 1), "in one generation");
    assert_eq!(store.current().reached.told.version(Kind::Namespace), 10);
    assert_eq!(store.current().reached.ahead, Kinds::NONE, "it is the state of that position");
    assert!(matches!(writer.compare(&digests), Comparison::Differs { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_leads_somewhere_else_is_not_served_before_a_list() {
    let (store, mut writer) = by_hand();
    let told = |version, digest| Update::Told { kind: Kind::Namespace, version, digest };
    let at = |store: &Store| store.current().reached.told.version(Kind::Namespace);
    let digest = |store: &Store| store.current().received_digest(Kind::Namespace);
    let mut there = Vec::new();
    for hub in [&["a", "c"][..], &["a", "b"]] {
        list(&mut writer, hub.iter().map(|name| (*name).to_owned())).await;
        there.push(digest(&store));
    }
    writer.take(told(10, None)).await;

    // "b" came after the state that another hub goes on from, and went before its next one, which has "c".
    writer.take(told(8, None)).await;
    writer.take(upsert("c")).await;
    writer.take(told(12, Some(there[0]))).await;
    writer.take(Update::Reached { kind: Kind::Namespace, version: 12 }).await;
    assert_eq!((names(&store), at(&store)), (vec!["a".to_owned(), "b".to_owned()], 10));
    let differs = Comparison::Differs { kinds: Kinds::NONE.with(Kind::Namespace) };
    assert_eq!(writer.compare(&[Some(there[0]), None, None, None]), differs);
    list(&mut writer, ["a".to_owned(), "c".to_owned()]).await;
    writer.take(told(12, Some(there[0]))).await;
    assert_eq!((names(&store), at(&store)), (vec!["a".to_owned(), "c".to_owned()], 12));

    // What leads there is served.
    writer.take(told(11, None)).await;
    writer.take(upsert("b")).await;
    writer.take(Update::Changes(vec![Change::Delete(namespace("c").key()).into()])).await;
    writer.take(told(13, Some(there[1]))).await;
    assert_eq!((names(&store), at(&store)), (vec!["a".to_owned(), "b".to_owned()], 13));
}
