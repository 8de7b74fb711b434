//! Addresses come and go; connections stay.

use outlast::testkit::client::{Client, Query};
use outlast::testkit::node::TestNode;
use outlast::testkit::upstream::{Behaviour, FakeUpstream};
use tokio::time::{Duration, timeout};

fn corefile(bind: &str, forward: &str) -> String {
    format!(".:0 {{\n bind {bind}\n forward . {forward}\n}}\n")
}

#[tokio::test]
async fn addresses_are_added_and_removed_and_those_that_stay_keep_their_connections() {
    let upstream = FakeUpstream::start("www.test. 60 A 192.0.2.1").await;
    let upstream = upstream.addr().to_string();
    let mut node = TestNode::start(&corefile("127.0.0.1", &upstream));
    let [first] = *node.addresses() else { panic!("{:?}", node.addresses()) };
    let query = Query::a("www.test.");
    let mut connection = node.client().connect().await.unwrap();
    connection.pipeline(std::slice::from_ref(&query)).await.unwrap();

    node.reload(&corefile("127.0.0.2 127.0.0.1", &upstream)).await.unwrap();
    let [stays, second] = *node.addresses() else { panic!("{:?}", node.addresses()) };
    assert_eq!(stays, first);
    let mut leaving = Client::new(second).connect().await.unwrap();
    assert_eq!(leaving.pipeline(std::slice::from_ref(&query)).await.unwrap()[0].answers().len(), 1);
    Client::new(second).udp(&query).await.unwrap();
    connection.pipeline(std::slice::from_ref(&query)).await.unwrap();

    node.reload(&corefile("127.0.0.1", &upstream)).await.unwrap();
    assert_eq!(node.addresses(), [first]);
    connection.pipeline(std::slice::from_ref(&query)).await.unwrap();
    timeout(Duration::from_secs(10), leaving.receive()).await.unwrap().unwrap_err();
    Client::new(second).connect().await.unwrap_err();
    Client::new(second).udp(&query).await.unwrap_err();
}

/// A query that waits for an upstream belongs to the configuration that it came in under, and the next one of the
/// same connection to the new one.
#[tokio::test]
async fn what_is_under_way_is_answered_by_those_who_began() {
    let old = FakeUpstream::start("www.test. 60 A 192.0.2.1\nslow.test. 60 A 192.0.2.1").await;
    let new = FakeUpstream::start("www.test. 60 A 192.0.2.2").await;
    old.set("slow.test.", Behaviour::Delay(Duration::from_millis(500)));
    let mut node = TestNode::start(&corefile("127.0.0.1", &old.addr().to_string()));
    let mut connection = node.client().connect().await.unwrap();
    connection.send(&Query::a("slow.test.").id(1)).await.unwrap();
    let client = node.client();
    let udp = tokio::spawn(async move { client.udp(&Query::a("slow.test.")).await });
    node.until("both are under way", |_| old.count("slow.test.") == 2).await;
    node.reload(&corefile("127.0.0.1", &new.addr().to_string())).await.unwrap();
    connection.send(&Query::a("www.test.").id(2)).await.unwrap();
    let answers = [connection.receive().await.unwrap(), connection.receive().await.unwrap()];
    let said: Vec<_> = answers.iter().map(|a| (a.message.metadata.id, a.answers().join(" "))).collect();
    assert_eq!(
        said,
        [(2, "www.test. 60 IN A 192.0.2.2".to_owned()), (1, "slow.test. 60 IN A 192.0.2.1".to_owned())]
    );
    assert_eq!(udp.await.unwrap().unwrap().answers(), ["slow.test. 60 IN A 192.0.2.1"]);
}

/// What plugins do at their end they do when the last query that has them ends.
#[tokio::test]
async fn plugins_end_with_the_last_query_that_has_them() {
    let upstream = FakeUpstream::start("").await;
    upstream.set("silent.test.", Behaviour::Silent);
    let text = |consolidate: &str| {
        format!(
            ".:0 {{\n bind 127.0.0.1\n errors {{\n {consolidate}\n }}\n forward . {} {{\n read_timeout 500ms\n }}\n}}\n",
            upstream.addr()
        )
    };
    let mut node = TestNode::start(&text("consolidate 1h \".*\""));
    let client = node.client();
    let query = Query::a("silent.test.");
    let asked = tokio::spawn(async move { client.udp(&query).await });
    node.until("it is under way", |_| upstream.count("silent.test.") > 0).await;
    node.reload(&text("stacktrace")).await.unwrap();
    assert!(!node.log().contains("errors like"), "{}", node.log());
    asked.await.unwrap().unwrap();
    node.logged("1 errors like '.*' occurred in last").await;
}
