//! What is shown, with scripts and without.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::browser::{BROWSER, document, picture};
use super::http::{Between, ask, get};
use super::process::{Process, outlast, run};
use super::programs::there;
use super::world::{Node, cluster, is_live};

/// A picture of a blank page has fewer bytes, of the page without its text as well.
const FEWEST_BYTES: u64 = 20_000;

/// A node with its page.
fn start(node: &Node) -> (Process, SocketAddr) {
    let mut command = outlast();
    command.env("OUTLAST_STATUS_ADDRESS", "127.0.0.1:0");
    let process = node.start_by(command);
    node.status(&process, "live data", is_live);
    let page = process.address("serving the status page");
    (process, page)
}

/// Has a picture taken, and asserts that there is something on it.
fn pictured(page: SocketAddr, name: &str) {
    let file = picture(page, name);
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert!(bytes > FEWEST_BYTES, "{}: {bytes} bytes", file.display());
}

/// Asserts that a document has all of these texts.
fn has(document: &str, texts: &[&str]) {
    for text in texts {
        assert!(document.contains(text), "no {text:?} in\n{document}");
    }
}

#[test]
fn each_state_is_shown_without_scripts() {
    if !there(&[BROWSER]) {
        return;
    }
    let node = Node::soon_stale();
    node.set(&cluster(1, 40));
    let (process, page) = start(&node);
    let plain = Between::without_scripts(page).address;
    has(
        &document(plain),
        &[
            "<h1>outlast node n1</h1>",
            "✓ ready",
            "What to do",
            "Data of cluster.local.",
            "✓ live, proved",
            "40 services",
        ],
    );
    pictured(plain, "live");

    // Nearly all of it is gone: the guard holds it back.
    node.set(&cluster(1, 2));
    let holds =
        |status: &Value| status["stores"][0]["holds"].as_array().is_some_and(|holds| !holds.is_empty());
    node.status(&process, "removals that are held back", holds);
    has(
        &document(plain),
        &["! 38 objects, for", "Service shop/s", "objects go on being served", "40 services"],
    );
    pictured(plain, "held");
    assert_eq!(node.ctl(&["accept"]).0, 0);

    assert_eq!(node.ctl(&["freeze", "--for", "2h"]).0, 0);
    node.status(&process, "frozen data", |status| !status["stores"][0]["frozen"].is_null());
    has(&document(plain), &["what was served then is served", "To end it: outlast ctl thaw"]);
    pictured(plain, "frozen");
    assert_eq!(node.ctl(&["thaw"]).0, 0);

    std::fs::remove_file(node.path("cluster.yaml")).unwrap();
    node.status(&process, "stale data", |status| status["stores"][0]["state"] == "stale");
    has(&document(plain), &["! stale, proved", "Answers go on from memory", "<title>node n1: stale</title>"]);
    pictured(plain, "stale");
}

#[test]
fn with_scripts_it_refreshes_itself_and_says_when_nobody_answers() {
    if !there(&[BROWSER]) {
        return;
    }
    let node = Node::new();
    let (_process, page) = start(&node);
    let socket = node.socket();
    let between = Between::start(page, move |count| {
        if count == 1 {
            let (code, ..) =
                run(outlast().args(["ctl", "--socket"]).arg(&socket).args(["freeze", "--for", "2h"]));
            assert_eq!(code, 0);
        }
        // The first time that it refreshes itself, there is something new, and the second time nobody.
        count < 2
    });
    let shown = document(between.address);
    has(&shown, &["what was served then is served", "✗ No answer since ", "<title>no answer: node n1: "]);
    assert!(!shown.contains("role=\"alert\" hidden"), "{shown}");
    let asked = between.asked();
    assert!(asked.len() >= 3, "{asked:?}");
    assert!(asked.iter().all(|line| line == "GET / HTTP/1.1"), "it asks for nothing else: {asked:?}");

    // Somebody answers again.
    let between = Between::start(page, |count| count != 1);
    let shown = document(between.address);
    has(&shown, &["role=\"alert\" hidden", "<title>node n1: "]);
    assert!(between.asked().len() >= 3, "{:?}", between.asked());
}

#[test]
fn nothing_on_it_is_of_elsewhere() {
    let node = Node::new();
    let (process, page) = start(&node);
    let reply = ask(page, "GET / HTTP/1.1\r\nHost: localhost");
    let (head, document) = reply.split_once("\r\n\r\n").unwrap();
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    for of_elsewhere in ["http://", "https://", "=\"//", " src=", " href=", "url(", "@import", "<form", "<a "]
    {
        assert!(!document.contains(of_elsewhere), "{of_elsewhere} in\n{document}");
    }
    has(
        document,
        &["<html lang=\"en\">", "<noscript><meta http-equiv=\"refresh\" content=\"15\"></noscript>"],
    );

    // The same for scripts, as `outlast ctl status --json` has it.
    let status: Value = serde_json::from_str(&get(page, "/status.json")).unwrap();
    assert_eq!((&status["name"], status["pid"].as_u64()), (&"n1".into(), Some(process.id().into())));

    // Whoever leads a browser here by a name of their own reads nothing, and orders do not exist.
    for (head, want) in [
        ("GET / HTTP/1.1\r\nHost: evil.example", "HTTP/1.1 421 "),
        ("GET / HTTP/1.0", "HTTP/1.0 421 "),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0", "HTTP/1.1 405 "),
        ("GET /metrics HTTP/1.1\r\nHost: localhost", "HTTP/1.1 404 "),
    ] {
        let reply = ask(page, head);
        assert!(reply.starts_with(want) && !reply.contains("<html"), "{head}: {reply}");
    }
}

#[test]
fn a_hub_has_one_too() {
    let mut command = outlast();
    command.args(["hub", "--listen", "127.0.0.1:0", "--metrics-address", "off", "--health-address", "off"]);
    // Nobody is there.
    command.args(["--ready-address", "off", "--endpoint", "http://127.0.0.1:1"]);
    let process = Process::start(command.env("OUTLAST_HUB_STATUS_ADDRESS", "127.0.0.1:0"));
    let page = process.address("serving the status page");
    has(&get(page, "/"), &["<h1>outlast hub ", "✗ empty, never seen whole", "There is no data"]);
}

#[test]
fn a_place_that_is_taken_keeps_no_node_from_answering() {
    let node = Node::new();
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = stranger.local_addr().unwrap().to_string();
    let mut command = outlast();
    command.env("OUTLAST_STATUS_ADDRESS", &at);
    let process = node.start_by(command).serving();
    process.wait_for("a warning", |p| p.output().contains("there is no status page").then_some(()));
    drop(stranger);
    assert_eq!(process.address("serving the status page").to_string(), at);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().0, 0);
}

#[test]
fn a_place_that_others_can_reach_is_refused() {
    for (role, variable) in [("node", "OUTLAST_STATUS_ADDRESS"), ("hub", "OUTLAST_HUB_STATUS_ADDRESS")] {
        for place in ["0.0.0.0:9154", ":9154", "10.0.0.1:9154"] {
            let (code, out, error) = run(outlast().arg(role).env(variable, place));
            assert!(
                code == 2 && error.contains("write localhost:PORT"),
                "{role} {place}: {code} {out}{error}"
            );
        }
    }
}
