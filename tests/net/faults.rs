//! What clients notice of a program that is killed, stopped, out of memory or stuck: for how long nobody answers, until
//! the cluster's DNS does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use outlast::ops::pulse::Part;

use super::clients::{By, Client, Heard, ask, turn, until_broken, while_asking};
use super::lan::{LED_HERE, Lan, script};
use super::process::Process;
use super::programs::there;

/// The longest time that clients may be without answers.
const PROMISE: Duration = Duration::from_millis(1500);

/// How often each client asks: times are known to this.
const EVERY: Duration = Duration::from_millis(20);

/// How often a fault is tried where this machine is too busy for the load: the cluster's DNS itself, with which nothing is
/// wrong, has to have answered all of it.
const TRIES: usize = 3;

/// For how long all is well first.
const BEFORE: Duration = Duration::from_secs(1);

/// How long before a fault a query may have been sent that is lost by it.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// How long a fault lasts.
const LASTS: Duration = Duration::from_secs(4);

/// For how long all is well at the end, where the program comes back.
const AFTER: Duration = Duration::from_secs(1);

/// The least time of health before the program leads queries to itself again.
const PAUSE: Duration = Duration::from_secs(5);

/// Two threads for each address, however many processors there are.
const TWO: &str = " multisocket 2\n";

/// Who asks: a pod, and whatever has the node's own network.
const PLACES: [&str; 2] = ["pod-a", "host"];

/// The moments of a fault.
struct Times {
    /// It begins.
    struck: Instant,
    /// It is over: the program works again, or this is looked at no longer.
    over: Instant,
    /// Queries are led to the program again, if they ever are.
    back: Option<Instant>,
    /// Nobody asks any more.
    end: Instant,
}

/// Has clients ask while `strike` does something to the program, which goes on until what it gives back is dropped, and
/// after that where the program comes back. These lines are in its block besides.
fn suffer<T>(name: &str, lines: &str, comes_back: bool, strike: impl Fn(&Lan, &mut Process) -> T) {
    let _turn = turn();
    let measured = (1..=TRIES).any(|n| {
        let Some(lan) = Lan::new() else { return true };
        let mut process = lan.start(lines);
        let (others, mut clients) = (lan.clients_of_the_cluster(), lan.clients(&PLACES));
        clients.extend(&others);
        let (mut heard, times) = struck(&clients, &mut process, comes_back, |process| strike(&lan, process));
        let control = heard.split_off(heard.len() - others.len());
        for heard in &control {
            if !heard.all_by(By::Cluster, times.struck, times.end) {
                println!("{name}, try {n}: the cluster's DNS itself: {}", timeline(heard, times.struck));
                return false;
            }
        }
        judge(name, &heard, &times);
        if comes_back {
            process.signal(Signal::SIGTERM);
            assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
        }
        true
    });
    assert!(measured, "{name}: this machine is too busy for the load");
}

/// What clients hear, who ask before, during and after a fault of the program, and when that was.
fn struck<'a, T>(
    clients: &[Client<'a>],
    process: &mut Process,
    comes_back: bool,
    strike: impl FnOnce(&mut Process) -> T,
) -> (Vec<Heard<'a>>, Times) {
    while_asking(clients, EVERY, || {
        std::thread::sleep(BEFORE);
        let struck = Instant::now();
        let fault = strike(process);
        std::thread::sleep(LASTS);
        let over = Instant::now();
        drop(fault);
        let back = comes_back.then(|| {
            let is_back = |p: &Process| (p.output().matches(LED_HERE).count() == 2).then(Instant::now);
            process.wait_for("queries are led here again", is_back)
        });
        std::thread::sleep(if comes_back { AFTER } else { Duration::ZERO });
        Times { struck, over, back, end: Instant::now() }
    })
}

/// Prints how long each client was without answers, and compares that with the promise.
fn judge(name: &str, heard: &[Heard<'_>], times: &Times) {
    let Times { struck, over, back, end } = *times;
    let from = struck - UNDER_WAY;
    println!("{name}: ms without answers of a query every {} ms", EVERY.as_millis());
    for heard in heard {
        let gap = heard.gap(from, over);
        println!("  {}  {:4}", heard.client.name(), gap.as_millis());
        if gap > PROMISE {
            println!("  {}", timeline(heard, struck));
        }
    }
    if let Some(back) = back {
        println!("  led here again {} ms after it was over", back.duration_since(over).as_millis());
        assert!(back.duration_since(over) >= PAUSE, "only after a while of health");
    }
    for heard in heard {
        let (client, gap) = (heard.client.name(), heard.gap(from, over));
        // A machine that is busy with other tests may keep a beat waiting: the cluster's DNS answers in between.
        let by_node = |from, to| heard.between(from, to).any(|sent| sent.by == Some(By::Node));
        assert!(by_node(heard.sent[0].at, from), "{name}: {client}: the node before");
        assert!(gap <= PROMISE, "{name}: {client}: {} ms without answers", gap.as_millis());
        assert!(
            heard.all_by(By::Cluster, over - LASTS + PROMISE, over),
            "{name}: {client}: the cluster's DNS"
        );
        if let Some(back) = back {
            assert_eq!(heard.lost(over, back), 0, "{name}: {client}: nothing is lost on the way back");
            assert!(by_node(back, end), "{name}: {client}: the node again");
        }
    }
}

/// Who answered over all of the time, in ms from the fault on: for a failure alone.
fn timeline(heard: &Heard<'_>, struck: Instant) -> String {
    let spans = heard.sent.chunk_by(|one, next| one.by == next.by).map(|span| {
        let at = span[0].at;
        let ms = at.saturating_duration_since(struck).as_millis() as i128
            - struck.saturating_duration_since(at).as_millis() as i128;
        format!("{ms}: {} by {:?}", span.len(), span[0].by)
    });
    spans.collect::<Vec<_>>().join(", ")
}

#[test]
fn killed() {
    suffer("SIGKILL", "", false, |_, process| {
        process.signal(Signal::SIGKILL);
        process.wait_until_ended();
    });
}

#[test]
fn stopped() {
    suffer("SIGSTOP", "", true, |_, process| Stopped::new(process));
}

#[test]
fn out_of_memory() {
    let name = if Memory::is_possible() { "out of memory: cgroup" } else { "out of memory: prlimit" };
    // A file that grows is where memory goes.
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    let few = || fs::write(&hosts, "192.0.2.1 one.example\n").unwrap();
    few();
    let lines = format!(" hosts {} example {{\n  reload 100ms\n }}\n", hosts.display());
    suffer(name, &lines, false, |lan, process| {
        let memory = Memory::limit(process, lan);
        let many: String = (0..MANY).map(|n| format!("192.0.2.1 host-{n}.example\n")).collect();
        fs::write(&hosts, many).unwrap();
        assert_ne!(process.wait_until_ended(), 0, "{}", process.output());
        few();
        memory
    });
}

#[test]
fn one_stuck_listener_thread() {
    suffer("one of two udp threads stuck", TWO, true, |_, process| Stuck::one(process, "udp 10.96.0.10:"));
}

#[test]
fn one_stuck_listener_thread_of_ipv6() {
    suffer("one of two udp threads of IPv6 stuck", TWO, true, |_, process| {
        Stuck::one(process, "udp [fd00:96::a")
    });
}

#[test]
fn all_listener_threads_of_an_address_stuck() {
    suffer("all udp threads of an address stuck", "", true, |_, process| {
        Stuck::all(process, "udp 10.96.0.10:")
    });
}

#[test]
fn a_stuck_runtime() {
    suffer("stuck runtime of connections", "", true, |_, process| Stuck::all(process, "outlast-data"));
}

#[test]
fn a_stuck_thread_of_interception() {
    suffer("stuck thread of interception", "", true, |_, process| Stuck::all(process, "outlast-net"));
}

#[test]
fn connections_that_stay_hear_of_a_program_that_is_stopped() {
    let _turn = turn();
    let Some(lan) = Lan::new() else { return };
    let process = lan.start("");
    let mut clients = lan.clients(&PLACES);
    clients.retain(|client| client.part == Part::Tcp);
    let (broken, _stopped) = until_broken(&clients, EVERY, || Stopped::new(&process));
    println!("SIGSTOP: ms until a connection that stays is reset");
    for (client, after) in clients.iter().zip(&broken) {
        println!("  {}  {:4}", client.name(), after.as_millis());
    }
    for (client, after) in clients.iter().zip(broken) {
        assert!(after <= PROMISE, "{}: {} ms", client.name(), after.as_millis());
        assert_eq!(ask(client), Some(By::Cluster), "{}: the next one", client.name());
    }
}

/// A program that is stopped until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(process: &Process) -> Self {
        process.signal(Signal::SIGSTOP);
        Self(pid(process.id()))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        nix::sys::signal::kill(self.0, Signal::SIGCONT).unwrap();
    }
}

/// Threads of a program that do nothing until this is dropped. Others go on: a signal would stop them all.
struct Stuck(Vec<Pid>);

impl Stuck {
    /// All threads of this name, of which the kernel keeps 15 bytes.
    fn all(process: &Process, name: &str) -> Self {
        let threads = Self::threads(process, name);
        assert!(!threads.is_empty(), "{name}: no such thread");
        Self::of(threads)
    }

    /// One of several threads of this name: probes may be answered by the others.
    fn one(process: &Process, name: &str) -> Self {
        let mut threads = Self::threads(process, name);
        assert!(threads.len() > 1, "{name}: {} threads", threads.len());
        threads.truncate(1);
        Self::of(threads)
    }

    fn threads(process: &Process, name: &str) -> Vec<Pid> {
        let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
        let named = tasks
            .map(|task| task.unwrap().path())
            .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name));
        named.map(|task| pid(number(&task))).collect()
    }

    fn of(threads: Vec<Pid>) -> Self {
        for thread in &threads {
            ptrace::seize(*thread, ptrace::Options::empty()).unwrap();
            ptrace::interrupt(*thread).unwrap();
            waitpid(*thread, Some(WaitPidFlag::__WALL)).unwrap();
        }
        Self(threads)
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        for thread in &self.0 {
            ptrace::detach(*thread, None).unwrap();
        }
    }
}

/// Lines of a file of hosts that take more than [`ROOM`].
const MANY: usize = 200_000;

/// How much more memory a program may have, in bytes.
const ROOM: u64 = 4 << 20;

/// A limit of a program's memory, for as long as this lives.
struct Memory(Option<PathBuf>);

impl Memory {
    /// Where groups with a limit of memory are made, and the name of the limit; `None` where they cannot be.
    fn place() -> Option<(&'static Path, &'static str)> {
        let first = (Path::new("/sys/fs/cgroup/memory"), "memory.limit_in_bytes");
        let second = (Path::new("/sys/fs/cgroup"), "memory.max");
        [first, second].into_iter().find(|(folder, limit)| {
            let group = folder.join(format!("outlast-test-{}-try", std::process::id()));
            let made = fs::create_dir(&group).is_ok();
            let limited = made && group.join(limit).exists();
            if made {
                let _ = fs::remove_dir(&group);
            }
            limited
        })
    }

    /// Whether the kernel can be told to kill it.
    fn is_possible() -> bool {
        Self::place().is_some()
    }

    /// Lets it have [`ROOM`] more.
    fn limit(process: &Process, lan: &Lan) -> Self {
        let Some((folder, limit)) = Self::place() else {
            if there(&["prlimit"]) {
                let status = fs::read_to_string(format!("/proc/{}/statm", process.id())).unwrap();
                let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
                let most = pages * 4096 + ROOM;
                script(&lan.node, &format!("prlimit --pid {} --as={most}", process.id()));
            }
            return Self(None);
        };
        let group = folder.join(format!("outlast-test-{}", std::process::id()));
        fs::create_dir(&group).unwrap();
        let this = Self(Some(group.clone()));
        // What it has stays its old group's.
        fs::write(group.join(limit), ROOM.to_string()).unwrap();
        fs::write(group.join("cgroup.procs"), process.id().to_string()).unwrap();
        this
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            let _ = fs::remove_dir(group);
        }
    }
}

/// The number that a folder of `/proc` is named by.
fn number(task: &Path) -> u32 {
    task.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap())
}
