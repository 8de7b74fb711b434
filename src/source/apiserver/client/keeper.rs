//! The one kube client that all requests share, made when it is first needed and made anew when it may be wrong.
//!
//! It is made anew after a 401, after a connection or a TLS handshake failed, and when a file of its
//! configuration changed. kube itself looks at tokens and authorities once a minute; that is too late for
//! somebody who has just replaced one.
//!
//! Invariants:
//! * Files are read off the async threads, by one job at a time, however slow a disk or an exec plugin is.
//! * A configuration that cannot be read any more leaves a client that works in place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::access::Place;
use super::super::fault::{Fault, said};
use super::super::transport::Transport;
use super::config::{self, Seen};
use super::{connect, deadline};
use crate::ops::blocking;

/// How often the files are looked at, at most: a kubelet takes a minute to replace them, people do not wait
/// longer than this before they look.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long a request waits for that look: it has a client that works.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// A kube client.
pub(super) struct Live {
    /// The client.
    pub(super) kube: kube::Client,
    /// Host and port of the API server, for metrics.
    pub(super) host: Box<str>,
    /// The files it was made of.
    seen: Seen,
    /// Whether it may be wrong.
    doubtful: AtomicBool,
}

impl Live {
    /// The client failed in a way that another configuration may mend.
    pub(super) fn doubt(&self) {
        self.doubtful.store(true, Ordering::Relaxed);
    }
}

/// Keeps the client.
pub(super) struct Keeper {
    /// Where the API server is.
    place: Place,
    /// How connections are made.
    transport: Transport,
    /// The client, and the work on it.
    state: Mutex<State>,
}

/// What is there, and what is under way.
#[derive(Default)]
struct State {
    /// The client that was made last.
    live: Option<Arc<Live>>,
    /// When its files were last looked at.
    looked_at: Option<Instant>,
    /// The job that looks, and reads what has changed.
    job: Option<JoinHandle<Outcome>>,
    /// Whether the last job failed while there was a client: said once.
    complained: bool,
}

/// What a job has found.
enum Outcome {
    /// The files are as they were.
    Same,
    /// Another client.
    New(Box<Live>),
    /// The configuration cannot be read, and why.
    Failed(String),
}

impl Keeper {
    /// Nothing is read before the first request.
    pub(super) fn new(place: Place, transport: Transport) -> Self {
        Self { place, transport, state: Mutex::default() }
    }

    /// The client as of now. Cancel-safe.
    pub(super) async fn get(&self) -> Result<Arc<Live>, Fault> {
        let at = Instant::now() + deadline::CONFIGURE;
        let current = deadline::until(at, "reading the configuration", self.current()).await?;
        current.map_err(|why| Fault::Unreachable { why })
    }

    /// The client as of now, or what is wrong with the configuration, however long that takes.
    async fn current(&self) -> Result<Arc<Live>, String> {
        let mut state = self.state.lock().await;
        loop {
            let now = Instant::now();
            let usable = state.live.clone().filter(|live| !live.doubtful.load(Ordering::Relaxed));
            if let Some(live) = &usable
                && state.looked_at.is_some_and(|at| now < at + LOOK_EVERY)
            {
                return Ok(live.clone());
            }
            let job = state.job.get_or_insert_with(|| {
                let (place, transport, usable) = (self.place.clone(), self.transport.clone(), usable.clone());
                blocking::spawn(move || renew(&place, &transport, usable.as_deref()))
            });
            let ended = match usable {
                Some(_) => tokio::time::timeout(LOOK_LIMIT, job).await.ok(),
                None => Some(job.await),
            };
            state.looked_at = Some(now);
            if ended.is_some() {
                state.job = None;
            }
            let outcome = ended
                .map(|e| e.unwrap_or_else(|e| Outcome::Failed(format!("reading the configuration: {e}"))));
            match (outcome, usable) {
                (Some(Outcome::New(live)), _) => {
                    state.complained = false;
                    return Ok(state.live.insert(Arc::from(live)).clone());
                }
                (Some(Outcome::Failed(why)), Some(live)) => {
                    if !std::mem::replace(&mut state.complained, true) {
                        tracing::warn!(
                            why,
                            "new API server configuration not usable, keeping the one before"
                        );
                    }
                    return Ok(live);
                }
                (_, Some(live)) => return Ok(live),
                (Some(Outcome::Failed(why)), None) => return Err(why),
                // The job began while the client still seemed right. The next one has none to compare with.
                (Some(Outcome::Same) | None, None) => {}
            }
        }
    }
}

/// Makes a client, unless `current` is still what the files say. Blocks.
fn renew(place: &Place, transport: &Transport, current: Option<&Live>) -> Outcome {
    if current.is_some_and(|live| !live.seen.changed()) {
        return Outcome::Same;
    }
    let made = config::load(place).and_then(|config::Loaded { config, seen }| {
        let authority = config.cluster_url.authority().map_or("", |a| a.as_str());
        // Without the user that an address may name.
        let host = authority.rsplit('@').next().unwrap_or_default().into();
        match connect::client(&config, transport) {
            Ok(kube) => Ok(Live { kube, host, seen, doubtful: AtomicBool::new(false) }),
            Err(error) => Err(format!("{}: {}", described(place), said(&error))),
        }
    });
    match made {
        Ok(live) => Outcome::New(Box::new(live)),
        Err(why) => Outcome::Failed(why),
    }
}

/// Which files to look at, for people.
fn described(place: &Place) -> String {
    match place {
        Place::InCluster => "the ServiceAccount's files".to_owned(),
        Place::Kubeconfig { file, .. } => format!("kubeconfig {}", file.display()),
        Place::Endpoint { url, tls: None } => format!("endpoint {url}"),
        Place::Endpoint { tls: Some(tls), .. } => {
            format!("tls {} {} {}", tls.cert.display(), tls.key.display(), tls.ca.display())
        }
    }
}
