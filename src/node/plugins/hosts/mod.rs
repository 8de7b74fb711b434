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

mod file;
mod options;
mod table;

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use self::file::HostsFile;
pub use self::options::OPTIONS;
use self::options::{Options, options, warn_of_outsiders};
use self::table::{Addresses, Hosts, Key, MAX_ENTRIES, Scope};
use super::follow::Followed;
use super::{is_within, once, zones};
use crate::corefile::{Directive, Error, Statement, Warning};
use crate::node::chain::{Failure, Next, Outcome, Plugin};
use crate::node::lane::worker::Worker;
use crate::node::lane::writer::Writer;
use crate::node::lane::{Asked, Reached, Role, Step};
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::node::setup::Context;
use crate::zone::name::{Labels, reverse_address};

/// The plugin's name.
pub const NAME: &str = "hosts";

/// What lines are logged under.
const TARGET: &str = "plugin/hosts";

/// The file without FILE.
const DEFAULT_FILE: &str = "/etc/hosts";

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
    let (file, missing) =
        Followed::open(reader, file, options.reload).map_err(|error| wrong(error.to_string()))?;
    let at_directive = |text| Warning { position: directive.position().clone(), text };
    cx.process.warnings.extend(missing.map(at_directive));
    cx.process.tasks.push(file.start());
    let Options { ttl, fallthrough, fallthrough_unsupported, .. } = options;
    Ok(vec![Arc::new(HostsPlugin { zones, inline, file, ttl, fallthrough, fallthrough_unsupported })])
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
        let [file, inline] = [file, &self.inline].map(|hosts| hosts.names(ip.to_canonical()));
        each_once(file, inline).cloned().collect()
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
        let none = Addresses::default();
        let [file, inline] = found.map(|part| part.unwrap_or(&none));
        match kind {
            RecordType::A => each_once(&file.v4, &inline.v4).map(|ip| RData::A((*ip).into())).collect(),
            RecordType::AAAA => each_once(&file.v6, &inline.v6).map(|ip| RData::AAAA((*ip).into())).collect(),
            _ => Vec::new(),
        }
    }

    /// NOERROR with records of the name in lower case, as CoreDNS has it.
    fn reply(&self, query: &Query, data: Vec<RData>) -> Outcome {
        let owner = query.name().to_lowercase();
        let record = |data| Record::from_rdata(owner.clone(), self.ttl, data);
        let answers = data.into_iter().map(record).collect();
        Reply { authoritative: true, answers, ..Reply::new(ResponseCode::NoError, NAME) }.into()
    }
}

/// What stands in the file, and what stands in the block alone; neither has anything twice.
fn each_once<'a, T: PartialEq>(file: &'a [T], inline: &'a [T]) -> impl Iterator<Item = &'a T> {
    file.iter().chain(inline.iter().filter(|item| !file.contains(item)))
}

/// What is decided of a query while the file's content is at hand.
enum Decision {
    /// It is answered.
    Answer(Outcome),
    /// It goes on.
    PassOn,
}

/// Whether a question is for here.
enum Taken<'a> {
    /// It is for the names of an address.
    Names,
    /// It is for a name that is known.
    Found(Found<'a>),
    /// It is for a name that is not, and is nobody else's.
    Missing,
    /// It goes on.
    No,
}

impl HostsPlugin {
    fn take<'a>(&'a self, file: &'a Hosts, name: &Labels, kind: RecordType) -> Taken<'a> {
        if kind == RecordType::PTR {
            // In any zone: nobody writes reverse zones beside the names.
            let is_known = reverse_address(name).is_some_and(|ip| {
                [file, &self.inline].iter().any(|hosts| !hosts.names(ip.to_canonical()).is_empty())
            });
            return if is_known { Taken::Names } else { Taken::No };
        }
        if !is_within(name, &self.zones) {
            return Taken::No;
        }
        let falls_through = is_within(name, &self.fallthrough);
        let is_address = matches!(kind, RecordType::A | RecordType::AAAA);
        match self.find(file, name) {
            Some(_) if !is_address && falls_through && self.fallthrough_unsupported => Taken::No,
            Some(found) => Taken::Found(found),
            None if falls_through => Taken::No,
            None => Taken::Missing,
        }
    }

    fn decide(&self, query: &Query) -> Decision {
        let file = self.file.current();
        match self.take(&file, query.labels(), query.kind()) {
            Taken::Names => {
                let names = self.names(&file, query).into_iter();
                Decision::Answer(self.reply(query, names.map(|name| RData::PTR(PTR(name))).collect()))
            }
            Taken::Found(found) => Decision::Answer(self.reply(query, Self::data(found, query.kind()))),
            Taken::Missing => {
                let failure = Failure { rcode: ResponseCode::ServFail, error: None, ede: None };
                Decision::Answer(Outcome::Failed(failure))
            }
            Taken::No => Decision::PassOn,
        }
    }
}

impl Step for HostsPlugin {
    fn has_at_hand(&self, name: &Labels) -> bool {
        let file = self.file.current();
        let is_taken = |kind: &RecordType| !matches!(self.take(&file, name, *kind), Taken::No);
        [RecordType::A, RecordType::PTR].iter().any(is_taken)
    }

    fn answer(&self, asked: &Asked<'_>, _: &mut Worker, _: &mut Writer<'_>) -> Reached {
        let question = asked.question;
        match self.take(&self.file.current(), question.labels(), question.kind().into()) {
            Taken::No => Reached::Next,
            // Hosts are few, and asked for through a cache.
            Taken::Names | Taken::Found(_) | Taken::Missing => Reached::General { at_hand: true },
        }
    }
}

#[async_trait]
impl Plugin for HostsPlugin {
    fn name(&self) -> &'static str {
        NAME
    }

    fn role(self: Arc<Self>, _identity: &str) -> Role {
        Role::Answers(self)
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
