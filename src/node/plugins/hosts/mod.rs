//! `hosts [FILE [ZONES...]] { ... }`: names from a file like /etc/hosts, and from lines of the block.
//!
//! ```text
//! hosts /etc/hosts example.org {
//!     192.0.2.10 www.example.org       lines of the file's form, before `fallthrough`
//!     ttl 3600                         seconds
//!     no_reverse                       addresses do not lead back to names
//!     reload 5s                        how often the file is read again; 0 for never
//!     fallthrough [ZONES...]           names that are not there go on to the next plugin
//!     fallthrough_unsupported          other types than A and AAAA of names that are there do, too
//! }
//! ```
//!
//! What CoreDNS's users know of it: owner names are in lower case, a name that has not the type is an empty NOERROR
//! without SOA, and a name that is not there is SERVFAIL unless it falls through, since there is no zone whose SOA
//! could vouch for NXDOMAIN. Addresses without a name always go on. `*.example.org` stands for one more label.

mod table;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use metrics::Gauge;
use tracing::Level;

use self::table::{Addresses, Hosts, Key, MAX_ENTRIES, Scope, address};
use super::follow::{Followed, Reader};
use super::{is_within, once, zones, zones_or_root};
use crate::corefile::{Directive, Error, Line, Statement, Warning};
use crate::node::chain::{Failure, Next, Outcome, Plugin};
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::node::setup::Context;
use crate::ops::catalogue;
use crate::ops::metrics::Metrics;
use crate::zone::name::{Labels, reverse_address};

/// The plugin's name.
pub const NAME: &str = "hosts";

/// Options that are accepted, beside lines that begin with an address.
pub const OPTIONS: [&str; 5] = ["ttl", "no_reverse", "reload", "fallthrough", "fallthrough_unsupported"];

/// What lines are logged under.
const TARGET: &str = "plugin/hosts";

/// How the directive is written.
const USAGE: &str = "hosts [FILE [ZONES...]]";

/// The file without FILE.
const DEFAULT_FILE: &str = "/etc/hosts";

/// TTL of records without `ttl`, in seconds: CoreDNS's default.
const DEFAULT_TTL: u32 = 3600;

/// The longest `ttl`, in seconds: CoreDNS's limit.
const MAX_TTL: u32 = 65_535;

/// How often the file is read again without `reload`: CoreDNS's default.
const RELOAD: Duration = Duration::from_secs(5);

/// Reads the options, and the file.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    let (file, names) = match directive.args() {
        [] => (cx.root.join(DEFAULT_FILE), &[][..]),
        [file, names @ ..] => (cx.path(file), names),
    };
    let zones = zones(names, cx)?;
    let options = options(directive)?;
    let scope = Scope { zones: zones.clone(), reverse: options.reverse, max: MAX_ENTRIES };
    warn_of_outsiders(&options, &zones, cx);
    let text: Vec<_> = options.inline.iter().map(ToString::to_string).collect();
    let wrong = |error: String| directive.error(format!("plugin/hosts: {error}"));
    let inline = scope.read(&text.join("\n")).map_err(|error| wrong(error.to_string()))?;
    let reader = HostsFile::new(scope, &inline, &file, &cx.environment.metrics);
    let file = Followed::open(reader, file, options.reload).map_err(|error| wrong(error.to_string()))?;
    cx.process.tasks.push(file.start());
    let Options { ttl, fallthrough, fallthrough_unsupported, .. } = options;
    Ok(vec![Arc::new(HostsPlugin { zones, inline, file, ttl, fallthrough, fallthrough_unsupported })])
}

/// What a block says, checked.
struct Options<'a> {
    /// Lines that begin with an address.
    inline: Vec<&'a Line>,
    /// `ttl`
    ttl: u32,
    /// Without `no_reverse`.
    reverse: bool,
    /// `reload`
    reload: Duration,
    /// `fallthrough`
    fallthrough: Vec<Labels>,
    /// `fallthrough_unsupported`
    fallthrough_unsupported: bool,
}

fn options(directive: &Directive) -> Result<Options<'_>, Error> {
    let mut options = Options {
        inline: Vec::new(),
        ttl: DEFAULT_TTL,
        reverse: true,
        reload: RELOAD,
        fallthrough: Vec::new(),
        fallthrough_unsupported: false,
    };
    let mut unsupported = None;
    for line in directive.lines() {
        match line.name().text.as_str() {
            "ttl" => options.ttl = line.one_arg("ttl SECONDS")?.integer(1..=MAX_TTL)?,
            "no_reverse" => {
                line.no_args()?;
                options.reverse = false;
            }
            "reload" => options.reload = line.one_arg("reload DURATION")?.duration()?,
            "fallthrough" => options.fallthrough = zones_or_root(line.args())?,
            "fallthrough_unsupported" => {
                line.no_args()?;
                unsupported = Some(line);
            }
            word if address(word).is_none() => return Err(line.unknown_property(NAME, &OPTIONS)),
            // As in CoreDNS, so that a block that starts here starts there.
            _ if !options.fallthrough.is_empty() => {
                return Err(line.error("plugin/hosts: lines with addresses stand before 'fallthrough'"));
            }
            _ => {
                line.expect_args(1..=usize::MAX, "ADDRESS NAME...")?;
                options.inline.push(line);
            }
        }
    }
    if let Some(line) = unsupported {
        if options.fallthrough.is_empty() {
            return Err(line.error("plugin/hosts: 'fallthrough_unsupported' needs 'fallthrough'"));
        }
        options.fallthrough_unsupported = true;
    }
    Ok(options)
}

/// Says which names of the block are never answered.
fn warn_of_outsiders(options: &Options<'_>, zones: &[Labels], cx: &mut Context<'_>) {
    for word in options.inline.iter().flat_map(|line| line.args()) {
        let why = match Labels::parse(&word.text) {
            Ok(name) if is_within(&name, zones) => continue,
            Ok(_) => "it is in none of the zones",
            Err(_) => "it is not a domain name",
        };
        let (name, position) = (&word.text, word.position.clone());
        tracing::warn!(target: TARGET, "'{name}' at {position} has no effect: {why} (usage: {USAGE})");
        cx.process.warnings.push(Warning { position, text: format!("'{name}' has no effect: {why}") });
    }
}

/// Reads the file, and says how much there is.
struct HostsFile {
    /// What is taken of it.
    scope: Scope,
    /// Entries of the block.
    inline: usize,
    /// `coredns_hosts_entries` of this file.
    entries: Gauge,
    /// `coredns_hosts_reload_timestamp_seconds`
    changed: Gauge,
}

impl HostsFile {
    fn new(scope: Scope, inline: &Hosts, file: &Path, metrics: &Metrics) -> Self {
        let file = file.to_string_lossy();
        Self {
            scope,
            inline: inline.entries(),
            entries: metrics.gauge(catalogue::HOSTS_ENTRIES, &[("hostsfile", &file)]),
            changed: metrics.gauge(catalogue::HOSTS_RELOAD_TIMESTAMP, &[]),
        }
    }
}

impl Reader for HostsFile {
    type Content = Hosts;

    const WHAT: &'static str = "hosts file";

    /// The largest lists of blocked names have about half of it.
    const MAX_BYTES: u64 = 16 << 20;

    const BEFORE: &'static str = "the names before it";

    /// The block may have all that is needed.
    const OPTIONAL: bool = true;

    fn parse(&self, text: &str) -> Result<Hosts, String> {
        self.scope.read(text).map_err(|error| error.to_string())
    }

    fn taken(&self, content: &Hosts, changed: Option<SystemTime>) {
        self.entries.set((self.inline + content.entries()) as f64);
        if let Some(since) = changed.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            self.changed.set(since.as_secs_f64());
        }
    }

    fn log(level: Level, text: fmt::Arguments<'_>) {
        match level {
            Level::ERROR => tracing::error!(target: TARGET, "{text}"),
            Level::WARN => tracing::warn!(target: TARGET, "{text}"),
            _ => tracing::info!(target: TARGET, "{text}"),
        }
    }
}

/// Answers from the file and the block.
struct HostsPlugin {
    /// Names in these zones are answered.
    zones: Vec<Labels>,
    /// What stands in the block.
    inline: Hosts,
    /// What stands in the file.
    file: Followed<HostsFile>,
    /// TTL of records, in seconds.
    ttl: u32,
    /// Where names that are not there go on.
    fallthrough: Vec<Labels>,
    /// Whether questions for other types than addresses do, too.
    fallthrough_unsupported: bool,
}

/// What is known of a name: the file's part and the block's.
type Found<'a> = [Option<&'a Addresses>; 2];

impl HostsPlugin {
    /// The names of an address, the file's first, each once.
    fn names(&self, file: &Hosts, query: &Query) -> Vec<Name> {
        let Some(ip) = reverse_address(query.labels()) else { return Vec::new() };
        let mut names = file.names(ip.to_canonical()).to_vec();
        for name in self.inline.names(ip.to_canonical()) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// The name itself, wherever it stands, is ahead of a wildcard.
    fn find<'a>(&'a self, file: &'a Hosts, name: &Labels) -> Option<Found<'a>> {
        let both = |key: &Key| {
            let found = [file.exact(key), self.inline.exact(key)];
            found.iter().any(Option::is_some).then_some(found)
        };
        both(&Key::of(name)).or_else(|| both(&Key::of_wildcard(name)?))
    }

    /// The data of a name's records of this type, the file's first, each once.
    fn data(found: Found<'_>, kind: RecordType) -> Vec<RData> {
        let mut data = Vec::new();
        for addresses in found.into_iter().flatten() {
            let theirs: Vec<_> = match kind {
                RecordType::A => addresses.v4.iter().map(|ip| RData::A((*ip).into())).collect(),
                RecordType::AAAA => addresses.v6.iter().map(|ip| RData::AAAA((*ip).into())).collect(),
                _ => Vec::new(),
            };
            for one in theirs {
                if !data.contains(&one) {
                    data.push(one);
                }
            }
        }
        data
    }

    /// NOERROR with records of the name in lower case, as CoreDNS has it.
    fn reply(&self, query: &Query, data: Vec<RData>) -> Outcome {
        let owner = query.name().to_lowercase();
        let record = |data| Record::from_rdata(owner.clone(), self.ttl, data);
        let answers = data.into_iter().map(record).collect();
        Reply { authoritative: true, answers, ..Reply::new(ResponseCode::NoError, NAME) }.into()
    }
}

/// What is decided of a query while the file's content is at hand.
enum Decision {
    /// It is answered.
    Answer(Outcome),
    /// It goes on.
    PassOn,
}

impl HostsPlugin {
    fn decide(&self, query: &Query) -> Decision {
        let file = self.file.current();
        let name = query.labels();
        if query.kind() == RecordType::PTR {
            // In any zone: nobody writes reverse zones beside the names.
            let names = self.names(&file, query);
            if names.is_empty() {
                return Decision::PassOn;
            }
            let data = names.into_iter().map(|name| RData::PTR(PTR(name))).collect();
            return Decision::Answer(self.reply(query, data));
        }
        if !is_within(name, &self.zones) {
            return Decision::PassOn;
        }
        let falls_through = is_within(name, &self.fallthrough);
        let is_address = matches!(query.kind(), RecordType::A | RecordType::AAAA);
        match self.find(&file, name) {
            Some(_) if !is_address && falls_through && self.fallthrough_unsupported => Decision::PassOn,
            Some(found) => Decision::Answer(self.reply(query, Self::data(found, query.kind()))),
            None if falls_through => Decision::PassOn,
            None => {
                let failure = Failure { rcode: ResponseCode::ServFail, error: None, ede: None };
                Decision::Answer(Outcome::Failed(failure))
            }
        }
    }
}

#[async_trait]
impl Plugin for HostsPlugin {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        match self.decide(query) {
            Decision::Answer(outcome) => outcome,
            Decision::PassOn => next.run(query).await,
        }
    }
}

#[cfg(test)]
mod tests;
