//! From a request to its answer: who asks, what befalls the request, whether it may, what it gets.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderName, USER_AGENT};
use hyper::{Method, Request, Response};

use super::super::access::Who;
use super::super::faults::{Fault, Refusal, Victim};
use super::super::requests::{Asked, Verb};
use super::super::resource::{self, Target};
use super::body::Body;
use super::params::Params;
use super::status::Status;
use super::{Server, befall, health, list, reply, watch};
use crate::zone::object::Kind;

/// Characters of a `User-Agent` that are counted: those of real clients have some dozens.
const AGENT_LENGTH: usize = 128;

/// A request that was understood.
struct Asks {
    /// Who asks.
    who: Who,
    /// The path.
    path: String,
    /// The query.
    query: String,
    /// Whether it is a GET.
    read: bool,
    /// The resource, if the path is one.
    target: Option<Target>,
    /// Its parameters, or what is wrong with them.
    params: Result<Params, Status>,
}

impl Asks {
    fn new(server: &Server, request: &Request<Incoming>) -> Self {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let target = resource::target(&path);
        let nowhere = Target { kind: Kind::Namespace, namespace: String::new(), name: String::new() };
        let params = Params::parse(&query, target.as_ref().unwrap_or(&nowhere));
        let who = server.access.authenticate(header(request, &AUTHORIZATION));
        Self { who, path, query, read: request.method() == Method::GET, target, params }
    }

    fn verb(&self) -> Verb {
        match (&self.target, &self.params) {
            (Some(target), Ok(params)) if self.read => params.verb(target),
            (Some(target), Err(_)) if self.read && target.name.is_empty() => Verb::List,
            _ => Verb::Other,
        }
    }
}

/// Answers one request; every answer is counted.
pub(super) async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let asks = Asks::new(&server, &request);
    let verb = asks.verb();
    let mut asked = Asked {
        user: asks.who.name().to_owned(),
        agent: header(&request, &USER_AGENT).unwrap_or_default().chars().take(AGENT_LENGTH).collect(),
        verb,
        kind: asks.target.as_ref().map(|target| target.kind),
        list: asks.params.as_ref().ok().filter(|_| asks.target.is_some()).and_then(|p| p.list_kind(verb)),
        status: 0,
    };
    let victim = Victim { verb, list: asked.list, kind: asked.kind, user: &asked.user };
    let fault = server.faults.take(&victim);
    if fault == Some(Fault::Hang) {
        server.requests.add(asked);
        return std::future::pending().await;
    }
    // A client that does not wait for it has asked all the same.
    let is_late = matches!(fault, Some(Fault::Late(_)));
    if is_late {
        server.requests.add(asked.clone());
    }
    let response = befallen(&server, &asks, verb, fault).await;
    if !is_late {
        asked.status = response.status().as_u16();
        server.requests.add(asked);
    }
    Ok(response)
}

/// The answer as the fault has it.
async fn befallen(server: &Arc<Server>, asks: &Asks, verb: Verb, fault: Option<Fault>) -> Response<Body> {
    match fault {
        Some(Fault::Answer(Refusal::Gone)) if verb == Verb::Watch => {
            let now = server.etcd.revision();
            reply::json(server, (watch::ended(&Status::watch_expired(now, now)), None))
        }
        Some(Fault::Answer(refusal)) => {
            let status = Status::refused(refusal, &asks.who, verb, asks.target.as_ref(), &asks.path);
            reply::error(server, &status)
        }
        Some(Fault::Garbage) => reply::json(server, (befall::garbage(), None)),
        Some(Fault::Drip { bytes, every }) => {
            right(server, asks, verb, false).await.map(|body| befall::drip(body, bytes, every))
        }
        Some(Fault::Late(by)) => {
            tokio::time::sleep(by).await;
            right(server, asks, verb, false).await
        }
        Some(Fault::Cut { after }) => {
            right(server, asks, verb, false).await.map(|body| befall::cut(body, after))
        }
        Some(Fault::Empty) => right(server, asks, verb, true).await,
        Some(Fault::Hang) | None => right(server, asks, verb, false).await,
    }
}

/// The right answer.
async fn right(server: &Arc<Server>, asks: &Asks, verb: Verb, empty: bool) -> Response<Body> {
    if asks.who == Who::Unknown {
        return reply::error(server, &Status::unauthorized());
    }
    let Some(target) = &asks.target else { return elsewhere(server, asks) };
    // Nothing is written here. Who may read learns that by 405, who may not as a real server says it.
    let needed = if verb == Verb::Other { Verb::Get } else { verb };
    if !server.access.authorize(&asks.who, needed, target.kind) {
        return reply::error(server, &Status::forbidden(&asks.who, verb, target));
    }
    if !asks.read {
        return reply::error(server, &Status::wrong_method());
    }
    let answered = match &asks.params {
        Err(status) => Err(status.clone()),
        Ok(params) => match verb {
            Verb::Watch => watch::watch(server, target, params, empty).map(|body| (body, None)),
            Verb::List => list::list(server, target, params, empty).await,
            Verb::Get | Verb::Other => list::get(server, target, params).await,
        },
    };
    match answered {
        Ok(written) => reply::json(server, written),
        Err(status) => reply::error(server, &status),
    }
}

/// What is no resource: open to everybody, or not there.
fn elsewhere(server: &Server, asks: &Asks) -> Response<Body> {
    let check = health::check(&asks.path, &asks.query);
    if !asks.read && (check.is_some() || asks.path == "/version") {
        return reply::error(server, &Status::wrong_method());
    }
    if let Some(text) = check {
        return reply::text(server, text);
    }
    if asks.path == "/version" {
        return reply::json(
            server,
            Body::written(std::iter::once(health::version(server.config.progress).into_owned().into())),
        );
    }
    if server.access.authorize(&asks.who, Verb::List, Kind::Namespace) {
        return reply::error(server, &Status::no_such_path());
    }
    reply::error(server, &Status::forbidden_path(&asks.who, &asks.path))
}

fn header<'a>(request: &'a Request<Incoming>, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}
