//! A network of a drill's own: what is done to its addresses and tables concerns nobody else.

use std::net::IpAddr;

use anyhow::Context as _;
use nix::sched::{CloneFlags, unshare};
use tokio::runtime::Runtime;

use crate::net::link::{Journal, Kind, Links};
use crate::net::nft::Nft;

/// The interface of a machine with itself.
const LOOPBACK: &str = "lo";

/// The network of the calling thread, and what somebody does to it who knows nothing of us.
pub struct Network {
    /// Of the thread's own.
    runtime: Runtime,
    /// Its interfaces and addresses.
    links: Links,
    /// Its tables.
    tables: Nft,
}

/// What has become of work in a network of its own.
pub enum Within<T> {
    /// It was done.
    Done(T),
    /// No such network can be had here, for this reason.
    Impossible(String),
}

/// Does something on a thread with a network of its own, in which loopback is all there is; so do the threads and processes
/// that it starts.
///
/// # Errors
/// A network that can be had, and cannot be used.
pub fn within<T: Send>(work: impl FnOnce(&Network) -> anyhow::Result<T> + Send) -> anyhow::Result<Within<T>> {
    let join = || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            return Ok(Within::Impossible(format!("a network of its own takes root: {error}")));
        }
        match Network::of_this_thread() {
            Ok(network) => work(&network).map(Within::Done),
            Err(error) => Ok(Within::Impossible(format!("{error:#}"))),
        }
    };
    std::thread::scope(|scope| match scope.spawn(join).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

impl Network {
    fn of_this_thread() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("starting a runtime")?;
        let (links, tables) = runtime.block_on(async {
            let links = Links::connect()?;
            let _ = links.device(LOOPBACK, Kind::Dummy, &mut Journal::default()).await?;
            anyhow::Ok((links, Nft::connect().await?))
        })?;
        Ok(Self { runtime, links, tables })
    }

    /// Takes an address from whoever has it.
    ///
    /// # Errors
    /// Nobody has it, or it stays.
    pub fn take_address(&self, address: IpAddr) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            for name in self.links.names().await? {
                if self.links.addresses_of(&name).await?.contains(&address) {
                    let device = self.links.device(&name, Kind::Dummy, &mut Journal::default()).await?;
                    return Ok(self.links.take_off(&device, &[address]).await?);
                }
            }
            anyhow::bail!("no interface has {address}")
        })
    }

    /// Takes the tables that lead queries to a node.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn take_tables(&self) -> anyhow::Result<()> {
        Ok(self.runtime.block_on(self.tables.remove())?)
    }
}
