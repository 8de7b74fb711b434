//! One probe: a question with a name that nobody else asks for, sent to ourselves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, Query as Question};
use hickory_proto::rr::{Name, RecordType};
use rand::Rng;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::zone::name::Labels;

/// How long the reply may take, as in CoreDNS.
const REPLY: Duration = Duration::from_secs(2);

/// How long it may still come by after that: it may have been put off on its way.
const LINGER: Duration = Duration::from_secs(2);

/// Longest reply that is looked at; longer ones are cut off, and are replies all the same.
const MAX_REPLY: usize = 512;

/// A question that is under way.
pub(super) struct Probe {
    /// Its name.
    name: Name,
    /// The same in lower case.
    labels: Labels,
    /// How often it came by.
    seen: AtomicU32,
    /// Woken when it has come back for certain.
    caught: Notify,
}

/// What a probe has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It came back.
    Loop,
    /// It was answered, and did not come back.
    Straight,
    /// It was not answered: nothing is known.
    Unanswered,
}

impl Probe {
    /// A name below `zone`; `None` if that leaves no room for one.
    pub(super) fn new(zone: &str) -> Option<Self> {
        // As CoreDNS's names look: two positive numbers.
        let [one, two]: [u64; 2] = rand::rng().random();
        let text = format!("{}.{}.{}", one >> 1, two >> 1, zone.trim_start_matches('.'));
        let name = Name::from_ascii(&text).ok()?;
        let labels = Labels::parse(&text).ok()?;
        Some(Self { name, labels, seen: AtomicU32::new(0), caught: Notify::new() })
    }

    /// Its name as it is written.
    pub(super) const fn name(&self) -> &Name {
        &self.name
    }

    /// Its name in lower case.
    pub(super) const fn labels(&self) -> &Labels {
        &self.labels
    }

    /// It has come by: how often so far.
    pub(super) fn came_by(&self) -> u32 {
        self.seen.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// It has come back for certain.
    pub(super) fn caught(&self) {
        self.caught.notify_one();
    }

    /// Sends it, and waits for what comes of it.
    pub(super) async fn send(&self, target: SocketAddr) -> Finding {
        let watched = async {
            let answered = matches!(timeout(REPLY, self.exchange(target)).await, Ok(Ok(())));
            tokio::time::sleep(LINGER).await;
            if answered { Finding::Straight } else { Finding::Unanswered }
        };
        tokio::select! {
            biased;
            () = self.caught.notified() => Finding::Loop,
            finding = watched => finding,
        }
    }

    /// Asks `target`; any reply to it will do.
    async fn exchange(&self, target: SocketAddr) -> io::Result<()> {
        let mut message = Message::query();
        message.metadata.id = rand::rng().random();
        message.metadata.recursion_desired = true;
        message.add_query(Question::query(self.name.clone(), RecordType::HINFO));
        let bytes = message.to_vec().map_err(io::Error::other)?;
        let any: IpAddr = match target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(target).await?;
        socket.send(&bytes).await?;
        let mut reply = [0; MAX_REPLY];
        loop {
            let len = socket.recv(&mut reply).await?;
            if reply.get(..len.min(2)) == bytes.get(..2) {
                return Ok(());
            }
        }
    }
}
