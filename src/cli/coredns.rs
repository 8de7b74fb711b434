//! Flags of CoreDNS and of node-cache, in Go's style (one dash or two, `-flag value` or `-flag=value`), so that an image
//! swap needs no new arguments.
//!
//! As in Go, of a flag that is given twice the last one counts, and an empty file or folder is none.
//!
//! node-cache has CoreDNS's flags and its own. One of its own tells the two apart: a template is filled in then, and
//! metrics are shown where its wrapper showed them.

use std::ffi::OsString;
use std::time::Duration;

use super::nodecache::{DEFAULT_BASE, DEFAULT_METRICS};
use crate::corefile;
use crate::net::config::MIN_LOOK;
use crate::node::plugins;
use crate::ops::metrics::BuildInfo;

/// Flags of CoreDNS with a value: its name and ours.
const COREDNS: [(&str, &str); 4] =
    [("conf", CONF), ("dns.port", "--dns-port"), ("p", "--dns-port"), ("pidfile", "--pidfile")];

/// Flags of node-cache with a value: its name and ours.
const NODE_CACHE: [(&str, &str); 7] = [
    ("basecorefile", BASE),
    ("health-port", "--health-port"),
    ("interfacename", "--interface"),
    ("kubednscm", "--kube-dns-config"),
    ("localip", "--local-ip"),
    ("upstreamsvc", "--upstream-service"),
    ("metrics-listen-address", METRICS),
];

/// Flags whose value may be empty, which is as if they were not there.
const MAY_BE_EMPTY: [&str; 4] = ["conf", "pidfile", "basecorefile", "kubednscm"];

/// node-cache's name for what `-conf` overrides.
const COREFILE: &str = "corefile";

/// How often node-cache looks at its rules.
const INTERVAL: &str = "syncinterval";

/// Whether node-cache tells itself of a changed template by a signal.
const WITH_SIGNAL: &str = "reloadwithsignal";

/// Flags of node-cache that are on or off: its name, and ours for on and for off.
const NODE_CACHE_SWITCHES: [(&str, [&str; 2]); 4] = [
    ("setupinterface", ["--setup-interface=on", "--setup-interface=off"]),
    ("setupiptables", ["--rules=auto", "--rules=off"]),
    ("skipteardown", ["--skip-teardown", ""]),
    (WITH_SIGNAL, ["", ""]),
];

/// Flags of CoreDNS that are on or off.
const COREDNS_SWITCHES: [&str; 3] = ["quiet", "version", "plugins"];

/// Our flags that are looked for.
const CONF: &str = "--conf";
/// See [`CONF`].
const BASE: &str = "--base-corefile";
/// See [`CONF`].
const METRICS: &str = "--extra-metrics-address";

/// What became of the arguments.
pub(super) enum Translated {
    /// They are (now) ours.
    Ours {
        /// They, with the program's name.
        arguments: Vec<OsString>,
        /// Which of them have no effect, and why.
        idle: Vec<String>,
    },
    /// They asked for something that has been printed.
    Printed,
    /// They are wrong.
    Wrong(String),
}

/// Translates arguments that begin with one of their flags; leaves all others alone.
pub(super) fn translate(arguments: &[OsString]) -> Translated {
    let untouched = || Translated::Ours { arguments: arguments.to_vec(), idle: Vec::new() };
    let Some(words) = arguments.iter().map(|a| a.to_str()).collect::<Option<Vec<_>>>() else {
        return untouched();
    };
    let first = words.get(1).copied().unwrap_or_default();
    if !flag(first).is_some_and(|(name, _)| is_coredns(name) || is_node_cache(name)) {
        return untouched();
    }
    let mut flags = Flags::default();
    let mut rest = words[1..].iter().copied();
    while let Some(word) = rest.next() {
        let Some((name, value)) = flag(word) else {
            // The end of flags, behind which there is nothing that could be meant.
            match (word, rest.next()) {
                ("--", None) => break,
                (word, next) => {
                    let extra = next.filter(|_| word == "--").unwrap_or(word);
                    return Translated::Wrong(format!("extra command line argument: {extra:?}"));
                }
            }
        };
        let taken = if takes_value(name) {
            match value.or_else(|| rest.next()) {
                Some(value) => flags.take(name, value),
                None => Err(format!("flag needs an argument: -{name}")),
            }
        } else if is_switch(name) {
            match (name, switch(name, value)) {
                ("version", Ok(true)) => {
                    print_version();
                    return Translated::Printed;
                }
                ("plugins", Ok(true)) => {
                    print_plugins();
                    return Translated::Printed;
                }
                (_, on) => on.map(|on| flags.switch(name, on)),
            }
        } else {
            Err(format!("flag provided but not defined: {word}; see outlast node --help"))
        };
        if let Err(error) = taken {
            return Translated::Wrong(error);
        }
    }
    flags.into_ours()
}

/// Flags that were read.
#[derive(Default)]
struct Flags {
    /// As ours, each once: what it sets, and its words.
    ours: Vec<(&'static str, Vec<OsString>)>,
    /// The value of [`COREFILE`].
    corefile: Option<String>,
    /// Whether one is node-cache's own.
    node_cache: bool,
    /// What has no effect.
    idle: Vec<String>,
}

impl Flags {
    /// Takes a flag with a value.
    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        self.node_cache |= is_node_cache(name);
        match name {
            COREFILE => self.corefile = Some(value.to_owned()).filter(|path| !path.is_empty()),
            INTERVAL => {
                let interval = seconds(value).map_err(|e| format!("invalid value for -{INTERVAL}: {e}"))?;
                // node-cache takes any.
                let every = interval.max(MIN_LOOK).as_secs();
                self.set("--look-every", vec!["--look-every".into(), format!("{every}s").into()]);
            }
            _ => {
                let ours = COREDNS.iter().chain(&NODE_CACHE).copied().find(|(theirs, _)| *theirs == name);
                if let Some((_, ours)) = ours {
                    let is_none = value.is_empty() && MAY_BE_EMPTY.contains(&name);
                    self.set(ours, if is_none { Vec::new() } else { vec![ours.into(), value.into()] });
                }
            }
        }
        Ok(())
    }

    /// Takes a flag that is on or off.
    fn switch(&mut self, name: &str, on: bool) {
        self.node_cache |= is_node_cache(name);
        let of = |word: &'static str| if word.is_empty() { Vec::new() } else { vec![word.into()] };
        match name {
            "quiet" => self.set("--quiet", of(if on { "--quiet" } else { "" })),
            WITH_SIGNAL => {
                self.idle.clear();
                self.idle.extend(on.then(|| {
                    format!("-{WITH_SIGNAL} has no effect: what changed is taken over without a signal")
                }));
            }
            _ => {
                let ours = NODE_CACHE_SWITCHES.iter().copied().find(|(theirs, _)| *theirs == name);
                if let Some((theirs, [yes, no])) = ours {
                    self.set(theirs, of(if on { yes } else { no }));
                }
            }
        }
    }

    /// Has one thing set by these words, and by no others.
    fn set(&mut self, what: &'static str, words: Vec<OsString>) {
        self.ours.retain(|(set, _)| *set != what);
        self.ours.push((what, words));
    }

    fn into_ours(self) -> Translated {
        let Self { ours, corefile, node_cache, idle } = self;
        let mut arguments: Vec<OsString> = vec!["outlast".into(), "node".into()];
        let has = |flag: &str| ours.iter().any(|(set, words)| *set == flag && !words.is_empty());
        let mut add = |flag: &str, value: Option<String>| {
            if let Some(value) = value.filter(|_| !has(flag)) {
                arguments.extend([OsString::from(flag), value.into()]);
            }
        };
        add(CONF, corefile);
        add(BASE, node_cache.then(|| DEFAULT_BASE.to_owned()));
        add(METRICS, node_cache.then(|| DEFAULT_METRICS.to_owned()));
        arguments.extend(ours.into_iter().flat_map(|(_, words)| words));
        Translated::Ours { arguments, idle }
    }
}

/// node-cache's unit: it multiplies a duration by a second, so that 60 are 60 s and have to be written as `60` or
/// `60ns`; `60s` is here what it says.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix("ns").unwrap_or(text);
    match number.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => corefile::parse_duration(text),
    }
}

/// Whether a flag that has no value of its own is on, in the words of Go's `strconv.ParseBool`.
fn switch(name: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(format!("invalid boolean value {other:?} for -{name}: write true or false")),
    }
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
    COREDNS.iter().any(|(theirs, _)| *theirs == name) || COREDNS_SWITCHES.contains(&name)
}

fn is_switch(name: &str) -> bool {
    COREDNS_SWITCHES.contains(&name) || NODE_CACHE_SWITCHES.iter().any(|(theirs, _)| *theirs == name)
}

fn is_node_cache(name: &str) -> bool {
    let valued = NODE_CACHE.iter().any(|(theirs, _)| *theirs == name) || matches!(name, COREFILE | INTERVAL);
    valued || NODE_CACHE_SWITCHES.iter().any(|(theirs, _)| *theirs == name)
}

fn takes_value(name: &str) -> bool {
    let valued = COREDNS.iter().chain(&NODE_CACHE).any(|(theirs, _)| *theirs == name);
    valued || matches!(name, COREFILE | INTERVAL)
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
            Translated::Ours { arguments, idle } => {
                let words = arguments.join(" ".as_ref()).to_string_lossy().into_owned();
                Ok(idle.into_iter().fold(words, |words, idle| format!("{words}; {idle}")))
            }
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

    #[test]
    fn flags_of_node_cache() {
        const TEMPLATE: &str = "outlast node --base-corefile /etc/coredns/Corefile.base";
        const METRICS: &str = "--extra-metrics-address 0.0.0.0:9353";
        for (words, want) in [
            (
                vec!["-conf", "C", "-upstreamsvc", "S", "-pidfile", "P"],
                Ok(format!("{TEMPLATE} {METRICS} --conf C --upstream-service S --pidfile P")),
            ),
            (
                vec!["-basecorefile=B", "--kubednscm", "D", "-metrics-listen-address", ":1"],
                Ok("outlast node --base-corefile B --kube-dns-config D --extra-metrics-address :1".to_owned()),
            ),
            (
                vec!["-corefile", "F"],
                Ok(format!("outlast node --conf F --base-corefile /etc/coredns/Corefile.base {METRICS}")),
            ),
            (vec!["-corefile", "F", "-conf", "C"], Ok(format!("{TEMPLATE} {METRICS} --conf C"))),
            (
                vec!["-reloadwithsignal"],
                Ok(format!(
                    "{TEMPLATE} {METRICS}; -reloadwithsignal has no effect: what changed is taken over without a signal"
                )),
            ),
            (vec!["-reloadwithsignal=false"], Ok(format!("{TEMPLATE} {METRICS}"))),
            (
                vec!["-syncinterval", "60ns"],
                Ok(format!("{TEMPLATE} {METRICS} --look-every 60s")),
            ),
            (vec!["-syncinterval", "0"], Ok(format!("{TEMPLATE} {METRICS} --look-every 1s"))),
            (
                vec!["-syncinterval", "x"],
                Err("invalid value for -syncinterval: invalid duration 'x': write numbers with units, as in 300ms, 5s \
                     or 1m30s"
                    .to_owned()),
            ),
            (vec!["-upstreamsvc"], Err("flag needs an argument: -upstreamsvc".to_owned())),
            // As the addon's DaemonSet has it.
            (
                vec!["-localip", "169.254.20.10,10.96.0.10", "-conf", "C", "-upstreamsvc", "S"],
                Ok(format!(
                    "{TEMPLATE} {METRICS} --local-ip 169.254.20.10,10.96.0.10 --conf C --upstream-service S"
                )),
            ),
            (
                vec!["-interfacename=x", "-health-port=81", "-setupinterface", "-setupiptables=true", "-skipteardown"],
                Ok(format!(
                    "{TEMPLATE} {METRICS} --interface x --health-port 81 --setup-interface=on --rules=auto --skip-teardown"
                )),
            ),
            (
                vec!["-setupinterface=false", "-setupiptables=0", "-skipteardown=f"],
                Ok(format!("{TEMPLATE} {METRICS} --setup-interface=off --rules=off")),
            ),
            (
                vec!["-setupinterface=TRUE", "-setupiptables=False", "-skipteardown=T", "-quiet=F", "--"],
                Ok(format!("{TEMPLATE} {METRICS} --setup-interface=on --rules=off --skip-teardown")),
            ),
            // The last one counts.
            (
                vec!["-localip=192.0.2.1", "-p=53", "-skipteardown", "-setupiptables", "-quiet", "-localip", "192.0.2.2"],
                Ok(format!(
                    "{TEMPLATE} {METRICS} --dns-port 53 --skip-teardown --rules=auto --quiet --local-ip 192.0.2.2"
                )),
            ),
            (
                vec!["-p=53", "-skipteardown", "-setupiptables", "-quiet", "-dns.port=54", "-skipteardown=0",
                     "-setupiptables=0", "-quiet=0"],
                Ok(format!("{TEMPLATE} {METRICS} --dns-port 54 --rules=off")),
            ),
            // As it is where a chart has nothing to say.
            (
                vec!["-kubednscm=", "-corefile", "", "-conf=", "-pidfile=", "-basecorefile="],
                Ok(format!("{TEMPLATE} {METRICS}")),
            ),
            (vec!["-skipteardown", "--", "-quiet"], Err("extra command line argument: \"-quiet\"".to_owned())),
            (
                vec!["-setupiptables=no"],
                Err("invalid boolean value \"no\" for -setupiptables: write true or false".to_owned()),
            ),
        ] {
            assert_eq!(translated(&words), want, "{words:?}");
        }
    }

    #[test]
    fn intervals_are_seconds_however_they_are_written() {
        for (text, want) in [("60", 60), ("60ns", 60), ("60s", 60), ("1m30s", 90), ("0", 0)] {
            assert_eq!(seconds(text), Ok(Duration::from_secs(want)), "{text}");
        }
        for text in ["", "-1", "1.5", "ns", "99999999999999999999"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
