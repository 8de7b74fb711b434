//! Flags and variables for those who come from node-cache: each has its effect, and a flag is ahead of its variable.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::http::get;
use super::process::{Process, outlast, run};

/// A template that needs to be filled in.
const BASE: &str = ".:53 {\n forward . __PILLAR__CLUSTER__DNS__\n}\n";

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

/// The verdict on arguments: both outputs.
fn checked(code: i32, command: &mut Command) -> String {
    let (got, out, error) = run(command.env("KUBE_DNS_SERVICE_HOST", "192.0.2.1"));
    assert_eq!(got, code, "{out}{error}");
    out + &error
}

/// `outlast check` with this template.
fn check(base: &Path) -> Command {
    let mut command = outlast();
    command.args(["check", "--base-corefile"]).arg(base);
    command
}

#[test]
fn flag_base_corefile() {
    let folder = tempfile::tempdir().unwrap();
    let base = write(folder.path(), "base", BASE);
    let ok = format!("{}: ok", base.display());
    let by_variable = checked(0, outlast().arg("check").env("OUTLAST_BASE_COREFILE", &base));
    assert!(by_variable.contains(&ok), "{by_variable}");
    let by_flag = checked(0, check(&base).env("OUTLAST_BASE_COREFILE", "/nonexistent"));
    assert!(by_flag.contains(&ok), "{by_flag}");
}

#[test]
fn flag_kube_dns_config() {
    let folder = tempfile::tempdir().unwrap();
    let base = write(folder.path(), "base", BASE);
    let stubs = write(folder.path(), "kube-dns/stubDomains", r#"{"corp.example": ["192.0.2.2"]}"#);
    let stubs = stubs.parent().unwrap();
    let by_variable = checked(0, check(&base).env("OUTLAST_KUBE_DNS_CONFIG", stubs));
    let by_flag = checked(
        0,
        check(&base).env("OUTLAST_KUBE_DNS_CONFIG", "/nonexistent").arg("--kube-dns-config").arg(stubs),
    );
    for said in [by_variable, by_flag] {
        assert!(said.contains("dns://:53: .:53, corp.example.:53\n"), "{said}");
    }
}

#[test]
fn flag_upstream_service() {
    let folder = tempfile::tempdir().unwrap();
    let base = write(folder.path(), "base", BASE);
    let by_variable = checked(2, check(&base).env("OUTLAST_UPSTREAM_SERVICE", "one"));
    assert!(by_variable.contains("the environment has no ONE_SERVICE_HOST"), "{by_variable}");
    let mut by_flag = check(&base);
    by_flag.env("OUTLAST_UPSTREAM_SERVICE", "one").args(["--upstream-service", "kube-two"]);
    let said = checked(2, &mut by_flag);
    assert!(said.contains("the environment has no KUBE_TWO_SERVICE_HOST"), "{said}");
    checked(0, by_flag.env("KUBE_TWO_SERVICE_HOST", "fd00::a"));
}

#[test]
fn flag_extra_metrics_address() {
    let folder = tempfile::tempdir().unwrap();
    let corefile = write(folder.path(), "Corefile", ".:0 {\n bind 127.0.0.1\n forward . 192.0.2.1\n}\n");
    let node = || {
        let mut command = outlast();
        command.args(["node", "--conf"]).arg(&corefile);
        command
    };
    let mut by_variable = node();
    by_variable.env("OUTLAST_EXTRA_METRICS_ADDRESS", "127.0.0.1:0");
    let mut by_flag = node();
    by_flag
        .env("OUTLAST_EXTRA_METRICS_ADDRESS", "192.0.2.1:1")
        .args(["--extra-metrics-address", "127.0.0.1:0"]);
    for mut command in [by_variable, by_flag] {
        let process = Process::start(&mut command);
        let (status, text) = get(process.address("serving /metrics"), "/metrics");
        assert!(status == 200 && text.contains("coredns_build_info{"), "{text}");
    }
    let (code, _, error) = run(node().args(["--extra-metrics-address", "x"]));
    assert!(code == 2 && error.contains("\"x\" is no address to listen on"), "{error}");
}

#[test]
fn flag_cluster_domain() {
    let folder = tempfile::tempdir().unwrap();
    let check = |domain: &str| {
        let text = format!("{domain}:53 {{\n forward . 192.0.2.1\n}}\n");
        let mut command = outlast();
        command.args(["check", "--source", "file:x.yaml", "--conf"]).arg(write(
            folder.path(),
            "Corefile",
            &text,
        ));
        command
    };
    let usual = checked(0, &mut check("cluster.local"));
    let by_variable = checked(0, check("one.example").env("OUTLAST_CLUSTER_DOMAIN", "one.example"));
    let mut by_flag = check("two.example");
    by_flag.env("OUTLAST_CLUSTER_DOMAIN", "one.example").args(["--cluster-domain", "two.example"]);
    let by_flag = checked(0, &mut by_flag);
    for (said, domain) in [(usual, "cluster.local"), (by_variable, "one.example"), (by_flag, "two.example")] {
        assert!(said.contains(&format!("names of {domain}. are answered from the source's data")), "{said}");
    }
    let other = checked(0, &mut check("one.example"));
    assert!(other.contains("the source of the cluster's objects has no effect"), "{other}");
}
