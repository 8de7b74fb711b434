//! What others do to our tables, our interface and our addresses, as the kernel tells it.
//!
//! An event only says where to look. All that is not about us is dropped as soon as it is read; where the kernel had to
//! drop some because they came too fast, everything is looked at.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt;
use nlink::netlink::messages::{AddressMessage, LinkMessage};
use nlink::netlink::nftables::{Family, NftablesEvent, NftablesGroup};
use nlink::netlink::{Connection, NetworkEvent, Nftables, OwnedEventStream, Route, RtnetlinkGroup};

use super::layout::{SetName, TABLE};

/// How long after the end of a stream, which should never come, a new one is asked for.
const AGAIN: Duration = Duration::from_secs(1);

/// Where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// At our tables.
    Rules,
    /// At the interface and its addresses.
    Links,
    /// At everything: some events are lost.
    Everything,
}

/// Events, of the network namespace of the thread that subscribed.
pub struct Watch {
    /// Of tables; `None` where none are ours.
    tables: Option<OwnedEventStream<Nftables>>,
    /// Of links and addresses.
    links: OwnedEventStream<Route>,
    /// The name of our interface.
    interface: String,
    /// Our addresses.
    addresses: Vec<IpAddr>,
}

impl Watch {
    /// Subscribes, for our tables, this interface and these addresses.
    ///
    /// # Errors
    /// A socket that cannot be had.
    pub async fn subscribe(interface: &str, addresses: &[IpAddr]) -> Result<Self, nlink::Error> {
        let (interface, addresses) = (interface.to_owned(), addresses.to_vec());
        Ok(Self { tables: Some(tables().await?), links: links().await?, interface, addresses })
    }

    /// The same without tables, which the kernel may not even have.
    ///
    /// # Errors
    /// A socket that cannot be had.
    pub async fn subscribe_to_links(interface: &str, addresses: &[IpAddr]) -> Result<Self, nlink::Error> {
        let (interface, addresses) = (interface.to_owned(), addresses.to_vec());
        Ok(Self { tables: None, links: links().await?, interface, addresses })
    }

    /// The next thing that is about us. May be dropped at any time: nothing is lost by it.
    pub async fn next(&mut self) -> Hint {
        loop {
            let hint = tokio::select! {
                event = of_tables(&mut self.tables) => match event {
                    Some(Ok(event)) => concerns_rules(&event).then_some(Hint::Rules),
                    Some(Err(error)) if error.is_no_buffer_space() => Some(Hint::Everything),
                    ended => {
                        lost("nftables", ended.and_then(Result::err));
                        tokio::time::sleep(AGAIN).await;
                        if let Ok(stream) = tables().await {
                            self.tables = Some(stream);
                        }
                        Some(Hint::Everything)
                    }
                },
                event = self.links.next() => match event {
                    Some(Ok(event)) => self.concerns_links(&event).then_some(Hint::Links),
                    Some(Err(error)) if error.is_no_buffer_space() => Some(Hint::Everything),
                    ended => {
                        lost("links", ended.and_then(Result::err));
                        tokio::time::sleep(AGAIN).await;
                        if let Ok(stream) = links().await {
                            self.links = stream;
                        }
                        Some(Hint::Everything)
                    }
                },
            };
            if let Some(hint) = hint {
                return hint;
            }
        }
    }

    fn concerns_links(&self, event: &NetworkEvent) -> bool {
        let of_link = |link: &LinkMessage| link.name() == Some(self.interface.as_str());
        let of_address = |message: &AddressMessage| {
            message.primary_address().is_some_and(|address| self.addresses.contains(address))
        };
        match event {
            NetworkEvent::NewLink(link) | NetworkEvent::DelLink(link) => of_link(link),
            NetworkEvent::NewAddress(address) | NetworkEvent::DelAddress(address) => of_address(address),
            _ => false,
        }
    }
}

/// The next event of tables; never where there are none.
async fn of_tables(
    stream: &mut Option<OwnedEventStream<Nftables>>,
) -> Option<Result<NftablesEvent, nlink::Error>> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

/// Events of tables.
async fn tables() -> Result<OwnedEventStream<Nftables>, nlink::Error> {
    let connection = Connection::<Nftables>::new()?;
    connection.subscribe(&[NftablesGroup::All])?;
    Ok(connection.into_events().await)
}

/// Events of links and addresses.
async fn links() -> Result<OwnedEventStream<Route>, nlink::Error> {
    let connection = Connection::<Route>::new()?;
    connection.subscribe(&[RtnetlinkGroup::Link, RtnetlinkGroup::Ipv4Addr, RtnetlinkGroup::Ipv6Addr])?;
    Ok(connection.into_events().await)
}

/// Says that a stream has ended.
fn lost(what: &'static str, error: Option<nlink::Error>) {
    let error = error.map(tracing::field::display);
    tracing::warn!(what, error, "events of the kernel have ended; asking for them again");
}

/// Whether an event is about our tables, apart from what is filled by packets: beats put that right.
fn concerns_rules(event: &NftablesEvent) -> bool {
    let ours = |family: Family, table: &str| matches!(family, Family::Ip | Family::Ip6) && table == TABLE;
    match event {
        NftablesEvent::NewTable(table) | NftablesEvent::DelTable(table) => ours(table.family, &table.name),
        NftablesEvent::NewChain(chain) | NftablesEvent::DelChain(chain) => ours(chain.family, &chain.table),
        NftablesEvent::NewRule(rule) | NftablesEvent::DelRule(rule) => ours(rule.family, &rule.table),
        NftablesEvent::NewSet(set) | NftablesEvent::DelSet(set) => ours(set.family, &set.table),
        NftablesEvent::NewSetElements(elements) | NftablesEvent::DelSetElements(elements) => {
            let by_packets =
                SetName::ALL.iter().any(|s| s.is_filled_by_packets() && s.as_str() == elements.set);
            ours(elements.family, &elements.table) && !by_packets
        }
        _ => false,
    }
}
