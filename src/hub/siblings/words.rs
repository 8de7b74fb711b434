//! What operators have accepted, at this hub and at others, as it is passed on. Pure: takes `now`.
//!
//! Limits: an hour, [`MAX_WORDS`] acceptances, [`MAX_KEYS`] objects.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::feed::greeting::Accepted;
use crate::store::accepted::ACCEPTED_FOR;

/// So many acceptances are passed on: each is something that a person has done.
pub(super) const MAX_WORDS: usize = 32;

/// So many objects in all of them: a greeting of 800 kB, which a hub still reads, and the services and slices of a
/// large cluster.
pub(super) const MAX_KEYS: usize = 100_000;

/// The same acceptance this much later is another one: clocks and the way between hubs account for less.
const SAME_WITHIN: Duration = Duration::from_secs(60);

/// What was accepted lately.
#[derive(Debug, Default)]
pub(super) struct Words(VecDeque<Word>);

/// One acceptance.
#[derive(Debug)]
struct Word {
    /// When somebody said so.
    at: Instant,
    /// Tells it from others.
    digest: u64,
    /// Hashes of keys.
    keys: Vec<u64>,
}

impl Words {
    /// Whether this is not known.
    pub(super) fn is_news(&self, now: Instant, accepted: &Accepted) -> bool {
        let Some(at) = now.checked_sub(accepted.ago) else { return false };
        let digest = accepted.digest();
        let known = |word: &Word| word.digest == digest && word.at + SAME_WITHIN >= at;
        accepted.ago < ACCEPTED_FOR && !accepted.keys.is_empty() && !self.0.iter().any(known)
    }

    /// It is known now. Returns how many of its objects are too many to be passed on.
    pub(super) fn note(&mut self, now: Instant, mut accepted: Accepted) -> usize {
        let Some(at) = now.checked_sub(accepted.ago) else { return 0 };
        let over = accepted.keys.len().saturating_sub(MAX_KEYS);
        accepted.keys.truncate(MAX_KEYS);
        let digest = accepted.digest();
        self.0.retain(|word| word.digest != digest);
        self.0.push_back(Word { at, digest, keys: accepted.keys });
        while self.0.len() > MAX_WORDS || self.0.iter().map(|word| word.keys.len()).sum::<usize>() > MAX_KEYS
        {
            self.0.pop_front();
        }
        over
    }

    /// What is too old is meant no more.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.0.retain(|word| now.saturating_duration_since(word.at) < ACCEPTED_FOR);
    }

    /// What somebody has to be told who knows `known`.
    pub(super) fn to_tell(&self, now: Instant, known: &[u64]) -> Vec<Accepted> {
        let news = self.0.iter().filter(|word| !known.contains(&word.digest));
        let told = news
            .map(|word| Accepted { ago: now.saturating_duration_since(word.at), keys: word.keys.clone() });
        told.collect()
    }

    /// Which ones are known.
    pub(super) fn known(&self) -> Vec<u64> {
        self.0.iter().map(|word| word.digest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(ago: u64, keys: &[u64]) -> Accepted {
        Accepted { ago: Duration::from_secs(ago), keys: keys.to_vec() }
    }

    fn later() -> Instant {
        // A clock that has run for a while.
        Instant::now() + 3 * ACCEPTED_FOR
    }

    #[test]
    fn a_word_is_news_once() {
        let (now, mut words) = (later(), Words::default());
        let word = accepted(10, &[1, 2]);
        assert!(words.is_news(now, &word));
        assert_eq!(words.note(now, word), 0);
        assert!(!words.is_news(now, &accepted(10, &[2, 1])), "in another order");
        assert!(!words.is_news(now, &accepted(0, &[1, 2])), "by a clock that differs");
        assert!(words.is_news(now + 2 * SAME_WITHIN, &accepted(0, &[1, 2])), "said again");
        assert!(words.is_news(now, &accepted(10, &[3])));
        assert!(!words.is_news(now, &accepted(0, &[])), "nothing");
        assert!(!words.is_news(now, &accepted(3600, &[4])), "too old");
    }

    #[test]
    fn what_a_sibling_knows_it_is_not_told() {
        let (now, mut words) = (later(), Words::default());
        let _ = words.note(now, accepted(10, &[1, 2]));
        let _ = words.note(now, accepted(5, &[3]));
        let soon = now + Duration::from_secs(1);
        assert_eq!(words.to_tell(soon, &[]), [accepted(11, &[1, 2]), accepted(6, &[3])]);
        let known = words.known();
        assert_eq!(words.to_tell(soon, &known[..1]), [accepted(6, &[3])]);
        assert!(words.to_tell(soon, &known).is_empty());
    }

    #[test]
    fn words_are_bounded_in_time_and_number() {
        let (now, mut words) = (later(), Words::default());
        for n in 0..100 {
            let _ = words.note(now, accepted(0, &[n]));
        }
        assert_eq!(words.known().len(), MAX_WORDS);
        let many: Vec<u64> = (0..MAX_KEYS as u64 + 7).collect();
        assert_eq!(words.note(now, accepted(0, &many)), 7);
        assert_eq!(words.to_tell(now, &[]).iter().map(|word| word.keys.len()).sum::<usize>(), MAX_KEYS);
        words.forget_old(now + ACCEPTED_FOR);
        assert!(words.known().is_empty());
    }
}
