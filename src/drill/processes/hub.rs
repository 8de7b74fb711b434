//! A hub of a drill: its arguments, its ports, its folder, and the process while there is one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::Signal;

use super::footprint::Footprint;
use super::{Process, run, scrape};
use crate::ops::switches::Switches;

/// What a hub says once it serves.
const SERVES: &str = "serving followers";

/// A hub, and its process while there is one.
pub struct Hub {
    /// The program.
    program: PathBuf,
    /// The drill's folder.
    folder: PathBuf,
    /// What it is called.
    name: String,
    /// Where followers reach it.
    pub address: SocketAddr,
    /// Where metrics are.
    pub metrics: SocketAddr,
    /// What it is started with.
    arguments: Vec<String>,
    /// What is off, and what is wrong with it.
    pub switches: Switches,
    /// The process.
    process: Option<Process>,
}

impl Hub {
    /// A hub that was not started yet, at these addresses for followers and for metrics.
    pub fn new(
        (program, folder): (&Path, &Path),
        name: &str,
        (address, metrics): (SocketAddr, SocketAddr),
        arguments: Vec<String>,
        switches: Switches,
    ) -> Self {
        Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            name: name.to_owned(),
            address,
            metrics,
            arguments,
            switches,
            process: None,
        }
    }

    /// Starts it; returns once it serves.
    ///
    /// # Errors
    /// It does not.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let before = Process::said(&self.folder, &self.name, SERVES)?;
        let Self { program, folder, name, address, metrics, .. } = &*self;
        let own = [
            ("--listen", address.to_string()),
            ("--metrics-address", metrics.to_string()),
            ("--health-address", "off".to_owned()),
            ("--ready-address", "off".to_owned()),
        ];
        let own = own.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        let arguments: Vec<_> =
            ["hub".to_owned()].into_iter().chain(own).chain(self.arguments.iter().cloned()).collect();
        let mut process = Process::start(program, folder, name, &arguments, &self.switches)?;
        process.says(SERVES, before + 1)?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it by a signal.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let process = self.process.take().context("a hub that runs")?;
        process.end(signal).map(drop)
    }

    /// Whether it was started and not ended.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Has it carry out an order, as an operator does.
    ///
    /// # Errors
    /// It does not.
    pub fn order(&self, words: &[&str]) -> anyhow::Result<String> {
        let socket = self.folder.join(format!("{}.sock", self.name)).display().to_string();
        let arguments: Vec<_> =
            ["ctl", "--socket", &socket].into_iter().chain(words.iter().copied()).collect();
        run(&self.program, &self.folder, &arguments)
    }

    /// The sum of all its series of a name, or of one with its labels; `None` if it does not answer.
    pub fn metric(&self, series: &str) -> Option<f64> {
        scrape::scrape(self.metrics).ok().map(|text| scrape::sum(&text, series))
    }

    /// What its process has, by its name; `None` where there is no process.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn footprint(&self) -> anyhow::Result<Option<(String, Footprint)>> {
        let Some(process) = &self.process else { return Ok(None) };
        process.footprint(self.metrics, &self.folder).map(Some)
    }

    /// The process while there is one.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }
}
