//! `outlast node`, with the Corefile that kubeadm writes on ports that are free.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Place, Server};
use crate::support::process::Process;
use crate::support::scrape::Scrape;

/// How long a node may take until its data is live: it has a whole cluster to list.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at its metrics.
const LOOK: Duration = Duration::from_millis(50);

/// Starts one that follows an API server and forwards to this upstream; it keeps its snapshots in `dir` from one
/// start to the next.
pub(super) fn start(
    dir: &Path,
    kubeconfig: &Path,
    upstream: SocketAddr,
    place: Place,
) -> Result<Server, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, super::free_port()?));
    // kubeadm's, but for addresses and for where the API server is.
    let text = format!(
        ".:{port} {{
    {bind}
    errors
    health 127.0.0.1:0 {{
       lameduck 5s
    }}
    ready 127.0.0.1:0
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
       kubeconfig {kubeconfig}
       snapshot {snapshot}
    }}
    prometheus 127.0.0.1:0
    forward . {upstream} {{
       max_concurrent 1000
    }}
    cache 30 {{
       disable success cluster.local
       disable denial cluster.local
    }}
    loop
    reload
    loadbalance
}}
",
        port = address.port(),
        bind = match place {
            Place::Loopback => format!("bind {}", address.ip()),
            Place::Wildcard => String::new(),
        },
        kubeconfig = kubeconfig.display(),
        snapshot = dir.join("snapshot").display(),
    );
    let corefile = dir.join("Corefile");
    std::fs::write(&corefile, text).map_err(|e| format!("{}: {e}", corefile.display()))?;
    let mut command = Process::command();
    let mut process = Process::start(command.args(["node", "--quiet", "--conf"]).arg(&corefile));
    let metrics = Some(process.address("serving /metrics")?);
    Ok(Server { process, address, metrics })
}

/// Waits until its source has proved its data.
pub(super) fn until_live(metrics: SocketAddr) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let scrape = Scrape::of(metrics).map_err(|e| format!("reading metrics: {e}"))?;
        if scrape.value("outlast_data_state{state=\"live\"}") == 1.0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the node's data is not live within {PATIENCE:?}"));
        }
        std::thread::sleep(LOOK);
    }
}
