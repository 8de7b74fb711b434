//! The API server that the node follows: a process of its own, which is told what to do on its standard input.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use outlast::drill::cluster::Cluster;
use outlast::drill::standin::changes::Changes;
use outlast::drill::standin::{self, Config, seed};

use crate::arguments::Arguments;
use crate::support::process::Process;

/// Orders that wait to be obeyed: the bench gives one at a time.
const ORDERS: usize = 4;

/// Changes after which the record of them is emptied: nobody asks a process of its own what was when.
const RECORDED: u64 = 1_000;

/// What it says when it serves.
const SERVING: &str = "the stand-in serves";

/// A running stand-in; killed when it goes out of scope.
pub(crate) struct Standin {
    process: Process,
    /// How to reach it.
    pub(crate) kubeconfig: PathBuf,
    /// How often it has been told to rest.
    rests: usize,
}

/// What it has done since it was told to change something.
pub(crate) struct Made {
    /// Changes a second.
    pub(crate) rate: f64,
    /// The resourceVersion of the last one.
    pub(crate) version: u64,
}

impl Standin {
    /// Starts one with the cluster of these arguments.
    pub(crate) fn start(dir: &Path, arguments: &Arguments) -> Result<Self, String> {
        let kubeconfig = dir.join("kubeconfig");
        let bench = super::role("--standin", &kubeconfig)?;
        // It stands for another machine: it gets the processors when nobody else wants them.
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(bench.get_program()).args(bench.get_args());
        command.args(["--services", &arguments.services.to_string()]);
        command.args(["--endpoints", &arguments.endpoints.to_string()]);
        let mut process = Process::start(&mut command);
        process.line(SERVING)?;
        Ok(Self { process, kubeconfig, rests: 0 })
    }

    /// Has it change an endpoint so many times a second from now on.
    pub(crate) fn churn(&mut self, rate: u32) {
        self.process.say(&format!("churn {rate}"));
    }

    /// Has it forget its history and cut its connections, as an API server does that is restarted.
    pub(crate) fn forget(&mut self) {
        self.process.say("forget");
    }

    /// Has it change nothing from now on.
    pub(crate) fn rest(&mut self) -> Result<Made, String> {
        self.rests += 1;
        self.process.say(&format!("rest {}", self.rests));
        let line = self.process.line(&format!("rested {}:", self.rests))?;
        let mut words = line.rsplit(' ');
        let version = words.next().and_then(|word| word.parse().ok());
        let rate = words.next().and_then(|word| word.parse().ok());
        let made = rate.zip(version).ok_or_else(|| format!("the stand-in says {line:?}"))?;
        Ok(Made { rate: made.0, version: made.1 })
    }
}

/// Is one.
pub(crate) fn serve(kubeconfig: &Path, cluster: Cluster) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config = Config { fresh_namespaces: false, ..Config::default() };
        let standin = standin::Standin::start(config).await.unwrap();
        seed::cluster(standin.etcd(), cluster, |_| ()).unwrap();
        std::fs::write(kubeconfig, standin.kubeconfig()).unwrap();
        println!("{SERVING}");
        tokio::task::spawn_blocking(move || obey(&standin)).await.unwrap();
    });
    // Connections are not waited for.
    runtime.shutdown_background();
}

/// Obeys until the standard input ends.
fn obey(standin: &standin::Standin) {
    let (give, orders) = sync_channel(ORDERS);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if give.send(line).is_err() {
                return;
            }
        }
    });
    let mut changes = Changes::of(standin.etcd(), 1);
    let mut churn: Option<Churn> = None;
    loop {
        let order = match &churn {
            Some(churn) => orders.recv_timeout(churn.due().saturating_duration_since(Instant::now())),
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let order = match order {
            Ok(order) => order,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(churn) = &mut churn {
                    changes.step().unwrap();
                    churn.made += 1;
                    if churn.made % RECORDED == 0 {
                        standin.etcd().clear_history();
                    }
                }
                continue;
            }
        };
        match order.split_once(' ') {
            Some(("churn", rate)) => {
                churn = Some(Churn { begun: Instant::now(), rate: rate.parse().unwrap(), made: 0 });
            }
            Some(("rest", number)) => {
                let rate =
                    churn.take().map_or(0.0, |churn| churn.made as f64 / churn.begun.elapsed().as_secs_f64());
                println!("rested {number}: {rate} {}", standin.etcd().revision());
            }
            _ => standin.restart(),
        }
    }
}

/// Changes at a steady rate.
struct Churn {
    /// Since when.
    begun: Instant,
    /// Changes a second.
    rate: f64,
    /// Changes so far.
    made: u64,
}

impl Churn {
    /// When the next one is due.
    fn due(&self) -> Instant {
        self.begun + Duration::from_secs_f64(self.made as f64 / self.rate)
    }
}
