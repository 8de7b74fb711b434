//! How long we wait for what. Every wait for the API server has one of these limits.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::super::fault::Fault;

/// For a TCP connection. Within a data centre it takes a millisecond; two lost packets are made up for (SYNs are
/// sent again after 1 s and 3 s).
pub(super) const TCP: Duration = Duration::from_secs(5);

/// For a connection as a whole, TLS included: client-go's ten seconds for the handshake on top of [`TCP`].
pub(super) const CONNECT: Duration = Duration::from_secs(15);

/// For reading the configuration and running an exec plugin, which may have to ask somebody else for a token.
pub(super) const CONFIGURE: Duration = Duration::from_secs(30);

/// For the head of a response. A watch is answered at once; a list of a page takes an overloaded API server a
/// few seconds before its first byte.
pub(super) const HEAD: Duration = Duration::from_secs(30);

/// For a list's page, from the request to its last byte: the API server's own limit for requests other than
/// watches is 60 s (`--request-timeout`), after which it sends nothing more.
pub(in super::super) const PAGE: Duration = Duration::from_secs(75);

/// For the body of an error, which is small and there already.
pub(super) const ERROR: Duration = Duration::from_secs(10);

/// For one of `apiserver_max_inflight` to become free: each is held for [`PAGE`] at most.
pub(super) const SLOT: Duration = Duration::from_secs(120);

/// Silence in a watch: bookmarks come about once a minute, so that longer silence is a dead connection.
pub(in super::super) const SILENCE: Duration = Duration::from_secs(90);

/// On top of the time after which the server ends a watch: it does so on its own clock.
pub(in super::super) const SLACK: Duration = Duration::from_secs(30);

/// Silence among the initial events of a streaming list: they are sent without a pause, but the first waits
/// until the server's cache is fresh enough.
pub(in super::super) const INITIAL_SILENCE: Duration = Duration::from_secs(30);

/// For all initial events: 1,000,000 endpoints of full-size objects are about a gigabyte.
pub(in super::super) const INITIAL: Duration = Duration::from_secs(300);

/// Waits for `work` until `at`; after that the API server counts as not answering, because of `what`.
///
/// What is there already is taken even when the time has passed: it may be us who were slow.
pub(in super::super) async fn until<T>(
    at: Instant,
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T, Fault> {
    timeout_at(at, work).await.map_err(|_| Fault::Unreachable { why: format!("timed out: {what}") })
}
