//! Bounds, replacement, and the way out of the process and back.

use proptest::prelude::*;

use super::super::key::Question;
use super::super::policy::STALE_MAX;
use super::*;

/// The name `n<number>.`, on the wire.
fn name(number: u32) -> Vec<u8> {
    let label = format!("n{number}");
    [&[u8::try_from(label.len()).unwrap()], label.as_bytes(), &[0]].concat()
}

fn key(number: u32) -> Key {
    let asked =
        Question { name: &name(number), kind: 16, class: 1, dnssec_ok: false, checking_disabled: false };
    Key::new(&asked).unwrap()
}

/// A reply for the name of this number with a record of `size` bytes of data.
fn answer(number: u32, class: Class, ttl: u32, size: usize) -> Answer {
    let rcode = if class == Class::NxDomain { 3 } else { 0 };
    let mut message = vec![0, 0, 0x81, 0x80 | rcode, 0, 1, 0, 1, 0, 0, 0, 0];
    message.extend(name(number));
    message.extend([0, 16, 0, 1]);
    message.extend([0xc0, 12, 0, 16, 0, 1]);
    message.extend(ttl.to_be_bytes());
    message.extend(u16::try_from(size).unwrap().to_be_bytes());
    message.extend(vec![0; size]);
    Answer { class, reply: Packet::new(message).unwrap(), ttl }
}

fn failed() -> Failed {
    let reason = Some(Reason { code: 22, text: "no route".into() });
    Failed { rcode: 2, recursion_available: false, by_upstream: false, reason }
}

fn store(limits: Limits) -> Store {
    Store::new(limits, Jitter::from_seed(1))
}

fn second(seconds: u64) -> Moment {
    Moment::START.after(Duration::from_secs(seconds))
}

impl Store {
    /// Compares what is counted with what is there.
    fn audit(&self) {
        let books = self.books();
        let bytes = self.positive.audit(&books.positive)
            + self.denials.audit(&books.denials)
            + self.failures.audit(&books.failures);
        assert_eq!(books.bytes, bytes, "bytes are counted exactly");
        assert_eq!(self.bytes(), bytes, "and told so");
        assert!(bytes <= books.limits.bytes, "{bytes} bytes of {}", books.limits.bytes);
        for place in [Place::Positive, Place::Denials, Place::Failures] {
            assert!(books.ring(place).len() <= books.cap(place));
        }
    }

    fn keep_one(&self, number: u32, class: Class, ttl: u32, now: Moment) -> Evicted {
        self.keep(&key(number), answer(number, class, ttl, 4), &Policy::default(), Cause::Miss, now)
    }

    /// What is known of a name: `p`ositive, `d`enial, `f`ailure.
    fn knows(&self, number: u32, now: Moment) -> String {
        let found = self.find(&key(number), now);
        let all =
            [(found.positive.is_some(), 'p'), (found.denial.is_some(), 'd'), (found.failure.is_some(), 'f')];
        all.iter().filter(|(there, _)| *there).map(|(_, letter)| letter).collect()
    }
}

#[test]
fn what_comes_takes_the_place_of_what_was_known() {
    let (store, now) = (store(Limits::default()), second(0));
    store.keep_one(1, Class::Positive, 60, now);
    assert_eq!(store.knows(1, now), "p");
    store.keep_one(1, Class::NxDomain, 60, now);
    assert_eq!(store.knows(1, now), "d", "NXDOMAIN replaces");
    store.keep_one(1, Class::Positive, 60, now);
    assert_eq!(store.knows(1, now), "p", "and is replaced");
    store.remember(&key(1), failed(), Duration::from_secs(5), now);
    assert_eq!(store.knows(1, now), "p", "a failure says nothing of the records");
    assert_eq!(store.knows(1, second(60)), "pf", "and is looked at when they have expired");
    store.keep_one(1, Class::NoData, 60, second(61));
    assert_eq!(store.knows(1, second(200)), "d", "an answer ends it");

    let prefer = Policy { prefer_positive: true, ..Policy::default() };
    store.keep_one(2, Class::Positive, 60, now);
    store.keep(&key(2), answer(2, Class::NxDomain, 60, 4), &prefer, Cause::Refresh, now);
    assert_eq!(store.knows(2, now), "pd", "both are needed");
    store.audit();
}

#[test]
fn failures_back_off_and_can_be_forgotten_at_once() {
    let store = store(Limits::default());
    let first = Duration::from_secs(5);
    for (at, until) in [(0, 5), (5, 15), (15, 35), (400, 405)] {
        store.remember(&key(1), failed(), first, second(at));
        let failure = store.find(&key(1), second(at)).failure.unwrap();
        assert_eq!(failure.until, second(until), "at {at}");
    }
    store.remember(&key(2), failed(), Duration::ZERO, second(0));
    assert_eq!(store.knows(2, second(0)), "");
}

#[test]
fn popular_names_stay_popular_and_used_ones_are_counted_anew() {
    for (refresh, hits) in [
        (Refresh::Popular { amount: 2, pause: Duration::from_secs(60), percent: 10 }, 3),
        (Refresh::InUse, 0),
    ] {
        let store = store(Limits::default());
        let policy = Policy { refresh, ..Policy::default() };
        let keep = |at| {
            store.keep(&key(1), answer(1, Class::Positive, 60, 4), &policy, Cause::Refresh, second(at));
            store.find(&key(1), second(at)).positive.unwrap()
        };
        let entry = keep(0);
        (1..=3).for_each(|at| entry.hit(second(at), Duration::MAX));
        assert_eq!(keep(10).usage.hits(), hits, "{refresh:?}");
    }
}

#[test]
fn entries_of_a_class_are_bounded_by_its_cap() {
    let store = store(Limits { success: 10, denial: 5, ..Limits::default() });
    let mut evicted = Evicted::default();
    for number in 0..100 {
        let gone = store.keep_one(number, Class::Positive, 60, second(0));
        evicted.success += gone.success;
        assert_eq!(gone.denial, 0);
        let gone = store.keep_one(1000 + number, Class::NxDomain, 60, second(0));
        evicted.denial += gone.denial;
        assert_eq!(gone.success, 0);
    }
    assert_eq!(store.size().success, 10);
    assert_eq!(store.size().denial, 5);
    assert_eq!(evicted, Evicted { success: 90, denial: 95 });
    let none = self::store(Limits { success: 0, ..Limits::default() });
    none.keep_one(1, Class::Positive, 60, second(0));
    assert_eq!(none.knows(1, second(0)), "", "room for none");
    store.audit();
}

#[test]
fn dead_goes_before_expired_before_unused_before_used() {
    /// Out of as many, few enough that a sample of ten is likely to find one of a kind.
    const OF_A_KIND: u32 = 100;
    let keep = Duration::from_secs(3600);
    let store = store(Limits { success: 400, keep, ..Limits::default() });
    let (dead, expired, unused, used) = (0, 1, 2, 3);
    for number in 0..OF_A_KIND {
        let keep = |kind: u32, ttl, at| store.keep_one(kind * OF_A_KIND + number, Class::Positive, ttl, at);
        keep(dead, 30, second(0));
        keep(expired, 30, second(4000));
        keep(unused, 9999, second(4000));
        keep(used, 9999, second(4000));
    }
    let now = second(4100);
    for number in 0..OF_A_KIND {
        store.find(&key(used * OF_A_KIND + number), now).positive.unwrap().hit(now, Duration::MAX);
    }
    let left = |kind: u32| {
        (0..OF_A_KIND).filter(|number| !store.knows(kind * OF_A_KIND + number, now).is_empty()).count()
    };
    // The sweep has taken some of the dead along already.
    assert_eq!([left(expired), left(unused), left(used)], [100, 100, 100]);
    let mut more = 1000;
    let mut add = |count: u32| {
        for _ in 0..count {
            store.keep_one(more, Class::Positive, 9999, now);
            more += 1;
        }
    };
    add(100);
    assert!(left(dead) < 20 && left(unused) > 95 && left(used) == 100, "{} dead", left(dead));
    add(100);
    assert!(left(expired) < 30 && left(unused) > 70, "{} expired", left(expired));
    add(80);
    assert!(left(unused) < 50 && left(used) > 80, "{} unused {} used", left(unused), left(used));
    store.audit();
}

#[test]
fn what_is_of_no_use_any_more_is_swept() {
    let store = store(Limits { keep: Duration::from_secs(60), ..Limits::default() });
    for number in 0..100 {
        store.keep_one(number, Class::Positive, 30, second(0));
    }
    let before = store.size();
    for number in 100..150 {
        store.keep_one(number, Class::Positive, 30, second(1000));
    }
    assert_eq!(before.success, 100);
    assert!((50..=55).contains(&store.size().success), "two for each that came: {:?}", store.size());
    store.audit();
}

#[test]
fn a_reply_larger_than_everything_is_not_kept_and_what_it_replaces_goes() {
    let store = store(Limits { bytes: 1000, ..Limits::default() });
    store.keep_one(1, Class::Positive, 60, second(0));
    let large = answer(1, Class::Positive, 60, 2000);
    assert_eq!(store.knows(1, second(0)), "p");
    store.keep(&key(1), large, &Policy::default(), Cause::Refresh, second(1));
    assert_eq!(store.knows(1, second(1)), "");
    store.audit();
}

#[test]
fn other_bounds_apply_at_once() {
    let store = store(Limits::default());
    for number in 0..100 {
        store.keep_one(number, Class::Positive, 60, second(0));
        store.keep_one(number + 1000, Class::NoData, 60, second(0));
        store.remember(&key(number + 2000), failed(), Duration::from_secs(5), second(0));
    }
    let limits = Limits { success: 40, denial: 20, ..Limits::default() };
    assert_eq!(store.set_limits(limits), Evicted { success: 60, denial: 160 });
    store.audit();
    store.set_limits(Limits { bytes: 5000, ..limits });
    assert!(store.bytes() <= 5000 && store.bytes() > 3000, "{}", store.bytes());
    store.audit();
}

#[test]
fn answers_leave_and_come_back_with_their_age() {
    let old = store(Limits::default());
    old.keep_one(1, Class::Positive, 300, second(0));
    old.keep_one(2, Class::NxDomain, 60, second(50));
    old.keep_one(3, Class::Positive, 30, second(0));
    old.remember(&key(4), failed(), Duration::from_secs(5), second(99));
    old.find(&key(1), second(20)).positive.unwrap().hit(second(20), Duration::MAX);
    let now = second(100);
    let items: Vec<_> = old.export(now).collect();
    let mut told: Vec<_> =
        items.iter().map(|i| (i.name[2], i.says, i.ttl, i.age.as_secs(), i.in_use)).collect();
    told.sort_by_key(|(number, ..)| *number);
    assert_eq!(
        told,
        [
            (b'1', Class::Positive, 300, 100, true),
            (b'2', Class::NxDomain, 60, 50, false),
            (b'3', Class::Positive, 30, 100, false)
        ],
        "failures stay behind"
    );

    let new = store(Limits::default());
    new.keep_one(3, Class::Positive, 30, second(0));
    let taken: Vec<_> =
        items.iter().map(|item| (item.name[2], new.import(item.clone(), second(0)))).collect();
    assert!(
        taken.iter().all(|(number, taken)| *taken == (*number != b'3')),
        "what is known stays: {taken:?}"
    );
    let entry = new.find(&key(1), second(0)).positive.unwrap();
    assert_eq!((entry.remaining(second(0)), entry.usage.hits()), (200, 1));
    assert!(new.find(&key(2), second(10)).denial.unwrap().is_stale(second(10), STALE_MAX));
    let again: Vec<_> = new.export(second(0)).filter(|item| item.name[2] == b'1').collect();
    assert_eq!(again, items.iter().filter(|item| item.name[2] == b'1').cloned().collect::<Vec<_>>());
    new.audit();
}

#[test]
fn what_comes_back_is_revalidated_within_a_minute() {
    let old = store(Limits::default());
    for number in 0..200 {
        old.keep_one(number, Class::Positive, 3600, second(0));
    }
    let new = store(Limits::default());
    let mut ten_seconds = [0; 6];
    for item in old.export(second(10)) {
        assert!(new.import(item, second(0)));
    }
    for number in 0..200 {
        let due = new.find(&key(number), second(0)).positive.unwrap().due.unwrap();
        assert_eq!(due.hits, 1, "its first use");
        ten_seconds[(due.at.since(second(0)).as_secs() / 10).min(5) as usize] += 1;
    }
    assert!(ten_seconds.iter().all(|count| (15..=55).contains(count)), "{ten_seconds:?}");
}

#[test]
fn what_does_not_fit_together_does_not_come_back() {
    let old = store(Limits::default());
    old.keep_one(1, Class::NxDomain, 300, second(0));
    let item = old.export(second(0)).next().unwrap();
    for (what, item) in [
        ("a reply to another name", Persisted { name: name(2).into(), ..item.clone() }),
        ("a name without an end", Persisted { name: b"\x03www"[..].into(), ..item.clone() }),
        ("another type", Persisted { kind: 1, ..item.clone() }),
        ("another class", Persisted { class: 3, ..item.clone() }),
        ("another rcode", Persisted { says: Class::NoData, ..item.clone() }),
        ("half a reply", Persisted { reply: item.reply[..20].into(), ..item.clone() }),
        ("too old", Persisted { age: STALE_MAX + Duration::from_secs(300), ..item.clone() }),
    ] {
        assert!(!store(Limits::default()).import(item, second(0)), "{what}");
    }
    assert!(!store(Limits { denial: 0, ..Limits::default() }).import(item.clone(), second(0)), "no room");
    assert!(!store(Limits { bytes: 100, ..Limits::default() }).import(item.clone(), second(0)), "no room");
    assert!(store(Limits::default()).import(item, second(0)));
}

/// Something that happens to a store.
#[derive(Clone, Debug)]
enum Step {
    Keep { number: u32, class: Class, ttl: u32, size: usize, prefer_positive: bool },
    Fail { number: u32 },
    Forget { number: u32, but_positive: bool },
    ForgetFailures,
    Find { number: u32 },
    Pass { seconds: u64 },
    Limit { bytes: usize, success: usize, denial: usize },
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let class = prop_oneof![Just(Class::Positive), Just(Class::NoData), Just(Class::NxDomain)];
    prop_oneof![
        6 => (0u32..40, class, 1u32..100, 0usize..900, any::<bool>()).prop_map(
            |(number, class, ttl, size, prefer_positive)| Step::Keep { number, class, ttl, size, prefer_positive }
        ),
        2 => (0u32..40).prop_map(|number| Step::Fail { number }),
        1 => (0u32..40, any::<bool>()).prop_map(|(number, but_positive)| Step::Forget { number, but_positive }),
        1 => Just(Step::ForgetFailures),
        3 => (0u32..40).prop_map(|number| Step::Find { number }),
        1 => (0u64..200).prop_map(|seconds| Step::Pass { seconds }),
        1 => (0usize..9000, 0usize..12, 0usize..12)
            .prop_map(|(bytes, success, denial)| Step::Limit { bytes, success, denial }),
        1 => Just(Step::Reload),
    ]
}

proptest! {
    #[test]
    fn bytes_are_exact_and_bounded_whatever_happens(steps in proptest::collection::vec(step(), 0..150)) {
        let keep = Duration::from_secs(100);
        let mut store = store(Limits { bytes: 6000, success: 8, denial: 8, keep });
        let mut now = second(0);
        for step in steps {
            match step {
                Step::Keep { number, class, ttl, size, prefer_positive } => {
                    let policy = Policy { prefer_positive, ..Policy::default() };
                    store.keep(&key(number), answer(number, class, ttl, size), &policy, Cause::Miss, now);
                    let found = store.find(&key(number), now);
                    let kept = if class.is_denial() { found.denial } else { found.positive };
                    // It is there with its own data, or there is no room.
                    prop_assert!(kept.is_none_or(|kept| kept.stored == now && kept.ttl == ttl));
                }
                Step::Fail { number } => {
                    store.remember(&key(number), failed(), keep, now);
                }
                Step::Forget { number, but_positive } => {
                    store.forget(&key(number), but_positive);
                    let found = store.find(&key(number), now);
                    prop_assert!(found.denial.is_none() && (but_positive || found.is_empty()));
                }
                Step::ForgetFailures => {
                    store.forget_failures();
                    prop_assert!((0..40).all(|number| store.find(&key(number), now).failure.is_none()));
                }
                Step::Find { number } => {
                    let found = store.find(&key(number), now);
                    for entry in [found.positive, found.denial].into_iter().flatten() {
                        entry.hit(now, Duration::MAX);
                    }
                }
                Step::Pass { seconds } => now = now.after(Duration::from_secs(seconds)),
                Step::Limit { bytes, success, denial } => {
                    store.set_limits(Limits { bytes, success, denial, keep });
                }
                Step::Reload => {
                    let new = Store::new(store.limits(), Jitter::from_seed(2));
                    for item in store.export(now) {
                        new.import(item, now);
                    }
                    store = new;
                }
            }
            store.audit();
        }
    }
}

#[test]
fn readers_and_writers_at_once_lose_no_count() {
    let store = store(Limits { bytes: 20_000, success: 50, denial: 50, ..Limits::default() });
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..500u32 {
                    let number = (round * 7 + thread * 13) % 120;
                    let class = if round % 3 == 0 { Class::NoData } else { Class::Positive };
                    store.keep_one(number, class, 60, second(round.into()));
                    store.find(&key(number + 1), second(round.into()));
                    if round % 5 == 0 {
                        store.remember(&key(number), failed(), Duration::from_secs(5), second(round.into()));
                    }
                }
            });
        }
    });
    assert!(store.size().success > 0);
    store.audit();
}
