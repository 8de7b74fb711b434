//! Errors as an API server words them: `Status` objects.
//!
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>

use super::super::access::Who;
use super::super::faults::Refusal;
use super::super::requests::Verb;
use super::super::resource::{self, Target};
use super::go;
use crate::zone::object::Kind;

/// An error, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// The HTTP status.
    pub(super) code: u16,
    /// `Forbidden`
    reason: &'static str,
    /// For people.
    message: String,
    /// The object `details`; `None` where there is none.
    details: Option<Box<Details>>,
    /// With which the rest of an expired list may be had.
    continue_token: Option<String>,
}

/// What an error is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Details {
    /// The object's name.
    name: String,
    /// The API group.
    group: &'static str,
    /// The plural of a resource, or a kind.
    kind: &'static str,
    /// Why.
    causes: Vec<Cause>,
    /// Seconds; also the header `Retry-After`.
    retry_after: u32,
}

/// One cause of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// `FieldValueForbidden`; may be empty.
    reason: &'static str,
    /// For people.
    message: String,
    /// The parameter; may be empty.
    field: &'static str,
}

impl Cause {
    /// A parameter that must not be given like this.
    pub(super) fn forbidden(field: &'static str, why: &str) -> Self {
        Self { reason: "FieldValueForbidden", message: format!("Forbidden: {why}"), field }
    }

    /// A parameter with a value that does not exist.
    pub(super) fn not_supported(field: &'static str, value: &str, values: &str) -> Self {
        let message = format!("Unsupported value: {}: supported values: {values}", go::quote(value));
        Self { reason: "FieldValueNotSupported", message, field }
    }
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, continue_token: None }
    }

    fn about(self, details: Details) -> Self {
        Self { details: Some(Box::new(details)), ..self }
    }

    /// 400
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401
    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 for a resource.
    pub(super) fn forbidden(who: &Who, verb: Verb, target: &Target) -> Self {
        let resource = resource::of(target.kind);
        let verb = match verb {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Other => "create",
        };
        let object =
            if target.name.is_empty() { String::new() } else { format!(" {}", go::quote(&target.name)) };
        let place = match (target.kind, target.namespace.as_str()) {
            (Kind::Namespace, _) if !target.name.is_empty() => {
                format!("in the namespace {}", go::quote(&target.name))
            }
            (_, "") => "at the cluster scope".to_owned(),
            (_, namespace) => format!("in the namespace {}", go::quote(namespace)),
        };
        let message = format!(
            "{}{object} is forbidden: User {} cannot {verb} resource {} in API group {} {place}",
            resource.qualified(),
            go::quote(who.name()),
            go::quote(resource.plural),
            go::quote(resource.group),
        );
        Self::new(403, "Forbidden", message).about(Details {
            name: target.name.clone(),
            group: resource.group,
            kind: resource.plural,
            ..Details::default()
        })
    }

    /// 403 for a path that is no resource.
    pub(super) fn forbidden_path(who: &Who, path: &str) -> Self {
        let (user, path) = (go::quote(who.name()), go::quote(path));
        Self::new(403, "Forbidden", format!("forbidden: User {user} cannot get path {path}"))
            .about(Details::default())
    }

    /// 404 for a path.
    pub(super) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
            .about(Details::default())
    }

    /// 404 for an object.
    pub(super) fn no_such_object(target: &Target) -> Self {
        let resource = resource::of(target.kind);
        let message = format!("{} {} not found", resource.qualified(), go::quote(&target.name));
        Self::new(404, "NotFound", message).about(Details {
            name: target.name.clone(),
            group: resource.group,
            kind: resource.plural,
            ..Details::default()
        })
    }

    /// 405
    pub(super) fn wrong_method() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).about(Details::default())
    }

    /// 410 for a watch.
    pub(super) fn watch_expired(version: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {version} ({oldest})"))
    }

    /// 410 for a list of an old version.
    pub(super) fn list_expired() -> Self {
        Self::new(410, "Expired", "The resourceVersion for the provided list is too old.")
    }

    /// 410 for a page of an old list, with the token by which the rest may be had as it is now.
    pub(super) fn continue_expired(token: String) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can \
                       start a new list without the continue parameter, or use the continue token in this \
                       response to retrieve the remainder of the results. Continuing with the provided token \
                       results in an inconsistent list - objects that were created, modified, or deleted between \
                       the time the first chunk was returned and now may show up in the list.";
        Self { continue_token: Some(token), ..Self::new(410, "Expired", message) }
    }

    /// 422 for parameters that do not go together.
    pub(super) fn invalid(causes: Vec<Cause>) -> Self {
        let told: Vec<_> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let told = match told.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {told}");
        let about = Details { group: "meta.k8s.io", kind: "ListOptions", causes, ..Details::default() };
        Self::new(422, "Invalid", message).about(about)
    }

    /// 429
    pub(super) fn too_many_requests(retry_after: u32) -> Self {
        let about = Details { retry_after, ..Details::default() };
        Self::new(429, "TooManyRequests", "storage is (re)initializing").about(about)
    }

    /// 500
    fn internal(why: &str) -> Self {
        let cause = Cause { reason: "", message: why.to_owned(), field: "" };
        let about = Details { causes: vec![cause], ..Details::default() };
        Self::new(500, "InternalError", format!("Internal error occurred: {why}")).about(about)
    }

    /// 500 for a streaming list over an etcd that cannot tell how far it is.
    pub(super) fn no_watch_progress() -> Self {
        let message = "a watch stream was requested by the client but the required storage feature \
                       RequestWatchProgress is disabled";
        Self::new(500, "InternalError", message)
    }

    /// 503
    fn unavailable() -> Self {
        Self::new(503, "ServiceUnavailable", "apiserver is shutting down").about(Details::default())
    }

    /// 504
    fn timeout() -> Self {
        let message =
            "Timeout: request did not complete within requested timeout - context deadline exceeded";
        Self::new(504, "Timeout", message).about(Details::default())
    }

    /// 504 for a version that the server has not reached.
    pub(super) fn too_large(version: u64, current: u64) -> Self {
        let cause = Cause {
            reason: "ResourceVersionTooLarge",
            message: "Too large resource version".to_owned(),
            field: "",
        };
        let message = format!("Timeout: Too large resource version: {version}, current: {current}");
        let about = Details { causes: vec![cause], retry_after: 1, ..Details::default() };
        Self::new(504, "Timeout", message).about(about)
    }

    /// What a fault answers; `None` for a watch of a version that is gone, which is no status but an event.
    pub(super) fn refused(
        refusal: Refusal,
        who: &Who,
        verb: Verb,
        target: Option<&Target>,
        path: &str,
    ) -> Self {
        match (refusal, target) {
            (Refusal::Unauthorized, _) => Self::unauthorized(),
            (Refusal::Forbidden, Some(target)) => Self::forbidden(who, verb, target),
            (Refusal::Forbidden, None) => Self::forbidden_path(who, path),
            (Refusal::Gone, _) => Self::list_expired(),
            (Refusal::TooManyRequests(seconds), _) => Self::too_many_requests(seconds),
            (Refusal::Internal, _) => Self::internal("etcdserver: request timed out"),
            (Refusal::Unavailable, _) => Self::unavailable(),
            (Refusal::Timeout, _) => Self::timeout(),
        }
    }

    /// Seconds for the header `Retry-After`.
    pub(super) fn retry_after(&self) -> Option<u32> {
        self.details.as_ref().map(|details| details.retry_after).filter(|seconds| *seconds > 0)
    }

    /// The JSON object, without a newline.
    pub(super) fn json(&self) -> String {
        let metadata = match &self.continue_token {
            Some(token) => format!("{{\"continue\":{}}}", go::json_string(token)),
            None => "{}".to_owned(),
        };
        let details = self.details.as_ref().map(|d| format!("\"details\":{},", d.json())).unwrap_or_default();
        format!(
            "{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{metadata},\"status\":\"Failure\",\
             \"message\":{},\"reason\":\"{}\",{details}\"code\":{}}}",
            go::json_string(&self.message),
            self.reason,
            self.code
        )
    }
}

impl Details {
    fn json(&self) -> String {
        let causes: Vec<_> = self.causes.iter().map(Cause::json).collect();
        let causes = if causes.is_empty() { String::new() } else { format!("[{}]", causes.join(",")) };
        let retry_after = if self.retry_after == 0 { String::new() } else { self.retry_after.to_string() };
        object(&[
            ("name", text(&self.name)),
            ("group", text(self.group)),
            ("kind", text(self.kind)),
            ("causes", causes),
            ("retryAfterSeconds", retry_after),
        ])
    }
}

impl Cause {
    fn json(&self) -> String {
        object(&[
            ("reason", text(self.reason)),
            ("message", text(&self.message)),
            ("field", text(self.field)),
        ])
    }
}

/// A JSON string; nothing if it is empty, which Go leaves out.
fn text(value: &str) -> String {
    if value.is_empty() { String::new() } else { go::json_string(value) }
}

/// A JSON object of the fields that have a value.
fn object(fields: &[(&str, String)]) -> String {
    let present = fields.iter().filter(|(_, json)| !json.is_empty());
    let written: Vec<_> = present.map(|(name, json)| format!("\"{name}\":{json}")).collect();
    format!("{{{}}}", written.join(","))
}
