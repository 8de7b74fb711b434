//! ExternalName services: the alias, and what it leads to.
//!
//! A target within our zones is looked up in the same table, and the alias is given only if it leads to
//! records. Any other target is resolved through the listener's own server blocks, as if the client had
//! asked; whatever comes of that, the alias is given.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};

use super::Kubernetes;
use super::records::Encoder;
use crate::node::chain::Outcome;
use crate::node::query::{MAX_DEPTH, Query};
use crate::node::reply::Reply;
use crate::zone::answer::Answer;
use crate::zone::lookup::QueryType;
use crate::zone::name::Labels;
use crate::zone::object::Kinds;

/// What an alias comes to.
pub(super) enum Followed {
    /// This reply.
    Reply(Reply),
    /// Nothing: the name is there, and has no record of the type.
    NoData,
    /// Nothing can be said while these kinds are missing.
    NotReady(Kinds),
}

/// Where a chain of aliases ends within our own zones.
enum End {
    /// At records, or at a name outside.
    Found {
        /// The aliases in order, and the records at the end.
        records: Vec<Record>,
        /// The name outside at which it goes on.
        outside: Option<Name>,
    },
    /// At nothing, or at itself.
    Nowhere,
    /// At a name of which nothing can be said while these kinds are missing.
    NotReady(Kinds),
}

impl Kubernetes {
    /// Answers an address or CNAME query for an ExternalName service.
    pub(super) async fn follow(&self, query: &Query, encoder: &Encoder<'_>, target: &str) -> Followed {
        let Some(target) = absolute(target) else { return Followed::NoData };
        if query.kind() == RecordType::CNAME {
            let answers = vec![encoder.alias(&target)];
            return Followed::Reply(Reply { answers, ..encoder.empty(ResponseCode::NoError) });
        }
        let (records, outside) = match self.within(query, encoder, target) {
            End::Found { records, outside } => (records, outside),
            End::Nowhere => return Followed::NoData,
            End::NotReady(missing) => return Followed::NotReady(missing),
        };
        let mut reply = Reply { answers: records, ..encoder.empty(ResponseCode::NoError) };
        if let Some(outside) = outside
            && let Some(question) = query.follow_up(&outside, query.kind())
            && let Outcome::Reply(theirs) = query.router().resolve(&question).await
        {
            // Two blocks whose services lead to each other must not repeat their links.
            for record in theirs.answers {
                if !reply.answers.contains(&record) {
                    reply.answers.push(record);
                }
            }
            reply.truncated = theirs.truncated;
        }
        Followed::Reply(reply)
    }

    /// Follows aliases for as long as they stay in our own zones.
    fn within(&self, query: &Query, encoder: &Encoder<'_>, first: Name) -> End {
        let kind = QueryType::from(u16::from(query.kind()));
        let mut owner = query.name().clone();
        let mut target = first;
        let mut records = Vec::new();
        for _ in 0..MAX_DEPTH {
            // An alias to itself or to a name below itself leads nowhere.
            if owner.zone_of(&target) || records.iter().any(|r: &Record| r.name == target) {
                return End::Nowhere;
            }
            records.push(owned_by(owner, encoder.alias(&target)));
            let Ok(labels) = Labels::from_labels(target.iter()) else { return End::Nowhere };
            match self.rules.lookup(encoder.table, &labels, kind) {
                (_, Answer::NotOurs) => return End::Found { records, outside: Some(target) },
                (_, Answer::Alias(next)) => {
                    let Some(next) = absolute(next) else { return End::Nowhere };
                    owner = std::mem::replace(&mut target, next);
                }
                (Some(_), Answer::Records(found)) => {
                    let theirs = encoder.records(&found).answers;
                    records.extend(theirs.into_iter().map(|r| owned_by(target.clone(), r)));
                    return End::Found { records, outside: None };
                }
                (_, Answer::NotReady(missing)) => return End::NotReady(missing),
                _ => return End::Nowhere,
            }
        }
        End::Nowhere
    }
}

fn owned_by(owner: Name, mut record: Record) -> Record {
    record.name = owner;
    record
}

/// The name that an ExternalName service leads to, absolute and in the object's letter case.
fn absolute(target: &str) -> Option<Name> {
    let mut name = Name::from_ascii(target).or_else(|_| Name::from_str_relaxed(target)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_absolute_and_keep_their_letter_case() {
        for (target, want) in [
            ("www.example.org", Some("www.example.org.")),
            ("www.example.org.", Some("www.example.org.")),
            ("WWW.Example.org", Some("WWW.Example.org.")),
            ("under_score.example.org", Some("under_score.example.org.")),
            ("localhost", Some("localhost.")),
            ("two..dots", None),
        ] {
            assert_eq!(absolute(target).map(|name| name.to_ascii()).as_deref(), want, "{target}");
        }
    }
}
