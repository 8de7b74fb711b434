//! Every pod that serves metrics is scraped, once, where it serves them: PodMonitors, as Prometheus goes by them.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::objects::{Objects, Workload, list, name, selects, text, texts, title};
use super::ports::{Use, listened};
use super::render::{rendered, static_pods};

/// Pods of these addresses, and how they are written before a port.
const PODS: [(&str, &str); 2] = [("10.244.0.7", "10.244.0.7"), ("fd00:244::7", "[fd00:244::7]")];

/// The labels of a target, after a monitor's rules; `None` if it is dropped.
fn relabeled(monitor: &Value, mut labels: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    for rule in list(&monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]) {
        let of = |label: &str| labels.get(label).cloned().unwrap_or_default();
        let source = texts(&rule["sourceLabels"]).into_iter().map(of).collect::<Vec<_>>().join(";");
        let regex = rule["regex"].as_str().unwrap_or("(.*)");
        let found = Regex::new(&format!("^(?:{regex})$")).unwrap().captures(&source);
        match (text(&rule["action"]), found) {
            ("keep", None) => return None,
            ("keep", Some(_)) | ("replace", None) => {}
            ("replace", Some(found)) => {
                let mut value = String::new();
                found.expand(text(&rule["replacement"]), &mut value);
                labels.insert(text(&rule["targetLabel"]).to_owned(), value);
            }
            (action, _) => panic!("{}: {action} is not understood here", title(monitor)),
        }
    }
    Some(labels)
}

/// The names of the monitors that have this container scraped, and what they make of it: address and job.
fn scraped(
    monitors: &Objects,
    workload: &Workload<'_>,
    container: &Value,
    ip: &str,
) -> Vec<(String, String, String)> {
    let labels = [
        ("__meta_kubernetes_pod_container_name", name(container)),
        ("__meta_kubernetes_pod_container_image", text(&container["image"])),
        ("__meta_kubernetes_pod_ip", ip),
    ];
    let labels: BTreeMap<_, _> = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let of = |monitor: &Value| {
        let selector = &monitor["spec"]["selector"]["matchLabels"];
        if !selects(selector, &workload.template["metadata"]["labels"]) {
            return None;
        }
        let target = relabeled(monitor, labels.clone())?;
        Some((name(monitor).to_owned(), target["__address__"].clone(), target["job"].clone()))
    };
    monitors.of("PodMonitor").filter_map(of).collect()
}

/// The monitors, where there is a kubectl.
fn monitors(rendered: &[(String, Objects)]) -> Option<&Objects> {
    let (_, objects) = rendered.iter().find(|(overlay, _)| overlay == "monitoring")?;
    assert!(objects.has("PodMonitor", "outlast-hub"));
    Some(objects)
}

/// What is wrong with how this workload's containers are scraped.
fn problems(monitors: &Objects, workload: &Workload<'_>, objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for container in workload.containers() {
        let ports = match super::objects::is_outlast(container) {
            true => listened(workload, container, objects),
            // CoreDNS's own is scraped by what scraped it before.
            false => None,
        };
        let metrics: Vec<_> = ports.into_iter().flatten().filter(|(_, what)| *what == Use::Metrics).collect();
        for (ip, written) in PODS {
            let want: Vec<_> = metrics.iter().map(|(port, _)| format!("{written}:{port}")).collect();
            let found = scraped(monitors, workload, container, ip);
            let got: Vec<_> = found.iter().map(|(_, address, _)| address.clone()).collect();
            if got != want {
                problems.push(format!(
                    "{} {}: metrics at {want:?}, scraped {found:?}",
                    workload.title,
                    name(container)
                ));
            }
        }
    }
    problems
}

#[test]
fn every_pod_is_scraped_once_where_it_serves_metrics() {
    let rendered = rendered();
    let Some(monitors) = monitors(&rendered) else { return };
    let mut all = Vec::new();
    for (overlay, objects) in &rendered {
        let found = objects.workloads().into_iter().flat_map(|w| problems(monitors, &w, objects));
        all.extend(found.map(|problem| format!("{overlay}: {problem}")));
    }
    for (file, pod) in static_pods() {
        let found = problems(monitors, &Workload::of(&pod).unwrap(), &Objects(Vec::new()));
        all.extend(found.into_iter().map(|problem| format!("{file}: {problem}")));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn what_is_not_scraped_twice_or_elsewhere_is_found() {
    let rendered = rendered();
    let Some(monitors) = monitors(&rendered) else { return };
    let (_, objects) = rendered.iter().find(|(overlay, _)| overlay == "node-cache").unwrap();
    let workloads = objects.workloads();
    let workload = workloads.iter().find(|w| w.title == "DaemonSet node-local-dns").unwrap();
    assert_eq!(problems(monitors, workload, objects), Vec::<String>::new());

    let without = |name: &str| {
        Objects(monitors.0.iter().filter(|m| super::objects::name(m) != name).cloned().collect())
    };
    let elsewhere = |from: &str, to: &str| {
        let text = Value::Array(monitors.0.clone()).to_string().replace(from, to);
        Objects(serde_json::from_str(&text).unwrap())
    };
    let twice = Objects([&monitors.0[..], &monitors.0[..]].concat());
    for (case, monitors, want) in [
        ("nobody", without("outlast-node-cache"), "scraped []"),
        ("another port", elsewhere("$1:9253", "$1:9353"), "10.244.0.7:9353"),
        ("twice", twice, "(\"outlast-node-cache\", \"10.244.0.7:9253\", \"outlast-node\"), ("),
    ] {
        let found = problems(&monitors, workload, objects).join("\n");
        assert!(found.contains(want), "{case}: {found}");
    }

    // node-cache itself is not ours, whatever the registry; its image may also be set by hand.
    for (image, is_ours) in [
        ("registry.k8s.io/dns/k8s-dns-node-cache:1.26.4", false),
        ("outlast", true),
        ("registry.example.com:5000/infra/outlast:0.1.0", true),
        ("registry.example.com/outlast@sha256:0123", true),
        ("registry.example.com/outlasting:1", false),
        ("registry.example.com/outlast/other:1", false),
    ] {
        let mut container = workload.containers()[0].clone();
        container["image"] = image.into();
        let found = scraped(monitors, workload, &container, "10.244.0.7");
        let jobs: Vec<_> = found.iter().map(|(_, _, job)| job.as_str()).collect();
        assert_eq!(jobs, if is_ours { vec!["outlast-node"] } else { Vec::new() }, "{image}");
    }
}
