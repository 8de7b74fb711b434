//! Ages as people read them.

use std::fmt;
use std::time::Duration;

/// Up to here hours are counted, from here on days: "25h1m" says more of yesterday than "1d1h".
const DAYS_FROM: u64 = 48 * 3600;

/// A duration in its two largest units, cut off: no age is overstated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(pub Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            s @ 0..60 => write!(f, "{s}s"),
            s @ 60..3600 => write!(f, "{}m{}s", s / 60, s % 60),
            s @ 3600..DAYS_FROM => write!(f, "{}h{}m", s / 3600, s % 3600 / 60),
            s => write!(f, "{}d{}h", s / 86_400, s % 86_400 / 3600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_as_people_read_them() {
        for (age, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m0s"),
            (3599, "59m59s"),
            (3600, "1h0m"),
            (90_061, "25h1m"),
            (172_799, "47h59m"),
            (172_800, "2d0h"),
            (1_000_000, "11d13h"),
        ] {
            assert_eq!(Age(Duration::from_secs(age)).to_string(), text);
        }
        assert_eq!(Age(Duration::from_millis(1999)).to_string(), "1s", "no age is overstated");
    }
}
