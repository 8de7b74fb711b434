//! Ports of loopback that nobody has: below those that the system gives to clients, so that a process that ends and
//! starts again finds its own free.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::bail;

/// Where they are looked for: above those of services; below 30000, from which on Kubernetes has NodePorts, whose packets
/// kube-proxy takes on loopback, too.
const FIRST: u16 = 20_000;

/// How many there are.
const COUNT: u16 = 10_000;

/// Where this process began to look: elsewhere than others that drill at the same time.
static BEGAN: LazyLock<u16> = LazyLock::new(|| rand::random::<u16>() % COUNT);

/// How many were looked at.
static LOOKED: AtomicU16 = AtomicU16::new(0);

/// An address of loopback whose port is free for UDP and TCP, and was not given before.
///
/// # Errors
/// None is free.
pub(super) fn free() -> anyhow::Result<SocketAddr> {
    for _ in 0..COUNT {
        let place =
            (u32::from(*BEGAN) + u32::from(LOOKED.fetch_add(1, Ordering::Relaxed))) % u32::from(COUNT);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + place as u16));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port of loopback is free between {FIRST} and {}", FIRST + COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let mut ports: Vec<_> = (0..50).map(|_| free().unwrap().port()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| (FIRST..FIRST + COUNT).contains(port)));
    }
}
