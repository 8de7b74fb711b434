//! `outlast snapshot diff A B`: which objects were added, removed or changed from one snapshot to another.

use std::collections::HashMap;
use std::io::Write;

use anyhow::Context;

use super::decode::Verified;
use super::show::plain;
use crate::zone::object::{EndpointSlice, Key, Object, Service, Shape};

/// How two snapshots differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Objects only in the second.
    pub added: u64,
    /// Objects only in the first.
    pub removed: u64,
    /// Objects in both, but not the same.
    pub changed: u64,
}

impl Difference {
    /// Whether they hold the same objects.
    pub const fn is_none(self) -> bool {
        self.added == 0 && self.removed == 0 && self.changed == 0
    }
}

/// Writes how `after` differs from `before`, a line an object in the order of their keys: `+` added, `-`
/// removed, `~` changed and how; then the numbers. The header is compared only as far as it says what the
/// objects belong to.
///
/// Fails when `out` fails or an object cannot be decoded.
pub fn diff(out: &mut dyn Write, before: &Verified<'_>, after: &Verified<'_>) -> anyhow::Result<Difference> {
    let mut old = HashMap::new();
    before.objects(|o| drop(old.insert(o.key(), o))).context("reading the first snapshot")?;
    // Only the lines are kept of the second, and of the first what it does not have.
    let mut lines: Vec<(Key, char, String)> = Vec::new();
    let mut compare = |new: Object| {
        let key = new.key();
        match old.remove(&key) {
            None => lines.push((key, '+', String::new())),
            Some(old) if old != new => lines.push((key, '~', describe(&old, &new))),
            Some(_) => {}
        }
    };
    after.objects(&mut compare).context("reading the second snapshot")?;
    lines.extend(old.into_keys().map(|key| (key, '-', String::new())));
    lines.sort_unstable();

    for (what, a, b) in [
        ("zone", &before.header().zone, &after.header().zone),
        ("cluster", &before.header().cluster_uid, &after.header().cluster_uid),
    ] {
        if a != b {
            writeln!(out, "{what}: {} -> {}", plain(a), plain(b))?;
        }
    }
    let mut difference = Difference::default();
    for (key, sign, how) in lines {
        match sign {
            '+' => difference.added += 1,
            '-' => difference.removed += 1,
            _ => difference.changed += 1,
        }
        let separator = if how.is_empty() { "" } else { ": " };
        writeln!(out, "{sign} {}{separator}{}", plain(&key.to_string()), plain(&how))?;
    }
    let Difference { added, removed, changed } = difference;
    writeln!(out, "{added} added, {removed} removed, {changed} changed")?;
    Ok(difference)
}

/// What differs between two objects of the same key, in a few words.
fn describe(old: &Object, new: &Object) -> String {
    let mut parts = Vec::new();
    match (old, new) {
        (Object::Service(a), Object::Service(b)) => services(a, b, &mut parts),
        (Object::EndpointSlice(a), Object::EndpointSlice(b)) => slices(a, b, &mut parts),
        (Object::Pod(a), Object::Pod(b)) if a.ip != b.ip => parts.push(format!("{} -> {}", a.ip, b.ip)),
        _ => {}
    }
    let labels = match (old, new) {
        (Object::Namespace(a), Object::Namespace(b)) => a.labels != b.labels,
        (Object::Service(a), Object::Service(b)) => a.labels != b.labels,
        (Object::EndpointSlice(a), Object::EndpointSlice(b)) => a.labels != b.labels,
        (Object::Pod(a), Object::Pod(b)) => a.labels != b.labels,
        _ => false,
    };
    if labels {
        parts.push("labels".to_owned());
    }
    parts.join(", ")
}

fn services(a: &Service, b: &Service, parts: &mut Vec<String>) {
    let shape = |shape: &Shape| match shape {
        Shape::ClusterIp(ips) if ips.is_empty() => "no address".to_owned(),
        Shape::ClusterIp(ips) => ips.iter().map(ToString::to_string).collect::<Vec<_>>().join("+"),
        Shape::Headless => "headless".to_owned(),
        Shape::ExternalName(name) => format!("alias of {name}"),
    };
    if a.shape != b.shape {
        parts.push(format!("{} -> {}", shape(&a.shape), shape(&b.shape)));
    }
    if a.ports != b.ports {
        parts.push("ports".to_owned());
    }
}

fn slices(a: &EndpointSlice, b: &EndpointSlice, parts: &mut Vec<String>) {
    if a.service != b.service {
        parts.push(format!("service {:?} -> {:?}", a.service, b.service));
    }
    if a.endpoints != b.endpoints {
        // Addresses may repeat within a slice: they are counted, not only looked up.
        let mut balance = HashMap::new();
        b.endpoints.addresses().iter().for_each(|ip| *balance.entry(ip).or_insert(0_i64) += 1);
        a.endpoints.addresses().iter().for_each(|ip| *balance.entry(ip).or_insert(0) -= 1);
        let added: i64 = balance.values().filter(|n| **n > 0).sum();
        let removed: i64 = balance.values().filter(|n| **n < 0).map(|n| -n).sum();
        parts.push(match (added, removed) {
            (0, 0) => "endpoints' names or order".to_owned(),
            _ => format!("{added} endpoints added, {removed} removed"),
        });
    }
    if a.ports != b.ports {
        parts.push("ports".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::encode::encode;
    use super::super::header::Header;
    use super::*;
    use crate::zone::object::{Addresses, Endpoints, Namespace, ObjectRef, Pod, Port, Protocol};

    fn file(zone: &str, objects: &[Object]) -> Vec<u8> {
        let header = Header { zone: zone.into(), ..Header::default() };
        let mut file = Vec::new();
        encode(&mut file, &header, objects.iter().map(ObjectRef::from)).expect("memory takes it");
        file
    }

    fn namespace(name: &str, label: &str) -> Object {
        Object::Namespace(Namespace { name: name.into(), labels: [("l".into(), label.into())].into() })
    }

    fn service(name: &str, shape: Shape, port: u16) -> Object {
        let ports = [Port { name: "p".into(), number: Some(port), protocol: Protocol::Tcp }].into();
        Object::Service(Service { namespace: "d".into(), name: name.into(), shape, ports, labels: [].into() })
    }

    fn slice(name: &str, service: &str, last: &[u8], hostname: &str) -> Object {
        let addresses = Addresses::V4(last.iter().map(|n| Ipv4Addr::new(10, 0, 0, *n)).collect());
        let hostnames = vec![hostname; last.len()];
        Object::EndpointSlice(EndpointSlice {
            namespace: "d".into(),
            name: name.into(),
            service: service.into(),
            ports: [].into(),
            endpoints: Endpoints::new(addresses, &hostnames, &[], &[]).expect("even"),
            labels: [].into(),
        })
    }

    fn pod(last: u8) -> Object {
        let ip = IpAddr::from([10, 0, 0, last]);
        Object::Pod(Pod { namespace: "d".into(), name: "p".into(), ip, labels: [].into() })
    }

    fn cluster_ip(last: u8) -> Shape {
        Shape::ClusterIp([IpAddr::from([10, 0, 0, last])].into())
    }

    #[test]
    fn differences_are_told_by_key() {
        let before = [
            namespace("gone", "x"),
            namespace("same", "x"),
            namespace("label", "x"),
            service("web", cluster_ip(1), 80),
            service("db", Shape::Headless, 80),
            slice("web-a", "web", &[1, 2, 3], ""),
            slice("web-b", "web", &[1], "a"),
            pod(1),
        ];
        let after = [
            namespace("same", "x"),
            namespace("label", "y"),
            namespace("new\u{7}", "x"),
            service("web", cluster_ip(2), 81),
            service("db", Shape::ExternalName("x.".into()), 80),
            slice("web-a", "other", &[3, 4], ""),
            slice("web-b", "web", &[1], "b"),
            pod(2),
        ];
        let (a, b) = (file("a.", &before), file("b.", &after));
        let mut out = Vec::new();
        let (a, b) = (Verified::new(&a).expect("whole"), Verified::new(&b).expect("whole"));
        let difference = diff(&mut out, &a, &b).expect("memory takes it");
        assert_eq!(difference, Difference { added: 1, removed: 1, changed: 6 });
        let expected = "\
zone: a. -> b.
- Namespace gone
~ Namespace label: labels
+ Namespace new\u{fffd}
~ Service d/db: headless -> alias of x.
~ Service d/web: 10.0.0.1 -> 10.0.0.2, ports
~ EndpointSlice d/web-a: service \"web\" -> \"other\", 1 endpoints added, 2 removed
~ EndpointSlice d/web-b: endpoints' names or order
~ Pod d/p: 10.0.0.1 -> 10.0.0.2
1 added, 1 removed, 6 changed
";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn a_snapshot_does_not_differ_from_itself_in_another_order() {
        let (a, b) = (namespace("a", "x"), namespace("b", "x"));
        let (one, two) = (file("z.", &[a.clone(), b.clone()]), file("z.", &[b, a]));
        let (one, two) = (Verified::new(&one).expect("whole"), Verified::new(&two).expect("whole"));
        let mut out = Vec::new();
        assert!(diff(&mut out, &one, &two).expect("memory takes it").is_none());
        assert_eq!(out, b"0 added, 0 removed, 0 changed\n");
    }
}
