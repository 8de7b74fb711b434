//! The loop of interception: beats, repairs, changes, and the end. `handover`: to and from other processes of the node.
//!
//! Runs on a thread of its own: no list of a cluster and no flood of queries may keep a beat waiting, and whatever
//! happens here must not keep an answer waiting.

mod handover;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use self::handover::LOOK;
use super::Endpoint;
use super::beat::{Act, Beat, Policy, Signs, Why};
use super::config::Mode;
use super::fallback::Fallback;
use super::keep::{Keeper, Kept};
use super::mark::{Marks, Say, Sent};
use super::metrics::{HandedTo, Measures};
use super::probe::{self, probe};
use super::section::{Report, Standing};
use super::watch::{Hint, Watch};
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
    /// How the kernel is told, where elements expire.
    marks: Option<Marks>,
    /// Whether all of it is ours.
    claim: Claim,
    /// Whether it ever was: who has had it asks nobody for it.
    had: bool,
    /// Whether all was well at the last beat, or would have been: who takes over has to renew at once.
    well: bool,
    /// When.
    beat: Beat,
    /// The times.
    policy: Policy,
    /// What the rest of the process says.
    hooks: Hooks,
    /// How it ends.
    end: End,
    /// What is counted.
    measures: Arc<Measures>,
    /// What operators see.
    report: Arc<Report>,
    /// All addresses, with the port.
    places: Vec<SocketAddr>,
    /// Whether something is known to be missing.
    suspect: bool,
    /// How often everything is looked at.
    look: Duration,
    /// When it was.
    looked: Option<Instant>,
    /// When to look for what node-cache had left; `None` once that was seen.
    clear_at: Option<Instant>,
    /// Whether it was said that tables cannot be made.
    said: bool,
}

impl Heart {
    /// One that never beat.
    pub fn new(
        means: Means,
        hooks: Hooks,
        end: End,
        look: Duration,
        measures: Arc<Measures>,
        report: Arc<Report>,
    ) -> Self {
        let Means { keeper, marks, claim } = means;
        let port = keeper.layout().port();
        let places = keeper.layout().addresses().iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        let policy = match keeper.rules().are_made_to_lead() {
            true => Policy::WITHOUT_EXPIRY,
            false => Policy::DEFAULT,
        };
        let (beat, had, well, suspect, looked) = (Beat::new(policy), false, false, true, None);
        let (clear_at, said) = (Some(Instant::now()), false);
        Self {
            keeper,
            marks,
            claim,
            had,
            well,
            beat,
            policy,
            hooks,
            end,
            measures,
            report,
            places,
            suspect,
            look,
            looked,
            clear_at,
            said,
        }
    }

    /// Beats until the process ends: withdraws or hands over when it is told to, holds connections until all sockets are
    /// closed, and gives back what it kept and what it has of it.
    pub async fn run(mut self, mut events: Watch) -> (Keeper, Claim) {
        let _ended = self.end.ending.clone().drop_guard();
        let mut ticks = interval(self.policy.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut endpoints, mut services) = (self.hooks.endpoints.clone(), self.hooks.services.clone());
        endpoints.mark_changed();
        services.mark_changed();
        let withdrawing = self.end.withdrawing.clone();
        loop {
            tokio::select! {
                biased;
                () = withdrawing.cancelled() => break,
                _ = ticks.tick() => self.beat().await,
                () = sleep(LOOK), if self.stands_by() => {
                    if self.takes() {
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
                hint = events.next() => self.heard(hint).await,
            }
        }
        self.withdraw_for_good().await;
        let closed = self.end.closed.clone();
        while closed.run_until_cancelled(ticks.tick()).await.is_some() {
            if self.claim.owns() && self.claim.is_asked() {
                self.hand_over(HandedTo::Successor);
            }
            self.hold();
        }
        (self.keeper, self.claim)
    }

    /// Everything that a beat is.
    async fn beat(&mut self) {
        let began = Instant::now();
        if !self.claim.owns() {
            // Invariant: nobody takes over who would not renew.
            self.well = self.signs(true).await.sick().is_none();
            if !self.takes() {
                return self.stand_by();
            }
        }
        self.measures.owns(true);
        if self.keeper.rules().mode() == Mode::Off {
            return self.carry(began).await;
        }
        if (self.hooks.ready)() && !self.keeper.has_adopted() {
            self.adopt().await;
        }
        if self.suspect || self.looked.is_none_or(|at| began.duration_since(at) >= self.look) {
            self.keep(began, Hint::Everything).await;
        }
        let signs = self.signs(self.keeper.has_adopted() && !self.suspect).await;
        self.well = signs.sick().is_none();
        let now = Instant::now();
        let act = self.beat.judge(now, &signs);
        let mut renewed = false;
        match act {
            Act::Renew | Act::Resumed => {
                let began = !self.beat.is_live();
                renewed = self.renew(now).await;
                if renewed && began {
                    tracing::info!(resumed = act == Act::Resumed, "queries are led here");
                }
            }
            Act::Skip(why) => {
                self.measures.skipped(&why);
                tracing::debug!(%why, "beat skipped");
                if !self.beat.is_live() {
                    self.report.set(Standing::Waiting(why));
                } else if self.keeper.rules().are_made_to_lead() {
                    // Nothing tells when such a rule is gone, and a probe then goes elsewhere: it is looked at before the
                    // next beat, which is in time.
                    self.suspect = true;
                }
            }
            Act::Withdrawn { why, pause } => {
                self.measures.withdrawn(Some(&why));
                tracing::warn!(%why, ?pause, "queries are led to the cluster's DNS until all is well again");
                // They expire in a moment; where this is possible it need not be waited for.
                if let Err(error) = self.keeper.withdraw().await {
                    tracing::debug!(%error, "withdrawing at once");
                }
                self.report.set(Standing::Out { why, pause });
            }
            Act::Rest { .. } => {}
        }
        if !self.beat.is_live() {
            self.keeper.settle(now).await;
        }
        self.measures.took(began.elapsed());
        // After what is due at once.
        self.clear(now).await;
        // Elements that live have just been renewed: they last until the other one has done what it has to.
        if self.claim.is_asked() && (renewed || !self.beat.is_live()) {
            self.hand_over(HandedTo::Successor);
        }
    }

    /// All that there is to do where nothing leads queries here: the addresses have to be there.
    async fn carry(&mut self, now: Instant) {
        if self.suspect || self.looked.is_none_or(|at| now.duration_since(at) >= self.look) {
            self.keep(now, Hint::Everything).await;
        }
        self.report.set(Standing::Carried);
        self.hooks.part.set(true);
        self.clear(now).await;
        if self.claim.is_asked() {
            self.hand_over(HandedTo::Successor);
        }
    }

    /// Where probes are sent. Without a rule that leads it here, one to an address of a Service goes to the cluster's DNS,
    /// whose answer tells nothing: such an address is led here on trust in the other signs, and asked from then on.
    fn asked(&self) -> Vec<SocketAddr> {
        let rules_lead = self.keeper.rules().are_made_to_lead() && !self.beat.is_live();
        let layout = self.keeper.layout();
        let tells = |place: &&SocketAddr| !rules_lead || layout.is_local(&place.ip());
        self.places.iter().filter(tells).copied().collect()
    }

    /// What is seen of this process, where links, addresses and rules are as `rules` says.
    async fn signs(&self, rules: bool) -> Signs {
        // Before the rules are there that keep them on the node, be they another process's, they would go to the
        // cluster's DNS.
        let kept_here = self.keeper.has_adopted() || self.claim.is_taken();
        let told = probe::Told::with(self.keeper.rules().mode());
        Signs {
            ready: (self.hooks.ready)(),
            unanswered: if kept_here { probe(&self.asked(), told, probe::LIMIT).await } else { None },
            silent: self.hooks.pulses.silent_at(self.policy.silent, &self.places),
            rules,
        }
    }

    /// Looks for what node-cache had left until it has been seen.
    async fn clear(&mut self, now: Instant) {
        if self.clear_at.is_some_and(|at| at <= now) {
            self.clear_at = (!self.keeper.clear().await).then_some(now + self.look);
        }
    }

    /// Tables are ours from now on. It is tried at every beat, and said once.
    async fn adopt(&mut self) {
        match self.keeper.adopt().await {
            Ok(()) => self.said = false,
            Err(error) if !std::mem::replace(&mut self.said, true) => {
                tracing::warn!(%error, "making the tables of interception failed; trying again at every beat");
            }
            Err(_) => {}
        }
    }

    /// Has all addresses live for a second more; whether they do. What turns out to be missing is put back at once.
    async fn renew(&mut self, now: Instant) -> bool {
        if !self.beat.is_live() && !self.keeper.lead(now).await {
            if !self.beat.is_out() {
                self.report.set(Standing::Waiting(Why::Rules));
            }
            return false;
        }
        if !self.send(Say::Beat) {
            self.suspect = true;
            self.keep(now, Hint::Everything).await;
            if self.suspect || !self.send(Say::Beat) {
                self.suspect = true;
                return false;
            }
        }
        self.beat.renewed(now);
        for place in &self.places {
            self.measures.live(&place.ip(), true);
        }
        self.report.set(Standing::Live);
        self.hooks.part.set(true);
        true
    }

    /// Says it of every address; whether every rule was there.
    fn send(&self, say: Say) -> bool {
        let Some(marks) = &self.marks else { return true };
        self.places.iter().fold(true, |all, place| match marks.send(place.ip(), say) {
            Sent::Renewed => all,
            Sent::Missing => false,
            Sent::Failed(error) => {
                tracing::debug!(%error, address = %place.ip(), "sending a beat");
                false
            }
        })
    }

    /// Something happened to what is kept.
    async fn heard(&mut self, hint: Hint) {
        if self.claim.owns() {
            self.keep(Instant::now(), hint).await;
        }
    }

    /// Looks, and puts back what is missing.
    async fn keep(&mut self, now: Instant, at: Hint) {
        let live = self.live();
        let kept = self.keeper.keep(now, at, &live).await;
        if at == Hint::Everything {
            self.looked = Some(now);
            self.suspect = kept == Kept::Broken;
        } else {
            self.suspect |= kept == Kept::Broken;
        }
    }

    /// The cluster's DNS answers there.
    async fn fall_back_to(&mut self, endpoints: &[Endpoint]) {
        // Only tables of our own send them anywhere.
        if self.keeper.rules().mode() != Mode::Nftables {
            return;
        }
        let fallback = Fallback::new(endpoints, self.keeper.layout().addresses());
        if fallback == self.keeper.layout().fallback {
            return;
        }
        let live = self.live();
        let kept = self.keeper.change(|layout| layout.fallback = fallback, &live).await;
        self.suspect |= kept == Kept::Broken;
        self.report.fallback(self.keeper.layout());
    }

    /// These addresses are a Service's.
    async fn set_services(&mut self, services: &[IpAddr]) {
        let mut wanted = self.keeper.layout().clone();
        if !wanted.set_services(services) {
            return;
        }
        let live = self.live();
        let kept = self.keeper.change(|layout| *layout = wanted, &live).await;
        self.suspect |= kept == Kept::Broken;
        self.report.fallback(self.keeper.layout());
    }

    /// The addresses that are live, as far as is known.
    fn live(&self) -> Vec<IpAddr> {
        if self.beat.is_live() { self.keeper.layout().addresses().to_vec() } else { Vec::new() }
    }

    /// Nothing new comes here from now on that another process does not answer.
    async fn withdraw_for_good(&mut self) {
        if self.claim.owns() && self.beat.is_live() {
            // Before anything expires: connections are held from here on.
            self.hold();
        }
        if self.claim.owns() && !self.is_taken_over().await && self.beat.is_live() {
            if let Err(error) = self.keeper.withdraw().await {
                tracing::warn!(%error, "withdrawing failed; it takes a second instead");
                sleep(super::layout::LIFE).await;
            }
            self.measures.withdrawn(None);
        }
        if !self.claim.owns() {
            // Whoever waits for them must not wait behind one that ends.
            self.claim.give_up();
        }
        self.beat.given_up();
        self.report.set(Standing::Ended);
        self.end.withdrawn.cancel();
    }

    /// Connections stay here for a second more.
    fn hold(&self) {
        if self.claim.owns() {
            self.send(Say::Hold);
        }
    }
}
