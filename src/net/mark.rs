//! Datagrams that renew the elements of `live` and `held`.
//!
//! A marked datagram to an address of ours meets a rule of our own table that lets the address live for a second more,
//! and drops it. The kernel says that it was dropped (`EPERM`), and so proves that the rule is in place; where it goes
//! out, the rule is missing. The ruleset stays as it is: a list that somebody takes is never disturbed by a beat.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use super::Ip;
use super::layout::{BEAT, HOLD};

/// What a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// The address is answered at.
    Beat,
    /// Its connections are.
    Hold,
}

impl Say {
    /// The mark that says it.
    const fn mark(self) -> u32 {
        match self {
            Self::Beat => BEAT,
            Self::Hold => HOLD,
        }
    }
}

/// What became of one.
#[derive(Debug)]
pub enum Sent {
    /// The rule took it: the address lives.
    Renewed,
    /// It went out: the rule is missing, or the address is not in its set.
    Missing,
    /// Neither: there may be no way to where other rules sent it, or no IPv6.
    Failed(io::Error),
}

/// The sockets for it, of the network namespace of the thread that made them.
pub struct Marks {
    /// For IPv4.
    v4: UdpSocket,
    /// For IPv6, where there is such a thing.
    v6: Option<UdpSocket>,
    /// The port of DNS.
    port: u16,
}

impl Marks {
    /// Sockets for addresses of these families.
    ///
    /// # Errors
    /// A socket that cannot be had, or a mark that may not be set: `CAP_NET_ADMIN` is needed.
    pub fn new(port: u16, v6: bool) -> io::Result<Self> {
        let open = |any: IpAddr| {
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_nonblocking(true)?;
            // Whether it may be done at all is known from here on.
            setsockopt(&socket, sockopt::Mark, &BEAT)?;
            Ok::<_, io::Error>(socket)
        };
        let v4 = open(Ipv4Addr::UNSPECIFIED.into())?;
        let v6 = v6.then(|| open(Ipv6Addr::UNSPECIFIED.into())).transpose()?;
        Ok(Self { v4, v6, port })
    }

    /// Says it of an address.
    pub fn send(&self, address: IpAddr, say: Say) -> Sent {
        let socket = match Ip::of(&address) {
            Ip::V4 => Some(&self.v4),
            Ip::V6 => self.v6.as_ref(),
        };
        let Some(socket) = socket else {
            return Sent::Failed(io::Error::from(io::ErrorKind::Unsupported));
        };
        let marked = setsockopt(socket, sockopt::Mark, &say.mark()).map_err(io::Error::from);
        // One byte: where no rule takes it, whoever listens finds no question in it and says nothing.
        let sent = marked.and_then(|()| socket.send_to(&[0], SocketAddr::new(address, self.port)));
        match sent {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Sent::Renewed,
            Ok(_) => Sent::Missing,
            Err(error) => Sent::Failed(error),
        }
    }
}
