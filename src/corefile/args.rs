//! What plugins' setup code needs to read a directive: counting arguments, and turning words into values.
//!
//! Every error carries the place of the word it is about, and says what would be right.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::block::{Directive, Line};
use super::error::{Error, did_you_mean};
use super::token::Token;
use super::{duration, key};

// === Statements: a name and its arguments ===

/// A directive, or a line in a directive's block.
///
/// `usage` is always how the statement is written, as in `lameduck DURATION`; it becomes part of the error.
pub trait Statement {
    /// The first word.
    fn name(&self) -> &Token;

    /// The words after it on the same line.
    fn args(&self) -> &[Token];

    /// Something is wrong with the statement as a whole; see [`Error::new`] for the message.
    fn error(&self, message: impl Into<String>) -> Error {
        self.name().error(message)
    }

    /// The arguments, of which there must be a number in `count`.
    fn expect_args(&self, count: RangeInclusive<usize>, usage: &str) -> Result<&[Token], Error> {
        let args = self.args();
        if count.contains(&args.len()) {
            return Ok(args);
        }
        let words: Vec<_> = std::iter::once(self.name()).chain(args).map(|t| t.text.as_str()).collect();
        Err(self.error(format!(
            "Wrong argument count or unexpected line ending after '{}': write '{usage}'",
            words.join(" ")
        )))
    }

    /// There must be no argument.
    fn no_args(&self) -> Result<(), Error> {
        self.expect_args(0..=0, &self.name().text).map(drop)
    }

    /// The only argument.
    fn one_arg(&self, usage: &str) -> Result<&Token, Error> {
        match self.expect_args(1..=1, usage)? {
            [arg] => Ok(arg),
            _ => Err(self.error(format!("expected one argument: write '{usage}'"))),
        }
    }

    /// The only argument, or `None` if there is none.
    fn optional_arg(&self, usage: &str) -> Result<Option<&Token>, Error> {
        Ok(self.expect_args(0..=1, usage)?.first())
    }

    /// The error for a line that no option of `plugin` begins with; `known` lists the options.
    fn unknown_property(&self, plugin: &str, known: &[&str]) -> Error {
        let word = &self.name().text;
        let hint = match did_you_mean(word, known) {
            none if none.is_empty() => format!("; known are: {}", known.join(", ")),
            hint => hint,
        };
        self.error(format!("plugin/{plugin}: unknown property '{word}'{hint}"))
    }
}

impl Statement for Directive {
    fn name(&self) -> &Token {
        &self.name
    }

    fn args(&self) -> &[Token] {
        &self.args
    }
}

impl Statement for Line {
    fn name(&self) -> &Token {
        &self.name
    }

    fn args(&self) -> &[Token] {
        &self.args
    }
}

impl Directive {
    /// The directive must have no block.
    pub fn no_body(&self) -> Result<(), Error> {
        match &self.body {
            None => Ok(()),
            Some(_) => Err(self.error(format!("{} takes no block: remove the braces", self.name.text))),
        }
    }
}

// === Words to values ===

impl Token {
    /// A duration as Go writes it, zero or longer: `300ms`, `1m30s`, `0`. A bare number is an error.
    pub fn duration(&self) -> Result<Duration, Error> {
        duration::parse(&self.text).map_err(|why| self.error(why))
    }

    /// A whole number within `range`, in decimal digits.
    pub fn integer<T: FromStr + PartialOrd + Display>(&self, range: RangeInclusive<T>) -> Result<T, Error> {
        let number = self.text.parse().ok().filter(|n| range.contains(n));
        number.ok_or_else(|| {
            let (min, max) = range.into_inner();
            self.error(format!("'{}' is not a whole number from {min} to {max}", self.text))
        })
    }

    /// An IP address, without brackets.
    pub fn ip(&self) -> Result<IpAddr, Error> {
        self.text.parse().map_err(|_| {
            self.error(format!("'{}' is not an IP address, such as 10.0.0.10 or fd00::10", self.text))
        })
    }

    /// A prefix, as in `10.0.0.0/8`; bits beyond its length are cleared.
    pub fn cidr(&self) -> Result<IpNet, Error> {
        let net: Result<IpNet, _> = self.text.parse();
        net.map(|net| net.trunc()).map_err(|_| {
            self.error(format!("invalid CIDR {}: write a prefix, such as 10.0.0.0/8 or fd00::/8", self.text))
        })
    }

    /// An IP address with or without a port: `10.0.0.1`, `10.0.0.1:53`, `fd00::1`, `[fd00::1]:53`.
    pub fn socket_addr(&self, default_port: u16) -> Result<SocketAddr, Error> {
        let text = self.text.as_str();
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        bare.parse().map(|ip| SocketAddr::new(ip, default_port)).map_err(|_| {
            self.error(format!(
                "'{text}' is not an IP address with or without a port: write 10.0.0.1, 10.0.0.1:{default_port} or \
                 [fd00::1]:{default_port}"
            ))
        })
    }

    /// One of the words of `choices`, as the value that stands beside it.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Error> {
        choices.iter().find(|(word, _)| *word == self.text).map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            self.error(format!("'{}' must be one of: {}", self.text, words.join(", ")))
        })
    }
}

/// The zones that the words name, lower-case and absolute, each once, in order; a prefix gives all its
/// reverse zones. Where no word means "the zones of the server block", that is [`super::ServerBlock::zones`].
pub fn zones(words: &[Token]) -> Result<Vec<String>, Error> {
    let mut zones = Vec::new();
    for word in words {
        for zone in key::zones(&word.text).map_err(|why| word.error(why))? {
            if !zones.contains(&zone) {
                zones.push(zone);
            }
        }
    }
    Ok(zones)
}

#[cfg(test)]
mod tests {
    use super::super::error::Position;
    use super::*;

    fn token(text: &str) -> Token {
        Token { text: text.to_owned(), quoted: false, position: Position { file: "t".into(), line: 4 } }
    }

    fn line(text: &str) -> Line {
        let mut words = text.split(' ').map(token);
        Line { name: words.next().unwrap(), args: words.collect() }
    }

    #[test]
    fn counting_arguments() {
        assert_eq!(line("ttl 5").one_arg("ttl N").unwrap().text, "5");
        assert!(line("force_tcp").no_args().is_ok());
        assert_eq!(line("x").optional_arg("x [Y]"), Ok(None));
        assert_eq!(line("x a b").expect_args(1..=2, "x A [B]").unwrap().len(), 2);
        let error = line("lameduck 5s 6s").one_arg("lameduck DURATION").unwrap_err();
        assert_eq!(
            error.to_string(),
            "t:4 - Error during parsing: Wrong argument count or unexpected line ending after 'lameduck 5s 6s': \
             write 'lameduck DURATION'"
        );
        let unknown = line("lamduck 5s").unknown_property("health", &["lameduck"]);
        assert_eq!(unknown.message(), "plugin/health: unknown property 'lamduck'; did you mean 'lameduck'?");
        let unknown = line("x").unknown_property("health", &["lameduck", "y"]);
        assert!(unknown.message().ends_with("; known are: lameduck, y"), "{unknown}");
    }

    #[test]
    fn values() {
        assert_eq!(token("1m30s").duration(), Ok(Duration::from_secs(90)));
        assert_eq!(token("3600").integer(0..=3600u32), Ok(3600));
        assert_eq!(token("fd00::1").ip(), Ok("fd00::1".parse().unwrap()));
        assert_eq!(token("10.1.2.3/8").cidr(), Ok("10.0.0.0/8".parse().unwrap()));
        assert_eq!(token("b").choice(&[("a", 1), ("b", 2)]), Ok(2));
        assert_eq!(
            zones(&[token("A.example"), token("10.0.0.0/7"), token("a.example.")]),
            Ok(vec!["a.example.".to_owned(), "10.in-addr.arpa.".to_owned(), "11.in-addr.arpa.".to_owned()])
        );
    }

    #[test]
    fn addresses() {
        for (text, want) in [
            ("10.0.0.1", "10.0.0.1:53"),
            ("10.0.0.1:5353", "10.0.0.1:5353"),
            ("fd00::1", "[fd00::1]:53"),
            ("[fd00::1]", "[fd00::1]:53"),
            ("[fd00::1]:5353", "[fd00::1]:5353"),
        ] {
            assert_eq!(token(text).socket_addr(53), Ok(want.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn wrong_values_say_where_and_what() {
        for (error, why) in [
            (token("30").duration().unwrap_err(), "write 30s"),
            (token("3601").integer(0..=3600u32).unwrap_err(), "from 0 to 3600"),
            (token("99999999999").integer(0..=3600u32).unwrap_err(), "from 0 to 3600"),
            (token("-1").integer(0..=3600u32).unwrap_err(), "from 0 to 3600"),
            (token("localhost").ip().unwrap_err(), "not an IP address"),
            (token("10.0.0.1").cidr().unwrap_err(), "invalid CIDR 10.0.0.1"),
            (token("a:53").socket_addr(53).unwrap_err(), "10.0.0.1:53"),
            (token("c").choice(&[("a", 1), ("b", 2)]).unwrap_err(), "one of: a, b"),
            (zones(&[token("a..b")]).unwrap_err(), "empty label"),
        ] {
            assert!(error.message().contains(why), "{error}");
            assert_eq!(error.position().line, 4, "{error}");
        }
    }
}
