//! Small objects with readable names.

use outlast::drill::standin::{Config, Standin};
use outlast::zone::object::Kind;
use serde_json::{Value, json};

/// A server in memory without any object, at revision 1.
pub(crate) fn bare() -> Standin {
    bare_with(Config::default())
}

/// The same with a configuration.
pub(crate) fn bare_with(config: Config) -> Standin {
    Standin::in_memory(Config { fresh_namespaces: false, ..config }).unwrap()
}

/// `shop/web` as a Service.
pub(crate) fn service(key: &str) -> Value {
    labelled(key, json!({}))
}

/// The same with labels.
pub(crate) fn labelled(key: &str, labels: Value) -> Value {
    let (namespace, name) = key.split_once('/').unwrap();
    json!({
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "spec": { "type": "ClusterIP", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"] },
    })
}

/// Writes a Service; returns its version.
pub(crate) fn put(standin: &Standin, key: &str) -> u64 {
    standin.etcd().put(Kind::Service, &service(key)).unwrap()
}

/// Deletes a Service; returns the deletion's version.
pub(crate) fn delete(standin: &Standin, key: &str) -> u64 {
    let (namespace, name) = key.split_once('/').unwrap();
    standin.etcd().delete(Kind::Service, namespace, name).unwrap()
}

/// Services `a/s0` … at versions 2 ….
pub(crate) fn with_services(count: usize) -> Standin {
    let standin = bare();
    for i in 0..count {
        put(&standin, &format!("a/s{i}"));
    }
    standin
}
