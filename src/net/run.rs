//! The loop of interception: beats, repairs, changes, and the end.
//!
//! * here: the loop, and what a beat is.
//! * `renew`: how addresses are led here, and what becomes of it when they cannot be. `renewals`: the datagrams.
//! * `changes`: other addresses, other endpoints, other Services.
//! * `tenure`, `handover`: to and from other processes of the node.
//! * `chores`: what is due besides.
//!
//! Runs on a thread of its own: no list of a cluster and no flood of queries may keep a beat waiting, and whatever
//! happens here must not keep an answer waiting. What may itself take longer than an element lives is done
//! [beside](super::beside) it.

mod changes;
mod chores;
mod handover;
mod renew;
mod renewals;
mod tenure;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::chores::Chores;
use self::handover::LOOK;
use self::renewals::Renewals;
use self::tenure::Tenure;
use super::beat::{Act, Beat, Policy, Signs};
use super::beside::{Beside, Change};
use super::config::Mode;
use super::keep::Keeper;
use super::mark::{Marks, Say};
use super::metrics::{HandedTo, Measures};
use super::probe::{self, probe};
use super::section::{Report, Standing};
use super::watch::{Hint, Watch};
use super::{Endpoint, THREAD};
use crate::ops::ownership::Claim;
use crate::ops::pulse::Pulses;
use crate::ops::readiness::Handle;

/// What the loop hears of the rest of the process.
pub struct Hooks {
    /// Signs of life of everybody who answers.
    pub pulses: Pulses,
    /// Whether the process may answer: it has data, and has passed its own check.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// Where the cluster's DNS answers.
    pub endpoints: watch::Receiver<Arc<[Endpoint]>>,
    /// Which addresses are a Service's.
    pub services: watch::Receiver<Arc<[IpAddr]>>,
    /// The part that is ready once queries are led here.
    pub part: Handle,
}

/// What it works with.
pub struct Means {
    /// What has to be there.
    pub keeper: Keeper,
    /// How the kernel is told, where elements expire.
    pub marks: Option<Marks>,
    /// Whether all of it is ours.
    pub claim: Claim,
    /// What is done beside the beat.
    pub beside: Beside,
}

/// What is seen of it.
#[derive(Clone)]
pub struct Shown {
    /// What is counted.
    pub measures: Arc<Measures>,
    /// What operators see.
    pub report: Arc<Report>,
}

impl Shown {
    /// Whether these addresses live.
    fn live(&self, places: &[SocketAddr], lives: bool) {
        places.iter().for_each(|place| self.measures.live(&place.ip(), lives));
    }
}

/// How it ends, step by step.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// To be cancelled when nothing beats any more, whatever the reason: then nothing is withdrawn either, and the process
    /// is better begun anew.
    pub ending: CancellationToken,
    /// Cancelled when queries must no longer be led here.
    pub withdrawing: CancellationToken,
    /// To be cancelled once they are not.
    pub withdrawn: CancellationToken,
    /// Cancelled when every socket is closed.
    pub closed: CancellationToken,
}

/// What beats.
pub struct Heart {
    /// What has to be there.
    keeper: Keeper,
    /// How the kernel is told that addresses are answered at.
    renewals: Renewals,
    /// Whether all of it is ours.
    tenure: Tenure,
    /// When.
    beat: Beat,
    /// What is due besides.
    chores: Chores,
    /// What is done elsewhere meanwhile.
    beside: Beside,
    /// What the rest of the process says.
    hooks: Hooks,
    /// How it ends.
    end: End,
    /// What is seen of it.
    shown: Shown,
}

impl Heart {
    /// One that never beat, and looks at everything every `look`.
    pub fn new(means: Means, hooks: Hooks, end: End, shown: Shown, look: Duration) -> Self {
        let Means { mut keeper, marks, claim, beside } = means;
        // A withdrawal does not wait for a program that makes what is about to be deleted.
        keeper.until(end.withdrawing.clone());
        let policy = match keeper.rules().are_made_to_lead() {
            true => Policy::WITHOUT_EXPIRY,
            false => Policy::DEFAULT,
        };
        Self {
            renewals: Renewals::new(marks, keeper.layout()),
            keeper,
            tenure: Tenure::new(claim),
            beat: Beat::new(policy),
            chores: Chores::new(look),
            beside,
            hooks,
            end,
            shown,
        }
    }

    /// Beats until the process ends: withdraws or hands over when it is told to, holds connections until all sockets are
    /// closed, and gives back what it kept and what it has of it.
    pub async fn run(mut self, mut events: Watch) -> (Keeper, Claim) {
        let _ended = self.end.ending.clone().drop_guard();
        let Policy { period, stuck, .. } = *self.beat.policy();
        let pulse = self.hooks.pulses.register_thread(THREAD, stuck);
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut endpoints, mut services) = (self.hooks.endpoints.clone(), self.hooks.services.clone());
        endpoints.mark_changed();
        services.mark_changed();
        let withdrawing = self.end.withdrawing.clone();
        loop {
            pulse.beat();
            tokio::select! {
                biased;
                () = withdrawing.cancelled() => break,
                _ = ticks.tick() => self.beat().await,
                () = sleep(LOOK), if self.tenure.stands_by() => {
                    if self.takes().await {
                        // Nobody renews anything before this.
                        self.beat().await;
                        ticks.reset();
                    }
                }
                Ok(()) = endpoints.changed() => {
                    let now = endpoints.borrow_and_update().clone();
                    self.fall_back_to(&now).await;
                }
                Ok(()) = services.changed() => {
                    let now = services.borrow_and_update().clone();
                    self.set_services(&now).await;
                }
                change = self.beside.changed() => match change {
                    Change::Usable => self.look_around().await,
                    Change::Iptables => self.chores.heard(Instant::now(), Hint::Iptables),
                    Change::Died(error) => {
                        tracing::error!(%error, "a task of interception has died; the process ends and is begun anew");
                        self.end.ending.cancel();
                    }
                },
                // Before more of them are read: they cannot put it off.
                () = until(self.chores.follows_at()) => self.follow().await,
                hint = events.next() => self.chores.heard(Instant::now(), hint),
            }
        }
        self.withdraw_for_good().await;
        let closed = self.end.closed.clone();
        while closed.run_until_cancelled(ticks.tick()).await.is_some() {
            pulse.beat();
            if self.tenure.owns() && self.tenure.is_asked() {
                self.hand_over(HandedTo::Successor);
            }
            self.hold();
        }
        self.beside.end().await;
        (self.keeper, self.tenure.into_claim())
    }

    /// Everything that a beat is.
    async fn beat(&mut self) {
        let began = Instant::now();
        if !self.tenure.owns() {
            // Invariant: nobody takes over who would not renew.
            let signs = self.signs(self.beside.may_come()).await;
            self.tenure.saw(signs.sick());
            if !self.takes().await {
                return self.stand_by();
            }
        }
        self.shown.measures.owns(true);
        self.beside.owns(true);
        let leads = self.keeper.rules().mode() != Mode::Off;
        if leads && (self.hooks.ready)() && !self.keeper.has_adopted() {
            self.adopt().await;
        }
        let looks = self.chores.is_look_due(began);
        // Where nothing is known to be missing, what lives is renewed first: a look may take its time.
        let looks_first = self.chores.is_suspect() || !self.beat.is_live();
        if looks && looks_first {
            self.keep(began, Hint::Everything).await;
        }
        let renewed = if leads { self.judge(looks).await } else { self.carry() };
        if leads {
            self.shown.measures.took(began.elapsed());
        }
        if !self.tenure.owns() {
            // It made way: the rest is not ours to look at.
            return;
        }
        if looks {
            // After what is due at once.
            if !looks_first {
                self.keep(began, Hint::Everything).await;
            }
            if self.chores.asks_others(began) {
                self.beside.look();
            }
            self.look_around().await;
        }
        // Elements that live have just been renewed: they last until the other one has done what it has to.
        if self.tenure.is_asked() && (renewed || !self.beat.is_live()) {
            self.hand_over(HandedTo::Successor);
        }
    }

    /// All that there is to do where nothing leads queries here: the addresses have to be there. Nothing is renewed.
    fn carry(&self) -> bool {
        self.shown.report.set(Standing::Carried);
        self.hooks.part.set(true);
        false
    }

    /// Does what the signs say; whether all addresses live for a second more. `looked`: everything is looked at
    /// in this beat.
    async fn judge(&mut self, looked: bool) -> bool {
        let rules = self.keeper.has_adopted() && !self.chores.is_suspect() && self.beside.may_lead();
        let signs = self.signs(rules).await;
        self.tenure.saw(signs.sick());
        let now = Instant::now();
        let mut renewed = false;
        let lapsed = self.beat.lapsed(now);
        match self.beat.judge(now, &signs) {
            Act::Renew | Act::Resumed => {
                if let Some(ago) = lapsed {
                    tracing::debug!(?ago, "a beat was late: queries were led to the cluster's DNS meanwhile");
                }
                renewed = self.renew(now, looked).await;
            }
            Act::Skip(why) => self.skip(why),
            Act::Withdrawn { why, pause } => self.withdraw(why, pause).await,
            Act::Rest { .. } => {}
        }
        if !self.beat.is_live() {
            self.keeper.settle(now).await;
            self.make_way().await;
        }
        renewed
    }

    /// Where probes are sent. Without a rule that leads it here, one to an address of a Service goes to the cluster's DNS,
    /// whose answer tells nothing: such an address is led here on trust in the other signs, and asked from then on.
    fn asked(&self) -> Vec<SocketAddr> {
        let rules_lead = self.keeper.rules().are_made_to_lead() && !self.beat.is_live();
        let layout = self.keeper.layout();
        let tells = |place: &&SocketAddr| !rules_lead || layout.is_local(&place.ip());
        self.renewals.places().iter().filter(tells).copied().collect()
    }

    /// What is seen of this process, where links, addresses and rules are as `rules` says.
    async fn signs(&self, rules: bool) -> Signs {
        // Before the rules are there that keep them on the node, be they another process's, they would go to the
        // cluster's DNS.
        let kept_here = self.keeper.has_adopted() || self.tenure.is_taken();
        let told = probe::Told::with(self.keeper.rules().mode());
        Signs {
            ready: (self.hooks.ready)(),
            unanswered: if kept_here { probe(&self.asked(), told, probe::LIMIT).await } else { None },
            silent: self.hooks.pulses.silent_at(self.beat.policy().silent, self.renewals.places()),
            rules,
        }
    }

    /// Tables are ours from now on. It is tried at every beat, and said once.
    async fn adopt(&mut self) {
        match self.keeper.adopt().await {
            Ok(()) => self.chores.made(),
            Err(error) => {
                if self.chores.says_failure() {
                    tracing::warn!(%error, "making the tables of interception failed; trying again at every beat");
                }
            }
        }
    }

    /// Something happened to what is kept: looks where events point to.
    async fn follow(&mut self) {
        let now = Instant::now();
        if let Some(hint) = self.chores.follow(now)
            && self.tenure.owns()
        {
            self.keep(now, hint).await;
            if hint == Hint::Iptables && self.keeper.rules().are_made_to_lead() {
                // At the next beat, once for all that happens until then.
                self.chores.suspect();
            }
            // Who takes our tables away may have taken more.
            self.beside.look();
        }
    }

    /// Looks, and puts back what is missing.
    async fn keep(&mut self, now: Instant, at: Hint) {
        let live = self.live();
        let kept = self.keeper.keep(now, at, &live).await;
        self.chores.looked(now, at, kept);
    }

    /// The addresses that are live, as far as is known.
    fn live(&self) -> Vec<IpAddr> {
        if self.beat.is_live() { self.keeper.layout().addresses().to_vec() } else { Vec::new() }
    }

    /// Nothing new comes here from now on that another process does not answer.
    async fn withdraw_for_good(&mut self) {
        if self.tenure.owns() && self.beat.is_live() {
            // Before anything expires: connections are held from here on.
            self.hold();
        }
        // Rules that do not expire may be there though nothing was said to be led here, and elements that another process
        // has left.
        let leads = self.keeper.rules().mode() != Mode::Off;
        if self.tenure.owns() && !self.is_taken_over().await && leads {
            if let Err(error) = self.keeper.withdraw().await {
                tracing::warn!(%error, "withdrawing failed; it takes a second instead");
                sleep(super::layout::LIFE).await;
            }
            if self.beat.is_live() {
                self.shown.measures.withdrawn(None);
            }
        }
        if !self.tenure.owns() {
            // Whoever waits for them must not wait behind one that ends.
            self.tenure.give_up();
        }
        self.beat.given_up();
        self.shown.report.set(Standing::Ended);
        self.end.withdrawn.cancel();
    }

    /// Connections stay here for a second more.
    fn hold(&self) {
        if self.tenure.owns() {
            self.renewals.say(Say::Hold);
        }
    }
}

/// Waits until then; for ever without a time.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
