//! The node that is flooded, and what its metrics say of that.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::process::Process;
use crate::support::scrape::Scrape;

/// How long it may take for its table, and for what waits at the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at its metrics.
const LOOK: Duration = Duration::from_millis(200);

/// A running node and an upstream that says nothing.
pub(crate) struct Node {
    process: Process,
    /// Where it answers.
    pub(crate) dns: SocketAddr,
    /// Where its metrics are.
    metrics: SocketAddr,
    /// Never read.
    _upstream: UdpSocket,
}

/// What became of the queries that were forwarded, by the reason for their SERVFAIL.
pub(crate) struct Fate {
    /// Queries that got SERVFAIL or REFUSED.
    answered: u64,
    /// In the order of [`Fate::REASONS`], but for the last.
    by_limit: [u64; Fate::REASONS.len() - 1],
}

impl Fate {
    /// Why there was no answer; the last are those that waited for the upstream until that was over.
    pub(crate) const REASONS: [&str; 7] =
        ["queue full", "room full", "client's share", "max_concurrent", "flights", "forwards", "timed out"];

    /// Queries that the node has read.
    pub(crate) const fn read(&self) -> u64 {
        self.answered
    }

    /// How many, in the order of [`Self::REASONS`].
    pub(crate) fn by_reason(&self) -> impl Iterator<Item = u64> {
        let [queue, room, client, refused, flights, forwards] = self.by_limit;
        // Who found no flight went on without one: into one of the others.
        let timed_out = self.answered.saturating_sub(queue + room + client + refused + forwards);
        [queue, room, client, refused, flights, forwards, timed_out].into_iter()
    }
}

impl Node {
    /// Starts one with the cluster of this file, once it has its table.
    pub(crate) fn start(dir: &Path, cluster: &Path, forward: &str) -> Result<Self, String> {
        let upstream = UdpSocket::bind("127.0.0.1:0").map_err(|e| format!("an upstream: {e}"))?;
        let address = upstream.local_addr().map_err(|e| e.to_string())?;
        let corefile = dir.join("Corefile");
        let text = format!(
            ".:0 {{\n bind 127.0.0.1\n errors\n prometheus 127.0.0.1:0\n \
             kubernetes cluster.local in-addr.arpa ip6.arpa {{\n source file {}\n }}\n \
             forward . {address} {{\n {forward}\n }}\n cache 30\n loadbalance\n}}\n",
            cluster.display()
        );
        std::fs::write(&corefile, text).map_err(|e| e.to_string())?;
        let mut command = Process::command();
        command.args(["node", "--quiet", "--conf"]).arg(&corefile);
        let mut process = Process::start(&mut command);
        let dns = process.address("answering dns")?;
        let metrics = process.address("serving /metrics")?;
        let node = Self { process, dns, metrics, _upstream: upstream };
        node.wait_until("it has its table", |scrape| {
            scrape.value("outlast_data_state{state=\"live\"}") > 0.0
        })?;
        Ok(node)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until nothing of the flood is left.
    pub(crate) fn wait_until_quiet(&self) -> Result<(), String> {
        self.wait_until("nothing waits", |scrape| {
            scrape.value("outlast_waiting_queries") + scrape.sum("outlast_cache_flights") < 1.0
        })
    }

    /// What became of the flood so far.
    pub(crate) fn fate(&self) -> Result<Fate, String> {
        let scrape = self.scrape()?;
        let limit = |limit| scrape.value(&format!("outlast_overload_total{{limit=\"{limit}\"}}")) as u64;
        let by_limit = [
            limit("udp_queue") + limit("udp_queue_per_client"),
            limit("waiting_queries") + limit("replies_leaving"),
            limit("waiting_per_client"),
            scrape.sum("coredns_forward_max_concurrent_rejects_total") as u64,
            limit("cache_flights"),
            scrape.sum("outlast_forward_in_flight_rejects_total") as u64,
        ];
        let answered = scrape.sum_with("coredns_dns_responses_total", "rcode=\"SERVFAIL\"")
            + scrape.sum_with("coredns_dns_responses_total", "rcode=\"REFUSED\"");
        Ok(Fate { answered: answered as u64, by_limit })
    }

    fn scrape(&self) -> Result<Scrape, String> {
        Scrape::of(self.metrics).map_err(|e| format!("reading metrics: {e}"))
    }

    fn wait_until(&self, what: &str, holds: impl Fn(&Scrape) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if holds(&self.scrape()?) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err(format!("not within {PATIENCE:?}: {what}"))
    }
}
