//! Every option, flag and environment variable changes something that can be seen: a reply, a metric, a log
//! line, an HTTP answer, a file. An option without such a test fails [`every_option_has_a_test`].

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "options/apiserver.rs"]
mod apiserver;
#[path = "options/cache.rs"]
mod cache;
#[path = "options/cluster.rs"]
mod cluster;
#[path = "options/connection.rs"]
mod connection;
#[path = "options/faces.rs"]
mod faces;
#[path = "options/flags.rs"]
mod flags;
#[path = "options/forward.rs"]
mod forward;
#[path = "options/guard.rs"]
mod guard;
#[path = "options/http.rs"]
mod http;
#[path = "options/hub.rs"]
mod hub;
#[path = "options/hub_flags.rs"]
mod hub_flags;
#[path = "options/kubernetes.rs"]
mod kubernetes;
#[path = "common/machine.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod machine;
#[path = "options/net.rs"]
mod net;
#[path = "options/nodecache.rs"]
mod nodecache;
#[path = "net/old_rules.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod old_rules;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "common/programs.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use outlast::node::plugins;

/// Directives with arguments, and those without options.
const ARGUMENTS: [&str; 7] = [
    "bind_addresses",
    "debug_alone",
    "health_address",
    "ready_address",
    "prometheus_address",
    "kubernetes_zones",
    "forward_from_and_to",
];

/// Where tests of options are: beside the plugins, here, and where the cache's time is scripted.
const PLACES: [&str; 3] = ["src/node/plugins", "tests/options", "tests/cache"];

/// The text of every source file in [`PLACES`].
fn texts() -> Vec<String> {
    fn read(path: &Path, into: &mut Vec<String>) {
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| read(&entry.unwrap().path(), into));
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(fs::read_to_string(path).unwrap());
        }
    }
    let mut texts = Vec::new();
    for place in PLACES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
        if path.exists() {
            read(&path, &mut texts);
        }
    }
    texts
}

/// Whether a test of this name is in one of the texts.
fn has_test(texts: &[String], name: &str) -> bool {
    let is_it = |line: &str| line.trim_start_matches("async ").starts_with(&format!("fn {name}()"));
    texts.iter().any(|text| {
        let mut attributed = false;
        text.lines().map(str::trim).any(|line| {
            let found = attributed && is_it(line);
            // Further attributes may stand between.
            attributed = line.starts_with("#[test]")
                || line.starts_with("#[tokio::test")
                || attributed && line.starts_with("#[");
            found
        })
    })
}

#[test]
fn every_option_has_a_test() {
    let texts = texts();
    let named = plugins::PLUGINS
        .iter()
        .flat_map(|entry| entry.options.iter().map(|option| format!("{}_{option}", entry.name)));
    let all: BTreeSet<_> = named.chain(ARGUMENTS.map(str::to_owned)).collect();
    let missing: Vec<_> = all.iter().filter(|option| !has_test(&texts, option)).collect();
    assert!(missing.is_empty(), "options without a test: {missing:?}");
    assert!(!has_test(&texts, "kubernetes_flavour"));
}

/// The part of a role's help that lists its flags, in one line, and these.
fn flags_of(role: &str) -> (String, BTreeSet<String>) {
    let (code, help, _) = process::run(process::outlast().args([role, "--help"]));
    assert_eq!(code, 0);
    let options = help.split_once("Options:").unwrap().1.split_once("Examples:").unwrap().0;
    let options = options.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = options.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    let mut flags: BTreeSet<_> = words.filter_map(|w| w.strip_prefix("--")).map(str::to_owned).collect();
    flags.remove("help");
    assert!(flags.len() >= 10, "{flags:?}");
    (options, flags)
}

#[test]
fn every_flag_of_a_hub_has_a_test_and_a_variable() {
    let (options, flags) = flags_of("hub");
    let texts = texts();
    for flag in flags {
        let name = flag.replace('-', "_");
        assert!(has_test(&texts, &format!("hub_flag_{name}")), "--{flag} has no test");
        let variables =
            [format!("OUTLAST_HUB_{}", name.to_uppercase()), format!("OUTLAST_{}", name.to_uppercase())];
        assert!(
            variables.iter().any(|v| options.contains(&format!("[env: {v}="))),
            "--{flag} has no variable"
        );
    }
}

#[test]
fn every_flag_has_a_test() {
    let (options, flags) = flags_of("node");
    let texts = texts();
    for flag in flags {
        assert!(has_test(&texts, &format!("flag_{}", flag.replace('-', "_"))), "--{flag} has no test");
    }
    for line in options.split("[env: ").skip(1) {
        let name = line.split('=').next().unwrap();
        let written = name.starts_with("OUTLAST_") && {
            // `each_place` makes the variable's name from the option's.
            let option = name.trim_start_matches("OUTLAST_").to_lowercase();
            let call = format!("each_place(&cluster,\"{option}\"");
            texts.iter().any(|t| t.split_whitespace().collect::<String>().contains(&call))
        };
        assert!(written || texts.iter().any(|t| t.contains(&format!("\"{name}\""))), "{name} has no test");
    }
}
