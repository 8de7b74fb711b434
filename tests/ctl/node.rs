//! A node as a process, asked from the outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use outlast::testkit::client::Query;
use serde_json::Value;

pub(super) use super::world::{Node, is_live};

const STOREFRONT: &str = "storefront.bakery.svc.cluster.local.";

#[test]
fn a_node_says_what_it_knows() {
    let node = Node::new();
    let process = node.start();
    let written = |status: &Value| is_live(status) && !status["stores"][0]["snapshot"]["dir"].is_null();
    let status = node.status(&process, "live data", written);
    assert_eq!((&status["role"], &status["name"]), (&Value::from("node"), &Value::from("n1")));
    assert_eq!(status["pid"], process.id());
    let store = &status["stores"][0];
    assert_eq!((&store["zone"], &store["follows"]), (&Value::from("cluster.local."), &Value::from("file")));
    assert!(store["objects"]["Service"].as_u64().unwrap() > 0 && store["endpoints"].as_u64().unwrap() > 0);
    let (code, screen, _) = node.ctl(&["status"]);
    assert_eq!(code, 0);
    for part in ["outlast node n1", "READY", "DATA cluster.local. LIVE", "cluster.yaml", "WHAT TO DO"] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    assert_eq!(node.ctl(&["ready"]), (0, "ready\n".to_owned(), String::new()));
    let mode = fs::metadata(node.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_node_answers_by_the_chain_that_answers_pods() {
    let node = Node::soon_stale();
    let process = node.start();
    node.status(&process, "live data", is_live);
    let (code, out, _) = node.ctl(&["lookup", STOREFRONT]);
    assert!(code == 0 && out.contains("\tIN\tA\t10.96.12.7\n"), "{out}");
    assert!(out.contains(";; DATA live, ") && out.contains(";; SERVER dns://127.0.0.1:0"), "{out}");
    let (code, out, _) = node.ctl(&["lookup", "nothing.bakery.svc.cluster.local", "AAAA"]);
    assert!(code == 0 && out.starts_with(";; nothing.bakery.svc.cluster.local. AAAA: NXDOMAIN"), "{out}");
    let (code, out, _) = node.ctl(&["lookup", "example.org"]);
    assert!(code == 1 && out.contains("SERVFAIL"), "{out}");
    let (code, _, error) = node.ctl(&["lookup", STOREFRONT, "FOO"]);
    assert!(code == 2 && error.contains("is not a type of record"), "{error}");
    // With the source gone the answers say their age.
    fs::remove_file(node.path("cluster.yaml")).unwrap();
    node.status(&process, "stale data", |status| status["stores"][0]["state"] == "stale");
    let (code, out, _) = node.ctl(&["lookup", STOREFRONT, "--json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["state"], &answer["rcode"]), (0, &"stale".into(), &"NOERROR".into()), "{out}");
    let (_, screen, _) = node.ctl(&["status"]);
    assert!(screen.contains("STALE") && screen.contains("Answers go on from memory"), "{screen}");
}

#[test]
fn a_reload_shows() {
    let node = Node::new();
    let process = node.start();
    node.status(&process, "live data", is_live);
    node.serve("other.example", "");
    process.signal(Signal::SIGUSR1);
    node.status(&process, "the other zone", |status| {
        is_live(status) && status["stores"][0]["zone"] == "other.example."
    });
    let name = STOREFRONT.replace("cluster.local", "other.example");
    let (code, out, _) = node.ctl(&["lookup", &name]);
    assert!(code == 0 && out.contains("10.96.12.7"), "{out}");
}

#[test]
fn the_socket_goes_with_its_process_and_comes_with_the_next() {
    let node = Node::new();
    let first = node.start();
    node.status(&first, "live data", is_live);
    first.signal(Signal::SIGKILL);
    assert_eq!(first.wait().0, -1);
    assert!(node.socket().exists(), "a process that is killed leaves it");
    let (code, _, error) = node.ctl(&["ready"]);
    assert!(code == 1 && error.contains("nobody answers there"), "{error}");

    let second = node.start();
    let status = node.status(&second, "the next process", is_live);
    assert_eq!(status["pid"], second.id());

    // A third one serves as well, and has the socket once the second has gone.
    let third = node.start();
    third.ask_until("data", &Query::a(STOREFRONT), |answer| !answer.message.answers.is_empty());
    third.wait_for("a warning", |p| p.output().contains("another process answers there").then_some(()));
    assert_eq!(node.status(&third, "the second", |_| true)["pid"], second.id());
    second.signal(Signal::SIGTERM);
    assert_eq!(second.wait().0, 0);
    node.status(&third, "the third", |status| status["pid"] == third.id());
    third.signal(Signal::SIGTERM);
    assert_eq!(third.wait().0, 0);
    assert!(!node.socket().exists());
}
