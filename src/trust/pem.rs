//! What PEM files hold, and what is wrong with them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, RootCertStore};

/// The largest file of certificates that is read: chains have a few kilobytes, bundles of authorities some hundred.
pub const MAX_FILE: u64 = 4 << 20;

/// Why files make no identity.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// A file cannot be read.
    #[error("reading {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {what}: {why}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The files do not belong together.
    #[error("{} and its key: {source}", path.display())]
    Mismatch {
        /// The certificate.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// The content of a file, as far as [`MAX_FILE`].
///
/// # Errors
/// A file that cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes)) {
        Ok(_) => Ok(bytes),
        Err(source) => Err(PemError::Unreadable { path: path.to_owned(), source }),
    }
}

/// The certificates of a file, of which there is at least one.
///
/// # Errors
/// No PEM, or no certificate in it.
pub fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let wrong = |why: String| PemError::Wrong { path: path.to_owned(), what: "certificate in PEM", why };
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|e| wrong(e.to_string()))?;
    if all.is_empty() { Err(wrong("there is none in it".to_owned())) } else { Ok(all) }
}

/// The first private key of a file.
///
/// # Errors
/// No PEM, or no key in it.
pub fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| PemError::Wrong {
        path: path.to_owned(),
        what: "private key in PEM",
        why: error.to_string(),
    })
}

/// The authorities of a file, of which there is at least one.
///
/// # Errors
/// No PEM, no certificate in it, or one that can be no authority's.
pub fn authorities(path: &Path, text: &[u8]) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, text)? {
        roots.add(certificate).map_err(|error| PemError::Wrong {
            path: path.to_owned(),
            what: "authority's certificate",
            why: error.to_string(),
        })?;
    }
    Ok(roots)
}
