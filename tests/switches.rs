//! Protections that only a drill may switch off, in processes of the program.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "options/http.rs"]
mod http;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use outlast::ops::switches::{Protection, Switches};
use process::{Process, outlast, run};
use serde_json::{Value, json};

const CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cluster.yaml");

/// What a process of either role says of the drill that may have started it.
struct Said {
    /// The status.
    sections: Vec<Value>,
    /// The metrics.
    metrics: String,
    /// The log, to its end.
    log: String,
}

impl Said {
    /// What this command says, told by a drill of this process id to go without two protections.
    fn by(mut command: Command, folder: &Path, drill: u32) -> Self {
        let off = vec![Protection::Jitter, Protection::Audit];
        let socket = folder.join("sock");
        command.envs(Switches::without(off).variables(drill));
        let process = Process::start(command.arg("--control").arg(&socket));
        let status: Value = process.wait_for("a status", |_| {
            let (code, out, _) = run(outlast().args(["ctl", "status", "--json", "--socket"]).arg(&socket));
            (code == 0).then(|| serde_json::from_str(&out).unwrap())
        });
        let (_, metrics) = http::get(process.address("serving /metrics"), "/metrics");
        process.signal(Signal::SIGTERM);
        let (_, log) = process.wait();
        Self { sections: status["sections"].as_array().unwrap().clone(), metrics, log }
    }

    /// The section on the drill, if there is one.
    fn of_drill(&self) -> Option<&Value> {
        self.sections.iter().find(|section| section["title"] == "drill")
    }
}

/// A node that follows a file.
fn node(folder: &Path) -> Command {
    let corefile = folder.join("Corefile");
    let text = format!(
        ". {{\n bind 127.0.0.1\n prometheus 127.0.0.1:0\n kubernetes cluster.local {{\n source file {CLUSTER}\n }}\n}}\n"
    );
    std::fs::write(&corefile, text).unwrap();
    let mut command = outlast();
    command.args(["node", "--dns-port", "0", "--conf"]).arg(corefile);
    command
}

/// A hub whose API server is away.
fn hub(_: &Path) -> Command {
    let mut command = outlast();
    command.args([
        "hub",
        "--listen",
        "127.0.0.1:0",
        "--endpoint",
        "http://127.0.0.1:1",
        "--move-within",
        "0s",
    ]);
    command.args(["--metrics-address", "127.0.0.1:0", "--health-address", "off", "--ready-address", "off"]);
    command
}

/// What starts a process of a role.
type Start = fn(&Path) -> Command;

/// A node and a hub.
const ROLES: [(&str, Start); 2] = [("node", node), ("hub", hub)];

#[test]
fn a_drills_child_says_everywhere_what_it_is_without() {
    for (role, command) in ROLES {
        let folder = tempfile::tempdir().unwrap();
        // This process is the parent.
        let said = Said::by(command(folder.path()), folder.path(), std::process::id());
        let section = said.of_drill().unwrap();
        assert_eq!(section["rows"][0]["level"], "bad", "{role}");
        assert_eq!(section["data"], json!({ "without": ["jitter", "audit"], "faults": [] }), "{role}");
        let series: Vec<_> =
            said.metrics.lines().filter(|l| l.starts_with("outlast_drill_without{")).collect();
        assert_eq!(series.len(), 2, "{role}: {series:?}");
        for protection in ["jitter", "audit"] {
            let line = format!("outlast_drill_without{{protection=\"{protection}\"}} 1");
            assert!(series.contains(&line.as_str()), "{role}: {series:?}");
        }
        assert!(
            said.log.contains("a drill has started this process without jitter, audit"),
            "{role}: {}",
            said.log
        );
    }
}

#[test]
fn elsewhere_a_forgotten_variable_is_a_warning_and_has_no_effect() {
    for (role, command) in ROLES {
        let folder = tempfile::tempdir().unwrap();
        let said = Said::by(command(folder.path()), folder.path(), std::process::id() + 1);
        assert_eq!(said.of_drill(), None, "{role}");
        assert!(!said.metrics.contains("outlast_drill_without"), "{role}");
        let warning = "variables of a drill are ignored: no drill has started this process";
        assert!(said.log.contains(warning), "{role}: {}", said.log);
    }
}
