//! `outlast drill standin` from the outside: what people see of it who try a node without a cluster.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use futures_util::{AsyncBufReadExt, StreamExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sys::signal::Signal;
use process::{PATIENCE, Process, outlast, run};
use serde_json::Value;

const PRINTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/parity/cluster.json");
const SERVICES: &str = "/api/v1/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

/// A stand-in that serves, and its kubeconfig.
fn start(folder: &Path, arguments: &[&str]) -> (Process, PathBuf) {
    let kubeconfig = folder.join("kubeconfig");
    let mut command = outlast();
    command.args(["drill", "standin", "--kubeconfig"]).arg(&kubeconfig).args(arguments);
    let process = Process::start(&mut command);
    process.wait_for("that it serves", |p| p.output().contains('\n').then_some(()));
    (process, kubeconfig)
}

/// What kubectl would use.
async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

fn request(path: &str) -> http::Request<Vec<u8>> {
    http::Request::get(path).body(Vec::new()).unwrap()
}

async fn list(client: &Client, path: &str) -> Value {
    client.request(request(path)).await.unwrap()
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().unwrap()
}

/// Ends it, and says what it had printed.
fn end(process: Process) -> (i32, String) {
    process.signal(Signal::SIGTERM);
    process.wait()
}

#[tokio::test]
async fn a_made_up_cluster_is_listed_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (process, kubeconfig) = start(folder.path(), &["--services", "30", "--endpoints", "300"]);
    let mode = std::fs::metadata(&kubeconfig).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds a token");
    let client = client(&kubeconfig).await;
    let services = list(&client, SERVICES).await;
    assert_eq!((services["kind"].as_str(), items(&services).len()), (Some("ServiceList"), 30));
    let slices = list(&client, SLICES).await;
    let endpoints = |slice: &Value| slice["endpoints"].as_array().map_or(0, Vec::len);
    assert_eq!(items(&slices).iter().map(endpoints).sum::<usize>(), 300);
    assert!(items(&slices)[0]["metadata"]["managedFields"].is_array());
    let (code, output) = end(process);
    assert_eq!(code, 0, "{output}");
    assert!(output.starts_with("serving 30 services, ") && output.lines().count() == 1, "{output}");
    assert!(output.contains("https://127.0.0.1:"), "{output}");
    assert!(output.contains(&*kubeconfig.to_string_lossy()), "{output}");
}

#[tokio::test]
async fn what_kubectl_printed_is_served_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (process, kubeconfig) = start(folder.path(), &["--objects", PRINTED]);
    let printed: Value = serde_json::from_slice(&std::fs::read(PRINTED).unwrap()).unwrap();
    let client = client(&kubeconfig).await;
    for (kind, path) in [("Service", SERVICES), ("EndpointSlice", SLICES)] {
        let printed: Vec<&Value> = items(&printed).iter().filter(|o| o["kind"] == kind).collect();
        let listed = list(&client, path).await;
        assert_eq!(items(&listed).len(), printed.len(), "{kind}");
        for object in printed {
            let key = |o: &Value| (o["metadata"]["namespace"].clone(), o["metadata"]["name"].clone());
            let mut served = items(&listed).iter().find(|o| key(o) == key(object)).unwrap().clone();
            // A list says the kind once; versions are the server's own.
            for field in ["kind", "apiVersion"] {
                served[field] = object[field].clone();
            }
            served["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
            assert_eq!(&served, object);
        }
    }
    drop(process);
}

#[tokio::test]
async fn endpoints_change_at_a_pace() {
    let folder = tempfile::tempdir().unwrap();
    let (process, kubeconfig) = start(folder.path(), &["--services", "5", "--change-every", "5ms"]);
    let client = client(&kubeconfig).await;
    let watch = request(&format!("{SLICES}?watch=1"));
    let mut events = std::pin::pin!(client.request_stream(watch).await.unwrap().lines());
    let mut readiness = Vec::new();
    while readiness.len() < 6 {
        let line = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["type"] == "MODIFIED" {
            readiness.push(!line.contains("\"ready\":false"));
        }
    }
    // One goes, and the same one comes back.
    assert!(readiness.windows(2).all(|pair| pair[0] != pair[1]), "{readiness:?}");
    assert_eq!(end(process).0, 0);
}

#[tokio::test]
async fn on_sigusr1_it_forgets_and_cuts() {
    let folder = tempfile::tempdir().unwrap();
    let (process, kubeconfig) = start(folder.path(), &["--services", "5"]);
    let client = client(&kubeconfig).await;
    let before = list(&client, SLICES).await["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let watch = request(&format!("{SLICES}?watch=1&resourceVersion={before}"));
    let mut events = std::pin::pin!(client.request_stream(watch.clone()).await.unwrap().lines());
    process.signal(Signal::SIGUSR1);
    let end_of_watch = tokio::time::timeout(PATIENCE, events.next()).await.unwrap();
    assert!(!matches!(end_of_watch, Some(Ok(_))), "it ends without another event");
    process.wait_for("that it says so", |p| p.errors().contains("history forgotten").then_some(()));
    let mut events = std::pin::pin!(client.request_stream(watch).await.unwrap().lines());
    let event = events.next().await.unwrap().unwrap();
    assert!(event.contains("\"type\":\"ERROR\"") && event.contains("\"code\":410"), "{event}");
    assert_eq!(end(process).0, 0);
}

#[test]
fn wrong_flags_are_said() {
    let folder = tempfile::tempdir().unwrap();
    struct Case {
        name: &'static str,
        arguments: &'static [&'static str],
        code: i32,
        error: &'static str,
    }
    const FILE: [&str; 2] = ["--kubeconfig", "kubeconfig"];
    for case in [
        Case { name: "no kubeconfig", arguments: &[], code: 2, error: "--kubeconfig <FILE>" },
        Case {
            name: "not this machine",
            arguments: &["--listen", "0.0.0.0:1"],
            code: 2,
            error: "is not 127.0.0.1",
        },
        Case { name: "no address", arguments: &["--listen", "here"], code: 2, error: "write 127.0.0.1:PORT" },
        Case {
            name: "both contents",
            arguments: &["--objects", "x", "--services", "1"],
            code: 2,
            error: "cannot be used with",
        },
        Case {
            name: "too many",
            arguments: &["--services", "2000000"],
            code: 2,
            error: "services have an address",
        },
        Case {
            name: "endpoints of nothing",
            arguments: &["--services", "0", "--endpoints", "1"],
            code: 2,
            error: "without services",
        },
        Case { name: "no unit", arguments: &["--change-every", "5"], code: 2, error: "missing unit" },
        Case { name: "too fast", arguments: &["--change-every", "1us"], code: 2, error: "too short" },
        Case {
            name: "no such way",
            arguments: &["--streaming-lists", "maybe"],
            code: 2,
            error: "on, off or old-etcd",
        },
        Case { name: "no such file", arguments: &["--objects", "gone.json"], code: 1, error: "gone.json" },
        Case { name: "no folder", arguments: &["--kubeconfig", "no/where"], code: 1, error: "no/where" },
    ] {
        let said = case.arguments.is_empty() || case.arguments.contains(&FILE[0]);
        let file: &[&str] = if said { &[] } else { &FILE };
        let mut command = outlast();
        command.args(["drill", "standin"]).args(file).args(case.arguments).current_dir(folder.path());
        let (code, out, error) = run(&mut command);
        assert_eq!((code, out.as_str()), (case.code, ""), "{}: {error}", case.name);
        assert!(error.contains(case.error), "{}: {error}", case.name);
    }
    let bad = r#"{"kind":"Service","metadata":{"name":"web"}}"#;
    std::fs::write(folder.path().join("bad.json"), bad).unwrap();
    let mut command = outlast();
    command.args(["drill", "standin", "--objects", "bad.json"]).args(FILE).current_dir(folder.path());
    let (code, _, error) = run(&mut command);
    assert!(code == 1 && error.contains("bad.json") && error.contains("\"web\""), "{error}");
    let (code, out, _) = run(outlast().args(["drill", "standin", "--help"]));
    assert!(code == 0 && out.contains("Examples:") && out.contains("SIGUSR1"), "{out}");
}
