//! The Corefiles of ConfigMaps and of hosts pass `outlast check` as the container would be started.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::commands::{env_file, of_container as command_of};
use super::objects::{Objects, Workload, list, name, text, texts};
use super::process::{outlast, run};
use super::render::{MANIFESTS, rendered, static_pods};

/// What clusters have in the ConfigMap `coredns`, which is theirs.
pub(crate) const KUBEADMS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corefile/fixtures/kubeadm.corefile"));

/// Where node-cache has its template, and what is put in at run time.
const TEMPLATE: &str = "/etc/coredns/Corefile.base";
const PILLARS: [(&str, &str); 3] = [
    ("__PILLAR__LOCAL__DNS__", "169.254.20.10 10.96.0.10"),
    ("__PILLAR__CLUSTER__DNS__", "10.96.87.4"),
    ("__PILLAR__UPSTREAM__SERVERS__", "/etc/resolv.conf"),
];

/// Of a host.
const HOSTS: &str = "/etc/outlast/Corefile";

/// The Corefile that a container of a server is started with.
pub(crate) fn of_container(workload: &Workload<'_>, container: &Value, objects: &Objects) -> String {
    let args = texts(&container["args"]);
    let given =
        args.iter().zip(args.iter().skip(1)).find(|(flag, _)| **flag == "-conf").map(|(_, path)| *path);
    let path = given.or_else(|| args.iter().find_map(|arg| arg.strip_prefix("--conf="))).unwrap();
    match mounted(workload, container, objects, path) {
        Some(text) => text,
        None if path == HOSTS => hosts(),
        // node-cache writes what it was told, and reads the template.
        None => PILLARS.iter().fold(
            mounted(workload, container, objects, TEMPLATE).unwrap_or_else(|| panic!("{path}: not mounted")),
            |text, (pillar, value)| text.replace(pillar, value),
        ),
    }
}

/// The Corefile of the host form.
fn hosts() -> String {
    fs::read_to_string(Path::new(MANIFESTS).join("host/Corefile")).unwrap()
}

/// A file of a ConfigMap that is mounted.
fn mounted(workload: &Workload<'_>, container: &Value, objects: &Objects, path: &str) -> Option<String> {
    let path = Path::new(path);
    let mount = list(&container["volumeMounts"]).iter().find(|m| path.starts_with(text(&m["mountPath"])))?;
    let volume = list(&workload.spec()["volumes"]).iter().find(|v| v["name"] == mount["name"])?;
    let map = text(&volume["configMap"]["name"]);
    let file = path.strip_prefix(text(&mount["mountPath"])).unwrap().to_str().unwrap();
    let items = list(&volume["configMap"]["items"]);
    let key = items.iter().find(|item| item["path"] == file).map_or(file, |item| text(&item["key"]));
    match map {
        "" => None,
        // The cluster's own.
        "coredns" => Some(KUBEADMS.to_owned()),
        ours => objects.get("ConfigMap", ours)["data"].get(key)?.as_str().map(str::to_owned),
    }
}

/// Whether `outlast check` is content with a Corefile, with these variables.
fn check(place: &str, text: &str, env: &[(String, String)]) {
    let folder = tempfile::tempdir().unwrap();
    let (file, resolv) = (folder.path().join("Corefile"), folder.path().join("resolv.conf"));
    fs::write(&resolv, "nameserver 192.0.2.53\n").unwrap();
    // What the machine of the test has there is not what is tested.
    let resolv = resolv.to_str().unwrap();
    let text = text.replace("/run/systemd/resolve/resolv.conf", resolv).replace("/etc/resolv.conf", resolv);
    fs::write(&file, text).unwrap();
    let mut command = outlast();
    command.arg("check").arg("--conf").arg(&file).envs(env.iter().map(|(name, value)| (name, value)));
    // As in a pod.
    command.env("KUBERNETES_SERVICE_HOST", "10.96.0.1").env("KUBERNETES_SERVICE_PORT", "443");
    let (code, out, errors) = run(&mut command);
    assert_eq!(code, 0, "{place}: {errors}");
    assert!(out.ends_with(": ok\n"), "{place}: {out}");
    let complaints = errors.lines().filter(|line| {
        // Files of Secrets and ServiceAccounts, which a test's machine does not have.
        !line.contains("TLS cannot be read") && !line.contains("serviceaccount")
    });
    assert_eq!(complaints.collect::<Vec<_>>(), Vec::<&str>::new(), "{place}");
}

#[test]
fn corefiles_pass_the_check() {
    let mut seen = 0;
    for (overlay, objects) in rendered() {
        for workload in objects.workloads() {
            for container in workload.containers() {
                if matches!(texts(&container["args"]).first(), Some(&("hub" | "certs"))) {
                    continue;
                }
                let place = format!("{overlay}: {} {}", workload.title, name(container));
                let (_, env) = command_of(container, &objects);
                check(&place, &of_container(&workload, container, &objects), &env);
                seen += 1;
            }
        }
    }
    assert!(seen == 0 || seen >= 8, "{seen}");
    check("the host's", &hosts(), &env_file("node.env"));
    for (file, pod) in static_pods().iter().filter(|(file, _)| file.contains("node")) {
        let container = &pod["spec"]["containers"][0];
        check(file, &hosts(), &command_of(container, &Objects(Vec::new())).1);
    }
}

#[test]
fn hosts_and_daemon_sets_serve_the_same() {
    let Some((_, objects)) = rendered().into_iter().find(|(overlay, _)| overlay == "node-local") else {
        return;
    };
    let map = text(&objects.get("ConfigMap", "outlast-node")["data"]["Corefile"]).to_owned();
    let words = |text: &str| {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#') && !line.is_empty());
        lines.map(|line| line.replace("/run/systemd/resolve/", "/etc/")).collect::<Vec<_>>()
    };
    assert_eq!(words(&map), words(&hosts()));
}
