//! Certificates for tests: right ones, and wrong ones of each kind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that is set up wrong has to fail")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use tempfile::TempDir;
use x509_parser::time::ASN1Time;

use crate::ops::clock::WallClock;
use crate::trust::config::{DEFAULT_GRACE, TlsFiles};
use crate::trust::name::Role;

/// A day, in seconds.
pub const DAY: i64 = 86_400;

/// The time of [`Dates::default`] and of [`clock`]: 2026-01-01T00:00:00Z in Unix seconds.
pub const NOW: i64 = 1_767_225_600;

/// From and until when a certificate counts, in days from [`NOW`].
#[derive(Clone, Copy, Debug)]
pub struct Dates {
    /// From.
    pub from: i64,
    /// Until.
    pub until: i64,
}

impl Default for Dates {
    fn default() -> Self {
        Self { from: -30, until: 335 }
    }
}

impl Dates {
    /// Over for this many days.
    pub const fn ended(days: i64) -> Self {
        Self { from: -365, until: -days }
    }

    /// Dates around the real time, for processes whose clock is not a test's.
    pub fn real() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let days = (now as i64 - NOW) / DAY;
        Self { from: days - 30, until: days + 335 }
    }

    /// The same, so many days later.
    pub const fn later(self, days: i64) -> Self {
        Self { from: self.from + days, until: self.until + days }
    }
}

/// A clock that stands at [`NOW`] plus these days, until it is moved.
pub fn clock(days: i64) -> (Arc<WallClock>, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(u64::try_from((NOW + days * DAY) * 1000).unwrap()));
    let read = now.clone();
    (Arc::new(WallClock::with_system(0, move || read.load(Ordering::Relaxed))), now)
}

/// A certificate to make. The default is a node's, right in everything.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Its dates.
    pub dates: Dates,
    /// Its DNS name.
    pub dns_name: String,
    /// Whether it says that it is for servers.
    pub for_servers: bool,
    /// Whether it says that it is for clients.
    pub for_clients: bool,
}

impl Leaf {
    /// A right one for a role.
    pub fn of(role: Role) -> Self {
        Self {
            dates: Dates::default(),
            dns_name: role.dns_name().to_owned(),
            for_servers: role == Role::Hub,
            for_clients: true,
        }
    }

    /// With other dates.
    pub fn dates(mut self, dates: Dates) -> Self {
        self.dates = dates;
        self
    }

    /// With another name.
    pub fn named(mut self, dns_name: &str) -> Self {
        dns_name.clone_into(&mut self.dns_name);
        self
    }
}

/// An authority, or one that an authority has appointed.
pub struct Ca {
    /// Issues.
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Certificates between its own and the root's, PEM, its own first; empty for a root.
    chain: String,
    /// The root's certificate, PEM.
    root: String,
}

impl Ca {
    /// A root.
    pub fn new() -> Self {
        let issuer =
            CertifiedIssuer::self_signed(ca_params(Dates::default()), KeyPair::generate().unwrap()).unwrap();
        Self { chain: String::new(), root: issuer.pem(), issuer }
    }

    /// One that this one appoints.
    pub fn appoint(&self, dates: Dates) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::signed_by(ca_params(dates), key, &self.issuer).unwrap();
        Self { chain: issuer.pem() + &self.chain, root: self.root.clone(), issuer }
    }

    /// The root's certificate, PEM.
    pub fn root_pem(&self) -> &str {
        &self.root
    }

    /// A certificate with its chain, and its key, PEM.
    pub fn issue(&self, leaf: &Leaf) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = dated(leaf.dates);
        params.distinguished_name.push(DnType::CommonName, &*leaf.dns_name);
        params.subject_alt_names = vec![SanType::DnsName(leaf.dns_name.as_str().try_into().unwrap())];
        let purposes = [
            (leaf.for_servers, ExtendedKeyUsagePurpose::ServerAuth),
            (leaf.for_clients, ExtendedKeyUsagePurpose::ClientAuth),
        ];
        params.extended_key_usages =
            purposes.into_iter().filter(|(has, _)| *has).map(|(_, purpose)| purpose).collect();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem() + &self.chain, key.serialize_pem())
    }
}

impl Default for Ca {
    fn default() -> Self {
        Self::new()
    }
}

fn ca_params(dates: Dates) -> CertificateParams {
    let mut params = dated(dates);
    // Two of the same name are told apart by nothing but their keys.
    params
        .distinguished_name
        .push(DnType::CommonName, format!("test authority {:08x}", rand::random::<u32>()));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn dated(dates: Dates) -> CertificateParams {
    let date = |days: i64| ASN1Time::from_timestamp(NOW + days * DAY).unwrap().to_datetime();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    (params.not_before, params.not_after) = (date(dates.from), date(dates.until));
    params
}

/// The files of an identity in a folder that goes away with this.
pub struct IdentityFolder {
    /// The folder.
    folder: TempDir,
}

impl IdentityFolder {
    /// An empty one.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// With a certificate of `ca` that believes those of `believes`.
    pub fn new(ca: &Ca, leaf: &Leaf, believes: &Ca) -> Self {
        let folder = Self::empty();
        folder.put(ca, leaf, believes);
        folder
    }

    /// A right one for a role, of one authority, around the real time.
    pub fn real(ca: &Ca, role: Role) -> Self {
        Self::new(ca, &Leaf::of(role).dates(Dates::real()), ca)
    }

    /// Exchanges all files.
    pub fn put(&self, ca: &Ca, leaf: &Leaf, believes: &Ca) {
        let (certificate, key) = ca.issue(leaf);
        self.write("ca.crt", believes.root_pem());
        self.write("tls.crt", &certificate);
        self.write("tls.key", &key);
    }

    /// Exchanges one file.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// A file's path.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The files, with the default grace.
    pub fn files(&self) -> TlsFiles {
        self.files_with(DEFAULT_GRACE)
    }

    /// The files, with a grace.
    pub fn files_with(&self, grace: Duration) -> TlsFiles {
        TlsFiles { ca: self.path("ca.crt"), cert: self.path("tls.crt"), key: self.path("tls.key"), grace }
    }
}
