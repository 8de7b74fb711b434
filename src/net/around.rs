//! Who has which of the wanted addresses while we run, and what that means: said whenever it changes.
//!
//! A node that begins before its kubelet finds nobody who sends packets for Services on, and no data that say which
//! addresses are a Service's. Both come later, and may change.
//!
//! Invariant: only addresses that sockets were bound to at the start ever come back. One that was left to somebody else
//! then is left until the next start: nobody would answer at it.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::beside::Cue;
use super::config::{Config, Mode};
use super::detect::{GatherError, Signs};
use super::lookout::LEAST;
use super::metrics::Measures;
use super::promises::{Form, promises};
use super::sight::Sight;
use super::usable::{Seen, Usable, usable};

/// What a start has found.
pub struct Found {
    /// What looks.
    sight: Sight,
    /// Who sends packets for Services on.
    seen: Seen,
    /// The addresses that are known to be a Service's.
    services: Vec<IpAddr>,
    /// What becomes of the addresses.
    usable: Usable,
}

impl Found {
    /// Looks for the first time, with all that was seen.
    ///
    /// # Errors
    /// What cannot be listed.
    pub async fn look(config: &Config) -> Result<(Self, Signs), GatherError> {
        let (sight, signs) = Sight::begin(config.rules, config.kube_proxy).await?;
        let (seen, services) = (sight.seen().await?, config.services.clone());
        let usable = usable(&config.addresses, &services, &seen);
        Ok((Self { sight, seen, services, usable }, signs))
    }

    /// What becomes of the addresses.
    pub const fn usable(&self) -> &Usable {
        &self.usable
    }

    /// Who sends packets for Services on.
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Which of the usable addresses no interface has.
    ///
    /// # Errors
    /// Addresses that cannot be listed.
    pub async fn missing(&self) -> Result<Vec<IpAddr>, GatherError> {
        self.sight.missing(&self.usable.addresses).await
    }
}

/// How interception is set up.
pub struct Setting {
    /// What leads packets here.
    pub rules: Mode,
    /// The interface that carries the addresses; empty where others do.
    pub interface: String,
    /// What is counted.
    pub measures: Arc<Measures>,
}

/// What is known, and was said of it.
pub struct Around {
    /// What looks.
    sight: Sight,
    /// How interception is set up.
    setting: Setting,
    /// The addresses that sockets are bound to.
    bound: Vec<IpAddr>,
    /// Those that were left to somebody else before there were any.
    left_before: Vec<IpAddr>,
    /// Those of them that nobody else has any longer.
    free: Vec<IpAddr>,
    /// The addresses that are known to be a Service's.
    services: Vec<IpAddr>,
    /// Who sends packets for Services on.
    seen: Seen,
    /// What becomes of the addresses.
    usable: Usable,
    /// What was said last.
    said: Form,
    /// Whether the last look failed.
    blind: bool,
}

impl Around {
    /// Says what was found, what is promised, and what is not: interception is set up for the addresses that are usable.
    pub fn begin(found: Found, setting: Setting) -> Self {
        let Found { sight, seen, services, usable: Usable { addresses: bound, left } } = found;
        for left in &left {
            tracing::warn!(address = %left.address, "left to somebody else: {}", left.why);
        }
        let left_before: Vec<_> = left.iter().map(|left| left.address).collect();
        let (usable, free) = (Usable { addresses: bound.clone(), left: Vec::new() }, Vec::new());
        let said = form(&setting, &seen, &usable, &services, !left_before.is_empty());
        say(said, &setting, "interception is set up");
        Self { sight, setting, bound, left_before, free, services, seen, usable, said, blind: false }
    }

    /// Looks whenever that is asked for, and follows what is known of Services, until nobody asks any more; says the
    /// addresses that can be answered at, sorted.
    pub(super) async fn run(
        mut self,
        mut cues: watch::Receiver<Cue>,
        mut services: watch::Receiver<Arc<[IpAddr]>>,
        said: watch::Sender<Option<Vec<IpAddr>>>,
    ) {
        services.mark_changed();
        let mut rested = Instant::now();
        loop {
            // However often a look is asked for.
            let cue = async {
                sleep_until(rested).await;
                cues.changed().await
            };
            tokio::select! {
                changed = cue => match changed {
                    Ok(()) if cues.borrow_and_update().owns => {
                        self.look().await;
                        rested = Instant::now() + LEAST;
                    }
                    Ok(()) => continue,
                    Err(_) => return,
                },
                Ok(()) = services.changed() => self.services = services.borrow_and_update().to_vec(),
            }
            self.judge();
            let mut usable = self.usable.addresses.clone();
            usable.sort_unstable();
            said.send_if_modified(|before| {
                let is_new = before.as_ref() != Some(&usable);
                *before = Some(usable);
                is_new
            });
        }
    }

    /// Looks again who is there.
    async fn look(&mut self) {
        match self.sight.look().await {
            Ok(seen) => (self.seen, self.blind) = (seen, false),
            Err(error) => {
                if !std::mem::replace(&mut self.blind, true) {
                    tracing::warn!(%error, "looking who sends packets for Services on failed; trying again");
                }
            }
        }
    }

    /// What is known means this, which is said where it is new.
    fn judge(&mut self) {
        let now = usable(&self.bound, &self.services, &self.seen);
        let before = std::mem::replace(&mut self.usable, now);
        for left in self.usable.left.iter().filter(|left| before.addresses.contains(&left.address)) {
            tracing::warn!(address = %left.address, "left to somebody else from now on: {}", left.why);
        }
        for address in self.usable.addresses.iter().filter(|address| !before.addresses.contains(address)) {
            tracing::info!(%address, "nobody else has it any longer: it is answered here again");
        }
        let free = usable(&self.left_before, &self.services, &self.seen).addresses;
        for address in free.iter().filter(|address| !self.free.contains(address)) {
            // Invariant: no socket was bound to it.
            tracing::warn!(%address, "nobody else has it any longer: it is answered here after a restart of this process");
        }
        self.free = free;
        let left_before = !self.left_before.is_empty();
        let form = form(&self.setting, &self.seen, &self.usable, &self.services, left_before);
        if form != self.said {
            self.said = form;
            say(form, &self.setting, "what is promised here has changed");
        }
    }
}

/// What promises depend on.
fn form(setting: &Setting, seen: &Seen, usable: &Usable, services: &[IpAddr], left_before: bool) -> Form {
    Form {
        rules: setting.rules,
        kube_proxy: seen.kube_proxy,
        services: usable.addresses.iter().any(|address| services.contains(address)),
        left: left_before || !usable.left.is_empty(),
    }
}

/// Says what was found, what is promised, and what is not.
fn say(form: Form, setting: &Setting, what: &str) {
    let (interface, measures) = (setting.interface.as_str(), &setting.measures);
    let all = promises(form);
    let kept: Vec<_> =
        all.iter().filter(|promise| promise.not.is_none()).map(|promise| promise.name).collect();
    let (rules, kube_proxy, promises) = (form.rules.as_str(), form.kube_proxy.as_str(), kept.join(","));
    measures.info(rules, kube_proxy, interface);
    tracing::info!(rules, kube_proxy, interface, promises, "{what}");
    for (name, why) in all.iter().filter_map(|promise| Some((promise.name, promise.not?))) {
        tracing::warn!(promise = name, "not promised here: {why}");
    }
}
