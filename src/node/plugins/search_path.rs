//! The search path of a file like /etc/resolv.conf: its last `search` or `domain` line (resolv.conf(5)).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::zone::name::Labels;

/// The file of the host, or of the pod that this process runs in.
pub(super) const HOST: &str = "/etc/resolv.conf";

/// Largest file read, in bytes. Real ones have a few hundred; a wrong path must not fill the memory.
const MAX_FILE: u64 = 64 * 1024;

/// Most domains of a path: Kubernetes allows a pod as many. Each may cost a question.
const MAX_DOMAINS: usize = 32;

/// Reads the file at `path`; without such a line the path is empty.
///
/// # Errors
/// What the operating system says.
pub(super) fn read(path: &Path) -> io::Result<Vec<Labels>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

/// The path of a text; what is no domain name is left out.
fn parse(text: &str) -> Vec<Labels> {
    let mut path = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let count = match words.next() {
            Some("search") => MAX_DOMAINS,
            Some("domain") => 1,
            _ => continue,
        };
        let domains = words.take_while(|word| !word.starts_with(['#', ';']));
        path = domains.filter_map(|word| Labels::parse(word).ok()).take(count).collect();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        for (text, want) in [
            ("", ""),
            ("nameserver 10.0.0.1\nsearch A.example b.example.\noptions ndots:5\n", "a.example. b.example."),
            ("search a.example\ndomain b.example c.example\n", "b.example."),
            ("domain b.example\r\nsearch a.example # c.example\r\n", "a.example."),
            ("search a..example .\n", "."),
            (" search\ta.example\n#search b.example\n;search c.example\nsearches d.example\n", "a.example."),
            ("search a.example\nsearch\n", ""),
        ] {
            let path: Vec<_> = parse(text).iter().map(ToString::to_string).collect();
            assert_eq!(path.join(" "), want, "{text:?}");
        }
        let long = format!("search {}", "a.example ".repeat(40));
        assert_eq!(parse(&long).len(), MAX_DOMAINS);
    }
}
