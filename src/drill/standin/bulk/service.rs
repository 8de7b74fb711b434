//! A Service, as a chart installs it and an API server completes it.

use super::meta::{Manager, Metadata};
use super::text::{Identity, Text};
use crate::zone::object::{Kind, Port, Protocol, Service, Shape};

/// Releases of a chart.
const RELEASES: u64 = 40;

/// The labels that charts give to a service, and that the EndpointSlice controller copies to its slices.
pub(super) struct ChartLabels {
    /// What was installed: `shop-web-0`.
    instance: String,
    /// `1.17.0`
    version: String,
    /// `web-0-1.17.0`
    chart: String,
}

impl ChartLabels {
    /// Of this service.
    pub(super) fn of(namespace: &str, service: &str) -> Self {
        let release = Identity::of(Kind::Service, namespace, service).draw(2, RELEASES);
        let version = format!("1.{release}.0");
        Self { instance: format!("{namespace}-{service}"), chart: format!("{service}-{version}"), version }
    }

    /// The labels of this service: its own `labels` first, which take precedence.
    pub(super) fn with<'a>(
        &'a self,
        labels: &'a [(Box<str>, Box<str>)],
        service: &'a str,
    ) -> Vec<(&'a str, &'a str)> {
        let own = labels.iter().map(|(key, value)| (&**key, &**value));
        own.chain([
            ("app.kubernetes.io/component", "server"),
            ("app.kubernetes.io/instance", &self.instance),
            ("app.kubernetes.io/managed-by", "Helm"),
            ("app.kubernetes.io/name", service),
            ("app.kubernetes.io/version", &self.version),
            ("helm.sh/chart", &self.chart),
        ])
        .collect()
    }
}

/// Writes all of it but the bracket that opens it.
pub(super) fn write(o: &Service, out: &mut Text) {
    let chart = ChartLabels::of(&o.namespace, &o.name);
    let mut fields = Text::default();
    fields_of_spec(o, &mut fields);
    Metadata {
        name: &o.name,
        namespace: &o.namespace,
        labels: chart.with(&o.labels, &o.name),
        annotations: vec![
            ("meta.helm.sh/release-name", &chart.instance),
            ("meta.helm.sh/release-namespace", &o.namespace),
            ("prometheus.io/path", "/metrics"),
            ("prometheus.io/scrape", "true"),
        ],
        manager: Manager { name: "helm", version: "v1", before: "", after: fields.as_str() },
        ..Metadata::default()
    }
    .write(Kind::Service, out);
    out.raw(",\"spec\":{");
    spec(o, &chart, out);
    out.raw("},\"status\":{\"loadBalancer\":{}}}");
}

/// What `managedFields` says of `spec`.
fn fields_of_spec(o: &Service, out: &mut Text) {
    out.raw(",\"f:spec\":{");
    match o.shape {
        Shape::ExternalName(_) => out.raw("\"f:externalName\":{},"),
        Shape::Headless => out.raw("\"f:clusterIP\":{},\"f:internalTrafficPolicy\":{},"),
        Shape::ClusterIp(_) => out.raw("\"f:internalTrafficPolicy\":{},"),
    };
    if !o.ports.is_empty() {
        out.raw("\"f:ports\":{\".\":{}");
        for port in &o.ports {
            let key =
                format!("k:{{\"port\":{},\"protocol\":\"{}\"}}", port.number.unwrap_or(0), protocol(port));
            out.raw(",").string(&key);
            out.raw(":{\".\":{},\"f:name\":{},\"f:port\":{},\"f:protocol\":{},\"f:targetPort\":{}}");
        }
        out.raw("},");
    }
    if !matches!(o.shape, Shape::ExternalName(_)) {
        out.raw("\"f:selector\":{},");
    }
    out.raw("\"f:sessionAffinity\":{},\"f:type\":{}}");
}

fn spec(o: &Service, chart: &ChartLabels, out: &mut Text) {
    if !o.ports.is_empty() {
        out.raw("\"ports\":").list(&o.ports, |out, port| {
            out.raw("{");
            members_of_port(port, out);
            out.raw(",\"targetPort\":");
            match &*port.name {
                "" => out.plain(port.number.unwrap_or(0)),
                name => out.string(name),
            };
            out.raw("}");
        });
        out.raw(",");
    }
    let selector = |out: &mut Text| {
        out.raw("\"selector\":{\"app.kubernetes.io/instance\":").string(&chart.instance);
        out.raw(",\"app.kubernetes.io/name\":").string(&o.name).raw("},");
    };
    match &o.shape {
        Shape::ClusterIp(addresses) => {
            selector(out);
            if let Some(first) = addresses.first() {
                out.raw("\"clusterIP\":").quoted(first).raw(",\"clusterIPs\":");
                out.list(addresses, |out, address| {
                    out.quoted(address);
                });
                out.raw(",");
            }
            let families = addresses.iter().map(|a| if a.is_ipv4() { "IPv4" } else { "IPv6" });
            out.raw("\"type\":\"ClusterIP\",\"sessionAffinity\":\"None\",\"ipFamilies\":");
            out.list(families, |out, family| {
                out.string(family);
            });
            let policy = if addresses.len() > 1 { "RequireDualStack" } else { "SingleStack" };
            out.raw(",\"ipFamilyPolicy\":").string(policy).raw(",\"internalTrafficPolicy\":\"Cluster\"");
        }
        Shape::Headless => {
            selector(out);
            out.raw("\"clusterIP\":\"None\",\"clusterIPs\":[\"None\"],\"type\":\"ClusterIP\",");
            out.raw(
                "\"sessionAffinity\":\"None\",\"ipFamilies\":[\"IPv4\"],\"ipFamilyPolicy\":\"SingleStack\",",
            );
            out.raw("\"internalTrafficPolicy\":\"Cluster\"");
        }
        Shape::ExternalName(target) => {
            out.raw("\"type\":\"ExternalName\",\"sessionAffinity\":\"None\",\"externalName\":")
                .string(target);
        }
    }
}

/// Writes `"name":…,"protocol":…,"port":…`, without what the port does not have.
pub(super) fn members_of_port(port: &Port, out: &mut Text) {
    out.raw("\"name\":").string(&port.name);
    if port.protocol != Protocol::Unset {
        out.raw(",\"protocol\":").string(protocol(port));
    }
    if let Some(number) = port.number {
        out.raw(",\"port\":").plain(number);
    }
}

/// The protocol as the API spells it.
const fn protocol(port: &Port) -> &'static str {
    match port.protocol {
        Protocol::Unset => "",
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}
