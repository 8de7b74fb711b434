//! Who is believed, and who is not: handshakes between a hub's and a node's side, with certificates that are right,
//! and wrong in each way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "trust/files.rs"]
mod files;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outlast::ops::clock::WallClock;
use outlast::ops::metrics::Metrics;
use outlast::testkit::certs::{Ca, DAY, Dates, IdentityFolder, Leaf, clock};
use outlast::trust::client::Connector;
use outlast::trust::config::TlsFiles;
use outlast::trust::error::TrustError;
use outlast::trust::name::Role;
use outlast::trust::peer::{EXPIRED_ACCEPTED, FAILURES, NOT_AFTER, Peer, Standing};
use outlast::trust::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Seconds of a number of days.
const fn days(days: i64) -> Duration {
    Duration::from_secs((days * DAY) as u64)
}

/// Where the other side is said to be.
fn address() -> SocketAddr {
    "192.0.2.7:9953".parse().unwrap()
}

/// What both sides say of a connection: who the other is, or what was wrong.
struct Met {
    /// What the hub's side says.
    hub: Result<Peer, TrustError>,
    /// What the node's side says, after it has read a byte: only then it knows whether it was believed.
    node: Result<Peer, String>,
}

/// A handshake over a pipe, and a byte from the hub to the node.
async fn meet(acceptor: &Acceptor, connector: &Connector) -> Met {
    let (hub_end, node_end) = tokio::io::duplex(64 << 10);
    let hub = async {
        let (mut tls, peer) = acceptor.accept(hub_end, address()).await?;
        let _ = tls.write_all(b"!").await;
        let _ = tls.flush().await;
        Ok((tls, peer))
    };
    let node = async {
        let (mut tls, peer) = connector.connect(node_end, address()).await.map_err(|e| e.to_string())?;
        tls.read_u8().await.map_err(|e| e.to_string())?;
        Ok(peer)
    };
    let (hub, node) = tokio::join!(hub, node);
    Met { hub: hub.map(|(_, peer)| peer), node }
}

/// Both sides of files.
struct Sides {
    acceptor: Acceptor,
    connector: Connector,
    hub_metrics: Metrics,
    node_metrics: Metrics,
}

impl Sides {
    fn new(hub: TlsFiles, node: TlsFiles, clock: &Arc<WallClock>) -> Self {
        let (hub_metrics, node_metrics) = (Metrics::new(), Metrics::new());
        Self {
            acceptor: Acceptor::new(hub, clock.clone(), &hub_metrics),
            connector: Connector::new(node, clock.clone(), &node_metrics),
            hub_metrics,
            node_metrics,
        }
    }

    async fn meet(&self) -> Met {
        meet(&self.acceptor, &self.connector).await
    }
}

/// The value of a series in the text of a scrape.
fn series(metrics: &Metrics, name: &str, labels: &str) -> f64 {
    let text = metrics.render();
    let line = text.lines().find(|line| line.starts_with(name) && line.contains(labels));
    line.and_then(|line| line.rsplit(' ').next()).map_or(f64::NAN, |value| value.parse().unwrap())
}

// === Who is believed ===

#[derive(Debug, PartialEq)]
enum Want {
    /// Both believe each other, and all dates hold.
    Believed,
    /// Both believe each other, the hub the node by grace, for these days.
    NodeByGrace(i64),
    /// The node believes the hub by grace.
    HubByGrace(i64),
    /// The hub does not believe the node, for a reason with these words.
    NodeRefused(&'static str),
    /// The node does not believe the hub.
    HubRefused(&'static str),
}

#[tokio::test]
async fn only_dates_are_passed_over_and_only_within_the_grace() {
    struct Case {
        name: &'static str,
        /// The hub's and the node's certificates.
        hub: Leaf,
        node: Leaf,
        /// Whether another authority issued it.
        foreign_hub: bool,
        foreign_node: bool,
        want: Want,
    }
    let base = || Case {
        name: "",
        hub: Leaf::of(Role::Hub),
        node: Leaf::of(Role::Node),
        foreign_hub: false,
        foreign_node: false,
        want: Want::Believed,
    };
    let hub = |dates: Dates| Leaf::of(Role::Hub).dates(dates);
    let node = |dates: Dates| Leaf::of(Role::Node).dates(dates);
    let no_purpose = |mut leaf: Leaf| {
        (leaf.for_servers, leaf.for_clients) = (false, false);
        leaf
    };
    let only_servers = |mut leaf: Leaf| {
        (leaf.for_servers, leaf.for_clients) = (true, false);
        leaf
    };
    let only_clients = |mut leaf: Leaf| {
        (leaf.for_servers, leaf.for_clients) = (false, true);
        leaf
    };
    let (ended, early) = (Dates::ended(3), Dates { from: 1, until: 365 });
    let cases = [
        Case { name: "right", ..base() },
        Case { name: "a hub that follows another", node: hub(Dates::default()), ..base() },
        // The node's certificate, at the hub.
        Case { name: "node: within the grace", node: node(ended), want: Want::NodeByGrace(3), ..base() },
        Case {
            name: "node: last second of the grace",
            node: node(Dates::ended(7)),
            want: Want::NodeByGrace(7),
            ..base()
        },
        Case {
            name: "node: beyond the grace",
            node: node(Dates::ended(8)),
            want: Want::NodeRefused("expired"),
            ..base()
        },
        Case {
            name: "node: expired, of another authority",
            node: node(ended),
            foreign_node: true,
            want: Want::NodeRefused("UnknownIssuer"),
            ..base()
        },
        Case {
            name: "node: expired, with another name",
            node: node(ended).named("node.example.org"),
            want: Want::NodeRefused("not valid for name"),
            ..base()
        },
        Case {
            name: "node: expired, for another purpose",
            node: only_servers(node(ended)),
            want: Want::NodeRefused("key usage"),
            ..base()
        },
        Case {
            name: "node: of another authority",
            foreign_node: true,
            want: Want::NodeRefused("UnknownIssuer"),
            ..base()
        },
        Case {
            name: "node: with another name",
            node: node(Dates::default()).named("node.example.org"),
            want: Want::NodeRefused("not valid for name"),
            ..base()
        },
        Case {
            name: "node: for servers only",
            node: only_servers(node(Dates::default())),
            want: Want::NodeRefused("key usage"),
            ..base()
        },
        Case {
            name: "node: for no purpose",
            node: no_purpose(node(Dates::default())),
            want: Want::NodeRefused("InvalidPurpose"),
            ..base()
        },
        Case {
            name: "node: not valid yet",
            node: node(early),
            want: Want::NodeRefused("not valid yet"),
            ..base()
        },
        // The hub's certificate, at the node.
        Case { name: "hub: within the grace", hub: hub(ended), want: Want::HubByGrace(3), ..base() },
        Case {
            name: "hub: beyond the grace",
            hub: hub(Dates::ended(8)),
            want: Want::HubRefused("expired"),
            ..base()
        },
        Case {
            name: "hub: expired, of another authority",
            hub: hub(ended),
            foreign_hub: true,
            want: Want::HubRefused("UnknownIssuer"),
            ..base()
        },
        Case {
            name: "hub: expired, with another name",
            hub: hub(ended).named("hub.example.org"),
            want: Want::HubRefused("not valid for name"),
            ..base()
        },
        Case {
            name: "hub: expired, for another purpose",
            hub: only_clients(hub(ended)),
            want: Want::HubRefused("key usage"),
            ..base()
        },
        Case {
            name: "a node that passes itself off as a hub",
            hub: node(Dates::default()),
            want: Want::HubRefused("key usage"),
            ..base()
        },
        Case {
            name: "hub: a server's certificate with a node's name",
            hub: hub(Dates::default()).named(Role::Node.dns_name()),
            want: Want::HubRefused("not valid for name"),
            ..base()
        },
        Case {
            name: "hub: for no purpose",
            hub: no_purpose(hub(Dates::default())),
            want: Want::HubRefused("InvalidPurpose"),
            ..base()
        },
        Case {
            name: "hub: not valid yet",
            hub: hub(early),
            want: Want::HubRefused("not valid yet"),
            ..base()
        },
    ];
    let (ours, foreign) = (Ca::new(), Ca::new());
    let (clock, _) = clock(0);
    for Case { name, hub, node, foreign_hub, foreign_node, want } in cases {
        let issuer = |is_foreign| if is_foreign { &foreign } else { &ours };
        let hub = IdentityFolder::new(issuer(foreign_hub), &hub, &ours);
        let node = IdentityFolder::new(issuer(foreign_node), &node, &ours);
        let sides = Sides::new(hub.files(), node.files(), &clock);
        check(name, &sides, sides.meet().await, &want);
    }
}

/// Compares both sides' words, and their metrics, with what is wanted.
fn check(name: &str, sides: &Sides, met: Met, want: &Want) {
    let standing =
        |since: i64| if since == 0 { Standing::Valid } else { Standing::Grace { since: days(since) } };
    let (of_node, of_hub) = match want {
        Want::Believed => (0, 0),
        Want::NodeByGrace(since) => (*since, 0),
        Want::HubByGrace(since) => (0, *since),
        Want::NodeRefused(why) => {
            let error = met.hub.expect_err(name).to_string();
            assert!(error.to_lowercase().contains(&why.to_lowercase()), "{name}: {error}");
            assert!(met.node.is_err(), "{name}: the node is told");
            assert_eq!(series(&sides.hub_metrics, FAILURES, "server\",reason=\"handshake"), 1.0, "{name}");
            return;
        }
        Want::HubRefused(why) => {
            let error = met.node.expect_err(name);
            assert!(error.to_lowercase().contains(&why.to_lowercase()), "{name}: {error}");
            assert!(met.hub.is_err(), "{name}: the hub is told");
            assert_eq!(series(&sides.node_metrics, FAILURES, "client\",reason=\"handshake"), 1.0, "{name}");
            return;
        }
    };
    let (node, hub) = (met.hub.expect(name), met.node.expect(name));
    assert_eq!((node.standing, hub.standing), (standing(of_node), standing(of_hub)), "{name}");
    assert_eq!(hub.role, Role::Hub, "{name}");
    let expired = |metrics, side| series(metrics, EXPIRED_ACCEPTED, side);
    assert_eq!(expired(&sides.hub_metrics, "server"), f64::from(of_node != 0), "{name}");
    assert_eq!(expired(&sides.node_metrics, "client"), f64::from(of_hub != 0), "{name}");
}

#[tokio::test]
async fn a_hub_knows_nodes_and_hubs_apart() {
    let (ca, (clock, _)) = (Ca::new(), clock(0));
    let hub = IdentityFolder::new(&ca, &Leaf::of(Role::Hub), &ca);
    for role in Role::ALL {
        let follower = IdentityFolder::new(&ca, &Leaf::of(role), &ca);
        let met = Sides::new(hub.files(), follower.files(), &clock).meet().await;
        let peer = met.hub.unwrap();
        assert_eq!((peer.role, peer.address), (role, address()));
        assert_eq!(peer.subject, format!("CN={}", role.dns_name()));
    }
}

#[tokio::test]
async fn the_grace_is_what_was_configured() {
    let (ca, (clock, _)) = (Ca::new(), clock(0));
    let hub = IdentityFolder::new(&ca, &Leaf::of(Role::Hub), &ca);
    let node = IdentityFolder::new(&ca, &Leaf::of(Role::Node).dates(Dates::ended(20)), &ca);
    for (grace, believed) in [(0, false), (19, false), (20, true), (90, true)] {
        let met = Sides::new(hub.files_with(days(grace)), node.files(), &clock).meet().await;
        assert_eq!(met.hub.is_ok(), believed, "{grace} days");
    }
}

// === Chains ===

#[tokio::test]
async fn a_chain_is_as_good_as_its_worst_certificate() {
    struct Case {
        name: &'static str,
        between: Dates,
        node: Dates,
        want: Result<Standing, &'static str>,
    }
    let grace = |since| Ok(Standing::Grace { since: days(since) });
    let cases = [
        Case { name: "right", between: Dates::default(), node: Dates::default(), want: Ok(Standing::Valid) },
        Case {
            name: "issuer within the grace",
            between: Dates::ended(2),
            node: Dates::default(),
            want: grace(2),
        },
        Case {
            name: "both, the issuer first",
            between: Dates::ended(5),
            node: Dates::ended(2),
            want: grace(5),
        },
        Case {
            name: "both, the node first",
            between: Dates::ended(2),
            node: Dates::ended(5),
            want: grace(5),
        },
        Case {
            name: "issuer beyond the grace",
            between: Dates::ended(8),
            node: Dates::default(),
            want: Err("expired"),
        },
        Case {
            name: "node within, issuer beyond",
            between: Dates::ended(8),
            node: Dates::ended(2),
            want: Err("expired"),
        },
        Case {
            name: "issuer not valid yet",
            between: Dates { from: 1, until: 365 },
            node: Dates::default(),
            want: Err("not valid yet"),
        },
        Case {
            name: "never valid together",
            between: Dates { from: -1, until: 365 },
            node: Dates::ended(3),
            want: Err("expired"),
        },
    ];
    let (root, (clock, _)) = (Ca::new(), clock(0));
    let hub = IdentityFolder::new(&root, &Leaf::of(Role::Hub), &root);
    for Case { name, between, node, want } in cases {
        let between = root.appoint(between);
        let node = IdentityFolder::new(&between, &Leaf::of(Role::Node).dates(node), &root);
        let met = Sides::new(hub.files(), node.files(), &clock).meet().await;
        match (met.hub, want) {
            (Ok(peer), Ok(standing)) => assert_eq!(peer.standing, standing, "{name}"),
            (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{name}: {error}"),
            (got, want) => panic!("{name}: {got:?}, not {want:?}"),
        }
    }
}

// === Time ===

#[tokio::test]
async fn a_dead_clock_makes_nothing_too_early() {
    let ca = Ca::new();
    let hub = IdentityFolder::new(&ca, &Leaf::of(Role::Hub), &ca);
    let node = IdentityFolder::new(&ca, &Leaf::of(Role::Node), &ca);
    let dead = Arc::new(WallClock::with_system(0, || 0));
    let sides = Sides::new(hub.files(), node.files(), &dead);
    assert!(sides.meet().await.node.unwrap_err().contains("not valid yet"));
    // The newest snapshot says what time it is at least.
    dead.raise_floor(clock(0).0.now_unix_ms());
    assert!(sides.meet().await.node.is_ok());
}

#[tokio::test]
async fn every_connection_is_verified_in_full() {
    let (ca, (clock, now)) = (Ca::new(), clock(0));
    let hub = IdentityFolder::new(&ca, &Leaf::of(Role::Hub), &ca);
    let node = IdentityFolder::new(&ca, &Leaf::of(Role::Node).dates(Dates { from: -300, until: 1 }), &ca);
    let sides = Sides::new(hub.files(), node.files(), &clock);
    assert_eq!(sides.meet().await.hub.unwrap().standing, Standing::Valid);
    // The same two, so that a session could be resumed: what the certificate is worth now counts.
    let day = DAY as u64 * 1000;
    now.fetch_add(3 * day, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(sides.meet().await.hub.unwrap().standing, Standing::Grace { since: days(2) });
    now.fetch_add(9 * day, std::sync::atomic::Ordering::Relaxed);
    assert!(sides.meet().await.hub.is_err());
    assert_eq!(series(&sides.hub_metrics, EXPIRED_ACCEPTED, "server"), 1.0);
    let until = clock.now_unix_ms() as f64 / 1000.0 - 11.0 * DAY as f64;
    assert_eq!(series(&sides.node_metrics, NOT_AFTER, "tls.crt"), until);
}
