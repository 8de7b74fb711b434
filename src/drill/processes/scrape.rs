//! What a process says of itself at `/metrics`.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long it may take.
const WITHIN: Duration = Duration::from_secs(5);

/// The most that is read: metrics of a process are some 100 KiB.
const MAX_BYTES: u64 = 8 << 20;

/// The text of `/metrics`.
///
/// # Errors
/// Nobody answers there.
pub(in crate::drill) fn scrape(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, WITHIN)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut reply = String::new();
    stream.take(MAX_BYTES).read_to_string(&mut reply)?;
    match reply.split_once("\r\n\r\n") {
        Some((_, text)) => Ok(text.to_owned()),
        None => Err(io::Error::other("no reply of HTTP")),
    }
}

/// The sum of all series of a name, or of one that is spelled with its labels; 0 without any.
pub(in crate::drill) fn sum(text: &str, series: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(series)?;
        let is_whole = rest.starts_with(' ') || rest.starts_with('{');
        is_whole.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    };
    text.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_or_found_by_their_labels() {
        let text = "# HELP a x\na 1\na_total{k=\"x\"} 2\na_total{k=\"y\"} 3.5\nab 7\n";
        for (series, want) in
            [("a", 1.0), ("a_total", 5.5), ("a_total{k=\"y\"}", 3.5), ("ab", 7.0), ("none", 0.0)]
        {
            assert_eq!(sum(text, series), want, "{series}");
        }
    }
}
