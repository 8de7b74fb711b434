//! Ports: what a container listens on is what it declares, what probes ask, and what services, policies and the
//! like send to.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::corefiles::{self, of_container};
use super::objects::{Objects, Workload, is_outlast, list, name, selects, text, texts, title};
use super::render::{rendered, static_pods};

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// Queries, over UDP and TCP.
    Dns,
    /// What hubs serve to nodes.
    Feed,
    /// `/metrics`.
    Metrics,
    /// `/health`.
    Health,
    /// `/ready`.
    Ready,
}

/// The port in the default that the help of `outlast hub` gives for a flag.
fn hubs_default(flag: &str) -> u64 {
    let command = outlast::cli::command();
    let hub = command.find_subcommand("hub").unwrap();
    let arg = hub.get_arguments().find(|arg| arg.get_long() == Some(flag)).unwrap();
    let help = arg.get_help().unwrap().to_string();
    let default = help.split("[default: ").nth(1).unwrap();
    let digits: String =
        default.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// What a hub listens on.
fn of_hub(args: &[&str]) -> BTreeMap<u64, Use> {
    let flags = [
        ("listen", Use::Feed),
        ("metrics-address", Use::Metrics),
        ("health-address", Use::Health),
        ("ready-address", Use::Ready),
    ];
    let is_off = |flag: &str| args.contains(&format!("--{flag}=off").as_str());
    let named = args.iter().find(|arg| flags.iter().any(|(flag, _)| arg.starts_with(&format!("--{flag}="))));
    assert!(named.is_none_or(|arg| arg.ends_with("=off")), "an address is not understood here");
    flags.iter().filter(|(flag, _)| !is_off(flag)).map(|(flag, what)| (hubs_default(flag), *what)).collect()
}

/// What a server with this Corefile listens on.
fn of_corefile(text: &str) -> BTreeMap<u64, Use> {
    let mut ports = BTreeMap::new();
    let port = |address: &str| address.rsplit(':').next().unwrap().parse().unwrap();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let words: Vec<_> = line.split_whitespace().filter(|word| *word != "{").collect();
        match words[..] {
            [key] if !line.starts_with(' ') && key.contains(':') => ports.insert(port(key), Use::Dns),
            ["prometheus", address] => ports.insert(port(address), Use::Metrics),
            ["health"] => ports.insert(8080, Use::Health),
            ["health", address] => ports.insert(port(address), Use::Health),
            ["ready"] => ports.insert(8181, Use::Ready),
            ["ready", address] => ports.insert(port(address), Use::Ready),
            _ => None,
        };
    }
    ports
}

/// What a container listens on; `None` for one that serves nothing.
pub(super) fn listened(
    workload: &Workload<'_>,
    container: &Value,
    objects: &Objects,
) -> Option<BTreeMap<u64, Use>> {
    let args = texts(&container["args"]);
    match args.first() {
        Some(&"certs") => None,
        Some(&"hub") => Some(of_hub(&args)),
        _ => Some(of_corefile(&of_container(workload, container, objects))),
    }
}

/// The number of a container's port that is given by number or name.
fn number(container: &Value, port: &Value) -> Option<u64> {
    let named = || list(&container["ports"]).iter().find(|p| p["name"] == *port)?["containerPort"].as_u64();
    port.as_u64().or_else(named)
}

fn check_container(workload: &Workload<'_>, container: &Value, objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    let Some(listened) = listened(workload, container, objects) else { return problems };
    let mut declared = BTreeSet::new();
    for port in list(&container["ports"]) {
        let number = port["containerPort"].as_u64().unwrap();
        declared.insert(number);
        let what = listened.get(&number);
        let protocol = text(&port["protocol"]);
        let fits = what.is_some_and(|what| protocol == "TCP" || (protocol == "UDP" && *what == Use::Dns));
        if !fits {
            problems.push(format!("declares {number}/{protocol}, but listens on {listened:?}"));
        }
    }
    let surges = workload.object["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"].as_u64() > Some(0);
    if workload.is_on_host() && surges && !declared.is_empty() {
        problems.push("ports of the host keep the pod that takes over from starting".to_owned());
    }
    if !workload.is_on_host() && is_outlast(container) {
        problems.extend(
            listened.keys().filter(|p| !declared.contains(*p)).map(|p| format!("{p} is not declared")),
        );
    }
    for (probe, path, what) in
        [("readinessProbe", "/ready", Use::Ready), ("livenessProbe", "/health", Use::Health)]
    {
        let get = &container[probe]["httpGet"];
        if get.is_null() {
            continue;
        }
        let port = number(container, &get["port"]);
        if get["path"] != path || port.and_then(|port| listened.get(&port)) != Some(&what) {
            problems.push(format!("{probe} asks {get}, but listens on {listened:?}"));
        }
    }
    problems
}

#[test]
fn containers_declare_and_probes_ask_what_is_listened_on() {
    let mut problems = Vec::new();
    let mut check = |place: &str, workload: &Workload<'_>, objects: &Objects| {
        let mut taken = BTreeSet::new();
        for container in workload.containers() {
            for problem in check_container(workload, container, objects) {
                problems.push(format!("{place}: {} {}: {problem}", workload.title, name(container)));
            }
            for port in listened(workload, container, objects).unwrap_or_default().into_keys() {
                assert!(taken.insert(port), "{place}: {}: {port} is listened on twice", workload.title);
            }
        }
    };
    for (overlay, objects) in rendered() {
        for workload in objects.workloads() {
            check(&overlay, &workload, &objects);
        }
    }
    for (file, pod) in static_pods() {
        check(&file, &Workload::of(&pod).unwrap(), &Objects(Vec::new()));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn what_sends_to_pods_sends_to_what_is_listened_on() {
    for (overlay, objects) in rendered() {
        for workload in objects.workloads() {
            let labels = &workload.template["metadata"]["labels"];
            let ports: Vec<_> = workload
                .containers()
                .iter()
                .filter_map(|c| Some((c, listened(&workload, c, &objects)?)))
                .collect();
            let uses = |port: &Value| {
                ports.iter().find_map(|(container, uses)| uses.get(&number(container, port)?).copied())
            };
            for service in objects.of("Service").filter(|s| selects(&s["spec"]["selector"], labels)) {
                for port in list(&service["spec"]["ports"]) {
                    let target = port.get("targetPort").unwrap_or(&port["port"]);
                    assert!(uses(target).is_some(), "{overlay}: {}: {target}", title(service));
                }
            }
            for policy in objects.of("NetworkPolicy") {
                if !selects(&policy["spec"]["podSelector"]["matchLabels"], labels) {
                    continue;
                }
                let rules = list(&policy["spec"]["ingress"]);
                let allowed: Vec<_> =
                    rules.iter().flat_map(|r| list(&r["ports"])).filter_map(|p| uses(&p["port"])).collect();
                assert_eq!(allowed, [Use::Feed, Use::Metrics], "{overlay}: {}", title(policy));
            }
            for policy in objects.of("CiliumLocalRedirectPolicy") {
                let backend = &policy["spec"]["redirectBackend"];
                if !selects(&backend["localEndpointSelector"]["matchLabels"], labels) {
                    continue;
                }
                for port in list(&backend["toPorts"]) {
                    let declared = ports.iter().flat_map(|(container, _)| list(&container["ports"]));
                    let mut same = declared.filter(|d| d["name"] == port["name"]);
                    let found = same.next().unwrap_or_else(|| panic!("{overlay}: no port {port}"));
                    assert_eq!(found["containerPort"].to_string(), text(&port["port"]), "{overlay}");
                    assert_eq!(found["protocol"], port["protocol"], "{overlay}");
                }
            }
        }
    }
}

#[test]
fn listeners_are_read_out_of_corefiles() {
    let ports = of_corefile(corefiles::KUBEADMS);
    let want = [(53, Use::Dns), (8080, Use::Health), (8181, Use::Ready), (9153, Use::Metrics)];
    assert_eq!(ports, BTreeMap::from(want));
    assert_eq!(
        of_hub(&["hub", "--ready-address=off"]).keys().copied().collect::<Vec<_>>(),
        [8080, 9153, 9953]
    );
}
