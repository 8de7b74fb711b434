//! The status page's listener: one document for people and one for scripts, on loopback.
//!
//! Invariants:
//! * Nobody is served but who asks this machine by one of its own names: a page that somebody is lured to may not read it
//!   by a name that leads here (DNS rebinding). It takes no order, whoever asks.
//! * It keeps nothing else from starting or from going on: an address that is taken is awaited.
//! * What is read and written is bounded, as with the other faces.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::ListenAddress;
use super::awaited::{self, News};
use super::serve::serve as answer_all;

/// Connections at one time: a browser opens a few.
const MAX_CONNECTIONS: usize = 8;

/// How long the process may take to say what it knows; within the limit of a request.
const DEADLINE: Duration = Duration::from_secs(4);

/// Who asks for the address, in errors.
const NAME: &str = "status";

/// What is on the page.
#[async_trait]
pub trait Page: Send + Sync + 'static {
    /// The document for people, HTML.
    ///
    /// # Errors
    /// Why there is none now.
    async fn html(&self) -> Result<String, String>;

    /// The document for scripts, JSON.
    ///
    /// # Errors
    /// Why there is none now.
    async fn json(&self) -> Result<String, String>;

    /// What the document for people may do, a Content-Security-Policy.
    fn policy(&self) -> &str;
}

/// Serves the page at an address until `stop`. An address that cannot be had is tried again until `leaving`: what else
/// the process does, does not depend on it.
pub async fn serve(
    address: ListenAddress,
    page: Arc<dyn Page>,
    stop: CancellationToken,
    leaving: CancellationToken,
) {
    let bound = match address.bind(NAME, &[]) {
        Ok(bound) => Some(bound),
        Err(error) => {
            tracing::warn!(%address, %error, "there is no status page; outlast ctl status says the same");
            let said = |news| match news {
                News::Taken(since) => tracing::warn!(
                    %address, since = ?Duration::from_secs(since.as_secs()),
                    "still no status page: another process listens there, `{}` says who it is", address.who_has_it()
                ),
                News::Failed(_) => {}
            };
            awaited::bind(&address, NAME, &stop, &leaving, said).await
        }
    };
    let Some((socket, local)) = bound else { return };
    tracing::info!(address = %local, "serving the status page");
    let routes = Router::new().fallback(move |request: Request| reply(page.clone(), request));
    answer_all(Arc::new(socket), Arc::new(ArcSwap::from_pointee(routes)), MAX_CONNECTIONS, stop).await;
}

/// Answers one request.
async fn reply(page: Arc<dyn Page>, request: Request) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    // Invariant: by one of the machine's own names.
    if !host.is_some_and(is_ours) {
        let text = "ask for it as localhost, 127.0.0.1 or [::1]\n";
        return plain(StatusCode::MISDIRECTED_REQUEST, text.to_owned());
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return ([(ALLOW, "GET, HEAD")], plain(StatusCode::METHOD_NOT_ALLOWED, String::new()))
            .into_response();
    }
    let path = request.uri().path().to_owned();
    let document = async {
        Some(match path.as_str() {
            "/" => ("text/html; charset=utf-8", page.html().await),
            "/status.json" => ("application/json", page.json().await),
            _ => return None,
        })
    };
    match timeout(DEADLINE, document).await {
        Ok(Some((kind, Ok(document)))) => {
            let policy = page.policy();
            ([(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, policy)], guarded(), document).into_response()
        }
        Ok(Some((_, Err(why)))) => plain(StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
        Ok(None) => plain(StatusCode::NOT_FOUND, "there is / and /status.json\n".to_owned()),
        Err(_) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "the process does not say what it knows\n".to_owned())
        }
    }
}

/// A text without a document.
fn plain(status: StatusCode, text: String) -> Response {
    let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, kind, guarded(), text).into_response()
}

/// What every reply has.
fn guarded() -> [(HeaderName, &'static str); 4] {
    [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ]
}

/// Whether a `Host` is this machine by a name of its own; with whatever port, as it may be forwarded.
fn is_ours(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Says what it is told to, or nothing at all.
    struct Says(Option<Result<String, String>>);

    #[async_trait]
    impl Page for Says {
        async fn html(&self) -> Result<String, String> {
            match &self.0 {
                Some(said) => said.clone(),
                None => std::future::pending().await,
            }
        }

        async fn json(&self) -> Result<String, String> {
            Ok("{}".to_owned())
        }

        fn policy(&self) -> &str {
            "default-src 'none'"
        }
    }

    async fn ask(says: Says, method: &str, path: &str, host: &str) -> (u16, String) {
        let headers = [("host", host)].into_iter().filter(|(_, host)| !host.is_empty());
        let request = headers.fold(Request::builder().method(method).uri(path), |r, (k, v)| r.header(k, v));
        let request = request.body(axum::body::Body::empty()).unwrap();
        let reply = reply(Arc::new(says), request).await;
        let status = reply.status().as_u16();
        assert_eq!(reply.headers()["cache-control"], "no-store");
        assert_eq!(reply.headers()["x-content-type-options"], "nosniff");
        let body = axum::body::to_bytes(reply.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    fn page() -> Says {
        Says(Some(Ok("<p>".to_owned())))
    }

    #[tokio::test]
    async fn only_this_machine_s_own_names_lead_to_it() {
        for host in [
            "localhost",
            "localhost:9154",
            "LocalHost:1",
            "127.0.0.1:9154",
            "127.1.2.3",
            "[::1]:9154",
            "[::1]",
        ] {
            assert_eq!(ask(page(), "GET", "/", host).await, (200, "<p>".to_owned()), "{host}");
        }
        for host in
            ["", "example.org", "localhost.example.org", "10.0.0.1:9154", "[::]:1", "localhost@x", "::1"]
        {
            let (status, body) = ask(page(), "GET", "/", host).await;
            assert_eq!(status, 421, "{host}: {body}");
        }
    }

    #[tokio::test]
    async fn it_takes_no_order() {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            assert_eq!(ask(page(), method, "/", "localhost").await.0, 405, "{method}");
        }
        assert_eq!(ask(page(), "HEAD", "/", "localhost").await.0, 200);
        assert_eq!(ask(page(), "GET", "/status.json", "localhost").await, (200, "{}".to_owned()));
        for path in ["/metrics", "/status", "//", "/status.json/"] {
            assert_eq!(ask(page(), "GET", path, "localhost").await.0, 404, "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_does_not_say_what_it_knows_is_said() {
        let (status, body) = ask(Says(None), "GET", "/", "localhost").await;
        assert!(status == 503 && body.contains("does not say"), "{body}");
        let failed = Says(Some(Err("it is odd".to_owned())));
        assert_eq!(ask(failed, "GET", "/", "localhost").await, (503, "it is odd\n".to_owned()));
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_served_once_it_is_free() {
        let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at: SocketAddr = stranger.local_addr().unwrap();
        let (stop, leaving) = (CancellationToken::new(), CancellationToken::new());
        let serving =
            tokio::spawn(serve(at.to_string().parse().unwrap(), Arc::new(page()), stop.clone(), leaving));
        drop(stranger);
        let asked = async {
            loop {
                let Ok(mut stream) = TcpStream::connect(at).await else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
                let mut reply = String::new();
                stream.read_to_string(&mut reply).await.unwrap();
                return reply;
            }
        };
        let reply = timeout(Duration::from_secs(20), asked).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("default-src 'none'"), "{reply}");
        stop.cancel();
        serving.await.unwrap();
    }
}
