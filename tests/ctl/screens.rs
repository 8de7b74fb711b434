//! The screen, as an operator sees it: `screens/NAME.json` is what a process says of itself, and `screens/NAME.txt` what
//! `outlast ctl status` (of names that begin with `top`, `outlast ctl top`) makes of it. `UPDATE=1 cargo test --test ctl` writes the texts anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use outlast::ops::control::{Command, Handler, Refusal, serve};
use outlast::ops::metrics::Metrics;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::process::{outlast, run};

/// Says the same whatever it is asked.
struct Says(Result<Value, Refusal>);

#[async_trait]
impl Handler for Says {
    async fn handle(&self, _: Command) -> Result<Value, Refusal> {
        self.0.clone()
    }
}

/// A process at a socket of its own, until it is dropped.
struct Speaker {
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Speaker {
    fn start(says: Result<Value, Refusal>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let handler = Arc::new(Says(says));
        runtime.spawn(serve(path.clone(), handler, Arc::new(Metrics::new()), CancellationToken::new()));
        while !outlast::ops::control::is_answered(&path).unwrap() {
            std::thread::yield_now();
        }
        Self { folder, _runtime: runtime }
    }

    /// Exit status, standard output and standard error of `outlast ctl` with these arguments.
    fn ctl(&self, arguments: &[&str]) -> (i32, String, String) {
        run(outlast().args(["ctl", "--socket"]).arg(self.folder.path().join("node.sock")).args(arguments))
    }
}

fn screens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ctl/screens")
}

#[test]
fn screens_are_what_they_were() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut names: Vec<_> = fs::read_dir(screens()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "json"));
    names.sort();
    assert!(names.len() >= 6, "{names:?}");
    for json in names {
        let status: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        let speaker = Speaker::start(Ok(status.clone()));
        // The name says of which command it is: of `status` unless it says so.
        let is_top = json.file_stem().is_some_and(|name| name.to_string_lossy().starts_with("top"));
        let command = if is_top { &["top", "--for", "1s"][..] } else { &["status"] };
        let (code, screen, error) = speaker.ctl(command);
        assert_eq!((code, error.as_str()), (0, ""), "{}", json.display());
        assert!(screen.lines().count() <= 23, "one screen, and a line for the prompt:\n{screen}");
        assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
        let text = json.with_extension("txt");
        if update {
            fs::write(&text, &screen).unwrap();
        }
        let want = fs::read_to_string(&text).unwrap_or_default();
        assert_eq!(screen, want, "{}", text.display());
        let (code, printed, _) = speaker.ctl(&[command, &["--json"]].concat());
        assert_eq!(code, 0);
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), status, "scripts get all of it");
    }
}

#[test]
fn exit_statuses() {
    let ok = |json: &str| Ok(serde_json::from_str(json).unwrap());
    struct Case {
        name: &'static str,
        says: Result<Value, Refusal>,
        arguments: &'static [&'static str],
        code: i32,
        /// In what is printed, on either output.
        prints: &'static str,
    }
    let cases = [
        Case {
            name: "ready",
            says: ok(r#"{"ready":true}"#),
            arguments: &["ready"],
            code: 0,
            prints: "ready",
        },
        Case {
            name: "not ready",
            says: ok(r#"{"ready":false,"pending":["kubernetes"]}"#),
            arguments: &["ready"],
            code: 1,
            prints: "not ready: waiting for kubernetes",
        },
        Case {
            name: "not ready, for scripts",
            says: ok(r#"{"ready":false,"pending":["kubernetes"]}"#),
            arguments: &["ready", "--json"],
            code: 1,
            prints: "\"kubernetes\"",
        },
        Case {
            name: "an answer that is no error",
            says: ok(r#"{"rcode":"NXDOMAIN","name":"a.","kind":"A"}"#),
            arguments: &["lookup", "a"],
            code: 0,
            prints: ";; a. A: NXDOMAIN",
        },
        Case {
            name: "a failure",
            says: ok(r#"{"rcode":"SERVFAIL","ede":[14,"not ready"]}"#),
            arguments: &["lookup", "a", "AAAA"],
            code: 1,
            prints: ";; EDE 14: not ready",
        },
        Case {
            name: "an order that is done",
            says: ok(r#"[{"zone":"cluster.local.","outcome":"frozen","remaining_s":7200}]"#),
            arguments: &["freeze", "--for", "2h"],
            code: 0,
            prints: "cluster.local. frozen for 7200 s",
        },
        Case {
            name: "an order that cannot be done",
            says: ok(r#"[{"zone":"cluster.local.","outcome":"no-such-generation","generation":7}]"#),
            arguments: &["rollback", "7"],
            code: 1,
            prints: "there is no snapshot 7",
        },
        Case {
            name: "an outcome of another release",
            says: ok(r#"[{"zone":"cluster.local.","outcome":"postponed"}]"#),
            arguments: &["thaw"],
            code: 1,
            prints: "the reply is another release's",
        },
        Case {
            name: "the process says no",
            says: Err(Refusal::failed("the disk hangs")),
            arguments: &["accept"],
            code: 1,
            prints: "the disk hangs",
        },
        Case {
            name: "the process says that it is asked wrongly",
            says: Err(Refusal::wrong("\"FOO\" is not a type of record")),
            arguments: &["lookup", "a", "FOO"],
            code: 2,
            prints: "is not a type of record",
        },
        Case {
            name: "no duration",
            says: ok("[]"),
            arguments: &["freeze", "--for", "soon"],
            code: 2,
            prints: "--for",
        },
        Case {
            name: "too short to be meant",
            says: ok("[]"),
            arguments: &["freeze", "--for", "5ms"],
            code: 2,
            prints: "1s or more",
        },
        Case { name: "no command", says: ok("[]"), arguments: &["reboot"], code: 2, prints: "reboot" },
    ];
    for Case { name, says, arguments, code, prints } in cases {
        let (got, out, error) = Speaker::start(says).ctl(arguments);
        assert_eq!(got, code, "{name}: {out}{error}");
        assert!(out.contains(prints) || error.contains(prints), "{name}: {out}{error}");
    }
}

#[test]
fn nobody_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, error) =
        run(outlast().args(["ctl", "status", "--socket"]).arg(folder.path().join("node.sock")));
    assert!(code == 1 && error.contains("node.sock: nobody answers there: is it running"), "{error}");
    let (code, _, error) = run(outlast().args(["ctl", "status"]).env("OUTLAST_CONTROL", "off"));
    assert!(code == 2 && error.contains("--socket names it"), "{error}");
}
