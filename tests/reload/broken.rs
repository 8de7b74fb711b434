//! What is broken changes nothing, and says so.

use std::net::TcpListener;

use outlast::ops::admin::Face;
use outlast::testkit::node::{Builder, TestNode};

use super::fixture::{Place, block, web};

#[tokio::test]
async fn a_broken_text_changes_nothing() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let kubernetes = place.kubernetes("");
    let faces = "health 127.0.0.1:0 {\n lameduck 7s\n }\n ready 127.0.0.1:0\n prometheus 127.0.0.1:0";
    let mut node = TestNode::start(&block(&format!("{faces}\n {kubernetes}")));
    node.state("live").await;
    let (dns, had) = (node.addresses().to_vec(), node.faces().to_vec());
    let enabled = |node: &TestNode| node.scrape().matches("coredns_plugin_enabled{").count();
    let plugins = enabled(&node);
    assert!(plugins >= 2);
    let elsewhere = format!(
        "kubernetes cluster.local {{\n source file {}\n snapshot {}\n }}",
        place.path("cluster.json").display(),
        place.path("other-snapshots").display()
    );
    for (name, text, want) in [
        ("an unknown directive", block("frobnicate"), "Corefile:3 - Error during parsing: Unknown directive"),
        ("an unknown option", block(&place.kubernetes("flavour sweet")), "Corefile:6 - Error during parsing"),
        ("a file that was emptied", String::new(), "there is no server block"),
        ("a brace too few", "(snippet) {\n errors\n".to_owned(), "Corefile:"),
        ("a file that is not there", block("import /nonexistent/file"), "Corefile:3 - Error during parsing"),
        ("upstreams that are none", block("forward . /nonexistent"), "Corefile:3 - Error during parsing"),
        (
            "an address that nobody has",
            format!(".:0 {{\n bind 127.0.0.1 192.0.2.1\n {elsewhere}\n}}\n"),
            "cannot listen on tcp 192.0.2.1:0",
        ),
        (
            "a face whose address is taken, beside one that is free",
            block(&format!("health 127.0.0.3:0\n prometheus {taken}\n {elsewhere}")),
            "another process listens there",
        ),
    ] {
        let error = node.reload(&text).await.map(drop).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(want), "{name}: {error}");
        assert!(error.matches("os error").count() <= 1, "{name}: the cause is said once: {error}");
        assert_eq!(node.addresses(), dns, "{name}");
        assert_eq!(node.faces(), had, "{name}");
        assert_eq!(enabled(&node), plugins, "{name}");
        for (face, address) in node.faces().to_vec() {
            let path = face.path();
            let status =
                tokio::task::spawn_blocking(move || super::files::status(address, path)).await.unwrap();
            assert_eq!(status, 200, "{name}: {path}");
        }
        let answer = node.client().ask(&web()).await.unwrap();
        assert_eq!((answer.answers().len(), answer.ede()), (1, vec![]), "{name}");
    }
    // Neither did it leave anything behind: the same node takes a text that is right.
    node.reload(&block(&format!("{faces}\n {kubernetes}\n loadbalance"))).await.unwrap();
    assert_eq!(enabled(&node), plugins + 1);
    assert_eq!(node.addresses(), dns);
}

/// Metrics of the runtimes, and who is waited for.
#[tokio::test]
async fn what_follows_the_configuration_follows_it() {
    let place = Place::new();
    let kubernetes = place.kubernetes("");
    let mut node = Builder::default().start(&block(&format!("prometheus 127.0.0.1:0\n {kubernetes}")));
    node.state("live").await;
    assert!(node.metric("go_goroutines").unwrap_or(0.0) < 1.0);
    node.reload(&block(&format!("prometheus 127.0.0.1:0 {{\n runtime_metrics\n }}\n {kubernetes}")))
        .await
        .unwrap();
    assert!(node.metric("go_goroutines").unwrap() > 0.0);
    node.reload(&block(&format!("ready 127.0.0.1:0\n {kubernetes}"))).await.unwrap();
    assert!(node.metric("go_goroutines").unwrap_or(0.0) < 1.0);
    let [(Face::Ready, ready)] = *node.faces() else { panic!("{:?}", node.faces()) };
    let status = tokio::task::spawn_blocking(move || super::files::status(ready, "/ready")).await.unwrap();
    assert_eq!(status, 200, "the store that went on is waited for, and is ready");
}
