//! What watches tell: where they begin, what they see, bookmarks, streaming lists, their end.

use std::time::Duration;

use outlast::drill::standin::{Config, StreamingLists};
use outlast::zone::object::Kind;
use serde_json::json;
use tokio::time::sleep;

use super::client::{ask, open, timed};
use super::cluster::{bare, bare_with, delete, labelled, put, with_services};

const WATCH: &str = "/api/v1/services?watch=true";
const STREAM: &str = "/api/v1/services?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

#[tokio::test(start_paused = true)]
async fn a_watch_begins_where_its_version_says() {
    let standin = with_services(2);
    delete(&standin, "a/s0");
    for (name, version, want) in [
        ("unset: what is there now", "", vec!["ADDED a/s1 3"]),
        ("0: what the cache has", "0", vec!["ADDED a/s1 3"]),
        ("a version: what came after", "2", vec!["ADDED a/s1 3", "DELETED a/s0 4"]),
        ("the newest: nothing", "4", vec![]),
    ] {
        let target = format!("{WATCH}&resourceVersion={version}&timeoutSeconds=1");
        assert_eq!(ask(&standin, &target).await.events(), want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_come_as_they_are_written_and_a_deletion_has_its_own_version() {
    let standin = bare();
    let mut watch = open(&standin, WATCH).await;
    put(&standin, "a/x");
    assert_eq!(watch.event().await, "ADDED a/x 2");
    put(&standin, "a/x");
    standin.etcd().touch();
    delete(&standin, "a/x");
    put(&standin, "a/x");
    for want in ["MODIFIED a/x 3", "DELETED a/x 5", "ADDED a/x 6", "-"] {
        assert_eq!(watch.event().await, want);
    }
}

#[tokio::test(start_paused = true)]
async fn other_kinds_and_namespaces_are_not_seen() {
    let standin = bare();
    let mut watch = open(&standin, "/api/v1/namespaces/a/services?watch=true").await;
    let pod = json!({ "metadata": { "namespace": "a", "name": "p" } });
    standin.etcd().put(Kind::Pod, &pod).unwrap();
    put(&standin, "b/x");
    put(&standin, "a/x");
    assert_eq!(watch.event().await, "ADDED a/x 4");
}

#[tokio::test(start_paused = true)]
async fn what_begins_to_match_is_added_and_what_stops_is_deleted() {
    let standin = bare();
    let set = |tier: &str| {
        standin.etcd().put(Kind::Service, &labelled("a/x", json!({ "tier": tier }))).unwrap();
    };
    set("db");
    let mut watch = open(&standin, &format!("{WATCH}&resourceVersion=2&labelSelector=tier%3Dweb")).await;
    for tier in ["web", "web", "db", "web"] {
        set(tier);
    }
    delete(&standin, "a/x");
    for want in ["ADDED a/x 3", "MODIFIED a/x 4", "DELETED a/x 5", "ADDED a/x 6", "DELETED a/x 7"] {
        assert_eq!(watch.event().await, want);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_its_time_is_up() {
    let standin = bare();
    let (answer, took) = timed(ask(&standin, &format!("{WATCH}&timeoutSeconds=7"))).await;
    assert_eq!((answer.events().len(), took.as_secs()), (0, 7));
    let (_, took) = timed(ask(&standin, WATCH)).await;
    assert!((1_800..=3_600).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn bookmarks_carry_what_the_cache_has_reached() {
    let standin = with_services(1);
    let target = format!("{WATCH}&resourceVersion=2&allowWatchBookmarks=true");
    let mut watch = open(&standin, &target).await;
    standin.etcd().touch();
    let (bookmark, waited) = timed(watch.event_within(Duration::from_secs(70))).await;
    assert_eq!(bookmark, "BOOKMARK - 3");
    assert!((58..=62).contains(&waited.as_secs()), "{waited:?}");

    let mut plain = open(&standin, &format!("{WATCH}&resourceVersion=2")).await;
    assert_eq!(plain.event_within(Duration::from_secs(200)).await, "-");
}

#[tokio::test(start_paused = true)]
async fn bookmarks_over_an_old_etcd_move_with_events_only() {
    let standin = bare_with(Config { progress: false, ..Config::default() });
    put(&standin, "a/x");
    let target = format!("{WATCH}&resourceVersion=2&allowWatchBookmarks=true&timeoutSeconds=120");
    let mut watch = open(&standin, &target).await;
    standin.etcd().advance_to(100);
    assert_eq!(watch.event_within(Duration::from_secs(70)).await, "BOOKMARK - 2");
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_is_the_state_its_end_and_what_comes_then() {
    let standin = with_services(2);
    standin.etcd().touch();
    let mut stream = open(&standin, &format!("{STREAM}&allowWatchBookmarks=true")).await;
    for want in ["ADDED a/s0 2", "ADDED a/s1 3", "BOOKMARK end 4", "-"] {
        assert_eq!(stream.event().await, want);
    }
    put(&standin, "a/s1");
    assert_eq!(stream.event().await, "MODIFIED a/s1 5");
    let without_bookmarks = ask(&standin, &format!("{STREAM}&timeoutSeconds=9")).await;
    assert_eq!(without_bookmarks.events(), ["ADDED a/s0 2", "ADDED a/s1 5"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_begins_with_the_state_is_a_streaming_list_where_there_are_any() {
    let target = format!("{WATCH}&allowWatchBookmarks=true&timeoutSeconds=1");
    for (streaming_lists, want) in [
        (StreamingLists::On, vec!["ADDED a/x 2", "BOOKMARK end 2"]),
        (StreamingLists::Off, vec!["ADDED a/x 2"]),
    ] {
        let standin = bare_with(Config { streaming_lists, ..Config::default() });
        put(&standin, "a/x");
        assert_eq!(ask(&standin, &target).await.events(), want, "{streaming_lists:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_of_a_future_version_ends_when_that_is_reached() {
    let standin = with_services(1);
    let target = format!("{STREAM}&allowWatchBookmarks=true&resourceVersion=9");
    let mut stream = open(&standin, &target).await;
    for want in ["ADDED a/s0 2", "-"] {
        assert_eq!(stream.event_within(Duration::from_secs(100)).await, want);
    }
    standin.etcd().advance_to(10);
    assert_eq!(stream.event().await, "BOOKMARK end 10");
}

#[tokio::test(start_paused = true)]
async fn streaming_lists_can_be_missing_in_two_ways() {
    let off = bare_with(Config { streaming_lists: StreamingLists::Off, ..Config::default() });
    let answer = ask(&off, STREAM).await;
    let status = answer.json();
    assert_eq!((answer.code(), &status["reason"]), (422, &json!("Invalid")));
    assert_eq!(status["details"]["causes"][0]["field"], "sendInitialEvents");
    assert_eq!(
        status["message"],
        "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden \
         for watch unless the WatchList feature gate is enabled"
    );
    let old = bare_with(Config { streaming_lists: StreamingLists::OldEtcd, ..Config::default() });
    let answer = ask(&old, &format!("{STREAM}&allowWatchBookmarks=true")).await;
    assert_eq!((answer.code(), answer.events()), (200, vec!["ERROR 500".to_owned()]));
    assert!(answer.body().contains("RequestWatchProgress"));
}

#[tokio::test(start_paused = true)]
async fn parameters_of_streaming_lists_have_to_go_together() {
    let standin = bare();
    for (parameters, count) in [
        ("&sendInitialEvents=true", 1),
        ("&sendInitialEvents=true&resourceVersionMatch=Exact", 2),
        ("&resourceVersionMatch=NotOlderThan", 1),
    ] {
        let answer = ask(&standin, &format!("{WATCH}{parameters}")).await;
        assert_eq!(answer.code(), 422, "{parameters}");
        assert_eq!(answer.json()["details"]["causes"].as_array().unwrap().len(), count, "{parameters}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_compaction_refuses_old_versions_and_leaves_open_watches_alone() {
    let standin = with_services(2);
    let mut watch = open(&standin, &format!("{WATCH}&resourceVersion=3")).await;
    standin.etcd().compact();
    put(&standin, "a/x");
    assert_eq!(watch.event().await, "ADDED a/x 4");
    let from = |version: u64| format!("{WATCH}&resourceVersion={version}&timeoutSeconds=1");
    assert_eq!(ask(&standin, &from(2)).await.events(), ["ERROR 410"]);
    assert_eq!(ask(&standin, &from(3)).await.events(), ["ADDED a/x 4"]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_too_slow_loses_its_watch() {
    let standin = bare_with(Config { watch_queue: 50, ..Config::default() });
    let mut watch = open(&standin, WATCH).await;
    put(&standin, "a/x");
    assert_eq!(watch.event().await, "ADDED a/x 2");
    sleep(Duration::from_secs(1)).await;
    for _ in 0..51 {
        put(&standin, "a/x");
    }
    assert_eq!(watch.event().await, "end");
    // Catching up is not being slow.
    let again = ask(&standin, &format!("{WATCH}&resourceVersion=1&timeoutSeconds=1")).await;
    assert_eq!(again.events().len(), 52);
}
