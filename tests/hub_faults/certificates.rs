//! Certificates that are over, wrong or missing, at real nodes and hubs: what is served is what is known, and only one
//! that is over within the grace is still believed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use outlast::drill::standin::Standin;
use outlast::testkit::certs::{Ca, Dates, IdentityFolder, Leaf};
use outlast::testkit::hub::{self, TestHub};
use outlast::testkit::node::TestNode;
use outlast::trust::config::TrustConfig;
use outlast::trust::name::Role;

use super::outage::{WEB, asked, cluster, node};

/// Over for three days by the real time.
fn over() -> Dates {
    Dates::real().later(-338)
}

/// Over for longer than the grace.
fn long_over() -> Dates {
    Dates::real().later(-343)
}

/// Whose certificate a case is about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Hub,
    Node,
}

/// What the certificate of a side is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shown {
    Right,
    Over,
    LongOver,
    OverOfAnotherAuthority,
    OverWithAnotherName,
    Missing,
}

impl Shown {
    fn folder(self, role: Role, ours: &Ca, theirs: &Ca) -> IdentityFolder {
        let leaf = |dates| Leaf::of(role).dates(dates);
        match self {
            Self::Right => IdentityFolder::real(ours, role),
            Self::Over => IdentityFolder::new(ours, &leaf(over()), ours),
            Self::LongOver => IdentityFolder::new(ours, &leaf(long_over()), ours),
            Self::OverOfAnotherAuthority => IdentityFolder::new(theirs, &leaf(over()), ours),
            Self::OverWithAnotherName => {
                IdentityFolder::new(ours, &leaf(over()).named("dns.example.org"), ours)
            }
            Self::Missing => IdentityFolder::empty(),
        }
    }

    /// Whether the other side goes on with it.
    fn is_believed(self) -> bool {
        matches!(self, Self::Right | Self::Over)
    }
}

fn line(hub: &TestHub, identity: &IdentityFolder) -> String {
    let file = |name| identity.path(name).display().to_string();
    format!("hub {}\n hub_tls {} {} {}", hub.address, file("ca.crt"), file("tls.crt"), file("tls.key"))
}

async fn start_hub(server: &Standin, identity: &IdentityFolder) -> TestHub {
    let mut builder = hub::Builder::new(server);
    builder.config.trust = TrustConfig::Tls(identity.files());
    let hub = builder.start();
    hub.state("live").await;
    hub
}

/// A folder with what a node has left behind that was live.
async fn left_behind(server: &Standin, ours: &Ca, folder: &Path) {
    let [hub, own] = [Role::Hub, Role::Node].map(|role| IdentityFolder::real(ours, role));
    let hub = start_hub(server, &hub).await;
    let node = node(&line(&hub, &own), Some(folder));
    node.state("live").await;
    node.stop().await;
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap).filter(|e| e.file_type().unwrap().is_file())
    {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Waits until the two have met, and not come together.
async fn refused(name: &str, node: &TestNode, hub: &TestHub) {
    let failures = |text: String| {
        let lines = text.lines().filter(|line| line.starts_with("outlast_trust_failures_total"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    hub.until(name, |hub| failures(hub.scrape()) + failures(node.scrape()) >= 1.0).await;
    // More than one try of it.
    tokio::time::sleep(Duration::from_millis(800)).await;
}

#[tokio::test]
async fn only_what_is_over_within_the_grace_is_still_believed() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let server = cluster().await;
    let kept = tempfile::tempdir().unwrap();
    left_behind(&server, &ours, kept.path()).await;
    let wrong = [
        Shown::Over,
        Shown::LongOver,
        Shown::OverOfAnotherAuthority,
        Shown::OverWithAnotherName,
        Shown::Missing,
    ];
    let cases = wrong.into_iter().flat_map(|shown| [(Side::Hub, shown), (Side::Node, shown)]);
    for (side, shown) in [(Side::Hub, Shown::Right)].into_iter().chain(cases) {
        let name = format!("{side:?} {shown:?}");
        let of = |role, at| if side == at { shown } else { Shown::Right }.folder(role, &ours, &theirs);
        let (hub_files, node_files) = (of(Role::Hub, Side::Hub), of(Role::Node, Side::Node));
        let hub = start_hub(&server, &hub_files).await;
        let folder = tempfile::tempdir().unwrap();
        copy(kept.path(), folder.path());
        let node = node(&line(&hub, &node_files), Some(folder.path()));
        assert_eq!(asked(&node, WEB).await.0, "NoError 10.96.0.9", "{name}: at once, from the disk");
        if shown.is_believed() {
            node.state("live").await;
            assert_eq!(asked(&node, WEB).await, ("NoError 10.96.0.9".to_owned(), None), "{name}");
            let expired = |text: &str| {
                text.lines()
                    .any(|l| l.starts_with("outlast_trust_expired_accepted_total") && l.ends_with(" 1"))
            };
            // Each counts what the other has shown.
            let (at_node, at_hub) = (expired(&node.scrape()), expired(&hub.scrape()));
            let is_over = shown == Shown::Over;
            assert_eq!(at_node, is_over && side == Side::Hub, "{name}\n{}", node.scrape());
            assert_eq!(at_hub, is_over && side == Side::Node, "{name}\n{}", hub.scrape());
        } else {
            refused(&name, &node, &hub).await;
            let (said, ede) = asked(&node, WEB).await;
            assert_eq!(
                (said.as_str(), ede),
                ("NoError 10.96.0.9", Some(3)),
                "{name}: and it says that it is old"
            );
            assert_eq!(node.metric("outlast_data_state{state=\"stale\"}"), Some(1.0), "{name}");
            assert_eq!(node.metric("outlast_hub_connected"), None, "{name}");
            let left = format!("left hub hub={}", hub.address);
            let left = node.log().lines().filter(|line| line.contains(&left)).count();
            assert_eq!(left, 1, "{name}: said once\n{}", node.log());
        }
        node.stop().await;
        hub.kill();
    }
}

#[tokio::test]
async fn files_that_come_to_be_right_are_believed_without_a_restart() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let server = cluster().await;
    let hub_files = Shown::OverOfAnotherAuthority.folder(Role::Hub, &ours, &theirs);
    let hub = start_hub(&server, &hub_files).await;
    let node_files = IdentityFolder::real(&ours, Role::Node);
    let node = node(&line(&hub, &node_files), None);
    refused("a wrong hub", &node, &hub).await;
    assert_eq!(asked(&node, WEB).await, ("ServFail".to_owned(), Some(14)), "nothing was ever known");
    hub_files.put(&ours, &Leaf::of(Role::Hub).dates(Dates::real()), &ours);
    node.state("live").await;
    assert_eq!(asked(&node, WEB).await, ("NoError 10.96.0.9".to_owned(), None));
}
