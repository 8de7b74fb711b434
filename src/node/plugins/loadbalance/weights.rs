//! Weights of addresses, and the text that they are written in.
//!
//! ```text
//! # what begins with this is a comment
//! www.example.org          the addresses that follow are this name's
//! 192.0.2.1 3
//! 2001:db8::1 1
//! ```

use std::collections::HashMap;
use std::net::IpAddr;

use hickory_proto::rr::Name;

/// The weight of an address that has none in the file.
pub(super) const DEFAULT: u8 = 1;

/// The weights of addresses, by owner name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Weights(HashMap<Name, HashMap<IpAddr, u8>>);

/// Why a text gives no weights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct NotWeights {
    /// The line, counted from 1.
    line: usize,
    /// What is wrong with it, and what would be right.
    what: String,
}

impl Weights {
    /// Reads a text. A name may come several times; of several weights of one address the first counts, as in
    /// CoreDNS.
    pub(super) fn parse(text: &str) -> Result<Self, NotWeights> {
        let mut weights = Self::default();
        let mut current = None;
        for (index, line) in text.lines().enumerate() {
            let wrong = |what: String| NotWeights { line: index + 1, what };
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (None, ..) => {}
                (Some(comment), ..) if comment.starts_with('#') => {}
                (Some(name), None, _) => current = Some(owner(name).map_err(wrong)?),
                (Some(ip), Some(weight), None) => {
                    let ip: IpAddr = ip.parse().map_err(|_| wrong(format!("'{ip}' is not an IP address")))?;
                    let weight = weight.parse().ok().filter(|weight| *weight > 0).ok_or_else(|| {
                        wrong(format!("'{weight}' is not a weight: write a whole number from 1 to 255"))
                    })?;
                    let name = current.clone().ok_or_else(|| {
                        wrong("an address before any name: write the name on a line above".to_owned())
                    })?;
                    weights.0.entry(name).or_default().entry(ip.to_canonical()).or_insert(weight);
                }
                _ => return Err(wrong("write 'NAME' or 'ADDRESS WEIGHT'".to_owned())),
            }
        }
        Ok(weights)
    }

    /// The weight of an address of `name`, from 1 to 255.
    pub(super) fn of(&self, name: &Name, ip: IpAddr) -> u8 {
        self.0.get(name).and_then(|weights| weights.get(&ip.to_canonical())).copied().unwrap_or(DEFAULT)
    }
}

/// A name, absolute whether it says so or not.
fn owner(text: &str) -> Result<Name, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Err(format!("'{text}' has no weight: write 'ADDRESS WEIGHT'"));
    }
    let mut name =
        Name::from_ascii(text).map_err(|error| format!("'{text}' is not a domain name: {error}"))?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_read() {
        let text = "# a comment\n\n  www.Example.org\n192.0.2.1 3\n  # indented\n192.0.2.2\t255\n192.0.2.1 9\n\
                    \nother.example.org.\n2001:db8::1 2\n::ffff:192.0.2.1 4\r\nwww.example.ORG.\n192.0.2.3 7";
        let weights = Weights::parse(text).unwrap();
        for (name, ip, want) in [
            ("www.example.org.", "192.0.2.1", 3),
            ("WWW.example.org.", "192.0.2.2", 255),
            ("www.example.org.", "192.0.2.3", 7),
            ("www.example.org.", "192.0.2.4", 1),
            ("other.example.org.", "192.0.2.1", 4),
            ("other.example.org.", "2001:db8::1", 2),
            ("example.org.", "192.0.2.1", 1),
        ] {
            assert_eq!(
                weights.of(&Name::from_ascii(name).unwrap(), ip.parse().unwrap()),
                want,
                "{name} {ip}"
            );
        }
        assert_eq!(Weights::parse(""), Ok(Weights::default()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, want) in [
            ("192.0.2.1 3", "line 1: an address before any name: write the name on a line above"),
            ("a\n192.0.2.1", "line 2: '192.0.2.1' has no weight: write 'ADDRESS WEIGHT'"),
            ("a\n\n192.0.2.256 3", "line 3: '192.0.2.256' is not an IP address"),
            ("a\n192.0.2.1 0", "line 2: '0' is not a weight: write a whole number from 1 to 255"),
            ("a\n192.0.2.1 256", "line 2: '256' is not a weight: write a whole number from 1 to 255"),
            ("a\n192.0.2.1 -1", "line 2: '-1' is not a weight: write a whole number from 1 to 255"),
            ("a\n192.0.2.1 1 # no", "line 2: write 'NAME' or 'ADDRESS WEIGHT'"),
            ("a..b", "line 1: 'a..b' is not a domain name: "),
        ] {
            let error = Weights::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(want), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in r"([a-z0-9.:# \n]|\PC){0,60}") {
            let _ = Weights::parse(&text);
        }
    }
}
