//! Programs of other people that tests start: where they are, and what happens where they are not.
//!
//! `cargo test` needs nothing but Rust and a C compiler. A test that needs more says so on standard error, where
//! the harness hides nothing, and is skipped; with `OUTLAST_TEST_PROGRAMS=required`, as in CI, it fails.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where what is missing makes tests fail, this variable is `required`.
const VARIABLE: &str = "OUTLAST_TEST_PROGRAMS";

/// Folders besides those of `PATH`: servers are not in everybody's, and `.ci/run` unpacks what must not be
/// installed.
const FOLDERS: [&str; 5] = [
    "/usr/sbin",
    "/sbin",
    "/lib/systemd",
    concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-programs/lib/systemd"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-programs/usr/bin"),
];

/// Programs, and files of libraries, with the packages of Debian that have them.
const PACKAGES: [(&str, &str); 35] = [
    ("/usr/include/ares.h", "libc-ares-dev"),
    ("buildah", "buildah"),
    ("cc", "gcc"),
    ("chromium-headless-shell", "chromium-headless-shell"),
    ("dbus-daemon", "dbus-daemon"),
    ("delv", "bind9-dnsutils"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("dnssec-keygen", "bind9-utils"),
    ("dnssec-signzone", "bind9-utils"),
    ("getent", "libc-bin"),
    ("ip", "iproute2"),
    ("ip6tables-legacy", "iptables"),
    ("ip6tables-nft", "iptables"),
    ("iptables-legacy", "iptables"),
    ("iptables-nft", "iptables"),
    ("kdig", "knot-dnsutils"),
    ("kubectl", "kubernetes-client"),
    ("mount", "mount"),
    ("musl-gcc", "musl-tools"),
    ("nft", "nftables"),
    ("nsd", "nsd"),
    ("nsenter", "util-linux"),
    ("prlimit", "util-linux"),
    ("promtool", "prometheus"),
    ("resolvectl", "systemd-resolved"),
    ("runc", "runc"),
    ("setpriv", "util-linux"),
    ("sh", "dash"),
    ("sleep", "coreutils"),
    ("strace", "strace"),
    ("systemd-analyze", "systemd"),
    ("systemd-resolved", "systemd-resolved"),
    ("unbound", "unbound"),
    ("unshare", "util-linux"),
];

/// Where a program is.
///
/// # Panics
/// When it is not there: [`there`] is asked first.
pub(crate) fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is not there"))
}

/// Whether all of these programs are there.
///
/// # Panics
/// When one is missing where they are required.
pub(crate) fn there(names: &[&str]) -> bool {
    names.iter().all(|name| find(name).is_some() || skipped(&format!("{name} of package {}", package(name))))
}

/// Says that the current test is not done for want of `what`. Always false.
///
/// # Panics
/// Where it is required.
pub(crate) fn skipped(what: &str) -> bool {
    let required = std::env::var(VARIABLE).is_ok_and(|v| v == "required");
    assert!(!required, "{what} is missing, and {VARIABLE} says that it is required");
    let thread = std::thread::current();
    // The harness keeps what tests print with macros to itself as long as they pass.
    let line = format!("\n*** SKIPPED {}: no {what}\n", thread.name().unwrap_or("a test"));
    let _ = std::io::stderr().write_all(line.as_bytes());
    false
}

fn package(name: &str) -> &'static str {
    let known = PACKAGES.iter().find(|(program, _)| *program == name);
    known.unwrap_or_else(|| panic!("{name} is in the table")).1
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
    // Joined with an absolute path, a folder gives way to it.
    folders.map(|folder| folder.join(name)).find(|file| is_there(file, name))
}

fn is_there(file: &Path, name: &str) -> bool {
    let runs =
        |m: fs::Metadata| m.is_file() && (name.starts_with('/') || m.permissions().mode() & 0o111 != 0);
    fs::metadata(file).is_ok_and(runs)
}
