//! Every option, flag and environment variable changes something that can be seen: a reply, a metric, a log
//! line, an HTTP answer, a file. An option without such a test fails [`every_option_has_a_test`].

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "options/apiserver.rs"]
mod apiserver;
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
#[path = "options/http.rs"]
mod http;
#[path = "options/kubernetes.rs"]
mod kubernetes;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;

use std::collections::BTreeSet;

use outlast::node::plugins;

/// The tests' own text.
const TESTS: [&str; 5] = [
    include_str!("options/connection.rs"),
    include_str!("options/faces.rs"),
    include_str!("options/flags.rs"),
    include_str!("options/forward.rs"),
    include_str!("options/kubernetes.rs"),
];

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

fn has_test(option: &str) -> bool {
    let forms = [
        format!("#[test]\nfn {option}()"),
        format!("#[tokio::test]\nasync fn {option}()"),
        format!("#[tokio::test(flavor = \"multi_thread\")]\nasync fn {option}()"),
    ];
    TESTS.iter().any(|text| forms.iter().any(|form| text.contains(form)))
}

#[test]
fn every_option_has_a_test() {
    let options: [(&str, &[&str]); 6] = [
        (plugins::bind::NAME, &plugins::bind::OPTIONS),
        (plugins::health::NAME, &plugins::health::OPTIONS),
        (plugins::ready::NAME, &plugins::ready::OPTIONS),
        (plugins::prometheus::NAME, &plugins::prometheus::OPTIONS),
        (plugins::kubernetes::NAME, &plugins::kubernetes::options::OPTIONS),
        (plugins::forward::NAME, &plugins::forward::OPTIONS),
    ];
    let named = options.iter().flat_map(|(plugin, names)| names.iter().map(move |n| format!("{plugin}_{n}")));
    let all: BTreeSet<_> = named.chain(ARGUMENTS.map(str::to_owned)).collect();
    let missing: Vec<_> = all.iter().filter(|option| !has_test(option)).collect();
    assert!(missing.is_empty(), "options without a test: {missing:?}");
    assert!(!has_test("kubernetes_flavour"));
}

#[test]
fn every_flag_has_a_test() {
    let (code, help, _) = process::run(process::outlast().args(["node", "--help"]));
    assert_eq!(code, 0);
    let options = help.split_once("Options:").unwrap().1.split_once("Examples:").unwrap().0;
    let words = || options.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    let flags: BTreeSet<_> = words().filter_map(|w| w.strip_prefix("--")).filter(|f| *f != "help").collect();
    assert!(flags.len() >= 11, "{flags:?}");
    for flag in flags {
        assert!(has_test(&format!("flag_{}", flag.replace('-', "_"))), "--{flag} has no test");
    }
    for line in options.split("[env: ").skip(1) {
        let name = line.split('=').next().unwrap();
        let written = name.starts_with("OUTLAST_") && {
            // `each_place` makes the variable's name from the option's.
            let option = name.trim_start_matches("OUTLAST_").to_lowercase();
            TESTS.iter().any(|t| t.contains(&format!("each_place(&cluster, \"{option}\"")))
        };
        assert!(written || TESTS.iter().any(|t| t.contains(&format!("\"{name}\""))), "{name} has no test");
    }
}
