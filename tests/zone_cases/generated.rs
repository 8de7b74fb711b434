//! The table against the model: a generated cluster, thousands of questions, many configurations.

use std::collections::BTreeMap;

use outlast::zone::Table;
use outlast::zone::answer::{Answer, Data, Host, Owner, Records, Scratch, Section};
use outlast::zone::lookup::QueryType;
use outlast::zone::name::Labels;
use outlast::zone::object::{Kinds, Object, Shape};
use outlast::zone::rules::{Pods, Rules, Zone};

use crate::irregular::objects;
use crate::model::{Expected, Model, address};
use crate::questions::Questions;

/// Questions of each configuration.
const QUESTIONS: usize = 750;

/// Configurations, by name.
fn configurations(objects: &[Object]) -> [(&'static str, Rules); 8] {
    let zones = ["cluster.local.", "in-addr.arpa.", "ip6.arpa."];
    let zones = zones.map(|zone| Zone::new(Labels::parse(zone).unwrap())).into();
    let endpoint = |headless: bool| {
        let of_shape = |namespace: &str, name: &str| {
            objects.iter().any(|o| {
                matches!(o, Object::Service(s)
                    if &*s.namespace == namespace && &*s.name == name && (s.shape == Shape::Headless) == headless)
            })
        };
        let first = objects.iter().find_map(|o| match o {
            Object::EndpointSlice(s) if of_shape(&s.namespace, &s.service) => s.endpoints.addresses().get(0),
            _ => None,
        });
        vec![first.unwrap()]
    };
    let base = || Rules { zones: Vec::clone(&zones), local_addresses: endpoint(false), ..Rules::default() };
    let node = vec!["192.0.2.53".parse().unwrap(), "2001:db8::53".parse().unwrap()];
    [
        ("plain", base()),
        ("insecure", Rules { pods: Pods::Insecure, local_addresses: node.clone(), ..base() }),
        ("verified", Rules { pods: Pods::Verified, local_addresses: endpoint(true), ..base() }),
        ("pod names", Rules { endpoint_pod_names: true, local_addresses: endpoint(true), ..base() }),
        ("namespaces", Rules { namespaces: ["shop".into(), "media".into()].into(), ..base() }),
        ("no endpoints", Rules { no_endpoints: true, ..base() }),
        ("no empty services", Rules { ignore_empty_service: true, ..base() }),
        (
            "all at once",
            Rules {
                pods: Pods::Verified,
                endpoint_pod_names: true,
                ignore_empty_service: true,
                namespaces: ["shop".into(), "bank".into(), "data".into()].into(),
                local_addresses: node,
                ..base()
            },
        ),
    ]
}

/// The table's answer, as the model writes it.
fn answer(table: &Table, rules: &Rules, name: &str, kind: QueryType) -> Expected {
    let labels = Labels::parse(name).unwrap();
    match rules.lookup(table, &labels, kind).1 {
        Answer::NxDomain => Expected::Missing,
        Answer::NoData => Expected::Nothing,
        Answer::Alias(target) => Expected::Alias(target.to_owned()),
        Answer::Records(records) => Expected::Records(lines(&records, table, rules)),
        Answer::NotOurs | Answer::NotReady(_) | Answer::Refused => panic!("{name}: not an answer"),
    }
}

fn lines(records: &Records<'_>, table: &Table, rules: &Rules) -> Vec<String> {
    let mut lines = Vec::new();
    records.visit(table, rules, &mut Scratch::default(), &mut |section, owner, data| {
        let section = match section {
            Section::Answer => "answer",
            Section::Additional => "additional",
        };
        let owner = match owner {
            Owner::Question => "@".to_owned(),
            Owner::Host(host) => text(&host),
        };
        let data = match data {
            Data::A(ip) => address(ip.into()),
            Data::Aaaa(ip) => address(ip.into()),
            Data::Srv { weight, port, target } => format!("SRV {weight} {port} {}", text(&target)),
            Data::Ptr(host) => format!("PTR {}", text(&host)),
            Data::Ns(host) => format!("NS {}", text(&host)),
            Data::Txt(text) => format!("TXT {text}"),
            Data::Soa => "SOA".to_owned(),
        };
        lines.push(format!("{section} {owner} {data}"));
    });
    // No record comes twice: the model has each once.
    lines.sort();
    lines
}

fn text(host: &Host<'_>) -> String {
    let mut labels = Vec::new();
    host.labels(|label| labels.push(String::from_utf8(label.to_vec()).unwrap()));
    labels.join(".")
}

#[test]
fn the_table_answers_as_the_model_does() {
    let objects = objects();
    let table = Table::build(objects.clone(), Kinds::ALL, 1);
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut asked, mut failures) = (0, Vec::new());
    for (seed, (name, rules)) in (1..).zip(configurations(&objects)) {
        let model = Model { objects: &objects, rules: &rules };
        let mut questions = Questions::new(&objects, seed);
        for _ in 0..QUESTIONS {
            let (question, kind) = questions.ask();
            let want = model.ask(&question, kind);
            let got = answer(&table, &rules, &question, kind);
            asked += 1;
            *outcomes.entry(outcome(&want, kind)).or_default() += 1;
            if got != want {
                failures.push(format!("{name}: {question} {kind:?}\n  want {want:?}\n  got  {got:?}"));
            }
        }
    }
    println!("{}/{asked}: {outcomes:?}", asked - failures.len());
    let shown: Vec<_> = failures.iter().take(10).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} of {asked} differ\n{}", failures.len(), shown.join("\n"));
    // Questions that all had the same answer would prove little.
    let enough = [
        ("missing", 1000),
        ("nothing", 500),
        ("alias", 20),
        ("A", 250),
        ("AAAA", 20),
        ("SRV", 150),
        ("PTR", 200),
        ("TXT", 5),
    ];
    for (outcome, least) in enough {
        assert!(outcomes.get(outcome) >= Some(&least), "few {outcome}: {outcomes:?}");
    }
}

/// What kind of answer it is.
fn outcome(answer: &Expected, kind: QueryType) -> &'static str {
    match (answer, kind) {
        (Expected::Missing, _) => "missing",
        (Expected::Nothing, _) => "nothing",
        (Expected::Alias(_), _) => "alias",
        (_, QueryType::A) => "A",
        (_, QueryType::Aaaa) => "AAAA",
        (_, QueryType::Srv) => "SRV",
        (_, QueryType::Ptr) => "PTR",
        (_, QueryType::Txt) => "TXT",
        _ => "other",
    }
}
