use std::ops::Range;

use super::*;
use crate::zone::object::{
    Addresses, EndpointSlice, Endpoints, Kinds, Labels, Namespace, Object, Pod, Service, Shape,
};

fn ns(name: &str) -> Object {
    Object::Namespace(Namespace { name: name.into(), labels: Labels::default() })
}

fn svc(namespace: &str, n: usize) -> Object {
    Object::Service(Service {
        namespace: namespace.into(),
        name: format!("s{n}").into(),
        shape: Shape::Headless,
        ports: Box::default(),
        labels: Labels::default(),
    })
}

/// A slice of service `s<n>` with this many endpoints; `name` tells slices of one service apart.
fn slice(n: usize, name: &str, endpoints: usize) -> Object {
    let addresses = (0..endpoints).map(|i| [10, n as u8, name.len() as u8, i as u8].into()).collect();
    Object::EndpointSlice(EndpointSlice {
        namespace: "a".into(),
        name: format!("s{n}-{name}").into(),
        service: format!("s{n}").into(),
        ports: Box::default(),
        endpoints: Endpoints::new::<&str>(Addresses::V4(addresses), &[], &[], &[]).unwrap(),
        labels: Labels::default(),
    })
}

fn pod(namespace: &str, n: usize) -> Object {
    let (namespace, name) = (namespace.into(), format!("p{n}").into());
    Object::Pod(Pod { namespace, name, ip: [10, 1, 0, n as u8].into(), labels: Labels::default() })
}

fn services(numbers: Range<usize>) -> Vec<Object> {
    numbers.map(|n| svc("a", n)).collect()
}

/// One slice for each service.
fn slices(numbers: Range<usize>, name: &str, endpoints: usize) -> Vec<Object> {
    numbers.map(|n| slice(n, name, endpoints)).collect()
}

fn pods(namespace: &str, numbers: Range<usize>) -> Vec<Object> {
    numbers.map(|n| pod(namespace, n)).collect()
}

/// Everything of them together.
fn all<const N: usize>(parts: [Vec<Object>; N]) -> Vec<Object> {
    parts.into_iter().flatten().collect()
}

fn keys(objects: &[Object]) -> Vec<Key> {
    let mut keys: Vec<_> = objects.iter().map(Object::key).collect();
    keys.sort();
    keys
}

/// One list, and what is to become of it.
struct Case {
    name: &'static str,
    /// What is served.
    before: Vec<Object>,
    kinds: Kinds,
    list: Vec<Object>,
    /// What is said of it, and what keeps what it is; `None` if the list is applied.
    held: Option<(&'static str, Vec<Key>)>,
}

const NAMESPACES: Kinds = Kinds::NONE.with(Kind::Namespace);
const SERVICES: Kinds = Kinds::NONE.with(Kind::Service);
const SLICES: Kinds = Kinds::NONE.with(Kind::EndpointSlice);
const PODS: Kinds = Kinds::NONE.with(Kind::Pod);

fn relist(table: &Table, kinds: Kinds, list: &[Object]) -> Relist {
    let mut relist = Relist::new(kinds);
    for object in list {
        relist.take(table, object.clone());
    }
    relist
}

fn check(cases: Vec<Case>) {
    for Case { name, before, kinds, list, held } in cases {
        let table = Table::build(before, Kinds::ALL, 1);
        let verdict = judge(&table, &relist(&table, kinds, &list), &Policy::default(), |_| false);
        let want = match held {
            Some((why, withheld)) => Verdict::Hold { why: why.into(), withheld },
            None => Verdict::Apply,
        };
        assert_eq!(verdict, want, "{name}");
        let off = judge(&table, &relist(&table, kinds, &list), &Policy::OFF, |_| false);
        assert_eq!(off, Verdict::Apply, "{name}, guard off");
        let accepted = judge(&table, &relist(&table, kinds, &list), &Policy::default(), |_| true);
        assert_eq!(accepted, Verdict::Apply, "{name}, accepted");
    }
}

#[test]
fn services_that_vanish() {
    let held = |why, range| Some((why, keys(&services(range))));
    check(vec![
        Case { name: "first list", before: vec![], kinds: SERVICES, list: services(0..100), held: None },
        Case { name: "first list, of nothing", before: vec![], kinds: SERVICES, list: vec![], held: None },
        Case {
            name: "the same list",
            before: services(0..100),
            kinds: SERVICES,
            list: services(0..100),
            held: None,
        },
        Case {
            name: "empty list",
            before: services(0..100),
            kinds: SERVICES,
            list: vec![],
            held: held("a list of services lacks 100 of 100", 0..100),
        },
        Case {
            name: "half a list",
            before: services(0..2_000),
            kinds: SERVICES,
            list: services(0..1_000),
            held: held("a list of services lacks 1,000 of 2,000", 1_000..2_000),
        },
        Case {
            name: "old backup: half is missing, and as much is there that had been deleted",
            before: services(0..100),
            kinds: SERVICES,
            list: all([services(0..50), services(200..250)]),
            held: held("a list of services lacks 50 of 100", 50..100),
        },
        Case {
            name: "small cluster: 11 of 12",
            before: services(0..12),
            kinds: SERVICES,
            list: services(0..1),
            held: held("a list of services lacks 11 of 12", 1..12),
        },
        Case {
            name: "10 of 20: no more than ten",
            before: services(0..20),
            kinds: SERVICES,
            list: services(0..10),
            held: None,
        },
        Case {
            name: "30 of 100: no more than 30 %",
            before: services(0..100),
            kinds: SERVICES,
            list: services(0..70),
            held: None,
        },
        Case {
            name: "31 of 100",
            before: services(0..100),
            kinds: SERVICES,
            list: services(0..69),
            held: held("a list of services lacks 31 of 100", 69..100),
        },
        Case {
            name: "the only service of all",
            before: services(0..1),
            kinds: SERVICES,
            list: vec![],
            held: held("a list of services lacks 1 of 1", 0..1),
        },
    ]);
}

#[test]
fn namespaces_that_vanish() {
    let inside = |namespace: &str, range: Range<usize>| range.map(|n| svc(namespace, n)).collect::<Vec<_>>();
    let empty: Vec<_> = (0..50).map(|n| ns(&format!("empty{n}"))).collect();
    check(vec![
        Case {
            name: "one with half of the services: it is held, those without services are not",
            before: all([vec![ns("a"), ns("b")], empty.clone(), inside("a", 0..20), inside("b", 0..20)]),
            kinds: NAMESPACES,
            list: vec![ns("a")],
            held: Some(("a list of namespaces lacks those of 20 of 40 services", keys(&[ns("b")]))),
        },
        Case {
            name: "many without services",
            before: all([vec![ns("a")], empty, inside("a", 0..20)]),
            kinds: NAMESPACES,
            list: vec![ns("a")],
            held: None,
        },
        Case {
            name: "all of them, and no service is known",
            before: vec![ns("a"), ns("b")],
            kinds: NAMESPACES,
            list: vec![],
            held: Some(("a list of namespaces is empty", keys(&[ns("a"), ns("b")]))),
        },
        Case {
            name: "with their services, in one list",
            before: all([vec![ns("a"), ns("b")], inside("a", 0..20), inside("b", 0..20)]),
            kinds: NAMESPACES.union(SERVICES),
            list: all([vec![ns("a")], inside("a", 0..20)]),
            held: Some((
                "a list of services lacks 20 of 40",
                keys(&all([vec![ns("b")], inside("b", 0..20)])),
            )),
        },
    ]);
}

#[test]
fn endpoints_that_vanish() {
    let hundred = || services(0..100);
    let none_left = "a list of EndpointSlices leaves 40 of 100 services without endpoints";
    check(vec![
        Case {
            name: "first list",
            before: hundred(),
            kinds: SLICES,
            list: slices(0..100, "x", 3),
            held: None,
        },
        Case {
            name: "rolling redeploy of everything: other slices, other addresses, as many",
            before: all([hundred(), slices(0..100, "x", 3)]),
            kinds: SLICES,
            list: slices(0..100, "other", 3),
            held: None,
        },
        Case {
            name: "all is scaled down by a third",
            before: all([hundred(), slices(0..100, "x", 10)]),
            kinds: SLICES,
            list: slices(0..100, "x", 7),
            held: None,
        },
        Case {
            name: "a third of the services come to none, by slices that are gone and slices that are empty",
            before: all([hundred(), slices(0..40, "x", 1), slices(40..100, "x", 5)]),
            kinds: SLICES,
            list: all([slices(20..40, "x", 0), slices(40..100, "other", 4)]),
            held: Some((none_left, keys(&slices(0..40, "x", 1)))),
        },
        Case {
            name: "endpoints are fewer altogether: what did not lose is left alone",
            before: all([hundred(), slices(0..100, "x", 10)]),
            kinds: SLICES,
            list: all([slices(0..50, "x", 2), slices(50..100, "other", 10)]),
            held: Some((
                "a list of EndpointSlices lacks 400 of 1,000 endpoints",
                keys(&slices(0..50, "x", 1)),
            )),
        },
        Case {
            name: "empty list: slices without endpoints make no loss",
            before: all([hundred(), slices(0..20, "x", 1), slices(20..30, "x", 0)]),
            kinds: SLICES,
            list: vec![],
            held: Some((
                "a list of EndpointSlices leaves 20 of 20 services without endpoints; \
                 a list of EndpointSlices lacks 20 of 20 endpoints",
                keys(&slices(0..20, "x", 1)),
            )),
        },
        Case {
            name: "slices of services that were deleted before",
            before: all([services(0..50), slices(0..100, "x", 3)]),
            kinds: SLICES,
            list: slices(0..50, "x", 3),
            held: None,
        },
        Case {
            name: "a list of services does not judge endpoints",
            before: all([hundred(), slices(0..100, "x", 3)]),
            kinds: SERVICES,
            list: hundred(),
            held: None,
        },
    ]);
}

#[test]
fn pods_that_vanish() {
    check(vec![
        Case { name: "first list", before: vec![], kinds: PODS, list: pods("a", 0..100), held: None },
        Case {
            name: "half of them: only in the namespace that has fewer",
            before: all([pods("a", 0..50), pods("b", 50..100)]),
            kinds: PODS,
            list: all([pods("a", 100..150)]),
            held: Some(("a list of pods lacks 50 of 100", keys(&pods("b", 50..100)))),
        },
        Case {
            name: "rolling redeploy",
            before: pods("a", 0..100),
            kinds: PODS,
            list: pods("a", 100..200),
            held: None,
        },
        Case { name: "10 of 20", before: pods("a", 0..20), kinds: PODS, list: pods("a", 0..10), held: None },
    ]);
}

#[test]
fn what_was_accepted_counts_neither_as_lost_nor_as_there() {
    let table = Table::build(services(0..100), Kinds::ALL, 1);
    let accepted = keys(&services(0..50));
    let judge = |list: Vec<Object>| {
        let list = relist(&table, SERVICES, &list);
        judge(&table, &list, &Policy::default(), |key| accepted.binary_search(key).is_ok())
    };
    assert_eq!(judge(services(50..100)), Verdict::Apply);
    let held = keys(&services(80..100));
    let why = "a list of services lacks 20 of 50".to_owned();
    assert_eq!(judge(services(50..80)), Verdict::Hold { why, withheld: held });
}

#[test]
fn services_of_an_accepted_namespace_do_not_count_either() {
    let inside = |namespace: &str, range: Range<usize>| range.map(|n| svc(namespace, n)).collect::<Vec<_>>();
    let before =
        all([vec![ns("a"), ns("b"), ns("c")], inside("a", 0..80), inside("b", 0..14), inside("c", 0..26)]);
    let table = Table::build(before, Kinds::ALL, 1);
    let list = relist(&table, NAMESPACES, &[ns("c")]);
    let why = "a list of namespaces lacks those of 14 of 40 services".to_owned();
    let verdict = judge(&table, &list, &Policy::default(), |key| *key == ns("a").key());
    assert_eq!(verdict, Verdict::Hold { why, withheld: keys(&[ns("b")]) });
}

#[test]
fn all_but_the_loss_is_applied() {
    let mut table = Table::build(services(0..100), Kinds::ALL, 1);
    let list = relist(&table, SERVICES, &all([services(0..50), services(200..201)]));
    let Verdict::Hold { withheld, .. } = judge(&table, &list, &Policy::default(), |_| false) else {
        panic!("half a list is held");
    };
    let (difference, kept) = list.finish_holding(&mut table, 2, withheld);
    assert_eq!((difference.upserts, difference.deletes, kept.len()), (1, 0, 50));
    assert!(kept.iter().all(|withheld| withheld.received.is_none()));
    assert_eq!(table.count(Kind::Service), 101);
}
