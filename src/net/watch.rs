//! What others do to our tables, our interface and our addresses, as the kernel tells it.
//!
//! An event only says where to look. All that is not about us is dropped as soon as it is read; where the kernel had to
//! drop some because they came too fast, everything is looked at.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use nlink::netlink::messages::{AddressMessage, LinkMessage};
use nlink::netlink::nftables::{Family, NftablesEvent, NftablesGroup};
use nlink::netlink::{Connection, NetworkEvent, Nftables, OwnedEventStream, Route, RtnetlinkGroup};

use tokio::time::{Instant, sleep_until};

use super::iptables::rows;
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
    /// At rules of iptables.
    Iptables,
    /// At everything: some events are lost.
    Everything,
}

impl Hint {
    /// At both, or at more.
    pub(super) fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Everything }
    }
}

/// Where events come from.
enum Source<S> {
    /// This stream.
    There(S),
    /// None: it has ended, and is asked for again then.
    Lost(Instant),
}

impl<S, E> Source<S>
where
    S: Stream<Item = Result<E, nlink::Error>> + Unpin,
{
    /// The next event; `None` where some are lost. May be dropped at any time.
    async fn next(&mut self, what: &str, open: impl AsyncFn() -> Result<S, nlink::Error>) -> Option<E> {
        loop {
            match self {
                Self::There(stream) => match stream.next().await {
                    Some(Ok(event)) => return Some(event),
                    Some(Err(error)) if error.is_no_buffer_space() => return None,
                    ended => {
                        let error = ended.and_then(Result::err).map(tracing::field::display);
                        tracing::warn!(what, error, "events of the kernel have ended; asking for them again");
                        *self = Self::Lost(Instant::now() + AGAIN);
                        return None;
                    }
                },
                Self::Lost(again) => {
                    sleep_until(*again).await;
                    match open().await {
                        Ok(stream) => {
                            *self = Self::There(stream);
                            // What has happened meanwhile.
                            return None;
                        }
                        Err(_) => *self = Self::Lost(Instant::now() + AGAIN),
                    }
                }
            }
        }
    }
}

/// Events, of the network namespace of the thread that subscribed.
pub struct Watch {
    /// Of tables; `None` where none are ours.
    tables: Option<Source<OwnedEventStream<Nftables>>>,
    /// Of links and addresses.
    links: Source<OwnedEventStream<Route>>,
    /// The name of our interface.
    interface: String,
    /// Our addresses.
    addresses: Vec<IpAddr>,
    /// Whether rules of ours are in tables of iptables' that nftables has.
    iptables: bool,
}

impl Watch {
    /// Subscribes, for our tables, this interface and these addresses.
    ///
    /// # Errors
    /// A socket that cannot be had.
    pub async fn subscribe(interface: &str, addresses: &[IpAddr]) -> Result<Self, nlink::Error> {
        let (interface, addresses) = (interface.to_owned(), addresses.to_vec());
        let tables = Some(Source::There(tables().await?));
        Ok(Self { tables, links: Source::There(links().await?), interface, addresses, iptables: false })
    }

    /// With what others take out of tables of iptables', which nftables has.
    ///
    /// # Errors
    /// A socket that cannot be had.
    pub async fn with_iptables(mut self) -> Result<Self, nlink::Error> {
        if self.tables.is_none() {
            self.tables = Some(Source::There(tables().await?));
        }
        self.iptables = true;
        Ok(self)
    }

    /// The same without tables, which the kernel may not even have.
    ///
    /// # Errors
    /// A socket that cannot be had.
    pub async fn subscribe_to_links(interface: &str, addresses: &[IpAddr]) -> Result<Self, nlink::Error> {
        let (interface, addresses) = (interface.to_owned(), addresses.to_vec());
        Ok(Self { tables: None, links: Source::There(links().await?), interface, addresses, iptables: false })
    }

    /// The next thing that is about us. May be dropped at any time: nothing is lost by it.
    pub async fn next(&mut self) -> Hint {
        loop {
            let hint = tokio::select! {
                event = of_tables(&mut self.tables) => match event {
                    Some(event) if concerns_rules(&event) => Some(Hint::Rules),
                    Some(event) => (self.iptables && is_taken_from_iptables(&event)).then_some(Hint::Iptables),
                    None => Some(Hint::Everything),
                },
                event = self.links.next("links", links) => match event {
                    Some(event) => self.concerns_links(&event).then_some(Hint::Links),
                    None => Some(Hint::Everything),
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

/// The next event of tables, `None` where some are lost; never where there are none.
async fn of_tables(source: &mut Option<Source<OwnedEventStream<Nftables>>>) -> Option<NftablesEvent> {
    match source {
        Some(source) => source.next("nftables", tables).await,
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

/// Whether somebody takes something out of chains that rules of ours are in: kube-proxy has many others there.
fn is_taken_from_iptables(event: &NftablesEvent) -> bool {
    let ours = |family: Family, table: &str| {
        matches!(family, Family::Ip | Family::Ip6) && rows::TABLES.contains(&table)
    };
    match event {
        NftablesEvent::DelTable(table) => ours(table.family, &table.name),
        NftablesEvent::DelChain(chain) => {
            ours(chain.family, &chain.table) && rows::CHAINS.contains(&chain.name.as_str())
        }
        NftablesEvent::DelRule(rule) => {
            ours(rule.family, &rule.table) && rows::CHAINS.contains(&rule.chain.as_str())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{self, BoxStream};

    use super::*;

    /// Events by number.
    type Numbers = BoxStream<'static, Result<u32, nlink::Error>>;

    fn of(numbers: &[u32]) -> Numbers {
        stream::iter(numbers.to_vec()).map(Ok).boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_has_ended_is_taken_up_again_however_often_it_is_dropped() {
        let mut source = Source::There(of(&[1]));
        let open = async || Ok(stream::iter([2]).map(Ok).chain(stream::pending()).boxed());
        assert_eq!(source.next("numbers", open).await, Some(1));
        assert_eq!(source.next("numbers", open).await, None, "some may be lost");
        let began = Instant::now();
        let mut drops = 0;
        // As the loop of beats does.
        let next = loop {
            match tokio::time::timeout(AGAIN / 4, source.next("numbers", open)).await {
                Ok(next) => break next,
                Err(_) => drops += 1,
            }
        };
        assert_eq!((next, began.elapsed()), (None, AGAIN), "what came meanwhile is looked for");
        assert!(drops >= 3);
        assert_eq!(source.next("numbers", open).await, Some(2));
    }
}
