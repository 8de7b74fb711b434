//! Every fault of single requests, of the cache, and of watches.

use std::time::Duration;

use outlast::drill::standin::access::{Rights, USER};
use outlast::drill::standin::faults::{Fault, Refusal, Rule};
use outlast::drill::standin::requests::{ListKind, Verb};
use outlast::zone::object::Kind;
use tokio::time::{sleep, timeout};

use super::client::{End, ask, ask_as, open, timed};
use super::cluster::{put, with_services};

const SERVICES: &str = "/api/v1/services";
const CACHED: &str = "/api/v1/services?resourceVersion=0";
const WATCH: &str = "/api/v1/services?watch=true&timeoutSeconds=300";

#[tokio::test(start_paused = true)]
async fn refusals_are_statuses_in_a_real_servers_words() {
    for (refusal, code, reason) in [
        (Refusal::Unauthorized, 401, "Unauthorized"),
        (Refusal::Forbidden, 403, "Forbidden"),
        (Refusal::Gone, 410, "Expired"),
        (Refusal::TooManyRequests(7), 429, "TooManyRequests"),
        (Refusal::Internal, 500, "InternalError"),
        (Refusal::Unavailable, 503, "ServiceUnavailable"),
        (Refusal::Timeout, 504, "Timeout"),
    ] {
        let standin = with_services(1);
        standin.faults().add(Rule::new(Fault::Answer(refusal)).times(1));
        let answer = ask(&standin, SERVICES).await;
        assert_eq!((answer.code(), answer.json()["reason"].as_str()), (code, Some(reason)));
        assert_eq!(answer.header("Retry-After"), (code == 429).then_some("7"));
        assert_eq!(ask(&standin, SERVICES).await.code(), 200, "once is once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_a_version_that_is_gone_is_told_so_by_an_event() {
    let standin = with_services(1);
    standin.faults().add(Rule::new(Fault::Answer(Refusal::Gone)).on(Verb::Watch));
    let answer = ask(&standin, WATCH).await;
    assert_eq!((answer.code(), answer.events()), (200, vec!["ERROR 410".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn rules_befall_what_they_name_and_nothing_else() {
    let standin = with_services(3);
    let other = standin.access().set_user("other", Rights::READ_ALL);
    let fail =
        |rule: fn(Rule) -> Rule| standin.faults().add(rule(Rule::new(Fault::Answer(Refusal::Internal))));
    let targets = [
        SERVICES,
        "/api/v1/services?limit=1",
        "/api/v1/pods",
        "/api/v1/pods?watch=1&timeoutSeconds=1",
        "/version",
    ];
    for (name, rule, want) in [
        ("lists", (|r| r.on(Verb::List)) as fn(Rule) -> Rule, [500, 500, 500, 200, 200]),
        ("small lists", |r| r.on_lists(ListKind::Small), [200, 500, 200, 200, 200]),
        ("watches", |r| r.on(Verb::Watch), [200, 200, 200, 500, 200]),
        ("a kind", |r| r.of(Kind::Pod), [200, 200, 500, 500, 200]),
        ("a kind's lists", |r| r.of(Kind::Pod).on(Verb::List), [200, 200, 500, 200, 200]),
        ("a user", |r| r.from("other"), [200; 5]),
        ("everything", |r| r, [500; 5]),
    ] {
        let id = fail(rule);
        for (target, want) in targets.iter().zip(want) {
            assert_eq!(ask(&standin, target).await.code(), want, "{name}: {target}");
        }
        if name == "a user" {
            assert_eq!(ask_as(&standin, SERVICES, Some(&other)).await.code(), 500);
        }
        standin.faults().remove(id);
    }
    assert_eq!(ask(&standin, SERVICES).await.code(), 200, "removed");
}

#[tokio::test(start_paused = true)]
async fn a_hang_says_nothing_and_is_counted_without_a_status() {
    let standin = with_services(1);
    standin.faults().add(Rule::new(Fault::Hang).times(1));
    assert!(timeout(Duration::from_secs(3_600), ask(&standin, SERVICES)).await.is_err());
    assert_eq!(standin.requests().count(|asked| asked.status == 0), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drip_is_the_right_answer_slowly() {
    let standin = with_services(2);
    let right = ask(&standin, SERVICES).await;
    let every = Duration::from_secs(1);
    standin.faults().add(Rule::new(Fault::Drip { bytes: 100, every }).times(1));
    let (slow, took) = timed(ask(&standin, SERVICES)).await;
    assert_eq!((slow.body(), slow.end), (right.body(), End::Clean));
    assert_eq!(took.as_secs(), right.body().len().div_ceil(100) as u64);
}

#[tokio::test(start_paused = true)]
async fn a_cut_breaks_off_within_an_object() {
    let standin = with_services(30);
    let right = ask(&standin, SERVICES).await;
    for after in [0, 100, 3_000] {
        standin.faults().add(Rule::new(Fault::Cut { after }).times(1));
        let cut = ask(&standin, SERVICES).await;
        assert_eq!(cut.end, End::Broken, "{after}");
        assert_eq!(cut.body(), right.body()[..after], "{after}: what comes is right, and no more");
    }
}

#[tokio::test(start_paused = true)]
async fn empty_lists_have_the_right_version() {
    let standin = with_services(2);
    standin.faults().add(Rule::new(Fault::Empty));
    let list = ask(&standin, SERVICES).await;
    assert_eq!((list.names().len(), list.version()), (0, 3));
    let stream = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = open(&standin, &format!("{WATCH}{stream}")).await;
    assert_eq!(watch.event().await, "BOOKMARK end 3");
}

#[tokio::test(start_paused = true)]
async fn garbage_is_not_json() {
    let standin = with_services(1);
    standin.faults().add(Rule::new(Fault::Garbage));
    let answer = ask(&standin, SERVICES).await;
    assert_eq!(answer.code(), 200);
    assert!(serde_json::from_slice::<serde_json::Value>(&answer.chunks.concat()).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lagging_cache_shows_the_past_and_consistent_lists_do_not() {
    let standin = with_services(1);
    sleep(Duration::from_secs(60)).await;
    let mut watch = open(&standin, &format!("{WATCH}&resourceVersion=2")).await;
    standin.faults().lag(Duration::from_secs(30));
    put(&standin, "a/new");
    assert_eq!(ask(&standin, CACHED).await.version(), 2);
    assert_eq!(ask(&standin, SERVICES).await.version(), 3);
    let at_least = ask(&standin, "/api/v1/services?resourceVersion=3").await;
    assert_eq!(at_least.code(), 504, "the cache is not there yet");
    let (event, waited) = timed(watch.event_within(Duration::from_secs(60))).await;
    assert_eq!(event, "ADDED a/new 3");
    // Three of the thirty seconds went by with the list that waited.
    assert!((26..=27).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!(ask(&standin, CACHED).await.version(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lagging_cache_goes_back_in_time() {
    let standin = with_services(1);
    sleep(Duration::from_secs(5)).await;
    put(&standin, "a/new");
    assert_eq!(ask(&standin, CACHED).await.version(), 3);
    standin.faults().lag(Duration::from_secs(2));
    assert_eq!(ask(&standin, CACHED).await.names(), ["a/s0"]);
    standin.faults().lag(Duration::ZERO);
    assert_eq!(ask(&standin, CACHED).await.version(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_cache_stays_until_it_thaws() {
    let standin = with_services(1);
    let mut watch = open(&standin, &format!("{WATCH}&resourceVersion=2&allowWatchBookmarks=true")).await;
    standin.faults().freeze();
    put(&standin, "a/new");
    assert_eq!(watch.event_within(Duration::from_secs(70)).await, "BOOKMARK - 2");
    assert_eq!(ask(&standin, CACHED).await.version(), 2);
    standin.faults().thaw();
    assert_eq!(watch.event().await, "ADDED a/new 3");
}

#[tokio::test(start_paused = true)]
async fn silenced_watches_say_nothing_and_do_not_end() {
    let standin = with_services(1);
    let mut dead = open(&standin, &format!("{WATCH}&resourceVersion=2&allowWatchBookmarks=true")).await;
    assert_eq!(dead.event().await, "-");
    standin.faults().silence_watches();
    put(&standin, "a/new");
    assert_eq!(dead.event_within(Duration::from_secs(3_600)).await, "-");
    assert_eq!(standin.requests().open_watches(Kind::Service), 1);
    let mut fresh = open(&standin, &format!("{WATCH}&resourceVersion=2")).await;
    assert_eq!(fresh.event().await, "ADDED a/new 3");
}

#[tokio::test(start_paused = true)]
async fn skipped_events_are_in_the_history_and_later_ones_come() {
    let standin = with_services(1);
    let mut watch = open(&standin, &format!("{WATCH}&resourceVersion=2&allowWatchBookmarks=true")).await;
    assert_eq!(watch.event().await, "-");
    standin.faults().skip_events(2);
    for key in ["a/x", "a/y", "a/z"] {
        put(&standin, key);
    }
    assert_eq!(watch.event().await, "ADDED a/z 5");
    assert_eq!(watch.event_within(Duration::from_secs(70)).await, "BOOKMARK - 5");
    let again = ask(&standin, "/api/v1/services?watch=1&resourceVersion=2&timeoutSeconds=1").await;
    assert_eq!(again.events().len(), 3);
    assert_eq!(ask(&standin, SERVICES).await.names().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn rights_and_tokens_change_while_it_runs() {
    let standin = with_services(1);
    let token = standin.token(USER).unwrap();
    standin.access().set_user(USER, Rights::READ_ALL.deny(Verb::Watch, Kind::Service));
    assert_eq!(ask(&standin, WATCH).await.code(), 403);
    assert_eq!(ask(&standin, SERVICES).await.code(), 200);
    standin.access().revoke(USER);
    assert_eq!(ask_as(&standin, SERVICES, Some(&token)).await.code(), 401);
    let fresh = standin.access().renew_token(USER).unwrap();
    assert_eq!(ask_as(&standin, SERVICES, Some(&fresh)).await.code(), 200);
}

#[tokio::test(start_paused = true)]
async fn every_request_is_counted_by_who_what_and_how() {
    let standin = with_services(3);
    for target in [
        SERVICES,
        CACHED,
        "/api/v1/services?limit=1",
        "/api/v1/services?watch=1&timeoutSeconds=1",
        "/api/v1/namespaces/a/services/s0",
        "/nowhere",
    ] {
        ask(&standin, target).await;
    }
    ask_as(&standin, SERVICES, None).await;
    let requests = standin.requests();
    let lists =
        |kind: ListKind| requests.count(|a| a.list == Some(kind) && a.user == USER && a.status == 200);
    assert_eq!([lists(ListKind::Consistent), lists(ListKind::Cached), lists(ListKind::Small)], [1, 1, 1]);
    assert_eq!((requests.lists(Kind::Service), requests.watches(Kind::Service), requests.total()), (3, 1, 7));
    assert_eq!(requests.count(|a| a.status == 403 && a.user == "system:anonymous" && a.agent == "test/1"), 1);
    assert_eq!(requests.count(|a| a.status == 404 && a.kind.is_none()), 1);

    let watch = open(&standin, WATCH).await;
    assert_eq!(requests.open_watches(Kind::Service), 1);
    drop(watch);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(requests.open_watches(Kind::Service), 0);
    requests.reset();
    assert_eq!(requests.total(), 0);
}
