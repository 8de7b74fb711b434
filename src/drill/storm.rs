//! A storm: many clients of other people's that list everything of the API server again and again.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ask::load::Manner;
use super::control_plane::observed;
use super::files;
use super::processes::fleet::{Fleet, Shape};
use super::processes::setup::NODE;
use super::standin::Standin;
use super::standin::access::Rights;
use super::{Play, Played};
use crate::ops::metrics::Metrics;
use crate::ops::niceness;
use crate::source::apiserver::ApiServerSource;
use crate::source::apiserver::access::{Access, Limits, Place};
use crate::source::command::{self, Command, Why};
use crate::source::{Resume, UPDATE_QUEUE, Wanted};

/// The user of all of them.
pub(super) const USER: &str = "telemetry";

/// How many there are, and in the short form.
const CLIENTS: (usize, usize) = (200, 10);

/// Between two times that each lists everything.
const EVERY: Duration = Duration::from_millis(500);

/// How long the storm lasts between two nodes that are started anew.
const BETWEEN: Duration = Duration::from_secs(10);

/// How much more others ask at least than hubs and nodes do, for it to be a storm.
const SHARE: u64 = 3;

/// Clients that list everything until it is dropped.
struct Storm {
    /// Ends it.
    stop: CancellationToken,
    /// Its thread.
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    /// Begins. The folder gets their kubeconfig.
    fn start(standin: &Standin, folder: &Path, clients: usize) -> anyhow::Result<Self> {
        standin.access().set_user(USER, Rights::READ_ALL);
        let file = folder.join("kubeconfig-of-telemetry");
        files::replace(&file, &standin.kubeconfig_of(USER)).context("writing a kubeconfig")?;
        let access = Access { place: Place::Kubeconfig { file, context: None }, limits: Limits::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let run = move || {
            // Who asks nodes comes first.
            niceness::give_way();
            for _ in 0..clients {
                runtime.spawn(lists_again_and_again(access.clone()));
            }
            runtime.block_on(stopped.cancelled());
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("outlast-storm".to_owned()).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A client that lists everything all the time.
async fn lists_again_and_again(access: Access) {
    let wanted = Wanted { labels: false, pods: false };
    let (updates, mut taken) = mpsc::channel(UPDATE_QUEUE);
    let (commands, commanded) = command::channel();
    let source = ApiServerSource::new(access, wanted, Resume::default(), Arc::new(Metrics::new()));
    let follow = source.obeying(commanded).run(updates, CancellationToken::new());
    let take = async { while taken.recv().await.is_some() {} };
    let ask = async {
        loop {
            tokio::time::sleep(EVERY).await;
            // One that is not there yet is as good.
            let _ = commands.try_send(Command::Relist { kinds: wanted.kinds(), why: Why::Audit });
        }
    };
    tokio::select! {
        () = follow => {}
        () = take => {}
        () = ask => {}
    }
}

/// Others list everything again and again, and all nodes are started anew meanwhile.
pub(super) fn storm(play: &Play<'_>) -> anyhow::Result<Played> {
    let mut fleet = Fleet::start(play, Shape { manner: Manner::Stub, ..Shape::usual() })?;
    fleet.compares_memory = false;
    fleet.begin();
    let storm = Storm::start(&fleet.standin, play.folder, if play.short { CLIENTS.1 } else { CLIENTS.0 })?;
    for node in 0..fleet.nodes.len() {
        fleet.pass(BETWEEN);
        fleet.restart(node)?;
    }
    fleet.pass(BETWEEN);
    let [others, nodes, all] = {
        let requests = fleet.standin.requests();
        let by = |user: &str| requests.count(|asked| asked.user == user);
        [by(USER), by(NODE), requests.total()]
    };
    fleet.check(others >= SHARE * (all - others), || {
        format!("there was no storm: {others} requests of {all}")
    });
    fleet.check(nodes == 0, || format!("nodes have asked the API server {nodes} times"));
    drop(storm);
    fleet.end();
    fleet.until_fresh();
    observed(fleet)
}
