//! What the rules that applied to a query do to its reply.

use std::borrow::Cow;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::name::Place;
use super::pattern::Pattern;
use super::rule::CnameRule;
use crate::node::chain::{Failure, Outcome};
use crate::node::plugins::log::names::NameText;
use crate::node::presentation;
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::zone::name::Labels;

/// One change of a reply.
pub(super) enum Undo<'r> {
    /// Of names.
    Names {
        /// Which.
        place: Place,
        /// How.
        rewriter: Cow<'r, Rewriter>,
    },
    /// Of TTLs: the shortest and the longest in seconds.
    Ttl((u32, u32)),
    /// Of the rcode.
    Rcode {
        /// The reply's.
        from: ResponseCode,
        /// What it becomes.
        to: ResponseCode,
    },
    /// Of an alias.
    Cname(&'r CnameRule),
}

/// How names of a reply are changed. All names are in presentation form: absolute, in lower case.
#[derive(Clone, Debug)]
pub(super) enum Rewriter {
    /// A name becomes another, and names below it become names below the other.
    Remap {
        /// The name.
        from: String,
        /// The other.
        to: String,
    },
    /// The end of names is replaced.
    Suffix {
        /// The end.
        from: String,
        /// What it becomes.
        to: String,
    },
    /// Names that match are replaced.
    Pattern {
        /// What they match.
        from: Pattern,
        /// What they become.
        to: String,
    },
}

impl Rewriter {
    /// What becomes of `name`; `None` if it stays.
    fn rewrite(&self, name: &str) -> Option<String> {
        match self {
            Self::Remap { from, to } => {
                let below = name.strip_suffix(from.as_str())?;
                (below.is_empty() || below.ends_with('.')).then(|| format!("{below}{to}"))
            }
            Self::Suffix { from, to } => name.strip_suffix(from.as_str()).map(|rest| format!("{rest}{to}")),
            Self::Pattern { from, to } => from.replace(name, to),
        }
    }
}

/// Changes the reply to `sent`, which the rules made of `query`; the last rule comes first.
pub(super) async fn undo_all(undo: &[Undo<'_>], query: &Query, sent: &Query, outcome: Outcome) -> Outcome {
    let asked = Asked { name: query.name(), text: NameText(query.labels()).to_string() };
    let mut outcome = outcome;
    for change in undo.iter().rev() {
        let invalid = match (change, &mut outcome) {
            (Undo::Rcode { from, to }, Outcome::Reply(reply)) if reply.rcode == *from => {
                reply.rcode = *to;
                None
            }
            (Undo::Rcode { from, to }, Outcome::Failed(Failure { rcode, .. })) if rcode == from => {
                *rcode = *to;
                None
            }
            (Undo::Ttl(bounds), Outcome::Reply(reply)) => {
                for record in records(reply) {
                    record.ttl = record.ttl.clamp(bounds.0, bounds.1);
                }
                None
            }
            (Undo::Names { place, rewriter }, Outcome::Reply(reply)) => {
                records(reply).find_map(|record| rename(record, *place, rewriter, &asked).err())
            }
            (Undo::Cname(rule), Outcome::Reply(reply)) => match redirect(rule, sent, reply).await {
                Redirected::Done => None,
                Redirected::Failed(failed) => {
                    outcome = failed;
                    None
                }
                Redirected::Invalid(name) => Some(name),
            },
            _ => None,
        };
        if let Some(name) = invalid {
            return Outcome::error(format!(
                "plugin/rewrite: invalid name in the reply after rewrite: {name}"
            ));
        }
    }
    outcome
}

/// The name that the client asked for.
struct Asked<'q> {
    /// In its letter case.
    name: &'q Name,
    /// In presentation form.
    text: String,
}

impl Asked<'_> {
    /// The name of this text, in the client's letter case if it is the one that was asked for.
    fn named(&self, text: String) -> Result<Name, String> {
        if text == self.text {
            return Ok(self.name.clone());
        }
        presentation::name(&text).ok_or(text)
    }
}

/// All records of a reply.
fn records(reply: &mut Reply) -> impl Iterator<Item = &mut Record> {
    [&mut reply.authority, &mut reply.answers, &mut reply.additional].into_iter().flatten()
}

/// A name in presentation form.
fn text(name: &Name) -> Option<String> {
    Some(NameText(&Labels::from_labels(name.iter()).ok()?).to_string())
}

/// Changes one name of a record; the error is what it would become, and is no name.
fn rename(record: &mut Record, place: Place, rewriter: &Rewriter, asked: &Asked<'_>) -> Result<(), String> {
    let changed = |name: &Name| -> Result<Option<Name>, String> {
        let Some(old) = text(name) else { return Ok(None) };
        match rewriter.rewrite(&old) {
            Some(new) if new != old => asked.named(new).map(Some),
            _ => Ok(None),
        }
    };
    match place {
        Place::Owner => {
            if let Some(name) = changed(&record.name)? {
                record.name = name;
            }
        }
        Place::Value => {
            if let Some(value) = value(&mut record.data) {
                if let Some(name) = changed(value)? {
                    *value = name;
                }
            } else if let Some(target) = dname(&record.data)
                && let Some(name) = changed(&target)?
            {
                let rdata = NULL::with(presentation::wire(&name));
                record.data = RData::Unknown { code: RecordType::DNAME, rdata };
            }
        }
    }
    Ok(())
}

/// The name in a record's data, of the types that CoreDNS changes.
fn value(data: &mut RData) -> Option<&mut Name> {
    match data {
        RData::CNAME(name) => Some(&mut name.0),
        RData::NS(name) => Some(&mut name.0),
        RData::PTR(name) => Some(&mut name.0),
        RData::MX(mx) => Some(&mut mx.exchange),
        RData::SRV(srv) => Some(&mut srv.target),
        RData::SOA(soa) => Some(&mut soa.mname),
        RData::NAPTR(naptr) => Some(&mut naptr.replacement),
        _ => None,
    }
}

/// The target of a DNAME record, which hickory keeps as bytes; it is never compressed (RFC 6672 §2.5).
fn dname(data: &RData) -> Option<Name> {
    let RData::Unknown { code: RecordType::DNAME, rdata } = data else { return None };
    let mut labels = Vec::new();
    let mut rest = rdata.anything.as_slice();
    loop {
        let (&len, after) = rest.split_first()?;
        if len == 0 {
            break;
        }
        let (label, after) = after.split_at_checked(usize::from(len))?;
        labels.push(label);
        rest = after;
    }
    Name::from_labels(labels).ok()
}

/// What became of an alias.
enum Redirected {
    /// It leads elsewhere now, or the rule was not for it.
    Done,
    /// There is no reply any more.
    Failed(Outcome),
    /// It would lead to what is no name.
    Invalid(String),
}

/// Lets the first alias that the rule is for lead elsewhere, and answers with what is there.
async fn redirect(rule: &CnameRule, sent: &Query, reply: &mut Reply) -> Redirected {
    let found = reply.answers.iter_mut().enumerate().find_map(|(at, record)| match &mut record.data {
        RData::CNAME(target) => rule.target(&text(&target.0)?).map(|to| (at, target, to)),
        _ => None,
    });
    let Some((at, target, to)) = found else { return Redirected::Done };
    let Some(name) = presentation::name(&to) else { return Redirected::Invalid(to) };
    target.0 = name.clone();
    if sent.kind() == RecordType::CNAME {
        return Redirected::Done;
    }
    // What the old target led to is not true of the new one.
    reply.answers.truncate(at + 1);
    let Some(question) = sent.follow_up(&name, sent.kind()) else {
        return Redirected::Failed(Outcome::error(format!("plugin/rewrite: too many aliases at {to}")));
    };
    match sent.router().resolve(&question).await {
        Outcome::Reply(theirs) => {
            reply.rcode = theirs.rcode;
            reply.answers.extend(theirs.answers);
            reply.authority = theirs.authority;
            reply.additional = theirs.additional;
            reply.truncated |= theirs.truncated;
            reply.authentic_data &= theirs.authentic_data;
            reply.ede = theirs.ede;
            Redirected::Done
        }
        Outcome::Failed(failure) => Redirected::Failed(Outcome::Failed(failure)),
        Outcome::Silence => {
            Redirected::Failed(Outcome::error(format!("plugin/rewrite: no reply about {to}")))
        }
    }
}
