//! A file that is followed: what the store is told as the file comes, changes, breaks and goes.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use outlast::ops::metrics::Metrics;
use outlast::source::command::{self, Command, Commands, Why};
use outlast::source::file::FileSource;
use outlast::source::{Listed, Update, Wanted};
use outlast::zone::object::{Kind, Kinds};
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Short, since files have no paused time.
const INTERVAL: Duration = Duration::from_millis(8);

/// Far longer than anything here takes: only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder and a source that follows a path in it.
struct Followed {
    folder: tempfile::TempDir,
    updates: Receiver<Update>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    commands: Commands,
    task: JoinHandle<()>,
}

impl Followed {
    /// Follows `name` in a folder that `prepare` has been given.
    fn new(name: &str, wanted: Wanted, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let (tx, updates) = mpsc::channel(1);
        let (metrics, shutdown) = (Arc::new(Metrics::new()), CancellationToken::new());
        let source = FileSource::new(folder.path().join(name), wanted, metrics.clone()).every(INTERVAL);
        let (commands, commanded) = command::channel();
        let task = tokio::spawn(source.obeying(commanded).run(tx, shutdown.clone()));
        Self { folder, updates, metrics, shutdown, commands, task }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn next(&mut self) -> Update {
        tokio::time::timeout(PATIENCE, self.updates.recv())
            .await
            .expect("an update")
            .expect("a running source")
    }

    /// The next update that is not [`Update::Fresh`].
    async fn news(&mut self) -> Update {
        loop {
            match self.next().await {
                Update::Fresh { .. } => {}
                news => return news,
            }
        }
    }

    /// The names in the next state.
    async fn state(&mut self) -> String {
        let first = self.news().await;
        let (names, kinds) = self.list(first).await;
        assert!(!kinds.is_empty(), "of some kinds");
        names
    }

    /// The names in a list that begins with this update, and its kinds; nothing else comes before it is proved.
    async fn list(&mut self, first: Update) -> (String, Kinds) {
        let mut names: Vec<String> = Vec::new();
        let mut update = first;
        loop {
            match update {
                Update::ListPart { entries, .. } => names.extend(entries.iter().map(name)),
                Update::ListEnd { kinds } => {
                    self.fresh().await;
                    return (names.join(" "), kinds);
                }
                other => panic!("expected a state, not {other:?}"),
            }
            update = self.next().await;
        }
    }

    async fn lost(&mut self) -> String {
        match self.news().await {
            Update::Lost { why } => why,
            other => panic!("expected a loss, not {other:?}"),
        }
    }

    async fn fresh(&mut self) {
        let update = self.next().await;
        assert!(matches!(update, Update::Fresh { .. }), "{update:?}");
    }

    /// This many versions of the file were found broken.
    async fn broken(&self, versions: u32) {
        let line = format!("outlast_source_reads_total{{result=\"broken\"}} {versions}\n");
        let counted = async {
            while !self.metrics.render().contains(&line) {
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.expect("it is read");
    }

    /// Several looks go by in silence.
    async fn silence(&mut self) {
        let looks = tokio::time::timeout(INTERVAL * 8, self.updates.recv()).await;
        assert!(looks.is_err(), "{looks:?}");
    }
}

fn name(entry: &Listed) -> String {
    let Listed::Object { object, trigger: None } = entry else { panic!("{entry:?}") };
    object.key().name.to_string()
}

fn namespace(name: &str) -> String {
    format!("kind: Namespace\nmetadata: {{name: {name}}}\n")
}

/// Prepares a folder: `text` is in its `a.yaml`.
fn with_text(text: String) -> impl FnOnce(&Path) {
    move |folder| fs::write(folder.join("a.yaml"), text).expect("a fresh folder takes a file")
}

/// Replaces a file the way that is always seen: written beside it, then renamed.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

#[tokio::test]
async fn a_quiet_file_is_read_once_and_proved_fresh_again_and_again() {
    let mut followed = Followed::new("a.yaml", Wanted::default(), with_text(namespace("shop")));
    let first = followed.next().await;
    assert_eq!(followed.list(first).await, ("shop".to_owned(), Kinds::CORE));
    for _ in 0..3 {
        followed.fresh().await;
    }
    let scraped = followed.metrics.render();
    assert!(scraped.contains("outlast_source_reads_total{result=\"ok\"} 1"), "{scraped}");
}

#[tokio::test]
async fn a_large_state_comes_in_small_parts() {
    const MANY: usize = 1000;
    let text = (0..MANY).map(|n| format!("---\n{}", namespace(&format!("n{n:04}")))).collect();
    let mut followed = Followed::new("a.yaml", Wanted::default(), with_text(text));
    let (mut names, mut parts) = (Vec::new(), 0);
    loop {
        match followed.next().await {
            Update::ListPart { entries, kinds } => {
                assert!(entries.len() <= 256 && kinds == Kinds::CORE, "{} of {kinds:?}", entries.len());
                names.extend(entries.iter().map(name));
                parts += 1;
            }
            Update::ListEnd { kinds } => break assert_eq!(kinds, Kinds::CORE),
            other => panic!("{other:?}"),
        }
    }
    followed.fresh().await;
    assert_eq!(parts, 4);
    assert_eq!(names, (0..MANY).map(|n| format!("n{n:04}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_appears_changes_vanishes_and_returns() {
    let mut followed = Followed::new("a.yaml", Wanted::ALL, |_| {});
    let path = followed.path("a.yaml");
    assert!(followed.lost().await.ends_with("a.yaml: there is no such file or folder"));
    followed.silence().await;
    fs::write(&path, namespace("one")).unwrap();
    assert_eq!(followed.state().await, "one");
    // In place, with one system call: truncating first would be a version of its own.
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(format!("---\n{}", namespace("three")).as_bytes()).unwrap();
    assert_eq!(followed.state().await, "one three");
    replace(&path, &namespace("seven"));
    assert_eq!(followed.state().await, "seven");
    followed.fresh().await;
    fs::rename(&path, followed.path("away")).unwrap();
    followed.lost().await;
    followed.silence().await;
    fs::rename(followed.path("away"), &path).unwrap();
    assert_eq!(followed.state().await, "seven");
}

#[tokio::test]
async fn a_broken_file_takes_nothing_away_and_heals() {
    let mut followed = Followed::new("a.yaml", Wanted::default(), with_text(namespace("shop")));
    let path = followed.path("a.yaml");
    assert_eq!(followed.state().await, "shop");
    replace(&path, "kind: Namespace\nmetadata: [");
    let why = followed.lost().await;
    assert!(why.contains("a.yaml:2:"), "{why}");
    followed.silence().await;
    // Empty, then another kind only: still the same loss.
    replace(&path, "");
    followed.broken(2).await;
    followed.silence().await;
    replace(&path, "kind: Deployment\n");
    followed.broken(3).await;
    followed.silence().await;
    replace(&path, &namespace("healed"));
    assert_eq!(followed.state().await, "healed");
    followed.fresh().await;
    let scraped = followed.metrics.render();
    // Each version once, however often it was looked at.
    assert!(scraped.contains("outlast_source_reads_total{result=\"broken\"} 3"), "{scraped}");
}

#[tokio::test]
async fn a_swapped_link_is_a_change() {
    let mut followed = Followed::new("mounted", Wanted::default(), |folder| {
        let mounted = folder.join("mounted");
        for (version, name) in [("..1", "blue"), ("..2", "green")] {
            fs::create_dir_all(mounted.join(version)).unwrap();
            fs::write(mounted.join(version).join("cluster.yaml"), namespace(name)).unwrap();
        }
        symlink("..1", mounted.join("..data")).unwrap();
        symlink("..data/cluster.yaml", mounted.join("cluster.yaml")).unwrap();
    });
    assert_eq!(followed.state().await, "blue");
    followed.fresh().await;
    // As the kubelet does it: a new link beside, renamed over the old one.
    symlink("..2", followed.path("mounted/..new")).unwrap();
    fs::rename(followed.path("mounted/..new"), followed.path("mounted/..data")).unwrap();
    assert_eq!(followed.state().await, "green");
}

#[tokio::test]
async fn files_of_a_folder_come_and_go() {
    let mut followed = Followed::new(".", Wanted::default(), with_text(namespace("a")));
    assert_eq!(followed.state().await, "a");
    replace(&followed.path("b.yml"), &namespace("b"));
    assert_eq!(followed.state().await, "a b");
    fs::remove_file(followed.path("a.yaml")).unwrap();
    assert_eq!(followed.state().await, "b");
    // One that is empty was cut short: nothing is applied.
    replace(&followed.path("b.yml"), "");
    assert!(followed.lost().await.contains("b.yml: holds no Namespace"), "names the file");
}

#[tokio::test]
async fn what_is_left_out_is_counted() {
    let text = format!(
        "{}---\nkind: Namespace\nmetadata: {{name: A}}\n---\nkind: Deployment\n---\nkind: Deployment\n",
        namespace("shop")
    );
    let mut followed = Followed::new("a.yaml", Wanted::default(), with_text(text));
    assert_eq!(followed.state().await, "shop");
    let scraped = followed.metrics.render();
    for line in [
        "outlast_source_dropped_total{kind=\"Namespace\",reason=\"name\"} 1",
        "outlast_source_skipped_total{kind=\"Deployment\"} 2",
    ] {
        assert!(scraped.contains(line), "{line} in {scraped}");
    }
}

/// In paused time, which moves on only once nothing else can happen: when the sleep is over, the looks that were
/// due have been made, however slow the machine is.
#[tokio::test(start_paused = true)]
async fn it_stops_when_told_even_while_nobody_receives() {
    let followed = Followed::new("a.yaml", Wanted::default(), with_text(namespace("shop")));
    // The channel holds one update: the source waits to send its second.
    tokio::time::sleep(INTERVAL * 4).await;
    assert_eq!(followed.updates.capacity(), 0, "no room for another");
    assert!(!followed.task.is_finished());
    followed.shutdown.cancel();
    tokio::time::timeout(PATIENCE, followed.task).await.expect("it stops").unwrap();
}

#[tokio::test]
async fn it_stops_when_nobody_receives_any_more() {
    let followed = Followed::new("a.yaml", Wanted::default(), with_text(namespace("shop")));
    drop(followed.updates);
    tokio::time::timeout(PATIENCE, followed.task).await.expect("it stops").unwrap();
}

#[tokio::test(start_paused = true)]
async fn looks_are_about_a_second_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, namespace("shop")).unwrap();
    let (tx, mut updates) = mpsc::channel(1);
    let source = FileSource::new(&path, Wanted::default(), Arc::new(Metrics::new()));
    let task = tokio::spawn(source.run(tx, CancellationToken::new()));
    let begin = tokio::time::Instant::now();
    assert!(matches!(updates.recv().await, Some(Update::ListPart { .. })));
    assert!(matches!(updates.recv().await, Some(Update::ListEnd { .. })));
    assert!(matches!(updates.recv().await, Some(Update::Fresh { as_of }) if as_of == begin));
    assert_eq!(begin.elapsed(), Duration::ZERO, "the first read waits for nothing");
    let mut waits = Vec::new();
    for _ in 0..10 {
        let before = tokio::time::Instant::now();
        let Some(Update::Fresh { as_of }) = updates.recv().await else { panic!("the file is what it was") };
        // In paused time a look takes none: what it proves is as old as its beginning.
        assert_eq!(as_of, tokio::time::Instant::now());
        waits.push(before.elapsed().as_millis());
    }
    assert!(waits.iter().all(|w| (800..=1201).contains(w)), "{waits:?}");
    assert!(waits.iter().any(|w| *w != waits[0]), "jittered: {waits:?}");
    task.abort();
}

#[tokio::test]
async fn a_file_that_has_not_changed_is_read_again_when_that_is_asked_for() {
    let mut followed = Followed::new("a.yaml", Wanted::default(), with_text(namespace("shop")));
    assert_eq!(followed.state().await, "shop");
    followed.fresh().await;
    let relist = Command::Relist { kinds: Kinds::NONE.with(Kind::Service), why: Why::Held };
    followed.commands.send(relist).await.unwrap();
    assert_eq!(followed.state().await, "shop", "all kinds: a file is a whole");
    // It has no cluster and no epochs.
    for command in [Command::BeginEpoch(7), Command::AcceptCluster] {
        followed.commands.send(command).await.unwrap();
    }
    for _ in 0..3 {
        followed.fresh().await;
    }
}
