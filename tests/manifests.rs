//! What is under `manifests/` is rendered and held against what it is for: kubectl old and new, Kubernetes' own
//! definitions, the command line, Corefiles, ports, and what a hub really asks an API server for.
//!
//! A real API server knows more: for whoever has one there is `tests/manifests/apply.sh`, and a test that runs it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "manifests/commands.rs"]
mod commands;
#[path = "manifests/corefiles.rs"]
mod corefiles;
#[path = "manifests/objects.rs"]
mod objects;
#[path = "manifests/ports.rs"]
mod ports;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "common/programs.rs"]
mod programs;
#[path = "manifests/rbac.rs"]
mod rbac;
#[path = "manifests/render.rs"]
mod render;
#[path = "manifests/schema.rs"]
mod schema;
#[path = "manifests/scraping.rs"]
mod scraping;
#[path = "manifests/wiring.rs"]
mod wiring;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use objects::{Objects, title};
use render::{any, oldest, overlays, render, rendered, static_pods};
use schema::{Schema, VERSIONS};
use serde_json::{Value, json};

#[test]
fn every_kubectl_renders_the_same() {
    let (Some(oldest), Some(any)) = (oldest(), any()) else { return };
    if oldest == any {
        let said = "\n*** ONE kubectl: each overlay was rendered twice by Debian's, and compared with nothing else\n";
        let _ = std::io::stderr().write_all(said.as_bytes());
    }
    let by_title = |objects: Objects| -> BTreeMap<String, Value> {
        let pairs: Vec<_> = objects.0.into_iter().map(|object| (title(&object), object)).collect();
        let count = pairs.len();
        let map: BTreeMap<_, _> = pairs.into_iter().collect();
        assert_eq!(map.len(), count, "no object comes twice");
        map
    };
    for overlay in overlays() {
        let (old, new) = (by_title(render(&oldest, &overlay)), by_title(render(&any, &overlay)));
        assert!(!old.is_empty(), "{overlay}");
        assert_eq!(old.keys().collect::<Vec<_>>(), new.keys().collect::<Vec<_>>(), "{overlay}");
        for (title, object) in &old {
            assert_eq!(object, &new[title], "{overlay}: {title}");
        }
    }
}

/// Kinds that the oldest release has in an older version only: `docs/install.md` says what to do there.
const LATER: [&str; 2] = ["FlowSchema", "PriorityLevelConfiguration"];

#[test]
fn every_object_is_as_kubernetes_defines_it() {
    let mut objects: Vec<(String, Value)> = static_pods();
    for (overlay, rendered) in rendered() {
        objects.extend(rendered.0.into_iter().map(|object| (overlay.clone(), object)));
    }
    let [oldest, newest] = VERSIONS.map(Schema::of);
    let mut later = BTreeSet::new();
    for (place, object) in &objects {
        assert!(newest.knows(object), "{place}: {} {}", object["apiVersion"], title(object));
        assert_eq!(newest.problems(object), Vec::<String>::new(), "{place}: {}", title(object));
        if oldest.knows(object) {
            assert_eq!(oldest.problems(object), Vec::<String>::new(), "{place}: {}", title(object));
        } else {
            later.insert(object["kind"].as_str().unwrap());
        }
        // Names are found by variables of one namespace.
        let namespace = &object["metadata"]["namespace"];
        assert!(namespace.is_null() || namespace == "kube-system", "{place}: {}", title(object));
    }
    assert!(objects.len() == static_pods().len() || later == BTreeSet::from(LATER), "{later:?}");
}

#[test]
fn an_object_that_is_wrong_is_found() {
    let schema = Schema::of(VERSIONS[1]);
    let service = |spec: Value| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": spec });
    let port = |port: Value| service(json!({ "ports": [port] }));
    for (name, object, want) in [
        ("right", port(json!({ "port": 53, "targetPort": "dns" })), None),
        (
            "an unknown field",
            port(json!({ "port": 53, "target": 53 })),
            Some(".spec.ports[0].target: there is no such field"),
        ),
        ("a wrong type", port(json!({ "port": "53" })), Some(".spec.ports[0].port: \"53\" is not of type")),
        (
            "neither number nor text",
            port(json!({ "port": 53, "targetPort": true })),
            Some("is none or more than one of"),
        ),
        ("a missing field", port(json!({ "name": "dns" })), Some(".spec.ports[0]: port is missing")),
        ("a list that is none", service(json!({ "ports": {} })), Some(".spec.ports: {} is not of type")),
        (
            "a map of texts",
            service(json!({ "selector": { "a": 1 } })),
            Some(".spec.selector.a: 1 is not of type"),
        ),
        (
            "two of a kind",
            service(
                json!({ "ports": [{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "UDP" }] }),
            ),
            Some(".spec.ports: two items with"),
        ),
        (
            "a protocol that is none",
            json!({
                "apiVersion": "cilium.io/v2", "kind": "CiliumLocalRedirectPolicy", "metadata": { "name": "p" },
                "spec": {
                    "redirectBackend": {
                        "localEndpointSelector": { "matchLabels": { "a": "b" } },
                        "toPorts": [{ "port": "53", "protocol": "DNS" }],
                    },
                    "redirectFrontend": { "serviceMatcher": { "serviceName": "s", "namespace": "n" } },
                },
            }),
            Some("\"DNS\" is none of"),
        ),
    ] {
        let problems = schema.problems(&object).join("\n");
        match want {
            None => assert_eq!(problems, "", "{name}"),
            Some(want) => assert!(problems.contains(want), "{name}: {problems}"),
        }
    }
    let old = json!({ "apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget" });
    assert!(!schema.knows(&old), "a version that is gone");
}

/// For a new release: `pip download --no-deps kubernetes-validate`, `unzip`, and
/// `OUTLAST_SCHEMAS=FOLDER cargo test --test manifests -- --ignored cut`.
#[test]
#[ignore = "writes tests/data/kubernetes-schema from an unpacked wheel of kubernetes-validate"]
fn cut_the_definitions_out() {
    let wheel =
        std::env::var("OUTLAST_SCHEMAS").expect("OUTLAST_SCHEMAS names the folder of the unpacked wheel");
    schema::cut(Path::new(&wheel));
}

/// `OUTLAST_TEST_KUBECONFIG=FILE cargo test --test manifests -- --ignored real_server`
#[test]
#[ignore = "needs an API server that nobody minds, named by OUTLAST_TEST_KUBECONFIG; nothing in it is changed"]
fn the_real_server_takes_every_overlay() {
    let file = std::env::var("OUTLAST_TEST_KUBECONFIG").expect("OUTLAST_TEST_KUBECONFIG names a kubeconfig");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests/apply.sh");
    let output = std::process::Command::new("sh").args([script, &file]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("FINE node-local\n"), "{text}");
}
