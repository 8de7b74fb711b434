//! `outlast snapshot export` and `import`: out of a snapshot into what `kubectl` prints and `source file` reads,
//! and from objects into a snapshot file.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::atomic;
use super::decode::Verified;
use super::disk::Disk;
use super::encode::{Written, encode};
use super::header::Header;
use super::save::SaveError;
use crate::zone::object::{
    Addresses, EndpointSlice, Labels, Namespace, Object, ObjectRef, Pod, Port, Protocol, Service, Shape,
};

/// The label by which a slice names its service.
/// <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#ownership>
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Writes the objects as a `List` in JSON, one object a line. Only what DNS needs was ever in the snapshot, so
/// the list is for `source file` and for people, not for `kubectl apply`. Returns how many objects there were.
///
/// Fails when `out` fails or an object cannot be decoded; then a part was written.
pub fn export(out: &mut dyn Write, snapshot: &Verified<'_>) -> anyhow::Result<u64> {
    out.write_all(br#"{"apiVersion":"v1","kind":"List","items":["#)?;
    let mut objects = Vec::new();
    let count = snapshot.objects(|object| objects.push(object))?;
    // In the order of their keys, so that two exports can be compared line by line.
    objects.sort_by_cached_key(Object::key);
    for (at, object) in objects.iter().enumerate() {
        let separator = if at == 0 { "\n" } else { ",\n" };
        write!(out, "{separator}{}", item(object)).context("writing the list")?;
    }
    out.write_all(b"\n]}\n")?;
    Ok(count)
}

/// Writes `objects` as the snapshot file `path`, replacing what has that name in one step.
pub fn import<'a>(
    disk: &dyn Disk,
    path: &Path,
    header: &Header,
    objects: impl IntoIterator<Item = ObjectRef<'a>>,
) -> Result<Written, SaveError> {
    atomic::replace(disk, path, |to| {
        encode(to, header, objects).map_err(|source| SaveError::Encode { path: path.to_owned(), source })
    })
}

// === Objects as kubectl prints them ===

/// An item of the list.
fn item(object: &Object) -> Value {
    match object {
        Object::Namespace(o) => namespace(o),
        Object::Service(o) => service(o),
        Object::EndpointSlice(o) => slice(o),
        Object::Pod(o) => pod(o),
    }
}

fn namespace(o: &Namespace) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": o.name, "labels": labels(&o.labels, None) },
    })
}

fn service(o: &Service) -> Value {
    let ports = ports(&o.ports);
    let spec = match &o.shape {
        Shape::ClusterIp(ips) => json!({
            "type": "ClusterIP",
            "clusterIP": ips.first().map(ToString::to_string).unwrap_or_default(),
            "clusterIPs": ips,
            "ports": ports,
        }),
        Shape::Headless => {
            json!({ "type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "ports": ports })
        }
        Shape::ExternalName(name) => json!({ "type": "ExternalName", "externalName": name, "ports": ports }),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "namespace": o.namespace, "name": o.name, "labels": labels(&o.labels, None) },
        "spec": spec,
    })
}

fn slice(o: &EndpointSlice) -> Value {
    let endpoints = o.endpoints.iter().map(|e| {
        // An endpoint without a name is named after its address as the API spelled it.
        let address = if e.spelling.is_empty() { e.address.to_string() } else { e.spelling.to_owned() };
        let mut endpoint = json!({ "addresses": [address], "conditions": { "ready": true } });
        if !e.hostname.is_empty() {
            endpoint["hostname"] = e.hostname.into();
        }
        if !e.target.is_empty() {
            endpoint["targetRef"] = json!({ "kind": "Pod", "namespace": o.namespace, "name": e.target });
        }
        endpoint
    });
    let family = match o.endpoints.addresses() {
        Addresses::V4(_) => "IPv4",
        Addresses::V6(_) => "IPv6",
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": o.namespace,
            "name": o.name,
            "labels": labels(&o.labels, Some(&o.service)),
        },
        "addressType": family,
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": ports(&o.ports),
    })
}

fn pod(o: &Pod) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": o.namespace, "name": o.name, "labels": labels(&o.labels, None) },
        "status": { "phase": "Running", "podIP": o.ip },
    })
}

/// The labels, and with them the service that a slice belongs to.
fn labels(labels: &Labels, service: Option<&str>) -> Value {
    let mut map: serde_json::Map<_, _> = labels.iter().map(|(k, v)| (k.to_string(), (**v).into())).collect();
    if let Some(service) = service.filter(|s| !s.is_empty()) {
        map.insert(SERVICE_NAME.to_owned(), service.into());
    }
    map.into()
}

fn ports(ports: &[Port]) -> Vec<Value> {
    let port = |p: &Port| {
        let mut port = serde_json::Map::new();
        if !p.name.is_empty() {
            port.insert("name".to_owned(), (*p.name).into());
        }
        if let Some(number) = p.number {
            port.insert("port".to_owned(), number.into());
        }
        if p.protocol != Protocol::Unset {
            port.insert("protocol".to_owned(), p.protocol.label().to_uppercase().into());
        }
        port.into()
    };
    ports.iter().map(port).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::super::disk::RealDisk;
    use super::*;
    use crate::zone::object::Endpoints;

    fn exported(objects: &[Object]) -> String {
        let mut file = Vec::new();
        encode(&mut file, &Header::default(), objects.iter().map(ObjectRef::from)).expect("memory takes it");
        let mut out = Vec::new();
        let count = export(&mut out, &Verified::new(&file).expect("whole")).expect("memory takes it");
        assert_eq!(count, objects.len() as u64);
        String::from_utf8(out).expect("JSON is text")
    }

    #[test]
    fn objects_are_what_kubectl_prints() {
        struct Case {
            name: &'static str,
            object: Object,
            json: Value,
        }
        fn port(name: &str, number: Option<u16>, protocol: Protocol) -> Port {
            Port { name: name.into(), number, protocol }
        }
        fn service(shape: Shape, ports: &[Port]) -> Object {
            let (namespace, name) = ("shop".into(), "web".into());
            Object::Service(Service { namespace, name, shape, ports: ports.into(), labels: [].into() })
        }
        fn service_json(spec: Value) -> Value {
            let metadata = json!({ "namespace": "shop", "name": "web", "labels": {} });
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec })
        }
        let v4 = Addresses::V4([Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)].into());
        let v6 = Addresses::V6([Ipv6Addr::LOCALHOST].into());
        let slice = |service: &str, endpoints, ports: &[Port]| {
            Object::EndpointSlice(EndpointSlice {
                namespace: "shop".into(),
                name: "web-x".into(),
                service: service.into(),
                ports: ports.into(),
                endpoints,
                labels: [].into(),
            })
        };
        let cases = [
            Case {
                name: "namespace with a label",
                object: Object::Namespace(Namespace {
                    name: "shop".into(),
                    labels: [("a".into(), "b".into())].into(),
                }),
                json: json!({
                    "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop", "labels": { "a": "b" } }
                }),
            },
            Case {
                name: "dual-stack service",
                object: service(
                    Shape::ClusterIp([Ipv4Addr::new(10, 0, 0, 9).into(), Ipv6Addr::LOCALHOST.into()].into()),
                    &[port("dns", Some(53), Protocol::Udp)],
                ),
                json: service_json(json!({
                    "type": "ClusterIP", "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9", "::1"],
                    "ports": [{ "name": "dns", "port": 53, "protocol": "UDP" }],
                })),
            },
            Case {
                name: "service without an address yet",
                object: service(Shape::ClusterIp([].into()), &[]),
                json: service_json(
                    json!({ "type": "ClusterIP", "clusterIP": "", "clusterIPs": [], "ports": [] }),
                ),
            },
            Case {
                name: "headless service with a port of no name",
                object: service(Shape::Headless, &[port("", Some(80), Protocol::Unset)]),
                json: service_json(json!({
                    "type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "ports": [{ "port": 80 }],
                })),
            },
            Case {
                name: "external name",
                object: service(Shape::ExternalName("example.com.".into()), &[]),
                json: service_json(
                    json!({ "type": "ExternalName", "externalName": "example.com.", "ports": [] }),
                ),
            },
            Case {
                name: "slice with names",
                object: slice(
                    "web",
                    Endpoints::new(v4, &["web-0", ""], &["", "pod-1"], &[]).expect("even"),
                    &[port("", None, Protocol::Sctp)],
                ),
                json: json!({
                    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                    "metadata": {
                        "namespace": "shop", "name": "web-x", "labels": { "kubernetes.io/service-name": "web" },
                    },
                    "endpoints": [
                        { "addresses": ["10.0.0.1"], "conditions": { "ready": true }, "hostname": "web-0" },
                        {
                            "addresses": ["10.0.0.2"], "conditions": { "ready": true },
                            "targetRef": { "kind": "Pod", "namespace": "shop", "name": "pod-1" },
                        },
                    ],
                    "ports": [{ "protocol": "SCTP" }],
                }),
            },
            Case {
                name: "slice of no service, with the API's own spelling",
                object: slice("", Endpoints::new(v6, &[], &[], &["0:0::1"]).expect("even"), &[]),
                json: json!({
                    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv6",
                    "metadata": { "namespace": "shop", "name": "web-x", "labels": {} },
                    "endpoints": [{ "addresses": ["0:0::1"], "conditions": { "ready": true } }],
                    "ports": [],
                }),
            },
            Case {
                name: "pod",
                object: Object::Pod(Pod {
                    namespace: "shop".into(),
                    name: "p".into(),
                    ip: IpAddr::from([10, 0, 0, 7]),
                    labels: [].into(),
                }),
                json: json!({
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": { "namespace": "shop", "name": "p", "labels": {} },
                    "status": { "phase": "Running", "podIP": "10.0.0.7" },
                }),
            },
        ];
        for Case { name, object, json } in cases {
            let text = exported(&[object]);
            let list: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(list, json!({ "apiVersion": "v1", "kind": "List", "items": [json] }), "{name}");
        }
    }

    #[test]
    fn every_object_has_its_line() {
        let object = |n: &str| Object::Namespace(Namespace { name: n.into(), labels: [].into() });
        assert_eq!(exported(&[object("a"), object("b")]).lines().count(), 4);
        let empty: Value = serde_json::from_str(&exported(&[])).expect("JSON");
        assert_eq!(empty["items"], json!([]));
    }

    #[test]
    fn what_is_imported_can_be_read() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let path = temp.path().join("state.snap");
        let object = Object::Namespace(Namespace { name: "a".into(), labels: [].into() });
        let header = Header { zone: "cluster.local.".into(), ..Header::default() };
        for _ in 0..2 {
            import(&RealDisk, &path, &header, [ObjectRef::from(&object)]).expect("there is room");
        }
        let file = std::fs::read(&path).expect("it is there");
        assert_eq!(Verified::new(&file).expect("whole").header(), &header);
        assert_eq!(std::fs::read_dir(temp.path()).expect("listed").count(), 1);
    }
}
