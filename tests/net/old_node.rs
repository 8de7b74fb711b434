//! A node whose rules are made by iptables, or pass those that are.

use std::process::Command;

use nix::sys::signal::Signal;

use super::machine::Machine;
use super::old_rules::{Kind, sorted};
use super::process::Process;
use super::program::node;

/// Those of the rules that the others are not.
pub(super) fn besides(rules: Vec<String>, foreign: &[String]) -> Vec<String> {
    assert!(foreign.iter().all(|rule| rules.contains(rule)), "rules of others are gone: {rules:#?}");
    sorted(rules.into_iter().filter(|rule| !foreign.contains(rule)).collect())
}

/// A node with two addresses, and rules of iptables of this kind.
pub(super) fn old_node(machine: &Machine, kind: Kind, flags: &[&str]) -> Command {
    let mut command = node(machine, &[&["--local-ip=10.96.0.10,169.254.20.10"], flags].concat());
    kind.found_by(machine, &mut command);
    command
}

pub(super) fn led_here(process: &Process) {
    process.wait_for("interception", |p| p.output().contains("queries are led here").then_some(()));
}

pub(super) fn stop(mut process: Process) -> String {
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
    process.output()
}

/// The value of a series of such a node that shows them at 127.0.0.1:9353.
pub(super) fn metric(machine: &Machine, series: &str) -> f64 {
    let text = machine.inside(|| super::http::get("127.0.0.1:9353".parse().unwrap(), "/metrics").1);
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{series} in\n{text}")).parse().unwrap()
}
