//! A UDP socket as both who receive on it and who reply on it have it.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};

/// Where a reply goes, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// Who asked.
    pub(super) source: SocketAddr,
    /// The address that was asked, if the kernel said so.
    pub(super) local: Option<IpAddr>,
}

/// The socket for replies that come later than their batch.
pub(super) struct ReplySocket {
    /// The socket.
    pub(super) socket: UdpSocket,
    /// Where it is bound.
    pub(super) address: SocketAddr,
}

impl ReplySocket {
    /// The address that a query was sent to.
    pub(super) fn local(&self, target: Target) -> SocketAddr {
        SocketAddr::new(target.local.unwrap_or(self.address.ip()), self.address.port())
    }

    /// Sends one datagram from the address that was asked, without waiting.
    pub(super) fn send(&self, bytes: &[u8], target: Target) -> io::Result<()> {
        let slices = [IoSlice::new(bytes)];
        let to = SockaddrStorage::from(target.source);
        let send = |control: &[ControlMessage<'_>]| {
            sendmsg(self.socket.as_raw_fd(), &slices, control, MsgFlags::MSG_DONTWAIT, Some(&to))
        };
        match target.local {
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
}
