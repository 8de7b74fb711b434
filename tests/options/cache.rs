//! Where `cache` outlives the process. Its other options change replies within one process, and are tested beside it.

use std::path::Path;

use outlast::node::setup::Overrides;
use outlast::testkit::client::Query;
use outlast::testkit::node::{Builder, TestNode};
use outlast::testkit::upstream::{Behaviour, FakeUpstream};
use tempfile::TempDir;

use super::cluster::said;

/// A node that forwards to `upstream`, with these lines in `cache`, and a folder of snapshots as a flag names it.
fn node(upstream: &FakeUpstream, lines: &str, snapshots: Option<&Path>) -> TestNode {
    let overrides = Overrides { snapshot: snapshots.map(Path::to_owned), ..Overrides::default() };
    Builder::default().overrides(overrides).start(&format!(
        ".:0 {{\n bind 127.0.0.1\n cache {{\n {lines}\n }}\n forward . {}\n}}\n",
        upstream.addr()
    ))
}

/// What a node says of a name that one before it was asked for, with the upstream silent since; and how many files of
/// replies are below `folder` then.
async fn after_a_restart(lines: &str, snapshots: Option<&Path>, folder: &Path) -> (String, usize) {
    let upstream = FakeUpstream::start("a.example. 300 A 192.0.2.1\n").await;
    let first = node(&upstream, lines, snapshots);
    let query = Query::a("a.example.").edns(1232);
    assert_eq!(said(&first.client().ask(&query).await.unwrap()), "NoError 192.0.2.1", "{lines}");
    first.stop().await;
    upstream.set_all(Behaviour::Rcode(hickory_proto::op::ResponseCode::Refused));
    let second = node(&upstream, lines, snapshots);
    (said(&second.client().ask(&query).await.unwrap()), files(folder))
}

/// Files below a folder.
fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[tokio::test]
async fn cache_persist() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let kept = ("NoError 192.0.2.1".to_owned(), 1);
    let lost = ("Refused".to_owned(), 0);
    let beside = path("beside");
    assert_eq!(after_a_restart("", Some(&beside), &beside.join("cache")).await, kept, "beside the snapshots");
    let said_so = path("said");
    assert_eq!(after_a_restart("persist", Some(&said_so), &said_so.join("cache")).await, kept, "the same");
    assert_eq!(after_a_restart("", None, folder.path()).await.0, lost.0, "without snapshots nowhere");
    let off = path("off");
    assert_eq!(after_a_restart("persist off", Some(&off), &off).await, lost);
    let own = path("own");
    let line = format!("persist {}", own.display());
    assert_eq!(after_a_restart(&line, None, &own).await, kept, "a folder of its own");
}

/// A reload that moves the folder takes the replies along.
#[tokio::test]
async fn a_reload_moves_the_folder() {
    let folder = TempDir::new().unwrap();
    let upstream = FakeUpstream::start("a.example. 300 A 192.0.2.1\n").await;
    let corefile = |dir: &str| {
        let dir = folder.path().join(dir);
        format!(
            ".:0 {{\n bind 127.0.0.1\n cache {{\n persist {}\n }}\n forward . {}\n}}\n",
            dir.display(),
            upstream.addr()
        )
    };
    let mut node = TestNode::start(&corefile("one"));
    node.client().ask(&Query::a("a.example.")).await.unwrap();
    node.reload(&corefile("two")).await.unwrap();
    node.until("the folder before has its last file", |_| files(&folder.path().join("one")) == 1).await;
    node.stop().await;
    assert_eq!(files(&folder.path().join("two")), 1);
}
