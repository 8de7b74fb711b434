//! The store at the end of a thin follower's source: it does what a writer does, with states that are shared.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::Shared;
use super::packets::{Inbox, Packet};
use super::states::State;
use crate::feed::position::Position;
use crate::source::command::Commands;
use crate::source::{Comparison, Event, Listed, Resume, Standing, Update};
use crate::zone::digest::Digest;
use crate::zone::object::{
    EndpointSlice, Endpoints, Key, Kind, Kinds, Namespace, Object, Pod, Service, Shape,
};

/// What is seen of a follower from outside.
pub(super) struct Seat {
    /// The state that it is in.
    state: Mutex<Arc<State>>,
    /// Whether a hub has confirmed it, and it was not lost since.
    proved: AtomicBool,
}

impl Seat {
    pub(super) const fn new(state: Arc<State>) -> Self {
        Self { state: Mutex::new(state), proved: AtomicBool::new(false) }
    }

    /// The state that it is in.
    pub(super) fn state(&self) -> Arc<State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a hub has confirmed it, and it was not lost since.
    pub(super) fn is_proved(&self) -> bool {
        self.proved.load(Ordering::Relaxed)
    }

    /// It has to be confirmed anew.
    pub(super) fn doubt(&self) {
        self.proved.store(false, Ordering::Relaxed);
    }
}

/// The store of one follower.
pub(super) struct Thin {
    /// What all have in common.
    shared: Arc<Shared>,
    /// What has come.
    inbox: Arc<Inbox>,
    /// What is seen of it.
    seat: Arc<Seat>,
    /// The kinds that it follows.
    kinds: Kinds,
    /// What it has.
    state: Arc<State>,
    /// Cluster and positions.
    resume: Resume,
    /// Parts of a list that is under way.
    listing: Vec<Arc<Packet>>,
    /// By kind: until which version changes wait, and those that do.
    staged: [Option<(u64, Vec<Arc<Packet>>)>; Kind::ALL.len()],
    /// Whether its state was ever confirmed.
    verified: bool,
}

impl Thin {
    pub(super) fn new(shared: Arc<Shared>, inbox: Arc<Inbox>, seat: Arc<Seat>, kinds: Kinds) -> Self {
        let state = seat.state();
        Self {
            shared,
            inbox,
            seat,
            kinds,
            state,
            resume: Resume::default(),
            listing: Vec::new(),
            staged: Default::default(),
            verified: false,
        }
    }

    /// Takes what the source tells, until there is no source. The commands are held, and none is given.
    pub(super) async fn run(mut self, mut updates: mpsc::Receiver<Update>, _commands: Commands) {
        while let Some(update) = updates.recv().await {
            self.take(update);
        }
    }

    fn take(&mut self, update: Update) {
        match update {
            Update::ListPart { entries, .. } => {
                let objects = entries.into_iter().filter_map(|entry| match entry {
                    Listed::Object { object, .. } => Some(object.key()),
                    Listed::Unreadable(_) | Listed::Held { .. } => None,
                });
                let packets = self.packets(objects);
                self.listing.extend(packets.into_iter().map(|(packet, _)| packet));
            }
            Update::ListEnd { kinds } => {
                let parts = std::mem::take(&mut self.listing);
                self.be(self.shared.clone().states.listed(&self.state, &parts, kinds));
                kinds.iter().for_each(|kind| self.staged[kind.index()] = None);
            }
            Update::ListFailed { .. } => self.listing.clear(),
            Update::Changes(events) => {
                let keys = events.into_iter().map(|Event { change, .. }| change.key());
                for (packet, kinds) in self.packets(keys) {
                    self.change(&packet, kinds);
                }
            }
            Update::Told { kind, version, .. } => self.told(kind, version),
            Update::Reached { kind, version } => {
                let known = &mut self.resume.position.versions[kind.index()];
                *known = version.max(*known);
            }
            Update::Lineage { cluster_uid, epoch } => {
                let unknown = Position { epoch, ..Position::UNKNOWN };
                self.resume = Resume { cluster_uid, position: unknown, told: unknown, ..Resume::default() };
                self.staged = Default::default();
            }
            // Who asked may have gone.
            Update::Compare { digests, answer } => drop(answer.send(self.compare(&digests))),
            Update::Where { answer } => drop(answer.send(self.standing())),
            Update::Fresh { .. } => {
                self.verified = true;
                self.seat.proved.store(true, Ordering::Relaxed);
            }
            Update::Lost { .. } => self.seat.doubt(),
            Update::Holds(_) | Update::Audited { .. } | Update::Refused { .. } | Update::Link(_) => {}
        }
    }

    /// The packets that placeholders stand for, in their order, with the kinds that are stood for.
    ///
    /// # Panics
    /// A placeholder stands for nothing that came: this is broken.
    fn packets(&self, placeholders: impl Iterator<Item = Key>) -> Vec<(Arc<Packet>, Kinds)> {
        let mut packets: Vec<(Arc<Packet>, Kinds)> = Vec::new();
        for Key { kind, name, .. } in placeholders {
            let hash = u128::from_str_radix(&name, 16).expect("a placeholder's name is a hash");
            match packets.last_mut() {
                Some((packet, kinds)) if packet.hash == hash && !kinds.has(kind) => *kinds = kinds.with(kind),
                _ => {
                    let packet = self.inbox.take(hash).expect("what is told of has come");
                    packets.push((packet, Kinds::NONE.with(kind)));
                }
            }
        }
        packets
    }

    fn change(&mut self, packet: &Arc<Packet>, kinds: Kinds) {
        let mut now = Kinds::NONE;
        for kind in kinds.iter() {
            match &mut self.staged[kind.index()] {
                Some((_, waiting)) => waiting.push(packet.clone()),
                None => now = now.with(kind),
            }
        }
        if !now.is_empty() {
            self.be(self.shared.clone().states.changed(&self.state, packet, now));
        }
    }

    fn told(&mut self, kind: Kind, version: u64) {
        let known = self.resume.told.version(kind);
        let staged = &mut self.staged[kind.index()];
        if staged.is_none() && version < known {
            *staged = Some((known, Vec::new()));
        }
        if let Some((_, waiting)) = staged.take_if(|(until, _)| version >= *until) {
            let states = &self.shared.clone().states;
            let only = Kinds::NONE.with(kind);
            self.be(waiting
                .iter()
                .fold(self.state.clone(), |from, packet| states.changed(&from, packet, only)));
        }
        if version > known {
            self.resume.told.versions[kind.index()] = version;
            if kind == Kind::EndpointSlice {
                self.shared.arrivals.came(known, version);
            }
        }
    }

    fn compare(&self, digests: &[Option<Digest>; Kind::ALL.len()]) -> Comparison {
        let asked = || Kind::ALL.into_iter().filter(|kind| digests[kind.index()].is_some());
        let is_settled = |kind: &Kind| self.staged[kind.index()].is_none();
        let differs = |kind: &Kind| digests[kind.index()] != Some(self.state.digests[kind.index()]);
        let kinds: Kinds = asked().filter(|kind| is_settled(kind) && differs(kind)).collect();
        match (kinds.is_empty(), asked().all(|kind| is_settled(&kind))) {
            (false, _) => Comparison::Differs { kinds },
            (true, false) => Comparison::Unsettled,
            (true, true) => Comparison::Same,
        }
    }

    fn standing(&self) -> Standing {
        Standing {
            held: Digest::default(),
            resume: self.resume.clone(),
            digests: self.state.digests,
            complete: self.state.table.complete().intersection(self.kinds),
            verified: self.verified,
        }
    }

    /// This is what it has now.
    fn be(&mut self, state: Arc<State>) {
        self.state.clone_from(&state);
        *self.seat.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// An object that stands for others of its kind.
pub(super) fn placeholder(Key { kind, namespace, name }: Key) -> Object {
    let (labels, ports) = (|| [].into(), || [].into());
    match kind {
        Kind::Namespace => Object::Namespace(Namespace { name, labels: labels() }),
        Kind::Service => {
            let shape = Shape::Headless;
            Object::Service(Service { namespace, name, shape, ports: ports(), labels: labels() })
        }
        Kind::EndpointSlice => Object::EndpointSlice(EndpointSlice {
            namespace,
            name,
            service: "".into(),
            ports: ports(),
            endpoints: Endpoints::none(),
            labels: labels(),
        }),
        Kind::Pod => {
            let ip = std::net::Ipv4Addr::LOCALHOST.into();
            Object::Pod(Pod { namespace, name, ip, labels: labels() })
        }
    }
}
