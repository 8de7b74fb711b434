//! Rights: what roles allow is what is asked for, no more and no less. A stand-in for the API server refuses all else
//! and counts.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use outlast::drill::standin::access::Rights;
use outlast::drill::standin::requests::{Asked, Verb};
use outlast::drill::standin::{Config, Standin};
use outlast::source::apiserver::access::{Access, Limits, Place};
use outlast::testkit::hub::Builder;
use outlast::zone::object::Kind;
use serde_json::{Value, json};

use super::corefiles::KUBEADMS;
use super::objects::{Objects, list, text, texts};
use super::process::{Process, outlast};
use super::render::{any, render};

/// A kind and what is done with it.
type Right = (&'static str, &'static str);

/// Kinds as rules have them.
const RESOURCES: [(Kind, &str, &str); 4] = [
    (Kind::Namespace, "", "namespaces"),
    (Kind::Service, "", "services"),
    (Kind::EndpointSlice, "discovery.k8s.io", "endpointslices"),
    (Kind::Pod, "", "pods"),
];

/// Verbs as rules have them.
const VERBS: [(Verb, &str); 3] = [(Verb::Get, "get"), (Verb::List, "list"), (Verb::Watch, "watch")];

/// What a role allows, one by one.
fn allowed(role: &Value) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in list(&role["rules"]) {
        assert!(
            rule.as_object()
                .unwrap()
                .keys()
                .all(|key| ["apiGroups", "resources", "verbs"].contains(&key.as_str()))
        );
        for (group, resource) in texts(&rule["apiGroups"])
            .iter()
            .flat_map(|g| texts(&rule["resources"]).into_iter().map(move |r| (*g, r)))
        {
            for verb in texts(&rule["verbs"]) {
                let known = RESOURCES.iter().find(|(_, g, r)| (*g, *r) == (group, resource));
                let (_, _, resource) =
                    known.unwrap_or_else(|| panic!("{group}/{resource} is nothing of ours"));
                let (_, verb) = VERBS.iter().find(|(_, v)| *v == verb).unwrap_or_else(|| panic!("{verb}"));
                rights.insert((*resource, *verb));
            }
        }
    }
    rights
}

/// The same for the stand-in.
fn rights(allowed: &BTreeSet<Right>) -> Rights {
    let mut rights = Rights::NONE;
    for (kind, _, resource) in RESOURCES {
        for (verb, _) in VERBS.iter().filter(|(_, verb)| allowed.contains(&(resource, *verb))) {
            rights = rights.allow(*verb, kind);
        }
    }
    rights
}

/// What was asked for by `user`, granted or not.
fn asked(server: &Standin, user: &str) -> BTreeSet<Right> {
    let rows = server.requests().all().into_iter().filter(|(asked, _)| asked.user == user);
    let right = |(asked, _): (Asked, u64)| {
        let (_, _, resource) = RESOURCES.iter().find(|(kind, ..)| Some(*kind) == asked.kind)?;
        let (_, verb) = VERBS.iter().find(|(verb, _)| *verb == asked.verb)?;
        assert_ne!(asked.status, 403, "{asked:?}");
        Some((*resource, *verb))
    };
    rows.filter_map(right).collect()
}

async fn cluster() -> Standin {
    let server = Standin::start(Config::default()).await.unwrap();
    let service = json!({
        "metadata": { "namespace": "default", "name": "kubernetes" },
        "spec": { "type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"] },
    });
    server.etcd().put(Kind::Service, &service).unwrap();
    server
}

fn role(overlay: &str, name: &str) -> Option<(Objects, BTreeSet<Right>)> {
    let objects = render(&any()?, overlay);
    let allowed = allowed(objects.get("ClusterRole", name));
    Some((objects, allowed))
}

#[tokio::test]
async fn hubs_ask_for_what_their_role_allows_and_for_nothing_else() {
    let Some((objects, allowed)) = role("node-local", "outlast-hub") else { return };
    let args =
        texts(&objects.get("Deployment", "outlast-hub")["spec"]["template"]["spec"]["containers"][0]["args"]);
    let service = args.iter().find_map(|arg| arg.strip_prefix("--service=")?.split_once('/')).unwrap();
    let server = cluster().await;
    let user = "system:serviceaccount:kube-system:outlast-hub";
    server.access().set_user(user, rights(&allowed));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    fs::write(&file, server.kubeconfig_of(user)).unwrap();
    let hub = || {
        let mut builder = Builder::new(&server).snapshot(folder.path().join("snapshots"));
        let place = Place::Kubeconfig { file: file.clone(), context: None };
        builder.config.access = Access { place, limits: Limits::default() };
        builder.config.wanted.pods = args.contains(&"--pods");
        builder.config.service = Some((service.0.to_owned(), service.1.to_owned()));
        builder.config.audit_interval = Duration::from_secs(2);
        builder.start()
    };
    let first = hub();
    first.state("live").await;
    let audits = "outlast_apiserver_lists_total{kind=\"EndpointSlice\",reason=\"audit\"}";
    first.until("an audit", |hub| hub.metric(audits) >= 1.0).await;
    // Everything is listed again, then watched from where it ended.
    server.restart();
    let watches = server.requests().watches(Kind::Namespace);
    first.until("it watches again", |_| server.requests().watches(Kind::Namespace) > watches).await;
    first.stop().await;
    let second = hub();
    second.state("live").await;
    let asked = asked(&server, user);
    assert_eq!(asked, allowed, "asked for, and allowed");
    assert!(
        server.requests().count(|a| a.user == user && a.verb == Verb::Other && a.status == 200) > 0,
        "/readyz"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_without_hubs_ask_for_what_their_role_allows() {
    let Some((_, allowed)) = role("replace-coredns", "outlast-dns") else { return };
    let server = cluster().await;
    let user = "system:serviceaccount:kube-system:outlast-dns";
    server.access().set_user(user, rights(&allowed));
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    fs::write(&kubeconfig, server.kubeconfig_of(user)).unwrap();
    let corefile = folder.path().join("Corefile");
    let text = KUBEADMS
        .replace(".:53", ".:0")
        .replace("    errors\n", "    bind 127.0.0.1\n    errors\n")
        .replace("    health {", "    health 127.0.0.1:0 {")
        .replace("    ready\n", "    ready 127.0.0.1:0\n")
        .replace(":9153", "127.0.0.1:0")
        .replace("pods insecure", &format!("pods insecure\n       kubeconfig {}", kubeconfig.display()))
        .replace("/etc/resolv.conf", "127.0.0.1:9");
    fs::write(&corefile, text).unwrap();
    let mut command = outlast();
    command.arg("-conf").arg(&corefile).env("OUTLAST_SNAPSHOT", folder.path().join("snapshots"));
    let process = Process::start(&mut command).serving();
    let all = || asked(&server, user);
    process.wait_for("all kinds are watched", |_| (all() == allowed).then_some(()));
    server.restart();
    let watches = server.requests().watches(Kind::Namespace);
    process.wait_for("it watches again", |_| {
        (server.requests().watches(Kind::Namespace) > watches).then_some(())
    });
    assert_eq!(all(), allowed, "asked for, and allowed");
}

/// What hubs ask for has a queue of its own: all of it.
#[test]
fn the_flow_schema_is_about_what_the_role_allows() {
    let Some((objects, allowed)) = role("node-local", "outlast-hub") else { return };
    let Some(kubectl) = any() else { return };
    let (queue, servers) = (render(&kubectl, "flowcontrol"), render(&kubectl, "replace-coredns"));
    let schema = &queue.get("FlowSchema", "outlast-hub")["spec"];
    let mut about = BTreeSet::new();
    for rule in list(&schema["rules"]) {
        for subject in list(&rule["subjects"]) {
            let account = text(&subject["serviceAccount"]["name"]);
            let is_there = [&objects, &servers].iter().any(|objects| objects.has("ServiceAccount", account));
            assert!(is_there, "{subject}");
        }
        for resources in list(&rule["resourceRules"]) {
            assert_eq!((&resources["clusterScope"], &resources["namespaces"]), (&true.into(), &json!(["*"])));
            for resource in texts(&resources["resources"]) {
                let verbs = texts(&resources["verbs"]).into_iter().map(str::to_owned);
                about.extend(verbs.map(|verb| (resource.to_owned(), verb)));
            }
        }
    }
    let allowed: BTreeSet<_> = allowed.iter().map(|(r, v)| ((*r).to_owned(), (*v).to_owned())).collect();
    assert_eq!(about, allowed);
    let level = text(&schema["priorityLevelConfiguration"]["name"]);
    assert!(queue.has("PriorityLevelConfiguration", level), "{level}");
}
