//! Whole blocks, from the Corefile to replies, metrics and log lines.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::node::test_support::{Ask, Logs, Scene, address as record, plugins};

/// A file with this text, in a folder that goes with the test.
struct Fixture {
    folder: TempDir,
}

impl Fixture {
    fn new(text: &str) -> Self {
        let fixture = Self { folder: TempDir::new().unwrap() };
        fixture.write(text);
        fixture
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("hosts")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    /// A block for this file; what it passes on is answered by 192.0.2.99.
    fn scene(&self, zones: &str, lines: &str) -> Scene {
        let body = format!("hosts {} {zones} {{\n {lines}\n}}", self.path().display());
        Scene::new(&body, |_| {
            let answers = vec![record("next.", "192.0.2.99")];
            Reply { answers, ..Reply::new(ResponseCode::NoError, "last") }.into()
        })
    }
}

/// What the plugin behind answers.
const NEXT: &str = "next. 30 IN A 192.0.2.99";

fn ask(name: &'static str, kind: RecordType) -> Ask {
    Ask { name, kind, ..Ask::default() }
}

/// The rcode and the answers of a reply, joined.
async fn reply(scene: &Scene, name: &'static str, kind: RecordType) -> String {
    let (rcode, answers) = scene.answers(&ask(name, kind)).await;
    if rcode == ResponseCode::NoError { answers.join(", ") } else { format!("{rcode:?}") }
}

#[tokio::test(start_paused = true)]
async fn hosts_inline() {
    use RecordType::{A, AAAA, PTR, TXT};
    let scene = Fixture::new("").scene("", "10.1.2.3 Reg.Corp.example\n fallthrough");
    for (case, name, kind, want) in [
        ("522", "REG.corp.example.", A, "reg.corp.example. 3600 IN A 10.1.2.3"),
        ("523", "reg.corp.example.", AAAA, ""),
        ("524", "reg.corp.example.", TXT, ""),
        ("525", "3.2.1.10.in-addr.arpa.", PTR, "3.2.1.10.in-addr.arpa. 3600 IN PTR reg.corp.example."),
        ("the type of a name that has none of it", "3.2.1.10.in-addr.arpa.", A, NEXT),
        ("unknown", "corp.example.", A, NEXT),
    ] {
        assert_eq!(reply(&scene, name, kind).await, want, "{case}");
    }
    for kind in [A, AAAA] {
        let message = scene.message(&ask("Reg.corp.example.", kind)).await.unwrap();
        assert!(message.metadata.authoritative && message.authorities.is_empty(), "AA=1, no SOA");
        assert_eq!(message.queries[0].name().to_ascii(), "Reg.corp.example.");
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_fallthrough() {
    let lines = "10.1.2.3 reg.example";
    let fixture = Fixture::new("");
    // 526: no SOA can vouch for NXDOMAIN.
    for (fallthrough, unknown, other) in [
        ("", "ServFail", "ServFail"),
        ("fallthrough", NEXT, NEXT),
        ("fallthrough example", NEXT, "ServFail"),
        ("fallthrough in-addr.arpa ip6.arpa", "ServFail", "ServFail"),
    ] {
        let scene = fixture.scene("", &format!("{lines}\n {fallthrough}"));
        assert_eq!(reply(&scene, "a.example.", RecordType::A).await, unknown, "{fallthrough}");
        assert_eq!(reply(&scene, "a.test.", RecordType::A).await, other, "{fallthrough}");
        let known = reply(&scene, "reg.example.", RecordType::A).await;
        assert_eq!(known, "reg.example. 3600 IN A 10.1.2.3", "{fallthrough}");
        // Addresses without a name go on whatever is said.
        assert_eq!(reply(&scene, "9.2.1.10.in-addr.arpa.", RecordType::PTR).await, NEXT, "{fallthrough}");
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_fallthrough_unsupported() {
    let lines = "10.1.2.3 reg.example\n 10.1.2.4 reg.test\n fallthrough example";
    let fixture = Fixture::new("");
    for (more, name, kind, want) in [
        ("", "reg.example.", RecordType::HTTPS, ""),
        ("fallthrough_unsupported", "reg.example.", RecordType::HTTPS, NEXT),
        ("fallthrough_unsupported", "reg.example.", RecordType::AAAA, ""),
        ("fallthrough_unsupported", "reg.test.", RecordType::HTTPS, ""),
    ] {
        let scene = fixture.scene("", &format!("{lines}\n {more}"));
        assert_eq!(reply(&scene, name, kind).await, want, "{more} {name} {kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_ttl() {
    let fixture = Fixture::new("10.1.2.3 reg.example");
    for (lines, name, kind, want) in [
        ("", "reg.example.", RecordType::A, "reg.example. 3600 IN A 10.1.2.3"),
        ("ttl 60", "reg.example.", RecordType::A, "reg.example. 60 IN A 10.1.2.3"),
        (
            "ttl 60",
            "3.2.1.10.in-addr.arpa.",
            RecordType::PTR,
            "3.2.1.10.in-addr.arpa. 60 IN PTR reg.example.",
        ),
    ] {
        assert_eq!(reply(&fixture.scene("", lines), name, kind).await, want, "{lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_no_reverse() {
    let fixture = Fixture::new("10.1.2.3 reg.example");
    for (lines, want) in [
        ("10.1.2.4 b.example", "3.2.1.10.in-addr.arpa. 3600 IN PTR reg.example."),
        ("10.1.2.4 b.example\n no_reverse", NEXT),
    ] {
        let scene = fixture.scene("", lines);
        assert_eq!(reply(&scene, "3.2.1.10.in-addr.arpa.", RecordType::PTR).await, want, "{lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_file_and_zones() {
    let fixture = Fixture::new("10.0.0.1 a.example a.test\n10.0.0.2 b.example");
    let scene = fixture.scene("example", "10.0.0.3 b.example\n 10.0.0.2 b.example\n 10.0.0.4 b.test");
    for (name, kind, want) in [
        ("a.example.", RecordType::A, "a.example. 3600 IN A 10.0.0.1"),
        ("b.example.", RecordType::A, "b.example. 3600 IN A 10.0.0.2, b.example. 3600 IN A 10.0.0.3"),
        ("c.example.", RecordType::A, "ServFail"),
        // Not in the zones: neither answered nor refused.
        ("a.test.", RecordType::A, NEXT),
        // Reverse names are answered although they are outside of the zones.
        ("2.0.0.10.in-addr.arpa.", RecordType::PTR, "2.0.0.10.in-addr.arpa. 3600 IN PTR b.example."),
        ("4.0.0.10.in-addr.arpa.", RecordType::PTR, NEXT),
    ] {
        assert_eq!(reply(&scene, name, kind).await, want, "{name}");
    }
    assert_eq!(scene.warnings, ["'b.test' has no effect: it is in none of the zones"]);
    let hostsfile = format!("coredns_hosts_entries{{hostsfile=\"{}\"}}", fixture.path().display());
    assert_eq!(scene.metric(&hostsfile), Some(8.0), "two of the file and two of the block, and back");
    let changed = scene.metric("coredns_hosts_reload_timestamp_seconds").unwrap();
    assert!(changed > 1.7e9, "{changed}");
}

#[tokio::test(start_paused = true)]
async fn a_wildcard_is_one_label() {
    let scene = Fixture::new("10.0.0.1 *.apps.example\n10.0.0.2 a.apps.example").scene("", "fallthrough");
    for (name, want) in [
        ("a.apps.example.", "a.apps.example. 3600 IN A 10.0.0.2"),
        ("b.apps.example.", "b.apps.example. 3600 IN A 10.0.0.1"),
        ("*.apps.example.", "*.apps.example. 3600 IN A 10.0.0.1"),
        ("apps.example.", NEXT),
        ("x.b.apps.example.", NEXT),
    ] {
        assert_eq!(reply(&scene, name, RecordType::A).await, want, "{name}");
    }
    let inline = Fixture::new("10.0.0.1 *.apps.example").scene("", "10.0.0.3 a.apps.example");
    let exact = reply(&inline, "a.apps.example.", RecordType::A).await;
    assert_eq!(exact, "a.apps.example. 3600 IN A 10.0.0.3", "wherever it stands");
    assert_eq!(reply(&inline, "1.0.0.10.in-addr.arpa.", RecordType::PTR).await, NEXT);
}

#[tokio::test(start_paused = true)]
async fn a_comment_in_another_encoding_is_a_comment() {
    let fixture = Fixture::new("");
    fs::write(fixture.path(), b"10.0.0.1 a.example # caf\xe9\n10.0.0.2 b.example").unwrap();
    let scene = fixture.scene("", "");
    for (name, want) in [("a.example.", "10.0.0.1"), ("b.example.", "10.0.0.2")] {
        assert_eq!(reply(&scene, name, RecordType::A).await, format!("{name} 3600 IN A {want}"));
    }
}

/// After so many seconds a change is seen, or is not yet.
#[tokio::test(start_paused = true)]
async fn hosts_reload() {
    for (lines, seconds, seen) in [
        ("", 4, false),
        ("", 6, true),
        ("reload 1m", 59, false),
        ("reload 1m", 61, true),
        ("reload 0", 1_000_000, false),
    ] {
        let fixture = Fixture::new("10.0.0.1 a.example");
        let scene = fixture.scene("", lines);
        // It is read again at once: let that pass.
        tokio::time::sleep(Duration::from_millis(1)).await;
        fixture.write("10.0.0.2 a.example\n10.0.0.3 b.example");
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let want = if seen { "10.0.0.2" } else { "10.0.0.1" };
        let got = reply(&scene, "a.example.", RecordType::A).await;
        assert_eq!(got, format!("a.example. 3600 IN A {want}"), "{lines} after {seconds} s");
        let entries = format!("coredns_hosts_entries{{hostsfile=\"{}\"}}", fixture.path().display());
        assert_eq!(scene.metric(&entries), Some(if seen { 4.0 } else { 2.0 }), "{lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_may_come_and_go() {
    let fixture = Fixture::new("");
    let path = fixture.path();
    fs::remove_file(&path).unwrap();
    let logs = Logs::capture("");
    let scene = fixture.scene("", "10.0.0.9 inline.example\n fallthrough");
    let path = path.display();
    let missing = format!("reading hosts file {path}: No such file or directory (os error 2)");
    assert_eq!(logs.take(), [format!("[WARNING] plugin/hosts: {missing}; trying again every 5s")]);
    assert_eq!(scene.warnings, [format!("{missing}; trying again every 5s")], "`outlast check` says it, too");
    let a = |name| reply(&scene, name, RecordType::A);
    assert_eq!(a("inline.example.").await, "inline.example. 3600 IN A 10.0.0.9");
    assert_eq!(a("a.example.").await, NEXT);
    let next = || tokio::time::sleep(Duration::from_secs(6));
    fixture.write("10.0.0.1 a.example");
    next().await;
    assert_eq!(a("a.example.").await, "a.example. 3600 IN A 10.0.0.1");
    assert_eq!(logs.take(), [format!("[INFO] plugin/hosts: reloaded hosts file {path}")]);
    fs::remove_file(fixture.path()).unwrap();
    next().await;
    assert_eq!(a("a.example.").await, "a.example. 3600 IN A 10.0.0.1", "what was known stays");
    assert_eq!(logs.take(), [format!("[ERROR] plugin/hosts: {missing}; the names before it stay")]);
    // Without `reload` a file that is not there is no error either: the block may have all that is needed.
    let once = fixture.scene("", "10.0.0.9 inline.example\n reload 0");
    assert_eq!(logs.take(), [format!("[WARNING] plugin/hosts: {missing}; it is not tried again")]);
    let inline = reply(&once, "inline.example.", RecordType::A).await;
    assert_eq!(inline, "inline.example. 3600 IN A 10.0.0.9");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let folder = TempDir::new().unwrap();
    let large = folder.path().join("large");
    fs::write(&large, vec![b'\n'; (16 << 20) + 1]).unwrap();
    let large = format!("hosts {}", large.display());
    for (body, line, want) in [
        ("hosts\nhosts", 3, "can only be used once per Server Block"),
        ("hosts {\n ttl 0\n}", 3, "'0' is not a whole number from 1 to 65535"),
        ("hosts {\n ttl 65536\n}", 3, "from 1 to 65535"),
        ("hosts {\n reload 5\n}", 3, "missing unit in duration '5'"),
        ("hosts {\n no_reverse x\n}", 3, "write 'no_reverse'"),
        ("hosts {\n fallthrouh\n}", 3, "did you mean 'fallthrough'?"),
        ("hosts {\n 10.0.0.256 a\n}", 3, "'10.0.0.256' is no address: write 'ADDRESS NAME...'"),
        ("hosts {\n 10.0.0.1\n}", 3, "write 'ADDRESS NAME...'"),
        ("hosts {\n fallthrough\n 10.0.0.1 a\n}", 4, "stand before 'fallthrough'"),
        ("hosts {\n fallthrough_unsupported\n}", 3, "'fallthrough_unsupported' needs 'fallthrough'"),
        ("hosts f a..b", 2, "empty label"),
        (&large, 2, "it is larger than 16 MiB"),
    ] {
        let Err(error) = plugins(body) else { panic!("{body} is accepted") };
        assert_eq!((&*error.position().file, error.position().line), ("Corefile", line), "{body}");
        assert!(error.message().contains(want), "{body}: {error}");
    }
}
