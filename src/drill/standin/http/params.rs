//! The parameters of lists and watches, and what of them does not go together.
//!
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/>

use super::super::StreamingLists;
use super::super::etcd::Stored;
use super::super::requests::{ListKind, Verb};
use super::super::resource::Target;
use super::go;
use super::status::{Cause, Status};
use crate::zone::object::Kind;
use crate::zone::selector::Selector;

/// A requested resourceVersion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Not given: what is there now.
    Unset,
    /// `0`: whatever the cache has.
    Any,
    /// A version.
    At(u64),
}

/// `resourceVersionMatch`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// Not given.
    Unset,
    /// `Exact`
    Exact,
    /// `NotOlderThan`
    NotOlderThan,
}

/// All parameters of one request.
#[derive(Clone, Debug)]
pub(super) struct Params {
    /// `watch`
    pub(super) watch: bool,
    /// `resourceVersion`
    pub(super) version: Version,
    /// `resourceVersionMatch`
    pub(super) version_match: Match,
    /// What `resourceVersionMatch` says, where that does not exist.
    odd_match: Option<String>,
    /// `limit`; 0 for none.
    pub(super) limit: usize,
    /// `continue`; empty for none.
    pub(super) continue_token: String,
    /// `allowWatchBookmarks`
    pub(super) bookmarks: bool,
    /// `sendInitialEvents`
    pub(super) initial_events: Option<bool>,
    /// `timeoutSeconds`; 0 for the server's choice.
    pub(super) timeout_seconds: u64,
    /// `labelSelector` and `fieldSelector`
    pub(super) selected: Selected,
}

/// Which objects are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Selected {
    /// Only keys that begin with this.
    pub(super) prefix: String,
    /// By labels.
    labels: Option<Selector>,
    /// By fields; all must hold.
    fields: Vec<Field>,
}

/// One requirement of a field selector.
#[derive(Clone, Debug)]
struct Field {
    /// `metadata.name`
    path: String,
    /// Whether it is to be this, or anything else.
    equal: bool,
    /// The value.
    value: String,
}

impl Selected {
    /// Whether only one object is wanted, which is named.
    fn is_by_name(&self) -> bool {
        self.fields.iter().any(|field| field.equal && field.path == "metadata.name")
    }

    /// Whether nothing is asked of objects but their place.
    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_empty()
    }

    /// Whether an object is wanted.
    pub(super) fn wants(&self, object: &Stored) -> bool {
        object.key().starts_with(&self.prefix)
            && self.labels.as_ref().is_none_or(|selector| selector.matches(object.labels()))
            && self.fields.iter().all(|field| {
                let holds = match field.path.as_str() {
                    "metadata.name" => object.name() == field.value,
                    "metadata.namespace" => object.namespace() == field.value,
                    path => object.string_at(path) == field.value,
                };
                holds == field.equal
            })
    }
}

impl Params {
    /// Reads the query of a request for `target`.
    ///
    /// # Errors
    /// 400 for what cannot be read.
    pub(super) fn parse(query: &str, target: &Target) -> Result<Self, Status> {
        let mut params = Self {
            watch: false,
            version: Version::Unset,
            version_match: Match::Unset,
            odd_match: None,
            limit: 0,
            continue_token: String::new(),
            bookmarks: false,
            initial_events: None,
            timeout_seconds: 0,
            selected: Selected::default(),
        };
        if !target.namespace.is_empty() {
            params.selected.prefix = format!("{}/", target.namespace);
        }
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "watch" => params.watch = truth(&value),
                "resourceVersion" => params.version = version(&value)?,
                "resourceVersionMatch" => match &*value {
                    "" => {}
                    "Exact" => params.version_match = Match::Exact,
                    "NotOlderThan" => params.version_match = Match::NotOlderThan,
                    odd => params.odd_match = Some(odd.to_owned()),
                },
                "limit" => params.limit = number(&value)?,
                "continue" => params.continue_token = value.into_owned(),
                "allowWatchBookmarks" => params.bookmarks = truth(&value),
                "sendInitialEvents" => params.initial_events = Some(truth(&value)),
                "timeoutSeconds" => params.timeout_seconds = number(&value)?,
                "labelSelector" if !value.trim().is_empty() => {
                    let selector = Selector::parse(&value).map_err(|e| Status::bad_request(e.to_string()))?;
                    params.selected.labels = Some(selector);
                }
                "fieldSelector" => params.selected.fields = fields(&value, target.kind)?,
                _ => {}
            }
        }
        Ok(params)
    }

    /// What does not go together.
    ///
    /// # Errors
    /// 422, in the words of the server's own validation.
    pub(super) fn validate(&self, streaming: StreamingLists) -> Result<(), Status> {
        let causes = if self.watch { self.of_a_watch(streaming) } else { self.of_a_list() };
        if causes.is_empty() { Ok(()) } else { Err(Status::invalid(causes)) }
    }

    fn of_a_list(&self) -> Vec<Cause> {
        const MATCH: &str = "resourceVersionMatch";
        let given = self.version_match != Match::Unset || self.odd_match.is_some();
        let mut causes = Vec::new();
        if given && self.version == Version::Unset {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            causes.push(Cause::forbidden(MATCH, why));
        }
        if given && !self.continue_token.is_empty() {
            causes
                .push(Cause::forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if let Some(odd) = &self.odd_match {
            causes.push(Cause::not_supported(MATCH, odd, "\"Exact\", \"NotOlderThan\", \"\""));
        }
        if self.version_match == Match::Exact && self.version == Version::Any {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            causes.push(Cause::forbidden(MATCH, why));
        }
        if self.initial_events.is_some() {
            causes.push(Cause::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        causes
    }

    fn of_a_watch(&self, streaming: StreamingLists) -> Vec<Cause> {
        const MATCH: &str = "resourceVersionMatch";
        let given = self.version_match != Match::Unset || self.odd_match.is_some();
        let mut causes = Vec::new();
        if self.initial_events.is_some() {
            if self.version_match != Match::NotOlderThan {
                let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                causes.push(Cause::forbidden(MATCH, why));
            }
            if streaming == StreamingLists::Off {
                let why =
                    "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
                causes.push(Cause::forbidden("sendInitialEvents", why));
            }
        }
        if given {
            if self.initial_events.is_none() {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                causes.push(Cause::forbidden(MATCH, why));
            }
            if self.version_match != Match::NotOlderThan {
                let value = self.odd_match.as_deref().unwrap_or("Exact");
                causes.push(Cause::not_supported(MATCH, value, "\"NotOlderThan\""));
            }
            if !self.continue_token.is_empty() {
                let why = "resourceVersionMatch is forbidden when continue is provided";
                causes.push(Cause::forbidden(MATCH, why));
            }
        }
        causes
    }

    /// Whether a watch begins with the state and says where that ends. Where the server has streaming lists, one
    /// that begins with the state anyway is one of them.
    pub(super) fn is_streaming(&self, streaming: StreamingLists) -> bool {
        let by_default = streaming != StreamingLists::Off
            && self.version_match == Match::Unset
            && matches!(self.version, Version::Unset | Version::Any);
        self.initial_events.unwrap_or(by_default)
    }

    /// What a request for `target` does.
    pub(super) fn verb(&self, target: &Target) -> Verb {
        match (self.watch, target.name.is_empty()) {
            (true, true) => Verb::Watch,
            (false, true) => Verb::List,
            (_, false) => Verb::Get,
        }
    }

    /// What sort of list it is.
    pub(super) fn list_kind(&self, verb: Verb) -> Option<ListKind> {
        let exact =
            self.version_match == Match::Exact || self.limit > 0 && self.version_match == Match::Unset;
        match verb {
            Verb::Watch => (self.initial_events == Some(true)).then_some(ListKind::Streaming),
            Verb::Get | Verb::Other => None,
            Verb::List if !self.continue_token.is_empty() => Some(ListKind::Continue),
            Verb::List if self.limit == 1 || self.selected.is_by_name() => Some(ListKind::Small),
            Verb::List => Some(match self.version {
                Version::Unset => ListKind::Consistent,
                Version::At(_) if exact => ListKind::Exact,
                Version::Any | Version::At(_) => ListKind::Cached,
            }),
        }
    }
}

/// As Kubernetes reads a bool: anything but `false` and `0`.
fn truth(value: &str) -> bool {
    !value.eq_ignore_ascii_case("false") && value != "0"
}

fn number<T: std::str::FromStr + Default>(value: &str) -> Result<T, Status> {
    if value.is_empty() {
        return Ok(T::default());
    }
    value.parse().map_err(|_| {
        Status::bad_request(format!("strconv.ParseInt: parsing {}: invalid syntax", go::quote(value)))
    })
}

fn version(value: &str) -> Result<Version, Status> {
    let not_a_version = |_| {
        let value = go::quote(value);
        Status::bad_request(format!(
            "resourceVersion: Invalid value: {value}: strconv.ParseUint: parsing {value}: invalid syntax"
        ))
    };
    match value {
        "" => Ok(Version::Unset),
        value => value
            .parse()
            .map_err(not_a_version)
            .map(|at| if at == 0 { Version::Any } else { Version::At(at) }),
    }
}

/// `metadata.name=web,metadata.namespace!=kube-system`
fn fields(selector: &str, kind: Kind) -> Result<Vec<Field>, Status> {
    let requirements = selector.split(',').map(str::trim).filter(|part| !part.is_empty());
    let field = |part: &str| {
        let (path, equal, value) = match (part.split_once("!="), part.split_once("=="), part.split_once('='))
        {
            (Some((path, value)), ..) => (path, false, value),
            (None, Some((path, value)), _) | (None, None, Some((path, value))) => (path, true, value),
            (None, None, None) => {
                let why = format!(
                    "invalid selector: {}; can't understand {}",
                    go::quote(selector),
                    go::quote(part)
                );
                return Err(Status::bad_request(why));
            }
        };
        let known = match kind {
            Kind::Namespace => matches!(path, "metadata.name" | "status.phase"),
            Kind::Service => {
                matches!(path, "metadata.name" | "metadata.namespace" | "spec.clusterIP" | "spec.type")
            }
            Kind::EndpointSlice => matches!(path, "metadata.name" | "metadata.namespace"),
            Kind::Pod => matches!(
                path,
                "metadata.name" | "metadata.namespace" | "spec.nodeName" | "status.phase" | "status.podIP"
            ),
        };
        if !known {
            return Err(Status::bad_request(format!("field label not supported: {path}")));
        }
        Ok(Field { path: path.to_owned(), equal, value: value.to_owned() })
    };
    requirements.map(field).collect()
}
