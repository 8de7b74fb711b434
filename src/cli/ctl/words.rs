//! Ages, numbers and lines, as people read them.

/// Columns of the smallest terminal that anybody has.
pub(super) const COLUMNS: usize = 80;

/// A duration in the two largest units that it has: `45 s`, `12 min`, `3 h 5 min`, `2 d 1 h`.
pub(in crate::cli) fn time(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let largest = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(3);
    let (unit, name) = units[largest];
    let first = format!("{} {name}", seconds / unit);
    match units.get(largest + 1) {
        // Seconds beside minutes change while they are read.
        Some((smaller, name)) if *smaller > 1 && seconds % unit >= *smaller => {
            format!("{first} {} {name}", seconds % unit / smaller)
        }
        _ => first,
    }
}

/// A number with its thousands apart: `100,900`.
pub(in crate::cli) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 service`, `12 services`.
pub(super) fn count(of: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(of), if of == 1 { one } else { many })
}

/// A size: `512 B`, `13 kB`, `2 MB`.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

/// Text of others without what a terminal would take for a command.
pub(in crate::cli) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Breaks text at spaces into lines of at most [`COLUMNS`]: the first begins with `head`, the others with as many
/// spaces as `indent`. A word that is longer than a line is cut.
pub(super) fn wrap(head: &str, indent: usize, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = head.to_owned();
    let mut begun = false;
    for word in plain(text).split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        while !word.is_empty() {
            let used = line.chars().count() + usize::from(begun);
            if used + word.len() <= COLUMNS {
                if begun {
                    line.push(' ');
                }
                line.extend(word.drain(..));
                begun = true;
            } else if begun {
                lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
                begun = false;
            } else {
                let fits = COLUMNS.saturating_sub(used).max(1).min(word.len());
                line.extend(word.drain(..fits));
                lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            }
        }
    }
    if begun || lines.is_empty() {
        lines.push(line.trim_end().to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (seconds, want) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (119, "1 min"),
            (3_600, "1 h"),
            (3_661, "1 h 1 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
            (864_000, "10 d"),
        ] {
            assert_eq!(time(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn numbers() {
        for (given, want) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(given), want);
        }
        assert_eq!((count(1, "pod", "pods"), count(0, "pod", "pods")), ("1 pod".into(), "0 pods".into()));
        assert_eq!([999, 13_700, 2_000_000].map(size), ["999 B", "13 kB", "2 MB"]);
    }

    #[test]
    fn lines_are_never_longer_than_a_screen() {
        let text = "a few words ".repeat(20) + &"x".repeat(200) + "\u{1b}[31m end\nof it";
        let lines = wrap("  head  ", 8, &text);
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{lines:#?}");
        assert!(
            lines[0].starts_with("  head  a few words") && lines[1].starts_with("        a few"),
            "{lines:#?}"
        );
        assert!(lines.iter().all(|line| !line.contains(char::is_control)));
        assert!(lines.last().unwrap().ends_with("[31m end of it"), "{lines:#?}");
        assert_eq!(wrap("head", 4, ""), ["head"]);
    }
}
