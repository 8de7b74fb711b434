//! `outlast certs` from the outside: what it makes is believed, says what it is, and is never overwritten by accident.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outlast::ops::clock::WallClock;
use outlast::ops::metrics::Metrics;
use outlast::testkit::certs::{Ca, Dates, IdentityFolder, Leaf};
use outlast::trust::client::Connector;
use outlast::trust::config::{DEFAULT_GRACE, TlsFiles};
use outlast::trust::facts::Facts;
use outlast::trust::name::Role;
use outlast::trust::peer::Standing;
use outlast::trust::pem;
use outlast::trust::server::Acceptor;
use process::{outlast, run};

/// A folder with an authority in `ca`.
fn with_authority() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = certs(folder.path(), &["init", "--out", "ca"]);
    assert!(code == 0 && out.contains("outlast certs issue --ca ca --out hub hub"), "{out}{err}");
    folder
}

/// Runs `outlast certs` in a folder.
fn certs(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    run(outlast().current_dir(folder).arg("certs").args(arguments))
}

/// Runs what has to succeed, and gives what it said.
fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = certs(folder, arguments);
    assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    out
}

/// Runs what has to fail, and gives what it said.
fn fails(folder: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = certs(folder, arguments);
    assert_ne!(code, 0, "{arguments:?}: {out}");
    format!("{out}{err}")
}

/// The files of an identity in a folder.
fn files(folder: PathBuf) -> TlsFiles {
    let file = |name| folder.join(name);
    TlsFiles { ca: file("ca.crt"), cert: file("tls.crt"), key: file("tls.key"), grace: DEFAULT_GRACE }
}

fn facts(path: &Path) -> Facts {
    let chain = pem::certificates(path, &fs::read(path).unwrap()).unwrap();
    Facts::read(&chain[0]).unwrap()
}

#[tokio::test]
async fn what_it_makes_is_believed() {
    let folder = with_authority();
    let out = succeeds(folder.path(), &["issue", "--ca", "ca", "--out", "hub", "hub"]);
    assert!(out.contains("kubectl -n kube-system create secret generic outlast-hub-tls"), "{out}");
    let out = succeeds(folder.path(), &["issue", "--ca", "ca", "--out", "n/7", "node", "--name", "node-7"]);
    assert!(out.contains("hub_tls"), "{out}");

    let (clock, metrics) = (Arc::new(WallClock::new(0)), Metrics::new());
    let acceptor = Acceptor::new(files(folder.path().join("hub")), clock.clone(), &metrics);
    let connector = Connector::new(files(folder.path().join("n/7")), clock, &metrics);
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let address = "192.0.2.7:9953".parse().unwrap();
    let (hub, node) = tokio::join!(acceptor.accept(ours, address), connector.connect(theirs, address));
    let (node, hub) = (hub.unwrap().1, node.unwrap().1);
    assert_eq!(
        (node.role, node.standing, &*node.subject),
        (Role::Node, Standing::Valid, "O=outlast, CN=node-7")
    );
    assert_eq!((hub.role, hub.standing), (Role::Hub, Standing::Valid));

    let all = ["ca/ca.crt", "ca/ca.key", "hub/ca.crt", "hub/tls.crt", "hub/tls.key", "n/7/tls.key"];
    for file in all {
        let mode = fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert_eq!(fs::read_dir(folder.path().join("hub")).unwrap().count(), 3, "nothing temporary stays");
}

#[test]
fn nothing_is_overwritten_unless_forced() {
    let folder = with_authority();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let issue = ["issue", "--ca", "ca", "--out", "hub", "hub"];
    succeeds(folder.path(), &issue);
    let before = (read("ca/ca.key"), read("hub/tls.key"));
    assert!(fails(folder.path(), &["init", "--out", "ca"]).contains("ca/ca.key is there already"));
    assert!(fails(folder.path(), &issue).contains("--force"));
    assert_eq!((read("ca/ca.key"), read("hub/tls.key")), before);
    succeeds(folder.path(), &[&issue[..], &["--force"]].concat());
    succeeds(folder.path(), &["init", "--out", "ca", "--force"]);
    assert!(read("ca/ca.key") != before.0 && read("hub/tls.key") != before.1);
    // What the old authority issued is worth nothing with the new one.
    let out = fails(folder.path(), &["show", "hub/tls.crt", "--ca", "ca/ca.crt"]);
    assert!(out.contains("WRONG    whoever has ca/ca.crt does not believe it"), "{out}");
}

#[test]
fn renewal_waits_for_a_third_of_the_life() {
    let folder = with_authority();
    succeeds(
        folder.path(),
        &["issue", "--ca", "ca", "--out", "node", "node", "--name", "node-7", "--days", "90"],
    );
    let path = folder.path().join("node/tls.crt");
    let before = facts(&path);
    let renew = ["renew", "--ca", "ca", "--out", "node"];
    assert!(succeeds(folder.path(), &renew).contains("nothing to do yet"));
    assert_eq!(facts(&path), before);

    succeeds(folder.path(), &[&renew[..], &["--force"]].concat());
    let forced = facts(&path);
    assert_ne!(forced.serial, before.serial);
    assert_eq!((&forced.subject, &forced.dns_names), (&before.subject, &before.dns_names));
    let life = |facts: &Facts| facts.not_after - facts.not_before;
    assert_eq!(life(&facts(&path)), life(&before), "as long as the one before it");

    // One that has lived for longer than that, whoever issued it.
    let now = Dates::real();
    let old = Leaf::of(Role::Hub).dates(Dates { from: now.from - 150, until: now.until - 150 });
    let (certificate, key) = Ca::new().issue(&old);
    fs::write(&path, certificate).unwrap();
    fs::write(folder.path().join("node/tls.key"), key).unwrap();
    let out = succeeds(folder.path(), &renew);
    assert!(out.contains("node/tls.crt  for a hub"), "{out}");
    succeeds(folder.path(), &["show", "node/tls.crt", "--ca", "ca/ca.crt"]);
}

#[test]
fn show_says_who_until_when_and_whether() {
    struct Case {
        name: &'static str,
        leaf: Leaf,
        is_right: bool,
        want: &'static [&'static str],
    }
    let hub = || Leaf::of(Role::Hub).dates(Dates::real());
    let real = Dates::real();
    let cases = [
        Case {
            name: "right",
            leaf: hub(),
            is_right: true,
            want: &["for      a hub (hub.outlast.internal)", "days left", "believes it"],
        },
        Case {
            name: "a node's",
            leaf: Leaf::of(Role::Node).dates(real),
            is_right: true,
            want: &["for      a node (node.outlast.internal)"],
        },
        Case {
            name: "expired",
            leaf: hub().dates(real.later(-340)),
            is_right: false,
            want: &["expired for 5 days", "WRONG    expired: renew it"],
        },
        Case {
            name: "not yet",
            leaf: hub().dates(real.later(40)),
            is_right: false,
            want: &["WRONG    not valid yet"],
        },
        Case {
            name: "another name",
            leaf: hub().named("dns.example.org"),
            is_right: false,
            want: &[
                "nobody here: its names are [\"dns.example.org\"]",
                "the name of hubs is hub.outlast.internal",
            ],
        },
        Case {
            name: "a hub that is for clients only",
            leaf: Leaf::of(Role::Node).dates(real).named(Role::Hub.dns_name()),
            is_right: false,
            want: &["does not believe it", "key usage"],
        },
    ];
    let ca = Ca::new();
    for Case { name, leaf, is_right, want } in cases {
        let folder = IdentityFolder::new(&ca, &leaf, &ca);
        let (code, out, err) = certs(folder.dir(), &["show", "tls.crt", "--ca", "ca.crt"]);
        assert_eq!(code == 0, is_right, "{name}: {out}{err}");
        for part in want {
            assert!(out.contains(part), "{name}: {part}: {out}");
        }
    }
    let folder = IdentityFolder::new(&ca, &hub(), &ca);
    let out = fails(folder.dir(), &["show", "missing.crt", "tls.crt", "tls.key"]);
    for part in ["WRONG    reading missing.crt", "its dates hold", "WRONG    tls.key holds no certificate"] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn errors_say_what_would_be_right() {
    let folder = with_authority();
    succeeds(folder.path(), &["issue", "--ca", "ca", "--out", "hub", "hub"]);
    fs::create_dir(folder.path().join("odd")).unwrap();
    for (from, to) in [("hub/tls.crt", "odd/ca.crt"), ("hub/tls.key", "odd/ca.key")] {
        fs::copy(folder.path().join(from), folder.path().join(to)).unwrap();
    }
    struct Case {
        name: &'static str,
        arguments: &'static [&'static str],
        want: &'static str,
    }
    let cases = [
        Case {
            name: "no authority",
            arguments: &["issue", "--ca", "none", "--out", "x", "hub"],
            want: "'outlast certs init --out none' makes one",
        },
        Case {
            name: "a hub as an authority",
            arguments: &["issue", "--ca", "odd", "--out", "x", "hub"],
            want: "odd/ca.crt is not an authority's certificate",
        },
        Case {
            name: "longer than the authority",
            arguments: &["issue", "--ca", "ca", "--out", "x", "hub", "--days", "4000"],
            want: "ask for fewer days",
        },
        Case {
            name: "nothing to renew",
            arguments: &["renew", "--ca", "ca", "--out", "none"],
            want: "nothing to renew in none",
        },
        Case { name: "no days", arguments: &["init", "--out", "x", "--days", "0"], want: "--days" },
        Case { name: "no role", arguments: &["issue", "--ca", "ca", "--out", "x"], want: "<ROLE>" },
        Case { name: "nothing to show", arguments: &["show"], want: "<FILE>" },
    ];
    for Case { name, arguments, want } in cases {
        let said = fails(folder.path(), arguments);
        assert!(said.contains(want), "{name}: {said}");
    }
    assert!(!folder.path().join("x").exists(), "what fails leaves nothing");
}
