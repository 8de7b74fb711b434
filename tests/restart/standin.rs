//! The API server of a place, as a process of its own that can be killed, held and started again.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::place::Place;
use super::process::{PATIENCE, Process, outlast};

/// A running stand-in; killed when it is dropped.
pub(super) struct ApiServer {
    process: Process,
    /// Where it listens, as `--listen` has it.
    address: String,
    /// What else it was started with.
    arguments: Vec<String>,
}

impl ApiServer {
    /// Serves a made-up cluster; the place's kubeconfig leads here.
    pub(super) fn start(place: &Place, arguments: &[&str]) -> Self {
        Self::listening(place, "127.0.0.1:0", arguments.iter().map(|a| (*a).to_owned()).collect())
    }

    fn listening(place: &Place, address: &str, arguments: Vec<String>) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut command = outlast();
            command.args(["drill", "standin", "--listen", address, "--kubeconfig"]).arg(place.kubeconfig());
            let mut process = Process::start(command.args(&arguments));
            while process.ended().is_none() {
                let output = process.output();
                if let Some((_, url)) = output.split_once("https://").filter(|_| output.ends_with('\n')) {
                    let address = url.split(',').next().unwrap().to_owned();
                    return Self { process, address, arguments };
                }
                assert!(Instant::now() < deadline, "never serves\n{}", process.errors());
                std::thread::sleep(Duration::from_millis(1));
            }
            // Between two lives somebody may have got hold of its port.
            let why = process.wait_for("why it ended", |p| Some(p.errors()).filter(|e| !e.is_empty()));
            assert!(why.contains("listening on") && Instant::now() < deadline, "{why}");
        }
    }

    /// SIGKILL. Returns what starts it again: on the same port and with the same objects, but with other keys
    /// and tokens.
    pub(super) fn kill(self, place: &Place) -> impl FnOnce() -> Self {
        self.end(place, Signal::SIGKILL)
    }

    /// The same with any signal that ends it.
    pub(super) fn end(self, place: &Place, signal: Signal) -> impl FnOnce() -> Self {
        self.process.signal(signal);
        self.process.wait();
        let Self { address, arguments, .. } = self;
        move || Self::listening(place, &address, arguments)
    }

    /// Makes it hang: its kernel still takes connections and bytes, and nothing comes back.
    pub(super) fn hang(&self) {
        self.process.signal(Signal::SIGSTOP);
    }
}
