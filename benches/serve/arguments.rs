//! What the command line asks for.

use std::path::PathBuf;
use std::time::Duration;

use outlast::drill::cluster::Cluster;

use crate::servers::Place;

/// What this process is.
pub(crate) enum Role {
    /// The bench itself.
    Bench,
    /// The limit in this place, with this file of names and addresses.
    Limit(Place, PathBuf),
    /// hickory-server, with this file of names and addresses.
    Hickory(PathBuf),
    /// The API server stand-in, which writes this kubeconfig.
    Standin(PathBuf),
}

/// The arguments.
pub(crate) struct Arguments {
    /// What this process is.
    pub(crate) role: Role,
    /// Whether the servers are compared.
    pub(crate) load: bool,
    /// Whether the node is measured while its data changes.
    pub(crate) churn: bool,
    /// Services of the cluster.
    pub(crate) services: usize,
    /// Its endpoints.
    pub(crate) endpoints: usize,
    /// How often everything is measured.
    pub(crate) rounds: usize,
    /// How long one measurement takes.
    pub(crate) seconds: Duration,
    /// Queries a second where latencies are measured.
    pub(crate) rate: u32,
    /// Changes a second.
    pub(crate) changes: u32,
}

impl Arguments {
    /// Reads them; cargo itself adds `--bench`.
    pub(crate) fn read() -> Result<Self, String> {
        let quick = std::env::args().any(|a| a == "--quick");
        let (services, endpoints) = if quick { (1_000, 10_090) } else { (10_000, 100_900) };
        let (rounds, seconds) = if quick { (1, 3) } else { (5, 10) };
        let mut read = Self {
            role: Role::Bench,
            load: true,
            churn: true,
            services,
            endpoints,
            rounds,
            seconds: Duration::from_secs(seconds),
            rate: 20_000,
            changes: 1_000,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let number = |text: String| match text.parse::<u32>() {
                Ok(0) | Err(_) => Err(format!("{text:?} is not a number from 1")),
                Ok(number) => Ok(number),
            };
            match &*word {
                "--quick" | "--bench" => {}
                "--load" => read.churn = false,
                "--churn" => read.load = false,
                "--services" => read.services = number(value()?)? as usize,
                "--endpoints" => read.endpoints = number(value()?)? as usize,
                "--rounds" => read.rounds = number(value()?)? as usize,
                "--seconds" => read.seconds = Duration::from_secs(number(value()?)?.into()),
                "--rate" => read.rate = number(value()?)?,
                "--changes" => read.changes = number(value()?)?,
                "--limit" => read.role = Role::Limit(Place::Loopback, value()?.into()),
                "--limit-wildcard" => read.role = Role::Limit(Place::Wildcard, value()?.into()),
                "--hickory" => read.role = Role::Hickory(value()?.into()),
                "--standin" => read.role = Role::Standin(value()?.into()),
                other => return Err(format!("{other:?} is no argument of this bench; its head names them")),
            }
        }
        if !read.load && !read.churn {
            return Err("--load and --churn: one part, or neither word for both".to_owned());
        }
        read.cluster().possible().map_err(|e| e.to_string())?;
        Ok(read)
    }

    /// The cluster whose names are asked for.
    pub(crate) const fn cluster(&self) -> Cluster {
        Cluster::sized(self.services, self.endpoints)
    }
}
