//! Slim facts: of each Kubernetes object only the fields that DNS needs.
//!
//! WARNING: every byte here is paid for once per endpoint on every node of a cluster. A field is added only
//! when an answer depends on it, and then in packed form ([`Endpoints`] shows how).
//!
//! Conversions (from `kubectl` output, from the API server, from the feed) live with their formats; nothing
//! here knows JSON, protobuf or DNS wire format.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kinds of objects that DNS is made of, in the order in which they are sent and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1/Namespace`: decides which names are exposed.
    Namespace,
    /// `v1/Service`.
    Service,
    /// `discovery.k8s.io/v1/EndpointSlice`.
    EndpointSlice,
    /// `v1/Pod`, only with `pods verified`.
    Pod,
}

impl Kind {
    /// Every kind, in storage order.
    pub const ALL: [Self; 4] = [Self::Namespace, Self::Service, Self::EndpointSlice, Self::Pod];

    /// The name that Kubernetes prints, e.g. `EndpointSlice`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
        }
    }

    /// A dense index, 0..4, for tables by kind.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of kinds: which were configured, which have completed a first list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// No kind.
    pub const NONE: Self = Self(0);
    /// What every configuration needs.
    pub const CORE: Self = Self(0b0111);
    /// Every kind.
    pub const ALL: Self = Self(0b1111);

    /// This set and `kind`.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind.index())
    }

    /// This set without `kind`.
    #[must_use]
    pub const fn without(self, kind: Kind) -> Self {
        Self(self.0 & !(1 << kind.index()))
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `kind` is in the set.
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind.index()) != 0
    }

    /// The kinds that are in `self` and not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The kinds that are in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is no kind in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds of the set, in storage order.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |k| self.has(*k))
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Labels, sorted by key; empty unless a configured selector needs them.
pub type Labels = Box<[(Box<str>, Box<str>)]>;

/// One object of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// See [`Namespace`].
    Namespace(Namespace),
    /// See [`Service`].
    Service(Service),
    /// See [`EndpointSlice`].
    EndpointSlice(EndpointSlice),
    /// See [`Pod`].
    Pod(Pod),
}

impl Object {
    /// The object's kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Pod(_) => Kind::Pod,
        }
    }

    /// What identifies the object within its cluster.
    pub fn key(&self) -> Key {
        ObjectRef::from(self).key()
    }
}

/// One object of any kind, borrowed from where it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectRef<'a> {
    /// See [`Namespace`].
    Namespace(&'a Namespace),
    /// See [`Service`].
    Service(&'a Service),
    /// See [`EndpointSlice`].
    EndpointSlice(&'a EndpointSlice),
    /// See [`Pod`].
    Pod(&'a Pod),
}

impl ObjectRef<'_> {
    /// The object's kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Pod(_) => Kind::Pod,
        }
    }

    /// A copy of its own.
    pub fn to_object(&self) -> Object {
        match *self {
            Self::Namespace(o) => Object::Namespace(o.clone()),
            Self::Service(o) => Object::Service(o.clone()),
            Self::EndpointSlice(o) => Object::EndpointSlice(o.clone()),
            Self::Pod(o) => Object::Pod(o.clone()),
        }
    }

    /// What identifies the object within its cluster.
    pub fn key(&self) -> Key {
        let (namespace, name) = self.parts();
        Key { kind: self.kind(), namespace: namespace.into(), name: name.into() }
    }
}

impl<'a> ObjectRef<'a> {
    /// The object's namespace (empty for a Namespace) and name.
    pub fn parts(&self) -> (&'a str, &'a str) {
        match self {
            Self::Namespace(o) => ("", &o.name),
            Self::Service(o) => (&o.namespace, &o.name),
            Self::EndpointSlice(o) => (&o.namespace, &o.name),
            Self::Pod(o) => (&o.namespace, &o.name),
        }
    }
}

impl<'a> From<&'a Object> for ObjectRef<'a> {
    fn from(object: &'a Object) -> Self {
        match object {
            Object::Namespace(o) => Self::Namespace(o),
            Object::Service(o) => Self::Service(o),
            Object::EndpointSlice(o) => Self::EndpointSlice(o),
            Object::Pod(o) => Self::Pod(o),
        }
    }
}

/// The identity of an object: kind, namespace (empty for a Namespace) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The object's kind.
    pub kind: Kind,
    /// Its namespace; empty for a Namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

impl Key {
    /// Whether it is that of the object of this kind, namespace and name.
    pub fn is(&self, kind: Kind, namespace: &[u8], name: &[u8]) -> bool {
        self.kind == kind && self.name.as_bytes() == name && self.namespace.as_bytes() == namespace
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{} {}", self.kind, self.name),
            ns => write!(f, "{} {ns}/{}", self.kind, self.name),
        }
    }
}

/// A namespace. That the object exists is what exposes the names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: Box<str>,
    /// For `namespace_labels`.
    pub labels: Labels,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The namespace it is in.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// What its name leads to.
    pub shape: Shape,
    /// Its ports as declared in the Service; irrelevant for headless services.
    pub ports: Box<[Port]>,
    /// For `labels`.
    pub labels: Labels,
}

/// What the name of a service leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// ClusterIP, NodePort and LoadBalancer: the cluster's virtual addresses, primary first. Empty while the
    /// API server has not assigned one.
    ClusterIp(Box<[IpAddr]>),
    /// The ready endpoints themselves.
    Headless,
    /// An alias for this name, as spelled in the object, with or without a final dot.
    ExternalName(Box<str>),
}

/// A port of a service or of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name, or empty.
    pub name: Box<str>,
    /// Its number; `None` where an EndpointSlice names none ("all ports").
    pub number: Option<u16>,
    /// Its protocol.
    pub protocol: Protocol,
}

/// The transport protocols of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Not given in the object.
    Unset,
    /// `TCP`
    Tcp,
    /// `UDP`
    Udp,
    /// `SCTP`
    Sctp,
}

impl Protocol {
    /// The label that stands for it in a name, in lower case; empty if unset.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unset => "",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Reads what the API writes: `TCP`, `UDP`, `SCTP` or nothing, in any letter case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Unset, Self::Tcp, Self::Udp, Self::Sctp]
            .into_iter()
            .find(|p| text.eq_ignore_ascii_case(p.label()))
    }
}

/// An EndpointSlice with its *used* endpoints only: those whose `ready` condition is true or absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The namespace it is in.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// The service it belongs to, by the label `kubernetes.io/service-name`; empty if there is none.
    pub service: Box<str>,
    /// The ports of its endpoints.
    pub ports: Box<[Port]>,
    /// One entry for each address of each used endpoint.
    pub endpoints: Endpoints,
    /// For `labels`.
    pub labels: Labels,
}

/// A pod that is neither Succeeded nor Failed, with its primary address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The namespace it is in.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// `status.podIP`.
    pub ip: IpAddr,
    /// For `labels`.
    pub labels: Labels,
}

// === Endpoints, packed ===

/// The addresses of a slice; a slice holds one family (`addressType`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// `addressType: IPv4`
    V4(Box<[Ipv4Addr]>),
    /// `addressType: IPv6`
    V6(Box<[Ipv6Addr]>),
}

impl Addresses {
    /// How many addresses there are.
    pub const fn len(&self) -> usize {
        match self {
            Self::V4(a) => a.len(),
            Self::V6(a) => a.len(),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The address at `index`.
    pub fn get(&self, index: usize) -> Option<IpAddr> {
        match self {
            Self::V4(a) => a.get(index).copied().map(IpAddr::V4),
            Self::V6(a) => a.get(index).copied().map(IpAddr::V6),
        }
    }

    /// The addresses in the order of the slice.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        (0..self.len()).filter_map(|i| self.get(i))
    }
}

/// The used endpoints of a slice, one entry an address, in the order of the slice.
///
/// Names are packed: a slice of pods without `hostname` stores no names at all, and no string is kept where
/// the address already spells the endpoint's label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The addresses.
    addresses: Addresses,
    /// `hostname` of each entry.
    hostnames: Names,
    /// `targetRef.name` of each entry, for `endpoint_pod_names`.
    targets: Names,
    /// The address as the API spelled it, where that is not its canonical form.
    spellings: Names,
}

/// One entry of [`Endpoints`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// The address.
    pub address: IpAddr,
    /// `hostname`, or empty.
    pub hostname: &'a str,
    /// `targetRef.name`, or empty.
    pub target: &'a str,
    /// The API's spelling of the address where it is not canonical, or empty.
    pub spelling: &'a str,
}

impl Endpoints {
    /// Packs entries; each names its address family by the variant of `addresses`, and the three lists hold
    /// one string for each address or are empty (all strings empty).
    pub fn new<S: AsRef<str>>(
        addresses: Addresses,
        hostnames: &[S],
        targets: &[S],
        spellings: &[S],
    ) -> Result<Self, UnevenNames> {
        let count = addresses.len();
        let pack = |names: &[S]| match names.len() {
            n if n == 0 || n == count => Ok(Names::pack(names)),
            n => Err(UnevenNames { names: n, addresses: count }),
        };
        Ok(Self {
            hostnames: pack(hostnames)?,
            targets: pack(targets)?,
            spellings: pack(spellings)?,
            addresses,
        })
    }

    /// No endpoints.
    pub fn none() -> Self {
        Self {
            addresses: Addresses::V4(Box::default()),
            hostnames: Names::default(),
            targets: Names::default(),
            spellings: Names::default(),
        }
    }

    /// How many addresses there are.
    pub const fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The packed addresses.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The entry at `index`.
    pub fn get(&self, index: usize) -> Option<Endpoint<'_>> {
        Some(Endpoint {
            address: self.addresses.get(index)?,
            hostname: self.hostnames.get(index),
            target: self.targets.get(index),
            spelling: self.spellings.get(index),
        })
    }

    /// The entries in the order of the slice.
    pub fn iter(&self) -> impl Iterator<Item = Endpoint<'_>> {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    /// Whether any entry has a hostname, a target, a spelling of its own: lists that are all empty need not
    /// be written out.
    pub const fn has_names(&self) -> (bool, bool, bool) {
        (!self.hostnames.is_empty(), !self.targets.is_empty(), !self.spellings.is_empty())
    }
}

/// A list of names does not match the list of addresses it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{names} names for {addresses} addresses")]
pub struct UnevenNames {
    /// How many names there are.
    pub names: usize,
    /// How many addresses there are.
    pub addresses: usize,
}

/// Strings packed end to end; the empty list stands for "all empty".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    /// All strings, one after the other.
    text: Box<str>,
    /// Where each string ends in `text`.
    ends: Box<[u32]>,
}

impl Names {
    fn pack<S: AsRef<str>>(names: &[S]) -> Self {
        if names.iter().all(|n| n.as_ref().is_empty()) {
            return Self::default();
        }
        let mut text = String::with_capacity(names.iter().map(|n| n.as_ref().len()).sum());
        let mut ends = Vec::with_capacity(names.len());
        for name in names {
            // Object names are at most 253 bytes and a slice has at most 1000 entries; a hostile file that
            // still got past 4 GiB would only lose the names that do not fit.
            if u32::try_from(text.len() + name.as_ref().len()).is_ok() {
                text.push_str(name.as_ref());
            }
            ends.push(text.len() as u32);
        }
        Self { text: text.into(), ends: ends.into() }
    }

    const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn get(&self, index: usize) -> &str {
        let Some(&end) = self.ends.get(index) else { return "" };
        let start = index.checked_sub(1).and_then(|i| self.ends.get(i)).copied().unwrap_or(0);
        self.text.get(start as usize..end as usize).unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were_packed() {
        for names in [vec![], vec!["", ""], vec!["a", "", "long-name"], vec!["", "", "x"]] {
            let packed = Names::pack(&names);
            for (i, n) in names.iter().enumerate() {
                assert_eq!(packed.get(i), *n);
            }
            assert_eq!(packed.get(names.len()), "");
        }
    }

    #[test]
    fn uneven_lists_are_refused() {
        let addresses = Addresses::V4([Ipv4Addr::LOCALHOST].into());
        let e = Endpoints::new(addresses, &["a", "b"], &[], &[]);
        assert_eq!(e, Err(UnevenNames { names: 2, addresses: 1 }));
    }

    #[test]
    fn kinds_are_a_set() {
        let some = Kinds::CORE.without(Kind::Service);
        assert!(some.has(Kind::Namespace) && !some.has(Kind::Service) && !some.has(Kind::Pod));
        assert_eq!(Kinds::ALL.minus(some).iter().collect::<Vec<_>>(), [Kind::Service, Kind::Pod]);
    }
}
