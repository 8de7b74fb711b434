//! Latencies: queries at a fixed rate, whatever becomes of their replies.
//!
//! One thread sends what is due and reads now and then what has come. A query's time ends when the kernel has
//! its reply (SO_TIMESTAMPNS) and not when this thread sees it: the client shares the processors with the server, and
//! its own waiting for them is not the server's. That it sends late now and then is no harm: a time begins
//! when the query is sent.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use outlast::testkit::client::Query;
use socket2::SockRef;

use crate::questions::{Question, Reply};
use crate::support::BUFFER;

/// Sockets, each a flow of its own to the kernel that spreads them; as many as dnsperf has.
const FLOWS: usize = 8;

/// Queries of one flow whose replies are told apart: at 20,000 a second over 8 flows those of the last 1.6 s.
/// What is older is lost.
const WINDOW: usize = 4_096;

/// Between two looks at what has come: less than fills a socket's buffer.
const LOOK: Duration = Duration::from_millis(1);

/// Sleep between two looks at what is due: one query at 20,000 a second.
const PAUSE: Duration = Duration::from_micros(50);

/// How long the last replies are waited for.
const LAST: Duration = Duration::from_secs(1);

/// The longest reply that is read.
const MAX_REPLY: usize = 4_096;

/// The rcode in the fourth byte of a message, RFC 1035 §4.1.1.
const RCODE: u8 = 0x0f;

/// NXDOMAIN, RFC 1035 §4.1.1.
const MISSING: u8 = 3;

/// How long queries took.
pub(crate) struct Latencies {
    /// Sorted, in nanoseconds.
    all: Vec<u64>,
    /// Queries without a reply.
    pub(crate) lost: u64,
}

impl Latencies {
    /// Asks a server these questions in turn, so many a second, as long as `goes_on` says of the time since the
    /// start. Fails with the first reply that has another code than it should.
    pub(crate) fn measure(
        server: SocketAddr,
        questions: &[Question],
        rate: u32,
        goes_on: impl Fn(Duration) -> bool,
    ) -> Result<Self, String> {
        let texts: Vec<_> = questions.iter().map(Packet::of).collect();
        let mut flows = (0..FLOWS)
            .map(|_| Flow::to(server))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|e| format!("a socket to {server}: {e}"))?;
        let mut all = Vec::new();
        let (begun, mut looked) = (Instant::now(), Instant::now());
        let mut sent = 0_usize;
        loop {
            let elapsed = begun.elapsed();
            if !goes_on(elapsed) {
                break;
            }
            let due = (elapsed.as_secs_f64() * f64::from(rate)) as usize;
            for number in sent..due {
                flows[number % FLOWS].send(&texts[number % texts.len()]);
            }
            sent = sent.max(due);
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                flows.iter_mut().try_for_each(|flow| flow.read(&mut all))?;
            }
            std::thread::sleep(PAUSE);
        }
        let end = Instant::now();
        while flows.iter().any(Flow::waits) && end.elapsed() < LAST {
            std::thread::sleep(LOOK);
            flows.iter_mut().try_for_each(|flow| flow.read(&mut all))?;
        }
        all.sort_unstable();
        let lost = (sent - all.len()) as u64;
        Ok(Self { all, lost })
    }

    /// Queries with a reply.
    #[allow(dead_code, reason = "a bench that floods says it")]
    pub(crate) fn answered(&self) -> u64 {
        self.all.len() as u64
    }

    /// p50, p99 and p99.9 of the answered ones, in microseconds; NaN where there are none.
    pub(crate) fn percentiles(&self) -> [f64; 3] {
        let last = self.all.len().saturating_sub(1) as f64;
        let at = |part: f64| self.all.get((last * part).round() as usize);
        [0.5, 0.99, 0.999].map(|part| at(part).map_or(f64::NAN, |ns| *ns as f64 / 1e3))
    }
}

/// A query without its id.
struct Packet {
    bytes: Vec<u8>,
    /// The rcode of its reply.
    code: u8,
}

impl Packet {
    fn of(question: &Question) -> Self {
        let bytes = Query::new(&format!("{}.", question.name), question.kind()).bytes();
        let code = if matches!(question.reply, Reply::Missing) { MISSING } else { 0 };
        Self { bytes, code }
    }
}

/// One socket and the queries of which it waits for the replies.
struct Flow {
    socket: UdpSocket,
    /// By the lower bits of the id.
    waiting: Vec<Option<Waiting>>,
    /// The next id.
    id: u16,
    /// What is sent.
    buffer: Vec<u8>,
}

/// A query without a reply.
#[derive(Clone, Copy)]
struct Waiting {
    /// Its id.
    id: u16,
    /// The rcode of its reply.
    code: u8,
    /// When it was sent, on the clock that the kernel stamps packets with.
    sent: Duration,
}

impl Flow {
    fn to(server: SocketAddr) -> std::io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        Ok(Self { socket, waiting: vec![None; WINDOW], id: 0, buffer: Vec::new() })
    }

    /// Whether a query has no reply yet.
    fn waits(&self) -> bool {
        self.waiting.iter().any(Option::is_some)
    }

    /// Sends a query; one that cannot be sent is lost.
    fn send(&mut self, packet: &Packet) {
        self.id = self.id.wrapping_add(1);
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.id.to_be_bytes());
        self.buffer.extend_from_slice(&packet.bytes[2..]);
        self.waiting[usize::from(self.id) % WINDOW] =
            Some(Waiting { id: self.id, code: packet.code, sent: now() });
        let _ = self.socket.send(&self.buffer);
    }

    /// Reads what has come.
    fn read(&mut self, all: &mut Vec<u64>) -> Result<(), String> {
        let mut reply = [0; MAX_REPLY];
        let mut control = nix::cmsg_space!(TimeSpec);
        loop {
            let mut slices = [IoSliceMut::new(&mut reply)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let (length, came) =
                match recvmsg::<()>(self.socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                    Ok(message) => {
                        let came = message.cmsgs().ok().and_then(|mut all| {
                            all.find_map(|c| match c {
                                ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
                                _ => None,
                            })
                        });
                        (message.bytes, came.ok_or("the kernel does not say when a packet came")?)
                    }
                    Err(Errno::EAGAIN) => return Ok(()),
                    Err(error) => return Err(format!("reading replies: {error}")),
                };
            let &[high, low, _, flags, ..] = &reply[..length] else {
                return Err(format!("a reply of {length} bytes"));
            };
            let id = u16::from_be_bytes([high, low]);
            let slot = &mut self.waiting[usize::from(id) % WINDOW];
            let Some(waiting) = slot.take_if(|waiting| waiting.id == id) else { continue };
            if flags & RCODE != waiting.code {
                return Err(format!("a reply with rcode {} instead of {}", flags & RCODE, waiting.code));
            }
            all.push(came.saturating_sub(waiting.sent).as_nanos() as u64);
        }
    }
}

/// The clock that the kernel stamps packets with.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
