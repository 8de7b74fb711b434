//! How the process ends.
//!
//! ```text
//! SIGTERM ─▶ draining ── lameduck ──▶ withdrawing ──▶ closing ── grace ──▶ forced
//!            control     DNS still    interception    sockets    in-flight  whatever
//!            plane work  answered,    goes (hooks)    close      answers    is left
//!            stops,      /health 200                             leave      is cut
//!            /ready 503
//! ```
//!
//! Each stage is a [`CancellationToken`]; a later one is the parent of the earlier ones.
//!
//! Invariants:
//!
//! * A stage implies all before it: who waits for `draining` also hears of an immediate end.
//! * Every wait has a limit; the sum of them ([`Limits`]) is the longest that a stop takes, and has to be below
//!   the pod's `terminationGracePeriodSeconds`.
//! * Sockets close only after the withdrawal is done or its limit has passed: as long as packets are sent here,
//!   they are answered.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the hooks of the withdrawal may take. Removing rules and addresses takes milliseconds, and what is
/// left behind expires by itself within a second.
pub const WITHDRAW_LIMIT: Duration = Duration::from_secs(2);

/// How long answers in flight may take to leave, as in CoreDNS. Longer than one try at an upstream.
pub const GRACE: Duration = Duration::from_secs(5);

/// Signals that wait for [`Drain::run`]; each one beyond these says nothing new.
pub const SIGNAL_QUEUE: usize = 8;

/// A signal as far as it means something to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: drain.
    Terminate,
    /// SIGINT: drain with the withdrawal first; while draining, end at once.
    Interrupt,
    /// SIGQUIT: end at once.
    Quit,
    /// SIGUSR1: read the configuration again.
    Reload,
    /// SIGHUP and SIGUSR2: nothing. Caught, because their default is to end the process.
    Ignored,
}

/// How long the waits of a drain may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long to go on answering after `/ready` said no (`lameduck` of the `health` plugin), 0 for not at all.
    pub lameduck: Duration,
    /// For the hooks of the withdrawal.
    pub withdraw: Duration,
    /// For what is in flight when the sockets close.
    pub grace: Duration,
}

impl Limits {
    /// The usual limits with this lameduck.
    pub const fn with_lameduck(lameduck: Duration) -> Self {
        Self { lameduck, withdraw: WITHDRAW_LIMIT, grace: GRACE }
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was tracked has finished.
    Drained,
    /// The grace passed with tasks left.
    Forced {
        /// How many.
        tasks: usize,
    },
    /// SIGQUIT, or an interrupt while draining.
    AtOnce(Signal),
}

impl Ended {
    /// The process's exit code: 0, or 2 after an interrupt that cut the drain short (as CoreDNS).
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Drained | Self::Forced { .. } | Self::AtOnce(Signal::Quit) => 0,
            Self::AtOnce(_) => 2,
        }
    }
}

/// The stages of the end, and who has to be waited for; clones share them.
#[derive(Clone, Debug)]
pub struct Drain {
    /// First stage.
    draining: CancellationToken,
    /// Second stage, parent of the first.
    withdrawing: CancellationToken,
    /// Third stage, parent of the second.
    closing: CancellationToken,
    /// Last stage, parent of the third.
    forced: CancellationToken,
    /// Tasks that undo what others rely on.
    hooks: TaskTracker,
    /// Tasks that answer.
    work: TaskTracker,
    /// Woken by SIGUSR1.
    reload: Arc<Notify>,
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    /// Nothing ends yet.
    pub fn new() -> Self {
        // A stage implies all before it: cancelling a parent cancels its children.
        let forced = CancellationToken::new();
        let closing = forced.child_token();
        let withdrawing = closing.child_token();
        let draining = withdrawing.child_token();
        Self {
            draining,
            withdrawing,
            closing,
            forced,
            hooks: TaskTracker::new(),
            work: TaskTracker::new(),
            reload: Arc::default(),
        }
    }

    /// Cancelled when the end begins: sources and probes stop, readiness ends. Cancelled from outside
    /// ([`Self::begin`]), it starts the drain as SIGTERM does.
    pub const fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when packets must no longer be led here; tasks of [`Self::spawn_hook`] wait for it.
    pub const fn withdrawing(&self) -> &CancellationToken {
        &self.withdrawing
    }

    /// Cancelled when sockets must take nothing new.
    pub const fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Cancelled when nothing is waited for any more.
    pub const fn forced(&self) -> &CancellationToken {
        &self.forced
    }

    /// Begins the drain without a signal (a listener failed for good, say).
    pub fn begin(&self) {
        self.draining.cancel();
    }

    /// Returns once for each SIGUSR1 (several in a row may count as one).
    pub async fn reload_requested(&self) {
        self.reload.notified().await;
    }

    /// Runs a task that is waited for while withdrawing: it waits for [`Self::withdrawing`], undoes its doing
    /// and ends.
    pub fn spawn_hook<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.hooks.spawn(task)
    }

    /// Runs a task that is waited for after the sockets closed: it stops by itself at [`Self::closing`] once
    /// its answers have left.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.work.spawn(task)
    }

    /// The same for a task that runs on another runtime than the caller's.
    pub fn track<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        self.work.track_future(task)
    }

    /// Waits for the end to begin and leads through it. Returns when the process may exit. The limits are those that
    /// hold when the end begins: a reload may change them until then.
    pub async fn run(&self, mut signals: mpsc::Receiver<Signal>, limits: impl Fn() -> Limits) -> Ended {
        let began = self.wait_for_begin(&mut signals).await;
        let ended = match began {
            Begin::AtOnce(signal) => Ended::AtOnce(signal),
            Begin::Drain { withdraw_first } => {
                tokio::select! {
                    biased;
                    signal = cut_short(&mut signals) => Ended::AtOnce(signal),
                    ended = self.stages(withdraw_first, limits()) => ended,
                }
            }
        };
        self.forced.cancel();
        ended
    }

    /// Returns when a signal or [`Self::begin`] asks for the end.
    async fn wait_for_begin(&self, signals: &mut mpsc::Receiver<Signal>) -> Begin {
        loop {
            let signal = tokio::select! {
                biased;
                Some(signal) = signals.recv() => signal,
                () = self.draining.cancelled() => Signal::Terminate,
            };
            match signal {
                Signal::Terminate => return Begin::Drain { withdraw_first: false },
                Signal::Interrupt => return Begin::Drain { withdraw_first: true },
                Signal::Quit => return Begin::AtOnce(signal),
                Signal::Reload => self.reload.notify_one(),
                Signal::Ignored => {}
            }
        }
    }

    /// The stages in their order.
    async fn stages(&self, withdraw_first: bool, limits: Limits) -> Ended {
        if withdraw_first {
            self.withdraw(limits.withdraw).await;
        }
        self.draining.cancel();
        tracing::info!(lameduck = ?limits.lameduck, "shutting down");
        tokio::time::sleep(limits.lameduck).await;
        if !withdraw_first {
            self.withdraw(limits.withdraw).await;
        }
        // Sockets close only now: until the withdrawal, packets were still sent here.
        self.closing.cancel();
        self.work.close();
        if timeout(limits.grace, self.work.wait()).await.is_err() {
            let tasks = self.work.len();
            tracing::warn!(tasks, grace = ?limits.grace, "ending with answers in flight");
            return Ended::Forced { tasks };
        }
        Ended::Drained
    }

    /// Lets the hooks undo their doings.
    async fn withdraw(&self, limit: Duration) {
        self.withdrawing.cancel();
        self.hooks.close();
        if timeout(limit, self.hooks.wait()).await.is_err() {
            tracing::warn!(hooks = self.hooks.len(), ?limit, "withdrawal not finished in time");
        }
    }
}

/// What the first signal asks for.
enum Begin {
    /// Go through the stages.
    Drain {
        /// Withdraw before anything else.
        withdraw_first: bool,
    },
    /// Skip them.
    AtOnce(Signal),
}

/// Returns with the signal that ends a drain at once; never, if none comes.
async fn cut_short(signals: &mut mpsc::Receiver<Signal>) -> Signal {
    while let Some(signal) = signals.recv().await {
        match signal {
            Signal::Interrupt | Signal::Quit => return signal,
            // A second SIGTERM asks for what is already being done; reloading would be in vain.
            Signal::Terminate | Signal::Reload | Signal::Ignored => {}
        }
    }
    std::future::pending().await
}

/// The process's signals from now on. Errors: the system refuses a handler.
///
/// Has to be called within a runtime, which delivers the signals while it lives.
pub fn listen_for_signals() -> std::io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(SIGNAL_QUEUE);
    let kinds = [
        (SignalKind::terminate(), Signal::Terminate),
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::quit(), Signal::Quit),
        (SignalKind::user_defined1(), Signal::Reload),
        (SignalKind::user_defined2(), Signal::Ignored),
        (SignalKind::hangup(), Signal::Ignored),
    ];
    for (kind, meaning) in kinds {
        let mut stream = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if sender.send(meaning).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::time::Instant;

    /// Seconds of each stage, in the scenarios.
    const LIMITS: Limits = Limits {
        lameduck: Duration::from_secs(5),
        withdraw: Duration::from_secs(2),
        grace: Duration::from_secs(3),
    };

    /// What happened at which millisecond.
    type Log = Arc<Mutex<Vec<(&'static str, u128)>>>;

    /// A tracked task that notes its stage and takes `takes` from then on.
    fn task(
        stage: &CancellationToken,
        name: &'static str,
        log: &Log,
        begin: Instant,
        takes: Duration,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (stage, log) = (stage.clone(), Arc::clone(log));
        async move {
            stage.cancelled().await;
            log.lock().unwrap().push((name, begin.elapsed().as_millis()));
            tokio::time::sleep(takes).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn signals_lead_through_the_stages() {
        struct Case {
            name: &'static str,
            /// Signals and the millisecond at which they come.
            signals: &'static [(u64, Signal)],
            hook_takes_ms: u64,
            work_takes_ms: u64,
            want: Ended,
            ends_at_ms: u128,
            stages: &'static [(&'static str, u128)],
        }
        let quick = Case {
            name: "",
            signals: &[],
            hook_takes_ms: 100,
            work_takes_ms: 200,
            want: Ended::Drained,
            ends_at_ms: 0,
            stages: &[],
        };
        let cases = [
            Case {
                name: "TERM: drain, lameduck, withdraw, close",
                signals: &[(1_000, Signal::Terminate)],
                ends_at_ms: 6_300,
                stages: &[("drain", 1_000), ("withdraw", 6_000), ("close", 6_100)],
                ..quick
            },
            Case {
                name: "INT: withdraw first",
                signals: &[(1_000, Signal::Interrupt)],
                ends_at_ms: 6_300,
                stages: &[("drain", 1_000), ("withdraw", 1_000), ("close", 6_100)],
                ..quick
            },
            Case {
                name: "second INT ends at once",
                signals: &[(1_000, Signal::Interrupt), (2_000, Signal::Interrupt)],
                want: Ended::AtOnce(Signal::Interrupt),
                ends_at_ms: 2_000,
                stages: &[("drain", 1_000), ("withdraw", 1_000), ("close", 2_000)],
                ..quick
            },
            Case {
                name: "INT after TERM ends at once",
                signals: &[(1_000, Signal::Terminate), (2_000, Signal::Interrupt)],
                want: Ended::AtOnce(Signal::Interrupt),
                ends_at_ms: 2_000,
                stages: &[("drain", 1_000), ("close", 2_000), ("withdraw", 2_000)],
                ..quick
            },
            Case {
                name: "second TERM changes nothing",
                signals: &[(1_000, Signal::Terminate), (2_000, Signal::Terminate)],
                ends_at_ms: 6_300,
                stages: &[("drain", 1_000), ("withdraw", 6_000), ("close", 6_100)],
                ..quick
            },
            Case {
                name: "QUIT ends at once",
                signals: &[(1_000, Signal::Quit)],
                want: Ended::AtOnce(Signal::Quit),
                ends_at_ms: 1_000,
                stages: &[("close", 1_000), ("drain", 1_000), ("withdraw", 1_000)],
                ..quick
            },
            Case {
                name: "HUP is ignored",
                signals: &[(500, Signal::Ignored), (1_000, Signal::Terminate), (1_500, Signal::Ignored)],
                ends_at_ms: 6_300,
                stages: &[("drain", 1_000), ("withdraw", 6_000), ("close", 6_100)],
                ..quick
            },
            Case {
                name: "a stuck hook holds up for its limit only",
                signals: &[(0, Signal::Terminate)],
                hook_takes_ms: 60_000,
                ends_at_ms: 7_200,
                stages: &[("drain", 0), ("withdraw", 5_000), ("close", 7_000)],
                ..quick
            },
            Case {
                name: "answers that do not leave are cut after the grace",
                signals: &[(0, Signal::Terminate)],
                work_takes_ms: 60_000,
                want: Ended::Forced { tasks: 1 },
                ends_at_ms: 8_100,
                stages: &[("drain", 0), ("withdraw", 5_000), ("close", 5_100)],
                ..quick
            },
        ];
        for case in cases {
            let (drain, begin, log) = (Drain::new(), Instant::now(), Log::default());
            let ms = Duration::from_millis;
            drain.spawn(task(drain.closing(), "close", &log, begin, ms(case.work_takes_ms)));
            drain.spawn_hook(task(drain.withdrawing(), "withdraw", &log, begin, ms(case.hook_takes_ms)));
            tokio::spawn(task(drain.draining(), "drain", &log, begin, Duration::ZERO));

            let (sender, receiver) = mpsc::channel(SIGNAL_QUEUE);
            let signals = case.signals;
            tokio::spawn(async move {
                for (at, signal) in signals {
                    tokio::time::sleep_until(begin + ms(*at)).await;
                    sender.send(*signal).await.unwrap();
                }
                std::future::pending::<()>().await;
            });

            let ended = drain.run(receiver, || LIMITS).await;
            assert_eq!((ended, begin.elapsed().as_millis()), (case.want, case.ends_at_ms), "{}", case.name);
            assert!(drain.forced().is_cancelled() && drain.draining().is_cancelled(), "{}", case.name);
            // Let those that heard of an immediate end note it; what comes in one millisecond has no order.
            tokio::time::sleep(ms(1)).await;
            let sorted = |stages: &[(&'static str, u128)]| {
                let mut stages = stages.to_vec();
                stages.sort_by_key(|(name, at)| (*at, *name));
                stages
            };
            assert_eq!(sorted(&log.lock().unwrap()), sorted(case.stages), "{}", case.name);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn begin_drains_without_a_signal() {
        let drain = Drain::new();
        let (_sender, receiver) = mpsc::channel(SIGNAL_QUEUE);
        drain.begin();
        assert_eq!(drain.run(receiver, || LIMITS).await, Ended::Drained);
    }

    #[tokio::test(start_paused = true)]
    async fn without_signals_left_a_drain_still_ends() {
        let drain = Drain::new();
        let (sender, receiver) = mpsc::channel(SIGNAL_QUEUE);
        sender.send(Signal::Terminate).await.unwrap();
        drop(sender);
        assert_eq!(drain.run(receiver, || LIMITS).await, Ended::Drained);
    }

    #[tokio::test(start_paused = true)]
    async fn usr1_asks_for_a_reload() {
        let drain = Drain::new();
        let (sender, receiver) = mpsc::channel(SIGNAL_QUEUE);
        let running = tokio::spawn({
            let drain = drain.clone();
            async move { drain.run(receiver, || LIMITS).await }
        });
        sender.send(Signal::Reload).await.unwrap();
        timeout(Duration::from_secs(1), drain.reload_requested()).await.unwrap();
        assert!(!drain.draining().is_cancelled());
        sender.send(Signal::Quit).await.unwrap();
        assert_eq!(running.await.unwrap(), Ended::AtOnce(Signal::Quit));
    }

    #[tokio::test]
    async fn real_signals_arrive() {
        let mut signals = listen_for_signals().unwrap();
        for (name, want) in [("HUP", Signal::Ignored), ("USR1", Signal::Reload), ("TERM", Signal::Terminate)]
        {
            let kill = format!("kill -{name} {}", std::process::id());
            assert!(tokio::process::Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
            let got = timeout(Duration::from_secs(10), signals.recv()).await.unwrap();
            assert_eq!(got, Some(want), "{name}");
        }
    }

    #[test]
    fn exit_codes_are_coredns() {
        assert_eq!(Ended::Drained.exit_code(), 0);
        assert_eq!(Ended::Forced { tasks: 3 }.exit_code(), 0);
        assert_eq!(Ended::AtOnce(Signal::Quit).exit_code(), 0);
        assert_eq!(Ended::AtOnce(Signal::Interrupt).exit_code(), 2);
    }
}
