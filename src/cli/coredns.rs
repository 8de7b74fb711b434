//! CoreDNS's flags, in Go's style (one dash or two, `-flag value` or `-flag=value`), so that an image swap
//! needs no new arguments.

use std::ffi::OsString;

use crate::node::plugins;
use crate::ops::metrics::BuildInfo;

/// Flags with a value: CoreDNS's name and ours.
const VALUES: [(&str, &str); 4] =
    [("conf", "--conf"), ("dns.port", "--dns-port"), ("p", "--dns-port"), ("pidfile", "--pidfile")];

/// What became of the arguments.
pub(super) enum Translated {
    /// They are (now) ours.
    Ours(Vec<OsString>),
    /// They asked for something that has been printed.
    Printed,
    /// They are wrong.
    Wrong(String),
}

/// Translates arguments that begin with one of CoreDNS's flags; leaves all others alone.
pub(super) fn translate(arguments: &[OsString]) -> Translated {
    let Some(words) = arguments.iter().map(|a| a.to_str()).collect::<Option<Vec<_>>>() else {
        return Translated::Ours(arguments.to_vec());
    };
    let first = words.get(1).copied().unwrap_or_default();
    if !flag(first).is_some_and(|(name, _)| is_coredns(name)) {
        return Translated::Ours(arguments.to_vec());
    }
    let mut ours: Vec<OsString> = vec!["outlast".into(), "node".into()];
    let mut rest = words[1..].iter();
    while let Some(word) = rest.next() {
        let Some((name, value)) = flag(word) else {
            return Translated::Wrong(format!("extra command line argument: {word:?}"));
        };
        if let Some((_, our)) = VALUES.iter().find(|(theirs, _)| *theirs == name) {
            let Some(value) = value.or_else(|| rest.next().copied()) else {
                return Translated::Wrong(format!("flag needs an argument: -{name}"));
            };
            ours.extend([OsString::from(our), value.into()]);
            continue;
        }
        let on = match value {
            None | Some("true" | "1" | "t") => true,
            Some("false" | "0" | "f") => false,
            Some(other) => {
                return Translated::Wrong(format!(
                    "invalid boolean value {other:?} for -{name}: write true or false"
                ));
            }
        };
        match name {
            "version" if on => {
                print_version();
                return Translated::Printed;
            }
            "plugins" if on => {
                print_plugins();
                return Translated::Printed;
            }
            "quiet" if on => ours.push("--quiet".into()),
            "version" | "plugins" | "quiet" => {}
            _ => {
                return Translated::Wrong(format!(
                    "flag provided but not defined: {word}; see outlast node --help"
                ));
            }
        }
    }
    Translated::Ours(ours)
}

/// Name and value of a flag in Go's style.
fn flag(word: &str) -> Option<(&str, Option<&str>)> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    if name.is_empty() || name.starts_with('-') {
        return None;
    }
    Some(name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value))))
}

fn is_coredns(name: &str) -> bool {
    VALUES.iter().any(|(theirs, _)| *theirs == name) || matches!(name, "quiet" | "version" | "plugins")
}

fn print_version() {
    super::say(format_args!("outlast {}", BuildInfo::CURRENT.version));
    super::say(super::platform());
}

fn print_plugins() {
    super::say("Plugins, in the order of the chain:");
    for name in plugins::names() {
        super::say(format_args!("  dns.{name}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(words: &[&str]) -> Result<String, String> {
        let arguments: Vec<OsString> = ["outlast"].iter().chain(words).map(OsString::from).collect();
        match translate(&arguments) {
            Translated::Ours(words) => Ok(words.join(" ".as_ref()).to_string_lossy().into_owned()),
            Translated::Printed => Ok("printed".to_owned()),
            Translated::Wrong(message) => Err(message),
        }
    }

    #[test]
    fn flags_of_coredns() {
        for (words, want) in [
            (vec!["-conf", "C", "-dns.port", "1053"], Ok("outlast node --conf C --dns-port 1053")),
            (vec!["--conf=C", "-p=53", "-quiet"], Ok("outlast node --conf C --dns-port 53 --quiet")),
            (vec!["-quiet=false", "-pidfile", "P"], Ok("outlast node --pidfile P")),
            (vec!["-plugins"], Ok("printed")),
            (vec!["node", "--conf", "C"], Ok("outlast node --conf C")),
            (vec!["--help"], Ok("outlast --help")),
            (vec![], Ok("outlast")),
            (vec!["-conf"], Err("flag needs an argument: -conf")),
            (vec!["-conf", "C", "extra"], Err("extra command line argument: \"extra\"")),
            (
                vec!["-conf", "C", "-bogus"],
                Err("flag provided but not defined: -bogus; see outlast node --help"),
            ),
            (vec!["-quiet=maybe"], Err("invalid boolean value \"maybe\" for -quiet: write true or false")),
        ] {
            let want = want.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(translated(&words), want, "{words:?}");
        }
    }
}
