//! What people see of what is pinned.

use super::words::{count, plain, time};
use crate::node::pins::status::{PinStatus, PinsDone};

/// A pin with what is at its name now, and whether a restart knows it.
pub(super) fn pinned(done: &PinsDone) -> (String, bool) {
    (format!("pinned\n{}{}\n", lines(&done.pins), plain(&done.kept.to_string())), done.kept.is_fine())
}

/// What is not pinned any more; nothing is a failure: who unpins something thinks that it was.
pub(super) fn unpinned(done: &PinsDone) -> (String, bool) {
    if done.pins.is_empty() {
        return ("nothing is pinned there".to_owned(), false);
    }
    let mut text = format!("not pinned any more\n{}", lines(&done.pins));
    if !done.kept.is_fine() {
        text += &format!("A RESTART PINS IT AGAIN: {}\n", plain(&done.kept.to_string()));
    }
    (text, done.kept.is_fine())
}

/// What is pinned.
pub(super) fn list(pins: &[PinStatus]) -> (String, bool) {
    let text = if pins.is_empty() { "nothing is pinned".to_owned() } else { lines(pins) };
    (text, true)
}

/// A line for each value, as in a zone file, and until when.
fn lines(pins: &[PinStatus]) -> String {
    let mut text = String::new();
    for PinStatus { name, kind, values, since_s, remaining_s } in pins {
        let (since, left) = (time(*since_s), time(*remaining_s));
        let values_are = count(values.len() as u64, "value", "values");
        text += &plain(&format!("{name} {kind}: {values_are}, pinned {since} ago, for {left} more"));
        text.push('\n');
        for value in values {
            text += &format!("    {}\n", plain(value));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::pins::status::Kept;

    fn pins() -> Vec<PinStatus> {
        vec![PinStatus {
            name: "web.shop.".to_owned(),
            kind: "A".to_owned(),
            values: vec!["192.0.2.1".to_owned(), "192.0.2.2\u{1b}[2J".to_owned()],
            since_s: 90,
            remaining_s: 3_510,
        }]
    }

    #[test]
    fn pins_are_listed_with_their_values() {
        let want =
            "web.shop. A: 2 values, pinned 1 min ago, for 58 min more\n    192.0.2.1\n    192.0.2.2 [2J\n";
        assert_eq!(list(&pins()), (want.to_owned(), true));
        assert_eq!(list(&[]), ("nothing is pinned".to_owned(), true));
    }

    #[test]
    fn what_a_restart_knows_is_said() {
        for (kept, says, fine) in [
            (Kept::InFolder { dir: "/d".to_owned() }, "kept in /d: a restart goes on so\n", true),
            (Kept::InMemory, "in memory only, no folder is configured: a restart forgets it\n", true),
            (Kept::Failed { why: "disk full".to_owned() }, "a restart forgets it: disk full\n", false),
        ] {
            let (text, is_fine) = pinned(&PinsDone { pins: pins(), kept });
            assert!(text.starts_with("pinned\nweb.shop. A: 2 values") && text.ends_with(says), "{text}");
            assert_eq!(is_fine, fine, "{text}");
        }
    }

    #[test]
    fn nothing_to_unpin_is_a_failure() {
        assert_eq!(unpinned(&PinsDone::default()), ("nothing is pinned there".to_owned(), false));
        let (text, fine) = unpinned(&PinsDone { pins: pins(), kept: Kept::InMemory });
        assert!(fine && text.starts_with("not pinned any more\nweb.shop. A"), "{text}");
        let (text, fine) = unpinned(&PinsDone { pins: pins(), kept: Kept::Failed { why: "w".to_owned() } });
        assert!(!fine && text.contains("A RESTART PINS IT AGAIN"), "{text}");
    }
}
