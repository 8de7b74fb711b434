//! What the lines of `forward` say.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use hickory_proto::op::{Message, ResponseCode};

use super::NAME;
use crate::corefile::{self, Directive, Error, Line, Statement, Token, Warning};
use crate::forward::resolv::{self, ResolvError};
use crate::forward::target::{self, Place, Security, Word};
use crate::forward::{ForwardConfig, Policy, Target, TlsFiles};
use crate::node::setup::Context;
use crate::ops::rcode;

/// Options that are accepted.
pub const OPTIONS: [&str; 20] = [
    "except",
    "force_tcp",
    "prefer_udp",
    "expire",
    "max_age",
    "max_idle_conns",
    "read_timeout",
    "max_fails",
    "max_connect_attempts",
    "tls",
    "tls_servername",
    "policy",
    "health_check",
    "max_concurrent",
    "next",
    "next_on_nodata",
    "failfast_all_unhealthy_upstreams",
    "failover",
    "source_address",
    "resolver",
];

/// How `health_check` is written.
const HEALTH_CHECK: &str = "health_check DURATION [no_rec] [domain FQDN]";

/// Port of a server that `resolver` names without one.
const PORT: u16 = 53;

/// One directive.
pub(super) struct Options {
    /// What the forwarder is set up with.
    pub(super) config: ForwardConfig,
    /// When the next `forward` is asked.
    pub(super) next_on: NextOn,
}

/// Replies that another `forward` behind may better.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NextOn {
    /// With these response codes.
    rcodes: Vec<u16>,
    /// NOERROR without an answer.
    nodata: bool,
}

impl NextOn {
    /// Whether `message` is such a reply.
    pub(super) fn takes(&self, message: &Message) -> bool {
        let rcode = message.metadata.response_code;
        let nodata = rcode == ResponseCode::NoError && message.answers.is_empty();
        self.rcodes.contains(&rcode.into()) || self.nodata && nodata
    }
}

/// Reads a directive.
pub(super) fn read(directive: &Directive, cx: &mut Context<'_>) -> Result<Options, Error> {
    let (from, to) = match directive.args() {
        [from, to @ ..] if !to.is_empty() => (from, to),
        _ => return Err(directive.error("plugin/forward: write 'forward FROM TO...'")),
    };
    // A prefix may stand for several zones; one `forward` serves one.
    let zones = corefile::zones(std::slice::from_ref(from))?;
    if zones.len() > 1 {
        tracing::warn!(target: "plugin/forward", "unsupported CIDR notation: only {} of {} is forwarded, at {}",
            zones[0], from.text, from.position);
    }
    let zone = zones.into_iter().next().ok_or_else(|| from.error("plugin/forward: FROM is not a zone"))?;
    let (mut upstreams, mut skipped) = (Vec::new(), None);
    for word in to {
        upstreams.extend(targets(word, cx, &mut skipped)?);
    }
    if let (true, Some((path, error))) = (upstreams.is_empty(), skipped) {
        // A machine that starts may not have been told its name servers yet, and what is on the disk is answered before
        // there is any network. At a reload the old configuration, which has some, is better.
        if !cx.has_snapshots() || cx.environment.carried.is_running() {
            return Err(directive.error(format!("plugin/forward: {error}")));
        }
        tracing::warn!(target: "plugin/forward", "{}: read again until it lists a name server; outside names fail \
            until then", path.display());
        upstreams.push(Target { place: Place::File(path), security: Security::Plain });
    }
    let mut options = Options { config: ForwardConfig::new(zone, upstreams), next_on: NextOn::default() };
    for line in directive.lines() {
        option(line, &mut options, cx)?;
    }
    let Options { config, .. } = &options;
    if config.force_tcp && config.prefer_udp {
        return Err(directive.error("plugin/forward: 'force_tcp' and 'prefer_udp' exclude each other"));
    }
    warn_of_lines_without_effect(directive, config, cx);
    Ok(options)
}

/// What is accepted and cannot have an effect here is said to be so.
fn warn_of_lines_without_effect(directive: &Directive, config: &ForwardConfig, cx: &mut Context<'_>) {
    let has_tls = config.to.iter().any(|target| target.security != Security::Plain);
    let has_names = config.to.iter().any(|target| matches!(target.place, Place::Host { .. }));
    for line in directive.lines() {
        let name = line.name().text.as_str();
        let why = match name {
            "tls" | "tls_servername" if !has_tls => "no upstream is written as 'tls://ADDRESS'",
            "resolver" if !has_names => "all upstreams are addresses",
            "health_check" if config.max_fails == 0 => "'max_fails 0' switches probes off",
            _ => continue,
        };
        let (position, text) = (line.name().position.clone(), format!("'{name}' has no effect: {why}"));
        tracing::warn!(target: "plugin/forward", "{text}, at {position}");
        cx.process.warnings.push(Warning { position, text });
    }
}

fn option(line: &Line, options: &mut Options, cx: &Context<'_>) -> Result<(), Error> {
    match line.name().text.as_str() {
        "doh_method" => Err(line.error(
            "plugin/forward: 'doh_method' is about 'https://' upstreams, which are not supported: remove the line; \
             'tls://ADDRESS' speaks DNS over TLS",
        )),
        "next" => {
            options.next_on.rcodes.extend(rcodes(line, "next RCODE...")?);
            Ok(())
        }
        "next_on_nodata" => {
            line.no_args()?;
            options.next_on.nodata = true;
            Ok(())
        }
        _ => match connection(line, &mut options.config, cx)? {
            ControlFlow::Break(()) => Ok(()),
            ControlFlow::Continue(()) => choice(line, &mut options.config),
        },
    }
}

/// Options about how an upstream is spoken with.
fn connection(line: &Line, config: &mut ForwardConfig, cx: &Context<'_>) -> Result<ControlFlow<()>, Error> {
    match line.name().text.as_str() {
        "force_tcp" => {
            line.no_args()?;
            config.force_tcp = true;
        }
        "prefer_udp" => {
            line.no_args()?;
            config.prefer_udp = true;
        }
        "expire" => config.expire = line.one_arg("expire DURATION")?.duration()?,
        "max_age" => {
            let max = line.one_arg("max_age DURATION")?.duration()?;
            // 0 is CoreDNS's word for no limit, here and below.
            config.max_age = Some(max).filter(|max| !max.is_zero());
        }
        "max_idle_conns" => {
            let max = line.one_arg("max_idle_conns MAX")?.integer(0..=u32::MAX)?;
            config.max_idle_conns = Some(max as usize).filter(|max| *max > 0);
        }
        "read_timeout" => config.read_timeout = line.one_arg("read_timeout DURATION")?.duration()?,
        "tls" => {
            let path = |word: &Token| cx.path(word);
            config.tls = match line.expect_args(0..=3, "tls [CERT KEY [CA] | CA]")? {
                [] => TlsFiles::default(),
                [ca] => TlsFiles { identity: None, ca: Some(path(ca)) },
                [certificate, key, ca @ ..] => {
                    TlsFiles { identity: Some((path(certificate), path(key))), ca: ca.first().map(path) }
                }
            };
        }
        "tls_servername" => {
            config.tls_servername = Some(line.one_arg("tls_servername NAME")?.text.clone());
        }
        "source_address" => config.source_address = Some(line.one_arg("source_address IP")?.ip()?),
        "resolver" => {
            let words = line.expect_args(1..=usize::MAX, "resolver ADDRESS...")?;
            for word in words {
                config.resolver.push(word.socket_addr(PORT)?);
            }
        }
        _ => return Ok(ControlFlow::Continue(())),
    }
    Ok(ControlFlow::Break(()))
}

/// Options about whom to ask, how often, and what for.
fn choice(line: &Line, config: &mut ForwardConfig) -> Result<(), Error> {
    match line.name().text.as_str() {
        "except" => {
            let words = line.expect_args(1..=usize::MAX, "except ZONE...")?;
            config.except.extend(corefile::zones(words)?);
        }
        "policy" => {
            let policies = [
                ("random", Policy::Random),
                ("round_robin", Policy::RoundRobin),
                ("sequential", Policy::Sequential),
            ];
            config.policy = line.one_arg("policy random|round_robin|sequential")?.choice(&policies)?;
        }
        "max_fails" => config.max_fails = line.one_arg("max_fails MAX")?.integer(0..=u32::MAX)?,
        "health_check" => health_check(line, config)?,
        "max_concurrent" => {
            let max = line.one_arg("max_concurrent MAX")?.integer(0..=u32::MAX)?;
            config.max_concurrent = Some(max);
        }
        "max_connect_attempts" => {
            let max = line.one_arg("max_connect_attempts MAX")?.integer(0..=u32::MAX)?;
            config.max_connect_attempts = Some(max);
        }
        "failfast_all_unhealthy_upstreams" => {
            line.no_args()?;
            config.failfast = true;
        }
        "failover" => config.failover.extend(rcodes(line, "failover RCODE...")?),
        _ => return Err(line.unknown_property(NAME, &OPTIONS)),
    }
    Ok(())
}

fn health_check(line: &Line, config: &mut ForwardConfig) -> Result<(), Error> {
    let mut words = line.expect_args(1..=4, HEALTH_CHECK)?.iter();
    if let Some(interval) = words.next() {
        config.probe.interval = interval.duration()?;
    }
    while let Some(word) = words.next() {
        match (word.text.as_str(), word) {
            ("no_rec", _) => config.probe.recursion_desired = false,
            ("domain", word) => {
                let name = words.next().ok_or_else(|| {
                    word.error(format!("plugin/forward: 'domain' needs a name: write '{HEALTH_CHECK}'"))
                })?;
                config.probe.domain.clone_from(&name.text);
            }
            (other, word) => {
                return Err(word
                    .error(format!("plugin/forward: '{other}' is not known here: write '{HEALTH_CHECK}'")));
            }
        }
    }
    Ok(())
}

/// Response codes by their names.
fn rcodes(line: &Line, usage: &str) -> Result<Vec<u16>, Error> {
    let number = |word: &Token| {
        let name = word.text.to_ascii_uppercase();
        (0..).take(rcode::COUNT).find(|code| rcode::mnemonic(*code) == Some(name.as_str())).ok_or_else(|| {
            word.error(format!(
                "plugin/forward: '{}' is not a response code: write e.g. SERVFAIL, NXDOMAIN or REFUSED",
                word.text
            ))
        })
    };
    line.expect_args(1..=usize::MAX, usage)?.iter().map(number).collect()
}

// === TO ===

fn interface(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

/// The upstreams that a word of TO names: an address, a file that lists name servers, or a host. A file without
/// name servers names none, and is `skipped`.
fn targets(
    word: &Token,
    cx: &Context<'_>,
    skipped: &mut Option<(PathBuf, ResolvError)>,
) -> Result<Vec<Target>, Error> {
    match target::parse(&word.text, interface) {
        Word::Target(target) => Ok(vec![target]),
        Word::Scheme(scheme) => Err(unspoken(word, scheme)),
        Word::Other { text, host } => {
            let path = cx.root.join(text);
            match host {
                // `tls://` names no file: such files say nothing of TLS.
                Some(host) if host.security != Security::Plain || !path.is_file() => Ok(vec![host]),
                _ => match servers_of(word, text, &path) {
                    Ok(servers) => Ok(servers.into_iter().map(Target::from).collect()),
                    Err(NoServers::Empty(error)) => {
                        tracing::warn!(target: "plugin/forward", "{error}: it is skipped, at {}", word.position);
                        *skipped = Some((path, error));
                        Ok(Vec::new())
                    }
                    Err(NoServers::Wrong(error)) => Err(error),
                },
            }
        }
    }
}

/// The addresses that a word names, where only plain DNS at addresses is spoken: an address, or a file that lists
/// name servers.
pub fn addresses(word: &Token) -> Result<Vec<SocketAddr>, Error> {
    let plain = |target: &Target| match (&target.place, &target.security) {
        (Place::Address(address), Security::Plain) => Some(*address),
        _ => None,
    };
    match target::parse(&word.text, interface) {
        Word::Target(target) => match plain(&target) {
            Some(address) => Ok(vec![address]),
            None => Err(unspoken(word, "tls")),
        },
        Word::Scheme(scheme) => Err(unspoken(word, scheme)),
        Word::Other { text, .. } => match servers_of(word, text, Path::new(text)) {
            Ok(servers) => Ok(servers),
            Err(NoServers::Empty(error)) => Err(word.error(format!("plugin/forward: {error}"))),
            Err(NoServers::Wrong(error)) => Err(error),
        },
    }
}

fn unspoken(word: &Token, scheme: &str) -> Error {
    word.error(format!(
        "plugin/forward: '{scheme}://' upstreams are not supported here; write an address for plain DNS, or, in TO, \
         'tls://ADDRESS' for DNS over TLS"
    ))
}

/// Why a file names no server.
enum NoServers {
    /// It is there, and lists none.
    Empty(ResolvError),
    /// It is not there, or cannot be read.
    Wrong(Error),
}

fn servers_of(word: &Token, text: &str, path: &Path) -> Result<Vec<SocketAddr>, NoServers> {
    if !path.is_file() {
        return Err(NoServers::Wrong(word.error(format!(
            "plugin/forward: '{text}' is neither an address nor a file: write IP, IP:PORT, [IPV6]:PORT, or a file \
             with nameserver lines such as /etc/resolv.conf"
        ))));
    }
    resolv::read(path).map_err(|error| match error {
        ResolvError::NoNameserver { .. } => NoServers::Empty(error),
        ResolvError::Unreadable { .. } => NoServers::Wrong(word.error(format!("plugin/forward: {error}"))),
    })
}
