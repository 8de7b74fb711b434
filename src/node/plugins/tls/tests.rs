//! Over real connections, with certificates that are made for each test.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;
use crate::testkit::client::{Answer, Query};
use crate::testkit::node::{Builder, TestNode};

/// An authority with files for whoever asks it for some.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &pem).unwrap();
        Self { folder, issuer: Issuer::new(params, key), pem }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// New files `NAME.pem` and `NAME.key`, valid for `dns.example`.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["dns.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        std::fs::write(self.path(&format!("{name}.pem")), &pem).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        (pem, key.serialize_pem())
    }

    /// A Corefile for a listener with the files `server`, relative to `root`.
    fn corefile(&self, tls: &str, lines: &str) -> String {
        format!(
            "tls://.:0 {{\n bind 127.0.0.1\n root {}\n tls server.pem server.key {tls}\n {lines}\n \
             prometheus 127.0.0.1:0\n}}\n",
            self.folder.path().display()
        )
    }

    /// A client that trusts it; with a certificate of its own from `other`.
    fn client(&self, own: Option<&(String, String)>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((pem, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

async fn connect(connector: &TlsConnector, node: &TestNode) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(node.dns).await?;
    connector.connect(ServerName::try_from("dns.example").unwrap(), stream).await
}

async fn ask(stream: &mut TlsStream<TcpStream>, query: &Query) -> std::io::Result<Answer> {
    let message = query.bytes();
    stream.write_all(&[&(message.len() as u16).to_be_bytes()[..], &message].concat()).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    Answer::parse(reply)
}

/// Whether a client gets an answer.
async fn answered(connector: &TlsConnector, node: &TestNode) -> bool {
    let Ok(mut stream) = connect(connector, node).await else { return false };
    // With TLS 1.3 a refusal of the client's certificate comes after its handshake.
    ask(&mut stream, &Query::a("x.")).await.is_ok()
}

#[tokio::test]
async fn tls_certificate_and_key() {
    let authority = Authority::new();
    authority.issue("server");
    let node = TestNode::start(&authority.corefile("", ""));
    let mut stream = connect(&authority.client(None), &node).await.unwrap();
    for id in 0..3 {
        assert_eq!(ask(&mut stream, &Query::a("x.").id(id)).await.unwrap().message.metadata.id, id);
    }
    let server = r#"server="tls://127.0.0.1:0",zone=".",view="",proto="tcp""#;
    assert!(node.scrape().contains(&format!("coredns_dns_requests_total{{{server}")), "{}", node.scrape());
    // Neither in the clear nor over UDP is there anything to hear.
    assert!(
        timeout(Duration::from_secs(4), node.client().tcp(&Query::a("x."))).await.is_ok_and(|r| r.is_err())
    );
    let udp = std::fs::read_to_string("/proc/net/udp").unwrap();
    assert!(!udp.contains(&format!(":{:04X} ", node.dns.port())));
    assert!(!answered(&Authority::new().client(None), &node).await, "a client that trusts somebody else");
}

#[tokio::test]
async fn tls_client_auth() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.issue("server");
    let (own, foreign) = (authority.issue("client"), other.issue("client"));
    for (auth, ca, want) in [
        // Whether a client is answered without a certificate, with one of the authority, with another's.
        ("nocert", "", [true, true, true]),
        ("request", "", [true, true, true]),
        ("require", "", [false, true, true]),
        ("verify_if_given", "ca.pem", [true, true, false]),
        ("require_and_verify", "ca.pem", [false, true, false]),
    ] {
        let corefile = authority.corefile(&format!("{ca} {{\n client_auth {auth}\n }}"), "");
        let node = TestNode::start(&corefile);
        let mut got = [false; 3];
        for (got, own) in got.iter_mut().zip([None, Some(&own), Some(&foreign)]) {
            *got = answered(&authority.client(own), &node).await;
        }
        assert_eq!(got, want, "{auth}");
    }
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut_off() {
    let authority = Authority::new();
    authority.issue("server");
    let node = TestNode::start(&authority.corefile("", "timeouts {\n read 1s\n }"));
    let mut stream = TcpStream::connect(node.dns).await.unwrap();
    stream.write_all(&[22, 3, 1]).await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.expect("it is closed");
    assert!(answered(&authority.client(None), &node).await);
}

#[tokio::test]
async fn renewed_certificates_are_taken_up_by_a_look_and_by_a_reload_without_losing_a_connection() {
    let authority = Authority::new();
    authority.issue("server");
    let corefile = authority.corefile("", "");
    let mut node = TestNode::start(&corefile);
    let connector = authority.client(None);
    let shown = async |node: &TestNode| {
        let stream = connect(&connector, node).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let mut open = connect(&connector, &node).await.unwrap();
    let first = shown(&node).await;
    authority.issue("server");
    assert_eq!(shown(&node).await, first, "nobody has looked");
    node.reload(&corefile).await.unwrap();
    let second = shown(&node).await;
    assert_ne!(second, first);
    ask(&mut open, &Query::a("x.")).await.unwrap();

    std::fs::write(authority.path("server.key"), "no key").unwrap();
    let error = node.reload(&corefile).await.unwrap_err().to_string();
    assert!(error.starts_with("Corefile:4") && error.contains("server.key holds no private key"), "{error}");
    assert_eq!(shown(&node).await, second);
    ask(&mut open, &Query::a("x.")).await.unwrap();
}

#[test]
fn a_look_says_what_has_happened_to_the_files_once() {
    let authority = Authority::new();
    authority.issue("server");
    let files = Files {
        certificate: authority.path("server.pem"),
        key: authority.path("server.key"),
        authorities: None,
        client_auth: ClientAuth::None,
    };
    let identity = Identity::read(files).unwrap();
    assert!(matches!(identity.refresh(), Refreshed::Same));
    authority.issue("server");
    assert!(matches!(identity.refresh(), Refreshed::Changed));
    assert!(matches!(identity.refresh(), Refreshed::Same));
    // The certificate of one key beside another key.
    let (pem, _) = authority.issue("other");
    std::fs::write(authority.path("server.pem"), pem).unwrap();
    assert!(matches!(identity.refresh(), Refreshed::Broken(_)));
    assert!(matches!(identity.refresh(), Refreshed::Same));
    std::fs::remove_file(authority.path("server.pem")).unwrap();
    assert!(matches!(identity.refresh(), Refreshed::Broken(_)));
    assert!(matches!(identity.refresh(), Refreshed::Same));
    authority.issue("server");
    assert!(matches!(identity.refresh(), Refreshed::Changed));
}

#[test]
fn what_is_written_is_checked() {
    let authority = Authority::new();
    authority.issue("server");
    authority.issue("other");
    let dir = authority.folder.path().display();
    let check = |block: &str| Builder::default().check(&block.replace("DIR", &dir.to_string()));
    for (text, want) in [
        ("tls://. {\n debug\n}\n", "tls://:853 has no certificate: write 'tls CERT KEY'"),
        ("tls://. {\n tls a\n}\n", "write 'tls CERT KEY [CA]'"),
        ("tls://. {\n tls DIR/none.pem DIR/server.key\n}\n", "reading DIR/none.pem: No such file"),
        ("tls://. {\n tls DIR/server.key DIR/server.key\n}\n", "holds no certificate in PEM"),
        ("tls://. {\n tls DIR/server.pem DIR/other.key\n}\n", "server.pem and its key"),
        (
            "tls://. {\n tls DIR/server.pem DIR/server.key {\n client_auth maybe\n }\n}\n",
            "require_and_verify",
        ),
        (
            "tls://. {\n tls DIR/server.pem DIR/server.key {\n client_auth require_and_verify\n }\n}\n",
            "write 'tls CERT KEY CA'",
        ),
        ("tls://. {\n tls DIR/server.pem DIR/server.key {\n alpn dot\n }\n}\n", "unknown property 'alpn'"),
        (
            "tls://. {\n tls DIR/server.pem DIR/server.key\n tls DIR/server.pem DIR/server.key\n}\n",
            "TLS already configured",
        ),
        (
            "tls://. {\n tls DIR/server.pem DIR/server.key\n}\ntls://a {\n tls DIR/other.pem DIR/other.key\n}\n",
            "has other certificates",
        ),
        (
            "tls://. {\n tls DIR/server.pem DIR/server.key\n}\ntls://. {\n tls DIR/server.pem DIR/server.key\n}\n",
            "cannot serve tls://.:853 - it is already defined",
        ),
        (
            "tls://.:53 {\n tls DIR/server.pem DIR/server.key\n}\n.:53 {\n debug\n}\n",
            "cannot serve tls://:53 - dns://:53 has its address",
        ),
        ("https://. {\n tls DIR/server.pem DIR/server.key\n}\n", "https listeners are not supported"),
    ] {
        let error = check(text).map(drop).unwrap_err().to_string();
        let want = want.replace("DIR", &dir.to_string());
        assert!(error.starts_with("Corefile:") && error.contains(&want), "{text}: {error}");
    }
    let plan = check("tls://. a:54 {\n tls DIR/server.pem DIR/server.key\n}\n").unwrap();
    let banners: Vec<_> = plan.servers.iter().map(|s| (&*s.identity, s.banner.join(" "))).collect();
    assert_eq!(banners, [("dns://:54", "a.:54".to_owned()), ("tls://:853", "tls://.:853".to_owned())]);
    assert_eq!(plan.process.warnings, []);
    let warns = |text| check(text).unwrap().process.warnings[0].text.clone();
    let text = ". {\n tls DIR/server.pem DIR/server.key\n}\n";
    assert!(warns(text).contains("no key of its server block begins with tls://"));
    let text = "tls://. {\n tls DIR/server.pem DIR/server.key DIR/ca.pem\n}\n";
    assert!(warns(text).contains("the CA has no effect"));
}
