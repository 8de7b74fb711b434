//! How often the same piece is mended, and how often that is said.
//!
//! Somebody who takes a piece away again and again is fought without hurry: at once the first time, then at most ten
//! times a second, and from the tenth time within a minute on every two seconds. Queries go to the cluster's DNS
//! meanwhile. What is said is one line at the beginning, and one a minute with the count.
//!
//! Invariant: what is remembered is bounded by the number of pieces there are, and forgotten after a quiet minute.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// The least time between two of a piece.
const SHORT: Duration = Duration::from_millis(100);

/// The least time once there were [`MANY`].
const LONG: Duration = Duration::from_secs(2);

/// So many within [`WINDOW`] are a fight.
const MANY: u32 = 10;

/// Over what they are counted, how often they are said, and after how much quiet everything is forgotten.
const WINDOW: Duration = Duration::from_secs(60);

/// Whether a piece may be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// At once.
    Now,
    /// Not before so much time has passed.
    Wait(Duration),
}

/// What is said of one that was mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// A line: it is the first time.
    First,
    /// A line: it was mended so many times since the last one.
    Again(u32),
    /// Nothing yet.
    Nothing,
}

/// What is known of a piece.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// When it was last mended.
    last: Instant,
    /// The beginning of the window in which it is counted.
    window: Instant,
    /// How often within it.
    count: u32,
    /// Whether the window before was a fight: the next one begins slowly.
    fought: bool,
    /// When a line was last written.
    said: Instant,
    /// How often it was mended since then.
    unsaid: u32,
}

/// What is mended how often; `P` is a piece, of which there are few.
#[derive(Debug)]
pub struct Pace<P> {
    /// What is remembered.
    known: BTreeMap<P, Known>,
    /// See [`WINDOW`].
    window: Duration,
}

impl<P: Ord> Default for Pace<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Ord> Pace<P> {
    /// Nothing was mended yet.
    pub const fn new() -> Self {
        Self::with_window(WINDOW)
    }

    /// One that counts over so long, for what is looked for so seldom that a minute is always quiet.
    pub const fn with_window(window: Duration) -> Self {
        Self { known: BTreeMap::new(), window }
    }

    /// Whether `piece` may be mended now.
    pub fn turn(&self, now: Instant, piece: &P) -> Turn {
        let Some(known) = self.known.get(piece) else { return Turn::Now };
        let within = now.duration_since(known.window) < self.window;
        let fight = if within { known.fought || known.count >= MANY } else { known.count >= MANY };
        let least = if fight { LONG } else { SHORT };
        match least.checked_sub(now.duration_since(known.last)) {
            None | Some(Duration::ZERO) => Turn::Now,
            Some(left) => Turn::Wait(left),
        }
    }

    /// It was mended; what is to be said of it.
    pub fn mended(&mut self, now: Instant, piece: P) -> Say {
        let window = self.window;
        self.known.retain(|_, known| now.duration_since(known.last) < window);
        let first = Known { last: now, window: now, count: 0, fought: false, said: now, unsaid: 0 };
        let mut say = Say::Nothing;
        let known = self.known.entry(piece).or_insert_with(|| {
            say = Say::First;
            first
        });
        if now.duration_since(known.window) >= window {
            known.fought = known.count >= MANY;
            known.window = now;
            known.count = 0;
        }
        known.count += 1;
        known.last = now;
        if say == Say::First {
            return say;
        }
        known.unsaid += 1;
        if now.duration_since(known.said) >= window {
            say = Say::Again(known.unsaid);
            known.said = now;
            known.unsaid = 0;
        }
        say
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Mends a piece as soon as it may be, for so long; when that was, in milliseconds, and what was said.
    fn fight(pace: &mut Pace<&'static str>, from: Instant, for_ms: u64) -> Vec<(u64, Say)> {
        let mut done = Vec::new();
        let mut at = 0;
        while at < for_ms {
            let now = from + ms(at);
            match pace.turn(now, &"table") {
                Turn::Now => done.push((at, pace.mended(now, "table"))),
                Turn::Wait(left) => at += u64::try_from(left.as_millis()).unwrap(),
            }
        }
        done
    }

    #[test]
    fn at_once_then_ten_times_a_second_and_in_a_fight_every_two_seconds() {
        let mut pace = Pace::new();
        let done = fight(&mut pace, Instant::now(), 10_000);
        let at: Vec<_> = done.iter().map(|(at, _)| *at).collect();
        let want: Vec<u64> = (0..10).map(|n| n * 100).chain([2900, 4900, 6900, 8900]).collect();
        assert_eq!(at, want);
    }

    #[test]
    fn one_line_at_the_beginning_and_one_a_minute_with_the_count() {
        let mut pace = Pace::new();
        let done = fight(&mut pace, Instant::now(), 180_000);
        let said: Vec<_> = done.iter().filter(|(_, say)| *say != Say::Nothing).collect();
        assert!(matches!(said[0], (0, Say::First)), "{said:?}");
        let counted: u32 = said.iter().map(|(_, say)| if let Say::Again(n) = say { *n } else { 1 }).sum();
        assert_eq!(said.len(), 3, "{said:?}");
        let last = said[2].0;
        assert_eq!(counted as usize, done.iter().filter(|(at, _)| *at <= last).count());
        // Nine at once, and from then on one every two seconds, also when the count begins anew.
        assert!(done.len() <= 10 + 180 / 2, "{}", done.len());
    }

    #[test]
    fn pieces_have_nothing_to_do_with_each_other() {
        let (mut pace, now) = (Pace::new(), Instant::now());
        assert_eq!(pace.mended(now, "table"), Say::First);
        assert_eq!(pace.turn(now, &"table"), Turn::Wait(ms(100)));
        assert_eq!(pace.turn(now, &"address"), Turn::Now);
        assert_eq!(pace.mended(now, "address"), Say::First);
    }

    #[test]
    fn a_quiet_minute_is_a_new_beginning() {
        let (mut pace, start) = (Pace::new(), Instant::now());
        fight(&mut pace, start, 5_000);
        let later = start + ms(5_000) + WINDOW;
        assert_eq!(pace.turn(later, &"table"), Turn::Now);
        assert_eq!(pace.mended(later, "table"), Say::First);
        assert_eq!(pace.turn(later + ms(100), &"table"), Turn::Now);
    }

    #[test]
    fn what_is_remembered_goes() {
        let (mut pace, start) = (Pace::new(), Instant::now());
        for n in 0..50_u64 {
            pace.mended(start + Duration::from_secs(n * 30), n);
        }
        assert!(pace.known.len() <= 2, "{}", pace.known.len());
    }

    #[test]
    fn what_is_looked_for_once_a_minute_is_said_once_an_hour() {
        let (mut pace, start) = (Pace::with_window(Duration::from_secs(3600)), Instant::now());
        let said = |minute: u64| pace.mended(start + Duration::from_secs(minute * 60), "leftovers");
        let said: Vec<_> = (0..130).map(said).filter(|say| *say != Say::Nothing).collect();
        assert_eq!(said, [Say::First, Say::Again(60), Say::Again(60)]);
    }
}
