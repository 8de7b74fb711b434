//! Hubs and nodes in memory, for paused time: the real ones, but for sockets. HTTP/2 and gRPC are the same.
//!
//! Hours of an outage pass in seconds here, because nothing waits for anything but tokio's clock.
//!
//! * [`wires`]: connections that can be cut, stalled and refused.
//! * [`hub`]: a hub over an API server stand-in.
//! * [`node`]: a node that follows hubs or an API server; [`lanes`]: both ways that its answers take.
//! * [`disk`]: one that can be full.
//! * [`Network`]: who is reached at which address.

pub mod disk;
pub mod hub;
pub mod lanes;
pub mod node;
pub mod wires;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::io::DuplexStream;

use self::wires::Wires;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::source::Wanted;
use crate::source::hub::HubSource;
use crate::source::hub::access::HubAccess;
use crate::source::hub::transport::{Dial, Link, NotDialled, over};

/// Takes a connection.
type Door = Arc<dyn Fn(DuplexStream) + Send + Sync>;

/// Who is reached at which address. Clones share it.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<HashMap<SocketAddr, Door>>>);

impl Network {
    /// From now on whoever dials this address comes to this door, or to none.
    fn set(&self, address: SocketAddr, door: Option<Door>) {
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match door {
            Some(door) => drop(doors.insert(address, door)),
            None => drop(doors.remove(&address)),
        }
    }

    fn door(&self, address: SocketAddr) -> Option<Door> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&address).cloned()
    }

    /// A source that follows hubs of this network, over these wires by the hub's address.
    pub fn source(
        &self,
        access: &HubAccess,
        wanted: Wanted,
        jitter: Jitter,
        metrics: &Arc<Metrics>,
        wires: HashMap<SocketAddr, Wires>,
    ) -> HubSource {
        let dial = Arc::new(Wired { network: self.clone(), wires });
        HubSource::with_dial(access, wanted, None, jitter, metrics, dial)
    }
}

/// Dials over wires.
struct Wired {
    /// Who is there.
    network: Network,
    /// The way there, by hub.
    wires: HashMap<SocketAddr, Wires>,
}

#[async_trait]
impl Dial for Wired {
    async fn dial(&self, hub: SocketAddr) -> Result<Link, NotDialled> {
        let unreachable = || NotDialled::Unreachable("connecting: refused".to_owned());
        let door = self.network.door(hub).ok_or_else(unreachable)?;
        let wires = self.wires.get(&hub).ok_or_else(unreachable)?;
        let (near, far) = wires.open().map_err(|_| unreachable())?;
        door(far);
        over(near).await
    }
}
