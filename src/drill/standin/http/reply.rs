//! The heads of answers: the headers that a real server sends, in its order.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::super::ids;
use super::Server;
use super::body::Body;
use super::status::Status;

/// `Content-Type` of objects.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `Content-Type` of the health checks.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What of a head differs.
pub(super) struct Head {
    /// The HTTP status.
    code: u16,
    /// `Content-Type`
    content_type: HeaderValue,
    /// `Retry-After`
    retry_after: Option<u32>,
    /// `X-Content-Type-Options`, which goes with refusals and plain text.
    nosniff: bool,
    /// The headers of flow control; a request without a valid token never gets that far.
    flow: bool,
    /// `Content-Length`, where it is known.
    length: Option<usize>,
}

impl Head {
    const OK: Self =
        Self { code: 200, content_type: JSON, retry_after: None, nosniff: false, flow: true, length: None };
}

/// Status 200 with JSON.
pub(super) fn json(server: &Server, (body, length): (Body, Option<usize>)) -> Response<Body> {
    respond(server, Head { length, ..Head::OK }, body)
}

/// Status 200 with plain text.
pub(super) fn text(server: &Server, text: String) -> Response<Body> {
    let (body, length) = Body::written(std::iter::once(text.into()));
    respond(server, Head { content_type: TEXT, nosniff: true, length, ..Head::OK }, body)
}

/// An error.
pub(super) fn error(server: &Server, status: &Status) -> Response<Body> {
    let (body, length) = Body::written(std::iter::once(format!("{}\n", status.json()).into()));
    let head = Head {
        code: status.code,
        retry_after: status.retry_after(),
        nosniff: status.code == 403,
        flow: status.code != 401,
        length,
        ..Head::OK
    };
    respond(server, head, body)
}

fn respond(server: &Server, head: Head, body: Body) -> Response<Body> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: HeaderValue| {
        headers.append(HeaderName::from_static(name), value);
    };
    // Go writes headers sorted, and its own after them.
    add("audit-id", ascii(&ids::uuid()));
    add("cache-control", HeaderValue::from_static("no-cache, private"));
    add("content-type", head.content_type);
    if let Some(seconds) = head.retry_after {
        add("retry-after", seconds.into());
    }
    if head.nosniff {
        add("x-content-type-options", HeaderValue::from_static("nosniff"));
    }
    if head.flow {
        let [schema, level] = &server.flow;
        add("x-kubernetes-pf-flowschema-uid", ascii(schema));
        add("x-kubernetes-pf-prioritylevel-uid", ascii(level));
    }
    add("date", ascii(&ids::http_date()));
    match head.length {
        Some(length) => add("content-length", length.into()),
        None => add("transfer-encoding", HeaderValue::from_static("chunked")),
    }
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(head.code).expect("a status of this module's own");
    *response.headers_mut() = headers;
    response
}

/// A header of our own making.
fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("an id or a date")
}
