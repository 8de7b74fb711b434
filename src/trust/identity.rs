//! The own certificate, and whom to believe, as the files have them now.
//!
//! The files are looked at every minute, and before a handshake if the last look is some seconds ago: who has just
//! put new ones there need not wait. Looks are made beside the runtime's threads, one at a time; a disk that hangs
//! holds up a connection for a second at most, which then goes on with the last good files.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_util::task::AbortOnDropHandle;

use super::config::TlsFiles;
use super::error::TrustError;
use super::facts::Facts;
use super::files::{Look, Watched};
use super::peer::{Peer, Report, Side};
use super::pem::{self, PemError};
use super::verify::Chains;
use crate::ops::clock::WallClock;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;

/// How long a handshake may take, the look at our own files included: two round trips, and a busy hub that has to
/// take a thousand others at the same time.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks without a handshake. Certificates are renewed long before they end; a minute is for people who
/// wait.
const LOOK: Duration = Duration::from_secs(60);

/// A look younger than this is good enough for a handshake: a storm of connections does not become one of reads.
const FRESH: Duration = Duration::from_secs(5);

/// How much both vary: a fleet does not read its secrets in one second.
const SWING: f64 = 0.2;

/// How long a handshake waits for the files: longer than any healthy disk takes.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the files make of us, and of others.
#[derive(Debug)]
pub(super) struct Identity {
    /// The own chain and key.
    pub(super) own: Arc<CertifiedKey>,
    /// Judges the chains of others.
    pub(super) chains: Arc<Chains>,
    /// What the own certificate says.
    pub(super) facts: Facts,
}

impl Identity {
    /// Makes one of the contents of [`paths`].
    fn make(
        files: &TlsFiles,
        texts: &[Vec<u8>],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<Self>, PemError> {
        let text = |at: usize| texts.get(at).map_or(&[][..], Vec::as_slice);
        let roots = pem::authorities(&files.ca, text(0))?;
        let chain = pem::certificates(&files.cert, text(1))?;
        let key = pem::private_key(&files.key, text(2))?;
        let wrong = |path: &PathBuf, what, why: String| PemError::Wrong { path: path.clone(), what, why };
        let facts = Facts::read(chain.first().expect("there is at least one"))
            .map_err(|error| wrong(&files.cert, "certificate", error.to_string()))?;
        let own = CertifiedKey::from_der(chain, key, provider)
            .map_err(|source| PemError::Mismatch { path: files.cert.clone(), source })?;
        let chains = Chains::new(roots, files.grace, provider)
            .map_err(|why| wrong(&files.ca, "authority's certificate", why))?;
        Ok(Arc::new(Self { own: Arc::new(own), chains: Arc::new(chains), facts }))
    }
}

/// The files in the order in which [`Identity::make`] takes them.
fn paths(files: &TlsFiles) -> Vec<PathBuf> {
    vec![files.ca.clone(), files.cert.clone(), files.key.clone()]
}

/// The own identity, which follows its files; shared by all that is within TLS.
pub struct Identities {
    /// What the tasks and threads share.
    shared: Arc<Shared>,
    /// The look every minute, which ends with this.
    _watch: AbortOnDropHandle<()>,
}

/// What the watch and the handshakes share.
struct Shared {
    /// Where the files are.
    files: TlsFiles,
    /// How they were found last.
    watched: Watched,
    /// The last good identity, or why there never was one.
    current: ArcSwap<Result<Arc<Identity>, TrustError>>,
    /// From when on a look is worth it. Held for as long as a look takes, so that there is one at a time.
    due: Arc<Mutex<Option<Instant>>>,
    /// Of our cryptography.
    provider: Arc<CryptoProvider>,
    /// The time by which certificates are judged.
    clock: Arc<WallClock>,
    /// Spreads looks.
    jitter: Jitter,
    /// What others are told of.
    report: Report,
}

impl Identities {
    /// The identity of these files, which need not be there yet. Looks at them in a task that ends with this; to be
    /// called within a runtime.
    pub fn new(files: TlsFiles, clock: Arc<WallClock>, metrics: &Metrics) -> Arc<Self> {
        let shared = Arc::new(Shared {
            watched: Watched::new(paths(&files)),
            current: ArcSwap::from_pointee(Err(TrustError::SlowFiles(PATIENCE))),
            due: Arc::default(),
            provider: Arc::new(ring::default_provider()),
            clock,
            jitter: Jitter::for_process(),
            report: Report::new(metrics, &files.cert),
            files,
        });
        let watch = AbortOnDropHandle::new(tokio::spawn(watch(Arc::downgrade(&shared))));
        Arc::new(Self { shared, _watch: watch })
    }

    /// The identity for a handshake that begins now.
    pub(super) async fn current(&self) -> Result<Arc<Identity>, TrustError> {
        self.shared.look().await;
        Result::clone(&self.shared.current.load())
    }

    /// The time by which certificates are judged.
    pub(super) fn clock(&self) -> &Arc<WallClock> {
        &self.shared.clock
    }

    /// Of our cryptography.
    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.shared.provider
    }

    /// What others are told of.
    pub(super) fn report(&self) -> &Report {
        &self.shared.report
    }

    /// A handshake within [`HANDSHAKE_TIMEOUT`] with whoever is at `peer`, and counted.
    pub(super) async fn observed<T>(
        &self,
        side: Side,
        peer: SocketAddr,
        handshake: impl Future<Output = Result<(T, Peer), TrustError>>,
    ) -> Result<(T, Peer), TrustError> {
        let result = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .unwrap_or(Err(TrustError::TimedOut { peer, after: HANDSHAKE_TIMEOUT }));
        match &result {
            Ok((_, peer)) => self.report().accepted(side, peer),
            Err(error) => self.report().failed(side, error),
        }
        result
    }
}

/// Looks at the files now and then, and at how much of the certificate's life is left.
async fn watch(shared: Weak<Shared>) {
    loop {
        let Some(strong) = shared.upgrade() else { return };
        strong.look().await;
        if let Ok(identity) = &**strong.current.load() {
            strong.report.own_life(&identity.facts, unix_seconds(&strong.clock));
        }
        let pause = strong.jitter.spread(LOOK, SWING);
        drop(strong);
        tokio::time::sleep(pause).await;
    }
}

impl Shared {
    /// Has the files looked at unless they were just now, and waits for it, but not for long.
    async fn look(self: &Arc<Self>) {
        let looking = async {
            let mut due = self.due.clone().lock_owned().await;
            let now = Instant::now();
            if due.is_some_and(|due| now < due) {
                return;
            }
            let shared = self.clone();
            // Disks can be slow, and files can be on a network.
            let look = tokio::task::spawn_blocking(move || {
                shared.look_now();
                *due = Some(Instant::now() + shared.jitter.spread(FRESH, SWING));
            });
            // A look that panicked changed nothing.
            let _ = look.await;
        };
        // Out of patience, the thread goes on with the look, and those who come meanwhile wait for it as long.
        let _ = tokio::time::timeout(PATIENCE, looking).await;
    }

    /// Looks at the files. Blocks while it does.
    fn look_now(&self) {
        let file = self.files.cert.display();
        match self.watched.look(|texts| Identity::make(&self.files, texts, &self.provider)) {
            Look::Same => {}
            Look::Changed(identity) => {
                let Facts { subject, serial, not_after, .. } = &identity.facts;
                tracing::info!(%file, subject, serial, not_after, "certificate of our own");
                self.report.own(&identity.facts, unix_seconds(&self.clock));
                self.current.store(Arc::new(Ok(identity)));
            }
            Look::Broken(error) if self.current.load().is_ok() => {
                tracing::error!(%error, "new certificates are broken, those before them stay");
                self.report.broken();
            }
            Look::Broken(error) => {
                tracing::error!(%error, "no certificate of our own, no connection to or from others until there is");
                self.report.broken();
                self.current.store(Arc::new(Err(TrustError::NoIdentity(Arc::new(error)))));
            }
        }
    }
}

/// The time in seconds.
pub(super) fn unix_seconds(clock: &WallClock) -> i64 {
    i64::try_from(clock.now_unix_ms() / 1000).unwrap_or(i64::MAX)
}
