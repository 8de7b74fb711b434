//! A node of a drill: its Corefile, its ports, its folder, and the process while there is one.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::Signal;

use super::footprint::Footprint;
use super::{PATIENCE, Process, ports, scrape, setup, until};
use crate::drill::files;
use crate::ops::switches::Switches;

/// The port of DNS.
const DNS: u16 = 53;

/// What a node says once it answers.
const ANSWERS: &str = "answering dns";

/// What a node is made with.
pub struct Setting<'a> {
    /// The program.
    pub program: &'a Path,
    /// The drill's folder.
    pub folder: &'a Path,
    /// What it is called.
    pub name: String,
    /// Lines of its `kubernetes` block that say whom it follows, and what is to be otherwise than usual.
    pub lines: &'a str,
    /// Lines of its server block besides.
    pub plugins: &'a str,
    /// An address that it puts on the machine, to be asked at; else it is a port of loopback.
    pub own: Option<IpAddr>,
    /// Whether it keeps snapshots.
    pub snapshot: bool,
    /// What is off, and what is wrong with it.
    pub switches: Switches,
}

/// A node, and its process while there is one.
pub struct Node {
    /// The program.
    program: PathBuf,
    /// The drill's folder.
    folder: PathBuf,
    /// What it is called.
    name: String,
    /// Where DNS is answered.
    pub dns: SocketAddr,
    /// The address that it puts on the machine, if it does.
    own: Option<IpAddr>,
    /// Where metrics are.
    metrics: SocketAddr,
    /// Its `kubernetes` block.
    kubernetes: String,
    /// Lines of its server block besides.
    plugins: String,
    /// What is off, and what is wrong with it.
    pub switches: Switches,
    /// The process.
    process: Option<Process>,
}

impl Node {
    /// A node that was not started yet.
    ///
    /// # Errors
    /// No port is free.
    pub fn new(setting: Setting<'_>) -> anyhow::Result<Self> {
        let Setting { program, folder, name, lines, plugins, own, snapshot, switches } = setting;
        let dns = own.map_or_else(ports::free, |address| Ok((address, DNS).into()))?;
        let metrics = ports::free()?;
        let kept = setup::snapshots(folder, &name);
        let snapshot = if snapshot {
            format!("snapshot {}\nsnapshot_interval 1s\n", kept.display())
        } else {
            String::new()
        };
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            name,
            dns,
            own,
            metrics,
            kubernetes: format!("ttl 30\n{snapshot}{lines}"),
            plugins: plugins.to_owned(),
            switches,
            process: None,
        })
    }

    /// Starts it; returns once it answers.
    ///
    /// # Errors
    /// It does not.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let process = self.launch()?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts another process in its place beside the one that there is, and then ends that.
    ///
    /// # Errors
    /// The new one does not answer, or the old one does not end.
    pub fn upgrade(&mut self) -> anyhow::Result<()> {
        // Metrics are the only port that two processes do not share.
        self.metrics = ports::free()?;
        let process = self.launch()?;
        let before = self.process.replace(process).context("a node to be upgraded")?;
        let status = before.end(Signal::TERM)?;
        anyhow::ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }

    /// Ends it by a signal.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let process = self.process.take().context("a node that runs")?;
        process.end(signal).map(drop)
    }

    /// Waits until its data is live and on its disk.
    ///
    /// # Errors
    /// It never is.
    pub fn until_live(&self, with_snapshot: bool) -> anyhow::Result<()> {
        until(&format!("{} is live", self.name), PATIENCE, || {
            let Ok(text) = self.scrape() else { return Ok(false) };
            let live = scrape::sum(&text, "outlast_data_state{state=\"live\"}") > 0.0;
            let saved = scrape::sum(&text, "outlast_snapshot_saves_total") > 0.0;
            Ok(live && (saved || !with_snapshot))
        })
    }

    /// The sum of all its series of a name, or of one with its labels; `None` if it does not answer.
    pub fn metric(&self, series: &str) -> Option<f64> {
        self.scrape().ok().map(|text| scrape::sum(&text, series))
    }

    /// Whether it is connected to the hub of that address.
    pub fn follows(&self, hub: SocketAddr) -> bool {
        self.metric(&format!("outlast_hub_connected{{hub=\"{hub}\"}}")) == Some(1.0)
    }

    /// Where its metrics are.
    pub const fn metrics(&self) -> SocketAddr {
        self.metrics
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

    fn scrape(&self) -> anyhow::Result<String> {
        Ok(scrape::scrape(self.metrics)?)
    }

    /// Starts a process; returns once it answers.
    fn launch(&self) -> anyhow::Result<Process> {
        let corefile = self.folder.join(format!("{}.Corefile", self.name));
        let Self { dns, metrics, kubernetes, plugins, .. } = self;
        let text = format!(
            ".:{} {{\nbind {}\nprometheus {metrics}\nkubernetes cluster.local in-addr.arpa {{\n{kubernetes}\n}}\n{plugins}\n}}\n",
            dns.port(),
            dns.ip(),
        );
        files::replace(&corefile, &text).context("writing a Corefile")?;
        let before = Process::said(&self.folder, &self.name, ANSWERS)?;
        let arguments = ["node".to_owned(), "--conf".to_owned(), corefile.display().to_string()];
        let own = self.own.map(|address| format!("--local-ip={address}"));
        let arguments: Vec<_> = arguments.into_iter().chain(own).collect();
        let mut process =
            Process::start(&self.program, &self.folder, &self.name, &arguments, &self.switches)?;
        process.says(ANSWERS, before + 1)?;
        Ok(process)
    }
}
