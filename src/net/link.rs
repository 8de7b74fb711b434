//! The interface and its addresses.
//!
//! Addresses are such that nothing of the machine ever chooses one of them as its own: IPv4 of the scope of the host,
//! IPv6 deprecated from the beginning. A `dummy` interface carries them; where the kernel has none, `lo` does.
//!
//! Invariants:
//! * An interface of our name that is of another kind is somebody else's: an error, and never touched.
//! * An address that another interface has is an error, and never moved.
//! * What a start did stands in its [`Journal`], and is undone where the start fails; what was there before stays.

use std::net::IpAddr;
use std::time::Duration;

use nix::libc;
use nlink::netlink::addr::{Ipv4Address, Ipv6Address};
use nlink::netlink::link::{BridgeLink, DummyLink};
use nlink::netlink::messages::{AddressMessage, LinkMessage};
use nlink::netlink::types::addr::Scope;
use nlink::netlink::{Connection, Route};
use thiserror::Error;

use super::piece::Piece;

/// How long the kernel may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where addresses are put if there can be no interface for them.
pub const LOOPBACK: &str = "lo";

/// The kind of interface that carries the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The one that is meant for it, and node-cache's.
    Dummy,
    /// Another one without wires, for tests: not every kernel has `dummy`.
    Bridge,
}

impl Kind {
    /// As the kernel calls it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Dummy => "dummy",
            Self::Bridge => "bridge",
        }
    }
}

/// An interface that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
}

/// What is wrong with links or addresses.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The name is taken.
    #[error("interface {name} is of kind {kind}, which is not ours to use: another name is needed, or none")]
    Another {
        /// The interface.
        name: String,
        /// What it is.
        kind: String,
    },
    /// The address is somebody else's.
    #[error("{address} is an address of interface {interface} already")]
    Elsewhere {
        /// Which.
        address: IpAddr,
        /// Whose.
        interface: String,
    },
    /// Nobody has an address that had to be there.
    #[error("no interface has {0}, and none is to be made")]
    Missing(IpAddr),
    /// There is no IPv6 here.
    #[error("{0} cannot be an address here: IPv6 is off (net.ipv6.conf.all.disable_ipv6)")]
    NoIpv6(IpAddr),
    /// This process may not change them.
    #[error("interfaces and addresses may not be changed: CAP_NET_ADMIN is needed")]
    Forbidden,
    /// Anything else.
    #[error("{0}: {1}")]
    Failed(&'static str, #[source] nlink::Error),
}

/// What was made, in its order.
#[derive(Debug, Default)]
pub struct Journal(Vec<Made>);

/// One thing that was not there before.
#[derive(Debug)]
enum Made {
    /// An interface.
    Link(u32),
    /// An address of an interface.
    Address(u32, IpAddr),
}

impl Journal {
    /// Whether nothing was made.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The connection to links and addresses, of the network namespace of the thread that made it.
pub struct Links {
    /// Requests and their answers.
    connection: Connection<Route>,
}

impl Links {
    /// Connects.
    ///
    /// # Errors
    /// A socket that cannot be had.
    pub fn connect() -> Result<Self, LinkError> {
        let connection = Connection::<Route>::new().map_err(|e| explain("opening a socket", e))?;
        Ok(Self { connection: connection.timeout(PATIENCE) })
    }

    /// Has an interface of this name and kind carry these addresses, or `lo` where there is no such kind. What is there
    /// already is taken as it is, what is missing is made and written to `journal`. Does for a repair, too.
    ///
    /// # Errors
    /// A name or an address that is somebody else's, a machine without IPv6, missing capabilities: the first one, after all
    /// other addresses are there. What was made is in the journal.
    pub async fn set_up(
        &self,
        name: &str,
        kind: Kind,
        addresses: &[IpAddr],
        journal: &mut Journal,
    ) -> Result<Device, LinkError> {
        let device = self.device(name, kind, journal).await?;
        self.put_on(&device, addresses, journal).await?;
        Ok(device)
    }

    /// Has this interface carry these addresses.
    ///
    /// # Errors
    /// As of [`Self::set_up`].
    pub async fn put_on(
        &self,
        device: &Device,
        addresses: &[IpAddr],
        journal: &mut Journal,
    ) -> Result<(), LinkError> {
        let there = self.addresses().await?;
        let mut put = Ok(());
        for address in addresses {
            let done = match there.iter().find(|message| owner(message) == Some(*address)) {
                Some(message) if message.ifindex() == device.index => Ok(()),
                Some(message) => Err(self.elsewhere(*address, message.ifindex()).await),
                None => self.add(device, *address, journal).await,
            };
            // One that cannot be had takes no other one away.
            put = put.and(done);
        }
        put
    }

    /// Whether all these addresses are there, wherever.
    ///
    /// # Errors
    /// The first one that is not.
    pub async fn find(&self, addresses: &[IpAddr]) -> Result<(), LinkError> {
        let missing = self.missing(addresses).await?;
        missing.first().map_or(Ok(()), |address| Err(LinkError::Missing(*address)))
    }

    /// Which of these addresses no interface has.
    ///
    /// # Errors
    /// A list that cannot be had.
    pub async fn missing(&self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, LinkError> {
        let there = self.addresses().await?;
        let is_missing = |address: &&IpAddr| !there.iter().any(|message| owner(message) == Some(**address));
        Ok(addresses.iter().filter(is_missing).copied().collect())
    }

    /// The addresses of the interface of this name; none where there is no such interface.
    ///
    /// # Errors
    /// A list that cannot be had.
    pub async fn addresses_of(&self, name: &str) -> Result<Vec<IpAddr>, LinkError> {
        let Some(link) = self.link(name).await? else { return Ok(Vec::new()) };
        let there = self.addresses().await?;
        Ok(there.iter().filter(|message| message.ifindex() == link.ifindex()).filter_map(owner).collect())
    }

    /// The names of all interfaces.
    ///
    /// # Errors
    /// A list that cannot be had.
    pub async fn names(&self) -> Result<Vec<String>, LinkError> {
        let links = self.connection.get_links().await.map_err(|e| explain("listing interfaces", e))?;
        Ok(links.iter().filter_map(|link| link.name().map(str::to_owned)).collect())
    }

    /// What is missing of an interface and its addresses.
    ///
    /// # Errors
    /// A list that cannot be had.
    pub async fn look(&self, name: &str, addresses: &[IpAddr]) -> Result<Vec<Piece>, LinkError> {
        let link = self.link(name).await?;
        let mut missing = Vec::new();
        if !link.as_ref().is_some_and(LinkMessage::is_up) {
            missing.push(Piece::Link);
        }
        let index = link.map(|link| link.ifindex());
        let there = self.addresses().await?;
        let has = |address: &IpAddr| {
            there.iter().any(|message| owner(message) == Some(*address) && Some(message.ifindex()) == index)
        };
        missing
            .extend(addresses.iter().filter(|address| !has(address)).map(|address| Piece::Address(*address)));
        Ok(missing)
    }

    /// Takes away what was made, the last first. What somebody has taken away meanwhile is not missed.
    ///
    /// # Errors
    /// The first thing that stays.
    pub async fn undo(&self, journal: Journal) -> Result<(), LinkError> {
        for made in journal.0.into_iter().rev() {
            match made {
                Made::Link(index) => {
                    gone("removing the interface", self.connection.del_link_by_index(index).await)?;
                }
                Made::Address(index, address) => self.del(index, address).await?,
            }
        }
        Ok(())
    }

    /// Takes the addresses away, and the interface unless it is `lo`.
    ///
    /// # Errors
    /// The first thing that stays.
    pub async fn remove(&self, device: &Device, addresses: &[IpAddr]) -> Result<(), LinkError> {
        if device.name != LOOPBACK {
            let removed = self.connection.del_link_by_index(device.index).await;
            return gone("removing the interface", removed);
        }
        self.take_off(device, addresses).await
    }

    /// Takes addresses from an interface, which stays.
    ///
    /// # Errors
    /// The first one that stays, after all others are gone.
    pub async fn take_off(&self, device: &Device, addresses: &[IpAddr]) -> Result<(), LinkError> {
        let mut taken = Ok(());
        for address in addresses {
            taken = taken.and(self.del(device.index, *address).await);
        }
        taken
    }

    /// The interface of this name and kind, or `lo`, which is made and set up where it is missing.
    ///
    /// # Errors
    /// As of [`Self::set_up`].
    pub async fn device(&self, name: &str, kind: Kind, journal: &mut Journal) -> Result<Device, LinkError> {
        let link = match self.link(name).await? {
            Some(link) => link,
            None => match self.make(name, kind).await {
                Ok(true) => {
                    let link = self.link(name).await?.ok_or_else(|| missing(name))?;
                    journal.0.push(Made::Link(link.ifindex()));
                    link
                }
                // Another process was faster.
                Ok(false) => self.link(name).await?.ok_or_else(|| missing(name))?,
                Err(error) if error.is_not_supported() => {
                    self.link(LOOPBACK).await?.ok_or_else(|| missing(LOOPBACK))?
                }
                Err(error) => return Err(explain("making the interface", error)),
            },
        };
        let found = link.name_or(name).to_owned();
        if found != LOOPBACK && link.kind() != Some(kind.as_str()) {
            let kind = link.kind().unwrap_or("hardware").to_owned();
            return Err(LinkError::Another { name: found, kind });
        }
        let device = Device { name: found, index: link.ifindex() };
        if !link.is_up() {
            let up = self.connection.set_link_up_by_index(device.index).await;
            up.map_err(|e| explain("setting the interface up", e))?;
        }
        Ok(device)
    }

    /// Makes an interface; `false` where there is one of this name.
    async fn make(&self, name: &str, kind: Kind) -> Result<bool, nlink::Error> {
        let made = match kind {
            Kind::Dummy => self.connection.add_link(DummyLink::new(name)).await,
            Kind::Bridge => self.connection.add_link(BridgeLink::new(name)).await,
        };
        match made {
            Err(error) if error.is_already_exists() => Ok(false),
            made => made.map(|()| true),
        }
    }

    /// Puts an address on an interface.
    async fn add(&self, device: &Device, address: IpAddr, journal: &mut Journal) -> Result<(), LinkError> {
        let index = device.index;
        let added = match address {
            IpAddr::V4(v4) => {
                let of = Ipv4Address::with_index(index, v4, 32).scope(Scope::Host);
                self.connection.add_address(of).await
            }
            IpAddr::V6(v6) => {
                // Nobody else has it; and deprecated from the beginning it is nobody's source.
                let of = Ipv6Address::with_index(index, v6, 128).nodad();
                self.connection.add_address(of.preferred_lifetime(0).valid_lifetime(u32::MAX)).await
            }
        };
        match added {
            Ok(()) => {
                journal.0.push(Made::Address(index, address));
                Ok(())
            }
            // Another process was faster.
            Err(error) if error.is_already_exists() => Ok(()),
            // What Linux says of an interface without IPv6; missing capabilities are EPERM.
            Err(error) if address.is_ipv6() && error.errno() == Some(libc::EACCES) => {
                Err(LinkError::NoIpv6(address))
            }
            Err(error) => Err(explain("adding an address", error)),
        }
    }

    /// Takes an address from an interface.
    async fn del(&self, index: u32, address: IpAddr) -> Result<(), LinkError> {
        let length = if address.is_ipv4() { 32 } else { 128 };
        let deleted = self.connection.del_address_by_index(index, address, length).await;
        gone("removing an address", deleted)
    }

    /// The interface of this name.
    async fn link(&self, name: &str) -> Result<Option<LinkMessage>, LinkError> {
        self.connection.get_link_by_name(name).await.map_err(|e| explain("looking for the interface", e))
    }

    /// All addresses of the machine.
    async fn addresses(&self) -> Result<Vec<AddressMessage>, LinkError> {
        self.connection.get_addresses().await.map_err(|e| explain("listing addresses", e))
    }

    /// Who has an address, in words.
    async fn elsewhere(&self, address: IpAddr, index: u32) -> LinkError {
        let links = self.connection.get_links().await.unwrap_or_default();
        let of = links.iter().find(|link| link.ifindex() == index);
        let interface =
            of.and_then(LinkMessage::name).map_or_else(|| format!("number {index}"), str::to_owned);
        LinkError::Elsewhere { address, interface }
    }
}

/// The address that an interface has by this message; that of a peer is not its own.
fn owner(message: &AddressMessage) -> Option<IpAddr> {
    message.primary_address().copied()
}

/// An interface that was there a moment ago.
fn missing(name: &str) -> LinkError {
    LinkError::Failed("looking for the interface", nlink::Error::interface_not_found(name))
}

/// What is gone already is gone.
fn gone(doing: &'static str, done: Result<(), nlink::Error>) -> Result<(), LinkError> {
    match done {
        Err(error) if error.is_not_found() || error.errno() == Some(libc::EADDRNOTAVAIL) => Ok(()),
        done => done.map_err(|e| explain(doing, e)),
    }
}

/// What an error of the kernel means.
fn explain(doing: &'static str, error: nlink::Error) -> LinkError {
    if error.is_permission_denied() { LinkError::Forbidden } else { LinkError::Failed(doing, error) }
}
