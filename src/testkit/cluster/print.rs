//! Objects as `kubectl get ns,svc,endpointslices,pods -A -o json` prints them: sorted keys, four spaces, and the
//! many fields that DNS does not need, so that a reader is measured with what it will meet.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::ser::PrettyFormatter;
use serde_json::{Map, Value, json};

use crate::zone::object::{
    Addresses, EndpointSlice, Labels, Namespace, Object, Pod, Port, Protocol, Service, Shape,
};

/// Writes `objects` as one List. One object is held as JSON at a time.
pub fn write_json(objects: &[Object], out: impl Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    let format = PrettyFormatter::with_indent(b"    ");
    List(objects).serialize(&mut serde_json::Serializer::with_formatter(&mut out, format))?;
    writeln!(out)?;
    out.flush()
}

/// A List of these objects.
struct List<'a>(&'a [Object]);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_map(Some(4))?;
        list.serialize_entry("apiVersion", "v1")?;
        list.serialize_entry("items", &Items(self.0))?;
        list.serialize_entry("kind", "List")?;
        list.serialize_entry("metadata", &json!({"resourceVersion": ""}))?;
        list.end()
    }
}

/// Its items.
struct Items<'a>(&'a [Object]);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = serializer.serialize_seq(Some(self.0.len()))?;
        for (number, object) in self.0.iter().enumerate() {
            items.serialize_element(&to_json(object, number))?;
        }
        items.end()
    }
}

/// One object; `number` makes its uid and resourceVersion.
fn to_json(object: &Object, number: usize) -> Value {
    match object {
        Object::Namespace(o) => namespace(o, number),
        Object::Service(o) => service(o, number),
        Object::EndpointSlice(o) => endpoint_slice(o, number),
        Object::Pod(o) => pod(o, number),
    }
}

fn namespace(o: &Namespace, number: usize) -> Value {
    let mut metadata = metadata("", &o.name, &o.labels, number);
    metadata["labels"]["kubernetes.io/metadata.name"] = json!(o.name);
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": metadata,
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    })
}

fn service(o: &Service, number: usize) -> Value {
    let ports: Vec<_> = o
        .ports
        .iter()
        .map(|p| {
            let mut port = port(p);
            port.insert("targetPort".into(), json!(p.number));
            port
        })
        .collect();
    let mut spec = json!({"ports": ports, "sessionAffinity": "None", "type": "ClusterIP"});
    match &o.shape {
        Shape::ClusterIp(addresses) => {
            let families: Vec<_> =
                addresses.iter().map(|a| if a.is_ipv4() { "IPv4" } else { "IPv6" }).collect();
            spec["clusterIP"] = addresses.first().map_or(json!(""), |a| json!(a));
            spec["clusterIPs"] = json!(addresses);
            spec["ipFamilies"] = json!(families);
            spec["ipFamilyPolicy"] =
                json!(if families.len() > 1 { "RequireDualStack" } else { "SingleStack" });
            spec["internalTrafficPolicy"] = json!("Cluster");
            spec["selector"] = json!({"app": o.name});
        }
        Shape::Headless => {
            spec["clusterIP"] = json!("None");
            spec["clusterIPs"] = json!(["None"]);
            spec["selector"] = json!({"app": o.name});
        }
        Shape::ExternalName(target) => {
            spec["externalName"] = json!(target);
            spec["type"] = json!("ExternalName");
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(&o.namespace, &o.name, &o.labels, number),
        "spec": spec,
        "status": {"loadBalancer": {}},
    })
}

fn endpoint_slice(o: &EndpointSlice, number: usize) -> Value {
    let endpoints: Vec<_> = o
        .endpoints
        .iter()
        .map(|e| {
            let address = if e.spelling.is_empty() { e.address.to_string() } else { e.spelling.to_owned() };
            let mut endpoint = json!({
                "addresses": [address],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "node-1",
                "zone": "zone-a",
            });
            if !e.hostname.is_empty() {
                endpoint["hostname"] = json!(e.hostname);
            }
            if !e.target.is_empty() {
                let uid = uid(number);
                endpoint["targetRef"] =
                    json!({"kind": "Pod", "name": e.target, "namespace": o.namespace, "uid": uid});
            }
            endpoint
        })
        .collect();
    let mut metadata = metadata(&o.namespace, &o.name, &o.labels, number);
    metadata["generateName"] = json!(format!("{}-", o.service));
    metadata["labels"]["endpointslice.kubernetes.io/managed-by"] = json!("endpointslice-controller.k8s.io");
    if !o.service.is_empty() {
        metadata["labels"]["kubernetes.io/service-name"] = json!(o.service);
        let owner = json!({
            "apiVersion": "v1",
            "blockOwnerDeletion": true,
            "controller": true,
            "kind": "Service",
            "name": o.service,
            "uid": uid(number),
        });
        metadata["ownerReferences"] = json!([owner]);
    }
    let family = match o.endpoints.addresses() {
        Addresses::V4(_) => "IPv4",
        Addresses::V6(_) => "IPv6",
    };
    json!({
        "addressType": family,
        "apiVersion": "discovery.k8s.io/v1",
        // The API server prints empty lists so.
        "endpoints": if endpoints.is_empty() { Value::Null } else { json!(endpoints) },
        "kind": "EndpointSlice",
        "metadata": metadata,
        "ports": if o.ports.is_empty() { Value::Null } else { o.ports.iter().map(port).collect() },
    })
}

fn pod(o: &Pod, number: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(&o.namespace, &o.name, &o.labels, number),
        "spec": {
            "containers": [{"image": "registry.example/app:1", "name": "app", "resources": {}}],
            "dnsPolicy": "ClusterFirst",
            "nodeName": "node-1",
            "restartPolicy": "Always",
        },
        "status": {
            "hostIP": "192.0.2.1",
            "phase": "Running",
            "podIP": o.ip,
            "podIPs": [{"ip": o.ip}],
            "qosClass": "BestEffort",
        },
    })
}

fn port(p: &Port) -> Map<String, Value> {
    let mut port = Map::new();
    port.insert("name".into(), json!(p.name));
    if let Some(number) = p.number {
        port.insert("port".into(), json!(number));
    }
    if p.protocol != Protocol::Unset {
        port.insert("protocol".into(), json!(p.protocol.label().to_ascii_uppercase()));
    }
    port
}

fn metadata(namespace: &str, name: &str, labels: &Labels, number: usize) -> Value {
    let labels: Map<_, _> = labels.iter().map(|(k, v)| (k.to_string(), json!(v))).collect();
    let mut metadata = json!({
        "creationTimestamp": "2026-11-22T16:56:59Z",
        "labels": labels,
        "name": name,
        "resourceVersion": (1000 + number).to_string(),
        "uid": uid(number),
    });
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

fn uid(number: usize) -> String {
    format!("2c27d465-c76b-4a3e-8159-{number:012x}")
}
