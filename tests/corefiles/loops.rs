//! The classic mistake: `/etc/resolv.conf` names the node itself.

use hickory_proto::op::ResponseCode;
use outlast::testkit::client::Query;

use super::world::{Place, World, can_be};

/// It is said aloud, names outside fail at once, cluster names are answered all the time; and it is over when
/// `resolv.conf` is right.
#[test]
fn a_resolv_conf_that_leads_back() {
    const PLACE: &Place = &Place {
        file: "kubeadm.corefile",
        at: "127.0.0.1:53",
        local: &[],
        metrics: "127.0.0.1:9153",
        files: &[],
    };
    if !can_be() {
        return;
    }
    let world = World::with_resolv_conf(PLACE, "127.0.0.1");
    let service = Query::a("web.shop.svc.cluster.local.");
    world.ask_until("data", &service, |answer| !answer.answers().is_empty());
    world.node.wait_for("that the loop is reported", |node| {
        let said = node.output();
        let line = said.lines().find(|line| line.contains("Loop ("))?;
        assert!(line.contains("detected for zone \".\""), "{line}");
        Some(())
    });
    for number in 0..5 {
        let outside = world.ask(&Query::a(&format!("n{number}.cold.example.")));
        assert_eq!(outside.rcode(), ResponseCode::ServFail);
        assert_eq!(world.ask(&service).answers().len(), 1, "cluster names are answered");
    }
    assert_eq!(world.metric("outlast_loop_detected", ""), 1.0);
    world.set_upstream();
    world.replace(&format!("{}# resolv.conf is right now\nnew.example:53 {{\n}}\n", world.corefile()));
    world.reload();
    let cured = world.ask_until("the cure", &Query::a("www.outside.example."), |answer| {
        answer.rcode() == ResponseCode::NoError
    });
    assert!(cured.answers()[0].ends_with("192.0.2.80"), "{:?}", cured.answers());
}
