//! What changes in a drill's cluster while it is played.
//!
//! In turn: a marker gets its next address, an endpoint of the made-up cluster comes or goes, a service is there or not.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::ask::questions::{MARKER, NAMESPACE};
use super::standin::changes::Changes;
use super::standin::etcd::{Etcd, ObjectError};
use crate::zone::object::Kind;

/// Services whose one address counts up with each write, so that an answer tells of which write it is.
const MARKERS: u32 = 8;

/// Services that come and go.
const FLAPS: u32 = 8;

/// What they are called.
const FLAP: &str = "flap";

/// Where the addresses of markers begin: a range that no made-up cluster has.
const FIRST: u32 = u32::from_be_bytes([10, 64, 0, 0]);

/// Those of services that come and go.
const FLAP_NET: [u8; 3] = [10, 96, 0];

/// The lowest of them: the first ten addresses of the services' range are the cluster's own, and a made-up cluster has
/// those from there on.
const FLAP_FIRST: u8 = 1;

/// Writes the first state of what will change.
///
/// # Errors
/// None that these objects can cause.
pub fn prepare(etcd: &Etcd) -> Result<(), ObjectError> {
    etcd.put(Kind::Namespace, &json!({ "metadata": { "name": NAMESPACE } }))?;
    for n in 0..MARKERS {
        let service = json!({
            "metadata": { "namespace": NAMESPACE, "name": format!("{MARKER}-{n}") },
            "spec": { "type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "ports": [{ "name": "m", "port": 80 }] },
        });
        etcd.put(Kind::Service, &service)?;
        etcd.put(Kind::EndpointSlice, &marker(n, n))?;
    }
    for n in 0..FLAPS {
        etcd.put(Kind::Service, &flap(n))?;
    }
    Ok(())
}

/// The slice of a marker with its `number`-th address.
fn marker(n: u32, number: u32) -> Value {
    let name = format!("{MARKER}-{n}");
    let address = Ipv4Addr::from(FIRST.wrapping_add(number)).to_string();
    json!({
        "metadata": {
            "namespace": NAMESPACE,
            "name": format!("{name}-1"),
            "labels": { "kubernetes.io/service-name": name },
        },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
        "ports": [{ "name": "m", "port": 80, "protocol": "TCP" }],
    })
}

/// A service that comes and goes.
fn flap(n: u32) -> Value {
    let [a, b, c] = FLAP_NET;
    let address = Ipv4Addr::new(a, b, c, FLAP_FIRST + n as u8).to_string();
    json!({
        "metadata": { "namespace": NAMESPACE, "name": format!("{FLAP}-{n}") },
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }],
        },
    })
}

/// Changes the cluster until it is dropped.
pub struct Churn {
    /// Whether to end.
    stop: Arc<AtomicBool>,
    /// Whether nothing is to change meanwhile.
    rests: Arc<AtomicBool>,
    /// The thread.
    thread: Option<JoinHandle<()>>,
}

impl Churn {
    /// Begins; a change each `every`.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(etcd: &Etcd, every: Duration, seed: u64) -> io::Result<Self> {
        let (stop, rests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (etcd, stopped, resting) = (etcd.clone(), stop.clone(), rests.clone());
        let mut changes = Changes::of(&etcd, seed);
        let run = move || {
            let (mut next, mut number) = (Instant::now(), 0);
            while !stopped.load(Ordering::Relaxed) {
                if !resting.load(Ordering::Relaxed) {
                    change(&etcd, &mut changes, number);
                    number = number.wrapping_add(1);
                }
                next += every;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        };
        let thread = std::thread::Builder::new().name("outlast-churn".to_owned()).spawn(run)?;
        Ok(Self { stop, rests, thread: Some(thread) })
    }

    /// Changes nothing meanwhile, or goes on.
    pub fn rest(&self, rests: bool) {
        self.rests.store(rests, Ordering::Relaxed);
    }

    /// Changes nothing more.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked changes nothing, either.
            let _ = thread.join();
        }
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes the `number`-th change.
pub(super) fn change(etcd: &Etcd, changes: &mut Changes, number: u32) {
    let round = number / 3;
    match number % 3 {
        0 => {
            // Objects of our own making can be stored.
            let _ = etcd.put(Kind::EndpointSlice, &marker(round % MARKERS, MARKERS + round));
        }
        1 => drop(changes.step()),
        _ => {
            let n = round % FLAPS;
            if etcd.delete(Kind::Service, NAMESPACE, &format!("{FLAP}-{n}")).is_none() {
                let _ = etcd.put(Kind::Service, &flap(n));
            }
        }
    }
}
