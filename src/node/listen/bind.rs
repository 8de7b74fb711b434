//! Opening sockets: one address, UDP and TCP, shared with a successor (SO_REUSEPORT) so that a restart or a
//! reload loses no packet.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::fd::AsFd;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::geteuid;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that the kernel keeps until they are accepted.
pub(super) const BACKLOG: i32 = 1024;

/// Receive buffer of a UDP socket in bytes: bursts of some thousand queries survive a pause of the process.
/// The kernel caps it at net.core.rmem_max.
const UDP_BUFFER: usize = 1 << 20;

/// The instruction of classic BPF that ends a program with a constant (`BPF_RET | BPF_K`).
const RETURN: u16 = 0x06;

/// Ports that are tried where the kernel may choose one.
const PORT_TRIES: usize = 16;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {transport} {address}: {why}{}", hint(.why))]
pub struct BindError {
    /// The address.
    address: SocketAddr,
    /// `udp` or `tcp`.
    transport: &'static str,
    /// Why; the text has it, so that it is no source that is said once more behind it.
    why: io::Error,
}

impl BindError {
    /// Whether somebody else listens there.
    pub fn is_in_use(&self) -> bool {
        self.why.kind() == io::ErrorKind::AddrInUse
    }
}

fn hint(error: &io::Error) -> String {
    match error.kind() {
        // The kernel lets no user take packets of another one's, so that this is no way to share a port either.
        io::ErrorKind::AddrInUse => format!(
            "; another server holds it: stop that one, or choose another port with -dns.port or `bind`; if it is the \
             process before this one, run both as the same user: SO_REUSEPORT shares a port within one uid, and this \
             one's is {}",
            geteuid()
        ),
        io::ErrorKind::AddrNotAvailable => "; no interface has this address: see `bind`".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need root or CAP_NET_BIND_SERVICE: choose another with -dns.port".to_owned()
        }
        _ => String::new(),
    }
}

/// Most UDP sockets of one address: as many as threads that answer.
const MAX_UDP_SOCKETS: usize = 4;

/// The sockets of one address.
pub struct Sockets {
    /// The address, with the port that was given by the kernel if none was asked for.
    pub address: SocketAddr,
    /// For datagrams; non-blocking. The kernel spreads clients over them (SO_REUSEPORT), so that they are answered
    /// on as many cores.
    pub udp: Vec<std::net::UdpSocket>,
    /// For connections; non-blocking.
    pub tcp: std::net::TcpListener,
}

/// Every address, one socket a family: a socket for both would report IPv4 clients as mapped addresses.
pub fn wildcard(port: u16) -> Vec<SocketAddr> {
    let addresses = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    addresses.map(|ip| SocketAddr::new(ip, port)).to_vec()
}

/// Where a listener of this address is reached from its own machine: on loopback if it has every address.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let mut reachable = address;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => reachable.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => reachable.set_ip(Ipv6Addr::LOCALHOST.into()),
        // With its scope, where it has one.
        _ => {}
    }
    reachable
}

/// Opens UDP and TCP on `address`, with so many sockets for UDP, or as many as is usual.
pub fn open(address: SocketAddr, udp: Option<NonZeroUsize>) -> Result<Sockets, BindError> {
    let udp = udp.map_or_else(udp_sockets, NonZeroUsize::get);
    let mut opened = open_once(address, udp);
    // The kernel chooses a port that is free for TCP; somebody may have it for UDP.
    for _ in 1..PORT_TRIES {
        if address.port() != 0 || opened.is_ok() {
            break;
        }
        opened = open_once(address, udp);
    }
    opened
}

fn open_once(address: SocketAddr, udp: usize) -> Result<Sockets, BindError> {
    let fail = |why| BindError { address, transport: "tcp", why };
    let tcp = open_tcp(address).map_err(fail)?;
    // Port 0 asks the kernel for one; both transports use the same.
    let address = tcp.local_addr().map_err(fail)?;
    Ok(Sockets { address, udp: open_more(address, udp)?, tcp })
}

/// Opens TCP alone.
pub fn open_stream(address: SocketAddr) -> Result<Sockets, BindError> {
    open_once(address, 0)
}

/// Opens so many sockets for UDP on an address, beside those that it has.
pub fn open_more(address: SocketAddr, count: usize) -> Result<Vec<std::net::UdpSocket>, BindError> {
    let opened = (0..count).map(|_| open_udp(address)).collect::<io::Result<_>>();
    opened.map_err(|why| BindError { address, transport: "udp", why })
}

/// UDP sockets of an address, where nobody says how many: one a core, at most four.
pub fn udp_sockets() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_UDP_SOCKETS)
}

fn open_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    prepare(&socket, address)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    // A process that has left has led connections to its successor: that is not to be the next one for good. Best effort.
    let _ = steer(&socket, EVERYBODY);
    Ok(socket.into())
}

/// More than there can be listeners: the kernel spreads connections over all of them.
pub(super) const EVERYBODY: u32 = u32::MAX;

/// Has the kernel give new connections to the `nth` of the listeners that share an address, in the order in which they
/// began to listen (`SO_ATTACH_REUSEPORT_CBPF`, socket(7)). Where there are not so many it spreads them as ever.
///
/// # Errors
/// A kernel without it.
pub(super) fn steer(listener: &impl AsFd, nth: u32) -> io::Result<()> {
    let mut instructions = [libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: nth }];
    let program = libc::sock_fprog { len: 1, filter: instructions.as_mut_ptr() };
    setsockopt(listener, sockopt::AttachReusePortCbpf, &program).map_err(io::Error::from)
}

/// The number of an interface that no machine has: they are given from 1 on.
const NO_INTERFACE: u32 = i32::MAX as u32;

/// Has the kernel find a listener no longer by itself. What it was given before comes to it as ever; those that share
/// its address still lead to it, so that they have to be steered elsewhere first.
///
/// One that shares its address has to do so before it closes. To close takes it out of those that share the address
/// first, and out of those that are looked at only then: who is found in between, and shares with nobody, is given the
/// connection, which is reset, or waits for a second.
///
/// # Errors
/// A kernel before 5.1, which has no `SO_BINDTOIFINDEX`. Without `CAP_NET_RAW`: a kernel before 5.7, or a listener that
/// is bound to an interface, as one of a link-local address is.
pub(super) fn hide(listener: &impl AsFd) -> io::Result<()> {
    // The option is the same for both families.
    SockRef::from(listener).bind_device_by_index_v4(NonZeroU32::new(NO_INTERFACE))
}

fn open_udp(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    prepare(&socket, address)?;
    // Best effort: a smaller buffer loses packets in bursts only.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER);
    // A reply must come from the address that was asked, also where a host has several.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
        IpAddr::V6(ip) if ip.is_unspecified() => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        // It has no other.
        _ => {}
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn prepare(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use super::*;

    /// So many that chance gives none of two listeners all of them.
    const CONNECTIONS: usize = 64;

    fn connect(address: SocketAddr) -> Vec<TcpStream> {
        (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect()
    }

    /// How many connections each of two listeners accepts of so many that are open. The kernel may have told a client
    /// of a connection before it tells the listener.
    fn accepted(listeners: [&std::net::TcpListener; 2], open: usize) -> [usize; 2] {
        let mut counts = [0; 2];
        let end = Instant::now() + Duration::from_secs(10);
        while counts.iter().sum::<usize>() < open && Instant::now() < end {
            for (count, listener) in counts.iter_mut().zip(listeners) {
                *count += std::iter::from_fn(|| listener.accept().ok()).count();
            }
        }
        counts
    }

    #[test]
    fn what_a_process_that_left_led_away_is_not_all_given_to_the_next_one() {
        let first = open_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        // To its successor, which would be the second.
        steer(&first, 1).unwrap();
        let open = connect(address);
        let nobody = open_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(accepted([&first, &nobody], open.len()), [CONNECTIONS, 0], "there is nobody else");
        let second = open_tcp(address).unwrap();
        let open = connect(address);
        let counts = accepted([&first, &second], open.len());
        assert!(counts[0] > 0 && counts[1] > 0 && counts[0] + counts[1] == CONNECTIONS, "{counts:?}");
        steer(&first, 1).unwrap();
        let open = connect(address);
        assert_eq!(accepted([&first, &second], open.len()), [0, CONNECTIONS]);
    }

    #[test]
    fn who_is_hidden_is_found_no_longer_and_has_what_it_was_given() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let hidden = open_tcp(address.parse().unwrap()).unwrap();
            let address = hidden.local_addr().unwrap();
            let before = connect(address);
            hide(&hidden).unwrap();
            let refused = TcpStream::connect(address).expect_err("nobody else listens");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{address}");
            // Nor is it in the way of those that begin to listen.
            let other = open_tcp(address).unwrap();
            let since = connect(address);
            let counts = accepted([&hidden, &other], before.len() + since.len());
            assert_eq!(counts, [CONNECTIONS; 2], "{address}");
        }
    }

    #[test]
    fn of_two_that_share_an_address_the_one_that_leaves_is_given_nothing() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            for leaves in [0, 1] {
                let mut two = vec![open_tcp(address.parse().unwrap()).unwrap()];
                let at = two[0].local_addr().unwrap();
                two.push(open_tcp(at).unwrap());
                let stays = 1 - leaves;
                steer(&two[leaves], stays as u32).unwrap();
                hide(&two[leaves]).unwrap();
                let open = connect(at);
                assert_eq!(
                    accepted([&two[leaves], &two[stays]], open.len()),
                    [0, CONNECTIONS],
                    "{at}, {leaves}"
                );
                drop(two.remove(leaves));
                let open = connect(at);
                let nobody = open_tcp(address.parse().unwrap()).unwrap();
                assert_eq!(
                    accepted([&nobody, &two[0]], open.len()),
                    [0, CONNECTIONS],
                    "{at}, {leaves} has left"
                );
            }
        }
    }
}
