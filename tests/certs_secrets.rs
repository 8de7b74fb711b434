//! `outlast certs secrets` against an API server that keeps Secrets: what it makes, keeps, renews and leaves alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outlast::trust::facts::Facts;
use outlast::trust::name::Role;
use outlast::trust::pem;
use process::{outlast, run};
use serde_json::{Value, json};

/// The Secrets of an API server, and what it does before it looks at the next write.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// By name.
    secrets: BTreeMap<String, Value>,
    /// Counts writes.
    version: u64,
    /// What somebody else writes just before the next write of ours.
    ahead: Option<(String, Value)>,
    /// Method and name of each request.
    asked: Vec<String>,
}

impl Inner {
    /// Keeps it under the next version.
    fn keep(&mut self, name: &str, mut secret: Value) -> Value {
        self.version += 1;
        secret["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.secrets.insert(name.to_owned(), secret.clone());
        secret
    }

    /// What an API server makes of a write.
    fn write(&mut self, name: &str, secret: Value, is_new: bool) -> Answer {
        if let Some((name, secret)) = self.ahead.take() {
            self.keep(&name, secret);
        }
        let version = |of: &Value| of["metadata"]["resourceVersion"].clone();
        match self.secrets.get(name) {
            Some(_) if is_new => refusal(StatusCode::CONFLICT, "already exists"),
            Some(there) if version(there) != version(&secret) => {
                refusal(StatusCode::CONFLICT, "the object has been modified")
            }
            None if !is_new => refusal(StatusCode::NOT_FOUND, "not found"),
            _ => (StatusCode::OK, self.keep(name, secret).to_string()),
        }
    }
}

/// Status and body.
type Answer = (StatusCode, String);

fn refusal(status: StatusCode, message: &str) -> Answer {
    let code = status.as_u16();
    (status, json!({ "kind": "Status", "status": "Failure", "message": message, "code": code }).to_string())
}

impl Kept {
    /// Serves it on loopback until the test ends.
    fn serve(&self) -> Server {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let one = get(async |State(kept): State<Self>, Path((namespace, name)): Path<(String, String)>| {
            let mut inner = kept.0.lock().unwrap();
            inner.asked.push(format!("get {namespace}/{name}"));
            match inner.secrets.get(&name) {
                Some(secret) => (StatusCode::OK, secret.to_string()),
                None => refusal(StatusCode::NOT_FOUND, "not found"),
            }
        })
        .put(
            async |State(kept): State<Self>, Path((_, name)): Path<(String, String)>, body: Bytes| {
                let secret = serde_json::from_slice(&body).unwrap();
                let mut inner = kept.0.lock().unwrap();
                inner.asked.push(format!("update {name}"));
                inner.write(&name, secret, false)
            },
        );
        let all = post(async |State(kept): State<Self>, body: Bytes| {
            let secret: Value = serde_json::from_slice(&body).unwrap();
            let name = secret["metadata"]["name"].as_str().unwrap().to_owned();
            let mut inner = kept.0.lock().unwrap();
            inner.asked.push(format!("create {name}"));
            inner.write(&name, secret, true)
        });
        let app = Router::new()
            .route("/api/v1/namespaces/{namespace}/secrets/{name}", one)
            .route("/api/v1/namespaces/{namespace}/secrets", all)
            .with_state(self.clone());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let at = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, app).await });
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": { "server": format!("http://{at}") } }],
            "users": [{ "name": "u", "user": {} }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        });
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        Server { _runtime: runtime, folder }
    }

    /// A value of a Secret's data.
    fn data(&self, name: &str, key: &str) -> Vec<u8> {
        let inner = self.0.lock().unwrap();
        STANDARD.decode(inner.secrets[name]["data"][key].as_str().unwrap()).unwrap()
    }

    /// What a Secret's certificate says.
    fn facts(&self, name: &str) -> Facts {
        let chain = pem::certificates(name.as_ref(), &self.data(name, "tls.crt")).unwrap();
        Facts::read(&chain[0]).unwrap()
    }

    /// What was asked for since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    /// Changes a Secret as somebody else would.
    fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut inner = self.0.lock().unwrap();
        let mut secret = inner.secrets[name].clone();
        change(&mut secret);
        inner.keep(name, secret);
    }
}

/// It runs as long as this lives.
struct Server {
    _runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl Server {
    /// Runs the command with these further arguments.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let kubeconfig = self.folder.path().join("kubeconfig");
        let (code, out, err) =
            run(outlast().args(["certs", "secrets", "--kubeconfig"]).arg(kubeconfig).args(arguments));
        (code, out + &err)
    }

    /// The same; it has to succeed.
    fn fine(&self, arguments: &[&str]) -> String {
        let (code, said) = self.run(arguments);
        assert_eq!(code, 0, "{said}");
        said
    }
}

#[test]
fn what_is_missing_is_made_and_what_is_there_is_left_alone() {
    let kept = Kept::default();
    let server = kept.serve();
    let said = server.fine(&[]);
    assert!(said.contains("kube-system/outlast-ca: made a new authority, until"), "{said}");
    for (name, role) in [("outlast-hub-tls", Role::Hub), ("outlast-node-tls", Role::Node)] {
        assert!(said.contains(&format!("kube-system/{name}: made; for a {}", role.word())), "{said}");
        assert_eq!(kept.facts(name).role(), Some(role));
        assert_eq!(kept.data(name, "ca.crt"), kept.data("outlast-ca", "ca.crt"));
        let secret = kept.0.lock().unwrap().secrets[name].clone();
        assert_eq!(secret["type"], "kubernetes.io/tls");
        assert!(secret["data"].get("ca.key").is_none(), "nobody but the authority has its key");
    }
    // Reads, and creates what is not there.
    let want = [
        "get kube-system/outlast-ca",
        // Those of somebody else would be in the way of an authority.
        "get kube-system/outlast-hub-tls",
        "get kube-system/outlast-node-tls",
        "create outlast-ca",
        "get kube-system/outlast-hub-tls",
        "create outlast-hub-tls",
        "get kube-system/outlast-node-tls",
        "create outlast-node-tls",
    ];
    assert_eq!(kept.asked(), want);
    let before = kept.0.lock().unwrap().secrets.clone();
    let said = server.fine(&[]);
    assert!(said.contains("kube-system/outlast-node-tls: 100 % of its life are left"), "{said}");
    assert_eq!(kept.0.lock().unwrap().secrets, before);
}

/// What the Role of the manifests allows: verbs with the names that they are bound to, or with none.
fn allowed() -> BTreeSet<(String, Option<String>)> {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/base/certs/role.yaml"));
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text.unwrap()).unwrap();
    let role = objects.iter().find(|object| object["kind"] == "Role").unwrap();
    assert_eq!(role["metadata"]["namespace"], "kube-system");
    let mut allowed = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        assert_eq!((&rule["apiGroups"], &rule["resources"]), (&json!([""]), &json!(["secrets"])));
        let texts = |field: &str| -> Vec<String> {
            let all = rule[field].as_array().into_iter().flatten();
            all.map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let names = match rule.get("resourceNames") {
            Some(_) => texts("resourceNames").into_iter().map(Some).collect(),
            None => vec![None],
        };
        for verb in texts("verbs") {
            allowed.extend(names.iter().map(|name| (verb.clone(), name.clone())));
        }
    }
    allowed
}

/// A Role that allows less leaves a Job that fails for ever, and one that allows more is somebody's way in.
#[test]
fn what_is_asked_for_is_what_the_role_of_the_manifests_allows() {
    let kept = Kept::default();
    let server = kept.serve();
    server.fine(&[]);
    // What is damaged is written again, but for the authority.
    for name in ["outlast-hub-tls", "outlast-node-tls"] {
        kept.change(name, |secret| secret["data"]["tls.crt"] = json!("AAAA"));
    }
    server.fine(&[]);
    let mut asked: BTreeSet<(String, Option<String>)> = BTreeSet::new();
    for request in kept.asked() {
        let (verb, name) = request.split_once(' ').unwrap();
        let name = name.strip_prefix("kube-system/").unwrap_or(name);
        // An API server knows no name yet when it decides on a `create`.
        asked.insert((verb.to_owned(), (verb != "create").then(|| name.to_owned())));
    }
    assert_eq!(asked, allowed());
}

/// What somebody does to a Secret.
type Change<'a> = &'a dyn Fn(&mut Value);

#[test]
fn what_others_would_not_believe_is_made_anew() {
    let kept = Kept::default();
    let server = kept.serve();
    server.fine(&[]);
    let hub = kept.0.lock().unwrap().secrets["outlast-hub-tls"]["data"].clone();
    let cases: [(&str, Change<'_>, &str); 5] = [
        ("a certificate of hubs", &|node| node["data"] = hub.clone(), "it would not have been believed"),
        (
            "another's key",
            &|node| node["data"]["tls.key"] = hub["tls.key"].clone(),
            "its tls.key was another",
        ),
        (
            "no key",
            &|node| _ = node["data"].as_object_mut().unwrap().remove("tls.key"),
            "tls.key was missing",
        ),
        ("no certificate", &|node| node["data"]["tls.crt"] = json!("AAAA"), "tls.crt"),
        (
            "another authority",
            &|node| node["data"]["ca.crt"] = json!("AAAA"),
            "its ca.crt was another authority",
        ),
    ];
    for (name, change, why) in cases {
        kept.change("outlast-node-tls", |node| {
            node["metadata"]["annotations"] = json!({ "theirs": "stays" });
            change(node);
        });
        let said = server.fine(&[]);
        assert!(said.contains("outlast-node-tls: renewed, because ") && said.contains(why), "{name}: {said}");
        assert_eq!(kept.facts("outlast-node-tls").role(), Some(Role::Node), "{name}");
        let secret = kept.0.lock().unwrap().secrets["outlast-node-tls"].clone();
        assert_eq!(secret["metadata"]["annotations"]["theirs"], "stays", "{name}");
        assert!(server.fine(&[]).contains("outlast-node-tls: 100 %"), "{name}");
    }
}

#[test]
fn a_certificate_that_has_a_third_of_its_life_behind_it_is_renewed() {
    // It begins an hour before it is made: of a life of one day and that hour, 96 % are left, and of one that ends with
    // an authority that has a day left of ten years nothing but the end counts.
    let kept = Kept::default();
    let server = kept.serve();
    let said = server.fine(&["--ca-days", "1"]);
    assert!(said.contains("the authority ends before certificates of 365 days would"), "{said}");
    assert_eq!(kept.facts("outlast-hub-tls").not_after, kept.facts("outlast-node-tls").not_after);
    assert!(server.fine(&[]).contains("outlast-hub-tls: 96 % of its life are left"));
}

#[test]
fn who_is_overtaken_takes_what_the_other_made() {
    let kept = Kept::default();
    let server = kept.serve();
    server.fine(&[]);
    let ca = kept.0.lock().unwrap().secrets["outlast-ca"].clone();
    // Another Job makes the authority between our look and our write.
    let other = Kept::default();
    other.0.lock().unwrap().ahead = Some(("outlast-ca".to_owned(), ca));
    let server = other.serve();
    let said = server.fine(&[]);
    assert!(said.contains("outlast-ca: the authority, until"), "{said}");
    assert_eq!(other.data("outlast-ca", "ca.key"), kept.data("outlast-ca", "ca.key"));
    assert_eq!(other.data("outlast-hub-tls", "ca.crt"), kept.data("outlast-ca", "ca.crt"));
    // The same of a renewal.
    let good = other.0.lock().unwrap().secrets["outlast-node-tls"].clone();
    other.change("outlast-node-tls", |node| node["data"]["tls.crt"] = json!("AAAA"));
    other.0.lock().unwrap().ahead = Some(("outlast-node-tls".to_owned(), good.clone()));
    assert!(server.fine(&[]).contains("outlast-node-tls: 100 %"));
    assert_eq!(other.0.lock().unwrap().secrets["outlast-node-tls"]["data"], good["data"]);
}

#[test]
fn what_somebody_else_has_made_is_left_alone() {
    let kept = Kept::default();
    let server = kept.serve();
    server.fine(&[]);
    // Of another authority, and with no label of ours: cert-manager's, say.
    kept.change("outlast-node-tls", |node| {
        node["metadata"]["labels"] = json!({});
        node["data"]["ca.crt"] = json!("AAAA");
    });
    let before = kept.0.lock().unwrap().secrets.clone();
    let (code, said) = server.run(&[]);
    assert!(code != 0 && said.contains("outlast-node-tls was not made by this command"), "{said}");
    assert_eq!(kept.0.lock().unwrap().secrets, before);
    kept.0.lock().unwrap().secrets.remove("outlast-ca");
    let (code, said) = server.run(&[]);
    assert!(code != 0 && said.contains("there is no authority kube-system/outlast-ca"), "{said}");
    assert!(!kept.0.lock().unwrap().secrets.contains_key("outlast-ca"));
}

#[test]
fn an_authority_that_is_none_is_never_overwritten() {
    let kept = Kept::default();
    let server = kept.serve();
    server.fine(&[]);
    kept.change("outlast-ca", |ca| _ = ca["data"].as_object_mut().unwrap().remove("ca.key"));
    let before = kept.0.lock().unwrap().secrets.clone();
    let (code, said) = server.run(&[]);
    assert!(code != 0 && said.contains("kube-system/outlast-ca[ca.key] is missing"), "{said}");
    assert_eq!(kept.0.lock().unwrap().secrets, before);
}

#[test]
fn what_cannot_work_is_said() {
    let kept = Kept::default();
    let server = kept.serve();
    for (arguments, want) in [
        (&["--namespace", "../x"][..], "write a name as Kubernetes has them"),
        (&["--ca", "Outlast"], "write a name as Kubernetes has them"),
        (&["--days", "0"], "0 is not in 1..=36500"),
        (&["--namespace", "nobody", "--ca", "a"], ""),
    ] {
        let (code, said) = server.run(arguments);
        assert!((code != 0) != want.is_empty() && said.contains(want), "{arguments:?}: {said}");
    }
    let (code, out, err) = run(outlast().args(["certs", "secrets"]).env_remove("KUBERNETES_SERVICE_HOST"));
    assert!(code != 0 && err.contains("write --kubeconfig FILE"), "{out}{err}");
    drop(server);
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) =
        run(outlast().args(["certs", "secrets", "--kubeconfig"]).arg(folder.path().join("missing")));
    assert!(code != 0 && err.contains("No such file"), "{err}");
}
