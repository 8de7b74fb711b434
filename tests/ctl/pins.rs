//! Names that are pinned at a node, from the order to its end.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::world::{Node, is_live};

/// A service of the made-up cluster.
const STOREFRONT: &str = "storefront.bakery.svc.cluster.local";

/// A name that no upstream is asked for: there is none.
const OUTSIDE: &str = "api.example.com";

#[test]
fn what_is_pinned_is_answered_until_it_is_unpinned() {
    let node = Node::new();
    let process = node.start();
    node.status(&process, "live data", is_live);
    assert!(node.order(&["pins"]).contains("nothing is pinned"));

    let out = node.order(&["pin", STOREFRONT, "A", "192.0.2.7", "--for", "2h"]);
    for part in
        ["pinned\nstorefront.bakery.svc.cluster.local. A: 1 value", "192.0.2.7", "for 2 h more", "kept in "]
    {
        assert!(out.contains(part), "{part}\n{out}");
    }
    let out = node.order(&["lookup", STOREFRONT]);
    for part in ["30\tIN\tA\t192.0.2.7\n", ";; EDE 4: pinned by an operator, for 1h59m more", "authoritative"]
    {
        assert!(out.contains(part), "{part}\n{out}");
    }
    assert!(!out.contains("DATA"), "it is from no data\n{out}");
    node.order(&["pin", STOREFRONT, "a", "192.0.2.8"]);
    let out = node.order(&["lookup", STOREFRONT]);
    assert!(out.contains("192.0.2.7") && out.contains("192.0.2.8"), "{out}");

    // A name that is nobody's, and words that are joined.
    let (code, _, _) = node.ctl(&["lookup", OUTSIDE]);
    assert_eq!(code, 1);
    node.order(&["pin", &format!("_sip._tcp.{OUTSIDE}"), "SRV", "0", "10", "5060", "sip.example.com"]);
    let out = node.order(&["lookup", &format!("_sip._tcp.{OUTSIDE}"), "SRV"]);
    assert!(out.contains("SRV\t0 10 5060 sip.example.com."), "{out}");
    node.order(&["pin", "alias.example.com", "CNAME", STOREFRONT]);
    let out = node.order(&["lookup", "alias.example.com"]);
    assert!(out.contains("CNAME") && out.contains("192.0.2.7"), "an alias leads on\n{out}");

    // Reloads are about the configuration.
    process.signal(Signal::SIGUSR1);
    let out = node.order(&["pins"]);
    assert_eq!(out.matches("pinned 0 s ago").count() + out.matches("pinned 1 s ago").count(), 3, "{out}");
    let screen = node.screen();
    for part in [
        "pinned     storefront.bakery",
        "1h0m more",
        "Names are pinned by an operator",
        "outlast ctl unpin NAME",
    ] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    let status = node.status(&process, "pins", |_| true);
    let section = status["sections"].as_array().unwrap().iter().find(|section| section["title"] == "pinned");
    let pin = &section.unwrap()["data"]["pins"][0];
    assert_eq!((&pin["type"], &pin["values"][1]), (&Value::from("A"), &Value::from("192.0.2.8")));

    let out = node.order(&["unpin", STOREFRONT, "A"]);
    assert!(out.starts_with("not pinned any more\nstorefront"), "{out}");
    let out = node.order(&["lookup", STOREFRONT]);
    assert!(out.contains("10.96.12.7") && !out.contains("EDE"), "{out}");
    let (code, out, _) = node.ctl(&["unpin", STOREFRONT]);
    assert!(code == 1 && out.contains("nothing is pinned there"), "{out}");
    node.order(&["unpin", "--all"]);
    assert!(node.order(&["pins"]).contains("nothing is pinned"));

    for part in [
        "an operator gives an order command=\"Pin {",
        "pinned by an operator: answered so, whatever the cluster says name=storefront.bakery",
        "unpinned by an operator: answered as the cluster says name=alias.example.com. kind=CNAME",
    ] {
        process.wait_for(part, |p| p.output().contains(part).then_some(()));
    }
}

#[test]
fn what_is_pinned_for_a_second_ends_by_itself() {
    let node = Node::new();
    let process = node.start();
    node.status(&process, "live data", is_live);
    node.order(&["pin", STOREFRONT, "A", "192.0.2.7", "--for", "1s"]);
    process.wait_for("its end", |_| node.order(&["lookup", STOREFRONT]).contains("10.96.12.7").then_some(()));
    process.wait_for("the log", |p| p.output().contains("no longer pinned").then_some(()));
    assert!(node.order(&["pins"]).contains("nothing is pinned"));
}

#[test]
fn what_cannot_be_pinned_is_wrong_usage() {
    let node = Node::new();
    let process = node.start();
    node.status(&process, "live data", is_live);
    for (arguments, says) in [
        (&["pin", "a..b", "A", "192.0.2.1"][..], "is not a name"),
        (&["pin", "a.b", "MX", "10 c"], "is no type that can be pinned"),
        (&["pin", "a.b", "A", "soon"], "is no IPv4 address"),
        (&["pin", "a.b", "A"], "<VALUE>"),
        (&["pin", "a.b", "A", "192.0.2.1", "--for", "0"], "1s or more"),
        (&["unpin"], "<NAME>"),
        (&["unpin", "a.b", "--all"], "--all"),
        (&["unpin", "a.b", "FOO"], "is no type that can be pinned"),
    ] {
        let (code, out, error) = node.ctl(arguments);
        assert!(code == 2 && error.contains(says), "{arguments:?}: {code} {out}{error}");
    }
    node.order(&["pin", "a.b", "A", "192.0.2.1"]);
    let (code, _, error) = node.ctl(&["pin", "a.b", "CNAME", "c"]);
    assert!(code == 1 && error.contains("a CNAME stands alone"), "{error}");
}
