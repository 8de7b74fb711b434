//! Asks every written case of a whole node in the case's configuration.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hickory_proto::op::MessageType;
use outlast::testkit::client::{Answer, Client, Query};
use outlast::testkit::node::{Builder, TestNode};
use outlast::testkit::upstream::FakeUpstream;
use serde::Deserialize;

use crate::alternatives::{ALTERNATIVES, Instead};
use crate::fixture;
use crate::profiles::{PROFILES, Profile, SKIPPED};
use crate::records::{Reply, Row, plain, record_type};

/// The negative answers' SOA of the upstream.
const UPSTREAM_SOA: &str = ". 900 IN SOA stub. host.stub. * 60 60 60 60";

/// A line of the case file.
#[derive(Deserialize)]
struct Case {
    id: u32,
    profile: String,
    qname: String,
    qtype: String,
    rcode: String,
    aa: u8,
    answer: Vec<String>,
    authority: Vec<String>,
    additional: Vec<String>,
}

impl Case {
    /// The reply that the case asks for.
    fn written(&self) -> Reply {
        let line = |line: &String| match line.as_str() {
            "<upstream's SOA>" => Row::parse(UPSTREAM_SOA),
            line => Row::parse(line),
        };
        let rows = |lines: &[String]| lines.iter().map(line).collect();
        Reply {
            rcode: self.rcode.clone(),
            aa: self.aa == 1,
            answer: rows(&self.answer),
            authority: rows(&self.authority),
            additional: rows(&self.additional),
        }
    }
}

impl Instead {
    fn reply(&self) -> Reply {
        let rows = |lines: &[&str]| lines.iter().map(|line| Row::parse(line)).collect();
        Reply {
            rcode: self.rcode.to_owned(),
            aa: self.aa,
            answer: rows(self.answer),
            authority: rows(self.authority),
            additional: rows(self.additional),
        }
    }
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/zone/cases.jsonl");
    let text = fs::read_to_string(path).unwrap();
    let cases: Vec<Case> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(cases.len(), 302);
    cases
}

fn corefile(profile: &Profile, cluster: &Path, upstream: &FakeUpstream) -> String {
    format!(
        ".:0 {{
            bind 127.0.0.1
            errors
            kubernetes cluster.local in-addr.arpa ip6.arpa {{
                source file \"{}\"
                {}
            }}
            forward . {}
        }}",
        cluster.display(),
        profile.options,
        upstream.addr()
    )
}

/// A node of this profile, with the cluster's data or with none.
async fn start(profile: &Profile, folder: &Path, upstream: &FakeUpstream) -> TestNode {
    let cluster = folder.join(if profile.synced { "cluster.json" } else { "absent.json" });
    let mut builder = Builder::default();
    if !profile.own_addresses.is_empty() {
        builder = builder.own_addresses(profile.own_addresses);
    }
    let node = builder.start(&corefile(profile, &cluster, upstream));
    node.state(if profile.synced { "live" } else { "empty" }).await;
    node
}

#[tokio::test]
async fn every_case_gets_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    fixture::write(&folder.path().join("cluster.json"));
    let upstream = fixture::upstream().await;
    let mut by_profile: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for case in cases() {
        by_profile.entry(case.profile.clone()).or_default().push(case);
    }

    let (mut asked, mut failures) = (0, Vec::new());
    for profile in PROFILES {
        let cases = by_profile.remove(profile.name).unwrap_or_else(|| panic!("{} has no case", profile.name));
        let node = start(&profile, folder.path(), &upstream).await;
        for case in &cases {
            if let Err(problem) = ask(node.client(), case).await {
                let Case { id, profile, qname, qtype, .. } = case;
                failures.push(format!("{id} ({profile}) {qname} {qtype}: {problem}"));
            }
        }
        asked += cases.len();
        node.stop().await;
    }

    for (profile, options) in SKIPPED {
        let skipped = by_profile.remove(profile).unwrap_or_default().len();
        println!("skipped: {skipped} cases of profile {profile}, which needs '{options}'");
    }
    assert!(by_profile.is_empty(), "nobody asked the cases of {:?}", by_profile.keys());
    println!("{}/{asked} ({} by their alternative)", asked - failures.len(), ALTERNATIVES.len());
    assert!(failures.is_empty(), "{} of {asked} differ\n{}", failures.len(), failures.join("\n"));
}

async fn ask(client: Client, case: &Case) -> Result<(), String> {
    let answer = client.udp(&Query::new(&case.qname, record_type(&case.qtype))).await;
    let answer = answer.map_err(|e| e.to_string())?;
    let instead = ALTERNATIVES.iter().find(|instead| instead.id == case.id);
    let want = instead.map_or_else(|| case.written(), Instead::reply);
    let got = Reply::from(&answer);
    if !got.agrees_with(&want) {
        let why = instead.map(|i| i.why).unwrap_or_default();
        return Err(format!("{why}\n  want {want:?}\n  got  {got:?}"));
    }
    check_header(case, &want, &answer)?;
    check_alias_order(&got.answer)
}

/// What every reply has beside its records: the question as it was asked, RD copied, neither AD nor TC, and RA
/// only where the reply is the upstream's own.
fn check_header(case: &Case, want: &Reply, answer: &Answer) -> Result<(), String> {
    let header = &answer.message.metadata;
    let [question] = &*answer.message.queries else { return Err("not one question".to_owned()) };
    let upstream = !want.aa && want.rcode != "REFUSED";
    let facts = [
        ("QR is set", header.message_type == MessageType::Response),
        ("the question is echoed", plain(&question.name().to_ascii()) == case.qname),
        ("the type is echoed", question.query_type() == record_type(&case.qtype)),
        ("RD is copied", header.recursion_desired),
        ("RA is the upstream's", header.recursion_available == upstream),
        ("AD is clear", !header.authentic_data),
        ("TC is clear", !header.truncation),
        ("there is no OPT record", answer.message.edns.is_none()),
    ];
    match facts.iter().find(|(_, holds)| !holds) {
        Some((fact, _)) => Err(format!("not true: {fact}; {header:?}")),
        None => Ok(()),
    }
}

/// An alias comes before the records of the name that it leads to.
fn check_alias_order(answer: &[Row]) -> Result<(), String> {
    for (at, alias) in answer.iter().enumerate().filter(|(_, row)| row.2 == "CNAME") {
        if answer[..at].iter().any(|row| row.0.eq_ignore_ascii_case(&alias.3)) {
            return Err(format!("{alias:?} comes after what it leads to"));
        }
    }
    Ok(())
}

#[test]
fn alternatives_differ_from_what_is_written() {
    let cases = cases();
    for instead in &ALTERNATIVES {
        let case = cases.iter().find(|case| case.id == instead.id).unwrap();
        assert!(!instead.reply().agrees_with(&case.written()), "{} needs no alternative", instead.id);
    }
}

/// A profile that has become possible has to leave the list.
#[tokio::test]
async fn skipped_profiles_are_refused_by_name() {
    let upstream = FakeUpstream::start("").await;
    for (name, options) in SKIPPED {
        let profile = Profile { name, options, ..PROFILES[0] };
        let text = corefile(&profile, Path::new("cluster.json"), &upstream);
        let error = Builder::default().check(&text).err().unwrap_or_else(|| panic!("{name} works now"));
        let option = options.split(' ').next().unwrap();
        assert!(error.to_string().contains(option), "{name}: {error}");
    }
}
