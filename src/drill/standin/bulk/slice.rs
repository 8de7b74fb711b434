//! An EndpointSlice, as the EndpointSlice controller writes it.

use std::net::IpAddr;

use super::meta::{Manager, Metadata, Owner};
use super::service::{ChartLabels, members_of_port};
use super::text::{Identity, Text};
use crate::zone::object::{Addresses, EndpointSlice, Kind};

/// Zones that nodes are spread over.
const ZONES: [&str; 3] = ["eu-west-1a", "eu-west-1b", "eu-west-1c"];

/// Every so many services route by zone, which gives each of their endpoints a hint.
const HINTED: u64 = 4;

/// Changes of a slice so far.
const GENERATIONS: u64 = 200;

/// Writes all of it but the bracket that opens it. `triggered` is the time of its last change (RFC 3339).
pub(super) fn write(o: &EndpointSlice, triggered: &str, out: &mut Text) {
    let chart = ChartLabels::of(&o.namespace, &o.service);
    let service = Identity::of(Kind::Service, &o.namespace, &o.service);
    let mut labels = chart.with(&o.labels, &o.service);
    labels.push(("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io"));
    let owner = Owner { version: "v1", kind: "Service", name: &o.service, uid: service };
    let generate_name = format!("{}-", o.service);
    let owned = !o.service.is_empty();
    if owned {
        labels.push(("kubernetes.io/service-name", &o.service));
    }
    Metadata {
        name: &o.name,
        generate_name: if owned { &generate_name } else { "" },
        namespace: &o.namespace,
        generation: Some(1 + Identity::of(Kind::EndpointSlice, &o.namespace, &o.name).draw(3, GENERATIONS)),
        labels,
        annotations: vec![("endpoints.kubernetes.io/last-change-trigger-time", triggered)],
        owner: owned.then_some(owner),
        manager: Manager {
            name: "kube-controller-manager",
            version: "discovery.k8s.io/v1",
            before: "\"f:addressType\":{},\"f:endpoints\":{},",
            after: ",\"f:ports\":{}",
        },
    }
    .write(Kind::EndpointSlice, out);
    let family = match o.endpoints.addresses() {
        Addresses::V4(_) => "IPv4",
        Addresses::V6(_) => "IPv6",
    };
    out.raw(",\"addressType\":").string(family).raw(",\"endpoints\":");
    let hinted = service.draw(4, HINTED) == 0;
    // An API server writes an empty list so.
    if o.endpoints.is_empty() {
        out.raw("null");
    } else {
        out.list(o.endpoints.iter(), |out, endpoint| {
            out.raw("{\"addresses\":[");
            match endpoint.spelling {
                "" => out.quoted(endpoint.address),
                spelling => out.string(spelling),
            };
            out.raw("],\"conditions\":{\"ready\":true,\"serving\":true,\"terminating\":false},");
            out.optional("hostname", endpoint.hostname);
            if !endpoint.target.is_empty() {
                let pod = Identity::of(Kind::Pod, &o.namespace, endpoint.target);
                out.raw("\"targetRef\":{\"kind\":\"Pod\",\"namespace\":").string(&o.namespace);
                out.raw(",\"name\":").string(endpoint.target).raw(",\"uid\":").quoted(pod).raw("},");
            }
            let node = Node::of(endpoint.address);
            out.raw("\"nodeName\":");
            node.name(out);
            out.raw(",\"zone\":").string(node.zone());
            if hinted {
                out.raw(",\"hints\":{\"forZones\":[{\"name\":").string(node.zone()).raw("}]}");
            }
            out.raw("}");
        });
    }
    out.raw(",\"ports\":");
    if o.ports.is_empty() {
        out.raw("null");
    } else {
        out.list(&o.ports, |out, port| {
            out.raw("{");
            members_of_port(port, out);
            out.raw("}");
        });
    }
    out.raw("}");
}

/// The node that a pod runs on.
#[derive(Clone, Copy)]
pub(super) struct Node(u16);

impl Node {
    /// By the pod's address: a node has a /24 or a /64 of the pods' network.
    pub(super) fn of(pod: IpAddr) -> Self {
        Self(match pod {
            IpAddr::V4(v4) => {
                let [_, high, low, _] = v4.octets();
                u16::from_be_bytes([high & 0x7f, low])
            }
            IpAddr::V6(v6) => v6.segments()[3],
        })
    }

    /// Writes its name, quoted.
    pub(super) fn name(self, out: &mut Text) {
        let [high, low] = self.0.to_be_bytes();
        out.quoted(format_args!("ip-10-{high}-{low}-23.eu-west-1.compute.internal"));
    }

    /// Its zone.
    pub(super) fn zone(self) -> &'static str {
        ZONES[usize::from(self.0) % ZONES.len()]
    }
}
