//! What is asked for most, and by whom: counted while somebody looks, and by nobody else.
//!
//! * here: whether it is counted, where, and for which time.
//! * [`sketch`]: how, in bounded memory.
//! * [`counted`]: what answers there were meanwhile, by source.
//!
//! Whoever looks arms it for [`ARMED`]; while it is not armed a thread that answers reads one number for each batch of
//! datagrams. A thread counts in sketches of its own, under a lock that nobody else holds but who looks; what comes in
//! that moment is not counted, because threads that answer wait for nobody.
//!
//! What is counted is of windows of [`WINDOW`]: the last whole one and what there is of the current one are shown
//! together. So what is shown is of now, and not of all the time that somebody has been looking.
//!
//! Invariants:
//! * Nothing is counted, and no clock is read for it, while nobody looks.
//! * Memory is bounded: [`sketch::KEYS`] names and as many clients a thread and window, some 60 kB a thread, taken when it
//!   is armed for the first time.
//! * Clients are shown to operators, and are no labels of metrics.

pub mod counted;
pub mod sketch;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use self::sketch::{Often, Sketch, merged};

/// How long it is counted after somebody has looked.
pub const ARMED: Duration = Duration::from_secs(60);

/// What is shown is of the last whole one of these, and the current one.
pub const WINDOW: Duration = Duration::from_secs(5);

/// Where the name of a question begins: behind the header (RFC 1035 §4.1.1).
const NAME_AT: usize = 12;

/// Longest name on the wire, RFC 1035 §2.3.4.
const MAX_NAME: usize = 255;

/// Counts while somebody looks; clones share it.
#[derive(Clone)]
pub struct Top(Arc<Inner>);

/// See [`Top`].
struct Inner {
    /// What times count from.
    origin: Instant,
    /// Until when it is counted, in milliseconds since `origin`; 0 while nobody looks.
    until_ms: AtomicU64,
    /// When it was armed, in milliseconds since `origin`: windows begin there.
    since_ms: AtomicU64,
    /// Where threads count.
    desks: Mutex<Vec<Weak<Mutex<Counts>>>>,
}

/// Where one thread counts.
pub struct Desk {
    /// Whether and for which window.
    top: Top,
    /// Shared with who looks.
    counts: Arc<Mutex<Counts>>,
}

/// What a thread has counted.
#[derive(Default)]
struct Counts {
    /// The window that `current` is of.
    window: Window,
    /// In that window.
    current: Seen,
    /// In the window before.
    last: Seen,
}

/// One window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Window {
    /// When it was armed: windows of another time are none of ours.
    since_ms: u64,
    /// Its number from there.
    number: u64,
}

/// What was seen in a window.
#[derive(Clone, Default)]
struct Seen {
    /// Names, as they are on the wire, in lower case.
    names: Sketch,
    /// Addresses of clients.
    clients: Sketch,
}

/// What is asked for most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Busiest {
    /// The time that it is of.
    pub over: Duration,
    /// Questions in this time.
    pub questions: u64,
    /// Names on the wire in lower case, the busiest first.
    pub names: Vec<Often>,
    /// Clients, the busiest first.
    pub clients: Vec<(IpAddr, Often)>,
}

impl Default for Top {
    fn default() -> Self {
        let (until_ms, since_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { origin: Instant::now(), until_ms, since_ms, desks: Mutex::default() }))
    }
}

impl Top {
    /// A place for a thread to count.
    pub fn register(&self) -> Desk {
        let counts = Arc::new(Mutex::default());
        let mut desks = lock(&self.0.desks);
        desks.retain(|desk| desk.strong_count() > 0);
        desks.push(Arc::downgrade(&counts));
        Desk { top: self.clone(), counts }
    }

    /// Somebody looks: it is counted for [`ARMED`] from now on.
    pub fn arm(&self) {
        let now = self.now_ms();
        // Held, so that two who begin to look begin one time.
        let _desks = lock(&self.0.desks);
        if self.0.until_ms.load(Ordering::Relaxed) <= now {
            self.0.since_ms.store(now, Ordering::Relaxed);
        }
        self.0.until_ms.store(now + millis(ARMED), Ordering::Release);
    }

    /// Whether anybody looks.
    pub fn is_armed(&self) -> bool {
        self.0.until_ms.load(Ordering::Relaxed) != 0 && self.window().is_some()
    }

    /// The window that it is now; `None` where nobody looks any more.
    fn window(&self) -> Option<Window> {
        let (until, now) = (self.0.until_ms.load(Ordering::Acquire), self.now_ms());
        if until <= now {
            // Unless somebody has just begun to look again.
            let _ = self.0.until_ms.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
            return None;
        }
        let since_ms = self.0.since_ms.load(Ordering::Relaxed);
        Some(Window { since_ms, number: now.saturating_sub(since_ms) / millis(WINDOW) })
    }

    /// What was asked for most in the last window and this one, so many of each at most; nothing where nobody has looked
    /// before.
    pub fn busiest(&self, most: usize) -> Busiest {
        let Some(window) = self.window() else { return Busiest::default() };
        let desks: Vec<_> = lock(&self.0.desks).iter().filter_map(Weak::upgrade).collect();
        let (mut names, mut clients) = (Vec::new(), Vec::new());
        for desk in desks {
            let mut counts = lock(&desk);
            counts.turn_to(window);
            for seen in [&counts.last, &counts.current] {
                names.push(seen.names.clone());
                clients.push(seen.clients.clone());
            }
        }
        let (names, questions) = merged(&names, most);
        let (clients, _) = merged(&clients, most);
        let client = |often: Often| Some((address(&often.key)?, often));
        // The last window began so long ago, and the first one when it was armed.
        let whole = window.number.saturating_sub(1) * millis(WINDOW);
        let over = self.now_ms().saturating_sub(window.since_ms + whole);
        Busiest {
            over: Duration::from_millis(over),
            questions,
            names,
            clients: clients.into_iter().filter_map(client).collect(),
        }
    }

    fn now_ms(&self) -> u64 {
        // Never 0, which stands for nobody.
        millis(self.0.origin.elapsed()) + 1
    }
}

impl Desk {
    /// Counts questions, if anybody looks: messages as they came, and who sent them.
    pub fn note(&self, each: impl FnOnce(&mut dyn FnMut(&[u8], IpAddr))) {
        let Some(window) = self.top.window() else { return };
        let mut counts = match self.counts.try_lock() {
            Ok(counts) => counts,
            Err(TryLockError::Poisoned(counts)) => counts.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        counts.turn_to(window);
        let Seen { names, clients } = &mut counts.current;
        let mut lower = [0; MAX_NAME];
        each(&mut |message, client| {
            let Some(name) = name(message) else { return };
            let lower = &mut lower[..name.len()];
            lower.copy_from_slice(name);
            // Length bytes are below all letters.
            lower.make_ascii_lowercase();
            names.see(lower);
            clients.see(&key(client));
        });
    }
}

impl Counts {
    /// What is counted from now on is of this window.
    fn turn_to(&mut self, window: Window) {
        // Whoever asked for the time ahead of the lock may come after one who asked later.
        let is_past = window.since_ms == self.window.since_ms && window.number < self.window.number;
        if self.window == window || is_past {
            return;
        }
        let next = Window { number: self.window.number + 1, ..self.window };
        std::mem::swap(&mut self.current, &mut self.last);
        self.current.clear();
        if window != next {
            self.last.clear();
        }
        self.window = window;
    }
}

impl Seen {
    fn clear(&mut self) {
        self.names.clear();
        self.clients.clear();
    }
}

/// The name of a message's question as it is on the wire; `None` where it is no query, or has none that can be read.
fn name(message: &[u8]) -> Option<&[u8]> {
    let is_query = message.get(2)? & 0x80 == 0;
    let mut at = NAME_AT;
    loop {
        let len = usize::from(*message.get(at)?);
        at += 1 + len;
        // A pointer, or too long.
        if len > 63 || at - NAME_AT > MAX_NAME {
            return None;
        }
        if len == 0 {
            break;
        }
    }
    message.get(NAME_AT..at).filter(|_| is_query)
}

/// A client as it is counted: IPv4 as what it is, whatever socket it came by.
fn key(client: IpAddr) -> [u8; 16] {
    match client {
        IpAddr::V4(client) => client.to_ipv6_mapped().octets(),
        IpAddr::V6(client) => client.octets(),
    }
}

/// The client of a [`key`].
fn address(key: &[u8]) -> Option<IpAddr> {
    let octets: [u8; 16] = key.try_into().ok()?;
    Some(IpAddr::from(octets).to_canonical())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one step, or counts a little wrong.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// A query's bytes.
    fn query(name: &str) -> Vec<u8> {
        let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            message.push(label.len() as u8);
            message.extend_from_slice(label.as_bytes());
        }
        message.extend([0, 0, 1, 0, 1]);
        message
    }

    /// Counts so many questions of a client.
    fn ask(desk: &Desk, name: &str, client: &str, times: usize) {
        let (message, client) = (query(name), client.parse().unwrap());
        desk.note(|see| (0..times).for_each(|_| see(&message, client)));
    }

    /// What is seen, in short.
    fn seen(top: &Top) -> String {
        let Busiest { over, questions, names, clients } = top.busiest(2);
        let name = |often: &Often| format!("{}={}", String::from_utf8_lossy(&often.key[1..]), often.count);
        let names: Vec<_> = names.iter().map(|often| name(often).replace('\0', "")).collect();
        let clients: Vec<_> = clients.iter().map(|(who, often)| format!("{who}={}", often.count)).collect();
        format!("{} s, {questions}: {} by {}", over.as_secs(), names.join(" "), clients.join(" "))
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_counted_while_somebody_looks() {
        let top = Top::default();
        let desk = top.register();
        ask(&desk, "a", "10.0.0.1", 5);
        assert!(!top.is_armed());
        assert_eq!(top.busiest(2), Busiest::default());
        top.arm();
        assert!(top.is_armed());
        ask(&desk, "A", "10.0.0.1", 3);
        ask(&desk, "b", "::ffff:10.0.0.1", 1);
        ask(&desk, "c", "fd00::1", 2);
        advance(Duration::from_secs(5)).await;
        assert_eq!(seen(&top), "5 s, 6: a=3 c=2 by 10.0.0.1=4 fd00::1=2");
        // Nobody looks for a minute.
        advance(ARMED - Duration::from_secs(5)).await;
        assert!(!top.is_armed());
        ask(&desk, "d", "10.0.0.1", 9);
        top.arm();
        assert_eq!(seen(&top), "0 s, 0:  by ", "what was before is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_seen_is_of_now() {
        let top = Top::default();
        let (one, other) = (top.register(), top.register());
        top.arm();
        for (second, name) in [(0, "a"), (3, "a"), (6, "b"), (11, "c")] {
            advance(Duration::from_secs(second) - (Instant::now() - top.0.origin)).await;
            ask(if second == 3 { &other } else { &one }, name, "10.0.0.1", 1);
            top.arm();
        }
        assert_eq!(seen(&top), "6 s, 2: b=1 c=1 by 10.0.0.1=2", "a was asked for more than ten seconds ago");
        advance(Duration::from_secs(30)).await;
        assert_eq!(seen(&top), "6 s, 0:  by ");
        drop(one);
        top.register();
        assert_eq!(lock(&top.0.desks).len(), 2, "those of threads that have ended are gone");
    }

    #[test]
    fn names_of_messages() {
        let long = query(&[63; 4].map(|len| "x".repeat(len)).join("."));
        let mut reply = query("a");
        reply[2] |= 0x80;
        let pointer = [&query("a")[..NAME_AT], &[0xc0, 0x0c, 0, 1, 0, 1]].concat();
        for (what, message, want) in [
            ("a query", &query("web.shop")[..], Some(&b"\x03web\x04shop\0"[..])),
            ("the root", &query(""), Some(b"\0")),
            ("nothing", b"", None),
            ("a header", &query("a")[..NAME_AT], None),
            ("a name that is cut off", &query("web.shop")[..NAME_AT + 6], None),
            ("a name that is too long", &long, None),
            ("a pointer", &pointer, None),
            ("a reply", &reply, None),
        ] {
            assert_eq!(name(message), want, "{what}");
        }
        let longest = [63, 63, 63, 61].map(|len| "x".repeat(len)).join(".");
        assert_eq!(name(&query(&longest)).map(<[u8]>::len), Some(MAX_NAME));
    }
}
