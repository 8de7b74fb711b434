//! Order-independent digests of a state: two states of a kind are the same exactly when their digests are.
//!
//! A digest is the XOR of a 128-bit hash of every object's canonical encoding, and a count. Adding and
//! removing an object are the same operation, so that a digest follows a table change by change. The
//! encoding is our own, not protobuf's (which does not promise one form), and is versioned: digests compare
//! only at equal [`VERSION`].

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_128;

use super::object::{Labels, ObjectRef, Port, Shape};

/// Version of the canonical encoding. Raised whenever an object would encode differently.
pub const VERSION: u32 = 1;

/// The digest of all objects of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// XOR of the objects' hashes.
    pub hash: u128,
    /// How many objects there are.
    pub count: u64,
}

impl Digest {
    /// Adds an object that is not in it.
    pub fn add(&mut self, object: ObjectRef<'_>) {
        self.hash ^= hash(object);
        self.count += 1;
    }

    /// Takes out an object that is in it.
    pub fn remove(&mut self, object: ObjectRef<'_>) {
        self.hash ^= hash(object);
        self.count = self.count.saturating_sub(1);
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}/{}", self.hash, self.count)
    }
}

/// The hash of one object's canonical encoding.
pub fn hash(object: ObjectRef<'_>) -> u128 {
    let mut out = Encoder(Vec::with_capacity(256));
    out.byte(object.kind().index() as u8);
    match object {
        ObjectRef::Namespace(o) => {
            out.text(&o.name);
            out.labels(&o.labels);
        }
        ObjectRef::Service(o) => {
            out.text(&o.namespace);
            out.text(&o.name);
            match &o.shape {
                Shape::ClusterIp(ips) => {
                    out.byte(0);
                    out.length(ips.len());
                    ips.iter().for_each(|ip| out.ip(*ip));
                }
                Shape::Headless => out.byte(1),
                Shape::ExternalName(target) => {
                    out.byte(2);
                    out.text(target);
                }
            }
            out.ports(&o.ports);
            out.labels(&o.labels);
        }
        ObjectRef::EndpointSlice(o) => {
            out.text(&o.namespace);
            out.text(&o.name);
            out.text(&o.service);
            out.ports(&o.ports);
            out.length(o.endpoints.len());
            for endpoint in o.endpoints.iter() {
                out.ip(endpoint.address);
                out.text(endpoint.hostname);
                out.text(endpoint.target);
                out.text(endpoint.spelling);
            }
            out.labels(&o.labels);
        }
        ObjectRef::Pod(o) => {
            out.text(&o.namespace);
            out.text(&o.name);
            out.ip(o.ip);
            out.labels(&o.labels);
        }
    }
    xxh3_128(&out.0)
}

/// Writes values so that different objects never share an encoding: every list and string is preceded by
/// its length, every choice by its number.
struct Encoder(Vec<u8>);

impl Encoder {
    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    fn length(&mut self, value: usize) {
        self.0.extend_from_slice(&(value as u32).to_le_bytes());
    }

    fn text(&mut self, value: &str) {
        self.length(value.len());
        self.0.extend_from_slice(value.as_bytes());
    }

    fn ip(&mut self, value: IpAddr) {
        match value {
            IpAddr::V4(ip) => {
                self.byte(4);
                self.0.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.byte(6);
                self.0.extend_from_slice(&ip.octets());
            }
        }
    }

    fn ports(&mut self, ports: &[Port]) {
        self.length(ports.len());
        for port in ports {
            self.text(&port.name);
            match port.number {
                None => self.byte(0),
                Some(number) => {
                    self.byte(1);
                    self.0.extend_from_slice(&number.to_le_bytes());
                }
            }
            self.byte(port.protocol as u8);
        }
    }

    fn labels(&mut self, labels: &Labels) {
        self.length(labels.len());
        for (key, value) in labels {
            self.text(key);
            self.text(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::object::{Namespace, Pod};

    fn ns(name: &str) -> Namespace {
        Namespace { name: name.into(), labels: Box::default() }
    }

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let (a, b) = (ns("a"), ns("b"));
        let mut left = Digest::default();
        left.add(ObjectRef::Namespace(&a));
        left.add(ObjectRef::Namespace(&b));
        let mut right = Digest::default();
        right.add(ObjectRef::Namespace(&b));
        right.add(ObjectRef::Namespace(&a));
        assert_eq!(left, right);
        right.remove(ObjectRef::Namespace(&a));
        let mut only_b = Digest::default();
        only_b.add(ObjectRef::Namespace(&b));
        assert_eq!(right, only_b);
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let pod = |namespace: &str, name: &str| Pod {
            namespace: namespace.into(),
            name: name.into(),
            ip: IpAddr::from([10, 0, 0, 1]),
            labels: Box::default(),
        };
        assert_ne!(hash(ObjectRef::Pod(&pod("ab", "c"))), hash(ObjectRef::Pod(&pod("a", "bc"))));
    }

    /// The encoding is an agreement between releases: a changed value needs a new [`VERSION`].
    #[test]
    fn encoding_of_version_1_is_pinned() {
        assert_eq!(VERSION, 1);
        assert_eq!(hash(ObjectRef::Namespace(&ns("shop"))), PINNED);
    }

    const PINNED: u128 = 174_900_512_216_961_660_214_164_619_435_520_552_815;
}
