//! Asks our own `/health` once a second: the process's view of how quickly it still gets to answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::ops::catalogue;
use crate::ops::metrics::Metrics;

/// How often to ask.
const INTERVAL: Duration = Duration::from_secs(1);
/// When a request has failed.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A request that takes longer is told of.
const SLOW: Duration = Duration::from_secs(1);
/// Bytes of an answer that are read at most; ours has about a hundred.
const MAX_ANSWER: u64 = 1 << 10;
/// The log target under which CoreDNS's users look for it.
const TARGET: &str = "plugin/health";

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Answered in time.
    Good,
    /// Answered after [`SLOW`].
    Slow,
    /// Not answered, or not with 200.
    Failed,
}

/// Asks `address` every second until `stop`, and counts.
pub(super) async fn probe_health(address: SocketAddr, metrics: Arc<Metrics>, stop: CancellationToken) {
    let duration = metrics.histogram(catalogue::HEALTH_DURATION, &[]);
    let failures = metrics.counter(catalogue::HEALTH_FAILURES, &[]);
    failures.increment(0);
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Outcome::Good;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(outcome) = stop.run_until_cancelled(probe(address, &duration, &failures, last)).await else {
            return;
        };
        last = outcome;
    }
}

/// Asks once; logs where the outcome differs from the last one.
async fn probe(address: SocketAddr, duration: &Histogram, failures: &Counter, last: Outcome) -> Outcome {
    let begin = Instant::now();
    let result = timeout(TIMEOUT, request(reachable(address)))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let took = begin.elapsed();
    duration.record(took);
    let outcome = match &result {
        Ok(()) if took <= SLOW => Outcome::Good,
        Ok(()) => Outcome::Slow,
        Err(_) => Outcome::Failed,
    };
    if outcome == Outcome::Failed {
        failures.increment(1);
    }
    if outcome != last {
        log(address, outcome, took, result.err());
    }
    outcome
}

/// Says that the outcome is another one than before; not every second anew.
fn log(address: SocketAddr, outcome: Outcome, took: Duration, error: Option<io::Error>) {
    let error = error.as_ref().map(tracing::field::display);
    match outcome {
        Outcome::Failed => tracing::warn!(target: TARGET, %address, error, "local health request failed"),
        Outcome::Slow => {
            tracing::warn!(target: TARGET, %address, ?took, "local health request took more than 1s");
        }
        Outcome::Good => tracing::info!(target: TARGET, %address, "local health requests are answered again"),
    }
}

/// Where to reach a listener of `address`. One that listens on everything has IPv4, if the host has.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        _ => address,
    }
}

/// One request; an error unless the answer is 200.
async fn request(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    match answer.starts_with(b"HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(io::Error::other("not answered with 200")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A server that answers every request after `delay` with `answer`; its address.
    async fn fake(delay: Duration, answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::time::sleep(delay).await;
                let mut head = [0; 512];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn outcomes_are_told_apart_and_counted() {
        struct Case {
            name: &'static str,
            delay: Duration,
            answer: &'static str,
            want: Outcome,
        }
        let cases = [
            Case {
                name: "answered",
                delay: Duration::ZERO,
                answer: "HTTP/1.1 200 OK\r\n\r\nOK",
                want: Outcome::Good,
            },
            Case {
                name: "answered late",
                delay: SLOW + Duration::from_millis(50),
                answer: "HTTP/1.1 200 OK\r\n\r\nOK",
                want: Outcome::Slow,
            },
            Case {
                name: "another status",
                delay: Duration::ZERO,
                answer: "HTTP/1.1 404 Not Found\r\n\r\n",
                want: Outcome::Failed,
            },
            Case { name: "nothing", delay: Duration::ZERO, answer: "", want: Outcome::Failed },
        ];
        for Case { name, delay, answer, want } in cases {
            let metrics = Metrics::new();
            let duration = metrics.histogram(catalogue::HEALTH_DURATION, &[]);
            let failures = metrics.counter(catalogue::HEALTH_FAILURES, &[]);
            let address = fake(delay, answer).await;
            assert_eq!(probe(address, &duration, &failures, Outcome::Good).await, want, "{name}");
            let text = metrics.render();
            assert!(text.contains("coredns_health_request_duration_seconds_count 1\n"), "{name}");
            let failed = u32::from(want == Outcome::Failed);
            assert!(text.contains(&format!("coredns_health_request_failures_total {failed}\n")), "{name}");
        }
    }

    #[test]
    fn listeners_on_everything_are_reached_on_loopback() {
        for (bound, want) in [
            ("[::]:8080", "127.0.0.1:8080"),
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("10.0.0.1:8080", "10.0.0.1:8080"),
            ("[fd00::1]:8080", "[fd00::1]:8080"),
        ] {
            assert_eq!(reachable(bound.parse().unwrap()), want.parse().unwrap(), "{bound}");
        }
    }
}
