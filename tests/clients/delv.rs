//! delv: what is signed upstream stays valid on its way through a node.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::process::run;
use super::programs::program;
use super::world::{World, possible_with};

const ZONE: &str = "\
signed.example. 60 IN SOA ns.signed.example. host.signed.example. 1 60 60 600 60
signed.example. 60 IN NS ns.signed.example.
ns.signed.example. 60 IN A 172.30.0.2
www.signed.example. 60 IN A 192.0.2.90
www.signed.example. 60 IN AAAA 2001:db8::90
*.wild.signed.example. 60 IN A 192.0.2.91
";

/// Signs the zone: its text, and its key as delv's trust anchor.
fn sign(folder: &Path) -> (String, String) {
    let command = |name: &str, words: &[&str]| {
        let (code, output, errors) = run(Command::new(program(name)).args(words).current_dir(folder));
        assert_eq!(code, 0, "{name}: {errors}");
        output.trim().to_owned()
    };
    fs::write(folder.join("zone"), ZONE).unwrap();
    let key = command("dnssec-keygen", &["-a", "ECDSAP256SHA256", "-f", "KSK", "signed.example"]);
    command("dnssec-signzone", &["-S", "-z", "-o", "signed.example", "-f", "signed", "zone"]);
    let key = fs::read_to_string(folder.join(format!("{key}.key"))).unwrap();
    let record = key.lines().find(|line| !line.starts_with(';')).unwrap();
    // `signed.example. IN DNSKEY 257 3 13 KEY`
    let words: Vec<_> = record.split_whitespace().collect();
    let at = words.iter().position(|w| *w == "DNSKEY").unwrap();
    let [flags, protocol, algorithm] = [1, 2, 3].map(|n| words[at + n]);
    let anchor = format!(
        "trust-anchors {{ \"signed.example.\" static-key {flags} {protocol} {algorithm} \"{}\"; }};\n",
        words[at + 4..].concat()
    );
    (fs::read_to_string(folder.join("signed")).unwrap(), anchor)
}

fn validates(lines: &str) {
    if !possible_with(&["delv", "dnssec-keygen", "dnssec-signzone"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (zone, anchor) = sign(folder.path());
    let world = World::with_zone(lines, "", Some(("signed.example", &zone)));
    world.machine.write("anchor", &anchor);
    let anchor = world.machine.path("anchor");
    // The second time, a cache has the answers.
    for time in ["first", "second"] {
        for (name, kind, want) in [
            ("www", "A", "; fully validated"),
            ("www", "AAAA", "; fully validated"),
            ("any.wild", "A", "; fully validated"),
            ("www", "TXT", "; negative response, fully validated"),
            ("nothing", "A", "; negative response, fully validated"),
        ] {
            let words = format!(
                "@127.0.0.1 -a {} +root=signed.example {name}.signed.example. {kind}",
                anchor.display()
            );
            let (_, output) = world.status("delv", &words);
            assert!(output.contains(want), "{time}: {name} {kind}: {output}\n{}", world.log());
        }
    }
    // What is not signed is no answer to delv where it should be.
    let (_, output) = world.status("delv", "@127.0.0.1 -i web.shop.svc.cluster.local. A");
    assert!(output.contains("10.96.0.7"), "{output}");
}

#[test]
fn delv_validates_what_is_forwarded() {
    validates("");
}

/// Needs the plugin `cache`.
#[test]
fn delv_validates_what_is_cached() {
    validates("cache");
}
