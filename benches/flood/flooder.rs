//! Those who flood.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use outlast::testkit::client::Query;
use socket2::SockRef;

/// Sleep between two looks at what is due.
const PAUSE: Duration = Duration::from_micros(200);

/// The most that is sent at once after a pause: what is due beyond that is not made up for, or a sender that was held up
/// would send a burst that no socket takes.
const BURST: u64 = 256;

/// The digits of a name's number: a hundred million names.
const DIGITS: usize = 8;

/// Where they stand in the query: behind the header, the length of the label and its first letter.
const AT: usize = 14;

/// Sends queries for outside names, each asked for once, until it is stopped.
pub(crate) struct Flooder {
    stop: Arc<AtomicBool>,
    /// Gives how many were sent, and in which time.
    thread: JoinHandle<(u64, Duration)>,
}

impl Flooder {
    /// Begins: so many clients, so many queries a second of all of them.
    pub(crate) fn start(server: SocketAddr, clients: u8, rate: u32) -> std::io::Result<Self> {
        let client = |number| {
            let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 1, number), 0))?;
            socket.connect(server)?;
            socket.set_nonblocking(true)?;
            // Replies are not read: the kernel drops them soon.
            SockRef::from(&socket).set_recv_buffer_size(1)?;
            Ok(socket)
        };
        let sockets = (1..=clients).map(client).collect::<std::io::Result<Vec<_>>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || flood(&sockets, rate, &stopped));
        Ok(Self { stop, thread })
    }

    /// Ends; how many were sent, and in which time.
    pub(crate) fn stop(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn flood(sockets: &[UdpSocket], rate: u32, stop: &AtomicBool) -> (u64, Duration) {
    let mut query = Query::a(&format!("x{:0DIGITS$}.flood.example.", 0)).bytes();
    let (begun, mut due_before, mut sent) = (Instant::now(), 0, 0);
    while !stop.load(Ordering::Relaxed) {
        let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        for number in due.saturating_sub(BURST).max(due_before)..due {
            let digits = format!("{number:0DIGITS$}");
            query[AT..AT + DIGITS].copy_from_slice(digits.as_bytes());
            let socket = &sockets[number as usize % sockets.len()];
            sent += u64::from(socket.send(&query).is_ok());
        }
        due_before = due;
        std::thread::sleep(PAUSE);
    }
    (sent, begun.elapsed())
}
