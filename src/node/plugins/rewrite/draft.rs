//! A query while rules are changing it.

use hickory_proto::op::Edns;
use hickory_proto::rr::{DNSClass, RecordType};

use crate::node::plugins::log::names::NameText;
use crate::node::presentation;
use crate::node::query::Query;

/// What the rules so far have made of a query.
pub(super) struct Draft<'q> {
    /// The client's query.
    pub(super) query: &'q Query,
    /// The name that is asked for, in presentation form: absolute, in lower case.
    pub(super) name: String,
    /// Whether the name is no longer the client's.
    pub(super) renamed: bool,
    /// The type that is asked for.
    pub(super) kind: RecordType,
    /// Its class.
    pub(super) class: DNSClass,
    /// The OPT record, if a rule has touched it.
    pub(super) edns: Option<Edns>,
}

impl<'q> Draft<'q> {
    /// Nothing is changed yet.
    pub(super) fn new(query: &'q Query) -> Self {
        let name = NameText(query.labels()).to_string();
        Self { query, name, renamed: false, kind: query.kind(), class: query.class(), edns: None }
    }

    /// Asks for another name.
    pub(super) fn rename(&mut self, name: String) {
        self.name = name;
        self.renamed = true;
    }

    /// The OPT record as it is now.
    pub(super) fn edns(&self) -> Option<&Edns> {
        self.edns.as_ref().or_else(|| self.query.edns())
    }

    /// Whether what is asked for is a name; if not, that is the error.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.renamed && presentation::name(&self.name).is_none() {
            true => Err(self.name.clone()),
            false => Ok(()),
        }
    }

    /// The query that comes of it; `None` if it is still the client's. The error is a name that is none.
    pub(super) fn finish(self) -> Result<Option<Query>, String> {
        let Self { query, name, renamed, kind, class, edns } = self;
        if !renamed && kind == query.kind() && class == query.class() && edns.is_none() {
            return Ok(None);
        }
        let to = if renamed { presentation::name(&name) } else { Some(query.name().clone()) };
        let changed = to.and_then(|to| {
            query.changed(|message| {
                if let Some(question) = message.queries.first_mut() {
                    question.set_name(to).set_query_type(kind).set_query_class(class);
                }
                if edns.is_some() {
                    message.edns = edns;
                }
            })
        });
        changed.map(Some).ok_or(name)
    }
}
