//! A thread that beats, and hangs in the middle of it: queries go elsewhere by themselves, and liveness says who it is.

use std::fs;

use super::machine::Machine;
use super::process::{Process, run};
use super::program::node;
use super::programs::there;
use super::world::{nft, possible_with_tables};

/// What hangs, and for how long, in microseconds: longer than any thread may be silent.
const HANGS: [&str; 4] = ["-e", "trace=sendto", "-e", "inject=sendto:delay_enter=60000000"];

/// The thread of this name of a process.
fn thread(process: &Process, name: &str) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let is = |task: &fs::DirEntry| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let task = tasks.map(Result::unwrap).find(is).expect("it is there");
    task.file_name().into_string().unwrap()
}

#[test]
fn a_thread_that_hangs_between_two_beats_is_named() {
    if !possible_with_tables() || !there(&["strace"]) {
        return;
    }
    let machine = Machine::new(&[]);
    let process = Process::start(&mut node(&machine, &["--local-ip=10.96.0.10,169.254.20.10"]));
    process.wait_for("interception", |p| p.output().contains("queries are led here").then_some(()));
    let alive = || {
        let mut alive = machine.outlast();
        run(alive.args(["ctl", "alive"]).env("OUTLAST_CONTROL", machine.path("control")))
    };
    assert_eq!(alive().0, 0, "{}", alive().1);
    let mut strace = machine.command("strace");
    strace.args(["-p", &thread(&process, "outlast-net")]).args(HANGS);
    let strace = Process::start(strace.arg("-o").arg(machine.path("trace")));
    let said = process.wait_for("liveness", |_| {
        let (code, said, error) = alive();
        (code != 0).then_some(said + &error)
    });
    println!("{}", said.trim());
    assert!(said.contains("not alive: thread outlast-net gives no sign of life for 1"), "{said}");
    assert!(!nft(&machine, "list set ip outlast live").contains("elements"), "nobody is led here meanwhile");
    drop(strace);
    process.wait_for("that it goes on", |_| (alive().0 == 0).then_some(()));
}
