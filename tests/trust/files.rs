//! Files that are exchanged while connections come, and others that speak TLS but not as we do.

use std::sync::Arc;

use outlast::testkit::certs::{Ca, IdentityFolder, Leaf, clock};
use outlast::trust::error::TrustError;
use outlast::trust::identity::HANDSHAKE_TIMEOUT;
use outlast::trust::name::Role;
use outlast::trust::peer::BROKEN_FILES;
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio_rustls::{TlsConnector, rustls};

use super::{Sides, address, series};

/// Longer than a look at the files is good for.
async fn a_while() {
    tokio::time::advance(std::time::Duration::from_secs(7)).await;
}

#[tokio::test(start_paused = true)]
async fn files_decide_nothing_at_start_and_count_once_they_are_right() {
    let (ca, (clock, _)) = (Ca::new(), clock(0));
    let hub = IdentityFolder::empty();
    let node = IdentityFolder::new(&ca, &Leaf::of(Role::Node), &ca);
    let sides = Sides::new(hub.files(), node.files(), &clock);
    let missing = sides.meet().await.hub.unwrap_err();
    assert!(matches!(missing, TrustError::NoIdentity(_)), "{missing}");
    assert!(missing.to_string().contains(&hub.path("ca.crt").display().to_string()), "{missing}");

    hub.put(&ca, &Leaf::of(Role::Hub), &ca);
    a_while().await;
    assert!(sides.meet().await.hub.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_said_with_the_files_name() {
    struct Case {
        name: &'static str,
        file: &'static str,
        text: fn(&Ca) -> String,
        want: &'static str,
    }
    let cases = [
        Case {
            name: "no PEM",
            file: "tls.crt",
            text: |_| "?".into(),
            want: "tls.crt holds no certificate in PEM",
        },
        Case {
            name: "no authority",
            file: "ca.crt",
            text: |_| String::new(),
            want: "ca.crt holds no certificate",
        },
        Case {
            name: "no key",
            file: "tls.key",
            text: |_| String::new(),
            want: "tls.key holds no private key",
        },
        Case {
            name: "another's key",
            file: "tls.key",
            text: |ca| ca.issue(&Leaf::of(Role::Hub)).1,
            want: "tls.crt and its key",
        },
        Case {
            name: "a key for a certificate",
            file: "tls.crt",
            text: |ca| ca.issue(&Leaf::of(Role::Hub)).1,
            want: "tls.crt holds no certificate",
        },
        Case {
            name: "what is no certificate inside",
            file: "ca.crt",
            text: |_| "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
            want: "ca.crt holds no authority's certificate",
        },
    ];
    let (ca, (clock, _)) = (Ca::new(), clock(0));
    let node = IdentityFolder::new(&ca, &Leaf::of(Role::Node), &ca);
    for Case { name, file, text, want } in cases {
        let hub = IdentityFolder::new(&ca, &Leaf::of(Role::Hub), &ca);
        hub.write(file, &text(&ca));
        let sides = Sides::new(hub.files(), node.files(), &clock);
        let error = sides.meet().await.hub.unwrap_err().to_string();
        assert!(error.contains(want), "{name}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_is_taken_whole_and_the_last_good_one_stays() {
    let (ca, next_ca, (clock, _)) = (Ca::new(), Ca::new(), clock(0));
    let hub = IdentityFolder::new(&ca, &Leaf::of(Role::Hub), &ca);
    let node = IdentityFolder::new(&ca, &Leaf::of(Role::Node), &ca);
    let sides = Sides::new(hub.files(), node.files(), &clock);
    assert!(sides.meet().await.hub.is_ok());

    // Half a change: the key is not the certificate's.
    let (certificate, key) = next_ca.issue(&Leaf::of(Role::Hub));
    hub.write("tls.crt", &certificate);
    a_while().await;
    assert!(sides.meet().await.hub.is_ok(), "the last good set stays");
    assert_eq!(series(&sides.hub_metrics, BROKEN_FILES, "tls.crt"), 1.0);
    a_while().await;
    assert!(sides.meet().await.hub.is_ok(), "and is not asked about again");
    assert_eq!(series(&sides.hub_metrics, BROKEN_FILES, "tls.crt"), 1.0);

    // The other half. Nobody believes the new authority yet: that the new set is used shows in that.
    hub.write("tls.key", &key);
    a_while().await;
    assert!(sides.meet().await.node.unwrap_err().contains("UnknownIssuer"));

    // Both authorities in one file: how an authority is exchanged without an interruption.
    node.write("ca.crt", &format!("{}{}", ca.root_pem(), next_ca.root_pem()));
    a_while().await;
    assert!(sides.meet().await.hub.is_ok());

    // Gone: as good as broken.
    std::fs::remove_file(hub.path("tls.key")).unwrap();
    a_while().await;
    assert!(sides.meet().await.hub.is_ok());
    assert_eq!(series(&sides.hub_metrics, BROKEN_FILES, "tls.crt"), 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_handshakes_is_none_of_reads() {
    let (ca, (clock, _)) = (Ca::new(), clock(0));
    let hub = IdentityFolder::new(&ca, &Leaf::of(Role::Hub), &ca);
    let node = IdentityFolder::new(&ca, &Leaf::of(Role::Node), &ca);
    let sides = Sides::new(hub.files(), node.files(), &clock);
    assert!(sides.meet().await.hub.is_ok());
    // Within the same second nobody looks: files that are gone are not missed.
    std::fs::remove_file(hub.path("tls.crt")).unwrap();
    for _ in 0..20 {
        assert!(sides.meet().await.hub.is_ok());
    }
    assert_eq!(series(&sides.hub_metrics, BROKEN_FILES, "tls.crt"), 0.0);
}

// === Others ===

/// A client of TLS without a certificate that believes `ca`.
fn stranger(ca: &Ca, version: &'static SupportedProtocolVersion, alpn: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.root_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn strangers_are_refused() {
    struct Case {
        name: &'static str,
        version: &'static SupportedProtocolVersion,
        alpn: &'static [&'static str],
        want: &'static str,
    }
    let cases = [
        Case { name: "no certificate", version: &TLS13, alpn: &["h2"], want: "no certificates" },
        Case { name: "TLS 1.2", version: &TLS12, alpn: &["h2"], want: "incompatible" },
        Case { name: "HTTP/1.1", version: &TLS13, alpn: &["http/1.1"], want: "protocol" },
    ];
    // Of the real time, because strangers have the real clock.
    let ca = Ca::new();
    let hub = IdentityFolder::real(&ca, Role::Hub);
    let clock = Arc::new(outlast::ops::clock::WallClock::new(0));
    let sides = Sides::new(hub.files(), hub.files(), &clock);
    for Case { name, version, alpn, want } in cases {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let dialling = stranger(&ca, version, alpn);
        let dialling = dialling.connect(Role::Hub.dns_name().try_into().unwrap(), theirs);
        let (accepted, _) = tokio::join!(sides.acceptor.accept(ours, address()), dialling);
        let error = accepted.map(|(_, peer)| peer).expect_err(name).to_string();
        assert!(error.to_lowercase().contains(want), "{name}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_left() {
    let (ca, (clock, _)) = (Ca::new(), clock(0));
    let hub = IdentityFolder::new(&ca, &Leaf::of(Role::Hub), &ca);
    let sides = Sides::new(hub.files(), hub.files(), &clock);
    let (ours, _theirs) = tokio::io::duplex(64 << 10);
    let began = tokio::time::Instant::now();
    let error = sides.acceptor.accept(ours, address()).await.err().unwrap();
    assert!(matches!(error, TrustError::TimedOut { .. }), "{error}");
    let (ours, _theirs) = tokio::io::duplex(64 << 10);
    assert!(sides.connector.connect(ours, address()).await.is_err());
    assert!(began.elapsed() >= 2 * HANDSHAKE_TIMEOUT);
}
