//! What was left out of a state, and why: counts for metrics, a few examples for the log.
//!
//! Both tables are bounded whatever a file holds: reasons by their enum, kinds by [`MAX_SKIPPED_KINDS`].

use std::collections::BTreeMap;

use crate::zone::object::Kind;

/// Examples kept of each kind and reason: enough to find the culprit, few enough for one log line.
const EXAMPLES: usize = 3;

/// Different kinds that are counted by name; a cluster with every usual operator has about 200, of which
/// nobody dumps more than a few. Further ones are counted together, since each is a series of a metric.
const MAX_SKIPPED_KINDS: usize = 64;

/// Under this name all further kinds are counted.
const OTHER_KINDS: &str = "other";

/// Longest kind that is counted by name: Kubernetes kinds are DNS labels.
const MAX_KIND: usize = 63;

/// Why something was left out. The unit is in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The name is empty, too long or not a DNS name. (object)
    Name,
    /// The namespace is missing or not a DNS label. (object)
    Namespace,
    /// The same object is given again later in the text. (object)
    Duplicate,
    /// Its metadata can be read and the rest has other types than the API gives them. (object)
    Unreadable,
    /// Neither an IPv4 nor an IPv6 address. (address; a pod as a whole)
    Address,
    /// An address of the other family than the slice's `addressType`. (address)
    AddressFamily,
    /// A slice whose `addressType` is not IPv4 or IPv6. (object)
    AddressType,
    /// An ExternalName service whose `externalName` is missing or not a DNS name. (object)
    ExternalName,
    /// An endpoint's `hostname` is not a DNS label. (the name; the endpoint stays)
    Hostname,
    /// An endpoint's `targetRef.name` is not a DNS name. (the name; the endpoint stays)
    TargetName,
    /// A slice whose label `kubernetes.io/service-name` cannot be a service's name. (object)
    ServiceName,
    /// A port number outside of 1 to 65535, or none where there must be one. (port)
    Port,
    /// A port's name is not a DNS label. (port)
    PortName,
    /// A port's protocol is not TCP, UDP or SCTP. (port)
    Protocol,
}

impl Reason {
    /// The value of the metric label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Namespace => "namespace",
            Self::Duplicate => "duplicate",
            Self::Unreadable => "unreadable",
            Self::Address => "address",
            Self::AddressFamily => "address_family",
            Self::AddressType => "address_type",
            Self::ExternalName => "external_name",
            Self::Hostname => "hostname",
            Self::TargetName => "target_name",
            Self::ServiceName => "service_name",
            Self::Port => "port",
            Self::PortName => "port_name",
            Self::Protocol => "protocol",
        }
    }
}

/// What was left out for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many units.
    pub count: u64,
    /// The first few, for people: which object, which field, what it says and what would be right.
    pub examples: Vec<String>,
}

/// What was left out, by kind and reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops(BTreeMap<(Kind, Reason), Dropped>);

impl Drops {
    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many units of `kind` were left out for `reason`.
    pub fn count(&self, kind: Kind, reason: Reason) -> u64 {
        self.0.get(&(kind, reason)).map_or(0, |d| d.count)
    }

    /// By kind and reason, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, Reason, &Dropped)> {
        self.0.iter().map(|((kind, reason), dropped)| (*kind, *reason, dropped))
    }

    /// Counts one unit. `example` runs only for the few that are kept: a hostile file must not buy a
    /// formatted text with every bad address.
    pub(super) fn note(&mut self, kind: Kind, reason: Reason, example: impl FnOnce() -> String) {
        let dropped = self.0.entry((kind, reason)).or_default();
        dropped.count += 1;
        if dropped.examples.len() < EXAMPLES {
            dropped.examples.push(example());
        }
    }

    /// Adds what was left out of the text that follows.
    pub(super) fn absorb(&mut self, later: Self) {
        for (key, more) in later.0 {
            let dropped = self.0.entry(key).or_default();
            dropped.count += more.count;
            let room = EXAMPLES.saturating_sub(dropped.examples.len());
            dropped.examples.extend(more.examples.into_iter().take(room));
        }
    }
}

/// How many objects of kinds that DNS does not need were passed over, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped(BTreeMap<Box<str>, u64>);

impl Skipped {
    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By kind, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(kind, count)| (&**kind, *count))
    }

    /// Counts `count` objects of `kind`.
    pub(super) fn note(&mut self, kind: &str, count: u64) {
        if let Some(known) = self.0.get_mut(kind) {
            *known += count;
            return;
        }
        // Bounded here: both the number of names and their length.
        let named = self.0.len() < MAX_SKIPPED_KINDS && kind.len() <= MAX_KIND;
        *self.0.entry(if named { kind } else { OTHER_KINDS }.into()).or_default() += count;
    }

    /// Adds what was passed over in the text that follows.
    pub(super) fn absorb(&mut self, later: Self) {
        for (kind, count) in later.0 {
            self.note(&kind, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_when_there_are_examples_enough() {
        let mut drops = Drops::default();
        for i in 0..10 {
            drops.note(Kind::Pod, Reason::Address, || i.to_string());
        }
        let mut more = Drops::default();
        more.note(Kind::Pod, Reason::Address, || "more".to_owned());
        more.note(Kind::Service, Reason::Port, || "port".to_owned());
        drops.absorb(more);
        let seen: Vec<_> = drops.iter().map(|(k, r, d)| (k, r, d.count, d.examples.join(" "))).collect();
        assert_eq!(
            seen,
            [
                (Kind::Service, Reason::Port, 1, "port".to_owned()),
                (Kind::Pod, Reason::Address, 11, "0 1 2".to_owned()),
            ]
        );
    }

    #[test]
    fn kinds_are_counted_by_name_up_to_a_bound() {
        let mut skipped = Skipped::default();
        skipped.note(&"x".repeat(MAX_KIND + 1), 1);
        for i in 0..1000 {
            skipped.note(&format!("Kind{i}"), 1);
        }
        skipped.note("Kind0", 1);
        assert_eq!(skipped.iter().count(), MAX_SKIPPED_KINDS);
        assert_eq!(skipped.iter().map(|(_, n)| n).sum::<u64>(), 1002);
        assert!(skipped.iter().any(|(kind, n)| kind == "Kind0" && n == 2));
    }
}
