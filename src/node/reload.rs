//! Looking for a changed Corefile, and having it taken over.
//!
//! The file is read and parsed whole, with what it imports, every `reload` interval and at every SIGUSR1; a ConfigMap
//! that is exchanged by its symbolic link is one that changed. What decides is a hash over the words, and over the
//! file and line of each, as in CoreDNS: white space and comments change nothing.
//!
//! * A text that cannot be parsed is warned of, and looked at again with every interval.
//! * One that cannot be taken over is reported and not tried again before it changes, or a SIGUSR1 comes; but one that
//!   only has to wait for something is.
//! * Whatever is wrong, the configuration that runs goes on in full. Each such text is counted once in
//!   `coredns_reload_failed_total`; CoreDNS counts those that can be parsed, and leaves who watches the counter in
//!   the dark about the others.
//!
//! Reading and setting up happen on threads of their own: they hold up no answer.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use ring::digest::{Context, SHA512};

use super::running::{ReloadError, Running};
use super::setup::{Environment, Plan, ReloadEvery, plan};
use crate::corefile::{Corefile, Error, ServerBlock, Token};
use crate::ops::catalogue;
use crate::ops::drain::Drain;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::help_of;
use crate::ops::telemetry::DebugSwitch;

/// What lines are logged under.
const TARGET: &str = "plugin/reload";

/// Reads the Corefile and what it imports. Blocks while it does.
pub type Load = Arc<dyn Fn() -> Result<Corefile, Error> + Send + Sync>;

/// A hash over a configuration's words and places.
type Hash = [u8; 64];

/// Takes changed configurations over.
pub struct Reloader {
    /// Reads the configuration; `None` where it came from standard input, which is read once.
    load: Option<Load>,
    /// What plugins are set up with.
    environment: Arc<Environment>,
    /// Follows the `debug` plugin.
    debug: Option<DebugSwitch>,
    /// The configuration that runs.
    running: Hash,
    /// What stands in the way of the text that was last seen, if anything does.
    broken: Option<Broken>,
    /// For the interval.
    jitter: Jitter,
    /// Configurations that were not taken over.
    failed: Counter,
}

/// A text that was not taken over.
struct Broken {
    /// Its hash; `None` if it could not be parsed.
    hash: Option<Hash>,
    /// What is wrong with it.
    why: String,
    /// Whether it may do better the next time as it is.
    waits: bool,
}

/// Why the file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The interval is over.
    Interval,
    /// A SIGUSR1 came.
    Asked,
}

impl Reloader {
    /// Goes on from `corefile`, which runs. `debug` is the switch of the log, where there is one.
    pub fn new(
        load: Option<Load>,
        corefile: &Corefile,
        environment: Arc<Environment>,
        debug: Option<DebugSwitch>,
        jitter: Jitter,
    ) -> Self {
        let failed = environment.metrics.counter(catalogue::RELOAD_FAILED, &[]);
        failed.increment(0);
        Self { load, environment, debug, running: hash(&corefile.blocks), broken: None, jitter, failed }
    }

    /// Looks for changes until `drain` begins.
    pub async fn run(mut self, running: &mut Running, drain: &Drain) {
        if running.reload.is_some() {
            match self.load {
                Some(_) => {
                    tracing::info!(target: TARGET, "Running configuration SHA512 = {}", hex(&self.running));
                }
                None => tracing::warn!(target: TARGET,
                    "the Corefile came from standard input: it cannot be read again, nothing is ever reloaded"),
            }
        }
        let mut interval = self.interval(running.reload);
        loop {
            let why = tokio::select! {
                biased;
                () = drain.draining().cancelled() => return,
                () = drain.reload_requested() => Why::Asked,
                () = pause(interval) => Why::Interval,
            };
            // However long the disk or a source takes, the end of the process does not wait for it.
            let looked = drain.forced().run_until_cancelled(self.look(why, running)).await;
            if looked == Some(Looked::TakenOver) {
                interval = self.interval(running.reload);
            }
        }
    }

    /// The time between two looks; drawn once for each configuration.
    fn interval(&self, every: Option<ReloadEvery>) -> Option<Duration> {
        self.load.as_ref()?;
        let ReloadEvery { interval, jitter } = every?;
        let half = jitter / 2;
        Some(self.jitter.between(interval.saturating_sub(half), interval + half))
    }

    /// Reads the file, and takes it over if there is anything to take over.
    async fn look(&mut self, why: Why, running: &mut Running) -> Looked {
        let Some(load) = self.load.clone() else {
            tracing::warn!(target: TARGET, "a reload was asked for, and the Corefile came from standard input: \
                it cannot be read again");
            return Looked::Same;
        };
        let corefile = match apart(move || load()).await {
            Ok(Ok(corefile)) => corefile,
            Ok(Err(error)) => return self.not_parsed(&error, why),
            Err(Panicked) => return self.not_parsed(&"reading the Corefile panicked", why),
        };
        let hash = hash(&corefile.blocks);
        if why == Why::Interval {
            if hash == self.running {
                if self.broken.take().is_some() {
                    tracing::info!(target: TARGET, "the Corefile is again what runs");
                }
                return Looked::Same;
            }
            if self.broken.as_ref().is_some_and(|broken| broken.hash == Some(hash) && !broken.waits) {
                return Looked::Same;
            }
        }
        tracing::info!("Reloading");
        for warning in &corefile.warnings {
            tracing::warn!("{} - {}", warning.position, warning.text);
        }
        let environment = self.environment.clone();
        let carried = environment.carried.clone();
        carried.begin();
        let planned = apart(move || plan(&corefile, &environment)).await;
        let taken = match planned {
            Ok(Ok(plan)) => take_over(plan, running).await,
            Ok(Err(error)) => Err((error.to_string(), false)),
            Err(Panicked) => Err(("setting up the configuration panicked".to_owned(), false)),
        };
        match taken {
            Ok(()) => {
                self.taken_over(hash, running);
                Looked::TakenOver
            }
            Err((error, waits)) => {
                carried.abort();
                self.not_taken(hash, error, waits);
                Looked::Failed
            }
        }
    }

    /// Says that the configuration runs.
    fn taken_over(&mut self, hash: Hash, running: &Running) {
        (self.running, self.broken) = (hash, None);
        if let Some(debug) = &self.debug {
            debug.set(running.debug);
        }
        let value = hex(&hash);
        let labels = [("hash", "sha512"), ("value", value.as_str())];
        self.environment.metrics.replace_gauges(
            catalogue::RELOAD_VERSION,
            help_of(catalogue::RELOAD_VERSION),
            &[(&labels, 1.0)],
        );
        tracing::info!(target: TARGET, "Running configuration SHA512 = {value}");
        tracing::info!("Reloading complete");
    }

    /// Says what is wrong with a text that is no configuration; once, as long as it stays the same.
    fn not_parsed(&mut self, error: &dyn std::fmt::Display, why: Why) -> Looked {
        let text = error.to_string();
        let known = self.broken.as_ref().is_some_and(|broken| broken.hash.is_none() && broken.why == text);
        if !known {
            self.failed.increment(1);
        }
        if !known || why == Why::Asked {
            tracing::warn!(target: TARGET, "Corefile parse failed: {text}; the old configuration stays");
        }
        self.broken = Some(Broken { hash: None, why: text, waits: false });
        Looked::Failed
    }

    /// Says why a configuration is not taken over.
    fn not_taken(&mut self, hash: Hash, why: String, waits: bool) {
        let known = self.broken.as_ref().is_some_and(|broken| broken.hash == Some(hash) && broken.waits);
        if !known {
            self.failed.increment(1);
        }
        let until = if waits { "it is tried again" } else { "it is tried again when it changes" };
        tracing::error!(target: TARGET, "Corefile changed but reload failed: {why}; {until}, the old configuration stays");
        self.broken = Some(Broken { hash: Some(hash), why, waits });
    }
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// There is nothing to do.
    Same,
    /// Another configuration runs.
    TakenOver,
    /// Another configuration is there and does not run.
    Failed,
}

/// Has a plan taken over. The error comes with whether it may do better later.
async fn take_over(plan: Plan, running: &mut Running) -> Result<(), (String, bool)> {
    running.reload(plan).await.map_err(|error| {
        let waits = matches!(error, ReloadError::NotYet(_));
        (error.to_string(), waits)
    })
}

/// Work on a thread of its own ended in a panic.
struct Panicked;

/// Does work that blocks, on a thread of its own.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
    // In tests the log belongs to a thread.
    let log = tracing::dispatcher::get_default(Clone::clone);
    let work = move || tracing::dispatcher::with_default(&log, work);
    tokio::task::spawn_blocking(work).await.map_err(|_| Panicked)
}

/// Waits; for ever without a time.
async fn pause(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// The hash of what is configured: every word with its file and line, and where one list of words ends.
fn hash(blocks: &[ServerBlock]) -> Hash {
    let mut hasher = Context::new(&SHA512);
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    for block in blocks {
        field(b"block");
        for key in &block.keys {
            field(key.to_string().as_bytes());
            field(key.position.to_string().as_bytes());
        }
        for directive in &block.directives {
            field(b"directive");
            words(&mut field, &directive.name, &directive.args);
            for line in directive.lines() {
                field(b"line");
                words(&mut field, &line.name, &line.args);
            }
        }
    }
    let mut hash = [0; 64];
    for (to, from) in hash.iter_mut().zip(hasher.finish().as_ref()) {
        *to = *from;
    }
    hash
}

fn words(field: &mut impl FnMut(&[u8]), name: &Token, args: &[Token]) {
    for word in std::iter::once(name).chain(args) {
        field(word.text.as_bytes());
        field(word.position.to_string().as_bytes());
    }
}

fn hex(hash: &Hash) -> String {
    let mut text = String::with_capacity(2 * hash.len());
    for byte in hash {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
