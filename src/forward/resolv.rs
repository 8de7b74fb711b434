//! Upstreams from a file like `/etc/resolv.conf`: every `nameserver` line, nothing else.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};

/// The port of a nameserver; such files cannot name another.
const PORT: u16 = 53;

/// Largest file read, in bytes. Real ones have a few hundred; a wrong path must not fill the memory.
const MAX_FILE: u64 = 64 * 1024;

/// Why a file gives no upstream.
#[derive(Debug, thiserror::Error)]
pub enum ResolvError {
    /// It cannot be read.
    #[error("reading nameservers from {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// It has no `nameserver` line with an address.
    #[error("{}: no nameserver line with an IP address", path.display())]
    NoNameserver {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the nameservers of the file at `path`, in its order, without duplicates.
///
/// Lines that are wrong are logged and left out, as a stub resolver does.
///
/// # Errors
///
/// [`ResolvError::NoNameserver`] lets a caller skip a file as CoreDNS does; an unreadable file is an error there
/// too.
pub fn read(path: &Path) -> Result<Vec<SocketAddr>, ResolvError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
        .map_err(|error| ResolvError::Unreadable { path: path.to_owned(), error })?;
    let found = parse(&text, |name| nix::net::if_::if_nametoindex(name).ok());
    for line in &found.wrong {
        tracing::warn!(path = %path.display(), line = line.number, text = line.text, "nameserver line ignored");
    }
    if found.nameservers.is_empty() {
        return Err(ResolvError::NoNameserver { path: path.to_owned() });
    }
    Ok(found.nameservers)
}

/// What a text like `/etc/resolv.conf` says of nameservers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Nameservers<'a> {
    /// The addresses in the order of the text, without duplicates, with port 53.
    pub nameservers: Vec<SocketAddr>,
    /// `nameserver` lines that name no address, or a zone (interface) that does not exist.
    pub wrong: Vec<WrongLine<'a>>,
}

/// A `nameserver` line that could not be used.
#[derive(Debug, PartialEq, Eq)]
pub struct WrongLine<'a> {
    /// Counted from 1.
    pub number: usize,
    /// The line.
    pub text: &'a str,
}

/// Reads `text`; `interface` gives the index of an interface by its name, for addresses such as `fe80::1%eth0`
/// (RFC 4007 §11).
pub fn parse(text: &str, interface: impl Fn(&str) -> Option<u32>) -> Nameservers<'_> {
    let mut found = Nameservers::default();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        match words.next().and_then(|word| address(word, &interface)) {
            Some(address) if found.nameservers.contains(&address) => {}
            Some(address) => found.nameservers.push(address),
            None => found.wrong.push(WrongLine { number, text: line }),
        }
    }
    found
}

fn address(word: &str, interface: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let Some((ip, zone)) = word.split_once('%') else {
        return word.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT));
    };
    let index = interface(zone).or_else(|| zone.parse().ok())?;
    Some(SocketAddrV6::new(ip.parse().ok()?, PORT, 0, index).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn eth0(name: &str) -> Option<u32> {
        (name == "eth0").then_some(7)
    }

    #[test]
    fn only_nameserver_lines_count() {
        struct Case {
            name: &'static str,
            text: &'static str,
            want: &'static [&'static str],
            wrong: &'static [usize],
        }
        let cases = [
            Case {
                name: "a usual file",
                text: "search a.example b.example\nnameserver 10.0.0.2\noptions ndots:5\nnameserver 10.0.0.3\n",
                want: &["10.0.0.2:53", "10.0.0.3:53"],
                wrong: &[],
            },
            Case {
                name: "more than three, duplicates once, tabs, CRLF, words behind",
                text: "nameserver\t10.0.0.1\r\nnameserver 10.0.0.2 # x\nnameserver 10.0.0.1\nnameserver 10.0.0.4\n\
                       nameserver 10.0.0.5",
                want: &["10.0.0.1:53", "10.0.0.2:53", "10.0.0.4:53", "10.0.0.5:53"],
                wrong: &[],
            },
            Case {
                name: "IPv6, zones by name and by number",
                text: "nameserver 2001:db8::1\nnameserver fe80::1%eth0\nnameserver fe80::2%3\n",
                want: &["[2001:db8::1]:53", "[fe80::1%7]:53", "[fe80::2%3]:53"],
                wrong: &[],
            },
            Case {
                name: "comments, other words, indented lines",
                text: "# nameserver 10.0.0.1\n;nameserver 10.0.0.2\nnameservers 10.0.0.3\n nameserver 10.0.0.4\n",
                want: &["10.0.0.4:53"],
                wrong: &[],
            },
            Case {
                name: "wrong lines are named, the others used",
                text: "nameserver\nnameserver dns.example\nnameserver fe80::1%eth9\nnameserver 10.0.0.1%eth0\n\
                       nameserver 10.0.0.9\n",
                want: &["10.0.0.9:53"],
                wrong: &[1, 2, 3, 4],
            },
            Case { name: "empty", text: "", want: &[], wrong: &[] },
        ];
        for case in cases {
            let found = parse(case.text, eth0);
            let want: Vec<SocketAddr> = case.want.iter().map(|a| a.parse().unwrap()).collect();
            assert_eq!(found.nameservers, want, "{}", case.name);
            let wrong: Vec<usize> = found.wrong.iter().map(|w| w.number).collect();
            assert_eq!(wrong, case.wrong, "{}", case.name);
        }
    }

    #[test]
    fn a_file_without_nameservers_is_told_from_one_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        assert!(matches!(read(&path), Err(ResolvError::Unreadable { .. })));
        std::fs::write(&path, "search example\n").unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(error, ResolvError::NoNameserver { .. }));
        assert_eq!(error.to_string(), format!("{}: no nameserver line with an IP address", path.display()));
        std::fs::write(&path, "nameserver 127.0.0.1\n").unwrap();
        assert_eq!(read(&path).unwrap(), ["127.0.0.1:53".parse().unwrap()]);
    }

    proptest! {
        #[test]
        fn every_nameserver_line_is_either_used_or_named(words in proptest::collection::vec("[ -~]{0,20}", 0..8)) {
            let text: String = words.iter().map(|word| format!("nameserver x{word}\n")).collect();
            let found = parse(&text, eth0);
            prop_assert_eq!(found.wrong.len(), words.len());
        }
    }
}
