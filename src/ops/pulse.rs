//! Signs of life of the threads and tasks that answer, and of those that lead queries to them.
//!
//! A thread that is stuck, or stopped from outside, says nothing of it. So each part that answers at an address beats
//! while it works and while it waits, and whoever has to know asks how long ago that was: interception, which must
//! not send queries to an address where nobody reads them, and liveness. A thread that answers nobody, and that the
//! process is of no use without, beats for liveness alone.
//!
//! Invariants:
//! * A beat is one reading of a coarse clock, which is no system call, and one store: it may be made for every packet.
//! * A part that ends on purpose drops its [`Pulse`], and is missed only where it was the last one of its kind.
//! * The mutex is taken at start and by who asks: never by who answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use std::{fmt, io};

use nix::time::{ClockId, clock_gettime};

/// Who has not beaten for so long is stuck for good, and the process is better begun anew: a machine that is only busy
/// gives every thread its turn much sooner.
pub const STUCK: Duration = Duration::from_secs(5);

/// How a part answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

impl Part {
    /// Both: an address is answered at by either.
    pub const ALL: [Self; 2] = [Self::Udp, Self::Tcp];

    /// In a log line and as the value of a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// Who beats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever answers at an address.
    Part {
        /// Where it answers.
        place: SocketAddr,
        /// How.
        part: Part,
    },
    /// A thread of this name, which answers nobody.
    Thread(&'static str),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part { place, part } => write!(f, "{} at {place}", part.as_str()),
            Self::Thread(name) => write!(f, "thread {name}"),
        }
    }
}

/// Who does not beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent {
    /// Whose pulse it is.
    pub who: Who,
    /// For how long it has not beaten; `None` where nobody is registered.
    pub since: Option<Duration>,
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.since, self.who) {
            (Some(since), who) => write!(f, "{who} gives no sign of life for {} ms", since.as_millis()),
            (None, Who::Part { place, part }) => write!(f, "nobody answers {} at {place}", part.as_str()),
            (None, who @ Who::Thread(_)) => write!(f, "{who} is not there"),
        }
    }
}

/// What is known of one who beats.
#[derive(Debug)]
struct Cell {
    /// Who it is.
    who: Who,
    /// How long it may be silent where it has work of its own that takes long; `None`: as long as who asks allows.
    limit: Option<Duration>,
    /// When it last beat, in milliseconds of the clock.
    at_ms: AtomicU64,
}

impl Cell {
    /// Whether it answers like this at an address of which `wanted` holds.
    fn answers(&self, part: Part, wanted: &dyn Fn(SocketAddr) -> bool) -> bool {
        matches!(self.who, Who::Part { place, part: how } if how == part && wanted(place))
    }
}

/// All who beat in a process; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Pulses(Arc<Mutex<Vec<Weak<Cell>>>>);

impl Pulses {
    /// A part begins to answer at `place`. It beats from now on, at least as often as its judges ask for.
    #[must_use = "a dropped pulse is nobody's"]
    pub fn register(&self, place: SocketAddr, part: Part) -> Pulse {
        self.register_at(Who::Part { place, part }, None, now_ms())
    }

    /// A thread that answers nobody begins its work, no step of which takes as long as `limit`. Only [`Self::silent`]
    /// asks about it.
    #[must_use = "a dropped pulse is nobody's"]
    pub fn register_thread(&self, name: &'static str, limit: Duration) -> Pulse {
        self.register_at(Who::Thread(name), Some(limit), now_ms())
    }

    /// The first one, whoever, that has not beaten for longer than its own limit, or than `limit` where it has none.
    pub fn silent(&self, limit: Duration) -> Option<Silent> {
        overdue(&self.all(), now_ms(), limit)
    }

    /// The same of the parts that answer at these addresses; and a kind of part that none of them has.
    ///
    /// Who listens at every address answers at these too, unless there is somebody at the address itself: that is
    /// whom the kernel asks.
    pub fn silent_at(&self, limit: Duration, places: &[SocketAddr]) -> Option<Silent> {
        self.silent_at_time(limit, places, now_ms())
    }

    fn register_at(&self, who: Who, limit: Option<Duration>, now_ms: u64) -> Pulse {
        let cell = Arc::new(Cell { who, limit, at_ms: AtomicU64::new(now_ms) });
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended; thus there are never more than live ones and this one.
        cells.retain(|cell| cell.strong_count() > 0);
        cells.push(Arc::downgrade(&cell));
        Pulse(cell)
    }

    fn silent_at_time(&self, limit: Duration, places: &[SocketAddr], now_ms: u64) -> Option<Silent> {
        let all = self.all();
        let judge = |place: &SocketAddr, part: Part| {
            let of = |wanted: &dyn Fn(SocketAddr) -> bool| -> Vec<_> {
                all.iter().filter(|cell| cell.answers(part, wanted)).cloned().collect()
            };
            let mut those = of(&|at| at == *place);
            if those.is_empty() {
                those = of(&|at| is_everywhere(at, *place));
            }
            if those.is_empty() {
                return Some(Silent { who: Who::Part { place: *place, part }, since: None });
            }
            overdue(&those, now_ms, limit)
        };
        places.iter().find_map(|place| Part::ALL.into_iter().find_map(|part| judge(place, part)))
    }

    /// Those that have not ended.
    fn all(&self) -> Vec<Arc<Cell>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }
}

/// The end of who beats.
#[derive(Debug)]
pub struct Pulse(Arc<Cell>);

impl Pulse {
    /// Still there.
    pub fn beat(&self) {
        self.beat_at(now_ms());
    }

    fn beat_at(&self, now_ms: u64) {
        self.0.at_ms.store(now_ms, Ordering::Relaxed);
    }
}

/// Whether who listens at `at` gets what comes to `place`: sockets are of one family each.
fn is_everywhere(at: SocketAddr, place: SocketAddr) -> bool {
    at.ip().is_unspecified() && at.is_ipv4() == place.is_ipv4() && at.port() == place.port()
}

/// The first one that has not beaten for longer than its own limit, or than `limit` where it has none.
fn overdue(cells: &[Arc<Cell>], now_ms: u64, limit: Duration) -> Option<Silent> {
    cells.iter().find_map(|cell| {
        // It may have beaten since the clock was read.
        let since = Duration::from_millis(now_ms.saturating_sub(cell.at_ms.load(Ordering::Relaxed)));
        (since > cell.limit.unwrap_or(limit)).then_some(Silent { who: cell.who, since: Some(since) })
    })
}

/// Milliseconds of a clock that only goes forward and stands still while the machine sleeps. It is some milliseconds
/// behind, and costs nanoseconds.
fn now_ms() -> u64 {
    let read = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_err(io::Error::from);
    // Every Linux has this clock.
    read.map_or(0, |at| {
        let (seconds, nanos) = (at.tv_sec().unsigned_abs(), at.tv_nsec().unsigned_abs());
        seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of a table: where, how and when it last beat.
    type Beat = (&'static str, Part, u64);

    const LIMIT: Duration = Duration::from_millis(100);
    const NOW: u64 = 10_000;
    use Part::{Tcp, Udp};

    fn at(place: &str) -> SocketAddr {
        place.parse().unwrap()
    }

    fn answers(place: &str, part: Part) -> Who {
        Who::Part { place: at(place), part }
    }

    #[test]
    fn who_does_not_beat_is_found() {
        struct Case {
            name: &'static str,
            parts: &'static [Beat],
            asked: &'static [&'static str],
            want: Option<(&'static str, Part, Option<u64>)>,
        }
        let cases = [
            Case {
                name: "everybody beats",
                parts: &[("10.0.0.1:53", Udp, NOW), ("10.0.0.1:53", Tcp, NOW - 100)],
                asked: &["10.0.0.1:53"],
                want: None,
            },
            Case {
                name: "a millisecond too long",
                parts: &[("10.0.0.1:53", Udp, NOW - 101), ("10.0.0.1:53", Tcp, NOW)],
                asked: &["10.0.0.1:53"],
                want: Some(("10.0.0.1:53", Udp, Some(101))),
            },
            Case {
                name: "one of two threads of an address",
                parts: &[("10.0.0.1:53", Udp, NOW), ("10.0.0.1:53", Udp, 1_000), ("10.0.0.1:53", Tcp, NOW)],
                asked: &["10.0.0.1:53"],
                want: Some(("10.0.0.1:53", Udp, Some(9_000))),
            },
            Case {
                name: "somebody whom nobody asks about",
                parts: &[("10.0.0.1:53", Udp, NOW), ("10.0.0.1:53", Tcp, NOW), ("10.0.0.2:53", Udp, 0)],
                asked: &["10.0.0.1:53"],
                want: None,
            },
            Case {
                name: "nobody is there at all",
                parts: &[("10.0.0.1:53", Udp, NOW)],
                asked: &["10.0.0.1:53"],
                want: Some(("10.0.0.1:53", Tcp, None)),
            },
            Case {
                name: "another port is another place",
                parts: &[("0.0.0.0:5353", Udp, NOW), ("0.0.0.0:5353", Tcp, NOW)],
                asked: &["10.0.0.1:53"],
                want: Some(("10.0.0.1:53", Udp, None)),
            },
            Case {
                name: "who listens everywhere answers here",
                parts: &[("0.0.0.0:53", Udp, NOW), ("0.0.0.0:53", Tcp, NOW)],
                asked: &["10.0.0.1:53"],
                want: None,
            },
            Case {
                name: "and not for the other family",
                parts: &[("0.0.0.0:53", Udp, NOW), ("0.0.0.0:53", Tcp, NOW)],
                asked: &["[fd00::1]:53"],
                want: Some(("[fd00::1]:53", Udp, None)),
            },
            Case {
                name: "who is everywhere is not asked where somebody is here",
                parts: &[("10.0.0.1:53", Udp, NOW), ("10.0.0.1:53", Tcp, NOW), ("0.0.0.0:53", Udp, 0)],
                asked: &["10.0.0.1:53"],
                want: None,
            },
            Case {
                name: "the second of two addresses",
                parts: &[
                    ("10.0.0.1:53", Udp, NOW),
                    ("10.0.0.1:53", Tcp, NOW),
                    ("[fd00::1]:53", Udp, NOW),
                    ("[fd00::1]:53", Tcp, NOW - 200),
                ],
                asked: &["10.0.0.1:53", "[fd00::1]:53"],
                want: Some(("[fd00::1]:53", Tcp, Some(200))),
            },
            Case { name: "no address, nobody to miss", parts: &[], asked: &[], want: None },
        ];
        for Case { name, parts, asked, want } in cases {
            let pulses = Pulses::default();
            let _held: Vec<_> =
                parts.iter().map(|(p, part, ms)| pulses.register_at(answers(p, *part), None, *ms)).collect();
            let asked: Vec<_> = asked.iter().map(|p| at(p)).collect();
            let want = want.map(|(place, part, since)| Silent {
                who: answers(place, part),
                since: since.map(Duration::from_millis),
            });
            assert_eq!(pulses.silent_at_time(LIMIT, &asked, NOW), want, "{name}");
        }
    }

    #[test]
    fn a_beat_counts_from_when_it_was_made() {
        let pulses = Pulses::default();
        let pulse = pulses.register_at(answers("127.0.0.1:53", Udp), None, 0);
        let since = |now| overdue(&pulses.all(), now, LIMIT).and_then(|silent| silent.since);
        assert_eq!(since(101), Some(Duration::from_millis(101)));
        pulse.beat_at(50);
        assert_eq!(since(101), None);
        assert_eq!(since(40), None, "made after the clock was read");
    }

    #[test]
    fn who_has_ended_is_nobody() {
        let pulses = Pulses::default();
        let place = at("127.0.0.1:53");
        let pair = || Part::ALL.map(|part| pulses.register_at(Who::Part { place, part }, None, NOW));
        let (first, second) = (pair(), pair());
        drop(first);
        assert_eq!(pulses.silent_at_time(LIMIT, &[place], NOW), None, "others are still there");
        drop(second);
        let want = Silent { who: answers("127.0.0.1:53", Udp), since: None };
        assert_eq!(pulses.silent_at_time(LIMIT, &[place], NOW), Some(want));
        for _ in 0..100 {
            drop(pair());
        }
        assert!(pulses.0.lock().unwrap().len() <= 2, "they are not kept");
    }

    #[test]
    fn the_clock_goes_on_and_beats_are_heard() {
        let pulses = Pulses::default();
        let pulse = pulses.register(at("127.0.0.1:53"), Udp);
        assert_eq!(pulses.silent(Duration::from_secs(60)), None);
        pulse.beat_at(0);
        // Machines that run this have been up for longer than that.
        let limit = Duration::from_millis(10);
        let silent = pulses.silent(limit).unwrap();
        assert_eq!((silent.who, silent.since > Some(limit)), (answers("127.0.0.1:53", Udp), true));
        pulse.beat();
        assert_eq!(pulses.silent(Duration::from_secs(60)), None);
    }

    #[test]
    fn a_thread_is_asked_about_by_its_own_limit_and_by_nobody_who_asks_for_an_address() {
        let pulses = Pulses::default();
        let _parts = Part::ALL.map(|part| pulses.register_at(answers("127.0.0.1:53", part), None, NOW - 90));
        let thread =
            pulses.register_at(Who::Thread("outlast-net"), Some(Duration::from_secs(1)), NOW - 1_000);
        let overdue = |now| overdue(&pulses.all(), now, LIMIT).map(|silent| silent.to_string());
        assert_eq!(overdue(NOW), None, "it may take a second");
        assert_eq!(pulses.silent_at_time(LIMIT, &[at("127.0.0.1:53")], NOW), None);
        let said = "thread outlast-net gives no sign of life for 1001 ms";
        assert_eq!(overdue(NOW + 1).as_deref(), Some(said));
        assert_eq!(pulses.silent_at_time(LIMIT, &[at("127.0.0.1:53")], NOW + 1), None, "it answers nobody");
        thread.beat_at(NOW);
        assert_eq!(overdue(NOW + 1), None);
        drop(thread);
        assert_eq!(overdue(NOW + 10), None, "who has ended on purpose is not missed");
        assert_eq!(
            overdue(NOW + 11).as_deref(),
            Some("udp at 127.0.0.1:53 gives no sign of life for 101 ms")
        );
    }

    #[test]
    fn a_thread_that_hangs_is_found_by_who_asks_about_everybody() {
        let pulses = Pulses::default();
        let pulse = pulses.register_thread("outlast-net", Duration::from_millis(20));
        let (hang, hangs) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            // As a thread does that waits for something that never comes.
            let _ = hangs.recv();
            drop(pulse);
        });
        let began = std::time::Instant::now();
        let silent = loop {
            if let Some(silent) = pulses.silent(STUCK) {
                break silent;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "nobody is missed");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(silent.who, Who::Thread("outlast-net"));
        drop(hang);
        thread.join().unwrap();
        assert_eq!(pulses.silent(STUCK), None);
    }

    #[test]
    fn it_is_said_in_words() {
        let silent = |since| Silent { who: answers("[fd00::1]:53", Tcp), since }.to_string();
        assert_eq!(silent(None), "nobody answers tcp at [fd00::1]:53");
        assert_eq!(
            silent(Some(Duration::from_millis(151))),
            "tcp at [fd00::1]:53 gives no sign of life for 151 ms"
        );
        assert_eq!(Silent { who: Who::Thread("x"), since: None }.to_string(), "thread x is not there");
    }
}
