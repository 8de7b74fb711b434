//! Processes that share a folder, killed at each step.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::*;

/// Where the other process finds its folder.
const FOLDER: &str = "OUTLAST_TEST_OWNER";

/// How its answers begin, among what the harness prints.
const ANSWER: &str = "answer: ";

/// No step takes so long unless it fails.
const SOON: Duration = Duration::from_secs(20);

/// Another process with a claim of its own.
struct Other {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Other {
    /// One that has joined.
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ops::ownership::claim::tests::another_process", "--ignored", "--nocapture"])
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut other = Self { child, stdin, stdout };
        assert!(other.hears(), "it has joined");
        other
    }

    /// What it answers.
    fn hears(&mut self) -> bool {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "it has ended");
            if let Some((_, answer)) = line.split_once(ANSWER) {
                return answer.trim() == "true";
            }
        }
    }

    /// Has it do something.
    fn does(&mut self, what: &str) -> bool {
        writeln!(self.stdin, "{what}").unwrap();
        self.hears()
    }

    /// Ends it, as SIGKILL does.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other process: does what it is told until nobody tells it anything.
#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn another_process() {
    let folder = std::env::var_os(FOLDER).expect("the other tests say where");
    let (mut claim, ownership) = Claim::join(Path::new(&folder)).unwrap();
    println!("\n{ANSWER}true");
    for line in io::stdin().lines() {
        let answer = match line.unwrap().as_str() {
            "ask" => claim.ask(),
            "own" => claim.try_own(),
            "owns" => claim.owns() && ownership.is_ours(),
            "asked" => claim.is_asked(),
            "taken" => claim.is_taken(),
            "alone" => ownership.is_alone(),
            "shut" => claim.shut(),
            "give up" => {
                claim.give_up();
                claim.owns()
            }
            "open" => {
                claim.open();
                true
            }
            other => panic!("{other}"),
        };
        println!("\n{ANSWER}{answer}");
    }
}

fn joined(folder: &Path) -> Claim {
    Claim::join(folder).unwrap().0
}

/// Waits until something holds: the kernel takes the locks of a dead process in its own time.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "{what}: not yet");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_is_shared_goes_from_the_old_process_to_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = joined(dir.path());
    assert!(old.try_own() && !old.is_asked() && old.is_alone());

    let mut new = Other::start(dir.path());
    assert!(!old.is_alone() && !old.is_asked(), "it is there, and not ready");
    assert!(!new.does("own") && new.does("taken") && !new.does("alone"));
    assert!(new.does("ask") && !new.does("own"));
    assert!(old.is_asked() && old.owns());

    old.give_up();
    assert!(!old.owns() && !old.is_taken());
    assert!(!old.try_own(), "somebody waits for it");
    assert!(old.take_back() && old.owns(), "nobody else has taken it");
    old.give_up();
    assert!(new.does("own") && new.does("owns") && old.is_taken());
    assert!(!old.is_asked() && !new.does("asked"), "nobody waits any more");
    assert!(!old.try_own() && !old.take_back());
}

/// What the other process has done when it is killed, and what then becomes of us.
#[test]
fn a_process_may_be_killed_at_every_step() {
    struct Case {
        name: &'static str,
        /// Whether we own it when the other one comes.
        owned: bool,
        /// What the other one does; it is killed after that.
        steps: &'static [&'static str],
        /// What we do before it is killed.
        give_up: bool,
        /// What it does after that.
        then: &'static [&'static str],
        /// Whether we can have it while it lives.
        before: bool,
    }
    let owned = Case { name: "", owned: true, steps: &[], give_up: false, then: &[], before: true };
    let newcomer = Case { owned: false, before: false, ..owned };
    let cases = [
        Case { name: "the new one, before it is ready", ..owned },
        Case { name: "the new one, while it waits", steps: &["ask"], ..owned },
        Case {
            name: "the new one, between our giving up and its taking",
            steps: &["ask"],
            give_up: true,
            before: false,
            ..owned
        },
        Case {
            name: "the new one, once it has it",
            steps: &["ask"],
            give_up: true,
            then: &["own"],
            before: false,
            ..owned
        },
        Case { name: "the old one, as the owner", steps: &["own"], ..newcomer },
        Case { name: "another one that waits beside us", steps: &["ask"], ..newcomer },
        Case { name: "the old one, after it gave up", steps: &["own", "give up"], before: true, ..newcomer },
    ];
    for Case { name, owned, steps, give_up, then, before } in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut other = Other::start(dir.path());
        let mut ours = joined(dir.path());
        if owned {
            assert!(ours.try_own(), "{name}");
        }
        for step in steps {
            other.does(step);
        }
        if give_up {
            ours.give_up();
        }
        for step in then {
            assert!(other.does(step), "{name}: {step}");
        }
        assert_eq!(ours.try_own(), before, "{name}: while it lives");
        other.kill();
        until(name, || ours.try_own());
        assert!(!ours.is_asked() && !ours.is_taken(), "{name}");
        until(name, || ours.is_alone());
    }
}

#[test]
fn two_that_wait_get_it_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = joined(dir.path());
    assert!(owner.try_own());
    let (mut first, mut second) = (Other::start(dir.path()), joined(dir.path()));
    assert!(first.does("ask") && !second.ask() && !second.try_own());
    owner.give_up();
    assert!(!second.try_own(), "the other one waits for longer");
    assert!(first.does("own") && second.ask() && first.does("asked"));
    assert!(!first.does("give up") && second.try_own());
}

#[test]
fn nobody_comes_while_the_last_one_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = Other::start(dir.path());
    assert!(last.does("own") && last.does("shut"));
    std::thread::scope(|scope| {
        let comes = scope.spawn(|| joined(dir.path()));
        std::thread::sleep(LOOK * 5);
        assert!(!comes.is_finished(), "it waits");
        assert!(last.does("open"));
        let mut comes = comes.join().unwrap();
        assert!(!last.does("shut") && !comes.shut(), "neither is alone");
        last.kill();
        until("it is alone", || comes.shut());
        assert!(comes.try_own());
    });
}

#[test]
fn who_asks_whether_it_is_alone_never_is_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (joined(dir.path()), joined(dir.path()));
    let asks = |claim: &Claim| (0..500).filter(|_| claim.is_alone()).count();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| asks(&two));
        assert_eq!((asks(&one), other.join().unwrap()), (0, 0));
    });
}

#[tokio::test]
async fn who_asks_whether_it_is_alone_keeps_nobody_waiting_on_its_thread() {
    let dir = tempfile::tempdir().unwrap();
    let claim = joined(dir.path());
    assert!(claim.finds_itself_alone().await);
    // As others do while they ask.
    let folder = File::open(dir.path()).unwrap();
    folder.lock().unwrap();
    let others = async {
        tokio::task::yield_now().await;
        folder.unlock().unwrap();
    };
    let (alone, ()) = tokio::join!(claim.finds_itself_alone(), others);
    assert!(alone, "it has asked again once the others had done");
    folder.lock().unwrap();
    assert!(!claim.finds_itself_alone().await, "that cannot be asked");
}

#[test]
fn a_folder_that_cannot_be_had_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Claim::join(&file.join("owner")).unwrap_err().to_string();
    assert!(error.starts_with("making folder ") && error.contains("/file/owner: "), "{error}");
    let deep = dir.path().join("a").join("b");
    assert!(Claim::join(&deep).unwrap().0.is_alone(), "made with those above it");
}

#[test]
fn parts_of_a_process_hear_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut claim, ownership) = Claim::join(dir.path()).unwrap();
    assert!(!ownership.is_ours() && ownership.is_alone());
    assert!(claim.try_own() && ownership.is_ours());
    claim.give_up();
    assert!(!ownership.is_ours());
    assert!(claim.try_own() && ownership.is_ours());
    drop(claim);
    assert!(!ownership.is_ours(), "nobody holds it any more");
}
