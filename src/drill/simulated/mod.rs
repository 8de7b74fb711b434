//! Drills in simulated time: what takes hours, or a thousand nodes.
//!
//! Nothing waits here for anything but tokio's clock, which is paused: it goes on once nobody has anything left to do.
//!
//! * `world`: an API server, hubs and nodes that are asked all the time; `outages`: what befalls them.
//! * `herd`: many followers without a hub.

mod herd;
mod outages;
mod world;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

pub(super) use self::herd::herd;
pub(super) use self::outages::{audit, disk_full, gap, offline_day, offline_hour};

/// A runtime of one thread in paused time.
fn paused() -> anyhow::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .context("starting a runtime for simulated time")
}
