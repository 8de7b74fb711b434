//! What a process that begins makes of its own answers, before others rely on them.

use std::fs;

use hickory_proto::op::ResponseCode;
use outlast::testkit::client::Query;

use super::node::Node;
use super::place::Place;

/// A place with a snapshot on its disk.
fn with_snapshot() -> Place {
    let place = Place::new("");
    place.publish(1);
    let node = Node::start(&place);
    node.until("data", |node| node.get("/ready").is_ok_and(|(code, _)| code == 200));
    assert_eq!(node.terminate().0, 0);
    assert_eq!(place.on_disk(), Some(1));
    place
}

/// Writes these lines into the server block.
fn with_lines(corefile: &str, lines: &str) -> String {
    corefile.replacen("kubernetes", &format!("{lines}\nkubernetes"), 1)
}

#[test]
fn a_node_whose_every_answer_is_wrong_is_not_ready_until_they_are_right() {
    let place = with_snapshot();
    let right = fs::read_to_string(place.corefile()).unwrap();
    let wrong = with_lines(&right, "template ANY ANY cluster.local {\nrcode NXDOMAIN\n}");
    fs::write(place.corefile(), wrong).unwrap();
    let node = Node::start(&place);
    node.until("what is wrong", |node| node.log().contains("answers are not as the data says"));
    assert!(node.log().contains("web.shop.svc.cluster.local. A: NXDOMAIN, not 10.0.0.1"), "{}", node.log());
    assert_eq!(node.get("/ready").unwrap(), (503, "self-check".to_owned()));
    // It answers all the same: whoever asks may have nobody else.
    assert_eq!(node.ask(&Query::a("web.shop.svc.cluster.local.")).rcode(), ResponseCode::NXDomain);
    fs::write(place.corefile(), right).unwrap();
    node.reload();
    node.until("readiness", |node| node.get("/ready").is_ok_and(|(code, _)| code == 200));
}

#[test]
fn what_a_configuration_means_to_answer_otherwise_keeps_nobody() {
    let place = with_snapshot();
    let right = fs::read_to_string(place.corefile()).unwrap();
    let selected = right.replacen("ttl 30", "ttl 30\nnamespaces elsewhere", 1);
    let lines = ["acl {\nblock\n}", "acl {\ndrop\n}", "log"].map(|lines| with_lines(&right, lines));
    for corefile in lines.into_iter().chain([selected]) {
        fs::write(place.corefile(), corefile).unwrap();
        let node = Node::start(&place);
        node.until("readiness", |node| node.get("/ready").is_ok_and(|(code, _)| code == 200));
        assert!(!node.log().contains("web.shop.svc"), "nobody asked: {}", node.log());
        assert_eq!(node.metric("coredns_dns_requests_total"), None);
        assert_eq!(node.terminate().0, 0);
    }
}
