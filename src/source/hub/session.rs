//! One hub, from the first word to the last.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use super::apply::{Apply, Ended};
use super::dialling::{Dialled, Dialling};
use super::left::Left;
use super::mending::{Came, Mending};
use super::metrics::HubMetrics;
use super::pulse::{Due, Pulse};
use super::standing::{Standing, WrongHubs};
use super::transport::Link;
use super::verify::{Leaves, Verdict};
use crate::feed::digests::Digests;
use crate::feed::frame::{
    Batch, Frame, Heartbeat, PROTOCOL, Plan, Reply, Request, State, Subscription, Welcome,
};
use crate::feed::wire::FollowReply;
use crate::ops::metrics::BuildInfo;
use crate::source::command::{Command, Commanded};
use crate::source::{Comparison, Peer, Update};
use crate::zone::object::Kinds;

/// How long the first reply may take: the hub answers a subscription from memory.
const WELCOME_LIMIT: Duration = Duration::from_secs(10);

/// Between two comparisons of digests after changes; each heartbeat is compared, too.
pub(super) const COMPARE_EVERY: Duration = Duration::from_secs(1);

/// The least time between two whole states that the store asks for.
const RELIST_EVERY: Duration = Duration::from_secs(60);

/// How many times as patient a follower is while a whole state comes than with a hub that is behind or stale: by then
/// thousands of followers have had theirs.
const WHOLE_PATIENCE: u32 = 4;

/// The longest time over which a hub may spread its followers' going: longer, and it is gone before.
const MAX_MOVE: Duration = Duration::from_secs(120);

/// What one step of a session has come to.
pub(super) enum Step {
    /// Nothing that matters to others.
    Nothing,
    /// The state was proved.
    Proved {
        /// Whether the hub is live.
        live: bool,
    },
    /// Every hub there is.
    Hubs(Vec<SocketAddr>),
    /// What the hub tells does not lead to what it says it has: it is time to go to another one, if that can be reached.
    Wrong {
        /// Whether that may be one that was alarmed about, too.
        turn_of_wrong: bool,
    },
    /// Another hub was dialled meanwhile.
    Dialled(Dialled),
}

/// The other hubs there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Others {
    /// How long this one may be behind or stale.
    pub(super) patience: Duration,
    /// Whether one of them was not alarmed about.
    pub(super) untried: bool,
}

/// One hub that is followed.
pub(super) struct Session<'a> {
    /// Its address.
    hub: SocketAddr,
    /// Its stream.
    link: Link,
    /// What outlives the session.
    standing: &'a mut Standing,
    /// To the store.
    updates: &'a Sender<Update>,
    /// The store; `None` before the subscription.
    apply: Option<Apply<'a>>,
    /// What the next whole state is to mend.
    mending: Mending,
    /// When the welcome has to have come, while it is awaited.
    welcome_by: Option<Instant>,
    /// Whether a welcome has come at all.
    welcomed: bool,
    /// The kinds of which the hub tells changes, while no digest of theirs was the same since. What it tells leads from one
    /// state that it had to the next; where ours is one between those, or one that a restore has undone, what was changed
    /// and changed back is not among its changes.
    resumed: Kinds,
    /// Pings and heartbeats.
    pulse: Pulse,
    /// When digests were last compared.
    compared: Option<Instant>,
    /// When a whole state was last asked for by the store.
    relisted: Option<Instant>,
    /// When to go, if the hub has asked for it.
    move_at: Option<Instant>,
    /// When the whole state began that is on its way.
    whole_since: Option<Instant>,
    /// Since when the hub is behind or stale, and why it is left for that.
    unwell: Option<(Instant, Left)>,
    /// When the hub is left because its state and its digests differ, where there is another one.
    leaves: Option<Leaves>,
    /// State of the hub's data, as it was last said.
    state: Option<State>,
}

impl<'a> Session<'a> {
    /// Nothing has been said yet.
    pub(super) fn new(
        hub: SocketAddr,
        link: Link,
        standing: &'a mut Standing,
        updates: &'a Sender<Update>,
    ) -> Self {
        Self {
            hub,
            link,
            standing,
            updates,
            apply: None,
            mending: Mending::default(),
            welcome_by: None,
            welcomed: false,
            resumed: Kinds::NONE,
            pulse: Pulse::new(Instant::now()),
            compared: None,
            relisted: None,
            move_at: None,
            whole_since: None,
            unwell: None,
            leaves: None,
            state: None,
        }
    }

    /// Subscribes from where the store is; for the whole state if digests differed.
    pub(super) async fn subscribe(&mut self, why: &str) -> Result<(), Left> {
        let now = Instant::now();
        self.standing.verify.begin(self.standing.wrong.has(self.hub, now), now);
        match self.standing.verify.wants_whole() {
            Some(kinds) => self.mend(kinds, why).await,
            None => self.ask(false, why).await,
        }
    }

    /// The hubs that were alarmed about, and have not vouched for anything since.
    pub(super) const fn wrong(&self) -> &WrongHubs {
        &self.standing.wrong
    }

    /// What is counted of hubs.
    pub(super) const fn metrics(&self) -> &HubMetrics {
        &self.standing.metrics
    }

    /// Asks for the whole state, to mend these kinds.
    async fn mend(&mut self, kinds: Kinds, why: &str) -> Result<(), Left> {
        self.mending.begin(kinds);
        self.ask(true, why).await
    }

    async fn ask(&mut self, whole: bool, why: &str) -> Result<(), Left> {
        if let Some(apply) = &mut self.apply {
            apply.whole_failed().await?;
        }
        self.whole_since = None;
        let view = self.standing.view;
        let (apply, store) = Apply::begin(self.updates, view).await?;
        if whole {
            self.mending.asked(view.kinds());
        }
        let has = view.kinds().intersection(store.complete);
        let subscription = Subscription {
            protocol: PROTOCOL,
            view,
            node: self.standing.name.clone(),
            release: BuildInfo::CURRENT.version.to_owned(),
            cluster_uid: apply.uid().to_owned(),
            position: *apply.told(),
            // A hub that differs in what is known to be wrong need not send all of it each time: whoever waits says when.
            digests: Digests::of(has, |kind| store.digests[kind.index()])
                .without(self.standing.verify.alarmed()),
            held: store.held,
            whole,
            why: why.to_owned(),
        };
        self.apply = Some(apply);
        if !self.link.send(Request::Subscribe(Box::new(subscription))) {
            return Err(Left::Silent("room for a subscription"));
        }
        self.welcome_by = Some(Instant::now() + WELCOME_LIMIT);
        Ok(())
    }

    /// Whether what it tells leads to what it says it has, as far as is known.
    pub(super) fn is_trusted(&self) -> bool {
        self.standing.verify.is_trusted()
    }

    /// It is wrong, and followed for some more time: until another one is reached, or because none can be.
    pub(super) fn stays(&mut self) {
        self.leaves = self.standing.verify.leaves_again(Instant::now(), &self.standing.jitter);
    }

    /// There are other hubs than before: all that are at a hub that is wrong hear of it in the same moment.
    pub(super) fn others_changed(&mut self) {
        if self.leaves.is_some() {
            self.leaves = self.standing.verify.leaves(Instant::now(), &self.standing.jitter);
        }
    }

    /// The next thing that happens; `others` where there are any, one of which may be `dialling`.
    pub(super) async fn step(
        &mut self,
        commanded: &mut Commanded,
        others: Option<Others>,
        dialling: &mut Dialling,
    ) -> Result<Step, Left> {
        let patience = others.map(|others| others.patience);
        let impatient = self.unwell.as_ref().zip(patience).map(|((since, _), patience)| *since + patience);
        let slow = self.whole_since.zip(patience).map(|(since, patience)| since + patience * WHOLE_PATIENCE);
        let leaves = self.leaves.zip(others);
        let wrong = leaves.map(|(leaves, others)| if others.untried { leaves.soon } else { leaves.late });
        let timers = [
            Some(self.pulse.at()),
            self.welcome_by,
            self.move_at,
            self.mending.again_at(),
            impatient,
            slow,
            wrong,
        ];
        let wake = timers.into_iter().flatten().min().unwrap_or_else(|| self.pulse.at());
        tokio::select! {
            reply = self.link.replies.next() => self.reply(reply).await,
            Some(command) = commanded.recv() => self.command(command).await,
            dialled = dialling.done() => Ok(Step::Dialled(dialled)),
            () = tokio::time::sleep_until(wake) => match self.wake(impatient, slow) {
                Ok(()) if wrong.is_some_and(|at| at <= Instant::now()) => Ok(Step::Wrong {
                    turn_of_wrong: self.leaves.is_some_and(|leaves| leaves.late <= Instant::now()),
                }),
                Ok(()) => self.again().await,
                Err(Left::Silent(what)) => self.last_look(what).await,
                Err(left) => Err(left),
            },
        }
    }

    /// Asks once more for what was to be mended, if it is time.
    async fn again(&mut self) -> Result<Step, Left> {
        if self.mending.again_at().is_some_and(|at| at <= Instant::now()) {
            self.ask(true, "the whole state was behind what is served").await?;
        }
        Ok(Step::Nothing)
    }

    /// A hub that is silent may be one that we did not hear while the store was busy.
    async fn last_look(&mut self, what: &'static str) -> Result<Step, Left> {
        match self.link.replies.next().now_or_never() {
            Some(reply) => self.reply(reply).await,
            None => Err(Left::Silent(what)),
        }
    }

    /// Takes the next reply, or the end of the stream.
    async fn reply(&mut self, reply: Option<Result<FollowReply, Left>>) -> Result<Step, Left> {
        let reply = reply.unwrap_or_else(|| Err(Left::Closed("the hub has ended it".to_owned())))?;
        self.pulse.heard(Instant::now());
        self.standing.metrics.received(&reply);
        let reply = Reply::try_from(reply).map_err(|e| Left::Garbage(e.to_string()))?;
        self.take(reply).await
    }

    /// The session is over: what has come of a whole state counts for nothing.
    pub(super) async fn end(mut self) {
        if let Some(apply) = &mut self.apply {
            // Who would take it may have gone.
            let _ = apply.whole_failed().await;
        }
    }

    /// Some time has come.
    fn wake(&mut self, impatient: Option<Instant>, slow: Option<Instant>) -> Result<(), Left> {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.move_at) {
            return Err(Left::Moved);
        }
        if is_due(impatient)
            && let Some((_, left)) = self.unwell.take()
        {
            return Err(left);
        }
        if is_due(slow) {
            return Err(Left::Slow);
        }
        // Ahead of the welcome's limit: it notices that this process was stopped, and that nothing was heard for that.
        match self.pulse.due(now, &self.standing.jitter) {
            Due::Nothing => {}
            Due::Ping(nonce) => {
                // Where there is no room the hub takes nothing, and will be silent.
                let _ = self.link.send(Request::Ping { nonce });
            }
            Due::Silent => return Err(Left::Silent("heartbeat")),
        }
        if is_due(self.welcome_by) {
            return Err(Left::Silent("reply to the subscription"));
        }
        Ok(())
    }

    async fn command(&mut self, command: Command) -> Result<Step, Left> {
        match command {
            Command::Relist { kinds, .. } => {
                let now = Instant::now();
                if self.relisted.is_none_or(|at| now >= at + RELIST_EVERY) {
                    self.relisted = Some(now);
                    self.mend(kinds, "the store has asked for it").await?;
                }
            }
            // This hub may be of our cluster; the one that is meant is next then, unless our own data is proved first.
            Command::AcceptCluster => drop(self.standing.accept()),
            // Epochs are noticed where lists are made.
            Command::BeginEpoch(_) => {}
        }
        Ok(Step::Nothing)
    }

    /// Takes what the hub says.
    async fn take(&mut self, reply: Reply) -> Result<Step, Left> {
        let frame = match reply {
            Reply::Frame(frame) => frame,
            Reply::Heartbeat(heartbeat) => return self.heartbeat(heartbeat).await,
            Reply::Unknown => return Ok(Step::Nothing),
        };
        let accepted = self.standing.accepted.clone();
        let Some(apply) = &mut self.apply else { return Err(Left::garbage("a reply to nothing")) };
        if !self.welcomed && matches!(&frame, Frame::WholeBegin(_) | Frame::Batch(_)) {
            return Err(Left::garbage("a state without a welcome"));
        }
        let is_state = matches!(
            &frame,
            Frame::WholeBegin(_) | Frame::WholePart(_) | Frame::WholeEnd(_) | Frame::Batch(_)
        );
        if self.welcomed && self.welcome_by.is_some() && is_state {
            // Between a subscription and its welcome: that is about the one before.
            return Ok(Step::Nothing);
        }
        match frame {
            Frame::Welcome(welcome) => self.welcome(&welcome).await?,
            Frame::WholeBegin(begin) => {
                if let Err(left) = apply.check_cluster(&begin.cluster_uid, accepted.as_deref()) {
                    return Err(self.foreign(left).await);
                }
                apply.whole_begin(&begin).await?;
                self.standing.metrics.wholes.increment(1);
                self.whole_since = Some(Instant::now());
            }
            Frame::WholePart(entries) => {
                apply.whole_part(entries).await?;
                self.pulse.busy(Instant::now());
            }
            Frame::WholeEnd(end) => {
                self.whole_since = None;
                let passed_over = apply.passed_over();
                let taken = apply.kinds().minus(passed_over);
                let comparison = match apply.whole_end(end).await? {
                    Ended::Taken(comparison) => comparison,
                    Ended::Broken(kinds) => Some(Comparison::Differs { kinds }),
                };
                self.resumed = passed_over;
                self.standing.confirmed = self.standing.confirmed.minus(taken);
                // Until then nobody knows how old it is.
                self.pulse.soon(Instant::now());
                match self.mending.came(passed_over, Instant::now()) {
                    Came::Taken => {}
                    Came::Overtaken => return Ok(Step::Nothing),
                    Came::Behind => return Err(Left::Behind),
                }
                if comparison.is_none() {
                    let wanted = self.standing.verify.wants_whole().unwrap_or(passed_over);
                    self.uncomparable(wanted.intersection(passed_over).is_empty()).await?;
                }
                self.compared(comparison, taken).await?;
            }
            Frame::Batch(batch) => {
                self.standing.metrics.batches.increment(1);
                let (digests, position) = (batch.digests, batch.position);
                // What is wrong will not lead to these, and waits for nothing.
                let batch = Batch { digests: digests.without(self.standing.verify.alarmed()), ..batch };
                let changed = batch.entries.iter().map(|entry| entry.change.kind()).collect();
                self.standing.confirmed = self.standing.confirmed.minus(changed);
                if let Err(left) = apply.batch(batch, accepted.as_deref()).await {
                    return Err(self.foreign(left).await);
                }
                if let Some(position) = &position {
                    self.mending.hears(apply.behind(position));
                }
                let now = Instant::now();
                if let Some(position) = position
                    && (!self.resumed.is_empty() || self.compared.is_none_or(|at| now >= at + COMPARE_EVERY))
                {
                    let kinds = apply.comparable(&position);
                    let comparison = apply.compare(&digests, kinds).await?;
                    let was_wrong = !self.is_trusted();
                    self.compared(comparison, kinds).await?;
                    if was_wrong && self.is_trusted() {
                        // Nobody knows how old it is until then.
                        self.pulse.soon(now);
                    }
                }
            }
            Frame::Hubs(hubs) => return Ok(Step::Hubs(hubs)),
            Frame::Move { within } => {
                let within = self.standing.jitter.full(within.min(MAX_MOVE));
                tracing::info!(hub = %self.hub, ?within, "the hub stops and is left soon");
                self.move_at.get_or_insert(Instant::now() + within);
            }
            Frame::RetryAfter { after, why } => return Err(Left::RetryAfter { after, why }),
            Frame::Refused { why } => return Err(Left::Refused(why)),
            Frame::Unknown => {}
        }
        Ok(Step::Nothing)
    }

    async fn welcome(&mut self, welcome: &Welcome) -> Result<(), Left> {
        let Some(apply) = &mut self.apply else { return Err(Left::garbage("a welcome to nobody")) };
        if let Err(left) = apply.check_cluster(&welcome.cluster_uid, self.standing.accepted.as_deref()) {
            return Err(self.foreign(left).await);
        }
        let ours = !welcome.cluster_uid.is_empty() && welcome.cluster_uid == apply.uid();
        if ours && welcome.epoch < apply.told().epoch && welcome.plan != Plan::Wait {
            return Err(Left::Behind);
        }
        self.welcome_by = None;
        self.resumed = Kinds::NONE;
        // What is known to be wrong would never lead to what the hub has, and is not to stand still until a whole state comes.
        if welcome.plan == Plan::Changes && self.standing.verify.alarmed().is_empty() {
            self.resumed = apply.kinds();
            apply.resume().await?;
        }
        if !std::mem::replace(&mut self.welcomed, true) {
            tracing::info!(hub = %self.hub, name = welcome.hub, release = welcome.release, plan = ?welcome.plan,
                "following hub");
            self.standing.metrics.connected(Some(self.hub));
            if self.standing.labels && !welcome.labels {
                tracing::warn!(hub = %self.hub, "the hub has no labels, and selectors of this node need them");
            }
            if self.standing.view.pods && !welcome.pods {
                tracing::warn!(hub = %self.hub, "the hub has no pods, and this node needs them");
            }
            let (name, release) = (welcome.hub.clone(), welcome.release.clone());
            let peer = Peer { address: self.hub, name, release, since: Instant::now() };
            self.standing.tell(self.updates, |link| link.peer = Some(peer)).await?;
            if self.standing.wrong.is_another(self.hub, &welcome.hub) {
                self.another().await?;
            }
        }
        Ok(())
    }

    /// What was alarmed about at this address is there no more: nobody has been about this hub.
    async fn another(&mut self) -> Result<(), Left> {
        self.standing.wrong.remove(self.hub);
        if self.standing.verify.alarmed().is_empty() {
            return Ok(());
        }
        self.standing.verify.begin(false, Instant::now());
        match self.standing.verify.wants_whole() {
            Some(kinds) => self.mend(kinds, "the hub was started anew since it was wrong").await,
            None => Ok(()),
        }
    }

    /// Takes note of a cluster that is refused, once.
    async fn foreign(&mut self, left: Left) -> Left {
        if let Left::Foreign { uid, ours } = &left
            && self.standing.refused.as_ref() != Some(uid)
        {
            tracing::error!(hub = %self.hub, cluster_uid = %uid, %ours,
                "the hub is of another cluster and is not followed: check where it belongs, 'outlast ctl accept' \
                 follows it");
            self.standing.refused = Some(uid.clone());
            let refused = Update::Refused { cluster_uid: uid.clone() };
            if self.updates.send(refused).await.is_err() {
                return Left::Gone;
            }
        }
        left
    }

    async fn heartbeat(&mut self, heartbeat: Heartbeat) -> Result<Step, Left> {
        let Some(sent) = self.pulse.answered(heartbeat.nonce) else { return Ok(Step::Nothing) };
        let Some(apply) = &mut self.apply else { return Ok(Step::Nothing) };
        let live = heartbeat.state == State::Live;
        let is_unwell = match heartbeat.state {
            // Frozen data is an operator's order, and no reason to go where it does not hold.
            State::Live | State::Frozen => false,
            // Without a position the whole state is on its way, or we wait for it: at another hub we would stand at
            // the end of the queue.
            State::Stale => heartbeat.position.is_some(),
            State::Empty => true,
        };
        let mut unwell = is_unwell.then(|| Left::Stale { why: heartbeat.why.clone() });
        let mut proves = false;
        // Between a subscription and its welcome, what is said is about the one before.
        if let Some(position) = &heartbeat.position
            && self.welcome_by.is_none()
            && !apply.has_whole()
            && apply.holds_all(position)
        {
            let behind = apply.behind(position);
            self.mending.hears(behind);
            if !behind.is_empty() {
                unwell = Some(Left::Behind);
            }
            apply.at(position, &heartbeat.digests.without(self.standing.verify.alarmed())).await?;
            let kinds = apply.comparable(position);
            let unknown = apply.unknown_to(position);
            let comparison = apply.compare(&heartbeat.digests, kinds).await?;
            if comparison.is_none() && !kinds.is_empty() {
                self.uncomparable(false).await?;
            }
            self.compared(comparison, kinds).await?;
            // A hub that is behind has no digest that ours could be held to: another one's has to have been the same.
            proves = comparison.is_none_or(|comparison| comparison == Comparison::Same)
                && behind.minus(self.standing.confirmed).is_empty()
                && unknown.is_empty();
        }
        self.observe(&heartbeat);
        let why = (!live).then(|| heartbeat.why.clone());
        self.standing.tell(self.updates, |link| link.unwell = why).await?;
        self.unwell = match (unwell, self.unwell.take()) {
            (None, _) => None,
            (Some(left), Some((since, _))) => Some((since, left)),
            (Some(left), None) => Some((Instant::now(), left)),
        };
        // Invariant: a state that is wrong, or of which nobody knows, is not proved.
        let vouched = matches!(heartbeat.state, State::Live | State::Stale);
        if !proves || !vouched || !self.standing.verify.is_trusted() {
            if vouched && heartbeat.position.is_some() && self.standing.verify.alarmed().is_empty() {
                self.pulse.unproved(Instant::now(), &self.standing.jitter);
            }
            return Ok(Step::Nothing);
        }
        self.pulse.proved();
        self.standing.wrong.remove(self.hub);
        // What the hub had proved when we asked is no older than that.
        if let (Some(as_of), Some(apply)) = (sent.checked_sub(heartbeat.age), &mut self.apply) {
            apply.prove(as_of).await?;
            // What was accepted, or was not, is decided.
            (self.standing.refused, self.standing.accepted) = (None, None);
        }
        Ok(Step::Proved { live })
    }

    /// Says what the hub says of its data, when that changes.
    fn observe(&mut self, heartbeat: &Heartbeat) {
        let before = self.state.replace(heartbeat.state);
        if before == Some(heartbeat.state) {
            return;
        }
        match heartbeat.state {
            State::Live if before.is_none() => {}
            State::Live => tracing::info!(hub = %self.hub, "data of the hub is live again"),
            state => tracing::warn!(hub = %self.hub, ?state, age = ?heartbeat.age, why = heartbeat.why,
                ahead = heartbeat.ahead, "data of the hub is not live"),
        }
    }

    /// Takes the outcome of a comparison of digests of these kinds.
    async fn compared(&mut self, comparison: Option<Comparison>, kinds: Kinds) -> Result<(), Left> {
        let Some(comparison) = comparison.filter(|_| !self.mending.is_waiting()) else {
            return Ok(());
        };
        let now = Instant::now();
        self.compared = Some(now);
        self.standing.confirmed = match comparison {
            Comparison::Same => self.standing.confirmed.union(kinds),
            Comparison::Differs { .. } | Comparison::Unsettled => self.standing.confirmed.minus(kinds),
        };
        // Nothing is known to be wrong where ours may have been a state that the hub never had.
        let expected = match comparison {
            Comparison::Differs { kinds } => kinds.minus(self.resumed).is_empty(),
            _ => false,
        };
        if comparison == Comparison::Same {
            self.resumed = self.resumed.minus(kinds);
        }
        match self.standing.verify.compared(comparison, kinds, expected, now, &self.standing.jitter) {
            Verdict::Fine | Verdict::Unsettled => {}
            Verdict::Wrong if self.leaves.is_none() => self.stays(),
            Verdict::Wrong => {}
            Verdict::Healed => self.healed().await?,
            Verdict::AskWhole(kinds) if expected => {
                let names = names(kinds);
                tracing::info!(hub = %self.hub, kinds = %names,
                    "what was known came between two states of this hub: the whole state is asked for");
                self.mend(kinds, &format!("{names} came between two states")).await?;
            }
            Verdict::AskWhole(kinds) => {
                self.standing.metrics.mismatches.increment(1);
                let names = names(kinds);
                tracing::warn!(hub = %self.hub, kinds = %names,
                    "the state differs from the hub's although both are at the same position: the whole state is asked for");
                self.mend(kinds, &format!("digests of {names} differ")).await?;
            }
            Verdict::Alarm(kinds) => {
                self.standing.metrics.mismatches.increment(1);
                self.standing.metrics.alarm.set(1.0);
                self.leaves = self.standing.verify.leaves(now, &self.standing.jitter);
                let name =
                    self.standing.link.peer.as_ref().map_or_else(String::new, |peer| peer.name.clone());
                self.standing.wrong.insert(self.hub, name, now);
                tracing::error!(hub = %self.hub, kinds = %names(kinds),
                    "the state differs from the hub's even after a whole state: it is served and not vouched for, and another \
                     hub is asked; this is a bug, or something between the two changes what they say");
                self.standing.tell(self.updates, |link| link.mismatch = Some(names(kinds))).await?;
            }
        }
        Ok(())
    }

    /// The hub has said no digests; `whole` where all of its state was just taken.
    async fn uncomparable(&mut self, whole: bool) -> Result<(), Left> {
        let kinds = self.standing.view.kinds();
        match self.standing.verify.uncomparable(whole, kinds, Instant::now()) {
            Verdict::Healed => self.healed().await,
            Verdict::AskWhole(kinds) => {
                tracing::info!(hub = %self.hub,
                    "the state was not another hub's, and this one says no digests: the whole state is asked for");
                self.mend(kinds, "the state was not another hub's").await
            }
            // What nobody can compare is wrong for as long as it is held: another hub may say.
            _ if self.leaves.is_none() => {
                self.stays();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What was wrong is not any more.
    async fn healed(&mut self) -> Result<(), Left> {
        self.leaves = None;
        self.standing.metrics.alarm.set(0.0);
        self.standing.tell(self.updates, |link| link.mismatch = None).await?;
        tracing::info!(hub = %self.hub, "the state is what the hub has again");
        Ok(())
    }
}

/// For people.
fn names(kinds: Kinds) -> String {
    kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
}
