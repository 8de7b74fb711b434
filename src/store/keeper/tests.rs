//! What is kept, and what of it counts for whom.

use std::io;
use std::path::Path;

use super::*;
use crate::feed::position::Position;
use crate::snapshot::disk::{DiskFile, Entry, RealDisk};
use crate::zone::Table;
use crate::zone::object::{Kind, Kinds, Namespace, Object};

fn keeper(dir: &Path, labels: bool, disk: Arc<dyn Disk>) -> Keeper {
    let config = KeeperConfig {
        max_stale: None,
        dir: dir.to_owned(),
        zone: "cluster.local.".to_owned(),
        source: "file:x".to_owned(),
        labels,
        headless_only: false,
        interval: Duration::from_secs(60),
    };
    let clock = Arc::new(WallClock::new(0));
    Keeper::open(config, disk, clock, Jitter::from_seed(1), &Metrics::new())
}

#[tokio::test(start_paused = true)]
async fn a_folder_of_several_processes_is_written_by_the_one_that_owns_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (say, owned) = tokio::sync::watch::channel(false);
    let mut keeper = keeper(dir.path(), false, Arc::new(RealDisk)).sharing(Ownership::of(owned));
    let files = || std::fs::read_dir(dir.path()).expect("the folder is there").count();
    keeper.changed(true);
    for _ in 0..5 {
        let due = keeper.due().expect("there is something to write");
        assert_eq!(due, tokio::time::Instant::now() + Duration::from_secs(1), "it is put off");
        tokio::time::sleep_until(due).await;
        keeper.start(&generation(), Duration::ZERO, &reached());
        assert!(keeper.writing.is_none());
    }
    keeper.stop(&generation(), Duration::ZERO, &reached()).await;
    assert_eq!(files(), 0, "who leaves before it was the owner writes nothing");

    say.send(true).expect("the keeper listens");
    assert!(keeper.due().expect("still due") <= tokio::time::Instant::now());
    keeper.start(&generation(), Duration::ZERO, &reached());
    // While it is under way, another one takes over.
    say.send(false).expect("the keeper listens");
    keeper.finished().await;
    assert_eq!(files(), 1, "what was begun is finished");

    keeper.changed(false);
    keeper.stop(&generation(), Duration::ZERO, &reached()).await;
    assert_eq!(files(), 1, "who has handed over writes no last one");
}

fn generation() -> Arc<Generation> {
    let objects = [Object::Namespace(Namespace { name: "shop".into(), labels: [].into() })];
    Arc::new(Generation {
        table: Table::build(objects, Kinds::CORE, 1),
        number: 1,
        verified: true,
        ..Generation::default()
    })
}

/// Of pods, too, which the generation does not have.
fn reached() -> Resume {
    let position = Position { epoch: 2, versions: [11, 12, 13, 14] };
    Resume { cluster_uid: "u".to_owned(), position, ..Resume::default() }
}

#[tokio::test]
async fn a_hub_goes_on_where_another_hub_was_but_for_other_slices() {
    for (name, headless_only, want) in
        [("another hub", false, [11, 12, 13, 0]), ("of headless services only", true, [11, 12, 0, 0])]
    {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut first = keeper(dir.path(), false, Arc::new(RealDisk));
        "hub:10.0.0.1:9953".clone_into(&mut first.config.source);
        first.changed(true);
        first.stop(&generation(), Duration::ZERO, &reached()).await;

        let mut second = keeper(dir.path(), false, Arc::new(RealDisk));
        "hub:10.0.0.2:9953".clone_into(&mut second.config.source);
        second.config.headless_only = headless_only;
        let booted = second.load().expect("it is whole");
        assert_eq!(booted.resume.position.versions, want, "{name}");
        assert_eq!(booted.broken.has(Kind::EndpointSlice), headless_only, "{name}");
        assert_eq!(booted.generation.table.complete(), Kinds::CORE, "{name}: it is served");
    }
}

fn snapshots(dir: &Path) -> usize {
    std::fs::read_dir(dir).expect("the folder is there").count()
}

#[tokio::test]
async fn what_cannot_be_used_is_not_written_back() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut without = keeper(dir.path(), false, Arc::new(RealDisk));
    without.changed(true);
    without.stop(&generation(), Duration::ZERO, &reached()).await;
    assert_eq!(snapshots(dir.path()), 1);

    let mut selecting = keeper(dir.path(), true, Arc::new(RealDisk));
    let booted = selecting.load().expect("it is whole").generation;
    assert_eq!(booted.table.complete(), Kinds::NONE, "selectors see nothing in it");
    selecting.proved();
    assert_eq!(selecting.due(), None);
    selecting.stop(&Arc::new(booted), Duration::ZERO, &reached()).await;
    assert_eq!(snapshots(dir.path()), 1);

    let mut without = keeper(dir.path(), false, Arc::new(RealDisk));
    let booted = without.load().expect("it is what it was").generation;
    assert_eq!(booted.table.complete(), Kinds::CORE);
}

#[tokio::test]
async fn a_source_goes_on_where_the_snapshot_is_whole() {
    struct Case {
        name: &'static str,
        labels: bool,
        source: &'static str,
        want: [u64; 4],
    }
    let cases = [
        Case { name: "all but what it lacks", labels: false, source: "file:x", want: [11, 12, 13, 0] },
        Case { name: "labels are wanted", labels: true, source: "file:x", want: [0; 4] },
        Case { name: "another source", labels: false, source: "file:y", want: [0; 4] },
    ];
    for Case { name, labels, source, want } in cases {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut first = keeper(dir.path(), false, Arc::new(RealDisk));
        first.changed(true);
        first.stop(&generation(), Duration::ZERO, &reached()).await;

        let mut second = keeper(dir.path(), labels, Arc::new(RealDisk));
        source.clone_into(&mut second.config.source);
        let resume = second.load().expect("it is whole").resume;
        let position = Position { epoch: 2, versions: want };
        assert_eq!(resume, Resume { cluster_uid: "u".to_owned(), position, ..Resume::default() }, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_after_a_panic_ends() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut keeper = keeper(dir.path(), false, Arc::new(Panicking));
    keeper.changed(true);
    keeper.start(&generation(), Duration::ZERO, &reached());
    keeper.finished().await;
    keeper.changed(true);
    assert_eq!(keeper.due(), None, "there is nothing to write to any more");
    let (generation, reached) = (generation(), reached());
    let stop = keeper.stop(&generation, Duration::ZERO, &reached);
    tokio::time::timeout(Duration::from_secs(60), stop).await.expect("it ends");
}

/// A disk that panics where a snapshot would get its name.
#[derive(Debug)]
struct Panicking;

impl Disk for Panicking {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.make_dir(dir)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.create_new(path)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        panic!("a test's disk")
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn remove_abandoned(&self, path: &Path) -> io::Result<bool> {
        RealDisk.remove_abandoned(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        RealDisk.read(path, limit)
    }
}
