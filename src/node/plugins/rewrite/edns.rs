//! `edns0`: an option of the query that the plugins behind it see, and that upstreams get.
//!
//! ```text
//! edns0 local  set|append|replace CODE DATA [revert]      edns0 local unset CODE
//! edns0 nsid   set|append|replace [revert]                edns0 nsid unset
//! edns0 subnet set|append|replace V4LEN V6LEN [revert]    edns0 subnet unset
//! ```
//!
//! DATA is text, hexadecimal digits after `0x`, or one of the variables below. `revert` asks for what is always
//! done: the client never sees an option that it did not send.

use std::net::IpAddr;

use hickory_proto::op::Edns;
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption, NSIDPayload};
use ipnet::IpNet;

use super::draft::Draft;
use super::rule::Effect;
use crate::corefile::{Error, Token};

/// UDP payload size of an OPT record that a rule makes: CoreDNS's. Replies to the client keep to its own.
const PAYLOAD: u16 = 4096;

/// The longest data in bytes that a rule may set: more would not leave room for much else in a query over UDP.
const MAX_DATA: usize = 512;

/// How the rule is written.
const USAGE: &str = "edns0 local|nsid|subnet set|append|replace|unset ... [revert]";

/// An `edns0` rule.
#[derive(Debug)]
pub(super) struct EdnsRule {
    /// What is done.
    action: Action,
    /// To which option, with which data.
    option: Kind,
}

/// What is done with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The query has it afterwards, with this data.
    Set,
    /// It is added if it is not there.
    Append,
    /// It is changed if it is there.
    Replace,
    /// The query does not have it afterwards.
    Unset,
}

/// An option.
#[derive(Debug)]
enum Kind {
    /// Any code.
    Local {
        /// The code.
        code: u16,
        /// Its data; nothing is set with [`Action::Unset`].
        data: Data,
    },
    /// The question for a name server's identifier (RFC 5001), which has no data.
    Nsid,
    /// The client's subnet (RFC 7871).
    Subnet {
        /// How many bits of an IPv4 address are told.
        v4: u8,
        /// How many bits of an IPv6 address are told.
        v6: u8,
    },
}

/// The data of a local option.
#[derive(Debug)]
enum Data {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The name that is asked for, in presentation form.
    Name,
    /// The type that is asked for, two bytes.
    Type,
    /// The client's address, four or sixteen bytes.
    ClientIp,
    /// The client's port, two bytes.
    ClientPort,
    /// `udp` or `tcp`.
    Protocol,
    /// The address that was asked, four or sixteen bytes.
    ServerIp,
    /// The port that was asked, two bytes.
    ServerPort,
    /// What is known under this label of the `metadata` plugin.
    Fact(String),
}

impl EdnsRule {
    /// Reads what follows `edns0`.
    pub(super) fn read(field: &Token, args: &[Token]) -> Result<Self, Error> {
        let [kind, action, rest @ ..] = args else {
            return Err(field.error(format!("plugin/rewrite: write '{USAGE}'")));
        };
        let actions = [
            ("set", Action::Set),
            ("append", Action::Append),
            ("replace", Action::Replace),
            ("unset", Action::Unset),
        ];
        let lower = |word: &Token| Token { text: word.text.to_ascii_lowercase(), ..word.clone() };
        let action = lower(action).choice(&actions)?;
        let rest = match rest {
            [rest @ .., last] if action != Action::Unset && last.text.eq_ignore_ascii_case("revert") => rest,
            rest => rest,
        };
        let usage = |usage: &str| kind.error(format!("plugin/rewrite: write '{usage}'"));
        let option = match (kind.text.to_ascii_lowercase().as_str(), action, rest) {
            ("local", Action::Unset, [code]) => {
                Kind::Local { code: number(code)?, data: Data::Bytes(Vec::new()) }
            }
            ("local", Action::Unset, _) => return Err(usage("edns0 local unset CODE")),
            ("local", _, [code, data]) => Kind::Local { code: number(code)?, data: Data::read(data)? },
            ("local", ..) => return Err(usage("edns0 local set|append|replace CODE DATA [revert]")),
            ("nsid", _, []) => Kind::Nsid,
            ("nsid", ..) => return Err(usage("edns0 nsid set|append|replace|unset [revert]")),
            ("subnet", Action::Unset, []) => Kind::Subnet { v4: 0, v6: 0 },
            ("subnet", Action::Unset, _) => return Err(usage("edns0 subnet unset")),
            ("subnet", _, [v4, v6]) => Kind::Subnet { v4: v4.integer(0..=32)?, v6: v6.integer(0..=128)? },
            ("subnet", ..) => return Err(usage("edns0 subnet set|append|replace V4LEN V6LEN [revert]")),
            (other, ..) => {
                return Err(
                    kind.error(format!("plugin/rewrite: invalid EDNS0 option '{other}': write '{USAGE}'"))
                );
            }
        };
        Ok(Self { action, option })
    }

    /// Changes the option, if there is something to change.
    pub(super) fn apply(&self, draft: &mut Draft<'_>) -> Effect {
        let code = match &self.option {
            Kind::Local { code, .. } => EdnsCode::from(*code),
            Kind::Nsid => EdnsCode::NSID,
            Kind::Subnet { .. } => EdnsCode::Subnet,
        };
        let there = draft.edns().is_some_and(|edns| edns.option(code).is_some());
        let wanted = match self.action {
            Action::Set => true,
            Action::Append => !there,
            Action::Replace | Action::Unset => there,
        };
        if !wanted {
            return Effect::None;
        }
        let option = match self.action {
            Action::Unset => None,
            _ => match self.option.made_of(draft) {
                // There is nothing to say.
                None => return Effect::None,
                made => made,
            },
        };
        let mut edns = draft.edns().cloned().unwrap_or_else(|| {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD);
            edns
        });
        edns.options_mut().remove(code);
        if let Some(option) = option {
            edns.options_mut().insert(option);
        }
        draft.edns = Some(edns);
        Effect::Done
    }
}

impl Kind {
    /// The option with the data of this query; `None` if there is none.
    fn made_of(&self, draft: &Draft<'_>) -> Option<EdnsOption> {
        match self {
            Self::Local { code, data } => data.of(draft).map(|data| EdnsOption::Unknown(*code, data)),
            Self::Nsid => NSIDPayload::new(Vec::new()).ok().map(EdnsOption::NSID),
            Self::Subnet { v4, v6 } => {
                let ip = draft.query.source().ip().to_canonical();
                let length = if ip.is_ipv4() { *v4 } else { *v6 };
                let net = IpNet::new(ip, length).ok()?.trunc();
                Some(EdnsOption::Subnet(ClientSubnet::new(net.addr(), length, 0)))
            }
        }
    }
}

impl Data {
    fn read(word: &Token) -> Result<Self, Error> {
        let text = word.text.as_str();
        if let Some(variable) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
            return Ok(match variable {
                "qname" => Self::Name,
                "qtype" => Self::Type,
                "client_ip" => Self::ClientIp,
                "client_port" => Self::ClientPort,
                "protocol" => Self::Protocol,
                "server_ip" => Self::ServerIp,
                "server_port" => Self::ServerPort,
                label if is_label(label) => Self::Fact(label.to_owned()),
                _ => {
                    return Err(word.error(format!(
                        "plugin/rewrite: unknown variable '{text}': write {{qname}}, {{qtype}}, {{client_ip}}, \
                         {{client_port}}, {{protocol}}, {{server_ip}}, {{server_port}} or a label of metadata, such \
                         as {{kubernetes/namespace}}"
                    )));
                }
            });
        }
        let bytes = match text.strip_prefix("0x") {
            None => text.as_bytes().to_vec(),
            Some(digits) => hexadecimal(digits).ok_or_else(|| {
                word.error(format!(
                    "plugin/rewrite: '{text}' has no even number of hexadecimal digits after 0x"
                ))
            })?,
        };
        if bytes.len() > MAX_DATA {
            let len = bytes.len();
            return Err(word.error(format!("plugin/rewrite: {len} bytes: at most {MAX_DATA} are allowed")));
        }
        Ok(Self::Bytes(bytes))
    }

    /// The bytes for this query; `None` if nothing is known.
    fn of(&self, draft: &Draft<'_>) -> Option<Vec<u8>> {
        let query = draft.query;
        Some(match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Name if draft.renamed => draft.name.clone().into_bytes(),
            Self::Name => query.name().to_ascii().into_bytes(),
            Self::Type => u16::from(draft.kind).to_be_bytes().to_vec(),
            Self::ClientIp => octets(query.source().ip()),
            Self::ClientPort => query.source().port().to_be_bytes().to_vec(),
            Self::Protocol => query.transport().as_bytes().to_vec(),
            Self::ServerIp => octets(query.local().ip()),
            Self::ServerPort => query.local().port().to_be_bytes().to_vec(),
            Self::Fact(label) => {
                let mut value = query.facts()?.get(label).filter(|value| !value.is_empty())?.into_bytes();
                value.truncate(MAX_DATA);
                value
            }
        })
    }
}

/// Two or more words with slashes between them.
fn is_label(text: &str) -> bool {
    text.contains('/') && text.split('/').all(|word| !word.is_empty())
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// An option code, in decimal or after `0x` in hexadecimal digits.
fn number(word: &Token) -> Result<u16, Error> {
    let text = word.text.as_str();
    let code = match text.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u16::from_str_radix(digits, 16).ok(),
        _ => text.parse().ok(),
    };
    code.ok_or_else(|| {
        word.error(format!(
            "plugin/rewrite: '{text}' is no option code: write a number from 0 to 65535 or 0xffff"
        ))
    })
}

/// The bytes that hexadecimal digits spell.
fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|d| d as u8);
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}
