//! `outlast hub`: the shared cache.

mod args;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use super::control::ControlAt;
use super::page::StatusAt;
use super::process::{Control, LAST_LINES, LAST_SNAPSHOT, Standing, end_with_drill, raise_descriptors};
use crate::hub::config::HubConfig;
use crate::hub::running;
use crate::ops::clock::WallClock;
use crate::ops::drain::{Drain, Ended, Limits, listen_for_signals};
use crate::ops::metrics::{BuildInfo, Metrics};
use crate::ops::notify::Notify;
use crate::ops::switches;
use crate::ops::telemetry::{self, InitError};

pub(super) use self::args::Args;

/// Most threads that serve followers: a hub shares its machine.
const MAX_THREADS: usize = 4;

/// Serves until a signal ends it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (format, at, page) = (args.log_format, args.control.clone(), args.status_address.clone());
    let config = match args.config(&|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => return Ok(super::wrong(&error)),
    };
    let notify = match Notify::from_environment() {
        Ok(notify) => notify,
        Err(error) => return Ok(super::wrong(&error)),
    };
    let telemetry = match telemetry::init(format) {
        Err(error @ InitError::Filter { .. }) => return Ok(super::wrong(&error)),
        other => other?,
    };
    let result = serve(config, &at, &page, notify);
    telemetry.flush(LAST_LINES);
    result
}

fn serve(config: HubConfig, at: &ControlAt, page: &StatusAt, notify: Notify) -> anyhow::Result<ExitCode> {
    let metrics = Arc::new(Metrics::new());
    metrics.set_build_info(BuildInfo::CURRENT);
    switches::begin(&metrics);
    end_with_drill();
    let clock = Arc::new(WallClock::new(0));
    raise_descriptors();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let data = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("outlast-data")
        .enable_all()
        .build()
        .context("starting the runtime that serves followers")?;
    let control = Control::start(Standing::Equal).context("starting the runtime for everything else")?;
    metrics.tell_tasks_of(&[("data", data.handle()), ("control", control.handle())]);
    let ended = data.block_on(async {
        // Before anything is served, so that no signal is missed.
        let signals = listen_for_signals().context("listening for signals")?;
        let drain = Drain::new();
        let lameduck = config.move_within;
        let running = running::start(config, &metrics, &clock, &drain, control.handle())?;
        running.report();
        // By the threads that serve followers: when they are stuck, nothing is told any more.
        tokio::spawn(notify.follow("serving followers".to_owned(), || true, drain.draining().clone()));
        let stop = drain.closing().clone();
        page.serve(running.control.clone(), &drain, control.handle());
        let socket = at.serve(running.control.clone(), &metrics, stop, control.handle());
        let ended = drain.run(signals, || Limits::with_lameduck(lameduck)).await;
        if tokio::time::timeout(LAST_SNAPSHOT, running.stop()).await.is_err() {
            tracing::warn!(limit = ?LAST_SNAPSHOT, "last snapshot not written in time");
        }
        // What it could not do in time, the next process puts right.
        let _ = tokio::time::timeout(LAST_LINES, socket).await;
        anyhow::Ok(ended)
    });
    // Streams that are left are not waited for.
    data.shutdown_background();
    drop(control);
    let ended = ended?;
    if let Ended::Drained = ended {
        tracing::info!("stopped");
    }
    Ok(ExitCode::from(ended.exit_code()))
}
