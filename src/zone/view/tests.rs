use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::zone::digest::Digest;
use crate::zone::held::tests::{Model, Step, any_step};
use crate::zone::held::{apply, entries};
use crate::zone::object::{Addresses, Endpoints, Labels};

type Objects = BTreeMap<Key, Object>;

/// The part of some objects that is in a view.
fn part(objects: &Objects, headless_only: bool, pods: bool) -> Objects {
    let is_in = |object: &Object| match object {
        Object::Pod(_) => pods,
        Object::EndpointSlice(slice) if headless_only => {
            let (kind, namespace, name) = (Kind::Service, slice.namespace.clone(), slice.service.clone());
            let service = objects.get(&Key { kind, namespace, name });
            matches!(service, Some(Object::Service(Service { shape: Shape::Headless, .. })))
        }
        _ => true,
    };
    objects.iter().filter(|(_, o)| is_in(o)).map(|(k, o)| (k.clone(), o.clone())).collect()
}

fn check(projection: &Projection, model: &Model) {
    let received = part(&model.received, projection.headless_only, projection.pods);
    // What is received and not held back by anything that is in the view is served.
    let mut served = received.clone();
    served.extend(part(&model.served(), projection.headless_only, projection.pods));
    let (table, held) = projection.state();
    let have: Objects = table.objects().map(|o| (o.key(), o.to_object())).collect();
    assert_eq!(have, served);
    for kind in Kind::ALL {
        let mut digest = Digest::default();
        received.values().filter(|o| o.kind() == kind).for_each(|o| digest.add(o.into()));
        assert_eq!(held.received_digest(table, kind), digest, "{kind}");
        assert_eq!(table.count(kind), served.keys().filter(|k| k.kind == kind).count());
    }
    for key in served.keys() {
        assert_eq!(held.received(table, key).map(|o| o.to_object()).as_ref(), received.get(key), "{key}");
    }
    assert_eq!(table.complete(), projection.kinds().without(Kind::Namespace));
}

proptest! {
    #[test]
    fn a_view_follows_its_state(
        headless_only in any::<bool>(),
        pods in any::<bool>(),
        steps in proptest::collection::vec(proptest::collection::vec(any_step(), 0..8), 0..20),
    ) {
        let mut all = Table::build([], Kinds::ALL.without(Kind::Namespace), 1);
        let (mut held, mut model) = (HeldSet::default(), Model::default());
        let mut projection = Projection::new(headless_only, pods);
        projection.advance(&all, &held);
        for steps in steps {
            let (mut table, mut held_before) = (projection.state().0.clone(), projection.state().1.clone());
            for step in &steps {
                apply(&mut all, &mut held, Step::entry(step), 1);
                model.apply(step);
            }
            let changes = projection.advance(&all, &held);
            check(&projection, &model);
            for entry in changes {
                apply(&mut table, &mut held_before, entry, 1);
            }
            let whole = |t: &Table, h: &HeldSet| {
                let mut all: Vec<_> = entries((t, h)).collect();
                all.sort_by_key(|e| e.change.key());
                all
            };
            let (now, now_held) = projection.state();
            prop_assert_eq!(whole(&table, &held_before), whole(now, now_held));
            prop_assert_eq!(projection.advance(&all, &held), []);
        }
    }
}

fn service(shape: Shape) -> Object {
    let (namespace, name) = ("a".into(), "s".into());
    Object::Service(Service { namespace, name, shape, ports: Box::default(), labels: Labels::default() })
}

fn slice(name: &str, service: &str) -> Object {
    let addresses = Addresses::V4([[10, 0, 0, 1].into()].into());
    Object::EndpointSlice(EndpointSlice {
        namespace: "a".into(),
        name: name.into(),
        service: service.into(),
        ports: Box::default(),
        endpoints: Endpoints::new::<&str>(addresses, &[], &[], &[]).unwrap(),
        labels: Labels::default(),
    })
}

#[test]
fn slices_come_and_go_with_the_shape_of_their_service() {
    let cluster = || service(Shape::ClusterIp([[10, 96, 0, 1].into()].into()));
    let alias = || service(Shape::ExternalName("elsewhere.".into()));
    let gone = || Entry::delete(service(Shape::Headless).key());
    let steps: Vec<(&str, Entry, Vec<Entry>)> = vec![
        ("a slice before its service", slice("x", "s").into(), vec![]),
        (
            "the service, headless",
            service(Shape::Headless).into(),
            vec![service(Shape::Headless).into(), slice("x", "s").into()],
        ),
        ("another slice", slice("y", "s").into(), vec![slice("y", "s").into()]),
        ("a slice of no service", slice("z", "other").into(), vec![]),
        ("a slice goes over", slice("y", "other").into(), vec![Entry::delete(slice("y", "s").key())]),
        (
            "it gets an address",
            cluster().into(),
            vec![cluster().into(), Entry::delete(slice("x", "s").key())],
        ),
        ("a slice of such a service", slice("y", "s").into(), vec![]),
        (
            "it is headless again",
            service(Shape::Headless).into(),
            vec![service(Shape::Headless).into(), slice("x", "s").into(), slice("y", "s").into()],
        ),
        (
            "it becomes an alias",
            alias().into(),
            vec![alias().into(), Entry::delete(slice("x", "s").key()), Entry::delete(slice("y", "s").key())],
        ),
        ("it is gone", gone(), vec![gone()]),
    ];
    let (mut all, mut held) = (Table::default(), HeldSet::default());
    let mut projection = Projection::new(true, false);
    for (name, entry, want) in steps {
        apply(&mut all, &mut held, entry, 1);
        assert_eq!(projection.advance(&all, &held), want, "{name}");
    }
}

#[test]
fn the_slices_of_a_headless_service_are_held_with_it() {
    let (mut all, mut held) = (Table::default(), HeldSet::default());
    all.apply([service(Shape::Headless), slice("x", "s")].map(crate::zone::change::Change::Upsert), 1);
    let mut projection = Projection::new(true, false);
    projection.advance(&all, &held);
    held.insert((&service(Shape::Headless)).into(), None, 7);
    let entries = projection.advance(&all, &held);
    let of: Vec<_> = entries.iter().map(|e| (e.change.kind(), e.held.as_ref().map(|h| h.hold))).collect();
    assert_eq!(of, [(Kind::Service, Some(7)), (Kind::EndpointSlice, Some(7))]);
    let (table, held) = projection.state();
    assert_eq!(table.count(Kind::EndpointSlice), 1, "served");
    assert_eq!(held.received_digest(table, Kind::EndpointSlice), Digest::default(), "not received");
}
