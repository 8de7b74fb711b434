//! How many second tries there may be beside first ones, so that an upstream that becomes slow does not double
//! the load of the others. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Second tries for each query: at most a tenth more load.
const SHARE: f64 = 0.1;

/// Second tries a second that are allowed anyway: with little traffic a tenth is nothing, and nothing is overloaded.
const FLOOR: f64 = 2.0;

/// Most tries that are saved up: those of 200 queries, so that a pause does not allow a burst.
const MOST: f64 = 20.0;

/// Tries that are left.
#[derive(Debug)]
pub(super) struct Budget {
    /// How many.
    tokens: f64,
    /// When [`FLOOR`] was last added.
    at: Instant,
}

impl Budget {
    pub(super) const fn new(now: Instant) -> Self {
        Self { tokens: MOST, at: now }
    }

    /// A query came.
    pub(super) fn earn(&mut self) {
        self.tokens = (self.tokens + SHARE).min(MOST);
    }

    /// Takes one try, if there is one.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        let passed: Duration = now.saturating_duration_since(self.at);
        self.at = now;
        self.tokens = (self.tokens + FLOOR * passed.as_secs_f64()).min(MOST);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &mut Budget, queries: usize, now: Instant) -> usize {
        (0..queries)
            .filter(|_| {
                budget.earn();
                budget.spend(now)
            })
            .count()
    }

    #[test]
    fn second_tries_are_a_tenth_and_a_little() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        let first = spent(&mut budget, 1_000, now);
        // What was saved, and a tenth.
        assert!((115..=125).contains(&first), "{first}");
        let next = spent(&mut budget, 1_000, now);
        assert!((98..=101).contains(&next), "{next}");
        let later = now + Duration::from_secs(3);
        assert!((5..=7).contains(&spent(&mut budget, 7, later)), "two a second without traffic");
        let much_later = later + Duration::from_secs(86_400);
        assert!((19..=23).contains(&spent(&mut budget, 23, much_later)), "a pause saves up no burst");
    }
}
