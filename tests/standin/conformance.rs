//! Every recording from a real API server (1.36 over etcd 3.6), replayed: the store is brought to the recorded
//! revision, the recorded request is sent, and what comes is compared byte for byte: status line, headers in
//! their order, body, and where it is cut.
//!
//! Not determined are ids and dates, of which the form is compared, and whether a bookmark comes once or twice:
//! there one of the stand-in's seeds has to lead to what was recorded.

use std::time::Duration;

use outlast::drill::standin::access::USER;
use outlast::drill::standin::{Config, Standin};
use tokio::time::sleep;

use super::client::{Answer, End, ask, ask_as, open, timed};
use super::recording::{Recording, replay_until};

/// Seeds that are tried for what is random: bookmarks fall one way or the other about every second time.
const SEEDS: u64 = 24;

/// A server at a recorded revision.
fn at(revision: u64, seed: u64) -> Standin {
    let config = Config { fresh_namespaces: false, seed, ..Config::default() };
    let standin = Standin::in_memory(config).unwrap();
    replay_until(standin.etcd(), revision);
    standin
}

/// The form of what is random, the value of everything else.
fn shape(name: &str, value: &str) -> String {
    let form = |value: &str| -> String {
        value.chars().map(|c| if c.is_ascii_hexdigit() { 'x' } else { c }).collect()
    };
    match name {
        "Audit-Id" | "X-Kubernetes-Pf-Flowschema-Uid" | "X-Kubernetes-Pf-Prioritylevel-Uid" => {
            assert_eq!(value.len(), 36, "{name}: {value}");
            form(value)
        }
        "Date" => {
            assert!(value.ends_with(" GMT") && value.len() == 29, "{name}: {value}");
            "a date".to_owned()
        }
        _ => value.to_owned(),
    }
}

fn shapes(headers: &[(String, String)]) -> Vec<String> {
    headers.iter().map(|(name, value)| format!("{name}: {}", shape(name, value))).collect()
}

fn assert_head(recording: &Recording, answer: &Answer) {
    assert_eq!(answer.status, recording.status, "{}", recording.request);
    assert_eq!(shapes(&answer.headers), shapes(&recording.headers), "{}", recording.request);
}

fn assert_same(recording: &Recording, answer: &Answer) {
    assert_head(recording, answer);
    assert_eq!(answer.body(), recording.body, "{}", recording.request);
    assert_eq!(answer.end, End::Clean);
}

#[tokio::test(start_paused = true)]
async fn answers_of_known_length_are_as_recorded() {
    for (name, token) in [
        ("anonymous", None),
        ("bad-continue", Some(USER)),
        ("forbidden", Some("nobody")),
        ("notfound-group", Some(USER)),
        ("readyz", Some(USER)),
        ("version", Some(USER)),
    ] {
        let recording = Recording::read(name);
        let standin = at(296, 1);
        let token = token.map(|user| standin.token(user).unwrap());
        let answer = ask_as(&standin, recording.target(), token.as_deref()).await;
        assert_same(&recording, &answer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_is_refused_as_recorded() {
    let recording = Recording::read("unauthorized");
    assert_same(&recording, &ask_as(&at(296, 1), recording.target(), Some("wrong")).await);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_a_future_version_waits_three_seconds_and_answers_as_recorded() {
    let (recording, standin) = (Recording::read("list-future-rv"), at(296, 1));
    let (answer, waited) = timed(ask(&standin, recording.target())).await;
    assert_same(&recording, &answer);
    assert!((3..4).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn lists_are_as_recorded_and_cut_as_go_cuts_them() {
    for (name, revision) in [
        ("list-services-page1", 293),
        ("list-services-page2", 293),
        // The second page is as of the first, whatever was written since.
        ("list-services-page2", 305),
        ("list-endpointslices", 294),
        // From the cache, which has not heard of anything since its last namespace.
        ("list-namespaces", 294),
        ("list-pods", 294),
    ] {
        let recording = Recording::read(name);
        let answer = ask(&at(revision, 1), recording.target()).await;
        assert_same(&recording, &answer);
        let sizes: Vec<_> = answer.chunks.iter().map(Vec::len).collect();
        let (last, full) = sizes.split_last().unwrap();
        assert!(full.iter().all(|size| *size >= 2_048), "{name}: {sizes:?}");
        assert!(sizes.contains(&2_048) && *last > 0, "{name}: {sizes:?}");
    }
}

/// A watch as recorded: the body, and one chunk for each event.
fn assert_watch(recording: &Recording, answer: &Answer) {
    assert_same(recording, answer);
    let chunks: Vec<_> = answer.chunks.iter().map(|chunk| std::str::from_utf8(chunk).unwrap()).collect();
    assert_eq!(chunks, recording.lines(), "each event is one chunk");
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_an_old_version_is_as_recorded() {
    let recording = Recording::read("watch-from-old-rv");
    for seed in 0..SEEDS {
        let (answer, took) = timed(ask(&at(317, seed), recording.target())).await;
        assert!((3..4).contains(&took.as_secs()), "{took:?}");
        if answer.body() == recording.body {
            return assert_watch(&recording, &answer);
        }
    }
    panic!("no seed leads to two bookmarks");
}

#[tokio::test(start_paused = true)]
async fn live_watches_are_as_recorded() {
    for (name, reached) in [("watch-services-live", 317), ("watch-endpointslices-live", 314)] {
        let recording = Recording::read(name);
        let mut found = false;
        for seed in 0..SEEDS {
            let standin = at(296, seed);
            let stream = open(&standin, recording.target()).await;
            // As it was: a second later a service is created, changed, deleted, another annotated.
            sleep(Duration::from_secs(1)).await;
            replay_until(standin.etcd(), 305);
            sleep(Duration::from_secs(20)).await;
            standin.etcd().advance_to(reached);
            let (answer, took) = timed(stream.finish()).await;
            assert!((48..=49).contains(&took.as_secs()), "{took:?}");
            if answer.body() == recording.body {
                assert_watch(&recording, &answer);
                found = true;
                break;
            }
        }
        assert!(found, "{name}: no seed leads to the recorded bookmarks");
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_is_as_recorded() {
    let (recording, standin) = (Recording::read("watchlist-services"), at(305, 1));
    let answer = ask(&standin, recording.target()).await;
    assert_head(&recording, &answer);
    let chunks: Vec<_> = answer.chunks.iter().map(|chunk| std::str::from_utf8(chunk).unwrap()).collect();
    let (recorded, later) = chunks.split_at(recording.lines().len());
    assert_eq!(recorded, recording.lines());
    // Whoever recorded did not wait for the bookmarks before the timeout.
    assert!(later.iter().all(|line| line.contains("BOOKMARK") && !line.contains("initial-events-end")));
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_future_version_stays_silent_as_recorded() {
    let (recording, standin) = (Recording::read("watch-future-rv"), at(296, 1));
    let (answer, took) = timed(ask(&standin, recording.target())).await;
    assert_watch(&recording, &answer);
    assert_eq!(took.as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_version_that_is_not_kept_ends_as_recorded() {
    let (recording, standin) = (Recording::read("watch-expired"), at(416, 1));
    standin.etcd().forget_history();
    assert_watch(&recording, &ask(&standin, recording.target()).await);
}

#[test]
fn every_recording_is_replayed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/standin/recordings");
    let source = include_str!("conformance.rs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(source.contains(&format!("\"{name}\"")), "{name} is not replayed");
    }
}
