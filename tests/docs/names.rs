//! Names that pages use: series, environment variables, alerts.

use std::collections::BTreeSet;

use regex::Regex;

use super::pages::{Page, files, text};
use super::{every_page_passes, it_finds};

/// What there is of a kind of names.
struct Kind {
    /// What one of them is.
    word: &'static str,
    /// How they are spelled; what ends in `*` or `…` is the beginning of several.
    spelled: Regex,
    /// All of them.
    known: BTreeSet<String>,
}

/// What this finds in these files.
fn found(spelled: &str, files: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let spelled = Regex::new(spelled).unwrap();
    let of = |file: String| {
        let text = text(&file);
        // Tests make names up.
        let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
        let names = spelled.captures_iter(&text).map(|found| found[1].to_owned());
        names.collect::<Vec<_>>()
    };
    files.into_iter().flat_map(of).collect()
}

/// The sources of the program.
fn sources() -> Vec<String> {
    let is_test =
        |file: &String| file.ends_with("tests.rs") || file.contains("/tests/") || file.contains("testkit");
    files("src").into_iter().filter(|file| file.ends_with(".rs") && !is_test(file)).collect()
}

impl Kind {
    /// Families of series: what the sources call by them.
    fn series() -> Self {
        let known = found(r#""((?:outlast|coredns)_[a-z0-9_]+)""#, sources());
        assert!(known.contains("outlast_data_age_seconds") && known.len() > 100, "{}", known.len());
        Self {
            word: "series",
            spelled: Regex::new(r"\b((?:outlast|coredns)_[a-z0-9_]*[a-z0-9](?:_[*…]|\*)?)").unwrap(),
            known,
        }
    }

    /// Variables that the program reads, that kubelets set for it, and that tests read.
    fn variables() -> Self {
        let mut known = found(r#""(OUTLAST_[A-Z0-9_]+)""#, sources());
        let tests = files("tests").into_iter().filter(|file| file.ends_with(".rs"));
        known.extend(found(r#""(OUTLAST_TEST_[A-Z0-9_]+)""#, tests));
        // The address of the Service.
        known.insert("OUTLAST_HUB_SERVICE_HOST".to_owned());
        let mut command = outlast::cli::command();
        command.build();
        let mut below = vec![&command];
        while let Some(command) = below.pop() {
            let named = command.get_arguments().filter_map(|arg| arg.get_env());
            known.extend(named.map(|name| name.to_str().unwrap().to_owned()));
            below.extend(command.get_subcommands());
        }
        assert!(known.contains("OUTLAST_HUB_TLS_CA") && known.contains("OUTLAST_LOG"));
        Self {
            word: "variable",
            spelled: Regex::new(r"\b(OUTLAST_[A-Z0-9_]*[A-Z0-9](?:_[*…])?)").unwrap(),
            known,
        }
    }

    /// Alerts, by the rules.
    fn alerts() -> Self {
        let known = found(r"- alert: (\w+)", ["monitoring/alerts.yaml".to_owned()]);
        assert!(known.len() > 20, "{}", known.len());
        Self { word: "alert", spelled: Regex::new(r"\b(Outlast[A-Z]\w+)").unwrap(), known }
    }

    /// Whether there is one of this name, or one that begins so.
    fn has(&self, name: &str) -> bool {
        let stem = name.trim_end_matches(['*', '…']);
        if stem != name {
            return self.known.iter().any(|known| known.starts_with(stem));
        }
        // What a histogram has beside its name.
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        self.known.contains(name) || of_histogram.is_some_and(|name| self.known.contains(name))
    }

    /// What a page names and what is not there.
    fn complaints(&self, page: &Page) -> Vec<String> {
        let of_line = |(line, text): (usize, &str)| {
            let names = self.spelled.captures_iter(text).map(|found| found[1].to_owned());
            let missing: BTreeSet<_> = names.filter(|name| !self.has(name)).collect();
            missing.into_iter().map(move |name| (line, name)).collect::<Vec<_>>()
        };
        let missing = page.lines().flat_map(of_line);
        missing.map(|(line, name)| format!("{}: there is no {} {name}", page.at(line), self.word)).collect()
    }
}

#[test]
fn series_that_pages_name_are_there() {
    let kind = Kind::series();
    every_page_passes(|page| kind.complaints(page));
    it_finds(
        |page| kind.complaints(page),
        "`outlast_data_state{state=\"live\"}`, `outlast_hub_*`, `coredns_dns_request_duration_seconds_bucket`",
        &[
            ("`outlast_data_stale > 0`", "wrong.md:1: there is no series outlast_data_stale"),
            ("a\n\n```\nsum(coredns_panic_total)\n```", "wrong.md:4: there is no series coredns_panic_total"),
            ("`outlast_snap_*`", "there is no series outlast_snap_*"),
        ],
    );
}

#[test]
fn variables_that_pages_name_are_there() {
    let kind = Kind::variables();
    every_page_passes(|page| kind.complaints(page));
    it_finds(
        |page| kind.complaints(page),
        "`OUTLAST_HUB`, `OUTLAST_HUB_…`, $OUTLAST_HUB_SERVICE_HOST",
        &[
            ("`OUTLAST_HUBS`", "there is no variable OUTLAST_HUBS"),
            ("```sh\nOUTLAST_LOCAL_IPS=1 x\n```", "wrong.md:2: there is no variable OUTLAST_LOCAL_IPS"),
        ],
    );
}

#[test]
fn alerts_that_pages_name_are_there() {
    let kind = Kind::alerts();
    every_page_passes(|page| kind.complaints(page));
    it_finds(
        |page| kind.complaints(page),
        "OutlastDataStale and Outlast",
        &[("the alert OutlastStale", "there is no alert OutlastStale")],
    );
}
