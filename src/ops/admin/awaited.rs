//! An address that another Outlast of the node still serves.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::ListenAddress;
use super::address::BindError;

/// How often to look whether it is free: probes of a process that is gone are unanswered for so long.
const LOOK: Duration = Duration::from_millis(250);

/// How long another Outlast may take to leave before somebody else may be meant: the one that an upgrade replaces is told
/// to stop about ten seconds after this one is ready, and drains for half a minute.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is said again.
const AGAIN: Duration = Duration::from_secs(3600);

/// What there is to say while an address is awaited.
#[derive(Debug)]
pub(super) enum News {
    /// Somebody has had it for so long since then.
    Taken(Duration),
    /// It cannot be had for another reason. Said once.
    Failed(BindError),
}

/// A socket there, once it can be had; `None` if one of these two comes first. What takes long or goes wrong is `said`.
pub(super) async fn bind(
    address: &ListenAddress,
    plugin: &'static str,
    stop: &CancellationToken,
    leaving: &CancellationToken,
    said: impl Fn(News),
) -> Option<(TcpListener, SocketAddr)> {
    let began = Instant::now();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut due, mut has_failed) = (began + PATIENCE, false);
    loop {
        let now = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            () = leaving.cancelled() => return None,
            _ = looks.tick() => Instant::now(),
        };
        match address.bind(plugin, &[]) {
            Ok(bound) => return Some(bound),
            Err(error) if error.is_in_use() => {
                if now >= due {
                    said(News::Taken(now - began));
                    due = now + AGAIN;
                }
            }
            Err(error) if !std::mem::replace(&mut has_failed, true) => said(News::Failed(error)),
            Err(_) => {}
        }
    }
}

/// Logs it.
pub(super) fn log(address: &ListenAddress, news: News) {
    match news {
        News::Taken(since) => tracing::warn!(
            %address, since = ?Duration::from_secs(since.as_secs()),
            "still waiting for another process to leave this address; if it is no Outlast that is about to, \
             `{}` says who it is", address.who_has_it()
        ),
        News::Failed(error) => tracing::warn!(%error, "trying again"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// An address that somebody has, and who.
    fn taken() -> (std::net::TcpListener, ListenAddress) {
        let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = stranger.local_addr().unwrap().to_string().parse().unwrap();
        (stranger, address)
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_leave_is_said_after_a_minute_and_then_every_hour() {
        let (stranger, address) = taken();
        let stranger = RefCell::new(Some(stranger));
        let (stop, leaving) = (CancellationToken::new(), CancellationToken::new());
        let told = RefCell::new(Vec::new());
        let began = Instant::now();
        let bound = bind(&address, "health", &stop, &leaving, |news| {
            let News::Taken(since) = news else { panic!("{news:?}") };
            assert_eq!(since, began.elapsed());
            told.borrow_mut().push(since);
            if told.borrow().len() == 3 {
                stranger.take();
            }
        });
        assert_eq!(bound.await.unwrap().1.to_string(), address.to_string(), "free at last");
        let want = [PATIENCE, PATIENCE + AGAIN, PATIENCE + 2 * AGAIN];
        for (told, want) in told.borrow().iter().zip(want) {
            assert!(*told >= want && *told < want + 4 * LOOK, "{told:?}, not {want:?}");
        }
        assert_eq!(told.borrow().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_in_time_is_not_spoken_of() {
        let (stranger, address) = taken();
        let (stop, leaving) = (CancellationToken::new(), CancellationToken::new());
        let bound = bind(&address, "health", &stop, &leaving, |news| panic!("{news:?}"));
        let leaves = async {
            tokio::time::sleep(PATIENCE - LOOK).await;
            drop(stranger);
        };
        let (bound, ()) = tokio::join!(bound, leaves);
        assert!(bound.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn another_error_is_said_once() {
        // 192.0.2.0/24 is for documentation (RFC 5737): no interface has it.
        let address = "192.0.2.1:9".parse().unwrap();
        let (stop, leaving) = (CancellationToken::new(), CancellationToken::new());
        let told = RefCell::new(0);
        let bound = bind(&address, "health", &stop, &leaving, |news| {
            assert!(matches!(news, News::Failed(_)), "{news:?}");
            *told.borrow_mut() += 1;
        });
        let ends = async {
            tokio::time::sleep(2 * PATIENCE).await;
            stop.cancel();
        };
        let (bound, ()) = tokio::join!(bound, ends);
        assert!(bound.is_none());
        assert_eq!(*told.borrow(), 1);
    }
}
