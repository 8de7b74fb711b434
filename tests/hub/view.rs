//! What an operator sees at a hub: the API server's health, audits, and the control socket.

use std::time::Duration;

use outlast::drill::standin::faults::{Fault, Network, Refusal, Rule};
use outlast::drill::standin::requests::Verb;
use outlast::ops::control::Command;
use outlast::testkit::hub::{Builder, Follower, TestHub};
use serde_json::Value;

use super::world::{PLAIN, cluster, service};

const READY: &str = "outlast_apiserver_ready";

#[tokio::test]
async fn an_audit_finds_what_every_watch_has_left_out() {
    let server = cluster().await;
    service(&server, "web", false);
    let mut builder = Builder::new(&server);
    builder.config.audit_interval = Duration::from_secs(4);
    let hub = builder.start();
    hub.state("live").await;
    server.faults().hide(server.etcd().revision() + 1);
    service(&server, "hidden", false);
    let found = "outlast_audit_differences_total{kind=\"Service\"}";
    hub.until("the audit finds it", |h| h.metric(found) == 1.0).await;
    assert!(hub.metric("outlast_hub_audits_total{outcome=\"begun\"}") >= 1.0);
    assert!(hub.metric("outlast_apiserver_lists_total{kind=\"Service\",reason=\"audit\"}") >= 1.0);
    hub.until("it is repaired", |h| h.metric("outlast_objects{kind=\"Service\"}") == 2.0).await;
}

#[tokio::test]
async fn the_api_servers_trouble_is_seen_at_the_hub() {
    let server = cluster().await;
    let hub = TestHub::live(&server).await;
    hub.until("it is ready", |h| h.metric(READY) == 1.0).await;
    let rule = server.faults().add(Rule::new(Fault::Answer(Refusal::TooManyRequests(1))).on(Verb::Other));
    hub.until("it is not ready", |h| h.metric(READY) == 0.0).await;
    assert_eq!(hub.metric("outlast_apiserver_probes_total{outcome=\"not_ready\"}"), 1.0);
    let refused = "outlast_apiserver_requests_total{verb=\"readyz\",resource=\"readyz\",code=\"429\"}";
    assert_eq!(hub.metric(refused), 1.0);
    assert!(hub.metric("outlast_apiserver_probe_seconds_count") >= 2.0);
    assert!(hub.metric("outlast_apiserver_watch_age_seconds{kind=\"Service\"}") > 0.0);
    let status = hub.order(Command::Status).await.unwrap();
    let section = section(&status, "apiserver");
    assert_eq!(section["data"]["outcome"], "not_ready");
    assert!(section["advice"][0]["text"].as_str().unwrap().contains("does not help"), "{section}");
    server.faults().remove(rule);
    hub.until("it is ready again", |h| h.metric(READY) == 1.0).await;
    server.faults().set_network(Network::Refuse);
    server.faults().cut_connections();
    let gone = "outlast_apiserver_probes_total{outcome=\"unreachable\"}";
    hub.until("it is gone", |h| h.metric(gone) >= 1.0).await;
}

fn section<'a>(status: &'a Value, title: &str) -> &'a Value {
    let sections = status["sections"].as_array().unwrap();
    sections.iter().find(|section| section["title"] == title).unwrap()
}

#[tokio::test]
async fn operators_ask_a_hub_and_order_it_about() {
    let server = cluster().await;
    service(&server, "web", false);
    let hub = TestHub::live(&server).await;
    let mut follower = Follower::fresh(hub.address, PLAIN).await;
    follower.whole().await;
    let status = hub.order(Command::Status).await.unwrap();
    assert_eq!((&status["role"], &status["stores"][0]["state"]), (&"hub".into(), &"live".into()));
    assert_eq!(section(&status, "followers")["rows"][0]["text"], "1: 1 live");
    assert_eq!(section(&status, "siblings")["rows"][0]["text"], "none known");
    assert_eq!(section(&status, "audit")["rows"][0]["text"], "none since the start, one about every 30m0s");
    assert_eq!(hub.order(Command::Ready).await.unwrap()["ready"], true);
    let rollback = Command::Rollback { generation: 1, for_s: None, zone: None };
    let refused = hub.order(rollback).await.unwrap_err();
    assert!(refused.message.contains("not rolled back"), "{refused:?}");
    let lookup = Command::Lookup { name: "web".to_owned(), kind: "A".to_owned() };
    assert!(hub.order(lookup).await.is_err());
    let frozen = hub.order(Command::Freeze { for_s: Some(60), zone: None }).await.unwrap();
    assert_eq!(frozen[0]["outcome"], "frozen");
    assert_eq!(follower.heartbeat(1).await.state, outlast::feed::frame::State::Frozen);
    let thawed = hub.order(Command::Thaw { zone: None }).await.unwrap();
    assert_eq!(thawed[0]["outcome"], "thawed");
    assert_eq!(follower.heartbeat(2).await.state, outlast::feed::frame::State::Live);
}
