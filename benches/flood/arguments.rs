//! What the command line asks for.

use std::time::Duration;

use outlast::drill::cluster::Cluster;

/// The arguments.
pub(crate) struct Arguments {
    /// Queries of the flood a second.
    pub(crate) rate: u32,
    /// How long it goes on.
    pub(crate) seconds: Duration,
    /// Clients that send it, where there are many.
    pub(crate) clients: u8,
    /// Services of the cluster.
    pub(crate) services: usize,
    /// Its endpoints.
    pub(crate) endpoints: usize,
}

impl Arguments {
    /// Reads them; cargo itself adds `--bench`.
    pub(crate) fn read() -> Result<Self, String> {
        let quick = std::env::args().any(|a| a == "--quick");
        let (rate, seconds) = if quick { (5_000, 2) } else { (50_000, 10) };
        let (services, endpoints) = if quick { (1_000, 10_090) } else { (10_000, 100_900) };
        let seconds = Duration::from_secs(seconds);
        let mut read = Self { rate, seconds, clients: 16, services, endpoints };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
                let number = value.parse::<u32>().ok().filter(|number| *number > 0);
                number.ok_or_else(|| format!("{value:?} is not a number from 1"))
            };
            match &*word {
                "--quick" | "--bench" => {}
                "--rate" => read.rate = number()?,
                "--seconds" => read.seconds = Duration::from_secs(number()?.into()),
                "--clients" => {
                    read.clients = u8::try_from(number()?).map_err(|_| "--clients: at most 255")?;
                }
                "--services" => read.services = number()? as usize,
                "--endpoints" => read.endpoints = number()? as usize,
                other => return Err(format!("{other:?} is no argument of this bench; its head names them")),
            }
        }
        read.cluster().possible().map_err(|e| e.to_string())?;
        Ok(read)
    }

    /// The cluster whose names are asked for.
    pub(crate) const fn cluster(&self) -> Cluster {
        Cluster::sized(self.services, self.endpoints)
    }
}
