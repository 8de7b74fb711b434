//! The cluster that is measured, and the questions that are asked of it.

use std::hint::black_box;
use std::net::IpAddr;

use outlast::testkit::cluster::{Cluster, ns, slice, svc};
use outlast::zone::Table;
use outlast::zone::answer::{Answer, Scratch};
use outlast::zone::lookup::QueryType;
use outlast::zone::name::Labels;
use outlast::zone::object::{Addresses, Kinds, Object, Service, Shape};
use outlast::zone::rules::{Pods, Rules, Zone};

/// Endpoints of a service on average, as in the cluster that all figures are measured with.
const ENDPOINTS_A_SERVICE: usize = 10;

/// Most names asked for of one kind: enough that they do not all stay in the processor's first cache.
const NAMES: usize = 256;

/// Names of a namespace that do not exist: enough of them in the smallest cluster that no chance of hashing decides
/// what they cost.
const MISSING: usize = 128;

/// Types, RFC 1035 §3.2.2 and RFC 2782.
const A: u16 = 1;
const PTR: u16 = 12;
const SRV: u16 = 33;

/// The namespace of the services whose sizes are known.
const NAMESPACE: &str = "measured";

/// A cluster and what to ask of it.
pub(crate) struct Measured {
    /// Its objects.
    pub(crate) objects: Vec<Object>,
    /// The questions.
    pub(crate) questions: Vec<Question>,
}

/// Questions of one kind.
pub(crate) struct Question {
    /// What is asked, for people.
    pub(crate) what: &'static str,
    /// Type of the query.
    pub(crate) kind: u16,
    /// The names, asked in turn.
    pub(crate) names: Vec<String>,
}

/// A cluster of exactly so many endpoints.
pub(crate) fn measured(endpoints: usize) -> Measured {
    const TEN: usize = 10;
    const THREE: usize = 3;
    let known = (endpoints / 100).min(NAMES);
    let services = endpoints / ENDPOINTS_A_SERVICE - 2 * known;
    let mut objects = Cluster::sized(services, endpoints - known * (TEN + THREE)).objects();
    let questions = questions(&objects, known);
    objects.push(ns(NAMESPACE));
    for number in 0..known {
        headless(&mut objects, &format!("ten-{number}"), &format!("172.16.{number}"), TEN);
        headless(&mut objects, &format!("three-{number}"), &format!("172.17.{number}"), THREE);
    }
    Measured { objects, questions }
}

/// A headless service with so many endpoints and one named port.
fn headless(objects: &mut Vec<Object>, name: &str, network: &str, endpoints: usize) {
    let key = format!("{NAMESPACE}/{name}");
    objects.push(svc(&key).headless().port("db", 5432).build());
    let mut slice = slice(&format!("{key}-x"), name).port("db", 5432);
    for host in 1..=endpoints {
        slice = slice.v4(&format!("{network}.{host}"));
    }
    objects.push(slice.build());
}

fn questions(objects: &[Object], known: usize) -> Vec<Question> {
    let (mut cluster_ips, mut endpoints, mut pointers, mut missing) = (vec![], vec![], vec![], vec![]);
    for object in objects {
        match object {
            Object::Namespace(o) => {
                let name = |number| format!("missing-{number}.{}.svc.cluster.local.", o.name);
                missing.extend((0..MISSING).map(name));
            }
            Object::Service(o) => cluster_ips.extend(cluster_ip_name(o)),
            Object::EndpointSlice(o) => {
                let Addresses::V4(addresses) = o.endpoints.addresses() else { continue };
                // Where an endpoint has a hostname, that is its label.
                let Some((ip, "")) = addresses.last().zip(o.endpoints.get(0).map(|e| e.hostname)) else {
                    continue;
                };
                let [a, b, c, d] = ip.octets();
                pointers.push(format!("{d}.{c}.{b}.{a}.in-addr.arpa."));
                endpoints.push(format!("{a}-{b}-{c}-{d}.{}.{}.svc.cluster.local.", o.service, o.namespace));
            }
            _ => {}
        }
    }
    let known =
        |prefix: &str| (0..known).map(|n| format!("{prefix}-{n}.{NAMESPACE}.svc.cluster.local.")).collect();
    let question = |what, kind, names: Vec<String>| {
        let every = names.len().div_ceil(NAMES).max(1);
        Question { what, kind, names: names.into_iter().step_by(every).collect() }
    };
    vec![
        question("ClusterIP A", A, cluster_ips),
        question("headless A, 10 addresses", A, known("ten")),
        question("SRV, 3 targets", SRV, known("three")),
        question("endpoint A", A, endpoints),
        question("PTR", PTR, pointers),
        question("NXDOMAIN", A, missing),
    ]
}

/// The names of the services with one cluster address.
pub(crate) fn cluster_ip_names(objects: impl Iterator<Item = Object>) -> impl Iterator<Item = String> {
    objects.filter_map(|object| match object {
        Object::Service(service) => cluster_ip_name(&service),
        _ => None,
    })
}

fn cluster_ip_name(service: &Service) -> Option<String> {
    let one = matches!(&service.shape, Shape::ClusterIp(ips) if ips.len() == 1);
    one.then(|| format!("{}.{}.svc.cluster.local.", service.name, service.namespace))
}

/// The table of these objects, complete.
pub(crate) fn table(objects: Vec<Object>) -> Table {
    Table::build(objects, Kinds::CORE, 1)
}

/// Rules of a plain `kubernetes cluster.local in-addr.arpa`.
pub(crate) fn rules() -> Rules {
    let zone = |name| Zone::new(Labels::parse(name).expect("a name"));
    Rules {
        zones: vec![zone("cluster.local."), zone("in-addr.arpa.")],
        pods: Pods::Disabled,
        local_addresses: vec![IpAddr::from([10, 0, 0, 1])],
        ..Rules::default()
    }
}

/// Looks up every name once; returns how many records there were.
pub(crate) fn look_up(
    rules: &Rules,
    table: &Table,
    scratch: &mut Scratch,
    names: &[Labels],
    kind: QueryType,
) -> usize {
    let mut records = 0;
    for name in names {
        let (_, answer) = rules.lookup(table, black_box(name), kind);
        if let Answer::Records(found) = answer {
            found.visit(table, rules, scratch, &mut |section, owner, data| {
                black_box((section, owner, data));
                records += 1;
            });
        }
    }
    records
}
