//! What a process says of itself at `/metrics`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One answer of `/metrics`.
pub(crate) struct Scrape(String);

impl Scrape {
    /// Asks at this address.
    pub(crate) fn of(address: SocketAddr) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(Self(text))
    }

    /// The value of one series, labels included; 0 if there is none.
    pub(crate) fn value(&self, series: &str) -> f64 {
        self.values(series).find_map(|rest| rest.strip_prefix(' ')?.trim().parse().ok()).unwrap_or(0.0)
    }

    /// The sum of all series of this name; 0 if there is none.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let labelled = self.values(name).filter(|rest| rest.starts_with(['{', ' ']));
        labelled.filter_map(|rest| rest.rsplit_once(' ')?.1.trim().parse::<f64>().ok()).sum()
    }

    /// The sum of all series of this name that have this among their labels; 0 if there is none.
    pub(crate) fn sum_with(&self, name: &str, label: &str) -> f64 {
        let labelled = self.values(name).filter(|rest| rest.starts_with('{') && rest.contains(label));
        labelled.filter_map(|rest| rest.rsplit_once(' ')?.1.trim().parse::<f64>().ok()).sum()
    }

    /// What is behind this in the lines that begin with it.
    fn values<'a>(&'a self, with: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.lines().filter_map(move |line| line.strip_prefix(with))
    }
}
