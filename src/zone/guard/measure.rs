//! How much is too much.

use super::Policy;

/// What a list takes away of one thing that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    /// How many there are.
    pub(super) before: usize,
    /// How many of them would be lost.
    pub(super) lost: usize,
    /// How many there would be, new ones included.
    pub(super) after: usize,
}

impl Loss {
    /// Whether the policy does not believe it. At its bounds it does.
    pub(super) const fn is_too_much(self, policy: &Policy) -> bool {
        let Self { before, lost, after } = self;
        let nothing_left = before > 0 && after == 0;
        let much = lost > policy.count && lost.saturating_mul(100) > before.saturating_mul(policy.percent);
        lost > 0 && (nothing_left || much)
    }
}

/// A number for people: `10,000`.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_third_and_more_than_ten_or_everything() {
        for (before, lost, after, too_much) in [
            (0, 0, 0, false),
            (0, 0, 50, false),
            (1, 1, 0, true),
            (12, 11, 1, true),
            (20, 10, 10, false),
            (100, 30, 70, false),
            (100, 31, 69, true),
            (5, 5, 5, false),
            (10_000, 3_000, 7_000, false),
        ] {
            let loss = Loss { before, lost, after };
            assert_eq!(loss.is_too_much(&Policy::default()), too_much, "{loss:?}");
        }
    }

    #[test]
    fn people_read_groups_of_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
