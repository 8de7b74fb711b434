//! What changes while this process runs: which addresses can be answered at, which of them are a Service's, and where the
//! cluster's DNS is.

use std::net::IpAddr;

use tokio::time::Instant;

use super::Heart;
use crate::net::config::Mode;
use crate::net::fallback::Fallback;
use crate::net::keep::Kept;
use crate::net::{Endpoint, Ip};

impl Heart {
    /// Follows what was seen of the node beside the beat, at each full look and as soon as it has changed: addresses that
    /// somebody else has before us by now are left to them, others come back.
    pub(super) async fn look_around(&mut self) {
        let Some(usable) = self.beside.usable() else { return };
        if !self.tenure.owns() || usable == self.keeper.layout().addresses() {
            return;
        }
        let before = self.renewals.places().to_vec();
        let live = self.live();
        let kept = self.keeper.set_addresses(&usable, &live).await;
        if usable != self.keeper.layout().addresses() {
            // They are led here still, and are left at the next beat.
            self.chores.suspect();
            return;
        }
        tracing::info!(addresses = ?usable, "other addresses than before are led here");
        self.shown.live(&before, false);
        self.renewals.follow(self.keeper.layout());
        self.changed(kept);
        let endpoints = self.hooks.endpoints.borrow().clone();
        self.fall_back_to(&endpoints).await;
        if self.beat.is_live() {
            self.shown.live(self.renewals.places(), true);
            if !self.keeper.lead(Instant::now()).await {
                self.chores.suspect();
            }
        }
    }

    /// The cluster's DNS answers there.
    pub(super) async fn fall_back_to(&mut self, endpoints: &[Endpoint]) {
        // Only tables of our own send them anywhere.
        if self.keeper.rules().mode() != Mode::Nftables {
            return;
        }
        let live = self.live();
        let kept = self.keeper.change(|layout| layout.set_endpoints(endpoints), &live).await;
        self.changed(kept);
    }

    /// Says over which families nobody but this process answers, as far as its data knows, where that is new.
    pub(super) fn tell_who_else_answers(&mut self, now: Instant) {
        let layout = self.keeper.layout();
        let others = Fallback::new(&self.hooks.endpoints.borrow(), layout.addresses());
        let alone: Vec<_> = Ip::ALL.into_iter().filter(|ip| layout.has(*ip) && !others.covers(*ip)).collect();
        if !self.chores.says_alone(now, &alone) {
            return;
        }
        if alone.is_empty() {
            tracing::info!(
                "the cluster's DNS has ready endpoints again: queries have somewhere to go without this process"
            );
        } else {
            let families: Vec<_> = alone.iter().map(|ip| ip.as_str()).collect();
            tracing::warn!(
                families = families.join(","),
                "the cluster's DNS has no ready endpoint beside this process: whenever it does not answer, nobody does"
            );
        }
    }

    /// These addresses are a Service's.
    pub(super) async fn set_services(&mut self, services: &[IpAddr]) {
        let live = self.live();
        let kept = self.keeper.change(|layout| layout.set_services(services), &live).await;
        self.changed(kept);
    }

    /// Tables were changed, with this result.
    fn changed(&mut self, kept: Kept) {
        if kept == Kept::Broken {
            self.chores.suspect();
        }
        self.shown.report.follow(self.keeper.layout());
    }
}
