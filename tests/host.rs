//! The units of `manifests/host`, judged by systemd itself, and what the program tells a manager that started it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "common/programs.rs"]
mod programs;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use process::{PATIENCE, Process, outlast, run};
use programs::{program, there};

/// The units.
const UNITS: [&str; 3] = ["outlast-node.service", "outlast-hub.service", RENEWAL];

/// The one that renews certificates, of the folder that follows the `@`.
const RENEWAL: &str = "outlast-certs@.service";

/// What starts it.
const TIMER: &str = "outlast-certs@.timer";

/// The most that `systemd-analyze security` may find exposed, of 10: below it lies what it calls OK.
const EXPOSED: f64 = 2.0;

/// A unit as it is in the repository.
fn text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/host").join(name)).unwrap()
}

/// A unit in `folder`, with the program where it is on this machine; a template as one of what it stands for.
fn unit(folder: &Path, name: &str) -> PathBuf {
    let text = text(name);
    let here = env!("CARGO_BIN_EXE_outlast");
    assert!(name == TIMER || text.contains("ExecStart=/usr/local/bin/outlast "), "{name}");
    let path = folder.join(name.replace("@.", "@tls."));
    fs::write(&path, text.replace("/usr/local/bin/outlast", here)).unwrap();
    path
}

/// The values of a key of a unit.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// Output and errors of `systemd-analyze`.
fn analyze(words: &[&str], unit: &Path) -> (bool, String) {
    let output = Command::new(program("systemd-analyze")).args(words).arg(unit).output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    if !there(&["systemd-analyze"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in UNITS.into_iter().chain([TIMER]) {
        let unit = unit(folder.path(), name);
        let (fine, said) = analyze(&["verify"], &unit);
        let file = unit.file_name().unwrap().to_str().unwrap();
        let complaints: Vec<_> = said.lines().filter(|line| line.contains(file)).collect();
        assert!(fine && complaints.is_empty(), "{name}: {said}");
    }
    let wrong = unit(folder.path(), UNITS[0]);
    let text = fs::read_to_string(&wrong).unwrap().replace("WatchdogSec=10", "WatchdogSeconds=10");
    fs::write(&wrong, text).unwrap();
    assert!(analyze(&["verify"], &wrong).1.contains("WatchdogSeconds"), "what is wrong is found");
}

#[test]
fn units_leave_little_exposed() {
    if !there(&["systemd-analyze"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in UNITS {
        let (_, said) = analyze(&["security", "--offline=yes", "--no-pager"], &unit(folder.path(), name));
        let line = said
            .lines()
            .find(|line| line.contains("Overall exposure level"))
            .unwrap_or_else(|| panic!("{said}"));
        let score: f64 = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
        println!("{name}: {score} of 10 exposed");
        assert!(score <= EXPOSED, "{line}");
    }
}

/// The system calls of a set, as this systemd knows it.
fn calls_of(set: &str) -> BTreeSet<String> {
    let output = Command::new(program("systemd-analyze")).args(["syscall-filter", set]).output().unwrap();
    assert!(output.status.success(), "{set}");
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.lines().map(str::trim).filter(|line| !line.starts_with('#') && *line != set);
    let parts = words.filter(|word| !word.is_empty()).map(|word| match word.starts_with('@') {
        true => calls_of(word),
        false => BTreeSet::from([word.to_owned()]),
    });
    parts.flatten().collect()
}

/// Lines of a filter are applied in their order: what a later one names is allowed again.
#[test]
fn threads_may_give_way_within_the_units_and_take_nothing_else() {
    if !there(&["systemd-analyze"]) {
        return;
    }
    for name in ["outlast-node.service", "outlast-hub.service"] {
        let mut allowed = BTreeSet::new();
        for line in values(&text(name), "SystemCallFilter") {
            let words = line.trim_start_matches('~').split(' ');
            let calls = words.flat_map(|word| match word.starts_with('@') {
                true => calls_of(word),
                false => BTreeSet::from([word.to_owned()]),
            });
            if line.starts_with('~') {
                calls.for_each(|call| _ = allowed.remove(&call));
            } else {
                allowed.extend(calls);
            }
        }
        assert!(allowed.contains("recvmmsg"), "{name}: {allowed:?}");
        assert!(allowed.contains("setpriority"), "{name}");
        assert!(!allowed.contains("sched_setscheduler") && !allowed.contains("chroot"), "{name}");
    }
}

/// systemd has the authority's files under the names of credentials, in a folder of this one's own.
#[test]
fn the_unit_that_renews_certificates_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let certs = |words: &[&str]| {
        let (code, said, error) = run(outlast().arg("certs").args(words).current_dir(folder.path()));
        assert_eq!(code, 0, "{words:?}: {said}{error}");
        said
    };
    certs(&["init", "--out", "authority"]);
    certs(&["issue", "--ca", "authority", "--out", "tls", "node"]);
    let unit = text(RENEWAL);
    fs::create_dir(path("credentials")).unwrap();
    for credential in values(&unit, "LoadCredential") {
        let (name, from) = credential.split_once(':').unwrap();
        let from = from.strip_prefix("/etc/outlast/").unwrap();
        fs::copy(path(from), path("credentials").join(name)).unwrap();
    }
    let [line] = values(&unit, "ExecStart")[..] else { panic!("one command") };
    let words = line.replace("${CREDENTIALS_DIRECTORY}", "credentials").replace("/etc/outlast/%i", "tls");
    let words: Vec<_> = words.strip_prefix("/usr/local/bin/outlast certs ").unwrap().split(' ').collect();
    let before = fs::read(path("tls/tls.crt")).unwrap();
    let said = certs(&words);
    assert!(said.contains("nothing to do yet"), "{said}");
    assert_eq!(fs::read(path("tls/tls.crt")).unwrap(), before);
    certs(&[&words[..], &["--force"]].concat());
    assert_ne!(fs::read(path("tls/tls.crt")).unwrap(), before, "as when a third of its life is over");
    assert_eq!(values(&unit, "ReadWritePaths"), ["/etc/outlast/%i"], "where it writes");
    let node = text("node.env");
    for file in ["ca.crt", "tls.crt", "tls.key"] {
        assert!(node.contains(&format!("=/etc/outlast/tls/{file}")), "a node reads {file} there");
        assert!(text("hub.env").contains(&format!("=/etc/outlast/hub-tls/{file}")), "and a hub");
    }
}

/// The next message to a manager.
fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    let len = manager.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..len].to_vec()).unwrap()
}

#[test]
fn a_manager_is_told_when_it_answers_that_it_lives_and_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("notify");
    let manager = UnixDatagram::bind(&at).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let corefile = folder.path().join("Corefile");
    // Data that never comes, as on a node that starts before everything else: systemd must not wait for it.
    fs::write(&corefile, ".:0 {\n bind 127.0.0.1\n kubernetes cluster.local\n}\n").unwrap();
    let source = format!("--source=file:{}", folder.path().join("nothing.json").display());
    let mut process = Process::start(
        outlast()
            .args(["node", "--conf"])
            .args([corefile.as_os_str(), source.as_ref()])
            .env("NOTIFY_SOCKET", &at)
            .env("WATCHDOG_USEC", "100000"),
    );
    assert_eq!(told(&manager), "READY=1\nSTATUS=answering at 1 addresses");
    for _ in 0..3 {
        assert_eq!(told(&manager), "WATCHDOG=1");
    }
    process.signal(Signal::SIGTERM);
    let last = std::iter::repeat_with(|| told(&manager)).find(|told| told != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
    assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
}

#[test]
fn a_manager_that_cannot_be_meant_is_said() {
    for command in ["node", "hub"] {
        let words: &[&str] = if command == "hub" { &["--kubeconfig", "k", "--plain"] } else { &[] };
        let (code, _, err) = run(outlast().arg(command).args(words).env("NOTIFY_SOCKET", "run/notify"));
        assert_eq!(code, 2, "{err}");
        assert!(err.contains("NOTIFY_SOCKET \"run/notify\" is neither"), "{err}");
    }
}
