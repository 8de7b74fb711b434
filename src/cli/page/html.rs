//! The document.
//!
//! Pure. Invariants:
//! * Whatever text of others is in it, it is text: nothing of it is markup.
//! * It is no longer than [`ROOM`] and what one part takes; what is left out is said.

use crate::cli::ctl::screen::{cluster, from, how_old, knows, on_disk, verdict};
use crate::cli::ctl::top::{a_second, answers, percent};
use crate::cli::ctl::words::{number, plain, time};
use crate::node::control::top::{Busy, TopStatus};
use crate::store::status::store::{ByKind, State};
use crate::store::status::{Advice, Certificate, Level, Ready, Section, Status, StoreStatus};
use crate::zone::object::Kind;

/// Its styles.
pub(super) const STYLE: &str = include_str!("style.css");

/// What keeps it fresh.
pub(super) const SCRIPT: &str = include_str!("script.js");

/// Bytes after which no other store or part of the role is begun.
const ROOM: usize = 48 << 10;

/// Characters of a text of others that are shown.
const MAX_TEXT: usize = 400;

/// Rows of one part that are shown.
const MAX_ROWS: usize = 24;

/// What the guard holds back that is shown of one store.
const MAX_HOLDS: usize = 8;

/// Milliseconds of counting before anything is said of it.
const LEAST_MS: u64 = 1_000;

/// The document so far.
struct Html(String);

/// The document of a status, with what is to be done, and what is asked for where questions are answered.
pub(super) fn document(status: &Status, advice: &[Advice], top: Option<&TopStatus>) -> String {
    let mut html = Html(String::with_capacity(16 << 10));
    let title = title(status);
    html.0 += "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
               <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
               <noscript><meta http-equiv=\"refresh\" content=\"15\"></noscript>\n";
    html.put("<title>", &title, "</title>\n");
    html.0 += &format!(
        "<style>{STYLE}</style>\n</head>\n<body>\n<p id=\"gone\" role=\"alert\" hidden></p>\n<main>\n"
    );
    head(status, &mut html);
    to_do(advice, &mut html);
    // One that has nothing to say now is not there.
    let sections = status.sections.iter().filter(|section| !section.rows.is_empty());
    let parts = status.stores.len() + sections.clone().count();
    let mut shown = 0;
    for (n, store) in status.stores.iter().enumerate() {
        if html.is_full() {
            break;
        }
        data(n, store, &mut html);
        shown += 1;
    }
    if let Some(certificate) = &status.certificate {
        trust(certificate, &mut html);
    }
    if let Some(top) = top.filter(|_| !html.is_full()) {
        questions(top, &mut html);
    }
    for section in sections {
        if html.is_full() {
            break;
        }
        role(section, &mut html);
        shown += 1;
    }
    if shown < parts {
        let text = format!("{} parts are left out: /status.json has all of them.", parts - shown);
        html.put("<p>", &text, "</p>\n");
    }
    html.0 += &format!("</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n");
    html.0
}

/// Who it is and how the worst of its data is: what a tab shows.
fn title(status: &Status) -> String {
    let rank = |store: &&StoreStatus| match store.state {
        State::Live => 0,
        State::Stale | State::Other => 1,
        State::Expired => 2,
        State::Empty => 3,
    };
    let worst = status.stores.iter().max_by_key(rank).map(|store| store.state.as_str());
    let state = worst.map_or_else(String::new, |state| format!(": {state}"));
    format!("{} {}{state}", status.role.as_str(), status.name)
}

/// Who it is, and whether it is ready.
fn head(status: &Status, html: &mut Html) {
    html.0 += "<header>\n";
    html.put("<h1>", &format!("outlast {} {}", status.role.as_str(), status.name), "</h1>\n<p>");
    let (level, text) = match &status.ready {
        Ready { ready: true, .. } => (Level::Fine, "ready".to_owned()),
        Ready { shutting_down: true, .. } => (Level::Warn, "about to end".to_owned()),
        Ready { pending, .. } => (Level::Bad, format!("not ready, waits for {}", pending.join(", "))),
    };
    html.said(level, &text);
    let Status { release, pid, up_s, .. } = status;
    html.text(&format!(" · release {release} · pid {pid} · up {}", time(*up_s)));
    if let Some((first, more)) = status.listening.split_first() {
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        html.text(&format!(" · answers {first}{more}"));
    }
    html.0 += "</p>\n</header>\n";
}

/// What to do next.
fn to_do(advice: &[Advice], html: &mut Html) {
    html.0 += "<section>\n<h2>What to do</h2>\n<ul>\n";
    for Advice { level, text } in advice.iter().take(MAX_ROWS) {
        html.0 += "<li>";
        html.said(*level, text);
        html.0 += "</li>\n";
    }
    html.0 += "</ul>\n</section>\n";
}

/// One store.
fn data(n: usize, store: &StoreStatus, html: &mut Html) {
    html.put("<section>\n<h2>Data of ", &store.zone, "</h2>\n<dl>\n");
    let (level, age) = how_old(store);
    html.fact("state", Some(level), &format!("{}, {age}", store.state.as_str()));
    html.fact("from", None, &from(store));
    if let Some(lost) = &store.lost {
        html.fact("lost", Some(Level::Warn), lost);
    }
    html.fact("knows", None, &knows(store));
    let cluster = cluster(store);
    if !cluster.is_empty() {
        html.fact("cluster", None, &cluster);
    }
    for hold in store.holds.iter().take(MAX_HOLDS) {
        let examples = &hold.examples;
        let such =
            if examples.is_empty() { String::new() } else { format!(", such as {}", examples.join(", ")) };
        html.fact("held", Some(Level::Warn), &(verdict(hold) + &such));
    }
    if let Some(more @ 1..) = store.holds.len().checked_sub(MAX_HOLDS) {
        html.fact("held", Some(Level::Warn), &format!("and {more} more"));
    }
    if let Some(frozen) = &store.frozen {
        let what = match frozen.rolled_back_to {
            Some(generation) => format!("snapshot {generation} is served"),
            None => "what was served then is served".to_owned(),
        };
        let (since, remaining) = (time(frozen.since_s), time(frozen.remaining_s));
        html.fact("frozen", Some(Level::Warn), &format!("{since} ago, for {remaining} more: {what}"));
    }
    let (disk, level) = on_disk(&store.snapshot);
    html.fact("disk", level, &disk);
    html.0 += "</dl>\n";
    in_full(n, store, html);
    html.0 += "</section>\n";
}

/// Figures for each kind of object.
fn in_full(n: usize, store: &StoreStatus, html: &mut Html) {
    let kinds = Kind::ALL.into_iter().map(Kind::as_str).filter(|kind| store.objects.contains_key(*kind));
    html.0 += &format!(
        "<details id=\"full-{n}\">\n<summary>By kind of object</summary>\n<table>\n<thead><tr><th>kind</th>\
         <th>objects</th><th>gone over to</th><th>told to</th><th>digest</th></tr></thead>\n<tbody>\n"
    );
    for kind in kinds {
        let figure = |of: &ByKind| of.get(kind).map_or_else(String::new, |n| number(*n));
        html.put("<tr><th scope=\"row\">", kind, "</th>");
        html.put("<td>", &figure(&store.objects), "</td>");
        // As others print them: they are no counts.
        let version = |of: &ByKind| of.get(kind).map_or_else(String::new, u64::to_string);
        html.put("<td>", &version(&store.position), "</td>");
        html.put("<td>", &version(&store.told), "</td>");
        html.put("<td><code>", store.digests.get(kind).map_or("", String::as_str), "</code></td></tr>\n");
    }
    html.0 += "</tbody>\n</table>\n</details>\n";
}

/// The certificate.
fn trust(certificate: &Certificate, html: &mut Html) {
    let Certificate { path, expires_in_s, why, .. } = certificate;
    html.0 += "<section>\n<h2>Certificate</h2>\n<dl>\n";
    html.fact("file", None, path);
    let since = time(expires_in_s.unsigned_abs());
    match why {
        Some(why) => html.fact("state", Some(Level::Bad), &format!("cannot be used: {why}")),
        None if *expires_in_s < 0 => html.fact("state", Some(Level::Warn), &format!("expired {since} ago")),
        None => html.fact("state", None, &format!("expires in {since}")),
    }
    html.0 += "</dl>\n</section>\n";
}

/// What is asked for, and by whom.
fn questions(top: &TopStatus, html: &mut Html) {
    html.0 += "<section>\n<h2>Questions</h2>\n";
    if top.over_ms < LEAST_MS {
        html.0 += "<p>They are counted from now on, for as long as this page is looked at.</p>\n</section>\n";
        return;
    }
    let rate = a_second(top.questions, top.over_ms);
    let over = time((top.over_ms + 500) / 1_000);
    html.0 += "<dl>\n";
    html.fact("asked", None, &format!("{rate} a second, of the last {over}"));
    html.fact("answers", None, &answers(top));
    html.0 += "</dl>\n";
    busiest("name", &top.names, top, html);
    busiest("client", &top.clients, top, html);
    html.0 += "</section>\n";
}

/// What is busiest.
fn busiest(title: &str, busy: &[Busy], top: &TopStatus, html: &mut Html) {
    html.put(
        "<table>\n<thead><tr><th>a second</th><th>share</th><th>",
        title,
        "</th></tr></thead>\n<tbody>\n",
    );
    for Busy { what, questions, too_many } in busy {
        let (rate, share) = (a_second(*questions, top.over_ms), percent(*questions, top.questions));
        let error =
            if *too_many == 0 { String::new() } else { format!(" ±{}", percent(*too_many, top.questions)) };
        html.put("<tr><td>", &rate, "</td>");
        html.put("<td>", &(share + &error), "</td>");
        html.put("<th scope=\"row\">", what, "</th></tr>\n");
    }
    html.0 += "</tbody>\n</table>\n";
}

/// What only some processes have to say.
fn role(section: &Section, html: &mut Html) {
    html.put("<section>\n<h2>", &capitalized(&section.title), "</h2>\n<ul>\n");
    for row in section.rows.iter().take(MAX_ROWS) {
        html.0 += "<li>";
        match row.level {
            Level::Fine => html.text(&row.text),
            level => html.said(level, &row.text),
        }
        html.0 += "</li>\n";
    }
    if let Some(more @ 1..) = section.rows.len().checked_sub(MAX_ROWS) {
        html.put("<li>", &format!("and {more} more"), "</li>\n");
    }
    html.0 += "</ul>\n</section>\n";
}

/// With a capital letter first.
fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

impl Html {
    /// Adds a text, which may be anybody's.
    fn text(&mut self, text: &str) {
        let is_cut = text.chars().count() > MAX_TEXT;
        // Invariant: a text is a text.
        for c in plain(text).chars().take(MAX_TEXT) {
            match c {
                '&' => self.0 += "&amp;",
                '<' => self.0 += "&lt;",
                '>' => self.0 += "&gt;",
                '"' => self.0 += "&quot;",
                '\'' => self.0 += "&#39;",
                c => self.0.push(c),
            }
        }
        if is_cut {
            self.0.push('…');
        }
    }

    /// Adds a text between markup of ours.
    fn put(&mut self, before: &str, text: &str, after: &str) {
        self.0 += before;
        self.text(text);
        self.0 += after;
    }

    /// Adds a text of a level, by colour and by mark.
    fn said(&mut self, level: Level, text: &str) {
        let (class, mark) = match level {
            Level::Fine => ("fine", "✓"),
            Level::Warn => ("warn", "!"),
            Level::Bad => ("bad", "✗"),
        };
        self.put(&format!("<b class=\"{class}\">{mark} "), text, "</b>");
    }

    /// Adds a fact of a list of facts.
    fn fact(&mut self, name: &str, level: Option<Level>, value: &str) {
        self.put("<dt>", name, "</dt><dd>");
        match level {
            Some(level) => self.said(level, value),
            None => self.text(value),
        }
        self.0 += "</dd>\n";
    }

    /// Whether nothing else is to be begun.
    fn is_full(&self) -> bool {
        self.0.len() > ROOM
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::node::control::top::Share;
    use crate::store::status::Row;
    use crate::store::status::store::{HoldStatus, SnapshotStatus};

    /// What is anybody's: names of objects, reasons of sources, errors.
    const EVIL: &str = "<script>alert(1)</script>\"' onload=x &amp; \u{1b}[31m";

    fn evil() -> Status {
        let text = || EVIL.to_owned();
        let store = StoreStatus {
            zone: text(),
            source: text(),
            lost: Some(text()),
            missing: vec![text()],
            cluster_uid: text(),
            holds: vec![HoldStatus { why: text(), examples: vec![text()], ..HoldStatus::default() }],
            snapshot: SnapshotStatus {
                dir: Some(text()),
                why: Some(text()),
                memory_only: true,
                ..SnapshotStatus::default()
            },
            digests: [("Service".to_owned(), text())].into(),
            objects: [("Service".to_owned(), 1_234_567)].into(),
            ..StoreStatus::default()
        };
        let row = Row { text: text(), level: Level::Warn };
        let section = Section {
            title: text(),
            rows: vec![row.clone(), Row { level: Level::Fine, ..row }],
            ..Section::default()
        };
        Status {
            name: text(),
            release: text(),
            listening: vec![text()],
            stores: vec![store],
            sections: vec![section],
            certificate: Some(Certificate { path: text(), why: Some(text()), ..Certificate::default() }),
            ..Status::default()
        }
    }

    #[test]
    fn whatever_is_said_is_text() {
        let advice = [Advice { level: Level::Bad, text: EVIL.to_owned() }];
        let html = document(&evil(), &advice, None);
        assert_eq!(html.matches("<script").count(), 1, "its own");
        assert!(!html.contains("alert(1)</script>") && !html.contains('\u{1b}'), "{html}");
        assert_eq!(
            html.matches("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39; onload=x &amp;amp; ").count(),
            19,
            "{html}"
        );
        assert!(html.contains("<td>1,234,567</td>"), "{html}");
    }

    #[test]
    fn it_is_never_long() {
        let Status { stores, sections, .. } = evil();
        let mut store = stores.into_iter().next().expect("one");
        store.lost = Some(EVIL.repeat(10_000));
        store.holds = vec![store.holds.remove(0); 5_000];
        let mut section = sections.into_iter().next().expect("one");
        section.rows = vec![section.rows.remove(0); 5_000];
        let status = Status { stores: vec![store; 500], sections: vec![section; 500], ..Status::default() };
        let advice = vec![Advice { level: Level::Bad, text: EVIL.repeat(100) }; 5_000];
        let html = document(&status, &advice, None);
        assert!(html.len() < 128 << 10, "{} bytes", html.len());
        assert!(html.contains("parts are left out: /status.json has all of them."), "{html}");
        assert!(html.contains("and 4992 more"), "{html}");
        assert!(STYLE.len() + SCRIPT.len() < 4 << 10, "{}", STYLE.len() + SCRIPT.len());
    }

    #[test]
    fn what_is_asked_for_is_there_once_it_is_counted() {
        let busy = |what: &str| Busy { what: what.to_owned(), questions: 100, too_many: 10 };
        let top = TopStatus {
            over_ms: 5_000,
            questions: 300,
            names: vec![busy(EVIL), busy("web.shop.")],
            clients: vec![busy("10.0.0.1")],
            answered_over_ms: 5_000,
            by_source: vec![Share { what: "kubernetes".to_owned(), answers: 300 }],
            ..TopStatus::default()
        };
        let html = document(&Status::default(), &[], Some(&top));
        for part in ["60 a second, of the last 5 s", "kubernetes 100 %", "<td>20</td><td>33 % ±3 %</td>"] {
            assert!(html.contains(part), "{part}\n{html}");
        }
        assert!(html.contains(">web.shop.</th>") && html.contains(">10.0.0.1</th>"), "{html}");
        assert!(!html.contains("alert(1)</script>"), "{html}");
        let html = document(&Status::default(), &[], Some(&TopStatus::default()));
        assert!(html.contains("counted from now on") && !html.contains("<table>"), "{html}");
        assert!(!document(&Status::default(), &[], None).contains("Questions"), "a hub answers none");
    }

    #[test]
    fn a_part_that_has_nothing_to_say_is_not_there() {
        let section = |rows| Section { title: "pinned".to_owned(), rows, ..Section::default() };
        let row = Row { text: "web.shop. A 10.0.0.7".to_owned(), level: Level::Warn };
        for (rows, shown) in [(Vec::new(), false), (vec![row], true)] {
            let status = Status { sections: vec![section(rows)], ..Status::default() };
            assert_eq!(document(&status, &[], None).contains("Pinned"), shown);
        }
    }

    #[test]
    fn a_tab_shows_the_worst() {
        let store = |state| StoreStatus { state, ..StoreStatus::default() };
        let status = |stores| Status { name: "n1".to_owned(), stores, ..Status::default() };
        assert_eq!(title(&status(vec![store(State::Live), store(State::Stale)])), "node n1: stale");
        assert_eq!(title(&status(vec![store(State::Empty), store(State::Expired)])), "node n1: empty");
        assert_eq!(title(&status(Vec::new())), "node n1");
    }

    /// Colours by name, of `style.css`: those of a light page, and then those of a dark one.
    fn palettes() -> Vec<HashMap<&'static str, [f64; 3]>> {
        let blocks = STYLE.split(":root").skip(1).map(|rest| &rest[..rest.find('}').expect("an end")]);
        let colour = |hex: &str| {
            [0, 2, 4].map(|at| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")) / 255.0)
        };
        let read = |block: &'static str| {
            let pairs = block.split("--").skip(1).filter_map(|pair| pair.split_once(": #"));
            pairs.map(|(name, hex)| (name, colour(&hex[..6]))).collect()
        };
        blocks.map(read).collect()
    }

    /// Relative luminance, WCAG 2.2.
    fn luminance(colour: [f64; 3]) -> f64 {
        let linear = |c: f64| if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
        let [red, green, blue] = colour.map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    #[test]
    fn every_text_can_be_read() {
        let palettes = palettes();
        assert_eq!(palettes.len(), 2, "light and dark");
        for palette in palettes {
            for text in ["ink", "faint", "fine", "warn", "bad"] {
                for ground in ["paper", "card"] {
                    let (one, other) = (luminance(palette[text]), luminance(palette[ground]));
                    let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
                    // WCAG 2.2, 1.4.3: level AA.
                    assert!(contrast >= 4.5, "{text} on {ground}: {contrast:.2}");
                }
            }
        }
    }
}
