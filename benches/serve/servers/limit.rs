//! The limit: what receiving and sending packets costs, with as little between them as a DNS server can have.
//!
//! A thread a core with a socket of its own, which receives up to 64 packets at a time, finds the reply by the bytes
//! of the question, and sends them with one call. It has nothing else: no compression, no letter case, no EDNS, no other
//! type, no counter. On a wildcard it has the kernel say which address was asked, and replies from it; all queries of a
//! batch are taken to have come to one.

use std::array;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::in_pktinfo;
use nix::sys::socket::sockopt::Ipv4PacketInfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, recvmmsg, sendmmsg,
    setsockopt,
};
use outlast::testkit::client::Query;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Place, Server};
use crate::questions::read_zone;

/// Packets that are received and sent with one call.
const BATCH: usize = 64;

/// Longest query and longest reply: classic DNS, RFC 1035 §2.3.4.
const PACKET: usize = 512;

/// Length of a header, RFC 1035 §4.1.1.
const HEADER: usize = 12;

/// The TTL of all records: longer than the bench runs, so that whoever forwards to here asks once.
const TTL: u32 = 86_400;

/// QR, AA, RD, RA.
const FLAGS: u16 = 0x8580;

/// Its rcode is NXDOMAIN.
const MISSING: u16 = FLAGS | 3;

/// Replies without their id, by the bytes of the question.
type Replies = HashMap<Box<[u8]>, Box<[u8]>, BuildHasherDefault<Xxh3>>;

/// Starts one with names and addresses from a file.
pub(crate) fn start(zone: &Path, place: Place) -> Result<Server, String> {
    let flag = match place {
        Place::Loopback => "--limit",
        Place::Wildcard => "--limit-wildcard",
    };
    super::start_role(flag, zone)
}

/// Is one.
pub(crate) fn serve(zone: &Path, place: Place) {
    let replies: Replies = read_zone(zone).iter().map(|(name, addresses)| reply(name, addresses)).collect();
    let first = super::socket(SocketAddr::new(place.ip(), 0)).unwrap();
    let address = first.local_addr().unwrap();
    let more = (1..super::threads()).map(|_| super::socket(address).unwrap());
    let sockets: Vec<_> = std::iter::once(first).chain(more).collect();
    super::serving(address);
    std::thread::scope(|scope| {
        for socket in &sockets {
            scope.spawn(|| lane(socket, place, &replies));
        }
    });
}

/// The bytes of a question, and those of its reply.
fn reply(name: &str, addresses: &[Ipv4Addr]) -> (Box<[u8]>, Box<[u8]>) {
    let query = Query::a(&format!("{name}.")).bytes();
    let mut bytes = header(FLAGS, addresses.len() as u16).to_vec();
    bytes.extend_from_slice(&query[HEADER..]);
    for address in addresses {
        // The name of the question by a pointer to it, type A, class IN.
        bytes.extend_from_slice(&[0xc0, HEADER as u8, 0, 1, 0, 1]);
        bytes.extend_from_slice(&TTL.to_be_bytes());
        bytes.extend_from_slice(&[0, 4]);
        bytes.extend_from_slice(&address.octets());
    }
    (query[HEADER..].into(), bytes.into())
}

/// A header without id, with one question.
fn header(flags: u16, answers: u16) -> [u8; HEADER] {
    let ([flags, code], [high, low]) = (flags.to_be_bytes(), answers.to_be_bytes());
    [0, 0, flags, code, 0, 1, high, low, 0, 0, 0, 0]
}

/// Answers what comes to one socket.
fn lane(socket: &UdpSocket, place: Place, replies: &Replies) {
    let control = || (place == Place::Wildcard).then(|| cmsg_space!(in_pktinfo));
    setsockopt(socket, Ipv4PacketInfo, &(place == Place::Wildcard)).unwrap();
    let mut received = [[0; PACKET]; BATCH];
    let mut sent = [[0; PACKET]; BATCH];
    let mut incoming = MultiHeaders::<SockaddrIn>::preallocate(BATCH, control());
    let mut outgoing = MultiHeaders::<SockaddrIn>::preallocate(BATCH, control());
    let (mut queries, mut addresses) = ([0; BATCH], [None; BATCH]);
    let (mut lengths, mut asked) = ([0; BATCH], None);
    loop {
        let mut slices = received.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let flags = MsgFlags::MSG_WAITFORONE;
        let count = match recvmmsg(socket.as_raw_fd(), &mut incoming, &mut slices, flags, None) {
            Ok(packets) => packets.enumerate().fold(0, |_, (at, packet)| {
                (queries[at], addresses[at]) = (packet.bytes, packet.address);
                asked = if place == Place::Wildcard { local(&packet) } else { None };
                at + 1
            }),
            // An error of an earlier reply: its client has gone.
            Err(Errno::ECONNREFUSED | Errno::EINTR) => continue,
            Err(error) => panic!("receiving: {error}"),
        };
        let mut used = 0;
        for at in 0..count {
            if let Some(length) = answer(&received[at][..queries[at]], replies, &mut sent[used]) {
                (lengths[used], addresses[used]) = (length, addresses[at]);
                used += 1;
            }
        }
        let slices: [_; BATCH] = array::from_fn(|at| [IoSlice::new(&sent[at][..lengths[at]])]);
        let control = asked.as_ref().map(ControlMessage::Ipv4PacketInfo);
        let mut done = 0;
        while done < used {
            let (slices, addresses) = (&slices[done..used], &addresses[done..used]);
            let (control, flags) = (control.as_slice(), MsgFlags::empty());
            let packets = sendmmsg(socket.as_raw_fd(), &mut outgoing, slices, addresses, control, flags);
            // One that cannot be sent is lost.
            done += packets.map_or(1, |packets| packets.count().max(1));
        }
    }
}

/// The address that a packet was sent to, as a reply is sent from it.
fn local(packet: &RecvMsg<'_, '_, SockaddrIn>) -> Option<in_pktinfo> {
    packet.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(in_pktinfo { ipi_ifindex: 0, ..info }),
        _ => None,
    })
}

/// Writes the reply to a query and returns its length; `None` to what is no query.
fn answer(query: &[u8], replies: &Replies, out: &mut [u8; PACKET]) -> Option<usize> {
    let question = question(query)?;
    let length = match replies.get(question) {
        Some(reply) => {
            out[..reply.len()].copy_from_slice(reply);
            reply.len()
        }
        None => {
            out[..HEADER].copy_from_slice(&header(MISSING, 0));
            out[HEADER..HEADER + question.len()].copy_from_slice(question);
            HEADER + question.len()
        }
    };
    out[..2].copy_from_slice(&query[..2]);
    Some(length)
}

/// The bytes of the first question: name, type and class.
fn question(query: &[u8]) -> Option<&[u8]> {
    let body = query.get(HEADER..)?;
    let mut at = 0;
    loop {
        match *body.get(at)? {
            0 => return body.get(..at + 5),
            label => at += 1 + usize::from(label),
        }
    }
}

/// The hash that the node has for its names, too.
#[derive(Default)]
struct Xxh3(u64);

impl Hasher for Xxh3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// The length before the bytes of a slice: the bytes say enough.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
