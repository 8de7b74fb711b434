//! What objects of an overlay say of each other: labels, images, volumes, accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::commands::of_container;
use super::objects::{Objects, Workload, list, name, selects, text, texts, title};
use super::render::{MANIFESTS, rendered, static_pods};

/// What clusters have: CoreDNS's ConfigMap, kube-dns's that node-cache reads if it is there, CoreDNS's account.
const CLUSTERS: [(&str, &str); 3] =
    [("ConfigMap", "coredns"), ("ConfigMap", "kube-dns"), ("ServiceAccount", "coredns")];

/// Labels of the pods of the cluster's DNS, which clusters have.
const CLUSTER_DNS: (&str, &str) = ("k8s-app", "kube-dns");

/// Canaries, and the overlays that they are beside: those have the Secrets, the hubs and what selects pods.
const CANARIES: [(&str, &str); 2] =
    [("node-local-canary", "node-local"), ("node-local-cilium-canary", "node-local-cilium")];

fn is_cluster_dns(selector: &Value) -> bool {
    selector[CLUSTER_DNS.0] == CLUSTER_DNS.1 && selector.as_object().is_some_and(|labels| labels.len() == 1)
}

#[test]
fn selectors_select_the_pods_that_are_meant() {
    let rendered = rendered();
    // Whatever has no pods of its own is beside this one.
    let (_, beside) = rendered.iter().find(|(overlay, _)| *overlay == "node-local").unwrap();
    for (overlay, objects) in &rendered {
        let mut workloads = objects.workloads();
        if workloads.is_empty() {
            workloads = beside.workloads();
        }
        let labels: Vec<_> = workloads.iter().map(|w| &w.template["metadata"]["labels"]).collect();
        for (workload, labels) in workloads.iter().zip(&labels) {
            let selector = &workload.object["spec"]["selector"]["matchLabels"];
            assert!(selector.is_null() || selects(selector, labels), "{overlay}: {}", workload.title);
            let spec = workload.spec();
            let own = list(&spec["topologySpreadConstraints"]).iter().chain(list(
                &spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"],
            ));
            for term in own {
                let selector = &term["labelSelector"]["matchLabels"];
                assert!(selects(selector, labels), "{overlay}: {} is apart from others", workload.title);
            }
        }
        let others = objects.0.iter().filter_map(|object| {
            let spec = &object["spec"];
            let selector = match object["kind"].as_str()? {
                "Service" => &spec["selector"],
                "PodDisruptionBudget" => &spec["selector"]["matchLabels"],
                "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
                "CiliumLocalRedirectPolicy" => {
                    &spec["redirectBackend"]["localEndpointSelector"]["matchLabels"]
                }
                _ => return None,
            };
            Some((object, selector))
        });
        for (object, selector) in others {
            let found = labels.iter().filter(|labels| selects(selector, labels)).count();
            assert!(found == 1 || is_cluster_dns(selector), "{overlay}: {} selects {found}", title(object));
        }
    }
}

/// Overlays may be side by side in a cluster: none may take another's pods for its own.
#[test]
fn no_two_workloads_have_each_others_pods() {
    let rendered = rendered();
    let all: BTreeMap<String, Workload<'_>> = rendered
        .iter()
        .flat_map(|(_, objects)| objects.workloads())
        .map(|workload| (workload.title.clone(), workload))
        .collect();
    for (title, workload) in &all {
        let selector = &workload.object["spec"]["selector"]["matchLabels"];
        // CoreDNS's own is as wide as kubeadm made it; its ReplicaSets own their pods.
        if selector.is_null() || is_cluster_dns(selector) {
            continue;
        }
        for (other, workload) in all.iter().filter(|(other, _)| *other != title) {
            let taken = selects(selector, &workload.template["metadata"]["labels"]);
            assert!(!taken, "{title} selects the pods of {other}");
        }
    }
}

/// A node's pod, and the terms by which it chooses machines.
fn of_nodes(objects: &Objects) -> (&Value, BTreeSet<String>, &Value) {
    let found = objects.of("DaemonSet").next().unwrap_or_else(|| panic!("no DaemonSet"));
    let pod = &found["spec"]["template"];
    let affinity = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = list(&affinity["nodeSelectorTerms"][0]["matchExpressions"]);
    (pod, terms.iter().map(Value::to_string).collect(), &pod["spec"]["nodeSelector"])
}

/// Each machine has one of the two, and whatever leads to the one leads to the other as well.
#[test]
fn a_canary_is_where_the_other_one_is_not_and_is_selected_as_that_one_is() {
    let rendered: BTreeMap<_, _> = rendered().into_iter().collect();
    if rendered.is_empty() {
        return;
    }
    for (canary, main) in CANARIES {
        let (beside, objects) = (&rendered[canary], &rendered[main]);
        let ((pod, terms, wanted), (mains, others, _)) = (of_nodes(beside), of_nodes(objects));
        let kept_off: Vec<_> = others.difference(&terms).collect();
        assert!(
            matches!(kept_off[..], [term] if term.contains("outlast.dev/canary")),
            "{canary}: {kept_off:?}"
        );
        assert!(terms.is_subset(&others), "{canary}");
        assert_eq!(wanted["outlast.dev/canary"], "true", "{canary}");
        let selectors = objects.0.iter().filter_map(|object| match object["kind"].as_str()? {
            "Service" => Some(&object["spec"]["selector"]),
            "CiliumLocalRedirectPolicy" => {
                Some(&object["spec"]["redirectBackend"]["localEndpointSelector"]["matchLabels"])
            }
            _ => None,
        });
        for selector in selectors {
            let [mains, canarys] = [mains, pod].map(|pod| selects(selector, &pod["metadata"]["labels"]));
            assert_eq!(mains, canarys, "{canary}: {selector}");
        }
        // Two pods on the host's network agree on who writes; others have a folder each.
        let folder = |pod: &Value| {
            let mut volumes = list(&pod["spec"]["volumes"]).iter();
            volumes.find(|volume| name(volume) == "snapshots").unwrap()["hostPath"]["path"].clone()
        };
        let is_on_host = pod["spec"]["hostNetwork"] == true;
        assert_eq!(folder(mains) == folder(pod), is_on_host, "{canary}");
    }
}

#[test]
fn there_is_one_image_of_outlast_and_it_is_this_version() {
    let ours = format!("outlast:{}", env!("CARGO_PKG_VERSION"));
    let others = ["registry.k8s.io/coredns/coredns:v1.13.1"];
    let mut count = 0;
    let mut check = |place: &str, workload: &Workload<'_>| {
        for container in workload.containers() {
            let image = text(&container["image"]);
            assert!(image == ours || others.contains(&image), "{place}: {}: {image}", workload.title);
            count += usize::from(image == ours);
        }
        assert!(workload.outlasts().count() == 1, "{place}: {}", workload.title);
    };
    for (overlay, objects) in rendered() {
        objects.workloads().iter().for_each(|workload| check(&overlay, workload));
    }
    static_pods().iter().for_each(|(file, pod)| check(file, &Workload::of(pod).unwrap()));
    assert!(count >= 2);
}

/// CoreDNS's own pods, which may be anywhere that its image is for: `docs/migrate-coredns.md` says what to do.
const ANYWHERE: &str = "sidecar";

/// The image is of one kind of machine: on another one a pod would fail to start, again and again.
#[test]
fn pods_go_only_to_machines_that_the_image_is_for() {
    let mut count = 0;
    for (overlay, objects) in rendered() {
        for workload in objects.workloads().iter().filter(|workload| workload.outlasts().count() > 0) {
            let kind = &workload.spec()["nodeSelector"]["kubernetes.io/arch"];
            let is_anywhere = overlay == ANYWHERE;
            assert_eq!(kind == "amd64", !is_anywhere, "{overlay}: {}: {kind}", workload.title);
            count += 1;
        }
        for daemon_set in objects.of("DaemonSet") {
            let affinity = daemon_set["spec"]["template"]["spec"]["affinity"].to_string();
            for term in [
                r#"{"key":"eks.amazonaws.com/compute-type","operator":"NotIn","values":["fargate"]}"#,
                r#"{"key":"type","operator":"NotIn","values":["virtual-kubelet"]}"#,
            ] {
                assert!(affinity.contains(term), "{overlay}: {}: {term}", title(daemon_set));
            }
        }
    }
    assert!(count == 0 || count > 10, "{count}");
}

/// As `container_t` a container may not write what is the host's, whoever its user is.
#[test]
fn pods_that_write_folders_of_the_host_may_where_selinux_is_enforced() {
    let check = |place: &str, workload: &Workload<'_>| {
        let mut volumes = list(&workload.spec()["volumes"]).iter();
        let writes = volumes.any(|volume| volume["hostPath"]["type"] == "DirectoryOrCreate");
        let kind = &workload.spec()["securityContext"]["seLinuxOptions"]["type"];
        assert_eq!(kind == "spc_t", writes, "{place}: {}: {kind}", workload.title);
        usize::from(writes)
    };
    let mut count = 0;
    for (overlay, objects) in rendered() {
        count += objects.workloads().iter().map(|workload| check(&overlay, workload)).sum::<usize>();
    }
    for (file, pod) in static_pods() {
        count += check(&file, &Workload::of(&pod).unwrap());
    }
    assert!(count >= 2, "{count}");
}

/// A flag's or variable's value that is a file or folder.
fn paths(container: &Value, objects: &Objects) -> Vec<String> {
    let (words, env) = of_container(container, objects);
    let values = words.iter().map(|word| word.split_once('=').map_or(word.as_str(), |(_, value)| value));
    let values = values.chain(env.iter().map(|(_, value)| value.as_str()));
    values.filter(|value| value.starts_with('/')).map(str::to_owned).collect()
}

fn check_volumes(place: &str, workload: &Workload<'_>, objects: &Objects) {
    let place = format!("{place}: {}", workload.title);
    let volumes: BTreeSet<_> = list(&workload.spec()["volumes"]).iter().map(name).collect();
    let mut used = BTreeSet::new();
    for container in workload.containers() {
        let mounts: BTreeMap<_, _> = list(&container["volumeMounts"])
            .iter()
            .map(|mount| (Path::new(text(&mount["mountPath"])), mount))
            .collect();
        used.extend(mounts.values().map(|mount| name(mount)));
        for path in mounts.keys() {
            let within = mounts.keys().find(|other| path != *other && path.starts_with(other));
            assert!(within.is_none(), "{place}: {path:?} is within {within:?}, which may be read-only");
        }
        // node-cache's flags name files that it writes itself, and its root is writable.
        if container["securityContext"]["readOnlyRootFilesystem"] != true {
            continue;
        }
        for path in paths(container, objects) {
            let found = mounts.iter().find(|(mount, _)| Path::new(&path).starts_with(mount));
            let (_, mount) = found.unwrap_or_else(|| panic!("{place}: {path} is not mounted"));
            let is_written = path.starts_with("/var/") || path.starts_with("/run/");
            assert!(!is_written || mount["readOnly"] != true, "{place}: {path} is read-only");
        }
        let is_server = texts(&container["args"]).first() != Some(&"certs");
        let socket = mounts.contains_key(Path::new("/run/outlast"));
        assert!(socket || !is_server || name(container) != "outlast", "{place}: nowhere to put the socket");
    }
    assert_eq!(volumes, used, "{place}: volumes, and what is mounted");
}

#[test]
fn what_is_mounted_is_there() {
    let mut certificates = BTreeSet::new();
    let rendered = rendered();
    for (overlay, objects) in &rendered {
        let made = |kind: &str, name: &str| objects.has(kind, name) || CLUSTERS.contains(&(kind, name));
        let secrets: BTreeSet<_> = secrets_made(objects).into_iter().collect();
        certificates.extend(secrets.clone());
        for workload in objects.workloads() {
            check_volumes(overlay, &workload, objects);
            let place = format!("{overlay}: {}", workload.title);
            if let Some(account) = workload.spec()["serviceAccountName"].as_str() {
                assert!(made("ServiceAccount", account), "{place}: {account}");
            }
            for volume in list(&workload.spec()["volumes"]) {
                if let Some(map) = volume["configMap"]["name"].as_str() {
                    assert!(made("ConfigMap", map), "{place}: {map}");
                }
                if let Some(secret) = volume["secret"]["secretName"].as_str() {
                    let is_beside = CANARIES.iter().any(|(canary, _)| overlay == canary);
                    let is_anothers = is_beside && volume["secret"]["optional"] == true;
                    assert!(secrets.contains(secret) || is_anothers, "{place}: {secret}");
                }
            }
        }
        for binding in objects.of("ClusterRoleBinding").chain(objects.of("RoleBinding")) {
            let role = &binding["roleRef"];
            assert!(objects.has(text(&role["kind"]), name(role)), "{overlay}: {}", title(binding));
            for subject in list(&binding["subjects"]) {
                assert!(objects.has(text(&subject["kind"]), name(subject)), "{overlay}: {subject}");
            }
        }
    }
    assert!(rendered.is_empty() || certificates.len() == 3, "{certificates:?}");
}

/// The Secrets that an overlay's Job makes.
fn secrets_made(objects: &Objects) -> Vec<String> {
    let jobs: Vec<_> =
        objects.workloads().into_iter().filter(|w| texts(&w.containers()[0]["args"])[0] == "certs").collect();
    let made = |workload: &Workload<'_>| -> Vec<String> {
        let args = texts(&workload.containers()[0]["args"]);
        let values = args.iter().filter(|arg| !arg.starts_with("--namespace"));
        values.filter_map(|arg| Some(arg.split_once('=')?.1.to_owned())).collect()
    };
    let Some(first) = jobs.first().map(made) else { return Vec::new() };
    let allowed = &objects.get("Role", "outlast-certs")["rules"];
    let named: BTreeSet<_> = list(allowed).iter().flat_map(|rule| texts(&rule["resourceNames"])).collect();
    assert_eq!(named, first.iter().map(String::as_str).collect(), "what the Job may see is what it makes");
    assert!(jobs.iter().all(|job| made(job) == first), "the Job and the CronJob make the same");
    first
}

#[test]
fn static_pods_name_no_object_of_an_api_server() {
    for (file, pod) in static_pods() {
        let spec = &pod["spec"];
        check_volumes(&file, &Workload::of(&pod).unwrap(), &Objects(Vec::new()));
        assert_eq!(spec["automountServiceAccountToken"], false, "{file}");
        assert_eq!(spec["enableServiceLinks"], false, "{file}");
        assert!(spec["serviceAccountName"].is_null(), "{file}");
        // Of those that every cluster has; the number is what the kubelet goes by.
        assert_eq!(
            (&spec["priorityClassName"], &spec["priority"]),
            (&"system-node-critical".into(), &2_000_001_000.into())
        );
        for volume in list(&spec["volumes"]) {
            assert!(volume["hostPath"].is_object() || volume["emptyDir"].is_object(), "{file}: {volume}");
        }
        let text = pod.to_string();
        for word in ["configMap", "secret", "valueFrom", "envFrom", "persistentVolumeClaim", "$("] {
            assert!(!text.contains(word), "{file}: {word}");
        }
        for container in list(&spec["containers"]) {
            assert_eq!(container["imagePullPolicy"], "IfNotPresent", "{file}");
        }
    }
}

/// What kustomizations may say: the fields that kubectl 1.20 and its successors read alike.
const FIELDS: [&str; 8] = [
    "apiVersion",
    "kind",
    "bases",
    "resources",
    "namePrefix",
    "patchesStrategicMerge",
    "patchesJson6902",
    "images",
];

#[test]
fn kustomizations_say_what_every_kubectl_understands() {
    let mut folders = vec![Path::new(MANIFESTS).to_owned()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        let entries: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.extend(entries.iter().filter(|path| path.is_dir()).cloned());
        let Some(file) = entries.iter().find(|path| path.ends_with("kustomization.yaml")) else { continue };
        let kustomization = Objects::parse(&fs::read_to_string(file).unwrap()).0.remove(0);
        count += 1;
        for field in kustomization.as_object().unwrap().keys() {
            assert!(FIELDS.contains(&field.as_str()), "{}: {field}", file.display());
        }
        for resource in texts(&kustomization["resources"]) {
            assert!(folder.join(resource).is_file(), "{}: {resource} is no file", file.display());
        }
    }
    assert!(count >= 12);
}
