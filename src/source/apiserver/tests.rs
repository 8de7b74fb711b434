//! Requests against a scripted server: what is asked, what is made of the answers, and how long is waited.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::access::{Access, Limits, Place};
use super::client::Client;
use super::fault::Fault;
use super::list::{AtLeast, Pages, cluster_uid, small};
use super::test_support::{Reply, Server, Then, recorded};
use super::transport::Transport;
use super::watch::{From, Step, Watch};
use crate::ops::metrics::Metrics;
use crate::source::Wanted;
use crate::source::kubectl::single::Decoded;
use crate::zone::object::Kind;

const SERVICE: &[u8] =
    b"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\"}}}\n";

const MINUTE: Duration = Duration::from_secs(60);

async fn all(mut pages: Pages) -> Result<(Vec<Decoded>, Option<u64>), Fault> {
    let mut entries = Vec::new();
    while let Some(entry) = pages.next().await? {
        entries.push(entry);
    }
    Ok((entries, pages.version()))
}

fn services(client: &Client, at_least: AtLeast) -> Pages {
    Pages::new(client.clone(), Kind::Service, Wanted::default(), at_least)
}

async fn watch(client: &Client, from: From) -> Result<Watch, Fault> {
    Watch::open(client, Kind::Service, Wanted::default(), from, MINUTE).await
}

fn list(text: &str) -> Reply {
    Reply::new("200 OK", "", text)
}

/// A list of services with this metadata and these names.
fn named(metadata: &str, names: &[&str]) -> Reply {
    let items = names.iter().map(|n| format!(r#"{{"metadata":{{"name":"{n}","namespace":"a"}}}}"#));
    let items = items.collect::<Vec<_>>().join(",");
    list(&format!(r#"{{"kind":"ServiceList","metadata":{{{metadata}}},"items":[{items}]}}"#))
}

/// The name of a fault.
fn name(fault: &Fault) -> &'static str {
    match fault {
        Fault::Expired { .. } => "expired",
        Fault::Behind { .. } => "behind",
        Fault::NotStreaming { .. } => "not streaming",
        Fault::Denied { .. } => "denied",
        Fault::Busy { .. } => "busy",
        Fault::Unreachable { .. } => "unreachable",
        Fault::Malformed { .. } => "malformed",
    }
}

// === Lists ===

#[tokio::test(start_paused = true)]
async fn a_list_is_followed_page_by_page() {
    let page2 = String::from_utf8(recorded("list-services-page2")).unwrap();
    let last = page2.replacen("\"continue\":", "\"discontinue\":", 1);
    let server = Server::new([
        Reply::chunked(&recorded("list-services-page1"), 1000),
        Reply::chunked(last.as_bytes(), 7),
    ]);
    let mut pages = services(&server.client(Limits::default()), AtLeast::Version(200));
    assert_eq!(pages.version(), None);
    let first = pages.next().await.unwrap().unwrap();
    assert_eq!(
        (&*first.key.namespace, &*first.key.name, first.version),
        ("bank", "two-ports-one-name-case", 240)
    );
    assert_eq!(pages.version(), Some(293), "known before the first entry");
    let (rest, version) = all(pages).await.unwrap();
    assert_eq!((rest.len(), version), (23, Some(293)));
    let [first, second] = &server.targets()[..] else { panic!() };
    assert_eq!(first, "/api/v1/services?limit=500&resourceVersion=200&resourceVersionMatch=NotOlderThan");
    assert!(second.starts_with("/api/v1/services?limit=500&continue=eyJ2Ijoi"), "{second}");
    let head = &server.heads()[0];
    assert!(head.contains(concat!("user-agent: outlast/", env!("CARGO_PKG_VERSION"))), "{head}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_list_is_no_empty_cluster() {
    let ok = r#"{"kind":"ServiceList","metadata":{"resourceVersion":"5"},"items":null}"#;
    let cases = [
        ("an empty list", list(ok), "empty"),
        (
            "its version last",
            list(r#"{"items":[],"kind":"ServiceList","metadata":{"resourceVersion":"5"}}"#),
            "empty",
        ),
        ("an empty object", list("{}"), "malformed"),
        ("an empty body", list(""), "unreachable"),
        ("a login page", list("<html>"), "malformed"),
        ("a status", list(r#"{"kind":"Status","status":"Success"}"#), "malformed"),
        ("another list", list(&ok.replace("Service", "Pod")), "malformed"),
        ("no items", list(&ok.replace("items", "things")), "malformed"),
        ("items of another type", list(&ok.replace("null", "{}")), "malformed"),
        ("no version", list(&ok.replace("\"5\"", "\"\"")), "malformed"),
        ("an item without a name", list(&ok.replace("null", "[{}]")), "malformed"),
        ("an item that is no object", list(&ok.replace("null", "[5]")), "malformed"),
        ("cut at a brace", list(&ok[..ok.len() - 1]).then(Then::Close), "unreachable"),
        (
            "cut by the connection",
            Reply { then: Then::Close, ..Reply::open(&ok.as_bytes()[..40], 9) },
            "unreachable",
        ),
        (
            "too far for the server",
            Reply::new("504 Gateway Timeout", "", &String::from_utf8(recorded("list-future-rv")).unwrap()),
            "behind",
        ),
        ("no right", Reply::new("403 Forbidden", "", ""), "denied"),
        ("no such resource", Reply::new("404 Not Found", "", ""), "malformed"),
    ];
    for (case, reply, expected) in cases {
        let server = Server::new([reply]);
        let seen = match all(services(&server.client(Limits::default()), AtLeast::Now)).await {
            Ok((entries, Some(5))) if entries.is_empty() => "empty",
            Ok(other) => panic!("{case}: {other:?}"),
            Err(fault) => name(&fault),
        };
        assert_eq!(seen, expected, "{case}");
        assert_eq!(server.targets(), ["/api/v1/services?limit=500"], "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_in_the_middle_expires_the_list() {
    let server = Server::new([
        named(r#""resourceVersion":"5","continue":"x/y""#, &["one"]),
        Reply::new("410 Gone", "", r#"{"reason":"Expired","message":"the continue token is too old"}"#),
    ]);
    let mut pages = services(&server.client(Limits::default()), AtLeast::Now);
    assert!(pages.next().await.unwrap().is_some());
    assert_eq!(name(&pages.next().await.unwrap_err()), "expired");
    assert_eq!(server.targets()[1], "/api/v1/services?limit=500&continue=x%2Fy");
}

#[tokio::test(start_paused = true)]
async fn small_lists() {
    let namespaces = recorded("list-namespaces");
    let server = Server::new([
        named(r#""resourceVersion":"77","remainingItemCount":3"#, &["one"]),
        list(std::str::from_utf8(&namespaces).unwrap()),
    ]);
    let client = server.client(Limits::default());
    assert_eq!(small(&client, Kind::Service).await, Ok(77));
    let uid = cluster_uid(&client).await.unwrap();
    let text = std::str::from_utf8(&namespaces).unwrap();
    assert!(!uid.is_empty() && text.contains(&format!(r#""name":"kube-system","uid":"{uid}""#)), "{uid}");
    server.script([list(r#"{"kind":"NamespaceList","metadata":{"resourceVersion":"5"},"items":[]}"#)]);
    assert_eq!(cluster_uid(&client).await, Ok(String::new()));
    let uid = "/api/v1/namespaces?fieldSelector=metadata.name%3Dkube-system&limit=1";
    assert_eq!(server.targets(), ["/api/v1/services?limit=1", uid, uid]);
}

// === Watches ===

#[tokio::test(start_paused = true)]
async fn a_watch_says_what_happens_and_ends() {
    let server = Server::new([Reply::chunked(&recorded("watch-services-live"), 100)]);
    let mut watch = watch(&server.client(Limits::default()), From::Version(294)).await.unwrap();
    let mut steps = Vec::new();
    while let Some(step) = watch.next().await.unwrap() {
        steps.push(match step {
            Step::Upsert(decoded) => format!("{}@{}", decoded.key.name, decoded.version),
            Step::Delete(decoded) => format!("-{}@{}", decoded.key.name, decoded.version),
            Step::Bookmark { version, ends_initial } => format!("bookmark@{version} {ends_initial}"),
        });
    }
    assert_eq!(steps[..2], ["fresh@298", "fresh@299"]);
    assert!(steps.iter().any(|s| s.starts_with("-fresh@")), "{steps:?}");
    assert_eq!(steps.last().unwrap(), "bookmark@317 false");
    let target = "/api/v1/services?watch=true&allowWatchBookmarks=true&timeoutSeconds=60&resourceVersion=294";
    assert_eq!(server.targets(), [target]);
}

#[tokio::test(start_paused = true)]
async fn initial_events_end_with_a_bookmark() {
    for (at_least, query) in [(AtLeast::Now, ""), (AtLeast::Version(9), "resourceVersion=9&")] {
        let server = Server::new([Reply::chunked(&recorded("watchlist-services"), 5000)]);
        let mut watch = watch(&server.client(Limits::default()), From::Whole(at_least)).await.unwrap();
        let mut upserts = 0;
        while let Step::Upsert(_) = watch.next().await.unwrap().unwrap() {
            upserts += 1;
        }
        assert!(upserts > 20, "{upserts}");
        assert_eq!(watch.next().await, Ok(None));
        let target =
            format!("timeoutSeconds=60&sendInitialEvents=true&{query}resourceVersionMatch=NotOlderThan");
        assert!(server.targets()[0].ends_with(&target), "{:?}", server.targets());
    }
}

#[tokio::test(start_paused = true)]
async fn how_watches_fail() {
    let event = |text: &str| Reply::chunked(format!("{text}\n").as_bytes(), 50);
    let cut = |text: &[u8]| Reply { then: Then::Close, ..Reply::open(text, 50) };
    let cases = [
        ("expired", Reply::chunked(&recorded("watch-expired"), 50), "expired"),
        ("cut within an event", cut(&recorded("watch-services-live")[..700]), "unreachable"),
        ("cut between events", cut(b""), "unreachable"),
        ("an event without its end", Reply::chunked(b"{\"type\":\"ADDED\"", 50), "unreachable"),
        ("no JSON", event("<html>"), "malformed"),
        ("a type of the future", event(r#"{"type":"REWRITTEN","object":{}}"#), "malformed"),
        ("an object without a name", event(r#"{"type":"ADDED","object":{}}"#), "malformed"),
        ("a bookmark of nothing", event(r#"{"type":"BOOKMARK","object":{"metadata":{}}}"#), "malformed"),
        ("refused", Reply::new("429 Too Many Requests", "Retry-After: 3\r\n", ""), "busy"),
        (
            "streaming off",
            Reply::new("422 Unprocessable Entity", "", r#"{"message":"sendInitialEvents is forbidden"}"#),
            "not streaming",
        ),
        ("nobody answers", Reply::hang(), "unreachable"),
    ];
    for (case, reply, expected) in cases {
        let server = Server::new([reply]);
        let fault = match watch(&server.client(Limits::default()), From::Version(2)).await {
            Err(fault) => fault,
            Ok(mut watch) => loop {
                match watch.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{case}"),
                    Err(fault) => break fault,
                }
            },
        };
        assert_eq!(name(&fault), expected, "{case}: {fault}");
    }
}

// === Time ===

#[tokio::test(start_paused = true)]
async fn silence_is_borne_for_so_long() {
    let bookmark = b"{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"5\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n";
    let open = || Reply::open(bookmark, 500);
    let silent = || Reply::open(b"", 1);
    let whole = From::Whole(AtLeast::Now);
    // What is asked for, the answer, how long the watch was said to last, and when patience ends.
    let cases = [
        ("no head", From::Version(1), Reply::hang(), 600, 30),
        ("a watch", From::Version(1), silent(), 600, 90),
        ("a short watch", From::Version(1), silent(), 20, 50),
        ("no initial events", whole, silent(), 600, 30),
        ("after the initial events", whole, open(), 600, 90),
        ("half an event, byte by byte", From::Version(1), silent().then(Then::Drip(b"{", 5)), 600, 90),
        ("empty lines", From::Version(1), silent().then(Then::Drip(b"\n", 5)), 600, 90),
        ("initial events without end", whole, silent().then(Then::Drip(SERVICE, 20)), 600, 300),
    ];
    for (case, from, reply, lasts, seconds) in cases {
        let server = Server::new([reply]);
        let client = server.client(Limits::default());
        let began = Instant::now();
        let opened =
            Watch::open(&client, Kind::Service, Wanted::default(), from, Duration::from_secs(lasts)).await;
        let fault = match opened {
            Err(fault) => fault,
            Ok(mut watch) => loop {
                // Given up and asked again: patience does not begin anew.
                match timeout(Duration::from_secs(7), watch.next()).await {
                    Err(_) | Ok(Ok(Some(_))) => {}
                    Ok(Ok(None)) => panic!("{case}"),
                    Ok(Err(fault)) => break fault,
                }
            },
        };
        assert_eq!((name(&fault), began.elapsed().as_secs()), ("unreachable", seconds), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_does_not_end_is_given_up() {
    let server = Server::new([Reply::open(b"{\"kind\":\"ServiceList\"", 500)]);
    let began = Instant::now();
    let fault = all(services(&server.client(Limits::default()), AtLeast::Now)).await.unwrap_err();
    assert_eq!((name(&fault), began.elapsed().as_secs()), ("unreachable", 75));
}

#[tokio::test(start_paused = true)]
async fn an_error_is_known_without_the_end_of_its_body() {
    let head = "HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000\r\n\r\n";
    for (body, seconds) in [("no".to_owned(), 10), ("no".repeat(40_000), 0)] {
        let server = Server::new([Reply { bytes: format!("{head}{body}").into(), then: Then::Hang }]);
        let began = Instant::now();
        let fault = small(&server.client(Limits::default()), Kind::Service).await.unwrap_err();
        assert_eq!((name(&fault), began.elapsed().as_secs()), ("denied", seconds));
        assert!(fault.to_string().contains("403 no"), "{fault}");
    }
}

#[tokio::test]
async fn over_the_network() {
    let list = || named(r#""resourceVersion":"5""#, &[]);
    let server = Server::new([list(), list()]);
    let url = format!("http://{}", server.listen().await);
    let access = Access { place: Place::Endpoint { url, tls: None }, limits: Limits::default() };
    let client = Client::new(access, Transport::Tcp, Arc::new(Metrics::new()));
    assert_eq!(small(&client, Kind::Service).await, Ok(5));
    assert_eq!(
        small(&client, Kind::Pod).await.unwrap_err().to_string(),
        "the API server's answer makes no sense: ServiceList where a PodList was asked for"
    );
    // A port on which nobody listens.
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let access = Access {
        place: Place::Endpoint { url: format!("http://{free}"), tls: None },
        limits: Limits::default(),
    };
    let client = Client::new(access, Transport::Tcp, Arc::new(Metrics::new()));
    let why = small(&client, Kind::Service).await.unwrap_err().to_string();
    assert!(why.contains(&free.to_string()) && why.contains("refused"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn requests_are_spaced() {
    let limits = Limits { qps: NonZeroU32::new(2), burst: NonZeroU32::new(3), max_inflight: None };
    let server = Server::new((0..7).map(|_| named(r#""resourceVersion":"5""#, &[])));
    let (client, began) = (server.client(limits), Instant::now());
    for _ in 0..7 {
        small(&client, Kind::Service).await.unwrap();
    }
    assert_eq!(began.elapsed().as_secs(), 2, "three at once, four more every half second");
}

#[tokio::test(start_paused = true)]
async fn a_watch_takes_no_slot_once_it_is_established() {
    let limits = Limits { max_inflight: NonZeroU32::new(1), ..Limits::default() };
    let server = Server::new([Reply::open(b"", 1), named(r#""resourceVersion":"5""#, &[]), Reply::hang()]);
    let client = server.client(limits);
    let _watch = watch(&client, From::Version(1)).await.unwrap();
    assert_eq!(small(&client, Kind::Service).await, Ok(5));
    let hanging = tokio::spawn({
        let client = client.clone();
        async move { small(&client, Kind::Service).await }
    });
    tokio::task::yield_now().await;
    let began = Instant::now();
    server.script([named(r#""resourceVersion":"6""#, &[])]);
    assert_eq!(small(&client, Kind::Service).await, Ok(6));
    assert_eq!(began.elapsed().as_secs(), 30, "the other one's patience");
    assert_eq!(name(&hanging.await.unwrap().unwrap_err()), "unreachable");
}
