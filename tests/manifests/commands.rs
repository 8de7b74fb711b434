//! Arguments and variables of containers and units, against the command line itself.

use clap::Command;
use serde_json::Value;

use super::objects::{Objects, Workload, list, name, text, texts};
use super::process::{outlast, run};
use super::render::{MANIFESTS, rendered, static_pods};

/// Services that a cluster has before anything of ours is applied; all are in our namespace.
const SERVICES: [&str; 1] = ["kube-dns"];

/// Applied beside an overlay that has the hubs.
const CANARY: &str = "canary-outlast-node";

/// What stands for the addresses that the kubelet fills in.
const ADDRESS: &str = "10.96.0.10";

/// The variable that the kubelet has for a service.
fn variable(service: &str, what: &str) -> String {
    format!("{}_{what}", service.to_uppercase().replace('-', "_"))
}

/// A text with its `$(NAME)` filled in. What stays as it is has no such service or variable.
fn filled_in(value: &str, objects: &Objects, env: &[Value]) -> String {
    let mut out = value.to_owned();
    let services = objects.of("Service").filter(|s| s["spec"]["clusterIP"] != "None").map(name);
    let beside = objects.has("DaemonSet", CANARY).then_some("outlast-hub");
    let hosts = services.chain(SERVICES).chain(beside).map(|service| variable(service, "SERVICE_HOST"));
    let own = env.iter().filter(|e| e["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP");
    for known in hosts.chain(own.map(|e| name(e).to_owned())) {
        out = out.replace(&format!("$({known})"), ADDRESS);
    }
    out
}

/// The subcommand of these words, with all that the command line says of it.
fn subcommand<'a>(command: &'a Command, words: &[String]) -> &'a Command {
    let found = words.iter().skip(1).try_fold(command, |at, word| at.find_subcommand(word).ok_or(at));
    found.unwrap_or_else(|deepest| deepest)
}

/// What is wrong with a command and its environment: flags that do not exist, values that are refused, variables that
/// nobody reads.
pub(super) fn problem(words: &[String], env: &[(String, String)]) -> Option<String> {
    if words.get(1).is_some_and(|first| is_go_style(first)) {
        return problem_in_go_style(words, env);
    }
    let command = outlast::cli::command();
    let sub = subcommand(&command, words);
    let mut words = words.to_vec();
    for (variable, value) in env {
        let reads = |arg: &&clap::Arg| arg.get_env().is_some_and(|name| name == variable.as_str());
        let Some(arg) = sub.get_arguments().find(reads) else {
            return Some(format!("{} has no variable {variable}", sub.get_name()));
        };
        let long = arg.get_long().expect("what has a variable has a flag");
        words.push(format!("--{long}={value}"));
    }
    command.try_get_matches_from(words).err().map(|error| error.to_string())
}

/// Whether CoreDNS's and node-cache's flags are meant.
fn is_go_style(word: &str) -> bool {
    word.starts_with('-') && !word.starts_with("--")
}

/// Such flags are read in their order, and the last one ends it.
fn problem_in_go_style(words: &[String], env: &[(String, String)]) -> Option<String> {
    let mut command = outlast();
    command.args(&words[1..]).arg("-version");
    let (code, _, errors) = run(&mut command);
    if code != 0 {
        return Some(errors);
    }
    let node = ["outlast".to_owned(), "node".to_owned()];
    problem(&node, env)
}

/// The words that a container is started with, and its variables.
pub(super) fn of_container(container: &Value, objects: &Objects) -> (Vec<String>, Vec<(String, String)>) {
    let env = list(&container["env"]);
    let words = texts(&container["args"]).into_iter().map(|word| filled_in(word, objects, env));
    let words = [text(&container["command"][0]).to_owned()].into_iter().chain(words).collect();
    let ours = env.iter().filter(|e| name(e).starts_with("OUTLAST_") || name(e) == "NODE_NAME");
    let pairs = ours.map(|e| {
        let value = e["value"].as_str().map_or("from-a-field".to_owned(), |v| filled_in(v, objects, env));
        (name(e).to_owned(), value)
    });
    (words, pairs.collect())
}

fn problems_of(workload: &Workload<'_>, objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for container in workload.outlasts() {
        let (words, env) = of_container(container, objects);
        problems.extend(problem(&words, &env).map(|problem| format!("{}: {problem}", workload.title)));
        for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
            let command = texts(&container[probe]["exec"]["command"]);
            let Some((first, rest)) = command.split_first() else { continue };
            assert_eq!(*first, "/outlast", "the only program in the image");
            let words: Vec<_> = ["outlast"].iter().chain(rest).map(|word| (*word).to_owned()).collect();
            problems.extend(problem(&words, &[]).map(|p| format!("{} {probe}: {p}", workload.title)));
        }
    }
    problems
}

#[test]
fn every_flag_and_variable_of_a_container_is_the_binarys() {
    let mut problems = Vec::new();
    for (overlay, objects) in rendered() {
        let all = objects.workloads().into_iter().flat_map(|workload| problems_of(&workload, &objects));
        problems.extend(all.map(|problem| format!("{overlay}: {problem}")));
    }
    let nothing = Objects(Vec::new());
    for (file, pod) in static_pods() {
        let workload = Workload::of(&pod).unwrap();
        problems
            .extend(problems_of(&workload, &nothing).into_iter().map(|problem| format!("{file}: {problem}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Lines `NAME=value` of an environment file.
pub(super) fn env_file(file: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(format!("{MANIFESTS}/host/{file}")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap()).collect()
}

/// A line of a unit.
pub(super) fn unit_line(unit: &str, key: &str) -> String {
    let text = std::fs::read_to_string(format!("{MANIFESTS}/host/{unit}")).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("{unit} has no {key}")).to_owned()
}

#[test]
fn units_start_what_there_is() {
    for (unit, env) in [("outlast-node.service", "node.env"), ("outlast-hub.service", "hub.env")] {
        assert_eq!(unit_line(unit, "EnvironmentFile"), format!("/etc/outlast/{env}"));
        let words: Vec<_> = unit_line(unit, "ExecStart").split_whitespace().map(str::to_owned).collect();
        let env = env_file(env);
        assert_eq!(problem(&words, &env), None, "{unit}");
        let snapshot = env.iter().find(|(name, _)| name.ends_with("_SNAPSHOT")).unwrap();
        assert_eq!(snapshot.1, format!("/var/lib/{}", unit_line(unit, "StateDirectory")), "{unit}");
    }
}

#[test]
fn what_the_units_environments_propose_is_accepted() {
    for (env, role) in [("node.env", "node"), ("hub.env", "hub")] {
        let text = std::fs::read_to_string(format!("{MANIFESTS}/host/{env}")).unwrap();
        let proposed = text.lines().filter_map(|line| line.strip_prefix("#OUTLAST_"));
        for line in proposed {
            let (name, value) = line.split_once('=').unwrap();
            let env = [(format!("OUTLAST_{name}"), value.to_owned())];
            assert_eq!(problem(&["outlast".to_owned(), role.to_owned()], &env), None, "{line}");
        }
    }
}

#[test]
fn a_wrong_flag_variable_or_value_is_found() {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let env = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    for (line, variables, want) in [
        ("outlast hub --snapshots=/s", vec![], "--snapshots"),
        ("outlast hub --advertise=$(POD_IP)", vec![], "$(POD_IP)"),
        ("outlast node", env("OUTLAST_HUBS", "10.0.0.1"), "no variable OUTLAST_HUBS"),
        ("outlast node", env("OUTLAST_HUB", "hub.example"), "hub.example"),
        ("outlast ctl readiness", vec![], "readiness"),
        ("outlast -conf C -config C", vec![], "not defined: -config"),
    ] {
        let found = problem(&words(line), &variables).unwrap_or_else(|| panic!("{line}: accepted"));
        assert!(found.contains(want), "{line}: {found}");
    }
    assert_eq!(problem(&words("outlast -conf C"), &env("OUTLAST_HUB", "10.0.0.1")), None);
}

/// The kubelet sets variables for each service of a namespace: none may be one that we read.
#[test]
fn no_service_sets_a_flag_by_accident() {
    let command = outlast::cli::command();
    let roles = ["node", "hub"].map(|role| command.find_subcommand(role).unwrap());
    let read = |name: &str| {
        let mut args = roles.iter().flat_map(|role| role.get_arguments());
        args.any(|arg| arg.get_env().is_some_and(|env| env == name))
    };
    assert!(read("OUTLAST_HUB") && read("OUTLAST_HUB_SERVICE"), "variables are found");
    for (overlay, objects) in rendered() {
        for service in objects.of("Service") {
            let mut whats = vec!["SERVICE_HOST".to_owned(), "SERVICE_PORT".to_owned(), "PORT".to_owned()];
            for port in list(&service["spec"]["ports"]) {
                let (number, protocol) = (&port["port"], text(&port["protocol"]));
                whats.push(variable(name(port), "").trim_end_matches('_').to_owned());
                whats.push(format!("SERVICE_PORT_{}", text(&port["name"]).to_uppercase().replace('-', "_")));
                let of_port = ["", "_PROTO", "_PORT", "_ADDR"];
                whats.extend(of_port.map(|part| format!("PORT_{number}_{protocol}{part}")));
            }
            for what in whats {
                let set = variable(name(service), &what);
                assert!(!read(&set), "{overlay}: the service sets {set}");
            }
        }
    }
}
