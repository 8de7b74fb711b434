//! TLS, tokens and authorities, and what happens when their files are replaced.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::super::access::{Access, Limits, Place, TlsFiles};
use super::super::fault::Fault;
use super::super::list::small;
use super::super::test_support::{Reply, Server};
use crate::zone::object::Kind;

/// A certificate authority of its own, and a server's certificate of it.
struct Authority {
    pem: String,
    acceptor: TlsAcceptor,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["api.test".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![server.der().clone()], key)
        .unwrap();
    Authority { pem: issuer.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) }
}

fn ok() -> Reply {
    Reply::new("200 OK", "", r#"{"kind":"ServiceList","metadata":{"resourceVersion":"5"},"items":[]}"#)
}

/// A kubeconfig in `folder` that names the files `ca` and `token`.
fn kubeconfig(folder: &Path) -> Access {
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n\
        clusters: [{name: a, cluster: {server: 'https://api.test:6443', certificate-authority: ca}}]\n\
        users: [{name: a, user: {tokenFile: token}}]\n";
    let file = folder.join("kubeconfig");
    fs::write(&file, text).unwrap();
    Access { place: Place::Kubeconfig { file, context: None }, limits: Limits::default() }
}

/// The token of each request.
fn tokens(server: &Server) -> Vec<String> {
    let of = |head: &String| {
        head.lines().find_map(|l| l.strip_prefix("authorization: Bearer ").map(str::to_owned))
    };
    server.heads().iter().filter_map(of).collect()
}

#[tokio::test]
async fn a_refused_token_is_read_anew() {
    let (folder, authority) = (TempDir::new().unwrap(), authority());
    fs::write(folder.path().join("ca"), &authority.pem).unwrap();
    fs::write(folder.path().join("token"), "old").unwrap();
    let server = Server::new([ok(), Reply::new("401 Unauthorized", "", ""), ok()]);
    server.secure(authority.acceptor);
    let client = server.client_at(kubeconfig(folder.path()));
    assert_eq!(small(&client, Kind::Service).await, Ok(5));
    fs::write(folder.path().join("token"), "new\n").unwrap();
    // The change has not been looked at yet: the server's refusal is what tells.
    assert!(matches!(small(&client, Kind::Service).await, Err(Fault::Denied { .. })));
    assert_eq!(small(&client, Kind::Service).await, Ok(5));
    assert_eq!(tokens(&server), ["old", "old", "new"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_token_is_seen_without_a_refusal() {
    let (folder, authority) = (TempDir::new().unwrap(), authority());
    fs::write(folder.path().join("ca"), &authority.pem).unwrap();
    fs::write(folder.path().join("token"), "old").unwrap();
    let server = Server::new([ok(), ok(), ok()]);
    server.secure(authority.acceptor);
    let client = server.client_at(kubeconfig(folder.path()));
    assert_eq!(small(&client, Kind::Service).await, Ok(5));
    fs::write(folder.path().join("token"), "newer").unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(small(&client, Kind::Service).await, Ok(5));
    // One that cannot be used leaves the one before in place.
    fs::write(folder.path().join("token"), "").unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(small(&client, Kind::Service).await, Ok(5));
    assert_eq!(tokens(&server), ["old", "newer", "newer"]);
}

#[tokio::test]
async fn a_replaced_authority_is_trusted_after_the_first_failure() {
    let (folder, before, after) = (TempDir::new().unwrap(), authority(), authority());
    let path = |name: &str| folder.path().join(name);
    let (cert, key, ca) = (path("cert"), path("key"), path("ca"));
    let own = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    fs::write(&cert, own.cert.pem()).unwrap();
    fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    fs::write(&ca, &before.pem).unwrap();
    let tls = Some(TlsFiles { cert, key, ca: ca.clone() });
    let place = Place::Endpoint { url: "https://api.test:6443".into(), tls };
    let server = Server::new([ok(), ok()]);
    server.secure(after.acceptor);
    let client = server.client_at(Access { place, limits: Limits::default() });
    let Err(Fault::Unreachable { why }) = small(&client, Kind::Service).await else { panic!() };
    assert!(why.contains("certificate"), "{why}");
    fs::write(&ca, &after.pem).unwrap();
    assert_eq!(small(&client, Kind::Service).await, Ok(5));
    // Another name than the certificate's.
    let place = Place::Endpoint { url: "https://other.test".into(), tls: None };
    let stranger = server.client_at(Access { place, limits: Limits::default() });
    assert!(matches!(small(&stranger, Kind::Service).await, Err(Fault::Unreachable { .. })));
}

#[tokio::test]
async fn a_configuration_may_come_later() {
    let folder = TempDir::new().unwrap();
    let server = Server::new([ok()]);
    let file = folder.path().join("kubeconfig");
    let place = Place::Kubeconfig { file: file.clone(), context: None };
    let client = server.client_at(Access { place, limits: Limits::default() });
    for text in [None, Some("clusters: ["), Some("kind: Config\n")] {
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
        }
        let Err(Fault::Unreachable { why }) = small(&client, Kind::Service).await else { panic!("{text:?}") };
        assert!(why.contains(file.to_str().unwrap()), "{why}");
    }
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a}}]\n\
        clusters: [{name: a, cluster: {server: 'http://api.test:8080'}}]\n";
    fs::write(&file, text).unwrap();
    assert_eq!(small(&client, Kind::Service).await, Ok(5));
}
