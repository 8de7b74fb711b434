//! What hubs send to many, decoded once for all: by the hash of its bytes.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use futures_util::stream::StreamExt;
use xxhash_rust::xxh3::xxh3_128;

use super::Shared;
use crate::feed::entry::Entry;
use crate::feed::frame::{Frame, Packet as Encoded, Reply};
use crate::feed::wire;
use crate::source::hub::transport::{Dial, Link, NotDialled};
use crate::zone::change::Change;
use crate::zone::object::{Key, Kind, Kinds};

/// Entries of packets that are kept for those who have yet to get them: some whole states of ten thousand services.
const MAX_ENTRIES: usize = 200_000;

/// Packets that a follower may have got and not yet told its store of: more than a whole state has.
const MAX_INBOX: usize = 65_536;

/// One packet with entries.
pub(super) struct Packet {
    /// Hash of its bytes.
    pub(super) hash: u128,
    /// What is in it.
    pub(super) entries: Vec<Entry>,
}

/// What becomes of the bytes of a packet.
struct Read {
    /// What is in it; `None` for one without entries.
    packet: Option<Arc<Packet>>,
    /// What a session is handed.
    thin: wire::FollowReply,
}

/// All packets, for a while.
#[derive(Default)]
pub(super) struct Packets {
    /// Those that are kept.
    kept: Mutex<Kept>,
    /// How many were decoded.
    decoded: AtomicU64,
}

/// What is kept.
#[derive(Default)]
struct Kept {
    /// By hash.
    by_hash: HashMap<u128, Arc<OnceLock<Read>>>,
    /// The oldest first, with their number of entries once that is known.
    order: VecDeque<u128>,
}

impl Packets {
    /// How many were decoded.
    pub(super) fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    /// What a session is handed of a reply, and what it is about.
    fn read(&self, reply: wire::FollowReply) -> (wire::FollowReply, Option<Arc<Packet>>) {
        let (wire::FollowReply { reply: Some(wire::follow_reply::Reply::Frame(bytes)) }
        | wire::FollowReply { reply: Some(wire::follow_reply::Reply::FrameZstd(bytes)) }) = &reply
        else {
            return (reply, None);
        };
        let hash = xxh3_128(bytes);
        let slot = self.slot(hash);
        // Whoever comes meanwhile waits for it.
        let read = slot.get_or_init(|| {
            self.decoded.fetch_add(1, Ordering::Relaxed);
            thin(hash, reply.clone())
        });
        (read.thin.clone(), read.packet.clone())
    }

    fn slot(&self, hash: u128) -> Arc<OnceLock<Read>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = kept.by_hash.get(&hash) {
            return slot.clone();
        }
        let entries_of = |slot: &Arc<OnceLock<Read>>| {
            slot.get().and_then(|read| read.packet.as_ref()).map_or(1, |packet| packet.entries.len() + 1)
        };
        let mut entries: usize = kept.by_hash.values().map(entries_of).sum();
        while entries > MAX_ENTRIES
            && let Some(oldest) = kept.order.pop_front()
        {
            entries -= kept.by_hash.remove(&oldest).as_ref().map_or(0, entries_of);
        }
        let slot = Arc::<OnceLock<Read>>::default();
        kept.by_hash.insert(hash, slot.clone());
        kept.order.push_back(hash);
        slot
    }
}

/// Decodes a reply, and makes the one that a session is handed. What is wrong with it is left to the session.
fn thin(hash: u128, reply: wire::FollowReply) -> Read {
    let frame = match Reply::try_from(reply.clone()) {
        Ok(Reply::Frame(frame)) => frame,
        Ok(Reply::Heartbeat(_) | Reply::Unknown) | Err(_) => return Read { packet: None, thin: reply },
    };
    let (entries, frame) = match frame {
        Frame::WholePart(entries) => {
            let stands = placeholders(hash, &entries);
            (entries, Frame::WholePart(stands))
        }
        Frame::Batch(mut batch) if !batch.entries.is_empty() => {
            let stands = placeholders(hash, &batch.entries);
            (std::mem::replace(&mut batch.entries, stands), Frame::Batch(batch))
        }
        _ => return Read { packet: None, thin: reply },
    };
    let packet = Some(Arc::new(Packet { hash, entries }));
    Read { packet, thin: Encoded::from(&frame).into() }
}

/// What stands for the entries in a session: one of each kind, so that it does with each kind what it would do.
fn placeholders(hash: u128, entries: &[Entry]) -> Vec<Entry> {
    let kinds: Kinds = entries.iter().map(|entry| entry.change.kind()).collect();
    let name: Box<str> = format!("{hash:032x}").into();
    let key = |kind: Kind| Key {
        kind,
        namespace: if kind == Kind::Namespace { "".into() } else { "packet".into() },
        name: name.clone(),
    };
    // As what is there and served, because a whole state has nothing that is gone.
    kinds.iter().map(|kind| Entry::from(Change::Upsert(super::thin::placeholder(key(kind))))).collect()
}

/// What a follower has got and its source has not yet told of, in order.
#[derive(Default)]
pub(super) struct Inbox(Mutex<VecDeque<Arc<Packet>>>);

impl Inbox {
    fn put(&self, packet: Arc<Packet>) {
        let mut inbox = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.len() >= MAX_INBOX {
            inbox.pop_front();
        }
        inbox.push_back(packet);
    }

    /// The packet with this hash; those that came before it are told of no more.
    pub(super) fn take(&self, hash: u128) -> Option<Arc<Packet>> {
        let mut inbox = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = inbox.iter().position(|packet| packet.hash == hash)?;
        inbox.drain(..=at).next_back()
    }
}

/// Dials as nodes do, and hands out what stands for what came.
pub(super) struct ThinDial {
    /// The way to hubs.
    pub(super) real: Arc<dyn Dial>,
    /// What all have in common.
    pub(super) shared: Arc<Shared>,
    /// Of this follower.
    pub(super) inbox: Arc<Inbox>,
}

#[async_trait]
impl Dial for ThinDial {
    async fn dial(&self, hub: SocketAddr) -> Result<Link, NotDialled> {
        let Link { requests, replies } = self.real.dial(hub).await?;
        let (shared, inbox) = (self.shared.clone(), self.inbox.clone());
        let replies = replies.map(move |reply| {
            let (reply, packet) = shared.packets.read(reply?);
            if let Some(packet) = packet {
                inbox.put(packet);
            }
            Ok(reply)
        });
        Ok(Link { requests, replies: replies.boxed() })
    }
}
