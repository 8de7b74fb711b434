//! A whole state on its way: made once on a thread of its own, and sent to all who asked for it while it is being made.
//!
//! It is an append-only list of packets. Readers walk along it, each at its own pace; it is freed when the last of them
//! is through. What changed meanwhile is in the history, from [`Whole::seq`] on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::state::State;
use crate::feed::entry::{Entry, Gathered};
use crate::feed::frame::{Frame, Packet, WholeBegin, WholeEnd};
use crate::feed::view::View;
use crate::feed::wire;
use crate::ops::blocking;
use crate::zone::held;

/// A whole state on its way.
pub struct Whole {
    /// The boundary of the history that it is the state of.
    seq: u64,
    /// What is made of it so far.
    packets: RwLock<Vec<Packet>>,
    /// Bytes of that.
    bytes: AtomicU64,
    /// How it goes; wakes readers.
    progress: watch::Sender<Progress>,
}

/// How far the making is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More will come.
    Making,
    /// All of it is there.
    Made,
    /// It broke: nothing more will come.
    Failed,
}

/// What is next for a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// This packet.
    Packet(Packet),
    /// It is yet to be made.
    Wait,
    /// That was all.
    End,
    /// It broke.
    Failed,
}

impl Whole {
    /// Begins to make it of this state, which is that of the boundary `seq`.
    pub(super) fn begin(seq: u64, state: Arc<State>, view: View, labels: bool) -> Arc<Self> {
        let progress = watch::Sender::new(Progress::Making);
        let whole = Arc::new(Self { seq, packets: RwLock::default(), bytes: AtomicU64::new(0), progress });
        let making = Making(whole.clone());
        blocking::spawn(move || making.make(&state, view, labels));
        whole
    }

    /// The boundary of the history that it is the state of.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Bytes of what is made of it so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// It is of no use any more: frees what is made of it, whoever holds on to it.
    pub(super) fn revoke(&self) {
        self.progress.send_replace(Progress::Failed);
        let packets = std::mem::take(&mut *self.packets.write().unwrap_or_else(PoisonError::into_inner));
        drop(packets);
    }

    /// Whether it broke.
    pub fn has_failed(&self) -> bool {
        *self.progress.borrow() == Progress::Failed
    }

    /// Says when there is more of it.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Its packet at this place.
    pub fn part(&self, at: usize) -> Part {
        // Read first: what is made is complete then.
        let progress = *self.progress.borrow();
        let packets = self.packets.read().unwrap_or_else(PoisonError::into_inner);
        match (packets.get(at), progress) {
            (Some(packet), _) => Part::Packet(packet.clone()),
            (None, Progress::Making) => Part::Wait,
            (None, Progress::Made) => Part::End,
            (None, Progress::Failed) => Part::Failed,
        }
    }

    fn push(&self, packet: Packet) {
        let mut packets = self.packets.write().unwrap_or_else(PoisonError::into_inner);
        // With the lock: what is revoked stays empty.
        if self.has_failed() {
            return;
        }
        self.bytes.fetch_add(packet.len() as u64, Ordering::Relaxed);
        packets.push(packet);
        drop(packets);
        self.goes(Progress::Making);
    }

    /// It goes like this, unless it was revoked.
    fn goes(&self, on: Progress) {
        self.progress.send_if_modified(|progress| {
            let goes = *progress != Progress::Failed;
            if goes {
                *progress = on;
            }
            goes
        });
    }
}

/// One that is being made. Dropped before its end, it has failed.
struct Making(Arc<Whole>);

impl Making {
    fn make(self, state: &State, view: View, labels: bool) {
        let kinds = view.kinds();
        let mark = state.mark(view);
        let objects = kinds.iter().map(|kind| state.table.count(kind) as u64).sum();
        self.0.push(Packet::from(&Frame::WholeBegin(WholeBegin {
            cluster_uid: mark.cluster_uid.to_string(),
            position: mark.position,
            objects,
            complete: state.complete(view),
            serial: state.table.serial(),
            labels,
        })));
        let mut gathered = Gathered::default();
        if state.held.is_empty() {
            // Without a copy of each object.
            let objects = state.table.objects().filter(|object| kinds.has(object.kind()));
            objects.for_each(|object| self.part(gathered.push(Entry::upsert(object))));
        } else {
            let entries = held::entries((&state.table, &state.held));
            let entries = entries.filter(|entry| kinds.has(entry.change.kind()));
            entries.for_each(|entry| self.part(gathered.push((&Entry::from(entry)).into())));
        }
        self.part(Some(gathered.take()));
        self.0.push(Packet::from(&Frame::WholeEnd(WholeEnd {
            position: mark.position,
            digests: mark.digests,
            holds: state.told_holds(),
        })));
        self.0.goes(Progress::Made);
    }

    fn part(&self, entries: Option<Vec<wire::Entry>>) {
        if let Some(entries) = entries.filter(|entries| !entries.is_empty()) {
            let frame = wire::frame::Frame::WholePart(wire::WholePart { entries });
            self.0.push(Packet::of(&wire::Frame { frame: Some(frame) }));
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.0.progress.send_if_modified(|progress| {
            let broke = *progress == Progress::Making;
            if broke {
                *progress = Progress::Failed;
            }
            broke
        });
    }
}
