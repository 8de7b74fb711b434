//! The smallest server that a node takes for an API server: one service, whole lists, watches that say nothing.
//! It has what options can change: plain or TLS with client certificates, who asks, how much at once.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use bytes::Bytes;
use futures_util::stream;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

/// The resourceVersion of everything.
const VERSION: &str = "100";

/// A server until the test ends.
pub(super) struct ApiServer {
    /// Where it is.
    pub(super) url: String,
    seen: Arc<Seen>,
}

/// What it was asked.
struct Seen {
    /// The cluster address of web.shop.
    address: String,
    /// Paths with the bearer tokens that came with them.
    requests: Mutex<Vec<(String, Option<String>)>>,
    /// Whole lists that wait for their answer: now, and the most at any time.
    waiting: Mutex<(usize, usize)>,
    /// One permit for each whole list that may be answered.
    gate: Semaphore,
}

impl ApiServer {
    /// On plain HTTP; `address` is that of web.shop.
    pub(super) async fn start(address: &str) -> Self {
        Self::serve(address, Semaphore::MAX_PERMITS).await
    }

    /// One that answers whole lists only when [`answer_one`](Self::answer_one) says so.
    pub(super) async fn start_held(address: &str) -> Self {
        Self::serve(address, 0).await
    }

    async fn serve(address: &str, permits: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, router) = router(address, permits);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    /// On HTTPS, for clients with a certificate of `authority` only.
    pub(super) async fn start_tls(address: &str, authority: &Authority) -> Self {
        let tcp = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("https://{}", tcp.local_addr().unwrap());
        let (seen, router) = router(address, Semaphore::MAX_PERMITS);
        let listener = TlsListener { tcp, acceptor: authority.acceptor() };
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    /// How many requests it has had.
    pub(super) fn requests(&self) -> usize {
        self.seen.requests.lock().unwrap().len()
    }

    /// The bearer token of every request, which has to be the same.
    pub(super) fn token(&self) -> Option<String> {
        let requests = self.seen.requests.lock().unwrap();
        let first = requests.first().and_then(|(_, token)| token.clone());
        assert!(requests.iter().all(|(_, token)| *token == first), "{requests:?}");
        first
    }

    /// Whole lists that wait for their answer: now, and the most at any time.
    pub(super) fn waiting(&self) -> (usize, usize) {
        *self.seen.waiting.lock().unwrap()
    }

    /// Lets one whole list be answered.
    pub(super) fn answer_one(&self) {
        self.seen.gate.add_permits(1);
    }
}

fn router(address: &str, permits: usize) -> (Arc<Seen>, Router) {
    let seen = Arc::new(Seen {
        address: address.to_owned(),
        requests: Mutex::default(),
        waiting: Mutex::default(),
        gate: Semaphore::new(permits),
    });
    (seen.clone(), Router::new().fallback(answer).with_state(seen))
}

async fn answer(State(seen): State<Arc<Seen>>, uri: Uri, headers: HeaderMap) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    seen.requests.lock().unwrap().push((uri.to_string(), token.map(str::to_owned)));
    let value = |key: &str| {
        let mut pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(name, value)| (name == key).then_some(value))
    };
    let says = |key: &str| value(key).is_some_and(|v| v == "true" || v == "1");
    if says("sendInitialEvents") {
        let message = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid",
            "code": 422, "message": message});
        return (StatusCode::UNPROCESSABLE_ENTITY, status.to_string()).into_response();
    }
    if says("watch") {
        return Body::from_stream(stream::pending::<io::Result<Bytes>>()).into_response();
    }
    let Some((kind, items)) = seen.items(uri.path()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let small = value("fieldSelector").is_some() || value("limit") == Some("1");
    if !small {
        seen.wait().await;
    }
    let version = if uri.path().starts_with("/apis/discovery") { "discovery.k8s.io/v1" } else { "v1" };
    let list = json!({"kind": format!("{kind}List"), "apiVersion": version,
        "metadata": {"resourceVersion": VERSION}, "items": items});
    ([(header::CONTENT_TYPE, "application/json")], list.to_string()).into_response()
}

impl Seen {
    /// Waits until a whole list may be answered.
    async fn wait(&self) {
        let change = |by: isize| {
            let mut waiting = self.waiting.lock().unwrap();
            waiting.0 = waiting.0.checked_add_signed(by).unwrap();
            waiting.1 = waiting.1.max(waiting.0);
        };
        change(1);
        self.gate.acquire().await.unwrap().forget();
        change(-1);
    }

    /// The kind and the objects at a path.
    fn items(&self, path: &str) -> Option<(&'static str, Value)> {
        let metadata = |name: &str, namespace: Option<&str>| {
            let uid = format!("uid-of-{name}");
            let labels = namespace.map(|_| json!({"kubernetes.io/service-name": "web"}));
            json!({"name": name, "namespace": namespace, "uid": uid, "labels": labels,
                "resourceVersion": VERSION})
        };
        Some(match path {
            // A field selector would leave kube-system alone; nobody minds the other.
            "/api/v1/namespaces" => (
                "Namespace",
                json!([{"metadata": metadata("kube-system", None)}, {"metadata": metadata("shop", None)}]),
            ),
            "/api/v1/services" => (
                "Service",
                json!([{
                    "metadata": metadata("web", Some("shop")),
                    "spec": {"type": "ClusterIP", "clusterIP": self.address, "clusterIPs": [self.address],
                        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
                }]),
            ),
            // A cluster without any would not be believed by a node that has known some.
            "/apis/discovery.k8s.io/v1/endpointslices" => (
                "EndpointSlice",
                json!([{
                    "metadata": metadata("web-1", Some("shop")),
                    "addressType": "IPv4",
                    "endpoints": [{"addresses": ["10.244.0.7"], "conditions": {"ready": true}}],
                    "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
                }]),
            ),
            "/api/v1/pods" => ("Pod", json!([])),
            _ => return None,
        })
    }
}

/// TCP with TLS above it; connections that fail are somebody else's problem.
struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// Signs a server's certificate and a client's, and keeps the client's files.
pub(super) struct Authority {
    folder: TempDir,
    certificate: CertificateDer<'static>,
    server: (CertificateDer<'static>, Vec<u8>),
}

impl Authority {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap();
        write("ca.crt", &authority.pem());
        let issuer = Issuer::new(params, key);

        let signed = |names: Vec<String>| {
            let key = KeyPair::generate().unwrap();
            (CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap(), key)
        };
        let (client, client_key) = signed(vec!["node".to_owned()]);
        write("client.crt", &client.pem());
        write("client.key", &client_key.serialize_pem());
        let (server, server_key) = signed(vec!["127.0.0.1".to_owned()]);
        let server = (server.der().clone(), server_key.serialize_pem().into_bytes());
        Self { certificate: authority.der().clone(), server, folder }
    }

    /// One of `ca.crt`, `client.crt`, `client.key`.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let (certificate, key) = &self.server;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.clone()], PrivateKeyDer::from_pem_slice(key).unwrap())
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
