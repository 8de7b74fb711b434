//! UDP: one task a socket. A query is answered in that task unless it has to wait.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use hickory_server::net::xfer::Protocol;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::waiting::Begun;
use super::{Live, Received, Shared, receive};

/// Longest query that is read. Queries are short; EDNS padding (RFC 8467) makes some as long as this.
const MAX_QUERY: usize = 4096;

/// Packets answered in a row before other tasks of the runtime get their turn.
const BURST: usize = 64;

/// Packets that a socket answers at its end: more than its buffer holds.
const LAST_PACKETS: usize = 16_384;

/// A UDP socket that answers.
pub struct UdpListener {
    /// The socket.
    socket: Arc<UdpSocket>,
    /// Where it is bound.
    address: SocketAddr,
    /// Who answers.
    live: Arc<Live>,
    /// Limits and counters.
    shared: Arc<Shared>,
}

/// A datagram as it came in.
struct Datagram {
    /// How much of the buffer it fills.
    len: usize,
    /// Who sent it.
    source: SocketAddr,
    /// The address that it was sent to, if the kernel said so.
    local: Option<IpAddr>,
}

impl UdpListener {
    /// Takes over a bound, non-blocking socket.
    pub fn new(
        socket: std::net::UdpSocket,
        address: SocketAddr,
        live: Arc<Live>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        Ok(Self { socket: Arc::new(UdpSocket::from_std(socket)?), address, live, shared })
    }

    /// Answers until `stop`; what has arrived or waits at that moment still gets its answer.
    pub async fn run(self, stop: CancellationToken) {
        let mut buffer = [0; MAX_QUERY];
        loop {
            let ready = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                ready = self.socket.readable() => ready,
            };
            if let Err(error) = ready {
                tracing::error!(%error, address = %self.address, "udp socket failed");
                return;
            }
            self.burst(&mut buffer);
            tokio::task::yield_now().await;
        }
        // What comes from now on is for the other sockets of this address, if there are any.
        self.turn_away();
        for _ in 0..LAST_PACKETS {
            // Asked directly, for the runtime may not have heard of what has come.
            match read(&self.socket, &mut buffer) {
                Ok(datagram) => self.handle(&buffer[..datagram.len], &datagram),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {}
            }
        }
    }

    /// Answers what has arrived, up to [`BURST`] packets.
    fn burst(&self, buffer: &mut [u8; MAX_QUERY]) {
        for _ in 0..BURST {
            match self.socket.try_io(Interest::READABLE, || read(&self.socket, buffer)) {
                Ok(datagram) => self.handle(&buffer[..datagram.len], &datagram),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error for an earlier reply; the socket is as good as before.
                Err(_) => {}
            }
        }
    }

    /// Has the kernel give this socket no further packets: one that is connected takes those of its peer only, and
    /// a group of sockets that share an address passes it over. Packets that have arrived stay, and replies still
    /// leave. Best effort: without it, what arrives between the last look and the close is lost.
    fn turn_away(&self) {
        let nobody = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        // Our own port: whoever could send from there is this socket.
        let nobody = SocketAddr::new(nobody, self.address.port());
        if let Err(error) = SockRef::from(&*self.socket).connect(&nobody.into()) {
            tracing::debug!(%error, address = %self.address, "closing a udp socket");
        }
    }

    fn handle(&self, bytes: &[u8], datagram: &Datagram) {
        let local = SocketAddr::new(datagram.local.unwrap_or(self.address.ip()), self.address.port());
        let query = match receive(bytes, datagram.source, local, Protocol::Udp, &self.live.now().router) {
            Received::Silence => return,
            Received::Reply(reply) => return self.reply(&reply, datagram),
            Received::Query(query) => query,
        };
        match self.shared.room.begin(query) {
            Begun::Done(None) => {}
            Begun::Done(Some(reply)) => self.reply(&reply, datagram),
            Begun::Waits(waits) => {
                let (source, local) = (datagram.source, datagram.local);
                let (socket, shared) = (self.socket.clone(), self.shared.clone());
                tokio::spawn(async move {
                    let (reply, inside) = waits.reply().await;
                    if let Some(reply) = reply {
                        send_later(&socket, &reply, source, local, &shared).await;
                    }
                    drop(inside);
                });
            }
        }
    }

    fn reply(&self, reply: &[u8], to: &Datagram) {
        let sent = self.socket.try_io(Interest::WRITABLE, || write(&self.socket, reply, to.source, to.local));
        if let Err(error) = sent {
            if error.kind() == io::ErrorKind::WouldBlock {
                // The send buffer is full: try again when it is not, without holding up the next query.
                let (socket, shared) = (self.socket.clone(), self.shared.clone());
                let (reply, source, local) = (reply.to_vec(), to.source, to.local);
                let Some(inside) = shared.room.hold() else {
                    shared.unsent.increment(1);
                    return;
                };
                tokio::spawn(async move {
                    send_later(&socket, &reply, source, local, &shared).await;
                    drop(inside);
                });
            } else {
                self.shared.unsent.increment(1);
            }
        }
    }
}

async fn send_later(socket: &UdpSocket, reply: &[u8], to: SocketAddr, from: Option<IpAddr>, shared: &Shared) {
    if socket.async_io(Interest::WRITABLE, || write(socket, reply, to, from)).await.is_err() {
        shared.unsent.increment(1);
    }
}

/// Receives one datagram with the address that it was sent to.
fn read(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(nix::libc::in6_pktinfo, nix::libc::in_pktinfo);
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let local = message.cmsgs().ok().and_then(|mut all| {
        all.find_map(|c| match c {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                // Our address that it came to, in network byte order: a broadcast names none that can answer.
                Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
            _ => None,
        })
    });
    let source = message.address.as_ref().and_then(socket_addr).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Datagram { len: message.bytes, source, local })
}

/// Sends one datagram from the address that was asked.
fn write(socket: &UdpSocket, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
    let slices = [IoSlice::new(bytes)];
    let to = SockaddrStorage::from(to);
    let send = |control: &[ControlMessage<'_>]| {
        sendmsg(socket.as_raw_fd(), &slices, control, MsgFlags::MSG_DONTWAIT, Some(&to))
    };
    match from {
        Some(IpAddr::V4(ip)) => {
            let info = nix::libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: nix::libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                ipi_addr: nix::libc::in_addr { s_addr: 0 },
            };
            send(&[ControlMessage::Ipv4PacketInfo(&info)])?;
        }
        Some(IpAddr::V6(ip)) => {
            let info = nix::libc::in6_pktinfo {
                ipi6_addr: nix::libc::in6_addr { s6_addr: ip.octets() },
                ipi6_ifindex: 0,
            };
            send(&[ControlMessage::Ipv6PacketInfo(&info)])?;
        }
        None => {
            send(&[])?;
        }
    }
    Ok(())
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(IpAddr::V4(v4.ip()), v4.port()));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use hickory_proto::op::ResponseCode;

    use super::*;
    use crate::node::listen::bind;
    use crate::node::listen::fixture::{Scripted, counted, live};
    use crate::node::listen::{Limits, MAX_WAITING, Timeouts};
    use crate::ops::metrics::Metrics;
    use crate::testkit::client::{Client, Query};

    /// How long queries keep their places: for as long as a test takes.
    const LONG: Duration = Duration::from_secs(60);

    /// A listener that ends with the test.
    struct Fixture {
        client: Client,
        server: SocketAddr,
        metrics: Arc<Metrics>,
        plugin: Arc<Scripted>,
        stop: CancellationToken,
        running: tokio::task::JoinHandle<()>,
    }

    fn start(waiting: usize) -> Fixture {
        let metrics = Arc::new(Metrics::new());
        let plugin = Arc::new(Scripted::default());
        let limits = Limits { waiting, firm: LONG, ..Limits::default() };
        let shared = Shared::with_limits(&metrics, limits);
        let sockets = bind::open("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let live = live(&metrics, plugin.clone(), Timeouts::default());
        let listener =
            UdpListener::new(sockets.udp.into_iter().next().unwrap(), sockets.address, live, shared).unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(listener.run(stop.clone()));
        let server = sockets.address;
        Fixture { client: Client::new(server), server, metrics, plugin, stop, running }
    }

    #[tokio::test]
    async fn over_the_bound_only_what_would_wait_is_refused() {
        let fixture = start(2);
        let waiting = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for _ in 0..2 {
            waiting.send_to(&Query::a("wait.").bytes(), fixture.server).await.unwrap();
        }
        // Packets of one socket are answered in their order, so both wait by now.
        let third = fixture.client.udp(&Query::a("wait.").edns(1232)).await.unwrap();
        assert_eq!(third.rcode(), ResponseCode::ServFail);
        assert_eq!(third.ede(), [(0, "more than 2 queries are waiting for upstreams".to_owned())]);
        counted(&fixture.metrics, r#"outlast_overload_total{limit="waiting_queries"} 1"#);
        let local = fixture.client.udp(&Query::a("local.")).await.unwrap();
        assert_eq!(local.answers(), ["local. 5 IN A 192.0.2.0"]);
        let second = fixture.client.udp(&Query::a("second.")).await.unwrap();
        assert_eq!(second.answers(), ["second. 5 IN A 192.0.2.0"], "second best is better than nothing");
        counted(&fixture.metrics, r#"outlast_overload_total{limit="waiting_queries"} 1"#);
    }

    #[tokio::test]
    async fn a_slot_is_free_again_after_the_reply() {
        let fixture = start(1);
        for _ in 0..3 {
            let reply = fixture.client.udp(&Query::a("soon.")).await.unwrap();
            assert_eq!(reply.rcode(), ResponseCode::NoError);
        }
    }

    #[tokio::test]
    async fn a_panic_in_the_listener_s_own_handling_is_one_packet_s_servfail() {
        let fixture = start(MAX_WAITING);
        fixture.plugin.breaks_the_gate.store(true, Ordering::Relaxed);
        for count in 1..=2 {
            let reply = fixture.client.udp(&Query::a("x.").class(3)).await.unwrap();
            assert_eq!((reply.rcode(), reply.raw.len()), (ResponseCode::ServFail, 12));
            counted(&fixture.metrics, &format!("coredns_panics_total {count}"));
        }
        fixture.plugin.breaks_the_gate.store(false, Ordering::Relaxed);
        let reply = fixture.client.udp(&Query::a("x.")).await.unwrap();
        assert_eq!(reply.answers(), ["x. 5 IN A 192.0.2.0"]);
    }

    #[tokio::test]
    async fn what_waits_when_the_listener_stops_is_still_answered() {
        let fixture = start(MAX_WAITING);
        let query = Query::a("soon.");
        let (reply, ()) = tokio::join!(fixture.client.udp(&query), async {
            // The listener has begun to answer once a later packet is answered.
            fixture.client.udp(&Query::a("x.")).await.unwrap();
            fixture.stop.cancel();
        });
        assert_eq!(reply.unwrap().answers(), ["soon. 5 IN A 192.0.2.0"]);
        fixture.running.await.unwrap();
    }
}
