//! An address that another Outlast of the node still serves.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::ListenAddress;

/// How often to look whether it is free: probes of a process that is gone are unanswered for so long.
const LOOK: Duration = Duration::from_millis(250);

/// A socket there, once it can be had; `None` if one of these two comes first.
pub(super) async fn bind(
    address: &ListenAddress,
    plugin: &'static str,
    stop: &CancellationToken,
    leaving: &CancellationToken,
) -> Option<(TcpListener, SocketAddr)> {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            () = leaving.cancelled() => return None,
            _ = looks.tick() => {}
        }
        match address.bind(plugin, &[]) {
            Ok(bound) => return Some(bound),
            Err(error) if error.is_in_use() => {}
            Err(error) if !std::mem::replace(&mut said, true) => tracing::warn!(%error, "trying again"),
            Err(_) => {}
        }
    }
}
