//! `forward FROM TO... { ... }`: questions that upstream servers answer.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::{Message, ResponseCode};

use crate::corefile::{self, Directive, Error, Line, Statement, Token};
use crate::forward::{ForwardConfig, Forwarder, Outcome as Forwarded, Policy, Transport, resolv};
use crate::node::chain::{Failure, Next, Outcome, Plugin};
use crate::node::query::Query;
use crate::node::reply::{Ede, EdeCode, Reply};
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "forward";

/// Port of upstreams that name none.
const PORT: u16 = 53;

/// Options that are accepted.
pub const OPTIONS: [&str; 7] =
    ["except", "force_tcp", "prefer_udp", "policy", "read_timeout", "max_concurrent", "max_connect_attempts"];

/// Options of CoreDNS that are refused by name, so that nobody thinks they work.
const REFUSED: [&str; 14] = [
    "expire",
    "max_age",
    "max_idle_conns",
    "max_fails",
    "doh_method",
    "tls",
    "tls_servername",
    "health_check",
    "next",
    "next_on_nodata",
    "failfast_all_unhealthy_upstreams",
    "failover",
    "source_address",
    "resolver",
];

/// One instance for each directive, in the order of the file.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let instance = |directive: &&Directive| -> Result<Arc<dyn Plugin>, Error> {
        let forwarder = Forwarder::new(options(directive)?, &cx.environment.metrics)
            .map_err(|e| directive.error(format!("plugin/forward: {e}")))?;
        Ok(Arc::new(Forward { forwarder }))
    };
    directives.iter().map(instance).collect()
}

fn options(directive: &Directive) -> Result<ForwardConfig, Error> {
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
    let mut upstreams = Vec::new();
    for word in to {
        upstreams.extend(addresses(word)?);
    }
    let mut config = ForwardConfig::new(zone, upstreams);
    for line in directive.lines() {
        option(line, &mut config)?;
    }
    if config.force_tcp && config.prefer_udp {
        return Err(directive.error("plugin/forward: 'force_tcp' and 'prefer_udp' exclude each other"));
    }
    Ok(config)
}

fn option(line: &Line, config: &mut ForwardConfig) -> Result<(), Error> {
    match line.name().text.as_str() {
        // Invariant: what is not listed is not accepted.
        name if !OPTIONS.contains(&name) => return Err(refusal(line)),
        "except" => {
            let words = line.expect_args(1..=usize::MAX, "except ZONE...")?;
            config.except.extend(corefile::zones(words)?);
        }
        "force_tcp" => {
            line.no_args()?;
            config.force_tcp = true;
        }
        "prefer_udp" => {
            line.no_args()?;
            config.prefer_udp = true;
        }
        "policy" => {
            let policies = [
                ("random", Policy::Random),
                ("round_robin", Policy::RoundRobin),
                ("sequential", Policy::Sequential),
            ];
            config.policy = line.one_arg("policy random|round_robin|sequential")?.choice(&policies)?;
        }
        "read_timeout" => config.read_timeout = line.one_arg("read_timeout DURATION")?.duration()?,
        "max_concurrent" => {
            let max = line.one_arg("max_concurrent MAX")?.integer(0..=u32::MAX)?;
            config.max_concurrent = Some(max);
        }
        "max_connect_attempts" => {
            let max = line.one_arg("max_connect_attempts MAX")?.integer(0..=u32::MAX)?;
            config.max_connect_attempts = Some(max);
        }
        _ => return Err(refusal(line)),
    }
    Ok(())
}

/// Why a line is refused.
fn refusal(line: &Line) -> Error {
    let name = line.name().text.as_str();
    if REFUSED.contains(&name) {
        return line.error(format!(
            "plugin/forward: '{name}' is not supported yet: remove the line; supported are: {}",
            OPTIONS.join(", ")
        ));
    }
    line.unknown_property(NAME, &OPTIONS)
}

/// The upstreams that a word of TO names: an address, or a file that lists name servers.
pub fn addresses(word: &Token) -> Result<Vec<SocketAddr>, Error> {
    let text = word.text.strip_prefix("dns://").unwrap_or(&word.text);
    for scheme in ["tls://", "https://", "grpc://", "quic://"] {
        if text.starts_with(scheme) {
            return Err(word.error(format!(
                "plugin/forward: '{scheme}' upstreams are not supported yet; write an address for plain DNS"
            )));
        }
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![SocketAddr::new(ip, PORT)]);
    }
    let path = Path::new(text);
    if !path.is_file() {
        return Err(word.error(format!(
            "plugin/forward: '{text}' is neither an address nor a file: write IP, IP:PORT, [IPV6]:PORT, or a file \
             with nameserver lines such as /etc/resolv.conf"
        )));
    }
    resolv::read(path).map_err(|e| word.error(format!("plugin/forward: {e}")))
}

/// Asks upstreams for the names of one zone.
struct Forward {
    /// Does the asking.
    forwarder: Forwarder,
}

#[async_trait]
impl Plugin for Forward {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes_other_classes(&self) -> bool {
        true
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        if !self.forwarder.matches(query.wire_name()) {
            return next.run(query).await;
        }
        let client = if query.is_udp() { Transport::Udp } else { Transport::Tcp };
        match self.forwarder.forward(query.bytes(), client).await {
            Forwarded::Reply(bytes) => match Message::from_vec(&bytes) {
                Ok(message) => reply_from(message, NAME).into(),
                Err(error) => Outcome::error(format!("plugin/forward: unreadable reply: {error}")),
            },
            Forwarded::FormErr => {
                Outcome::Failed(Failure { rcode: ResponseCode::FormErr, error: None, ede: None })
            }
            Forwarded::Refused { why } => failure(ResponseCode::Refused, EdeCode::Other, why),
            Forwarded::Overloaded { why } => failure(ResponseCode::ServFail, EdeCode::Other, why),
            Forwarded::Failed { error } => {
                failure(ResponseCode::ServFail, EdeCode::NoReachableAuthority, error)
            }
        }
    }
}

/// No reply; the code tells whether servers could not be reached, or were not asked (which `cache` goes by).
fn failure(rcode: ResponseCode, code: EdeCode, error: String) -> Outcome {
    let ede = Some(Ede { code, text: error.clone() });
    Outcome::Failed(Failure { rcode, error: Some(error), ede })
}

/// An upstream's reply as one of `plugin`, to be fitted to the client.
pub fn reply_from(message: Message, plugin: &'static str) -> Reply {
    let metadata = message.metadata;
    Reply {
        authoritative: metadata.authoritative,
        recursion_available: metadata.recursion_available,
        authentic_data: metadata.authentic_data,
        truncated: metadata.truncation,
        answers: message.answers,
        authority: message.authorities,
        additional: message.additionals,
        ..Reply::new(metadata.response_code, plugin)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::corefile::{LoadOptions, Position, parse};

    fn read(text: &str) -> ForwardConfig {
        let corefile = parse(&format!(".:53 {{\n{text}\n}}\n"), "Corefile", &LoadOptions::default()).unwrap();
        options(corefile.blocks[0].all(NAME).next().unwrap()).unwrap()
    }

    #[test]
    fn options_are_taken_over() {
        let plain = read("forward . 192.0.2.1");
        let default = ForwardConfig::new(".", vec!["192.0.2.1:53".parse().unwrap()]);
        assert_eq!(format!("{plain:?}"), format!("{default:?}"));
        let all = read(
            "forward Example.ORG 192.0.2.1:5353 {\n except a.example.org\n except b.example.org c.example.org\n \
             force_tcp\n policy sequential\n read_timeout 1500ms\n max_concurrent 1000\n max_connect_attempts 0\n}",
        );
        let want = ForwardConfig {
            except: ["a.example.org.", "b.example.org.", "c.example.org."].map(str::to_owned).to_vec(),
            force_tcp: true,
            policy: Policy::Sequential,
            read_timeout: Duration::from_millis(1500),
            max_concurrent: Some(1000),
            max_connect_attempts: Some(0),
            ..ForwardConfig::new("example.org.", vec!["192.0.2.1:5353".parse().unwrap()])
        };
        assert_eq!(format!("{all:?}"), format!("{want:?}"));
        assert!(read("forward . 192.0.2.1 {\n prefer_udp\n}").prefer_udp);
    }

    #[test]
    fn upstreams_are_addresses_or_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "nameserver 192.0.2.1\nnameserver fd00::1\n").unwrap();
        let path = file.path().to_string_lossy().into_owned();
        for (word, want) in [
            ("192.0.2.1", vec!["192.0.2.1:53"]),
            ("192.0.2.1:5353", vec!["192.0.2.1:5353"]),
            ("dns://192.0.2.1", vec!["192.0.2.1:53"]),
            ("dns://[fd00::1]:54", vec!["[fd00::1]:54"]),
            ("fd00::1", vec!["[fd00::1]:53"]),
            ("[fd00::1]", vec!["[fd00::1]:53"]),
            (&path, vec!["192.0.2.1:53", "[fd00::1]:53"]),
        ] {
            let token =
                Token { text: word.to_owned(), quoted: false, position: Position::of_file("Corefile") };
            let got: Vec<_> = addresses(&token).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(got, want, "{word}");
        }
    }

    #[test]
    fn what_is_refused_is_not_accepted() {
        assert!(REFUSED.iter().all(|name| !OPTIONS.contains(name)));
    }
}
