//! The image, built from the `Dockerfile` by a tool that needs no registry, and run as the manifests have it run: on a
//! root that cannot be written, with two capabilities and no way to get more.
//!
//! The program in it is built before, as the `Dockerfile` says; where it is not, there is nothing to test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "common/machine.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod machine;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "common/programs.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use machine::{Machine, possible};
use nix::sys::signal::Signal;
use outlast::testkit::client::Query;
use outlast::testkit::cluster::{ns, slice, svc, write_json};
use process::{Process, ask, run};
use programs::{program, there};
use serde_json::{Value, json};

/// What the image may have at most, in bytes.
const LARGEST: u64 = 25_000_000;

/// Where the program that the image takes is.
const BINARY: &str = "target/x86_64-unknown-linux-gnu/dist/outlast";

/// Where it is required, this variable is `required`.
const VARIABLE: &str = "OUTLAST_TEST_IMAGE";

/// An address to answer at.
const ADDRESS: &str = "169.254.20.10";

/// The repository.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether the image can be built here.
fn possible_with_image() -> bool {
    if !repository().join(BINARY).is_file() {
        let required = std::env::var(VARIABLE).is_ok_and(|v| v == "required");
        assert!(!required, "{BINARY} is missing, and {VARIABLE} says that it is required");
        // The harness keeps what tests print with macros to itself as long as they pass.
        let line = format!("\n*** SKIPPED: no {BINARY}; the Dockerfile says how it is built\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        return false;
    }
    there(&["buildah", "runc"]) && possible()
}

/// The instructions of a file for building, each on one line.
fn instructions(file: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join(file)).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.join("\n").replace("\\\n", "").lines().map(str::to_owned).collect()
}

/// Where they are alike, what manifests say of one image is so of the other.
#[test]
fn the_image_with_iptables_is_the_other_one_with_iptables() {
    let plain = instructions("Dockerfile");
    let with = instructions("Dockerfile.iptables");
    let begins = with.iter().position(|line| line.starts_with("ARG BINARY=")).unwrap();
    assert_eq!(plain[0], "FROM scratch");
    assert_eq!(plain[1..], with[begins..], "from the program on they are the same");
    assert_eq!(plain[1], format!("ARG BINARY={BINARY}"));
    let words: Vec<_> = with[..begins].iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(words, ["ARG", "FROM", "ARG", "RUN"], "and before it there is iptables");
}

/// A folder with a shell, and with programs that take the place of Debian's and say what they were asked for.
fn base(folder: &Path) {
    let copy = |from: &Path| {
        let to = folder.join(from.strip_prefix("/").unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    for name in ["sh", "rm"] {
        let file = Path::new("/bin").join(name);
        let (_, libraries, _) = run(Command::new("ldd").arg(&file));
        copy(&file);
        libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
            .for_each(|word| copy(Path::new(word)));
    }
    for name in ["apt-get", "update-alternatives"] {
        let file = folder.join("bin").join(name);
        fs::write(&file, format!("#!/bin/sh\necho {name} \"$@\" >>/asked\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// With another base, as the packages of Debian's cannot be had without its servers.
#[test]
fn the_image_with_iptables_is_built_on_any_base() {
    if !possible_with_image() {
        return;
    }
    let store = Store(tempfile::tempdir().unwrap());
    let folder = tempfile::tempdir().unwrap();
    base(folder.path());
    let name = store.buildah(&["from", "scratch"]);
    store.buildah(&["copy", &name, folder.path().to_str().unwrap(), "/"]);
    store.buildah(&["commit", &name, "localhost/base"]);
    let build =
        ["bud", "--isolation", "chroot", "--file", "Dockerfile.iptables", "--tag", "outlast:iptables"];
    store.buildah(&[&build[..], &["--build-arg", "BASE=localhost/base", "."]].concat());
    let inspect = ["inspect", "--type", "image", "outlast:iptables"];
    let about: Value = serde_json::from_str(&store.buildah(&inspect)).unwrap();
    let config = &about["OCIv1"]["config"];
    assert_eq!((&config["Entrypoint"], &config["User"]), (&json!(["/outlast"]), &json!("0:0")));
    assert_eq!(config["WorkingDir"], "/");
    let name = store.buildah(&["from", "outlast:iptables"]);
    let root = PathBuf::from(store.buildah(&["mount", &name]));
    assert!(root.join("outlast").is_file());
    let asked = fs::read_to_string(root.join("asked")).unwrap();
    let want = [
        "apt-get update",
        "apt-get install --yes --no-install-recommends iptables",
        "update-alternatives --set iptables /usr/sbin/iptables-legacy",
        "update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy",
    ];
    assert_eq!(asked.lines().collect::<Vec<_>>(), want);
}

/// buildah with a store of its own.
struct Store(tempfile::TempDir);

impl Store {
    fn buildah(&self, words: &[&str]) -> String {
        let mut command = Command::new(program("buildah"));
        command.args(["--storage-driver", "vfs", "--root"]).arg(self.0.path().join("root"));
        command.arg("--runroot").arg(self.0.path().join("run")).args(words).current_dir(repository());
        let (code, out, err) = run(&mut command);
        assert_eq!(code, 0, "buildah {words:?}: {out}{err}");
        out.trim().to_owned()
    }
}

/// Every file below a folder, with its size.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let about = path.symlink_metadata().unwrap();
        if about.is_dir() { found.extend(files(&path)) } else { found.push((path, about.len())) }
    }
    found
}

/// The container that the DaemonSet's pod has, as runc is told of it.
fn container(root: &Path, machine: &Machine) -> Value {
    let capabilities = json!(["CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE"]);
    let bind = |name: &str, at: &str, mode: &str| json!({ "destination": at, "type": "bind", "source": machine.path(name), "options": ["rbind", mode] });
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["/outlast", "node", "--conf=/etc/outlast/config/Corefile"],
            "env": [
                format!("OUTLAST_LOCAL_IP={ADDRESS}"),
                "OUTLAST_SNAPSHOT=/var/lib/outlast",
                "OUTLAST_SOURCE=file:/etc/outlast/config/cluster.json",
            ],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "noNewPrivileges": true,
        },
        "root": { "path": root, "readonly": true },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            bind("config", "/etc/outlast/config", "ro"),
            bind("snapshots", "/var/lib/outlast", "rw"),
            bind("own", "/run/outlast", "rw"),
        ],
        // No namespace for the network: the pod is on its node's.
        "linux": { "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }] },
    })
}

#[test]
fn the_image_is_the_program_alone_and_runs_with_what_the_manifests_leave_it() {
    if !possible_with_image() {
        return;
    }
    let store = Store(tempfile::tempdir().unwrap());
    store.buildah(&["bud", "--isolation", "chroot", "--tag", "outlast:test", "."]);
    let about: Value =
        serde_json::from_str(&store.buildah(&["inspect", "--type", "image", "outlast:test"])).unwrap();
    let config = &about["OCIv1"]["config"];
    assert_eq!((&config["Entrypoint"], &config["User"]), (&json!(["/outlast"]), &json!("0:0")));
    let name = store.buildah(&["from", "outlast:test"]);
    let root = PathBuf::from(store.buildah(&["mount", &name]));
    let found = files(&root);
    let size: u64 = found.iter().map(|(_, size)| size).sum();
    println!("image: {} files, {size} bytes", found.len());
    assert_eq!(found.iter().map(|(path, _)| path.as_path()).collect::<Vec<_>>(), [root.join("outlast")]);
    assert!(size < LARGEST, "{size} bytes");

    let machine = Machine::new(&["192.168.7.1/32"]);
    for folder in ["config", "snapshots", "own", "bundle"] {
        fs::create_dir(machine.path(folder)).unwrap();
    }
    machine.write("config/Corefile", ".:53 {\n kubernetes cluster.local\n}\n");
    let cluster = [
        ns("shop"),
        svc("shop/web").ip("10.96.0.20").port("http", 80).build(),
        slice("shop/web-1", "web").port("http", 8080).v4("10.244.0.20").build(),
    ];
    write_json(&cluster, fs::File::create(machine.path("config/cluster.json")).unwrap()).unwrap();
    machine.write("bundle/config.json", &container(&root, &machine).to_string());
    let runc = |words: &[&str]| {
        let mut command = machine.command(program("runc"));
        command.arg("--root").arg(machine.path("runc")).args(words);
        command
    };
    let bundle = machine.path("bundle");
    let mut process =
        Process::start(&mut runc(&["run", "--bundle", bundle.to_str().unwrap(), "outlast-test"]));
    let asked =
        |words: &[&str]| run(&mut runc(&[&["exec", "outlast-test", "/outlast", "ctl"], words].concat()));
    // Ready means that queries are led to it as well, and that they were answered.
    process.wait_for("readiness", |_| (asked(&["ready"]).0 == 0).then_some(()));
    assert_eq!(asked(&["alive"]).1.trim(), "alive", "{}", process.output());
    let server = format!("{ADDRESS}:53").parse().unwrap();
    let answer = machine.inside(|| ask(server, &Query::a("web.shop.svc.cluster.local."))).unwrap();
    assert_eq!(answer.answers().len(), 1);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait_until_ended(), 0, "{}{}", process.output(), process.errors());
    assert!(!files(&machine.path("snapshots")).is_empty(), "its last snapshot is on the host");
}
