//! Addresses of upstreams that are named, looked up once when the configuration begins.
//!
//! Nothing waits for it: until it is done the `forward` has the upstreams that are known. Nobody is asked in a
//! circle: servers that are this process itself are left out, and one that leads here by a detour gets SERVFAIL at
//! once, because the upstream that could answer is not known yet.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::{RData, RecordType};
use tokio::time::Instant;

use super::query::{Exchanged, Query};
use super::scope::wire_name;
use super::stream::{Dialer, Limits, Pool};
use super::{resolv, udp};

/// How long one server may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Where the system says who is to be asked.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Why a name has no address; logged, and tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAddress {
    /// There is nobody to ask.
    #[error("there is no server to ask: {0}")]
    NoServer(String),
    /// Nobody has an address.
    #[error("{0}")]
    Failed(String),
}

/// The servers to ask: those that are configured or the system's, but for those that are `listeners` of ours.
pub(super) fn servers(
    configured: &[SocketAddr],
    listeners: &[SocketAddr],
) -> Result<Vec<SocketAddr>, NoAddress> {
    match configured {
        [] => listed(Path::new(RESOLV_CONF), listeners),
        configured => others(configured.to_vec(), listeners),
    }
}

/// The name servers that a file lists, but for those that are `listeners` of ours.
pub(super) fn listed(path: &Path, listeners: &[SocketAddr]) -> Result<Vec<SocketAddr>, NoAddress> {
    others(resolv::read(path).map_err(|e| NoAddress::NoServer(e.to_string()))?, listeners)
}

fn others(mut servers: Vec<SocketAddr>, listeners: &[SocketAddr]) -> Result<Vec<SocketAddr>, NoAddress> {
    servers.retain(|server| !listeners.iter().any(|listener| is_same(*listener, *server)));
    if servers.is_empty() {
        return Err(NoAddress::NoServer("all of them are this server itself; set 'resolver'".to_owned()));
    }
    Ok(servers)
}

/// Whether who asks `server` asks `listener`.
fn is_same(listener: SocketAddr, server: SocketAddr) -> bool {
    let here = || std::net::UdpSocket::bind((server.ip(), 0)).is_ok();
    listener.port() == server.port()
        && (listener.ip() == server.ip() || listener.ip().is_unspecified() && here())
}

/// The addresses of `name`, IPv4 first, from the first server that has any.
pub(super) async fn look_up(name: &str, servers: &[SocketAddr]) -> Result<Vec<IpAddr>, NoAddress> {
    let mut failed = String::new();
    for server in servers {
        let mut found = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            match ask(name, kind, *server).await {
                Ok(addresses) => found.extend(addresses),
                Err(error) => failed = error,
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        if failed.is_empty() {
            failed = format!("{server} has no address of {name}");
        }
    }
    Err(NoAddress::Failed(failed))
}

async fn ask(name: &str, kind: RecordType, server: SocketAddr) -> Result<Vec<IpAddr>, String> {
    let header = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let kind = u16::from(kind).to_be_bytes();
    let name = wire_name(name).map_err(|e| e.to_string())?;
    let message = [&header[..], &name, &kind, &[0, 1]].concat();
    let query = Query::read(&message).ok_or("the question cannot be asked")?;
    let mut exchanged = udp::exchange(&query, server, None, Instant::now() + TIMEOUT).await;
    if exchanged.as_ref().is_ok_and(Exchanged::is_truncated) {
        let dialer = Dialer { peer: server, source: None, tls: None, timeout: TIMEOUT };
        let limits = Limits { expire: Duration::ZERO, max_age: None, max_idle: None };
        exchanged = Pool::new(dialer, limits).anew(&query).await;
    }
    match exchanged.map_err(|e| e.to_string())? {
        Exchanged::Reply { message, .. } => {
            let message = Message::from_vec(&message).map_err(|e| format!("{server}: {e}"))?;
            let address = |data: &RData| match data {
                RData::A(ip) => Some(IpAddr::from(ip.0)),
                RData::AAAA(ip) => Some(IpAddr::from(ip.0)),
                _ => None,
            };
            Ok(message.answers.iter().filter_map(|record| address(&record.data)).collect())
        }
        Exchanged::OtherQuestion { .. } => Err(format!("{server} answered another question")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_asks_himself() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (listener, server, same) in [
            ("127.0.0.1:53", "127.0.0.1:53", true),
            ("127.0.0.1:53", "127.0.0.1:5353", false),
            ("127.0.0.1:53", "127.0.0.2:53", false),
            ("0.0.0.0:53", "127.0.0.53:53", true),
            ("0.0.0.0:53", "192.0.2.1:53", false),
        ] {
            assert_eq!(is_same(at(listener), at(server)), same, "{listener} {server}");
        }
        let error = servers(&[at("127.0.0.1:53")], &[at("0.0.0.0:53")]).unwrap_err();
        assert!(error.to_string().contains("this server itself"), "{error}");
        let left = servers(&[at("127.0.0.1:53"), at("192.0.2.1:53")], &[at("0.0.0.0:53")]);
        assert_eq!(left.unwrap(), [at("192.0.2.1:53")]);
    }
}
