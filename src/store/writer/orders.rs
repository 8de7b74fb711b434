//! What operators have ordered.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Command, Kinds, Writer};
use crate::snapshot::frozen::Mark;
use crate::source::Resume;
use crate::store::control::{Accepted, Frozen, Order, Past};
use crate::store::status::StoreStatus;
use crate::store::status::outcome::Outcome;
use crate::store::status::store::{Connected, Frozen as FrozenStatus, HoldStatus, MAX_EXAMPLES};
use crate::store::{self, Generation};
use crate::zone::object::Kind;

impl Writer {
    /// Does what is ordered. Whoever asked may have gone.
    pub(super) async fn obey(&mut self, order: Order) {
        match order {
            Order::Status(answer) => drop(answer.send(self.status())),
            Order::Accept(answer) => drop(answer.send(self.accept_all().await)),
            Order::AcceptKeys(keys) => self.accept_keys(keys).await,
            Order::Freeze(for_, answer) => drop(answer.send(self.freeze(for_))),
            Order::Rollback(past, for_, answer) => drop(answer.send(self.roll_back(*past, for_))),
            Order::Thaw(answer) => drop(answer.send(self.thaw())),
        }
    }

    async fn accept_all(&mut self) -> Accepted {
        let (holds, keys) = self.accept().await;
        if holds > 0 {
            tracing::warn!(holds, objects = keys.len(), "what was held back was accepted by an operator");
        }
        if let Some(uid) = self.refused.take() {
            let told = self.commands.as_ref().is_some_and(|to| to.try_send(Command::AcceptCluster).is_ok());
            let outcome = if told {
                Outcome::ClusterAccepted { uid }
            } else {
                self.refused = Some(uid);
                let why = "the source is busy: the other cluster was not accepted, try again".to_owned();
                Outcome::Failed { why }
            };
            return Accepted { outcome, keys };
        }
        let outcome = if holds == 0 {
            Outcome::NothingHeld
        } else {
            Outcome::Accepted { holds: holds as u64, objects: keys.len() as u64 }
        };
        Accepted { outcome, keys }
    }

    /// What is served stays; `None` if there is nothing.
    fn freeze(&mut self, for_: Duration) -> Option<Frozen> {
        let current = self.store.current().clone();
        if current.table.complete().is_empty() {
            return None;
        }
        let rolled_back_to = current.frozen.as_ref().and_then(|frozen| frozen.rolled_back_to);
        let age = self.store.age();
        Some(self.set_frozen(Generation::clone(&current), for_, age, rolled_back_to))
    }

    /// A snapshot is served; `None` if it lacks what is needed.
    fn roll_back(&mut self, past: Past, for_: Duration) -> Option<Frozen> {
        let Past { generation, table, header } = past;
        let lacks = self.wanted.kinds().intersection(Kinds::CORE).minus(table.complete());
        if !lacks.is_empty() || (self.wanted.labels && !header.labels) {
            return None;
        }
        let age = Duration::from_millis(self.clock.age_ms(header.proved_at_ms));
        let reached = Resume {
            cluster_uid: header.cluster_uid,
            position: header.position,
            told: header.told,
            ..Resume::default()
        };
        let next = Generation {
            table,
            number: self.store.current().number + 1,
            verified: self.data.verified,
            reached: Arc::new(reached),
            ..Generation::default()
        };
        Some(self.set_frozen(next, for_, age, Some(generation)))
    }

    /// Serves this and nothing else.
    fn set_frozen(
        &mut self,
        generation: Generation,
        for_: Duration,
        age: Duration,
        rolled_back_to: Option<u64>,
    ) -> Frozen {
        let frozen = self.frozen(Duration::ZERO, for_, age, rolled_back_to);
        let until_ms = frozen.until_ms;
        let generation = Generation { frozen: Some(Arc::new(frozen)), ..generation };
        let mark = Mark { since_ms: self.clock.now_unix_ms(), until_ms, rolled_back_to };
        let header = self.keeper.as_ref().map(|keeper| keeper.header(&generation, age, &generation.reached));
        let until = humantime(for_);
        match rolled_back_to {
            Some(snapshot) => tracing::warn!(snapshot, %until, "frozen by an operator: a snapshot is served"),
            None => tracing::warn!(%until, "frozen by an operator: what is served stays"),
        }
        self.store.publish(generation);
        Frozen { generation: self.store.current().clone(), mark, header }
    }

    /// What was frozen so long ago, stays for so much longer, and was proved to be current so long ago.
    pub(super) fn frozen(
        &self,
        since: Duration,
        remaining: Duration,
        age: Duration,
        rolled_back_to: Option<u64>,
    ) -> store::Frozen {
        let (now, now_ms) = (Instant::now(), self.clock.now_unix_ms());
        store::Frozen {
            since: now.checked_sub(since).unwrap_or(now),
            until: now + remaining,
            until_ms: now_ms.saturating_add(u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX)),
            rolled_back_to,
            proved: self.store.proved_before(age),
        }
    }

    /// What was received is served again. Whether anything was frozen.
    fn thaw(&mut self) -> bool {
        let is_frozen = self.store.current().frozen.is_some();
        if is_frozen {
            tracing::warn!("thawed by an operator: what was received meanwhile is served");
            self.melt();
        }
        is_frozen
    }

    /// Ends what was frozen for long enough.
    pub(super) fn tick_frozen(&mut self) {
        if self.store.current().frozen.as_ref().is_some_and(|frozen| frozen.until <= Instant::now()) {
            tracing::warn!("its time is over, no longer frozen: what was received meanwhile is served");
            self.melt();
        }
    }

    /// Serves what was received.
    fn melt(&mut self) {
        self.data.number = self.data.number.max(self.store.current().number) + 1;
        self.store.publish(self.data.clone());
    }

    /// Everything that is known; zone and source are the configuration's to add.
    fn status(&self) -> StoreStatus {
        let now = Instant::now();
        let current = self.store.current().clone();
        let digests =
            Kind::ALL.map(|kind| (kind.as_str().to_owned(), current.received_digest(kind).to_string()));
        let shown = self.holds.shown();
        let holds = shown.iter().map(|hold| HoldStatus {
            id: hold.id,
            why: hold.why.to_string(),
            objects: hold.objects as u64,
            held_s: now.saturating_duration_since(hold.since).as_secs(),
            remaining_s: hold.until.saturating_duration_since(now).as_secs(),
            postponed: hold.postponed,
            examples: {
                let of = self.data.held.iter().filter(|object| object.hold() == hold.id);
                of.take(MAX_EXAMPLES).map(|object| object.key().to_string()).collect()
            },
        });
        let frozen = current.frozen.as_ref().map(|frozen| FrozenStatus {
            since_s: now.saturating_duration_since(frozen.since).as_secs(),
            remaining_s: frozen.until.saturating_duration_since(now).as_secs(),
            rolled_back_to: frozen.rolled_back_to,
        });
        let connected = self.link.peer.as_ref().map(|peer| Connected {
            address: peer.address.to_string(),
            release: peer.release.clone(),
            name: peer.name.clone(),
            since_s: now.saturating_duration_since(peer.since).as_secs(),
            unwell: self.link.unwell.clone(),
        });
        StoreStatus {
            lost: self.lost.clone(),
            connected,
            mismatch: self.link.mismatch.clone(),
            refused_cluster: self.refused.clone(),
            digests: digests.into(),
            holds: holds.collect(),
            frozen,
            snapshot: self.keeper.as_ref().map(|keeper| keeper.status()).unwrap_or_default(),
            ..StoreStatus::read(&self.store, self.wanted.kinds(), self.limits)
        }
    }
}

/// A duration for people, in whole seconds.
fn humantime(time: Duration) -> String {
    crate::ops::age::Age(time).to_string()
}
