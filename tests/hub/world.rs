//! A small cluster whose objects come and go.

use outlast::drill::standin::{Config, Standin};
use outlast::feed::view::View;
use outlast::zone::object::Kind;
use serde_json::json;

pub(crate) const PLAIN: View = View { headless_only: false, pods: false };
pub(crate) const PODS: View = View { headless_only: false, pods: true };
pub(crate) const HEADLESS: View = View { headless_only: true, pods: false };

/// Services of a fresh cluster: none.
pub(crate) async fn cluster() -> Standin {
    Standin::start(Config::default()).await.unwrap()
}

/// A service, headless or not.
pub(crate) fn service(server: &Standin, name: &str, headless: bool) {
    let ip = if headless { "None" } else { "10.96.0.9" };
    let object = json!({
        "metadata": { "namespace": "shop", "name": name },
        "spec": { "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip] },
    });
    server.etcd().put(Kind::Service, &object).unwrap();
}

/// A slice of a service with this address, changed off at a time.
pub(crate) fn slice(server: &Standin, service: &str, address: &str) {
    let object = json!({
        "metadata": {
            "namespace": "shop", "name": format!("{service}-1"),
            "labels": { "kubernetes.io/service-name": service },
            "annotations": { "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z" },
        },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
        "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }],
    });
    server.etcd().put(Kind::EndpointSlice, &object).unwrap();
}

/// A pod.
pub(crate) fn pod(server: &Standin, name: &str) {
    let object = json!({
        "metadata": { "namespace": "shop", "name": name },
        "status": { "phase": "Running", "podIP": "10.1.2.3", "podIPs": [{ "ip": "10.1.2.3" }] },
    });
    server.etcd().put(Kind::Pod, &object).unwrap();
}

/// So many services with names of this prefix, each with a name that does not compress.
pub(crate) fn many(server: &Standin, prefix: &str, count: usize) {
    for n in 0..count {
        let salt = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        service(server, &format!("{prefix}-{salt:016x}"), false);
    }
}
