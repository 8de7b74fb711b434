//! Machines of a test's own: a network and a view of `/etc` and `/run` that nobody else sees, so that real clients
//! and real configurations find port 53, `resolv.conf` and the files of a pod where they look for them.
//!
//! Machines need root. Everything in them ends with their processes, and these with the test, also one that fails.

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, setns};

use super::process::{Process, isolate};
use super::programs::{skipped, there};

/// How long an abandoned machine stays, in seconds: a test that is killed cannot take it away.
const LONGEST_LIFE: u32 = 1800;

/// Files of the real `/etc` without which programs do not start.
const KEPT: [&str; 4] = ["ld.so.cache", "ld.so.conf", "protocols", "services"];

/// Users that programs become.
const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\n\
                      systemd-resolve:x:991:991::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n";

/// The same as groups.
const GROUP: &str = "root:x:0:\nmessagebus:x:100:\nsystemd-resolve:x:991:\nnogroup:x:65534:\n";

/// Whether machines can be had here: by root, with permission to make namespaces.
pub(crate) fn possible() -> bool {
    if !there(&["sh", "sleep", "unshare", "nsenter", "mount", "ip"]) {
        return false;
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "ip", "link", "set", "lo", "up"]);
    let (code, _, error) = super::process::run(&mut command);
    code == 0 || skipped(&format!("network and mount namespaces (they need root: {})", error.trim()))
}

/// A machine. Its folder is at the same path within and without.
pub(crate) struct Machine {
    /// Holds the namespaces until it ends.
    holder: Process,
    /// The network, open: a process id could come to mean another process.
    network: File,
    folder: tempfile::TempDir,
}

impl Machine {
    /// A machine with these addresses besides 127.0.0.1 and ::1.
    pub(crate) fn new(addresses: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (etc, run) = (folder.path().join("etc"), folder.path().join("run"));
        fs::create_dir(&etc).unwrap();
        fs::create_dir(&run).unwrap();
        for name in KEPT {
            // Not every system has all of them.
            let _ = fs::copy(Path::new("/etc").join(name), etc.join(name));
        }
        fs::write(etc.join("passwd"), PASSWD).unwrap();
        fs::write(etc.join("group"), GROUP).unwrap();
        fs::write(etc.join("hosts"), "127.0.0.1 localhost\n").unwrap();
        fs::write(etc.join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n").unwrap();
        fs::write(etc.join("resolv.conf"), "").unwrap();
        let addresses: String = addresses.iter().map(|a| format!("ip addr add {a} dev lo\n")).collect();
        let script = format!(
            "set -e\n\
             mount --make-rprivate /\n\
             mount --bind {etc} /etc\n\
             mount --bind {run} /run\n\
             ip link set lo up\n\
             {addresses}\
             echo ready\n\
             exec sleep {LONGEST_LIFE}\n",
            etc = etc.display(),
            run = run.display(),
        );
        let mut command = Command::new("unshare");
        isolate(command.args(["--net", "--mount", "sh", "-c", &script]));
        let holder = Process::start(&mut command);
        holder.wait_for("a machine", |p| p.output().contains("ready").then_some(()));
        let network = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        Self { holder, network, folder }
    }

    /// Connects it with another machine, which becomes its way to everywhere, and it that one's.
    pub(crate) fn connect(&self, other: &Self, own: IpAddr, others: IpAddr) {
        self.wire(other, ["wan", "wan"]);
        for (machine, address, way) in [(self, own, others), (other, others, own)] {
            let address = format!("{address}/30");
            machine.ip(&["addr", "add", &address, "dev", "wan"]);
            machine.ip(&["link", "set", "wan", "up"]);
            machine.ip(&["route", "add", "default", "via", &way.to_string()]);
        }
    }

    /// Lays a cable to another machine: an interface of the first name here, and of the second one there.
    pub(crate) fn wire(&self, other: &Self, [here, there]: [&str; 2]) {
        let to = other.holder.id().to_string();
        self.ip(&["link", "add", here, "type", "veth", "peer", "name", there, "netns", &to]);
    }

    fn ip(&self, arguments: &[&str]) {
        let (code, _, error) = super::process::run(self.command("ip").args(arguments));
        assert_eq!(code, 0, "ip {arguments:?}: {error}");
    }

    /// A path in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of its folder, with the folders above; `etc/x` is its `/etc/x`.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A command on it, without what this process's own environment would tell it.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let id = self.holder.id();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{id}/ns/net")).arg(format!("--mount=/proc/{id}/ns/mnt"));
        // A pipe as standard output would otherwise have some programs speak another language, or none.
        command.arg(program.as_ref()).env("LC_ALL", "C");
        isolate(&mut command);
        command
    }

    /// The command that is tested, on it.
    pub(crate) fn outlast(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_outlast"))
    }

    /// Does something in its network.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let join = || {
            setns(&self.network, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        // A thread of its own: the others stay where they are.
        std::thread::scope(|scope| match scope.spawn(join).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}
