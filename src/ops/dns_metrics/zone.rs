//! The counting of the queries of one (server, zone).

use std::sync::Arc;
use std::time::Duration;

use super::cells::{BYTES, Cells, TIME};
use super::labels::{self, Family, PluginLabel, Proto};
use crate::ops::shards::{Shard, Shards, Writer};

/// What there is to count of one query, once it is done.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    /// The type asked for.
    pub qtype: u16,
    /// How the query came.
    pub proto: Proto,
    /// From what kind of address.
    pub family: Family,
    /// Whether the query had the DO bit.
    pub do_bit: bool,
    /// Length of the query in bytes.
    pub request_len: usize,
    /// Length of the answer in bytes before compression; 0 if none was sent.
    pub response_len: usize,
    /// The answer's rcode with its extended bits; 0 (NOERROR) if none was sent.
    pub rcode: u16,
    /// The plugin that wrote the answer.
    pub plugin: PluginLabel,
    /// Time from the beginning of the plugin chain to the answer.
    pub elapsed: Duration,
}

/// The counts of one (server, zone).
pub struct ZoneMetrics {
    /// The value of the label `zone`.
    zone: Box<str>,
    /// What the registry has for it, also after this is gone.
    cells: Arc<Shards<Cells>>,
}

impl ZoneMetrics {
    pub(super) fn new(zone: &str, cells: Arc<Shards<Cells>>) -> Self {
        Self { zone: zone.into(), cells }
    }

    /// The value of the label `zone`.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// Counts one query, on any thread. Without locks, and allocates only what is counted for the first time.
    pub fn record(&self, seen: &Observation) {
        count(self.cells.shared(), seen);
    }

    /// Counts one query on the thread that has this shard: a few loads and stores. Allocates only what the thread
    /// counts for the first time.
    pub fn record_in(&self, shard: &mut Shard, seen: &Observation) {
        count(self.cells.writer(shard), seen);
    }
}

/// Adds a query to each family.
fn count(mut writer: Writer<'_, Cells>, seen: &Observation) {
    let (proto, family, qtype) = (seen.proto as usize, seen.family as usize, labels::type_index(seen.qtype));
    writer.add(|cells| &cells.requests[proto][family][qtype], 1);
    // 584 years fit.
    let elapsed = u64::try_from(seen.elapsed.as_nanos()).unwrap_or(u64::MAX);
    writer.add(|cells| cells.duration.bucket(&TIME, elapsed), 1);
    writer.add(|cells| &cells.duration.sum, elapsed);
    let request_len = seen.request_len as u64;
    writer.add(|cells| cells.request_size[proto].bucket(&BYTES, request_len), 1);
    writer.add(|cells| &cells.request_size[proto].sum, request_len);
    if seen.do_bit {
        writer.add(|cells| &cells.do_requests, 1);
    }
    let response_len = seen.response_len as u64;
    writer.add(|cells| cells.response_size[proto].bucket(&BYTES, response_len), 1);
    writer.add(|cells| &cells.response_size[proto].sum, response_len);
    let (rcode, plugin) = (labels::rcode_index(seen.rcode), seen.plugin.index());
    writer.add(|cells| &cells.responses[rcode].get_or_init(Box::default).0[plugin], 1);
}
