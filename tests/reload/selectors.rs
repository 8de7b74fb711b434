//! A selector with a typo selects nothing, and is not taken over.

use outlast::testkit::node::TestNode;

use super::fixture::{Place, WEB_ADDRESS, block, web};

#[tokio::test]
async fn a_selector_that_would_select_nothing_of_what_is_there_is_refused_but_not_at_a_start() {
    let place = Place::new();
    let lines = |lines: &str| block(&place.kubernetes(lines));
    let mut node = TestNode::start(&lines(""));
    node.logged("cluster data is live").await;
    for typo in ["namespaces shopp", "labels app=wbe", "namespace_labels team=bule"] {
        let error = node.reload(&lines(typo)).await.expect_err(typo).to_string();
        for part in ["none of the 2 services of zone cluster.local.", "a restart takes it as it is"] {
            assert!(error.contains(part), "{typo}: {error}");
        }
        let answer = node.client().ask(&web()).await.unwrap();
        assert!(answer.answers()[0].ends_with(WEB_ADDRESS), "{typo}: what was answered is answered");
    }
    node.reload(&lines("namespaces shop")).await.unwrap();
    node.stop().await;
    // Nobody is used to anything yet.
    let mut node = TestNode::start(&lines("namespaces shopp"));
    node.logged("cluster data is").await;
    node.reload(&lines("namespaces shoppp")).await.unwrap();
    assert!(node.client().ask(&web()).await.unwrap().answers().is_empty());
}
