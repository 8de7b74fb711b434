//! A machine with addresses of a Service and of its own, and what the kernel says of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outlast::net::Endpoint;
use outlast::net::config::Config;
use outlast::net::fallback::Fallback;
use outlast::net::layout::{FLOWS, Layout};
use outlast::net::start::{Look, Prepared, StartError, look};
use outlast::ops::metrics::Metrics;

use super::machine::{Machine, possible};
use super::process::run;
use super::programs::there;

/// Addresses of a Service.
pub(super) const SERVICE: &str = "10.96.0.10";
pub(super) const SERVICE6: &str = "fd00:96::a";

/// Addresses of the node's own.
pub(super) const LOCAL: &str = "169.254.20.10";
pub(super) const LOCAL6: &str = "fd00:20::10";

/// All of them.
pub(super) const ALL: [&str; 4] = [SERVICE, LOCAL, SERVICE6, LOCAL6];

/// How long the kernel may take for what it does soon: only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether such a machine can be had.
pub(super) fn possible_with_tables() -> bool {
    possible() && there(&["nft"])
}

/// One.
pub(super) fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// Some.
pub(super) fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| ip(address)).collect()
}

/// Endpoints at these addresses, by both protocols.
pub(super) fn endpoints(at: &[&str]) -> Vec<Endpoint> {
    at.iter().map(|of| Endpoint { udp: of.parse().ok(), tcp: of.parse().ok() }).collect()
}

/// What there is to fall back to: two endpoints of IPv4 and one of IPv6.
pub(super) fn cluster_dns() -> Vec<Endpoint> {
    endpoints(&["10.244.0.10:1053", "10.244.0.11:1053", "[fd00:244::10]:1053"])
}

/// What has to be there for all addresses.
pub(super) fn layout() -> Layout {
    let mut layout = Layout::new(&ips(&ALL), &ips(&[SERVICE, SERVICE6]), 53, FLOWS);
    layout.fallback = Fallback::new(&cluster_dns(), layout.addresses());
    layout
}

/// Does something in the network of a machine, on a runtime of this one thread.
pub(super) fn inside<T: Send>(machine: &Machine, work: impl AsyncFnOnce() -> T + Send) -> T {
    machine.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work())
    })
}

/// Puts addresses on the node as the program does, for listeners that keep nothing idle.
pub(super) fn prepare(config: Config, metrics: &Arc<Metrics>) -> Result<Prepared, StartError> {
    match look(config)? {
        Look::Here(surveyed) => surveyed.prepare(Duration::ZERO, metrics),
        Look::ByOthers => panic!("nothing is led here"),
    }
}

/// The output of a command on a machine, which has to succeed.
pub(super) fn output(machine: &Machine, program: &str, arguments: &str) -> String {
    let (code, output, error) = run(machine.command(program).args(arguments.split_whitespace()));
    assert_eq!(code, 0, "{program} {arguments}: {error}");
    output
}

/// Gives `nft` one command, which it may split as it likes.
pub(super) fn nft(machine: &Machine, command: &str) -> String {
    let (code, output, error) = run(machine.command("nft").arg(command));
    assert_eq!(code, 0, "nft {command}: {error}");
    output
}

/// Waits until something holds; how long that took.
pub(super) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}: not yet");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}
