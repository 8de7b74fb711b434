//! Durations as Go writes them: `300ms`, `1m30s`, `1.5h`, `0`.

use std::time::Duration;

/// The units in nanoseconds; `m` and `s` come after what begins or ends like them.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // micro sign, U+00B5
    ("μs", 1_000), // Greek letter mu, U+03BC
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

/// The longest duration in nanoseconds: Go counts them in an `int64`, about 292 years.
const MAX_NANOS: u128 = i64::MAX as u128;

/// How many digits of a fraction count: an hour has fewer than 10^13 nanoseconds, what follows is under one.
const FRACTION_DIGITS: usize = 18;

/// Reads a duration. The error says what is wrong and what would be right.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(format!("'{text}' is negative: a duration must be 0 or longer"));
    }
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(format!(
            "missing unit in duration '{text}': write {text}s for seconds, {text}ms for milliseconds"
        ));
    }
    let malformed =
        || format!("invalid duration '{text}': write numbers with units, as in 300ms, 5s or 1m30s");
    let mut nanos: u128 = 0;
    let mut rest = unsigned;
    loop {
        let (part, after) = component(rest).ok_or_else(malformed)?;
        nanos += part;
        if nanos > MAX_NANOS {
            return Err(format!("duration '{text}' is too long: the limit is 292 years"));
        }
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    let nanos = u64::try_from(nanos).map_err(|_| malformed())?;
    Ok(Duration::from_nanos(nanos))
}

/// One number with its unit, in nanoseconds, and what follows it.
fn component(text: &str) -> Option<(u128, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (after, unit) = UNITS.iter().find_map(|(name, nanos)| {
        let after = rest.strip_prefix(name)?;
        // `m` is a unit only if `ms` does not match, and any unit ends before the next number.
        (after.is_empty() || after.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
            .then_some((after, *nanos))
    })?;
    // A number of more digits than u64 has is beyond every limit; it saturates and is refused by its caller.
    let whole = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(u64::MAX) };
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS)];
    let scale = 10u128.pow(fraction.len() as u32);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let unit = u128::from(unit);
    Some((u128::from(whole) * unit + fraction * unit / scale, after))
}

/// The leading ASCII digits, and what follows them.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepted() {
        for (text, nanos) in [
            ("0", 0),
            ("+0", 0),
            ("0s", 0),
            ("7ns", 7),
            ("3us", 3_000),
            ("3µs", 3_000),
            ("3μs", 3_000),
            ("300ms", 300_000_000),
            ("0.5s", 500_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1m1ms", 60_001_000_000),
            ("1h0.25m", 3_615_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("0.3333333333333333333333h", 1_199_999_999_999),
            ("9223372036854775807ns", i64::MAX as u64),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refused() {
        for (text, why) in [
            ("", "invalid duration"),
            ("5", "missing unit in duration '5': write 5s"),
            ("1.5", "missing unit"),
            ("-5s", "negative"),
            ("s", "invalid duration"),
            (".s", "invalid duration"),
            ("5x", "invalid duration"),
            ("5 s", "invalid duration"),
            ("5sm", "invalid duration"),
            ("5s3", "invalid duration"),
            ("1d", "invalid duration"),
            ("9223372036854775808ns", "too long"),
            ("99999999999999999999999h", "too long"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in r"[0-9.+\-]{0,30}(ns|us|µs|ms|s|m|h|\PC){0,3}") {
            let _ = parse(&text);
        }

        #[test]
        fn whole_milliseconds_come_back(ms in 0..=1_000_000_000_000u64) {
            prop_assert_eq!(parse(&format!("{ms}ms")), Ok(Duration::from_millis(ms)));
        }
    }
}
