//! A node as a process, which operators ask and order about.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::process::{Process, outlast, run};

const CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cluster.yaml");

/// A folder with a Corefile, a cluster's objects, room for snapshots and for a socket.
pub(crate) struct Node {
    folder: TempDir,
    stale_after: &'static str,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::with("", "1m")
    }

    /// One whose data is stale soon after its source has gone; not so soon that a busy machine has it stale before.
    pub(crate) fn soon_stale() -> Self {
        Self::with("", "3s")
    }

    /// One with further plugins, whose data is stale so long after it was proved.
    pub(crate) fn with(plugins: &str, stale_after: &'static str) -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap(), stale_after };
        fs::copy(CLUSTER, node.path("cluster.yaml")).unwrap();
        node.serve("cluster.local", plugins);
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From now on these are the cluster's objects.
    pub(crate) fn set(&self, objects: &str) {
        fs::write(self.path("new"), objects).unwrap();
        fs::rename(self.path("new"), self.path("cluster.yaml")).unwrap();
    }

    /// A Corefile for this zone, with these plugins besides.
    pub(crate) fn serve(&self, zone: &str, plugins: &str) {
        let (file, snapshots) = (self.path("cluster.yaml"), self.path("snapshots"));
        let text = format!(
            ". {{\n bind 127.0.0.1\n {plugins}\n kubernetes {zone} {{\n source file {}\n snapshot {}\n snapshot_interval 1s\n \
             stale_after {}\n }}\n}}\n",
            file.display(),
            snapshots.display(),
            self.stale_after
        );
        fs::write(self.path("Corefile"), text).unwrap();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("node.sock")
    }

    pub(crate) fn start(&self) -> Process {
        self.start_by(outlast())
    }

    /// Starts it by this command.
    pub(crate) fn start_by(&self, mut command: Command) -> Process {
        command.args(["node", "--dns-port", "0", "--node-name", "n1", "--conf"]).arg(self.path("Corefile"));
        Process::start(command.arg("--control").arg(self.socket()))
    }

    pub(crate) fn ctl(&self, arguments: &[&str]) -> (i32, String, String) {
        ctl(&self.socket(), arguments)
    }

    /// The status as JSON, once `holds` holds of it.
    pub(crate) fn status(&self, process: &Process, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        process.wait_for(what, |_| {
            let (code, out, _) = self.ctl(&["status", "--json"]);
            let status: Value = (code == 0).then(|| serde_json::from_str(&out).ok())??;
            holds(&status).then_some(status)
        })
    }
}

fn ctl(socket: &Path, arguments: &[&str]) -> (i32, String, String) {
    run(outlast().args(["ctl", "--socket"]).arg(socket).args(arguments))
}

pub(crate) fn is_live(status: &Value) -> bool {
    status["stores"][0]["state"] == "live"
}

/// So many services, each with an address in 10.`net`.
pub(crate) fn cluster(net: u8, services: usize) -> String {
    let mut text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n".to_owned();
    for n in 0..services {
        text += &format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: shop}}\n\
             spec: {{type: ClusterIP, clusterIPs: [10.{net}.0.{n}], ports: [{{port: 80, protocol: TCP}}]}}\n"
        );
    }
    text
}
