//! Whatever it does to the node, it starts no program for it: what is not in the image cannot be missing.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lan::{LED_HERE, Lan};
use super::process::Process;
use super::programs::there;
use super::world::{nft, output};

/// Longer than a beat may be late.
const STOPPED: Duration = Duration::from_millis(2500);

/// The same command below `strace`, which writes who starts a program.
fn traced(lan: &Lan) -> Command {
    let command = lan.command("");
    let mut traced = lan.node.command("strace");
    traced.args(["-f", "--seccomp-bpf", "-e", "trace=execve,execveat", "-o"]);
    traced.arg(lan.node.path("trace"));
    // Without what enters the machine.
    traced.args(command.get_args().skip_while(|argument| *argument != env!("CARGO_BIN_EXE_outlast")));
    traced.arg("--pidfile").arg(lan.node.path("pid"));
    traced
}

#[test]
fn nothing_is_started_for_a_start_a_withdrawal_a_repair_and_a_stop() {
    if !there(&["strace"]) {
        return;
    }
    let Some(lan) = Lan::new() else { return };
    let mut process = Process::start(&mut traced(&lan));
    lan.wait_until_whole(&process);
    let id: i32 = fs::read_to_string(lan.node.path("pid")).unwrap().trim().parse().unwrap();
    let signal = |signal| kill(Pid::from_raw(id), signal).unwrap();
    let said = |what: &str, times: usize| {
        process.wait_for(what, |p| (p.output().matches(what).count() >= times).then_some(()));
    };
    signal(Signal::SIGSTOP);
    std::thread::sleep(STOPPED);
    signal(Signal::SIGCONT);
    said("queries are led to the cluster's DNS", 1);
    said(LED_HERE, 2);
    nft(&lan.node, "delete table ip outlast");
    output(&lan.node, "ip", "addr del 10.96.0.10/32 dev lo");
    said("put back", 2);
    signal(Signal::SIGTERM);
    assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
    let trace = fs::read_to_string(lan.node.path("trace")).unwrap();
    let started: Vec<_> = trace.lines().filter(|line| line.contains("execve")).collect();
    println!("{}", started.join("\n"));
    assert!(started.len() == 1 && started[0].contains(env!("CARGO_BIN_EXE_outlast")), "{trace}");
}
