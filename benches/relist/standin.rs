//! The API server stand-in, a process of its own.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::support::process::Process;

/// Whether the stand-in has streaming lists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamingLists {
    /// It has.
    On,
    /// It has not: nodes list in pages.
    Off,
}

/// A stand-in for an API server.
pub(crate) struct Standin {
    process: Process,
    /// How to reach it.
    pub(crate) kubeconfig: PathBuf,
}

impl Standin {
    /// One with a made-up cluster, once it serves.
    pub(crate) fn start(dir: &Path, services: usize, endpoints: usize, lists: StreamingLists) -> Self {
        let kubeconfig = dir.join("standin.kubeconfig");
        let mut command = Process::command();
        command.args(["drill", "standin", "--services", &services.to_string()]);
        command.args(["--endpoints", &endpoints.to_string(), "--kubeconfig"]).arg(&kubeconfig);
        command.args(["--streaming-lists", if lists == StreamingLists::On { "on" } else { "off" }]);
        let mut process = Process::start(&mut command);
        process.line("serving ").unwrap();
        Self { process, kubeconfig }
    }

    /// Has it forget its history and cut its connections.
    pub(crate) fn forget(&self) {
        self.process.signal(Signal::SIGUSR1);
    }
}
