//! What the command line asks for.

use std::path::PathBuf;
use std::time::Duration;

use crate::peer::Hold;

/// Where the API server is.
pub(crate) enum Server {
    /// A stand-in, started here.
    Standin,
    /// Where this kubeconfig says.
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// A context of it; else its current one.
        context: Option<String>,
    },
}

/// The arguments.
pub(crate) struct Arguments {
    /// Where the API server is.
    pub(crate) server: Server,
    /// Services of the stand-in.
    pub(crate) services: usize,
    /// Endpoints of the stand-in.
    pub(crate) endpoints: usize,
    /// How many relists are measured.
    pub(crate) relists: usize,
    /// How long a node is left alone before it counts as idle.
    pub(crate) settle: Duration,
    /// This process is the peer.
    pub(crate) hold: Option<Hold>,
}

impl Arguments {
    /// Reads them; cargo itself adds `--bench`.
    pub(crate) fn read() -> Result<Self, String> {
        let quick = std::env::args().any(|a| a == "--quick");
        let (services, endpoints) = if quick { (1_000, 10_090) } else { (10_000, 100_900) };
        let settle = Duration::from_secs(if quick { 1 } else { 5 });
        let relists = if quick { 1 } else { 5 };
        let mut read = Self { server: Server::Standin, services, endpoints, relists, settle, hold: None };
        let (mut kubeconfig, mut context) = (None, None);
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let number = |text: String| match text.parse() {
                Ok(0) | Err(_) => Err(format!("{text:?} is not a number from 1")),
                Ok(number) => Ok(number),
            };
            match &*word {
                "--quick" | "--bench" => {}
                "--services" => read.services = number(value()?)?,
                "--endpoints" => read.endpoints = number(value()?)?,
                "--relists" => read.relists = number(value()?)?,
                "--kubeconfig" => kubeconfig = Some(PathBuf::from(value()?)),
                "--context" => context = Some(value()?),
                "--hold" => read.hold = Some(Hold::parse(&value()?)?),
                _ => return Err(format!("{word:?} is none of the bench's flags; its head names them")),
            }
        }
        match (kubeconfig, context) {
            (Some(file), context) => read.server = Server::Kubeconfig { file, context },
            (None, Some(_)) => return Err("--context needs --kubeconfig".to_owned()),
            (None, None) => {}
        }
        Ok(read)
    }
}
