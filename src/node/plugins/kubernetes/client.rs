//! What is known of a query and of the pod that sent it, for `metadata` and `autopath`.
//!
//! Pods are known with `pods verified` only. Pods in the network of their node share its address: of those only what
//! they have in common is said. Labels of pods are kept where `labels` or `namespace_labels` need them, and only then
//! there is a `client-label`.

use std::fmt::Write;

use super::Kubernetes;
use crate::node::facts::Facts;
use crate::node::query::Query;
use crate::zone::Table;
use crate::zone::name::{Labels, Subject};
use crate::zone::object::Pod;
use crate::zone::rules::Pods;

/// What a name below the zone asks for, as labels of metadata have it; empty where the name has no such part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parts<'q> {
    /// `svc` or `pod`
    kind: &'q [u8],
    /// The namespace.
    namespace: &'q [u8],
    /// The service, or a pod's dashed address.
    service: &'q [u8],
    /// The endpoint's label.
    endpoint: &'q [u8],
    /// The port's name.
    port: &'q [u8],
    /// Its protocol.
    protocol: &'q [u8],
}

impl<'q> Parts<'q> {
    /// `None` for names that do not have the form of a service's or a pod's.
    fn of(name: &'q Labels, zone: usize) -> Option<Self> {
        let svc = Self { kind: b"svc", ..Self::default() };
        let pod = Self { kind: b"pod", ..Self::default() };
        Some(match Subject::of(name, zone) {
            Subject::Apex => Self::default(),
            Subject::Between if name.get(0) == b"svc" => svc,
            Subject::Between if name.get(0) == b"pod" => pod,
            Subject::ServiceNamespace(namespace) => Self { namespace, ..svc },
            Subject::PodNamespace(namespace) => Self { namespace, ..pod },
            Subject::Service(name) => Self { namespace: name.namespace, service: name.service, ..svc },
            Subject::Endpoint(name, endpoint) => {
                Self { namespace: name.namespace, service: name.service, endpoint, ..svc }
            }
            Subject::Port(name, filter) => Self {
                namespace: name.namespace,
                service: name.service,
                port: filter.port,
                protocol: filter.protocol,
                ..svc
            },
            Subject::Pod { namespace, pod: service } => Self { namespace, service, ..pod },
            Subject::Between | Subject::NameServer | Subject::Version | Subject::Nothing => return None,
        })
    }
}

impl Kubernetes {
    /// Says what the name asks for, and who asks.
    pub(super) fn describe_query(&self, query: &Query, facts: &Facts) {
        if self.rules.pods == Pods::Verified {
            let generation = self.store.current();
            describe_client(&generation.table, query, facts);
        }
        let Some(zone) = self.rules.zone_of(query.labels()) else { return };
        match Parts::of(query.labels(), zone.name.len()) {
            Some(parts) if !zone.reverse => {
                for (label, value) in [
                    ("kubernetes/kind", parts.kind),
                    ("kubernetes/namespace", parts.namespace),
                    ("kubernetes/service", parts.service),
                    ("kubernetes/endpoint", parts.endpoint),
                    ("kubernetes/port-name", parts.port),
                    ("kubernetes/protocol", parts.protocol),
                ] {
                    facts.set(label, text(value));
                }
            }
            _ => facts.set("kubernetes/parse-error", "invalid query name"),
        }
    }

    /// The search path of the pod that sent `query`, if `query` is for a name below its first element: a pod's path
    /// begins with its namespace, so that no other pod that shares the address is taken for it.
    pub(super) fn search_path_of(&self, query: &Query) -> Option<Vec<Labels>> {
        let name = query.labels();
        let zone = &self.rules.zone_of(name).filter(|zone| !zone.reverse)?.name;
        if self.rules.pods != Pods::Verified {
            return None;
        }
        let left = name.len() - zone.len();
        let [namespace, svc] = [left.checked_sub(2)?, left.checked_sub(1)?].map(|at| name.get(at));
        let client = query.source().ip().to_canonical();
        if svc != b"svc" || self.store.current().table.pod(namespace, client).is_none() {
            return None;
        }
        let from = |at| Labels::from_labels(name.iter().skip(at)).ok();
        let mut path = vec![from(left - 2)?, from(left - 1)?, zone.clone()];
        path.extend(self.host_search.iter().cloned());
        path.push(Labels::root());
        Some(path)
    }
}

fn describe_client(table: &Table, query: &Query, facts: &Facts) {
    let pods = || table.pods_at(query.source().ip().to_canonical());
    let Some(first) = pods().next() else { return };
    let common = |same: fn(&Pod, &Pod) -> bool| pods().all(|pod| same(pod, first));
    if common(|a, b| a.namespace == b.namespace) {
        facts.set("kubernetes/client-namespace", &*first.namespace);
        if common(|a, b| a.name == b.name) {
            facts.set("kubernetes/client-pod-name", &*first.name);
            for (key, value) in &first.labels {
                facts.set(format!("kubernetes/client-label/{key}"), &**value);
            }
        }
    }
}

/// A label of a name as text: what cannot be printed as `\DDD` (RFC 1035 §5.1).
fn text(label: &[u8]) -> String {
    let mut text = String::with_capacity(label.len());
    for &byte in label {
        match byte {
            b'!'..=b'~' if byte != b'\\' => text.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => drop(write!(text, "\\{byte:03}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::chain::Outcome;
    use crate::node::test_support::{Ask, Logs, Scene};
    use crate::testkit::cluster::{ns, pod};
    use crate::zone::object::{Kinds, Object};

    /// What is logged of these labels.
    async fn logged(options: &str, labels: &str, ask: &Ask) -> String {
        let format: Vec<_> = labels.split(' ').map(|label| format!("{{/kubernetes/{label}}}")).collect();
        let body = format!(
            "metadata\nlog . \"{}\"\nkubernetes cluster.local in-addr.arpa {{\n source file /nowhere.json\n {options}\n}}",
            format.join(" ")
        );
        let scene = Scene::new(&body, |_| Outcome::Silence);
        let labelled = match pod("lab/probe", "10.244.5.9") {
            Object::Pod(pod) => Object::Pod(Pod { labels: [("tier".into(), "web".into())].into(), ..pod }),
            other => other,
        };
        let pods = [
            ("lab/one", "192.0.2.10"),
            ("lab/two", "192.0.2.10"),
            ("lab/a", "192.0.2.11"),
            ("shop/a", "192.0.2.11"),
        ];
        let objects =
            pods.map(|(name, ip)| pod(name, ip)).into_iter().chain([ns("lab"), ns("shop"), labelled]);
        scene.stores[0].hold(Table::build(objects, Kinds::ALL, 1));
        let logs = Logs::capture("");
        scene.run(ask).await;
        logs.take().remove(0).replace("[INFO] ", "")
    }

    #[tokio::test]
    async fn parts_of_names() {
        let labels = "kind namespace service endpoint port-name protocol parse-error";
        let all = |name| Ask { name, ..Ask::default() };
        for (name, want) in [
            ("cluster.local.", "      -"),
            ("svc.cluster.local.", "svc      -"),
            ("Shop.svc.cluster.local.", "svc shop     -"),
            ("web.shop.svc.cluster.local.", "svc shop web    -"),
            ("a.web.shop.svc.cluster.local.", "svc shop web a   -"),
            ("_http._tcp.web.shop.svc.cluster.local.", "svc shop web  http tcp -"),
            ("10-0-0-1.shop.pod.cluster.local.", "pod shop 10-0-0-1    -"),
            ("ns.dns.cluster.local.", "- - - - - - invalid query name"),
            ("x.cluster.local.", "- - - - - - invalid query name"),
            ("1.0.0.10.in-addr.arpa.", "- - - - - - invalid query name"),
            ("example.org.", "- - - - - - -"),
        ] {
            assert_eq!(logged("", labels, &all(name)).await, want, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_printed_is_escaped() {
        assert_eq!(text(b"we b\\\n\xe9*"), "we\\032b\\092\\010\\233*");
    }

    #[tokio::test]
    async fn pods_are_known_by_their_address() {
        let labels = "client-namespace client-pod-name client-label/tier";
        let from = |source| Ask { source, ..Ask::default() };
        for (options, source, want) in [
            ("pods verified", "10.244.5.9:1", "lab probe web"),
            ("pods verified", "[::ffff:10.244.5.9]:1", "lab probe web"),
            ("pods verified", "192.0.2.10:1", "lab - -"),
            ("pods verified", "192.0.2.11:1", "- - -"),
            ("pods verified", "10.244.5.99:1", "- - -"),
            ("pods insecure", "10.244.5.9:1", "- - -"),
        ] {
            assert_eq!(logged(options, labels, &from(source)).await, want, "{options} {source}");
        }
    }
}
