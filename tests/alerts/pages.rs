//! Runbooks: one page an alert, each with the same parts, and nothing in them that a process does not say.

use std::collections::BTreeSet;

use super::expressions::selectors;
use super::files::{Alert, PAGES, alerts, files, text};

/// The page of an alert.
pub(super) fn of(alert: &str) -> String {
    format!("{PAGES}/{alert}.md")
}

/// What every page has, in this order.
const PARTS: [&str; 5] =
    ["**What it says.**", "**What clients see.**", "**Look at**", "**Do.**", "**Do not.**"];

/// Begins and ends a block of text.
const FENCE: &str = "```";

/// Text that is not in blocks, and the lines of those that are.
fn apart(page: &str) -> (String, Vec<String>) {
    let (mut prose, mut quoted, mut inside) = (String::new(), Vec::new(), None);
    for line in page.lines() {
        match (inside, line.find(FENCE)) {
            (None, Some(indent)) => inside = Some(indent),
            (Some(_), Some(_)) => inside = None,
            (None, None) => {
                prose.push_str(line.trim());
                prose.push(' ');
            }
            (Some(indent), None) => quoted.push(line[indent.min(line.len())..].to_owned()),
        }
    }
    assert_eq!(inside, None, "every block ends");
    (prose, quoted)
}

/// Every expression of a page, with the page's name.
pub(super) fn expressions() -> Vec<(String, String)> {
    let of_page = |name: String| {
        let (prose, _) = apart(&text(&name));
        let spans = prose.split('`').skip(1).step_by(2).map(str::to_owned);
        let asks = spans.filter(|span| !selectors(span).is_empty());
        asks.map(|span| (name.clone(), span)).collect::<Vec<_>>()
    };
    files(PAGES, "md").into_iter().flat_map(of_page).collect()
}

#[test]
fn every_page_belongs_to_an_alert_and_has_all_parts() {
    let index = text(&format!("{PAGES}/README.md"));
    let alerts = alerts();
    for Alert { name, severity, .. } in &alerts {
        let page = text(&of(name));
        assert!(page.starts_with(&format!("# {name}\n\n**What it says.**")), "{name}");
        let at = PARTS.map(|part| page.find(part).unwrap_or_else(|| panic!("{name}: no {part}")));
        assert!(at.is_sorted(), "{name}: {at:?}");
        assert!(page.contains("`outlast "), "{name}: the page does not ask the program");
        let row = format!("| [{name}]({name}.md) | {} | ", severity.as_deref().unwrap());
        assert_eq!(index.matches(&row).count(), 1, "the index has no {row}");
    }
    let pages = files(PAGES, "md").len();
    assert_eq!(pages, alerts.len() + 1, "a page for each alert, and the index");
}

#[test]
fn links_lead_somewhere() {
    for name in files(PAGES, "md") {
        let page = text(&name);
        for link in page.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0) {
            assert!(super::files::path(PAGES).join(link).exists(), "{name}: {link}");
        }
    }
}

/// Screens are golden files of `tests/ctl`: what a page shows is what the program prints.
#[test]
fn what_pages_show_of_the_status_is_what_it_says() {
    let screens = files("tests/ctl/screens", "txt");
    let lines: BTreeSet<String> =
        screens.iter().flat_map(|name| text(name).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let mut shown = 0;
    for name in files(PAGES, "md") {
        for line in apart(&text(&name)).1 {
            assert!(lines.contains(&line), "{name} shows a line that no screen has: {line:?}");
            shown += 1;
        }
    }
    assert!(shown > 30, "{shown}");
}
