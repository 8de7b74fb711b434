//! UDP: a thread a socket. What it can answer from memory it answers itself, many datagrams at a time; the rest goes
//! through a bounded queue to the general handler.
//!
//! * [`batch`] receives and sends many datagrams by one system call.
//! * `reader` is the thread.
//! * `general` is the general handler of a socket.
//! * `shares` keeps clients from taking its whole queue.
//! * `socket` sends what is answered later.
//!
//! Invariants:
//! * The thread waits for datagrams and for nothing else: no lock, no queue, no runtime.
//! * What has arrived when a listener stops is answered, and so is what waits then; the listener ends after that.

pub mod batch;
mod general;
mod reader;
mod shares;
mod socket;

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;
use tokio_util::sync::CancellationToken;

use self::general::General;
use self::reader::Reader;
use self::socket::ReplySocket;
use super::{BEAT, Live, Shared};

/// How long the replies of a batch wait for room in the send buffer, together. A kernel sends a packet in microseconds;
/// what does not leave in this time does not leave.
const SEND_PATIENCE: Duration = Duration::from_millis(20);

/// A UDP socket that answers.
pub struct UdpListener {
    /// Its thread, which waits for its start.
    thread: JoinHandle<()>,
    /// Starts it; dropped without that, it ends.
    start: mpsc::Sender<()>,
    /// Stops it.
    stop: Stop,
    /// Answers what it leaves.
    general: General,
    /// Who answers.
    live: Arc<Live>,
}

/// Stops a thread when it is told to, at the latest when it is dropped: a runtime that ends drops what runs on it, and no thread may go on
/// answering then.
struct Stop {
    /// Whether to stop.
    flag: Arc<AtomicBool>,
    /// What the thread waits for.
    socket: Arc<ReplySocket>,
}

impl Stop {
    /// Has the thread take what has arrived, and end.
    fn now(&self) {
        self.flag.store(true, Ordering::Relaxed);
        // It need not wait for its next beat. The socket is not connected, which is said, and it wakes up all the same;
        // what has arrived can still be read.
        let _ = SockRef::from(&self.socket.socket).shutdown(Shutdown::Read);
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.now();
    }
}

impl UdpListener {
    /// Takes over a bound socket. Has to be called within the runtime that answers.
    ///
    /// # Errors
    /// A thread that the system does not give, or a socket that takes no timeout.
    pub fn new(
        socket: std::net::UdpSocket,
        address: SocketAddr,
        live: Arc<Live>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        // A thread that nothing has woken looks whether it is to stop, and gives a sign of life.
        socket.set_read_timeout(Some(BEAT))?;
        socket.set_write_timeout(Some(SEND_PATIENCE))?;
        let socket = Arc::new(ReplySocket { socket, address });
        let (queues, general) = General::new(socket.clone(), live.clone(), shared.clone());
        let (start, started) = mpsc::channel();
        let stop = Stop { flag: Arc::default(), socket: socket.clone() };
        let reader = Reader::new(socket, live.clone(), shared, queues, stop.flag.clone());
        // Its clock is the runtime's.
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new().name(format!("udp {address}")).spawn(move || {
            let _entered = runtime.enter();
            if started.recv().is_ok() {
                reader.run();
            }
        })?;
        Ok(Self { thread, start, stop, general, live })
    }

    /// Answers until `stop`, and returns when all that had arrived by then has its answer.
    pub async fn run(self, stop: CancellationToken) {
        let Self { thread, start, stop: thread_stop, general, live } = self;
        // It waits for this.
        let _ = start.send(());
        // The handler ends when the thread has, which gives its queues back last.
        let mut handler = pin!(general.run());
        tokio::select! {
            () = stop.cancelled() => {
                thread_stop.now();
                handler.await;
            }
            // The thread panicked outside of what it does for packets. The socket is closed with this, so that its
            // clients come to the other ones of the address, or hear that nobody is there.
            () = &mut handler => {}
        }
        if thread.join().is_err() {
            live.router().panicked();
            tracing::error!(address = %thread_stop.socket.address, "the thread of a udp socket panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use hickory_proto::op::ResponseCode;
    use tokio::net::UdpSocket;

    use super::*;
    use crate::node::listen::bind;
    use crate::node::listen::fixture::{Scripted, counted, live};
    use crate::node::listen::{Limits, MAX_WAITING, Timeouts};
    use crate::ops::metrics::Metrics;
    use crate::testkit::client::{Answer, Client, Query};

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

    #[test]
    fn a_thread_ends_with_the_runtime_that_its_listener_was_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let fixture = runtime.block_on(async {
            let fixture = start(1);
            fixture.client.udp(&Query::a("x.")).await.unwrap();
            fixture
        });
        drop(runtime);
        // Who asks hears nothing, and in the end that nobody is there.
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        client.connect(fixture.server).unwrap();
        let refused = (0..500).any(|_| {
            let _ = client.send(&Query::a("x.").bytes());
            client.recv(&mut [0; 512]).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
        });
        assert!(refused, "its socket is closed");
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
    async fn a_listener_ends_once_all_that_it_took_is_answered() {
        let fixture = start(MAX_WAITING);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(fixture.server).await.unwrap();
        for id in 0..20 {
            socket.send(&Query::a("soon.").id(id).bytes()).await.unwrap();
        }
        // Some of them have yet to be read.
        fixture.stop.cancel();
        fixture.running.await.unwrap();
        for id in 0..20 {
            let mut reply = [0; 512];
            let len = socket.try_recv(&mut reply).expect("a reply is there");
            let answer = Answer::parse(reply[..len].to_vec()).unwrap();
            assert_eq!(answer.message.metadata.id, id);
            assert_eq!(answer.answers(), ["soon. 5 IN A 192.0.2.0"]);
        }
    }
}
