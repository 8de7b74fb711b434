//! What both kinds of iptables have of a machine.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use super::machine::Machine;
use super::process::run;
use super::programs::{program, there};

/// How iptables keeps its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// In tables of its own.
    Legacy,
    /// In tables of nftables.
    Nft,
}

impl Kind {
    pub(super) const BOTH: [Self; 2] = [Self::Legacy, Self::Nft];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Nft => "nft",
        }
    }

    /// A program of it: `iptables`, `ip6tables-save`.
    fn program(self, name: &str) -> PathBuf {
        let (family, what) =
            name.split_once('-').map_or((name, String::new()), |(f, w)| (f, format!("-{w}")));
        // The others stand beside the one that is in the table of packages.
        program(&format!("{family}-{}", self.suffix()))
            .with_file_name(format!("{family}-{}{what}", self.suffix()))
    }

    /// A folder of the machine in which this kind is what `iptables` and `ip6tables` are.
    pub(super) fn folder(self, machine: &Machine) -> PathBuf {
        let folder = machine.path(&format!("iptables-{}", self.suffix()));
        if !folder.exists() {
            std::fs::create_dir(&folder).unwrap();
            for name in ["iptables", "ip6tables"] {
                // Which program it is it knows by its name.
                symlink(std::fs::canonicalize(self.program(name)).unwrap(), folder.join(name)).unwrap();
            }
        }
        folder
    }

    /// Has a command find this kind as `iptables`.
    pub(super) fn found_by<'a>(self, machine: &Machine, command: &'a mut Command) -> &'a mut Command {
        let others = std::env::var_os("PATH").unwrap_or_default();
        let folders = [self.folder(machine)].into_iter().chain(std::env::split_paths(&others));
        command.env("PATH", std::env::join_paths(folders).unwrap())
    }

    /// Gives `iptables` of this kind these words.
    pub(super) fn give(self, machine: &Machine, name: &str, words: &[&str]) {
        let (code, _, error) = run(machine.command(self.program(name)).args(words));
        assert_eq!(code, 0, "{name} {words:?}: {error}");
    }

    /// The same as somebody does who does not wait for the others.
    pub(super) fn give_past_the_lock(self, machine: &Machine, name: &str, words: &[&str]) {
        let mut command = machine.command(self.program(name));
        let (code, _, error) = run(command.env("XTABLES_LOCKFILE", machine.path("another.lock")).args(words));
        assert_eq!(code, 0, "{name} {words:?}: {error}");
    }

    /// Every rule that it has, both families, with its table; apart from chains and counters.
    pub(super) fn rules(self, machine: &Machine) -> Vec<String> {
        let mut rules = Vec::new();
        for name in ["iptables-save", "ip6tables-save"] {
            let (code, text, error) = run(&mut machine.command(self.program(name)));
            assert_eq!(code, 0, "{name}: {error}");
            let mut table = "";
            for line in text.lines() {
                if let Some(name) = line.strip_prefix('*') {
                    table = name;
                } else if line.starts_with("-A ") {
                    // The target has a new name, which some releases print.
                    rules.push(format!("{table} {line}").replace("-j CT --notrack", "-j NOTRACK"));
                }
            }
        }
        rules
    }
}

/// Whether both kinds are there.
pub(super) fn there_are_both() -> bool {
    there(&["iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft"])
}

/// The rules of an address, as `iptables-save` prints them, in the order of their chains: the last one that was put in
/// front is the first.
pub(super) fn of_node_cache(address: &str) -> Vec<String> {
    let address = if address.contains(':') { format!("{address}/128") } else { format!("{address}/32") };
    let to = |port: u16, p: &str| format!("-d {address} -p {p} -m {p} --dport {port}");
    let from = |port: u16, p: &str| format!("-s {address} -p {p} -m {p} --sport {port}");
    let untracked = |chain: &str, what: String| {
        format!(
            "raw -A {chain} {what} -m comment --comment \"NodeLocal DNS Cache: skip conntrack\" -j NOTRACK"
        )
    };
    let accepted = |chain: &str, what: String| {
        format!(
            "filter -A {chain} {what} -m comment --comment \"NodeLocal DNS Cache: allow DNS traffic\" -j ACCEPT"
        )
    };
    vec![
        untracked("PREROUTING", to(53, "udp")),
        untracked("PREROUTING", to(53, "tcp")),
        untracked("OUTPUT", from(8080, "tcp")),
        untracked("OUTPUT", to(8080, "tcp")),
        untracked("OUTPUT", to(53, "udp")),
        untracked("OUTPUT", to(53, "tcp")),
        untracked("OUTPUT", from(53, "udp")),
        untracked("OUTPUT", from(53, "tcp")),
        accepted("INPUT", to(53, "udp")),
        accepted("INPUT", to(53, "tcp")),
        accepted("OUTPUT", from(53, "udp")),
        accepted("OUTPUT", from(53, "tcp")),
    ]
}

/// All rules of these addresses, sorted.
pub(super) fn of_all(addresses: &[&str]) -> Vec<String> {
    sorted(addresses.iter().flat_map(|address| of_node_cache(address)).collect())
}

/// Some lines, sorted.
pub(super) fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}
