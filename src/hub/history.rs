//! What has changed lately in one view: a bounded log, along which each follower has a cursor. Pure.
//!
//! Between two packets of the log is a *boundary*: the state after all that is before it. A follower that has that
//! state, or a later one, goes on from there.
//!
//! Invariants:
//! * The log is bounded in bytes and packets; what falls out at its old end costs somebody a whole state, and never
//!   memory.
//! * A boundary takes in nothing beyond its position: a follower that goes on from it misses nothing. Where that is
//!   not sure ([`Mark::settled`]), nobody goes on from there.
//! * A follower goes on from a boundary at which the same was held as it holds: holds begin and end at no version.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::feed::digests::Digests;
use crate::feed::frame::{Packet, Subscription};
use crate::feed::position::Position;
use crate::zone::digest::Digest;
use crate::zone::object::Kinds;

/// How many packets are kept at most, however small they are: an hour of ten a second.
pub const MAX_PACKETS: usize = 36_000;

/// What is remembered of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// uid of the cluster.
    pub cluster_uid: Arc<str>,
    /// How far the source had told when the state came to be.
    pub position: Position,
    /// How far it had told when the state went: all the while nothing else changed.
    pub until: Position,
    /// Of the state as it was received.
    pub digests: Digests,
    /// Of what is held of it. Neither positions nor the digests of what was received say anything of that.
    pub held: Digest,
    /// Whether the state is that of its position exactly, and not ahead of it.
    pub settled: bool,
}

/// The log of one view.
#[derive(Debug)]
pub struct History {
    /// Sequence number of the oldest boundary.
    base: u64,
    /// What is sent from there on; the packet at `n` leads to the boundary `base + n + 1`.
    packets: VecDeque<Packet>,
    /// The boundaries that there is a state at, by their numbers; never empty, and the first one is at `base`. Between
    /// them are the middles of changes.
    marks: VecDeque<(u64, Mark)>,
    /// The first boundary of the cluster that the newest one is of.
    cluster_from: u64,
    /// Bytes of all that is kept.
    bytes: usize,
    /// Bytes of all packets that were ever appended.
    appended: u64,
    /// The most that `bytes` may be.
    limit: usize,
    /// The most packets that there may be.
    max_packets: usize,
}

/// What a packet takes beyond its bytes.
const PACKET_BYTES: usize = size_of::<Packet>();

/// What a boundary takes.
const MARK_BYTES: usize = size_of::<(u64, Mark)>();

/// What a follower has to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// The packets after this boundary.
    From(u64),
    /// The whole state.
    Whole(Reason),
    /// It is ahead: we have yet to learn of a restore.
    Behind,
}

/// Why a follower gets the whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It has nothing, or not every kind.
    Nothing,
    /// It asks for it.
    Asked,
    /// What it has is of another cluster.
    OtherCluster,
    /// What it has is older than the log.
    TooOld,
    /// It has not what it should have.
    Differs,
    /// It was too slow for the log.
    TooSlow,
}

impl Reason {
    /// Every reason, for metrics.
    pub const ALL: [Self; 6] =
        [Self::Nothing, Self::Asked, Self::OtherCluster, Self::TooOld, Self::Differs, Self::TooSlow];

    /// As metrics and logs name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Asked => "asked",
            Self::OtherCluster => "other_cluster",
            Self::TooOld => "too_old",
            Self::Differs => "differs",
            Self::TooSlow => "too_slow",
        }
    }
}

/// What is next for a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This packet; the cursor moves on by one.
    Packet(Packet),
    /// Nothing yet.
    Wait,
    /// What came next is no longer kept.
    Gone,
}

impl History {
    /// A log that begins with a state, and keeps so many bytes.
    pub fn new(base: u64, first: Mark, limit: usize) -> Self {
        let (packets, marks) = (VecDeque::new(), VecDeque::from([(base, first)]));
        let (bytes, max_packets) = (MARK_BYTES, MAX_PACKETS);
        Self { base, packets, marks, cluster_from: base, bytes, appended: 0, limit, max_packets }
    }

    /// The same without any limit, for drills: it grows with every change.
    pub(super) fn unbounded(self) -> Self {
        Self { limit: usize::MAX, max_packets: usize::MAX, ..self }
    }

    /// The newest boundary.
    pub fn head(&self) -> u64 {
        self.base + self.packets.len() as u64
    }

    /// Bytes of all that is kept.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of all packets that were ever appended.
    pub const fn appended(&self) -> u64 {
        self.appended
    }

    /// How many packets are kept.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether no packet is kept.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The state at a boundary, as far as it is remembered; `None` in the middle of a change.
    pub fn mark(&self, seq: u64) -> Option<&Mark> {
        let at = self.marks.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        self.marks.get(at).map(|(_, mark)| mark)
    }

    /// Whether a follower that has come to this boundary can go on.
    pub const fn reaches(&self, seq: u64) -> bool {
        seq >= self.base
    }

    /// Appends one change in its packets, after which the state is that of `mark`.
    pub fn append(&mut self, packets: Vec<Packet>, mut mark: Mark) {
        if packets.is_empty() {
            return;
        }
        for packet in packets {
            self.bytes += packet.len() + PACKET_BYTES;
            self.appended += packet.len() as u64;
            self.packets.push_back(packet);
        }
        let seq = self.head();
        if mark.cluster_uid == self.newest().cluster_uid {
            // One for all of them.
            mark.cluster_uid = self.newest().cluster_uid.clone();
        } else {
            self.cluster_from = seq;
        }
        self.bytes += MARK_BYTES;
        self.marks.push_back((seq, mark));
        self.trim();
    }

    fn newest(&self) -> &Mark {
        &self.marks.back().expect("there always is a boundary").1
    }

    /// The state is what it was, and the source has told more: nothing that is not in it.
    pub fn moved(&mut self, until: Position, settled: bool) {
        let Some((_, mark)) = self.marks.back_mut() else { return };
        if mark.position.epoch != until.epoch {
            // What was reached in the old epoch is not comparable.
            mark.position = until;
        }
        mark.until = until;
        if settled && !mark.settled {
            // Only now is known how far the state really was.
            (mark.position, mark.settled) = (until, true);
        }
    }

    /// Drops the oldest changes, whole ones, until the rest is within the limits.
    fn trim(&mut self) {
        while self.marks.len() > 1 && (self.bytes > self.limit || self.packets.len() > self.max_packets) {
            self.marks.pop_front();
            self.bytes -= MARK_BYTES;
            let next = self.marks.front().map_or(self.base, |(seq, _)| *seq);
            while self.base < next {
                let packet = self.packets.pop_front();
                self.bytes -= packet.map_or(0, |packet| packet.len() + PACKET_BYTES);
                self.base += 1;
            }
        }
    }

    /// What comes after a boundary.
    pub fn after(&self, seq: u64) -> Next {
        let Some(at) = seq.checked_sub(self.base) else { return Next::Gone };
        match usize::try_from(at).ok().and_then(|at| self.packets.get(at)) {
            Some(packet) => Next::Packet(packet.clone()),
            None => Next::Wait,
        }
    }

    /// From where a follower goes on, which gets these kinds.
    pub fn resume(&self, follower: &Subscription, kinds: Kinds) -> Resumed {
        let head = self.newest();
        let is_known = kinds.iter().all(|kind| follower.position.version(kind) > 0);
        if follower.whole {
            return Resumed::Whole(Reason::Asked);
        }
        if follower.cluster_uid.is_empty() || !is_known {
            return Resumed::Whole(Reason::Nothing);
        }
        if *follower.cluster_uid != *head.cluster_uid {
            return Resumed::Whole(Reason::OtherCluster);
        }
        if follower.position.epoch > head.until.epoch {
            return Resumed::Behind;
        }
        let Some((seq, mark)) = self.boundary(follower, kinds) else {
            return match self.same_as_oldest(follower, kinds) {
                Some(seq) => Resumed::From(seq),
                None => Resumed::Whole(Reason::TooOld),
            };
        };
        // Where nothing changed from one version to the other, any between them is this very state. All kinds have to
        // be at such a one: which slices are in a view may depend on services.
        let is_same = kinds.iter().all(|kind| follower.position.version(kind) <= mark.until.version(kind));
        if !is_same || follower.digests.differing(&mark.digests).is_empty() {
            Resumed::From(seq)
        } else {
            Resumed::Whole(Reason::Differs)
        }
    }

    /// The last boundary that takes in nothing beyond a position. Runs under the lock of a line for each follower that
    /// comes back, and so it looks at few of many: positions grow along the log.
    fn boundary(&self, follower: &Subscription, kinds: Kinds) -> Option<(u64, &Mark)> {
        let position = &follower.position;
        let begin = self.marks.partition_point(|(seq, _)| *seq < self.cluster_from);
        let oldest = self.marks.get(begin)?;
        if !oldest.1.is_within(position, kinds) {
            return None;
        }
        let is_within =
            |at: usize| self.marks.get(at).is_some_and(|(_, mark)| mark.is_within(position, kinds));
        let (mut within, mut beyond) = (begin, self.marks.len());
        while beyond - within > 1 {
            let middle = within.midpoint(beyond);
            if is_within(middle) {
                within = middle;
            } else {
                beyond = middle;
            }
        }
        // What is not settled is so for a moment: a few in a row at most, but for faults. Holds begin and end at no
        // version.
        let back = self.marks.range(begin..=within).rev().take(MAX_BACK);
        let mut back = back.map(|(seq, mark)| (*seq, mark));
        back.find(|(_, mark)| mark.held == follower.held && mark.is_start(position, kinds))
    }

    /// The oldest boundary, if a follower has the very state that is there, though at an older position: its last hub
    /// had not been told that nothing has changed since. A hub that has just begun gets such followers.
    fn same_as_oldest(&self, follower: &Subscription, kinds: Kinds) -> Option<u64> {
        let (seq, mark) = self.marks.front()?;
        let is_same = mark.settled
            && mark.held == follower.held
            && *mark.cluster_uid == *follower.cluster_uid
            && mark.position.epoch == follower.position.epoch
            && kinds.iter().all(|kind| {
                mark.position.version(kind) > 0
                    && follower.digests.get(kind).is_some()
                    && follower.digests.get(kind) == mark.digests.get(kind)
            });
        is_same.then_some(*seq)
    }
}

/// So many boundaries are looked at that are not settled; after that a whole state is cheaper than to look on.
const MAX_BACK: usize = 64;

impl Mark {
    /// Whether it is of an earlier epoch, or takes in nothing beyond a position.
    fn is_within(&self, position: &Position, kinds: Kinds) -> bool {
        #[cfg(test)]
        looked_at::one();
        self.position.epoch < position.epoch
            || (self.position.epoch == position.epoch
                && kinds.iter().all(|kind| self.position.version(kind) <= position.version(kind)))
    }

    /// Whether who is at a position that it is within may go on from it.
    fn is_start(&self, position: &Position, kinds: Kinds) -> bool {
        self.settled
            && self.position.epoch == position.epoch
            // 0 is no version: how far that kind has come is not known.
            && kinds.iter().all(|kind| (1..=position.version(kind)).contains(&self.position.version(kind)))
    }
}

/// How many boundaries were looked at.
#[cfg(test)]
mod looked_at {
    use std::cell::Cell;

    thread_local! {
        /// Since it was last taken.
        static LOOKS: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn one() {
        LOOKS.set(LOOKS.get() + 1);
    }

    pub(super) fn take() -> usize {
        LOOKS.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::frame::Frame;

    fn packet(n: usize) -> Packet {
        Packet::from(&Frame::Refused { why: "x".repeat(n) })
    }

    fn at(epoch: u64, version: u64) -> Position {
        Position { epoch, versions: [version, version, version, 0] }
    }

    fn digests(hash: u64) -> Digests {
        Digests::of(Kinds::CORE, |_| Digest { hash: hash.into(), count: 1 })
    }

    /// The state at a version, whose digest is the version's.
    fn mark(epoch: u64, version: u64) -> Mark {
        Mark {
            cluster_uid: "c1".into(),
            position: at(epoch, version),
            until: at(epoch, version),
            digests: digests(version),
            held: Digest::default(),
            settled: true,
        }
    }

    fn follower(epoch: u64, version: u64) -> Subscription {
        Subscription {
            cluster_uid: "c1".to_owned(),
            position: at(epoch, version),
            digests: digests(version),
            ..Subscription::default()
        }
    }

    /// Boundaries 100 to 103, at versions 10 (until 12), 20, 30 and 40.
    fn history() -> History {
        let mut history = History::new(100, mark(1, 10), 1 << 20);
        history.moved(at(1, 12), true);
        for version in [20, 30, 40] {
            history.append(vec![packet(version)], mark(1, version.try_into().expect("small")));
        }
        history
    }

    #[test]
    fn a_hold_that_began_or_ended_at_the_same_position_is_not_passed_over() {
        let held = |hash| Digest { hash, count: 1 };
        let holds = |hash, version| Mark { held: held(hash), ..mark(1, version) };
        // Held at boundary 1, released at boundary 2: at the same position, and with the same digests.
        let mut history = History::new(0, mark(1, 10), 1 << 20);
        history.append(vec![packet(1)], holds(7, 20));
        history.append(vec![packet(1)], mark(1, 20));
        let follower = |hash| Subscription { held: held(hash), ..follower(1, 20) };
        let kinds = Kinds::CORE;
        assert_eq!(
            history.resume(&follower(7), kinds),
            Resumed::From(1),
            "it has yet to hear of the release"
        );
        assert_eq!(
            history.resume(&follower(8), kinds),
            Resumed::Whole(Reason::TooOld),
            "another hub's hold, of which nobody here knows"
        );
        let free = Subscription { held: Digest::default(), ..follower(0) };
        assert_eq!(history.resume(&free, kinds), Resumed::From(2));
        // And one that was never heard of here, while something is held.
        history.append(vec![packet(1)], holds(9, 20));
        assert_eq!(history.resume(&free, kinds), Resumed::From(2), "the hold comes next");
    }

    #[test]
    fn where_followers_go_on() {
        struct Case {
            name: &'static str,
            follower: Subscription,
            want: Resumed,
        }
        let whole = Resumed::Whole;
        for case in [
            Case { name: "in sync", follower: follower(1, 40), want: Resumed::From(103) },
            Case { name: "two behind", follower: follower(1, 20), want: Resumed::From(101) },
            Case {
                name: "between two boundaries: from the older one",
                follower: follower(1, 29),
                want: Resumed::From(101),
            },
            Case {
                name: "at a version that nothing changed at",
                follower: Subscription { digests: digests(10), ..follower(1, 11) },
                want: Resumed::From(100),
            },
            Case {
                name: "ahead of us: nothing until we are as far",
                follower: follower(1, 50),
                want: Resumed::From(103),
            },
            Case { name: "older than the log", follower: follower(1, 9), want: whole(Reason::TooOld) },
            Case {
                name: "one kind is older than the log",
                follower: Subscription {
                    position: Position { epoch: 1, versions: [40, 40, 9, 0] },
                    ..follower(1, 40)
                },
                want: whole(Reason::TooOld),
            },
            Case {
                name: "one kind is behind: from where that one is",
                follower: Subscription {
                    position: Position { epoch: 1, versions: [40, 40, 20, 0] },
                    digests: Digests::NONE,
                    ..follower(1, 40)
                },
                want: Resumed::From(101),
            },
            Case {
                name: "a kind is missing",
                follower: Subscription {
                    position: Position { epoch: 1, versions: [40, 0, 40, 0] },
                    ..follower(1, 40)
                },
                want: whole(Reason::Nothing),
            },
            Case { name: "nothing", follower: Subscription::default(), want: whole(Reason::Nothing) },
            Case {
                name: "asks for all of it",
                follower: Subscription { whole: true, ..follower(1, 40) },
                want: whole(Reason::Asked),
            },
            Case {
                name: "of another cluster",
                follower: Subscription { cluster_uid: "c2".to_owned(), ..follower(1, 40) },
                want: whole(Reason::OtherCluster),
            },
            Case {
                name: "the same position, another state",
                follower: Subscription { digests: digests(41), ..follower(1, 40) },
                want: whole(Reason::Differs),
            },
            Case {
                name: "another state between boundaries is to be expected",
                follower: Subscription { digests: digests(41), ..follower(1, 35) },
                want: Resumed::From(102),
            },
            Case { name: "an older epoch", follower: follower(0, 40), want: whole(Reason::TooOld) },
            Case { name: "a later epoch", follower: follower(2, 5), want: Resumed::Behind },
        ] {
            assert_eq!(history().resume(&case.follower, Kinds::CORE), case.want, "{}", case.name);
        }
    }

    #[test]
    fn a_restore_within_the_log_is_one_of_its_changes() {
        let mut history = history();
        history.append(vec![packet(1)], mark(2, 25));
        assert_eq!(history.resume(&follower(1, 30), Kinds::CORE), Resumed::From(102));
        assert_eq!(history.resume(&follower(2, 25), Kinds::CORE), Resumed::From(104));
        assert_eq!(history.resume(&follower(2, 24), Kinds::CORE), Resumed::Whole(Reason::TooOld));
    }

    #[test]
    fn nobody_goes_on_from_a_state_that_may_be_ahead_of_its_position() {
        let mut history = history();
        history.append(vec![packet(1)], Mark { settled: false, digests: digests(41), ..mark(1, 40) });
        assert_eq!(
            history.resume(&follower(1, 40), Kinds::CORE),
            Resumed::From(103),
            "gets the change again"
        );
        history.moved(at(1, 41), true);
        assert_eq!(history.resume(&follower(1, 40), Kinds::CORE), Resumed::From(103));
        assert_eq!(history.resume(&follower(1, 41), Kinds::CORE), Resumed::From(104));
    }

    #[test]
    fn nobody_goes_on_from_a_state_that_nobody_knows_the_position_of() {
        let mut history = history();
        let unknown = Position { epoch: 1, versions: [50, 0, 50, 0] };
        history.append(vec![packet(1)], Mark { position: unknown, until: unknown, ..mark(1, 50) });
        assert_eq!(history.resume(&follower(1, 60), Kinds::CORE), Resumed::From(103));
        let anew = History::new(1, Mark { position: unknown, until: unknown, ..mark(1, 50) }, 1 << 20);
        assert_eq!(anew.resume(&follower(1, 60), Kinds::CORE), Resumed::Whole(Reason::TooOld));
    }

    #[test]
    fn cursors() {
        let history = history();
        assert_eq!(history.after(101), Next::Packet(packet(30)));
        assert_eq!(history.after(103), Next::Wait);
        assert_eq!(history.after(99), Next::Gone);
    }

    #[test]
    fn old_changes_go_whole_when_there_are_too_many_bytes() {
        let mut history = History::new(0, mark(1, 10), 300 + 3 * (PACKET_BYTES + MARK_BYTES));
        let split = vec![packet(100), packet(100)];
        history.append(split, mark(1, 20));
        assert_eq!((history.mark(1), history.mark(2)), (None, Some(&mark(1, 20))));
        history.append(vec![packet(100)], mark(1, 30));
        assert_eq!((history.after(1), history.after(2)), (Next::Gone, Next::Packet(packet(100))));
        assert_eq!((history.head(), history.len()), (3, 1));
        assert_eq!(history.resume(&follower(1, 20), Kinds::CORE), Resumed::From(2));
        // One that is larger than everything that may be kept leaves nothing.
        history.append(vec![packet(500); 10], mark(1, 40));
        assert_eq!((history.head(), history.len(), history.bytes()), (13, 0, MARK_BYTES));
        assert_eq!(history.resume(&follower(1, 40), Kinds::CORE), Resumed::From(13));
    }

    #[test]
    fn a_drill_may_have_it_grow() {
        let mut history = History::new(0, mark(1, 1), 0).unbounded();
        let count = MAX_PACKETS + 1;
        (0..count).for_each(|n| history.append(vec![packet(1)], mark(1, 2 + n as u64)));
        assert_eq!((history.len(), history.reaches(0)), (count, true));
    }

    #[test]
    fn among_many_boundaries_few_are_looked_at() {
        let mut history = History::new(0, mark(1, 1), 1 << 30);
        for version in 2..=30_000 {
            // Every third one is not settled, as after a burst that the source has not summed up.
            history.append(vec![packet(1)], Mark { settled: version % 3 != 0, ..mark(1, version) });
        }
        for version in [1, 2, 100, 14_999, 29_998, 30_000, 40_000] {
            let last = version.min(30_000);
            let want = if last % 3 == 0 { last - 2 } else { last - 1 };
            looked_at::take();
            let found = history.resume(&follower(1, version), Kinds::CORE);
            assert_eq!(found, Resumed::From(want), "{version}");
            let looks = looked_at::take();
            assert!(looks <= 20, "{version}: {looks}");
        }
        looked_at::take();
        let foreign = Subscription { position: at(1, 0), ..follower(1, 1) };
        assert_eq!(history.resume(&foreign, Kinds::CORE), Resumed::Whole(Reason::Nothing));
        assert_eq!(looked_at::take(), 0);
    }

    #[test]
    fn the_very_state_at_an_older_position_is_where_a_log_may_begin() {
        let history = history();
        let older = Subscription { digests: digests(10), ..follower(1, 9) };
        assert_eq!(history.resume(&older, Kinds::CORE), Resumed::From(100));
        let unsaid = Subscription { digests: Digests::NONE, ..older.clone() };
        assert_eq!(history.resume(&unsaid, Kinds::CORE), Resumed::Whole(Reason::TooOld));
        let earlier = Subscription { position: at(0, 9), ..older };
        assert_eq!(history.resume(&earlier, Kinds::CORE), Resumed::Whole(Reason::TooOld));
    }

    #[test]
    fn a_boundary_is_counted_as_a_packet_is() {
        let limit = 100 * (PACKET_BYTES + MARK_BYTES);
        let mut history = History::new(0, mark(1, 1), limit);
        (2..1000).for_each(|version| history.append(vec![packet(0)], mark(1, version)));
        assert!(history.len() < 100 && history.bytes() <= limit, "{}", history.len());
    }
}
