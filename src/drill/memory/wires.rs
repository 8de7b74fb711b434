//! Connections in memory that can be cut, stalled and refused.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex, split};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::source::apiserver::Dial;

/// Bytes that a connection holds in each direction: what a socket on loopback holds, about.
const PIPE: usize = 64 << 10;

/// Bytes that are carried at a time.
const PORTION: usize = 16 << 10;

/// Bytes that are carried at a time where connections are slow, and how long that takes: events of the API server,
/// which are larger, come one by one.
const SLOW: (usize, Duration) = (256, Duration::from_millis(100));

/// How connections do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// Well.
    #[default]
    Open,
    /// What is said waits until they flow again, on both sides.
    Stalled,
    /// Slowly: what was stalled comes bit by bit.
    Slow,
    /// Those that there are go on, and there will be no others.
    Refused,
}

/// All connections from one party to another. Clones share them.
#[derive(Clone)]
pub struct Wires(Arc<Inner>);

/// See [`Wires`].
struct Inner {
    /// Cancelled to cut every connection, and then replaced.
    cut: Mutex<CancellationToken>,
    /// How they do.
    flow: watch::Sender<Flow>,
}

impl Default for Wires {
    fn default() -> Self {
        Self(Arc::new(Inner { cut: Mutex::default(), flow: watch::Sender::new(Flow::Open) }))
    }
}

impl Wires {
    /// How connections do from now on.
    pub fn set(&self, flow: Flow) {
        self.0.flow.send_replace(flow);
    }

    /// Ends every connection that is open now.
    pub fn cut(&self) {
        let mut cut = self.0.cut.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *cut).cancel();
    }

    /// A new connection: both its ends.
    ///
    /// # Errors
    /// It is refused.
    pub fn open(&self) -> io::Result<(DuplexStream, DuplexStream)> {
        let (far, end) = duplex(PIPE);
        Ok((self.through(end)?, far))
    }

    /// The near end of a connection whose far end is this.
    fn through(&self, far: DuplexStream) -> io::Result<DuplexStream> {
        if *self.0.flow.borrow() == Flow::Refused {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, end) = duplex(PIPE);
        let cut = self.0.cut.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let flow = self.0.flow.subscribe();
        tokio::spawn(async move {
            let ((from_near, to_near), (from_far, to_far)) = (split(end), split(far));
            let both = async {
                tokio::join!(carry(from_near, to_far, flow.clone()), carry(from_far, to_near, flow))
            };
            let _ = cut.run_until_cancelled(both).await;
        });
        Ok(near)
    }

    /// Makes connections to an API server over these.
    pub fn dial(&self, server: Dial) -> Dial {
        let wires = self.clone();
        Arc::new(move || {
            let (wires, dialled) = (wires.clone(), server());
            Box::pin(async move { wires.through(dialled.await?) })
        })
    }
}

/// Carries what one side says to the other.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    flow: watch::Receiver<Flow>,
) {
    let (mut flow, mut portion) = (flow, vec![0; PORTION]);
    loop {
        let slow = *flow.borrow() == Flow::Slow;
        let most = if slow { SLOW.0 } else { PORTION };
        let length = match from.read(&mut portion[..most]).await {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        if flow.wait_for(|flow| *flow != Flow::Stalled).await.is_err() {
            break;
        }
        if slow {
            tokio::time::sleep(SLOW.1).await;
        }
        if to.write_all(&portion[..length]).await.is_err() {
            break;
        }
    }
    // Whoever would hear it may have gone.
    let _ = to.shutdown().await;
}
