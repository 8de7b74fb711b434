//! Connections to one upstream, over TCP (RFC 7766) or TLS (RFC 7858): kept, shared and replaced.
//!
//! ```text
//! Pool ─ which connection ─ connection ─ dial ─ tls
//! ```
//!
//! Invariants:
//! * At most [`MAX_CONNECTIONS`] connections, those that are being opened included, and
//!   [`MAX_PIPELINED`](connection::MAX_PIPELINED) queries on each.
//! * A connection that was used before and says nothing is not waited for longer than [`MOST_PATIENCE`]: the query
//!   goes on another one as well, and no further query goes on the silent one until it speaks.
//! * A connection that the peer closed before a reply came costs a second try at once and no error.

mod connection;
mod dial;
mod tls;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use self::connection::{Connection, Place, Settled};
pub(super) use self::dial::Dialer;
pub(super) use self::tls::{TlsClient, connector};
pub use self::tls::{TlsError, TlsFiles};
use super::error::{Cause, ExchangeError, Step};
use super::query::{Exchanged, Query, Transport, Verdict};
use super::rtt::Rtt;

/// Connections to one upstream, in all: with [`MAX_PIPELINED`](connection::MAX_PIPELINED) queries on each, 1,024
/// queries wait at a time, as many as clusters allow by `max_concurrent`.
const MAX_CONNECTIONS: usize = 16;

/// Connections that are opened before a busy one is shared: some servers answer in the order of arrival, and one
/// slow name must not hold up all others there.
const BEFORE_SHARING: usize = 2;

/// Queries that share a connection before a further one is opened.
const SHARED_BY: usize = 8;

/// How long a connection that was used before may say nothing before the query goes on another one as well: what is
/// usual and a margin, but within these. Less would repeat queries for every name that is a little slow, more would
/// be felt.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);

/// The most of it, and what holds while nothing is known: a dead connection is known in under a second.
const MOST_PATIENCE: Duration = Duration::from_millis(500);

/// Beyond opening a connection and a reply in their time: the connection's own verdict, which says more, comes
/// first.
const SLACK: Duration = Duration::from_millis(100);

/// After this time without a word, a query that is given up makes its connection suspect: the time after which
/// another upstream is tried at the earliest, whose reply then ends the query here.
const SUSPECT: Duration = Duration::from_millis(20);

/// How connections are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Idle ones are closed after this time.
    pub(super) expire: Duration,
    /// Older ones get no new queries.
    pub(super) max_age: Option<Duration>,
    /// More idle ones than this are closed.
    pub(super) max_idle: Option<usize>,
}

/// Connections to one upstream; dropping it closes them.
pub(super) struct Pool {
    /// What the connections' tasks may look at.
    shared: Arc<Shared>,
}

/// What a pool shares with its connections' tasks.
struct Shared {
    /// Opens connections.
    dialer: Arc<Dialer>,
    /// How they are kept.
    limits: Limits,
    /// Those that are open or being opened, oldest first. Held for one look only.
    connections: Mutex<Vec<Arc<Connection>>>,
    /// How long replies take on an open connection.
    rtt: Mutex<Rtt>,
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| !connection.is_closed());
        connections
    }

    /// A reply took this long.
    fn sample(&self, took: Duration) {
        self.rtt.lock().unwrap_or_else(PoisonError::into_inner).sample(took);
    }

    fn patience(&self) -> Duration {
        self.rtt.lock().unwrap_or_else(PoisonError::into_inner).late_after(LEAST_PATIENCE, MOST_PATIENCE)
    }

    /// Whether as many other connections are idle as may be.
    fn has_idle_enough(&self, but: &Arc<Connection>) -> bool {
        let Some(max) = self.limits.max_idle else { return false };
        let connections = self.connections();
        let idle = connections.iter().filter(|c| c.is_open() && c.load() == 0 && !Arc::ptr_eq(c, but));
        idle.count() >= max
    }

    /// A place on a connection, the best there is or a new one; and whether it was used before.
    fn place(self: &Arc<Self>, wanted: Wanted) -> Option<(Place, bool)> {
        let mut connections = self.connections();
        let usable = connections.iter().filter(|c| c.takes_more(self.limits.max_age));
        // The first of those with the least load: the oldest.
        let best = usable.filter(|_| wanted == Wanted::Any).min_by_key(|c| c.load());
        let (room, count) = (connections.len() < MAX_CONNECTIONS, connections.len());
        match best {
            Some(best)
                if best.load() == 0 || !room || (count >= BEFORE_SHARING && best.load() < SHARED_BY) =>
            {
                Some((best.place(), best.is_open()))
            }
            _ if room => {
                let new = Connection::begin(self);
                let place = new.place();
                connections.push(new);
                Some((place, false))
            }
            _ => None,
        }
    }
}

/// Looks, at the end of an exchange, whether its connection has said anything meanwhile.
struct Watch {
    /// The connection.
    connection: Arc<Connection>,
    /// How many messages had been read at the beginning.
    reads: u64,
    /// When it began.
    since: Instant,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Invariant: a silent connection gets no further query, also where the one on it is not waited for to the end.
        if self.connection.reads() == self.reads && self.since.elapsed() >= SUSPECT {
            self.connection.set_silent();
        }
    }
}

/// Which connection a query is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Any that is fit.
    Any,
    /// One that is opened for it.
    New,
}

impl Pool {
    pub(super) fn new(dialer: Dialer, limits: Limits) -> Self {
        let (connections, rtt) = Default::default();
        Self { shared: Arc::new(Shared { dialer: Arc::new(dialer), limits, connections, rtt }) }
    }

    /// Over what it speaks.
    pub(super) fn transport(&self) -> Transport {
        self.shared.dialer.transport()
    }

    /// Sends `query` and waits for its reply: as long as opening a connection may take, where one is opened, and as
    /// long as a reply may take. `used` hears whether a connection was there already.
    pub(super) async fn exchange(
        &self,
        query: &Query<'_>,
        used: impl FnOnce(bool),
    ) -> Result<Exchanged, ExchangeError> {
        let (place, reused) = self.place(Wanted::Any)?;
        used(reused);
        if !reused {
            return self.settle(query, place.send(query.message())).await;
        }
        let connection = place.connection().clone();
        let mut reads = connection.reads();
        let _watch = Watch { connection: connection.clone(), reads, since: Instant::now() };
        let mut first = std::pin::pin!(self.settle(query, place.send(query.message())));
        loop {
            tokio::select! {
                settled = &mut first => match settled {
                    // Closed between two queries, as any idle connection may be (RFC 7766 §6.2.4).
                    Err(error) if error.is_end_of_connection() => return self.anew(query).await,
                    settled => return settled,
                },
                () = sleep(self.shared.patience()) => {}
            }
            // While it brings other replies, the connection lives, and this name is slow.
            let read = connection.reads();
            if read == reads {
                break;
            }
            reads = read;
        }
        connection.set_silent();
        let mut second = std::pin::pin!(self.anew(query));
        let (mut first_error, mut second_error) = (None, None);
        loop {
            tokio::select! {
                settled = &mut first, if first_error.is_none() => match settled {
                    Ok(reply) => return Ok(reply),
                    Err(error) => first_error = Some(error),
                },
                settled = &mut second, if second_error.is_none() => match settled {
                    Ok(reply) => {
                        connection.retire();
                        return Ok(reply);
                    }
                    Err(error) => second_error = Some(error),
                },
            }
            if first_error.is_some()
                && let Some(error) = second_error
            {
                return Err(error);
            }
        }
    }

    /// The exchange on a connection that is opened for it.
    pub(super) async fn anew(&self, query: &Query<'_>) -> Result<Exchanged, ExchangeError> {
        let (place, _) = self.place(Wanted::New)?;
        self.settle(query, place.send(query.message())).await
    }

    fn place(&self, wanted: Wanted) -> Result<(Place, bool), ExchangeError> {
        self.shared.place(wanted).ok_or_else(|| self.error(Step::Dial, Cause::Busy))
    }

    fn error(&self, step: Step, cause: Cause) -> ExchangeError {
        self.shared.dialer.error(step, None, cause)
    }

    /// What becomes of a query that was given to a connection.
    async fn settle(
        &self,
        query: &Query<'_>,
        settled: oneshot::Receiver<Settled>,
    ) -> Result<Exchanged, ExchangeError> {
        // Invariant: no query waits for longer, though its connection takes none because the peer reads none.
        let most = self.shared.dialer.timeout * 2 + SLACK;
        let settled = timeout(most, settled).await.map_err(|_| self.error(Step::Write, Cause::Timeout))?;
        // A connection that ends drops what it did not take.
        let (id, message) = settled.map_err(|_| self.error(Step::Write, Cause::Closed))??;
        match query.judge(id, &message) {
            Verdict::OtherQuestion { rcode } => Ok(Exchanged::OtherQuestion { rcode }),
            Verdict::Reply { rcode } => Ok(query.reply(message, rcode)),
            Verdict::Cut | Verdict::Stray => Err(self.error(Step::Read, Cause::Malformed)),
        }
    }
}
