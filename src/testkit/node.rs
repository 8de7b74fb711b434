//! A whole node in the test's own process: real sockets on loopback, its own metrics, its log in memory.

#![allow(clippy::panic, reason = "a test that is written wrong has to fail")]

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use super::client::Client;
use super::lanes::Lanes;
use crate::corefile::{self, Corefile, Error, LoadOptions};
use crate::node::running::{self, Running};
use crate::node::setup::{Environment, Overrides, Plan, directive_names, plan};
use crate::ops::admin::Face;
use crate::ops::clock::WallClock;
use crate::ops::drain::Drain;
use crate::ops::metrics::Metrics;
use crate::ops::ownership::Ownership;
use crate::ops::pulse::Pulses;
use crate::ops::telemetry::{self, LogFormat};

/// How long a test waits for something that a node does by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node that ends when it is dropped, or stopped.
pub struct TestNode {
    /// The first address where DNS is answered.
    pub dns: SocketAddr,
    /// What was started.
    running: Option<Running>,
    /// Ends it.
    drain: Drain,
    /// Its metrics.
    metrics: Arc<Metrics>,
    /// What it was started with.
    builder: Builder,
    /// Its log.
    log: Log,
}

/// What to start a node with.
pub struct Builder {
    /// What plugins are set up with.
    environment: Environment,
}

impl Default for Builder {
    fn default() -> Self {
        let environment = Environment {
            metrics: Arc::new(Metrics::new()),
            clock: Arc::new(WallClock::new(0)),
            node_name: "test-node".to_owned(),
            overrides: Overrides::default(),
            own_addresses: None,
            in_cluster: false,
            carried: Arc::default(),
            ownership: Ownership::always(),
        };
        Self { environment }
    }
}

impl Builder {
    /// The name server's own addresses, instead of those of this machine.
    #[must_use]
    pub fn own_addresses(mut self, addresses: &[&str]) -> Self {
        let parse = |a: &&str| a.parse::<IpAddr>().expect("an address");
        self.environment.own_addresses = Some(addresses.iter().map(parse).collect());
        self
    }

    /// The node's name.
    #[must_use]
    pub fn node_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.environment.node_name);
        self
    }

    /// In the environment of a pod.
    #[must_use]
    pub fn in_cluster(mut self) -> Self {
        self.environment.in_cluster = true;
        self
    }

    /// Beside other processes of the node.
    #[must_use]
    pub fn ownership(mut self, ownership: Ownership) -> Self {
        self.environment.ownership = ownership;
        self
    }

    /// What flags would say.
    #[must_use]
    pub fn overrides(mut self, overrides: Overrides) -> Self {
        self.environment.overrides = overrides;
        self
    }

    /// Checks a Corefile, as `outlast check` does.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, text: &str) -> Result<Plan, Error> {
        let names = directive_names();
        let options = LoadOptions { directives: Some(&names), ..LoadOptions::default() };
        self.plan(&corefile::parse(text, "Corefile", &options)?)
    }

    /// Checks what was parsed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn plan(&self, corefile: &Corefile) -> Result<Plan, Error> {
        plan(corefile, &self.environment)
    }

    /// Starts a node in the current runtime, which has to be of one thread for the log to be complete.
    ///
    /// The Corefile should `bind 127.0.0.1` and use port 0, so that tests run side by side.
    ///
    /// # Panics
    /// When the Corefile is wrong or an address cannot be bound.
    pub fn start(self, text: &str) -> TestNode {
        let log = Log::start();
        let plan = self.check(text).unwrap_or_else(|e| panic!("{e}"));
        let drain = Drain::new();
        let running = running::start(plan, &self.environment, &drain, &Handle::current());
        let running = running.unwrap_or_else(|e| panic!("{e:#}"));
        let metrics = self.environment.metrics.clone();
        TestNode { dns: running.dns[0], running: Some(running), drain, metrics, builder: self, log }
    }
}

impl TestNode {
    /// Starts a node with nothing but a Corefile; see [`Builder::start`].
    pub fn start(text: &str) -> Self {
        Builder::default().start(text)
    }

    /// Signs of life of its listeners.
    ///
    /// # Panics
    /// When it was stopped.
    pub fn pulses(&self) -> &Pulses {
        self.running.as_ref().expect("it runs").pulses()
    }

    /// A client of its first address.
    pub fn client(&self) -> Client {
        Client::new(self.dns)
    }

    /// Where DNS is answered, in the order of the Corefile's listeners.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.running.as_ref().map_or(&[], |r| &r.dns)
    }

    /// Both ways that an answer takes at its first address, without the socket.
    ///
    /// # Panics
    /// When it was stopped.
    pub fn lanes(&self) -> Lanes {
        let listeners = self.running.as_ref().map(Running::listeners).unwrap_or_default();
        Lanes::new(listeners.into_iter().next().expect("a node that runs answers somewhere"), &self.metrics)
    }

    /// Where `/health`, `/ready` and `/metrics` are served.
    pub fn faces(&self) -> &[(Face, SocketAddr)] {
        self.running.as_ref().map_or(&[], |r| &r.faces)
    }

    /// Its metrics as text.
    pub fn scrape(&self) -> String {
        self.metrics.upkeep();
        self.metrics.render()
    }

    /// The value of one series, spelled as in the text; `None` if there is no such series.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.scrape();
        let line = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until the log has a line with this in it.
    ///
    /// # Panics
    /// When it never comes.
    pub async fn logged(&self, part: &str) {
        self.until(part, |node| node.log().contains(part)).await;
    }

    /// Waits until the data is in this state: `live`, `stale`, `expired` or `empty`.
    ///
    /// # Panics
    /// When it never is.
    pub async fn state(&self, state: &str) {
        let series = format!("outlast_data_state{{state=\"{state}\"}}");
        self.until(state, |node| node.metric(&series) == Some(1.0)).await;
    }

    /// Waits until something holds.
    ///
    /// # Panics
    /// When it does not in [`PATIENCE`].
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(std::time::Instant::now() < deadline, "never: {what}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Has it take over another Corefile.
    ///
    /// # Errors
    /// Why it does not; it is as it was then.
    pub async fn reload(&mut self, text: &str) -> anyhow::Result<()> {
        let carried = self.builder.environment.carried.clone();
        carried.begin();
        let Some(running) = &mut self.running else { return Ok(()) };
        let reloaded = match self.builder.check(text) {
            Ok(plan) => running.reload(plan).await.map_err(anyhow::Error::from),
            Err(error) => Err(error.into()),
        };
        if reloaded.is_err() {
            carried.abort();
        }
        reloaded
    }

    /// Ends it as SIGTERM would, without the lameduck.
    pub async fn stop(mut self) {
        self.drain.forced().cancel();
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.drain.forced().cancel();
    }
}

/// The log of the current thread, in memory.
pub struct Log {
    /// The lines.
    lines: Arc<Mutex<Vec<u8>>>,
    /// Writes them.
    telemetry: telemetry::Telemetry,
    /// Keeps this thread's events coming here.
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    /// From now on, until it is dropped.
    ///
    /// # Panics
    /// When the log cannot be set up.
    pub fn start() -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let filter = telemetry::parse_filter("debug").expect("a level is a filter");
        let (subscriber, telemetry) =
            telemetry::build(LogFormat::Text, filter, Sink(lines.clone())).expect("a thread for the log");
        let guard = tracing::subscriber::set_default(subscriber);
        Self { lines, telemetry, _guard: guard }
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.telemetry.flush(Duration::from_secs(5));
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&lines).into_owned()
    }
}

/// Where the lines go.
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
