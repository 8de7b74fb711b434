//! The DNS server that nodes ask for names outside: it knows one address for all of them, and falls silent when told.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::drill::ask::judge::OUTSIDE;

/// Bytes of a header.
const HEADER: usize = 12;

/// The largest question.
const MAX_QUESTION: usize = 512;

/// How long its answers last, in seconds: less than the silence of a drill, so that they expire in it.
const TTL: u32 = 5;

/// Between two looks whether to end.
const LOOK: Duration = Duration::from_millis(100);

/// What the two share.
#[derive(Default)]
struct Shared {
    /// Whether it says nothing.
    silent: AtomicBool,
    /// Whether it is to end.
    stop: AtomicBool,
}

/// A server that runs until it is dropped.
pub struct Upstream {
    /// Where it is.
    address: SocketAddr,
    /// What its thread is told.
    shared: Arc<Shared>,
    /// Its thread.
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    /// Starts it.
    ///
    /// # Errors
    /// No port is free.
    pub fn start() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(LOOK))?;
        let (address, shared) = (socket.local_addr()?, Arc::new(Shared::default()));
        let told = shared.clone();
        let thread = std::thread::Builder::new()
            .name("outlast-upstream".to_owned())
            .spawn(move || serve(&socket, &told))?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it says nothing, or answers.
    pub fn set_silent(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::Relaxed);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut question = [0; MAX_QUESTION];
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
        if shared.silent.load(Ordering::Relaxed) {
            continue;
        }
        if let Some(reply) = reply(&question[..length]) {
            // Who has gone asks again.
            let _ = socket.send_to(&reply, from);
        }
    }
}

/// The reply to a question: the one address for each A, nothing for other types; `None` to what is no question.
fn reply(question: &[u8]) -> Option<Vec<u8>> {
    let mut end = HEADER;
    loop {
        let length = usize::from(*question.get(end)?);
        end += 1 + length;
        match length {
            0 => break,
            1..=63 => {}
            _ => return None,
        }
    }
    let kind = u16::from_be_bytes(*question.get(end..)?.first_chunk()?);
    let asked = question.get(HEADER..end + 4)?;
    let is_address = kind == 1;
    let mut reply = question.get(..2)?.to_vec();
    // A reply, with recursion; one question, one answer or none.
    reply.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    reply.extend(asked);
    if is_address {
        // The name of the question, A, IN.
        reply.extend([0xc0, HEADER as u8, 0, 1, 0, 1]);
        reply.extend(TTL.to_be_bytes());
        reply.extend([0, 4]);
        reply.extend(OUTSIDE.1.octets());
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::super::super::ask::message::{Message, Question, Type};
    use super::*;

    #[test]
    fn every_address_is_the_same_until_it_is_silent() {
        let upstream = Upstream::start().unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(upstream.address()).unwrap();
        let ask = |kind, within| {
            let question = Question::new("host-1.example.", kind);
            socket.set_read_timeout(Some(within)).unwrap();
            socket.send(&question.bytes(7)).unwrap();
            let mut reply = [0; 512];
            let length = socket.recv(&mut reply).ok()?;
            let message = Message::parse(&reply[..length]).unwrap();
            assert_eq!((message.id, message.question), (7, Some(question)));
            Some(message.answers.into_iter().map(|record| record.data).collect::<Vec<_>>())
        };
        let long = Duration::from_secs(10);
        assert_eq!(ask(Type::A, long), Some(vec!["192.0.2.7".to_owned()]));
        assert_eq!(ask(Type::Aaaa, long), Some(vec![]));
        upstream.set_silent(true);
        assert_eq!(ask(Type::A, Duration::from_millis(200)), None);
        upstream.set_silent(false);
        assert!(ask(Type::A, long).is_some());
    }

    #[test]
    fn what_is_no_question_has_no_reply() {
        let whole = Question::new("host-1.example.", Type::A).bytes(7);
        assert_eq!(reply(b""), None);
        assert_eq!(reply(&whole[..20]), None);
        let mut pointer = whole;
        pointer[12] = 0xc0;
        assert_eq!(reply(&pointer), None);
    }
}
