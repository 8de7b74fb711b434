//! Another hub, dialled while one is followed.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::transport::{Dial, Link, NotDialled};

/// What dialling has come to.
pub(super) struct Dialled {
    /// The hub.
    pub(super) hub: SocketAddr,
    /// Its stream, in which nothing has been said yet.
    pub(super) link: Result<Link, NotDialled>,
}

/// Another hub that is dialled, if one is: whoever follows one that is wrong still hears what it tells meanwhile.
#[derive(Default)]
pub(super) struct Dialling(Option<(SocketAddr, BoxFuture<'static, Dialled>)>);

impl Dialling {
    /// Dials this one. Who was being dialled is not any more.
    pub(super) fn begin(&mut self, dial: &Arc<dyn Dial>, hub: SocketAddr) {
        let dial = Arc::clone(dial);
        self.0 = Some((hub, async move { Dialled { hub, link: dial.dial(hub).await } }.boxed()));
    }

    /// Gives up one that is not `meant` any more.
    pub(super) fn give_up_unless(&mut self, meant: impl Fn(SocketAddr) -> bool) {
        self.0.take_if(|(hub, _)| !meant(*hub));
    }

    /// Whether one is being dialled.
    pub(super) const fn is_busy(&self) -> bool {
        self.0.is_some()
    }

    /// What it has come to; never where nobody is dialled. What has come of it is kept when this is dropped.
    pub(super) async fn done(&mut self) -> Dialled {
        let Some((_, dialling)) = &mut self.0 else { return pending().await };
        let dialled = dialling.await;
        self.0 = None;
        dialled
    }
}
