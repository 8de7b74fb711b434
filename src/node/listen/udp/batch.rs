//! Many datagrams by one system call: `recvmmsg` and `sendmmsg`.
//!
//! `unsafe`, because the wrappers that there are send one control message with all datagrams of a call,
//! and each reply here has an address of its own to leave from. What the kernel is given is made anew for every call
//! out of this batch's own buffers; what it says is read by functions that check every index.
//!
//! Invariants of the `unsafe` blocks:
//! * The pointers of a header that is handed over lead into buffers that are borrowed mutably until the call has
//!   returned, and its lengths are those buffers' own. Headers are written whole before each call, and never read
//!   through.
//! * No more headers are handed over than were written.
//! * Of what the kernel says only numbers are believed, and none beyond the length of its buffer.
#![expect(unsafe_code, reason = "two system calls that no wrapper makes as they are needed here")]

use std::io;
use std::mem::{self, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::libc;

/// Datagrams of one call at most: the price of a call is shared by then, and more would only wait longer.
pub const BATCH: usize = 32;

/// Longest query that is read. Queries are short; EDNS padding (RFC 8467) makes some as long as this.
pub const MAX_QUERY: usize = 4096;

/// From one query to the next in their buffer: as many bytes as a page would put the beginning of each, which is all
/// that most have, into the same few places of the processor's first cache.
const QUERY_STRIDE: usize = MAX_QUERY + 64;

/// Longest reply that is written here; longer ones are the general handler's.
pub const MAX_REPLY: usize = 4096;

/// The fewest datagrams that are asked for: headers for many are not worth it where few come.
const FEW: usize = 4;

/// Length of the longest socket address that is used (`sockaddr_in6`).
const NAME: usize = size_of::<libc::sockaddr_in6>();

/// Room for the control messages of a datagram: one that says where it came to, and one to spare.
const CONTROL: usize = 80;

/// Where the data of a control message begins: its header's size is a multiple of the alignment.
const CONTROL_DATA: usize = size_of::<libc::cmsghdr>();

/// A buffer at an address that any structure of the kernel can begin at.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Aligned<const N: usize>([u8; N]);

/// One datagram and what is said to it, but for the bytes of both.
#[derive(Clone, Copy)]
struct Slot {
    /// Who sent it, as the kernel has it.
    name: Aligned<NAME>,
    /// How much of `name` counts.
    name_len: u32,
    /// Control messages: first the kernel's, then ours.
    control: Aligned<CONTROL>,
    /// How much of `control` counts.
    control_len: usize,
    /// Length of the query.
    query: usize,
    /// Length of the reply; `None` where there is none.
    reply: Option<usize>,
}

impl Slot {
    const EMPTY: Self = Self {
        name: Aligned([0; NAME]),
        name_len: 0,
        control: Aligned([0; CONTROL]),
        control_len: 0,
        query: 0,
        reply: None,
    };
}

/// The datagrams of one call with their replies. Its memory is used again and again.
pub struct Batch {
    /// Queries, of [`MAX_QUERY`] bytes at most, each [`QUERY_STRIDE`] behind the one before.
    queries: Vec<u8>,
    /// Replies, one right behind the other: room for as many as there can be of [`MAX_REPLY`] bytes.
    replies: Vec<u8>,
    /// The rest of each.
    slots: Box<[Slot; BATCH]>,
    /// What the kernel is given; means something during a call only.
    headers: Box<[libc::mmsghdr; BATCH]>,
    /// Where the bytes of each are; the same.
    vectors: Box<[libc::iovec; BATCH]>,
    /// How many datagrams there are.
    len: usize,
    /// Whether a full send buffer is waited for.
    is_patient: bool,
}

/// A datagram.
pub struct Datagram<'a> {
    /// Its bytes, cut at [`MAX_QUERY`].
    pub query: &'a [u8],
    /// Who sent it.
    pub source: SocketAddr,
    /// The address that it was sent to, if the kernel said so.
    pub local: Option<IpAddr>,
    /// Room for the reply, [`MAX_REPLY`] bytes.
    pub reply: &'a mut [u8],
    /// Its place in the batch.
    slot: &'a mut Slot,
}

impl Datagram<'_> {
    /// Has the first `len` bytes of the room sent as the reply.
    pub fn answer(&mut self, len: usize) {
        self.slot.reply = Some(len.min(self.reply.len()));
    }
}

impl Default for Batch {
    /// An empty batch.
    fn default() -> Self {
        // Pages that no datagram has come to are no memory.
        Self {
            queries: vec![0; BATCH * QUERY_STRIDE],
            replies: vec![0; BATCH * MAX_REPLY],
            slots: Box::new([Slot::EMPTY; BATCH]),
            // SAFETY: all zeros is a header that points to nothing.
            headers: Box::new(unsafe { zeroed() }),
            vectors: Box::new([EMPTY_VECTOR; BATCH]),
            len: 0,
            is_patient: true,
        }
    }
}

impl Batch {
    /// Waits for a datagram, for as long as the socket's receive timeout says, and takes what has come with it.
    /// Returns how many datagrams there are.
    ///
    /// # Errors
    /// What the kernel says; `WouldBlock` where nothing came in time.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.take(socket, libc::MSG_WAITFORONE)
    }

    /// Takes what has come, without waiting.
    ///
    /// # Errors
    /// What the kernel says; `WouldBlock` where nothing has come.
    pub fn receive_now(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.take(socket, libc::MSG_DONTWAIT)
    }

    fn take(&mut self, socket: &UdpSocket, flags: libc::c_int) -> io::Result<usize> {
        // As many as came the last time are likely to come again, and a few more.
        let wanted = (self.len * 2).clamp(FEW, BATCH);
        self.len = 0;
        let each = self.slots.iter_mut().zip(self.queries.chunks_exact_mut(QUERY_STRIDE));
        let headers = self.headers.iter_mut().zip(self.vectors.iter_mut());
        for ((header, vector), (slot, query)) in headers.zip(each).take(wanted) {
            slot.reply = None;
            *vector = libc::iovec { iov_base: query.as_mut_ptr().cast(), iov_len: MAX_QUERY };
            let header = &mut header.msg_hdr;
            header.msg_name = slot.name.0.as_mut_ptr().cast();
            header.msg_namelen = NAME as u32;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = slot.control.0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
        // SAFETY: the first `wanted` headers point into `queries` and `slots`, which `self` keeps borrowed mutably,
        // with the lengths of what they point to; there are at least `wanted` of them.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                wanted as libc::c_uint,
                flags as _,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        self.len = count.min(wanted);
        for (slot, header) in self.slots.iter_mut().zip(self.headers.iter()).take(self.len) {
            slot.query = (header.msg_len as usize).min(MAX_QUERY);
            slot.name_len = header.msg_hdr.msg_namelen.min(NAME as u32);
            slot.control_len = header.msg_hdr.msg_controllen.min(CONTROL);
        }
        Ok(self.len)
    }

    /// Calls `handle` with each datagram that was received, but for those whose sender has no address.
    pub fn each(&mut self, mut handle: impl FnMut(Datagram<'_>)) {
        let queries = self.queries.chunks_exact(QUERY_STRIDE);
        let mut room = self.replies.as_mut_slice();
        for (slot, query) in self.slots.iter_mut().zip(queries).take(self.len) {
            let Some(source) = slot.name.0.get(..slot.name_len as usize).and_then(source) else { continue };
            let local = slot.control.0.get(..slot.control_len).and_then(local);
            let (Some(query), Some(reply)) = (query.get(..slot.query), room.get_mut(..MAX_REPLY)) else {
                continue;
            };
            handle(Datagram { query, source, local, reply, slot: &mut *slot });
            room = mem::take(&mut room).split_at_mut(slot.reply.unwrap_or_default()).1;
        }
    }

    /// Sends the replies, each from the address that its query came to. Returns how many the kernel did not take.
    ///
    /// A full send buffer is waited for once, for as long as the socket's send timeout says: what does not leave by then
    /// does not leave, for there are queries to receive. Where it is full of replies to neighbours that the kernel does
    /// not find, for which it asks for seconds, the next batches do not wait at all until a reply has left.
    pub fn send(&mut self, socket: &UdpSocket) -> usize {
        let mut count = 0;
        let mut replies = self.replies.as_mut_slice();
        let mut headers = self.headers.iter_mut().zip(self.vectors.iter_mut());
        for slot in self.slots.iter_mut().take(self.len) {
            let Some(len) = slot.reply.take() else { continue };
            // There are as many headers as slots, and room for all replies.
            let Some((bytes, rest)) = mem::take(&mut replies).split_at_mut_checked(len) else { break };
            let Some((header, vector)) = headers.next() else { break };
            replies = rest;
            *vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            let header = &mut header.msg_hdr;
            header.msg_name = slot.name.0.as_mut_ptr().cast();
            header.msg_namelen = slot.name_len;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            (header.msg_control, header.msg_controllen) = (std::ptr::null_mut(), 0);
            header.msg_flags = 0;
            if let Some(local) = local(&slot.control.0[..slot.control_len]) {
                header.msg_controllen = leave_from(&mut slot.control.0, local) as _;
                header.msg_control = slot.control.0.as_mut_ptr().cast();
            }
            count += 1;
        }
        let (mut at, mut failed) = (0, 0);
        let mut waits = false;
        while at < count {
            // Only the reply that met the full buffer waits: behind it there is room for many.
            let (flags, end) = if waits { (0, at + 1) } else { (libc::MSG_DONTWAIT, count) };
            // SAFETY: the headers from `at` to `end`, which is `count` at most, point into `replies` and `slots`, which `self` keeps borrowed
            // mutably, with the lengths of what they point to.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    self.headers[at..end].as_mut_ptr(),
                    (end - at) as libc::c_uint,
                    (flags | libc::MSG_NOSIGNAL) as _,
                )
            };
            waits = false;
            if let Some(sent) = usize::try_from(sent).ok().filter(|sent| *sent > 0) {
                at += sent;
                continue;
            }
            match io::Error::last_os_error().kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock if self.is_patient => (self.is_patient, waits) = (false, true),
                // The first of them cannot be sent; the others may.
                _ => (at, failed) = (at + 1, failed + 1),
            }
        }
        if count > 0 {
            self.is_patient = failed < count;
        }
        failed
    }
}

/// A vector of nothing.
const EMPTY_VECTOR: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

/// The address in a `sockaddr_in` or `sockaddr_in6`.
fn source(name: &[u8]) -> Option<SocketAddr> {
    let family = libc::c_int::from(u16::from_ne_bytes(*name.first_chunk()?));
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    match family {
        libc::AF_INET => {
            let octets: [u8; 4] = *name.get(4..)?.first_chunk()?;
            Some(SocketAddr::new(Ipv4Addr::from(octets).into(), port))
        }
        libc::AF_INET6 => {
            let flow = u32::from_be_bytes(*name.get(4..)?.first_chunk()?);
            let octets: [u8; 16] = *name.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, flow, scope).into())
        }
        _ => None,
    }
}

/// The address that a datagram came to, out of its first control message.
fn local(control: &[u8]) -> Option<IpAddr> {
    const LEN: usize = size_of::<usize>();
    let number = |at: usize| control.get(at..)?.first_chunk().map(|n| libc::c_int::from_ne_bytes(*n));
    let data = control.get(CONTROL_DATA..)?;
    match (number(LEN)?, number(LEN + 4)?) {
        // `in_pktinfo`: interface, the address of ours that it came to (a broadcast names none that can answer),
        // and the one in its header.
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            let octets: [u8; 4] = *data.get(4..)?.first_chunk()?;
            Some(Ipv4Addr::from(octets).into())
        }
        // `in6_pktinfo`: address and interface.
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let octets: [u8; 16] = *data.first_chunk()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// Writes the control message that has a reply leave from this address, by whatever interface leads to the client.
/// Returns how long it is.
fn leave_from(control: &mut [u8; CONTROL], local: IpAddr) -> usize {
    let (level, kind, len) = match local {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO, size_of::<libc::in_pktinfo>()),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, size_of::<libc::in6_pktinfo>()),
    };
    *control = [0; CONTROL];
    let mut write = |at: usize, bytes: &[u8]| control[at..at + bytes.len()].copy_from_slice(bytes);
    write(0, &(CONTROL_DATA + len).to_ne_bytes());
    write(size_of::<usize>(), &level.to_ne_bytes());
    write(size_of::<usize>() + 4, &kind.to_ne_bytes());
    match local {
        IpAddr::V4(ip) => write(CONTROL_DATA + 4, &ip.octets()),
        IpAddr::V6(ip) => write(CONTROL_DATA, &ip.octets()),
    }
    // To the next multiple of the alignment, as CMSG_SPACE has it.
    CONTROL_DATA + len.next_multiple_of(size_of::<usize>())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::node::listen::bind;

    /// Receives until so many datagrams have come and been answered by their own bytes with the local address behind
    /// them.
    fn echo(batch: &mut Batch, socket: &UdpSocket, mut count: usize) {
        while count > 0 {
            count -= batch.receive(socket).unwrap();
            batch.each(|mut datagram| {
                let text = format!("{}@{}", datagram.query.escape_ascii(), datagram.local.unwrap());
                datagram.reply[..text.len()].copy_from_slice(text.as_bytes());
                datagram.answer(text.len());
            });
            assert_eq!(batch.send(socket), 0);
        }
    }

    /// The only socket of its address, and its port.
    fn open(address: &str) -> (UdpSocket, u16) {
        let sockets = bind::open(address.parse().unwrap(), NonZeroUsize::new(1)).unwrap();
        let socket = sockets.udp.into_iter().next().unwrap();
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (socket, sockets.address.port())
    }

    fn client(address: &str) -> UdpSocket {
        let client = UdpSocket::bind(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client
    }

    #[test]
    fn each_reply_goes_to_who_asked_from_the_address_that_was_asked() {
        for (any, own, other) in [("0.0.0.0:0", "127.0.0.1:0", "127.0.0.2"), ("[::]:0", "[::1]:0", "::1")] {
            let (socket, port) = open(any);
            let (first, second) = (client(own), client(own));
            let mut batch = Batch::default();
            let other: IpAddr = other.parse().unwrap();
            let own = first.local_addr().unwrap().ip();
            first.send_to(b"one", (own, port)).unwrap();
            second.send_to(b"two", (other, port)).unwrap();
            first.send_to(b"", (other, port)).unwrap();
            echo(&mut batch, &socket, 3);
            let heard = |client: &UdpSocket| {
                let mut bytes = [0; 64];
                let (len, from) = client.recv_from(&mut bytes).unwrap();
                (String::from_utf8_lossy(&bytes[..len]).into_owned(), from.ip())
            };
            assert_eq!(heard(&first), (format!("one@{own}"), own));
            assert_eq!(heard(&second), (format!("two@{other}"), other));
            assert_eq!(heard(&first), (format!("@{other}"), other));
        }
    }

    #[test]
    fn more_than_a_batch_and_longer_than_a_buffer_is_taken_in_turn() {
        let (socket, port) = open("127.0.0.1:0");
        let client = client("127.0.0.1:0");
        let long = vec![7; MAX_QUERY + 1];
        for _ in 0..BATCH + 5 {
            client.send_to(&long, ("127.0.0.1", port)).unwrap();
        }
        let mut batch = Batch::default();
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < BATCH + 5 {
            sizes.push(batch.receive(&socket).unwrap());
            batch.each(|datagram| assert_eq!(datagram.query.len(), MAX_QUERY));
            // Nothing was answered: nothing is sent.
            assert_eq!(batch.send(&socket), 0);
        }
        assert!(sizes.iter().all(|size| *size <= BATCH), "{sizes:?}");
        assert!(sizes.iter().any(|size| *size > FEW), "more are taken where more come: {sizes:?}");
        assert_eq!(batch.receive_now(&socket).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    /// A socket that takes nothing for as long as nobody reads from the other one, and waits for that so long.
    fn full(wait: Duration) -> (UdpSocket, UnixDatagram) {
        // One of UDP gives its packets to the loopback interface at once.
        let (socket, peer) = UnixDatagram::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.send(b"x").is_ok() {}
        socket.set_nonblocking(false).unwrap();
        socket.set_write_timeout(Some(wait)).unwrap();
        (UdpSocket::from(OwnedFd::from(socket)), peer)
    }

    /// So many replies to whoever is at the other end.
    fn reply(batch: &mut Batch, count: usize) {
        batch.len = count;
        batch.slots[..count].fill(Slot { reply: Some(1), ..Slot::EMPTY });
    }

    #[test]
    fn a_full_send_buffer_is_waited_for_once_and_not_again_before_something_has_left() {
        // One wait is what it may take; one a batch would be a minute, and one a reply many.
        let wait = Duration::from_secs(2);
        let deadline = Instant::now() + wait * 5;
        let (socket, peer) = full(wait);
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            let mut batch = Batch::default();
            for _ in 0..BATCH {
                reply(&mut batch, BATCH);
                let _ = done.send((batch.send(&socket), batch.is_patient));
            }
            peer.set_nonblocking(true).unwrap();
            while peer.recv(&mut [0; 4]).is_ok() {}
            reply(&mut batch, 1);
            let _ = done.send((batch.send(&socket), batch.is_patient));
        });
        for _ in 0..BATCH {
            let left = deadline.saturating_duration_since(Instant::now());
            assert_eq!(is_done.recv_timeout(left).expect("it waits once"), (BATCH, false));
        }
        assert_eq!(is_done.recv_timeout(wait).unwrap(), (0, true));
    }

    #[test]
    fn a_reply_waits_for_room_in_the_send_buffer() {
        let (socket, peer) = full(Duration::from_secs(60));
        let sending = std::thread::spawn(move || {
            let mut batch = Batch::default();
            reply(&mut batch, 1);
            (batch.send(&socket), batch.is_patient)
        });
        peer.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        while !sending.is_finished() {
            let _ = peer.recv(&mut [0; 4]);
        }
        assert_eq!(sending.join().unwrap(), (0, true));
    }

    #[test]
    fn what_cannot_be_sent_is_counted_and_does_not_hold_up_the_rest() {
        let (socket, port) = open("127.0.0.1:0");
        let client = client("127.0.0.1:0");
        for text in [b"a", b"b", b"c"] {
            client.send_to(text, ("127.0.0.1", port)).unwrap();
        }
        let mut batch = Batch::default();
        let mut count = 0;
        while count < 3 {
            count += batch.receive(&socket).unwrap();
            batch.each(|mut datagram| {
                datagram.reply[0] = datagram.query[0];
                if datagram.query == b"b" {
                    // An address that nothing can be sent to.
                    datagram.slot.name.0[0..2].copy_from_slice(&0xffff_u16.to_ne_bytes());
                }
                datagram.answer(1);
            });
            batch.send(&socket);
        }
        let mut bytes = [0; 4];
        for want in [b"a", b"c"] {
            assert_eq!(client.recv(&mut bytes).unwrap(), 1);
            assert_eq!(&bytes[..1], want);
        }
    }
}
