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

/// One packet, and the state after it.
#[derive(Debug)]
struct Item {
    /// What is sent.
    packet: Packet,
    /// The state after it; `None` in the middle of a change.
    mark: Option<Mark>,
}

/// The log of one view.
#[derive(Debug)]
pub struct History {
    /// Sequence number of the oldest boundary.
    base: u64,
    /// The state there.
    first: Mark,
    /// What came after it; the item at `n` leads to the boundary `base + n + 1`.
    items: VecDeque<Item>,
    /// Bytes of all packets.
    bytes: usize,
    /// The most that they may be.
    limit: usize,
}

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
    pub const fn new(base: u64, first: Mark, limit: usize) -> Self {
        Self { base, first, items: VecDeque::new(), bytes: 0, limit }
    }

    /// The newest boundary.
    pub fn head(&self) -> u64 {
        self.base + self.items.len() as u64
    }

    /// Bytes of all packets.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many packets are kept.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no packet is kept.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The state at a boundary, as far as it is remembered; `None` in the middle of a change.
    pub fn mark(&self, seq: u64) -> Option<&Mark> {
        match usize::try_from(seq.checked_sub(self.base)?).ok()? {
            0 => Some(&self.first),
            n => self.items.get(n - 1)?.mark.as_ref(),
        }
    }

    /// Appends one change in its packets, after which the state is that of `mark`.
    pub fn append(&mut self, packets: Vec<Packet>, mark: Mark) {
        let last = packets.len().saturating_sub(1);
        for (n, packet) in packets.into_iter().enumerate() {
            self.bytes += packet.len();
            let mark = (n == last).then(|| mark.clone());
            self.items.push_back(Item { packet, mark });
        }
        self.trim();
    }

    /// The state is what it was, and the source has told more: nothing that is not in it.
    pub fn moved(&mut self, until: Position, settled: bool) {
        let newest = match self.items.back_mut() {
            Some(item) => item.mark.as_mut(),
            None => Some(&mut self.first),
        };
        let Some(mark) = newest else { return };
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
        while self.bytes > self.limit || self.items.len() > MAX_PACKETS {
            while let Some(item) = self.items.pop_front() {
                self.base += 1;
                self.bytes -= item.packet.len();
                if let Some(mark) = item.mark {
                    self.first = mark;
                    break;
                }
            }
        }
    }

    /// What comes after a boundary.
    pub fn after(&self, seq: u64) -> Next {
        let Some(at) = seq.checked_sub(self.base) else { return Next::Gone };
        match usize::try_from(at).ok().and_then(|at| self.items.get(at)) {
            Some(item) => Next::Packet(item.packet.clone()),
            None => Next::Wait,
        }
    }

    /// From where a follower goes on, which gets these kinds.
    pub fn resume(&self, follower: &Subscription, kinds: Kinds) -> Resumed {
        let head = self.mark(self.head()).unwrap_or(&self.first);
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
        let boundaries = (self.base..=self.head()).rev();
        let found = boundaries.filter_map(|seq| Some((seq, self.mark(seq)?))).find(|(_, mark)| {
            mark.settled
                && mark.cluster_uid == head.cluster_uid
                && mark.held == follower.held
                && mark.position.epoch == follower.position.epoch
                // 0 is no version: how far that kind has come is not known.
                && kinds.iter().all(|kind| {
                    (1..=follower.position.version(kind)).contains(&mark.position.version(kind))
                })
        });
        let Some((seq, mark)) = found else { return Resumed::Whole(Reason::TooOld) };
        // Where nothing changed from one version to the other, any between them is this very state. All kinds have to
        // be at such a one: which slices are in a view may depend on services.
        let is_same = kinds.iter().all(|kind| follower.position.version(kind) <= mark.until.version(kind));
        if !is_same || follower.digests.differing(&mark.digests).is_empty() {
            Resumed::From(seq)
        } else {
            Resumed::Whole(Reason::Differs)
        }
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
        let mut history = History::new(0, mark(1, 10), 300);
        let split = vec![packet(100), packet(100)];
        history.append(split, mark(1, 20));
        assert_eq!((history.mark(1), history.mark(2)), (None, Some(&mark(1, 20))));
        history.append(vec![packet(100)], mark(1, 30));
        assert_eq!((history.after(1), history.after(2)), (Next::Gone, Next::Packet(packet(100))));
        assert_eq!((history.head(), history.len()), (3, 1));
        assert_eq!(history.resume(&follower(1, 20), Kinds::CORE), Resumed::From(2));
        // One that is larger than everything that may be kept leaves nothing.
        history.append(vec![packet(400)], mark(1, 40));
        assert_eq!((history.head(), history.len(), history.bytes()), (4, 0, 0));
        assert_eq!(history.resume(&follower(1, 40), Kinds::CORE), Resumed::From(4));
    }
}
