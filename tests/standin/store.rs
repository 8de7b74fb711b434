//! The store below the server: what befalls it as a whole, and what it remembers for oracles.

use std::time::Duration;

use outlast::drill::standin::etcd::What;
use outlast::drill::standin::{Config, Standin};
use outlast::zone::object::Kind;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::client::{ask, open};
use super::cluster::{bare, delete, put, service, with_services};

const SERVICES: &str = "/api/v1/services";

fn watch_from(version: u64) -> String {
    format!("{SERVICES}?watch=1&resourceVersion={version}&timeoutSeconds=1")
}

#[tokio::test(start_paused = true)]
async fn a_write_makes_up_what_is_missing_and_keeps_what_is_given() {
    let standin = bare();
    put(&standin, "a/x");
    let first = standin.etcd().get(Kind::Service, "a", "x").unwrap().value();
    put(&standin, "a/x");
    let second = standin.etcd().get(Kind::Service, "a", "x").unwrap().value();
    assert_eq!(first["metadata"]["uid"], second["metadata"]["uid"], "the same object");
    assert_eq!(
        (&first["metadata"]["resourceVersion"], &second["metadata"]["resourceVersion"]),
        (&json!("2"), &json!("3"))
    );

    delete(&standin, "a/x");
    put(&standin, "a/x");
    let third = standin.etcd().get(Kind::Service, "a", "x").unwrap().value();
    assert_ne!(first["metadata"]["uid"], third["metadata"]["uid"], "another object of the same name");

    let given = r#"{"kind":"Service","apiVersion":"v1","spec":{"z":1,"a":2},"metadata":{"namespace":"a","name":"y","uid":"u-1"}}"#;
    standin.etcd().put_raw(Kind::Service, given).unwrap();
    let text = standin.etcd().get(Kind::Service, "a", "y").unwrap().text().to_owned();
    assert!(text.starts_with(
        r#"{"metadata":{"name":"y","namespace":"a","uid":"u-1","resourceVersion":"6","creationTimestamp":"#
    ));
    assert!(text.ends_with(r#"},"spec":{"z":1,"a":2}}"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_object_is_not_stored() {
    let standin = bare();
    for (text, problem) in [
        ("", "EOF"),
        ("[]", "expected a JSON object"),
        ("{}", "no metadata"),
        (r#"{"metadata":{"namespace":"a"}}"#, "name is missing"),
        (r#"{"metadata":{"name":"a"}}"#, "namespace is missing"),
        (r#"{"metadata":{"name":"a/b","namespace":"c"}}"#, "has a `/`"),
    ] {
        let error = standin.etcd().put_raw(Kind::Service, text).unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
    assert_eq!((standin.etcd().revision(), standin.etcd().len(Kind::Service)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_restore_goes_back_once() {
    let standin = with_services(1);
    let backup = standin.etcd().save();
    put(&standin, "a/later");
    let mut watch = open(&standin, &format!("{SERVICES}?watch=1&resourceVersion=3")).await;
    standin.etcd().restore(&backup);
    assert_eq!(watch.event().await, "broken");
    let list = ask(&standin, SERVICES).await;
    assert_eq!((list.version(), list.names()), (2, vec!["a/s0".into()]));
    assert_eq!(ask(&standin, &watch_from(2)).await.events().len(), 0);
    assert_eq!(ask(&standin, &watch_from(1)).await.events(), ["ERROR 410"]);
    assert_eq!(put(&standin, "a/other"), 3, "the same revision, another object");
}

#[tokio::test(start_paused = true)]
async fn a_bumped_restore_goes_on() {
    let standin = with_services(1);
    let backup = standin.etcd().save();
    put(&standin, "a/later");
    standin.etcd().restore_bumped(&backup, 1_000);
    let list = ask(&standin, SERVICES).await;
    assert_eq!((list.version(), list.names()), (1_003, vec!["a/s0".into()]));
    assert_eq!(list.json()["items"][0]["metadata"]["resourceVersion"], "2");
    assert_eq!(ask(&standin, &watch_from(3)).await.events(), ["ERROR 410"]);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_server_has_no_history() {
    let standin = with_services(2);
    let mut watch = open(&standin, &format!("{SERVICES}?watch=1&resourceVersion=3")).await;
    standin.etcd().forget_history();
    assert_eq!(watch.event().await, "broken");
    assert_eq!(ask(&standin, &watch_from(2)).await.events(), ["ERROR 410"]);
    assert_eq!(ask(&standin, &watch_from(3)).await.events().len(), 0);
    assert_eq!(ask(&standin, SERVICES).await.names().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn another_cluster_has_another_uid() {
    let standin = Standin::in_memory(Config::default()).unwrap();
    let before = standin.etcd().cluster_uid();
    standin.etcd().set_cluster_uid("another");
    assert_ne!(before, "another");
    let system = ask(&standin, "/api/v1/namespaces/kube-system").await.json();
    assert_eq!(system["metadata"]["uid"], "another");
    assert_eq!(standin.etcd().len(Kind::Namespace), 4);
}

#[tokio::test(start_paused = true)]
async fn the_history_knows_who_was_what_and_when() {
    let (start, standin) = (Instant::now(), bare());
    put(&standin, "a/x");
    sleep(Duration::from_secs(5)).await;
    delete(&standin, "a/x");
    standin.etcd().touch();
    let backup = standin.etcd().save();
    standin.etcd().restore(&backup);
    let told: Vec<_> = standin
        .etcd()
        .history()
        .iter()
        .map(|write| {
            let what = match &write.what {
                What::Put(kind, object) => format!("put {kind} {}", object.key()),
                What::Deleted(kind, key) => format!("deleted {kind} {key}"),
                What::Other => "other".to_owned(),
                What::Replaced(backup) => format!("replaced by {}", backup.revision()),
            };
            (write.revision, write.at.duration_since(start).as_secs(), what)
        })
        .collect();
    let want =
        [(2, 0, "put Service a/x"), (3, 5, "deleted Service a/x"), (4, 5, "other"), (4, 5, "replaced by 4")];
    assert_eq!(told, want.map(|(revision, at, what)| (revision, at, what.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn replayed_objects_keep_their_versions() {
    let standin = bare();
    let mut object = service("a/x");
    object["metadata"]["resourceVersion"] = json!("7");
    assert_eq!(standin.etcd().replay(Kind::Service, &object.to_string()).unwrap(), 7);
    let error = standin.etcd().replay(Kind::Service, &object.to_string()).unwrap_err();
    assert!(error.to_string().contains("the store is at 7 already"), "{error}");
    assert_eq!(standin.etcd().touch(), 8);
}
