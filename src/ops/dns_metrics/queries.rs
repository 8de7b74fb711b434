//! All zones of a registry, and how a scrape shows them.

use std::array;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::cells::{BYTES, Cells, Histogram, Scale, Sizes, TIME};
use super::labels::{self, Family, PluginLabel, Proto, RCODE_COUNT, TYPE_COUNT};
use super::zone::ZoneMetrics;
use crate::ops::catalogue as names;
use crate::ops::exposition::{Distribution, Exposition, FamilyType};
use crate::ops::metrics::{LabelPair, help_of, lock};
use crate::ops::shards::{Pool, Shards};

/// The counts of all zones that queries were counted under since the start, or may be now.
#[derive(Default)]
pub(in crate::ops) struct Queries {
    /// Those that are configured, and those that have been.
    zones: Mutex<Zones>,
}

/// Counts by zone, in the order of the scrape.
type Zones = BTreeMap<ZoneKey, Arc<Shards<Cells>>>;

/// What all series of a zone have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ZoneKey {
    /// The listener, e.g. `dns://:53`.
    server: Box<str>,
    /// The zone, lower case with its final dot, or `dropped`.
    zone: Box<str>,
}

impl ZoneKey {
    /// The labels of a series whose family has these of its own: exactly CoreDNS's, as one more would split sums in
    /// alerts. There are no views here, and CoreDNS has the label without them too.
    fn with<'a>(&'a self, own: &[LabelPair<'a>]) -> Vec<LabelPair<'a>> {
        let shared = [("server", &*self.server), ("zone", &*self.zone), ("view", "")];
        [&shared[..], own].concat()
    }
}

impl Queries {
    /// The counts of a zone: those that it had before, if it is not new.
    pub(super) fn of(&self, pool: &Arc<Pool>, server: &str, zone: &str) -> ZoneMetrics {
        let mut zones = lock(&self.zones);
        // Zones of former configurations that nobody asked for have nothing to show.
        zones.retain(|_, cells| cells.is_used() || Arc::strong_count(cells) > 1);
        let key = ZoneKey { server: server.into(), zone: zone.into() };
        let cells = zones.entry(key).or_insert_with(|| Arc::new(Shards::new(pool)));
        ZoneMetrics::new(zone, Arc::clone(cells))
    }

    /// How many zones are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.zones).len()
    }

    /// Writes the families, without what was never counted.
    pub(in crate::ops) fn render(&self, out: &mut Exposition<'_>) {
        let zones = lock(&self.zones);
        requests(&zones, &mut Heading::new(out, names::DNS_REQUESTS, FamilyType::Counter));
        durations(&zones, &mut Heading::new(out, names::DNS_DURATION, FamilyType::Histogram));
        let mut request_size = Heading::new(out, names::DNS_REQUEST_SIZE, FamilyType::Histogram);
        sizes(&zones, &mut request_size, |cells| &cells.request_size);
        do_requests(&zones, &mut Heading::new(out, names::DNS_DO_REQUESTS, FamilyType::Counter));
        let mut response_size = Heading::new(out, names::DNS_RESPONSE_SIZE, FamilyType::Histogram);
        sizes(&zones, &mut response_size, |cells| &cells.response_size);
        responses(&zones, &mut Heading::new(out, names::DNS_RESPONSES, FamilyType::Counter));
    }
}

fn requests(zones: &Zones, family: &mut Heading<'_, '_>) {
    for (zone, cells) in zones {
        for (proto, source) in Proto::ALL.into_iter().flat_map(|p| Family::ALL.map(|f| (p, f))) {
            for qtype in 0..TYPE_COUNT {
                let count = cells.sum(|cells| cells.requests[proto as usize][source as usize][qtype].get());
                let (proto, source) = (("proto", proto.label()), ("family", source.label()));
                family.count(zone, &[proto, source, ("type", labels::type_label(qtype))], count);
            }
        }
    }
}

fn durations(zones: &Zones, family: &mut Heading<'_, '_>) {
    for (zone, cells) in zones {
        family.distribution(zone, &[], &TIME, &Reading::of(cells, |cells| &cells.duration));
    }
}

fn sizes(zones: &Zones, family: &mut Heading<'_, '_>, of: impl Fn(&Cells) -> &[Sizes; Proto::ALL.len()]) {
    for (zone, cells) in zones {
        for proto in Proto::ALL {
            let seen = Reading::of(cells, |cells| &of(cells)[proto as usize]);
            family.distribution(zone, &[("proto", proto.label())], &BYTES, &seen);
        }
    }
}

fn do_requests(zones: &Zones, family: &mut Heading<'_, '_>) {
    for (zone, cells) in zones {
        family.count(zone, &[], cells.sum(|cells| cells.do_requests.get()));
    }
}

fn responses(zones: &Zones, family: &mut Heading<'_, '_>) {
    for (zone, cells) in zones {
        for rcode in 0..RCODE_COUNT {
            let text = labels::rcode_label(rcode);
            for plugin in 0..PluginLabel::COUNT {
                let of = |cells: &Cells| cells.responses[rcode].get().map_or(0, |row| row.0[plugin].get());
                let plugin = ("plugin", labels::plugin_label(plugin));
                family.count(zone, &[("rcode", &text), plugin], cells.sum(of));
            }
        }
    }
}

/// What all threads together have seen.
struct Reading<const N: usize> {
    /// By bucket, not cumulated.
    buckets: [u64; N],
    /// Above all bounds.
    beyond: u64,
    /// The sum of all values, in the units that are counted.
    sum: u64,
}

impl<const N: usize> Reading<N> {
    fn of(cells: &Shards<Cells>, of: impl Fn(&Cells) -> &Histogram<N>) -> Self {
        Self {
            buckets: array::from_fn(|i| cells.sum(|cells| of(cells).buckets[i].get())),
            beyond: cells.sum(|cells| of(cells).beyond.get()),
            sum: cells.sum(|cells| of(cells).sum.get()),
        }
    }
}

/// A family that is opened by its first series.
struct Heading<'o, 't> {
    /// Where it is written.
    out: &'o mut Exposition<'t>,
    /// The family's name.
    name: &'static str,
    /// Its type.
    kind: FamilyType,
    /// Whether it has a series.
    is_open: bool,
}

impl<'o, 't> Heading<'o, 't> {
    const fn new(out: &'o mut Exposition<'t>, name: &'static str, kind: FamilyType) -> Self {
        Self { out, name, kind, is_open: false }
    }

    /// Writes a counter, unless nothing was counted.
    fn count(&mut self, zone: &ZoneKey, own: &[LabelPair<'_>], count: u64) {
        if count > 0 {
            self.open();
            self.out.sample(self.name, &zone.with(own), count);
        }
    }

    /// Writes a histogram, unless it has seen nothing.
    fn distribution<const N: usize>(
        &mut self,
        zone: &ZoneKey,
        own: &[LabelPair<'_>],
        scale: &Scale<N>,
        seen: &Reading<N>,
    ) {
        if seen.beyond > 0 || seen.buckets.iter().any(|count| *count > 0) {
            let seen = Distribution {
                bounds: &scale.shown,
                counts: &seen.buckets,
                beyond: seen.beyond,
                sum: seen.sum as f64 / scale.per_shown,
            };
            self.open();
            self.out.histogram(self.name, &zone.with(own), &seen);
        }
    }

    fn open(&mut self) {
        if !self.is_open {
            self.out.family(self.name, self.kind, help_of(self.name));
            self.is_open = true;
        }
    }
}
