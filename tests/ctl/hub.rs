//! A hub as a process, asked from the outside.

use serde_json::Value;

use super::process::{Process, outlast, run};

#[test]
fn a_hub_without_an_api_server_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("hub.sock");
    let mut command = outlast();
    command.args([
        "hub",
        "--listen",
        "127.0.0.1:0",
        "--endpoint",
        "http://127.0.0.1:1",
        "--stale-after",
        "15s",
    ]);
    for face in ["metrics", "health", "ready"] {
        command.args([format!("--{face}-address"), "off".to_owned()]);
    }
    let process = Process::start(command.arg("--control").arg(&socket));
    let ctl = |arguments: &[&str]| run(outlast().args(["ctl", "--socket"]).arg(&socket).args(arguments));
    let status = process.wait_for("a status", |_| {
        let (code, out, _) = ctl(&["status", "--json"]);
        let status: Value = (code == 0).then(|| serde_json::from_str(&out).ok())??;
        (!status["stores"][0]["lost"].is_null()).then_some(status)
    });
    assert_eq!((&status["role"], &status["stores"][0]["state"]), (&"hub".into(), &"empty".into()));
    let (_, screen, _) = ctl(&["status"]);
    for part in ["outlast hub ", "NOT READY", "EMPTY", "apiserver:", "!! There is no data", "/readyz"] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    let (code, out, _) = ctl(&["ready"]);
    assert!(code == 1 && out.contains("not ready: waiting for data"), "{out}");
    for arguments in [&["lookup", "a"][..], &["top"]] {
        let (code, _, error) = ctl(arguments);
        assert!(code == 1 && error.contains("a hub answers no names: ask a node"), "{arguments:?}: {error}");
    }
    for arguments in [&["pin", "a", "A", "192.0.2.1"][..], &["unpin", "a"], &["pins"]] {
        let (code, _, error) = ctl(arguments);
        assert!(code == 1 && error.contains("pins are of nodes"), "{arguments:?}: {error}");
    }
    let (code, out, _) = ctl(&["freeze"]);
    assert!(code == 1 && out.contains("there is no data yet"), "{out}");
}
