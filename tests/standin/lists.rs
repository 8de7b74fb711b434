//! What lists and single objects are, by the rules of resourceVersion, limit, continue and selectors.

use std::time::Duration;

use outlast::drill::standin::Config;
use outlast::zone::object::Kind;
use serde_json::json;
use tokio::time::sleep;

use super::client::{ask, timed};
use super::cluster::{bare, bare_with, delete, labelled, put, with_services};

const SERVICES: &str = "/api/v1/services";

#[tokio::test(start_paused = true)]
async fn an_empty_list_has_a_length_and_no_items() {
    let answer = ask(&bare(), SERVICES).await;
    let body = "{\"kind\":\"ServiceList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"1\"},\
                \"items\":[]}\n";
    assert_eq!(answer.body(), body);
    assert_eq!(answer.header("Content-Length"), Some(body.len().to_string().as_str()));
}

#[tokio::test(start_paused = true)]
async fn lists_are_in_the_order_of_keys_within_their_namespace() {
    let standin = bare();
    // A hyphen sorts before the slash that ends a namespace.
    for key in ["b/x", "a/y", "a-b/z", "a/x"] {
        put(&standin, key);
    }
    assert_eq!(ask(&standin, SERVICES).await.names(), ["a-b/z", "a/x", "a/y", "b/x"]);
    assert_eq!(ask(&standin, "/api/v1/namespaces/a/services").await.names(), ["a/x", "a/y"]);
}

#[tokio::test(start_paused = true)]
async fn versions_say_which_state_a_list_is_of() {
    let standin = bare();
    put(&standin, "a/old");
    put(&standin, "a/new");
    delete(&standin, "a/old");
    standin.etcd().touch();
    for (name, parameters, version, names) in [
        ("unset: now", "", 5, vec!["a/new"]),
        ("0: the cache", "?resourceVersion=0", 5, vec!["a/new"]),
        ("not older than", "?resourceVersion=2&resourceVersionMatch=NotOlderThan", 5, vec!["a/new"]),
        ("not older than, by default", "?resourceVersion=2", 5, vec!["a/new"]),
        ("exact", "?resourceVersion=2&resourceVersionMatch=Exact", 2, vec!["a/old"]),
        ("exact", "?resourceVersion=3&resourceVersionMatch=Exact", 3, vec!["a/new", "a/old"]),
        ("a limit without a match is exact", "?resourceVersion=3&limit=9", 3, vec!["a/new", "a/old"]),
        ("a limit that fits", "?limit=1", 5, vec!["a/new"]),
    ] {
        let answer = ask(&standin, &format!("{SERVICES}{parameters}")).await;
        assert_eq!(
            (answer.version(), answer.names()),
            (version, names.iter().map(|n| (*n).into()).collect()),
            "{name}"
        );
        assert_eq!(answer.json()["metadata"].as_object().unwrap().len(), 1, "{name}: no continue, no count");
    }
}

#[tokio::test(start_paused = true)]
async fn the_cache_hears_of_other_writes_only_when_somebody_asks() {
    let standin = with_services(1);
    standin.etcd().touch();
    let cached = format!("{SERVICES}?resourceVersion=0");
    assert_eq!(ask(&standin, &cached).await.version(), 2);
    assert_eq!(ask(&standin, &format!("{SERVICES}?limit=1")).await.version(), 3);
    assert_eq!(ask(&standin, &cached).await.version(), 3);

    let deaf = bare_with(Config { progress: false, ..Config::default() });
    put(&deaf, "a/x");
    deaf.etcd().touch();
    assert_eq!(ask(&deaf, SERVICES).await.version(), 3);
    assert_eq!(ask(&deaf, &cached).await.version(), 2);
    assert_eq!(ask(&deaf, &format!("{SERVICES}?resourceVersion=3")).await.code(), 504);
}

#[tokio::test(start_paused = true)]
async fn pages_are_of_the_first_pages_version_and_say_what_remains() {
    let standin = with_services(5);
    let first = ask(&standin, &format!("{SERVICES}?limit=2")).await.json();
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    put(&standin, "a/s2b");
    delete(&standin, "a/s3");
    let mut token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    let mut names = Vec::new();
    for remaining in [Some(1), None] {
        let page = ask(&standin, &format!("{SERVICES}?limit=2&continue={token}")).await;
        assert_eq!(page.version(), 6);
        names.extend(page.names());
        let json = page.json();
        assert_eq!(json["metadata"]["remainingItemCount"].as_u64(), remaining);
        token = json["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(names, ["a/s2", "a/s3", "a/s4"]);
    assert_eq!(token, "");
}

#[tokio::test(start_paused = true)]
async fn the_cache_is_given_whole_whatever_the_limit() {
    let answer = ask(&with_services(5), &format!("{SERVICES}?resourceVersion=0&limit=2")).await;
    assert_eq!(answer.names().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_expired_page_offers_the_rest_as_it_is_now() {
    let standin = with_services(4);
    let first = ask(&standin, &format!("{SERVICES}?limit=2")).await.json();
    let token = first["metadata"]["continue"].as_str().unwrap();
    put(&standin, "a/s9");
    standin.etcd().compact();
    let gone = ask(&standin, &format!("{SERVICES}?limit=2&continue={token}")).await;
    let status = gone.json();
    assert_eq!((gone.code(), &status["reason"]), (410, &json!("Expired")));
    assert!(status["message"].as_str().unwrap().starts_with("The provided continue parameter is too old"));
    let rest = status["metadata"]["continue"].as_str().unwrap();
    let rest = ask(&standin, &format!("{SERVICES}?limit=9&continue={rest}")).await;
    assert_eq!((rest.names(), rest.version()), (vec!["a/s2".into(), "a/s3".into(), "a/s9".into()], 6));
}

#[tokio::test(start_paused = true)]
async fn a_namespaced_list_has_pages_too() {
    let standin = with_services(3);
    put(&standin, "b/other");
    let first = ask(&standin, "/api/v1/namespaces/a/services?limit=2").await.json();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let rest = ask(&standin, &format!("/api/v1/namespaces/a/services?limit=2&continue={token}")).await;
    assert_eq!(rest.names(), ["a/s2"]);
}

#[tokio::test(start_paused = true)]
async fn versions_that_are_not_kept_are_gone_and_future_ones_are_waited_for() {
    let standin = with_services(3);
    standin.etcd().compact();
    let old = ask(&standin, &format!("{SERVICES}?resourceVersion=2&resourceVersionMatch=Exact")).await;
    assert_eq!((old.code(), old.json()["reason"].clone()), (410, json!("Expired")));

    let writer = standin.etcd().clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(2)).await;
        writer.advance_to(50);
    });
    let target = format!("{SERVICES}?resourceVersion=50&resourceVersionMatch=NotOlderThan");
    let (answer, waited) = timed(ask(&standin, &target)).await;
    assert_eq!((answer.version(), waited.as_secs()), (50, 2));
}

#[tokio::test(start_paused = true)]
async fn history_is_bounded_by_the_number_of_events() {
    let standin = bare_with(Config { history: 3, ..Config::default() });
    for _ in 0..6 {
        put(&standin, "a/x");
    }
    // Events 5, 6, 7 are kept: what can be asked for begins before the first of them.
    let exact = |v: u64| format!("{SERVICES}?resourceVersion={v}&resourceVersionMatch=Exact");
    assert_eq!(ask(&standin, &exact(3)).await.code(), 410);
    assert_eq!(ask(&standin, &exact(4)).await.names(), ["a/x"]);
    let watch = |v: u64| format!("{SERVICES}?watch=true&resourceVersion={v}&timeoutSeconds=1");
    assert_eq!(ask(&standin, &watch(3)).await.events(), ["ERROR 410"]);
    assert_eq!(ask(&standin, &watch(4)).await.events().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn selectors_choose() {
    let standin = bare();
    for (key, tier) in [("a/x", "web"), ("a/y", "db"), ("b/x", "web")] {
        standin.etcd().put(Kind::Service, &labelled(key, json!({ "tier": tier }))).unwrap();
    }
    let pod = json!({ "metadata": { "namespace": "a", "name": "p" }, "status": { "phase": "Running" } });
    standin.etcd().put(Kind::Pod, &pod).unwrap();
    for (target, want) in [
        ("/api/v1/services?labelSelector=tier%3Dweb", vec!["a/x", "b/x"]),
        ("/api/v1/services?labelSelector=tier+in+(db),!other", vec!["a/y"]),
        ("/api/v1/services?fieldSelector=metadata.name=x", vec!["a/x", "b/x"]),
        ("/api/v1/services?fieldSelector=metadata.name==x,metadata.namespace!=a", vec!["b/x"]),
        ("/api/v1/pods?fieldSelector=status.phase!=Failed", vec!["a/p"]),
        ("/api/v1/pods?fieldSelector=status.phase!=Running", vec![]),
    ] {
        assert_eq!(ask(&standin, target).await.names(), want, "{target}");
    }
    // What remains is not counted where there is a selector.
    let page = ask(&standin, "/api/v1/services?labelSelector=tier%3Dweb&limit=1").await.json();
    assert!(page["metadata"]["continue"].is_string() && page["metadata"]["remainingItemCount"].is_null());
}

#[tokio::test(start_paused = true)]
async fn single_objects_have_kind_and_version() {
    let standin = with_services(1);
    let found = ask(&standin, "/api/v1/namespaces/a/services/s0").await;
    assert!(
        found.body().starts_with("{\"kind\":\"Service\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"s0\"")
    );
    let missing = ask(&standin, "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/s9").await;
    assert_eq!(
        missing.body(),
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\
         \"message\":\"endpointslices.discovery.k8s.io \\\"s9\\\" not found\",\"reason\":\"NotFound\",\
         \"details\":{\"name\":\"s9\",\"group\":\"discovery.k8s.io\",\"kind\":\"endpointslices\"},\"code\":404}\n"
    );
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused() {
    let standin = with_services(1);
    for (request, code, word) in [
        ("GET /nowhere", 404, "could not find"),
        ("GET /api/v1/nodes", 404, "could not find"),
        ("DELETE /api/v1/services", 405, "does not allow this method"),
        ("POST /version", 405, "does not allow this method"),
        ("GET /api/v1/services?resourceVersion=x", 400, "Invalid value"),
        ("GET /api/v1/services?limit=x", 400, "ParseInt"),
        ("GET /api/v1/services?labelSelector=a%20b", 400, "label"),
        ("GET /api/v1/services?fieldSelector=spec.x%3D1", 400, "field label not supported"),
        ("GET /api/v1/services?fieldSelector=x", 400, "invalid selector"),
        ("GET /api/v1/services?resourceVersionMatch=Exact", 422, "unless resourceVersion is provided"),
        ("GET /api/v1/services?resourceVersion=1&resourceVersionMatch=odd", 422, "Unsupported value"),
        (
            "GET /api/v1/services?resourceVersion=0&resourceVersionMatch=Exact",
            422,
            "forbidden for resourceVersion",
        ),
        ("GET /api/v1/services?sendInitialEvents=true", 422, "forbidden for list"),
    ] {
        let answer = ask(&standin, request).await;
        let status = answer.json();
        assert_eq!((answer.code(), &status["kind"]), (code, &json!("Status")), "{request}");
        assert!(status["message"].as_str().unwrap().contains(word), "{request}: {status}");
    }
}
