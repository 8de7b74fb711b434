//! Whether queries are answered at an address: by asking.
//!
//! A question that costs nobody anything: a header alone with the opcode STATUS, which is answered with NOTIMP and
//! counted nowhere (RFC 1035 §4.1.1). Each probe comes from another port, so that probes go round all sockets that share
//! an address. Their mark keeps them out of connection tracking, live or not: what is asked is always this machine,
//! never the cluster's DNS. Where no rule is ours there is nothing to be kept out of, and a mark would need
//! `CAP_NET_ADMIN` for nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::config::Mode;
use super::layout::PROBE;
use crate::ops::pulse::Part;

/// How long all probes of a beat may take, together.
pub const LIMIT: Duration = Duration::from_millis(100);

/// A header (RFC 1035 §4.1.1).
const HEADER: usize = 12;

/// The opcode STATUS, in the third byte.
const STATUS: u8 = 2 << 3;

/// The bit of replies, in the third byte.
const REPLY: u8 = 0x80;

/// The opcode, in the third byte.
const OPCODE: u8 = 0x78;

/// How rules tell a probe from a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// By the mark of what is sent.
    ByMark,
    /// Not at all: there are none.
    Not,
}

impl Told {
    /// With rules of this kind.
    pub const fn with(mode: Mode) -> Self {
        match mode {
            Mode::Auto | Mode::Nftables | Mode::Iptables => Self::ByMark,
            Mode::Off => Self::Not,
        }
    }

    /// Has what a socket sends be told from queries.
    fn apply(self, socket: &impl AsFd) -> io::Result<()> {
        match self {
            Self::ByMark => setsockopt(socket, sockopt::Mark, &PROBE).map_err(io::Error::from),
            Self::Not => Ok(()),
        }
    }
}

/// Asks at each of these addresses over UDP and TCP, all at once; the first one, in this order, that has not answered
/// after `limit`.
pub async fn probe(addresses: &[SocketAddr], told: Told, limit: Duration) -> Option<(SocketAddr, Part)> {
    let until = Instant::now() + limit;
    let one = |(address, part): (SocketAddr, Part)| async move {
        let asked = async {
            match part {
                Part::Udp => udp(address, told).await,
                Part::Tcp => tcp(address, told).await,
            }
        };
        let answered = timeout_at(until, asked).await.is_ok_and(|answered| answered.unwrap_or(false));
        (!answered).then_some((address, part))
    };
    let all = addresses.iter().flat_map(|address| Part::ALL.map(|part| (*address, part)));
    join_all(all.map(one)).await.into_iter().flatten().next()
}

/// Asks in a datagram; whether the answer is one.
async fn udp(address: SocketAddr, told: Told) -> io::Result<bool> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    told.apply(&socket)?;
    socket.connect(address).await?;
    let question = question();
    socket.send(&question).await?;
    // Who answers something else may have been late for another one of this port.
    loop {
        let mut reply = [0; 512];
        let len = socket.recv(&mut reply).await?;
        if answers(&question, &reply[..len]) {
            return Ok(true);
        }
    }
}

/// Asks over a connection; whether the answer is one.
async fn tcp(address: SocketAddr, told: Told) -> io::Result<bool> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    told.apply(&socket)?;
    // It is forgotten at once on both sides: three of them a second would pile up for a minute otherwise.
    socket.set_zero_linger()?;
    let mut stream = socket.connect(address).await?;
    let question = question();
    let mut message = [0; 2 + HEADER];
    message[1] = HEADER as u8;
    message[2..].copy_from_slice(&question);
    stream.write_all(&message).await?;
    let len = usize::from(stream.read_u16().await?);
    let mut reply = [0; 512];
    let Some(reply) = reply.get_mut(..len) else { return Ok(false) };
    stream.read_exact(reply).await?;
    Ok(answers(&question, reply))
}

/// A question with an id of its own.
fn question() -> [u8; HEADER] {
    let [high, low] = rand::random::<u16>().to_be_bytes();
    let mut question = [0; HEADER];
    question[..3].copy_from_slice(&[high, low, STATUS]);
    question
}

/// Whether this is a reply to that question, whatever it says: somebody has read and answered it.
fn answers(question: &[u8; HEADER], reply: &[u8]) -> bool {
    match (question, reply) {
        ([id0, id1, ..], [r0, r1, flags, ..]) if reply.len() >= HEADER => {
            (id0, id1) == (r0, r1) && flags & REPLY != 0 && flags & OPCODE == STATUS
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_told_from_what_is_none() {
        let question = [0x12, 0x34, STATUS, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let reply = |bytes: [u8; 4]| {
            let mut reply = question;
            reply[..4].copy_from_slice(&bytes);
            reply.to_vec()
        };
        let cases = [
            ("NOTIMP", reply([0x12, 0x34, 0x90, 0x04]), true),
            ("REFUSED is an answer as well", reply([0x12, 0x34, 0x90, 0x05]), true),
            ("another id", reply([0x12, 0x35, 0x90, 0x04]), false),
            ("the question itself", question.to_vec(), false),
            ("of another opcode", reply([0x12, 0x34, 0x80, 0x04]), false),
            ("cut off", reply([0x12, 0x34, 0x90, 0x04])[..11].to_vec(), false),
            ("nothing", Vec::new(), false),
        ];
        for (name, bytes, want) in cases {
            assert_eq!(answers(&question, &bytes), want, "{name}");
        }
    }

    #[test]
    fn a_mark_is_asked_for_where_rules_go_by_it_alone() {
        for mode in Mode::ALL {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let told = Told::with(mode).apply(&socket);
            let mark = nix::sys::socket::getsockopt(&socket, sockopt::Mark).unwrap();
            match (mode, told) {
                (Mode::Off, told) => assert_eq!((told.is_ok(), mark), (true, 0)),
                (_, Ok(())) => assert_eq!(mark, PROBE, "{mode:?}"),
                // Whoever runs the test may set none: it was tried.
                (_, Err(error)) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{mode:?}"),
            }
        }
    }

    #[test]
    fn a_question_is_a_header_alone() {
        let question = question();
        assert_eq!(question[2] & OPCODE, STATUS);
        assert!(question[3..].iter().all(|byte| *byte == 0));
        assert!(!answers(&question, &question));
    }
}
