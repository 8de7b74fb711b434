//! What a fleet begins with: certificates, a kubeconfig, what hubs are started with, and whom nodes follow. A protection that
//! is off is left out here.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::hub::Hub;
use super::{ports, run};
use crate::drill::files;
use crate::drill::standin::Standin;
use crate::drill::standin::access::{Rights, USER};
use crate::drill::{Play, Without};
use crate::ops::switches::Switches;

/// The user of nodes, where they follow the API server themselves.
pub(in crate::drill) const NODE: &str = "node";

/// How many hubs there are.
const HUBS: usize = 2;

/// Hubs that follow the API server, each with a kubeconfig of its own; they keep so many bytes of changes, or as many as they
/// usually do.
pub(super) fn hubs(
    play: &Play<'_>,
    standin: &Standin,
    switches: &Switches,
    history_bytes: Option<usize>,
) -> anyhow::Result<Vec<Hub>> {
    let count = if play.is_without(Without::SecondHub) { 1 } else { HUBS };
    let addresses = (0..count).map(|_| ports::free()).collect::<anyhow::Result<Vec<_>>>()?;
    let kubeconfig = kubeconfig(play.folder, standin, USER)?;
    let file = |name: &str| play.folder.join(name).display().to_string();
    let mut hubs = Vec::new();
    for (n, address) in addresses.iter().enumerate() {
        let name = format!("hub-{n}");
        let siblings: Vec<_> =
            addresses.iter().filter(|other| *other != address).map(ToString::to_string).collect();
        let mut arguments = vec![
            ("--kubeconfig", kubeconfig.display().to_string()),
            ("--tls-ca", file("hub/ca.crt")),
            ("--tls-cert", file("hub/tls.crt")),
            ("--tls-key", file("hub/tls.key")),
            ("--move-within", "200ms".to_owned()),
        ];
        if !siblings.is_empty() {
            arguments.push(("--sibling", siblings.join(",")));
        }
        arguments.extend(history_bytes.map(|bytes| ("--history-bytes", bytes.to_string())));
        if !play.is_without(Without::Snapshot) {
            arguments.push(("--snapshot", snapshots(play.folder, &name).display().to_string()));
            arguments.push(("--snapshot-interval", "1s".to_owned()));
        }
        if play.is_without(Without::Guard) {
            arguments.push(("--guard", "off".to_owned()));
        }
        if play.is_without(Without::Grace) {
            arguments.push(("--cert-grace", "0s".to_owned()));
        }
        let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        let addresses = (*address, ports::free()?);
        hubs.push(Hub::new((play.program, play.folder), &name, addresses, arguments, switches.clone()));
    }
    Ok(hubs)
}

/// Where a process has its snapshots.
pub(in crate::drill) fn snapshots(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("snapshots-{name}"))
}

/// Lines of a node's `kubernetes` block: whom it follows, and what it goes without.
pub(super) fn following(play: &Play<'_>, standin: &Standin, hubs: &[Hub]) -> anyhow::Result<String> {
    let mut lines = if hubs.is_empty() {
        standin.access().set_user(NODE, Rights::READ_ALL);
        format!("kubeconfig {}\n", kubeconfig(play.folder, standin, NODE)?.display())
    } else {
        let addresses: Vec<_> = hubs.iter().map(|hub| hub.address.to_string()).collect();
        let files = ["ca.crt", "tls.crt", "tls.key"];
        let files = files.map(|file| play.folder.join("node").join(file).display().to_string());
        format!("hub {}\nhub_tls {}\n", addresses.join(" "), files.join(" "))
    };
    if play.is_without(Without::Guard) {
        lines.push_str("guard off\n");
    }
    if play.is_without(Without::Limit) {
        // Data may not be of any age: just beyond what is stale.
        lines.push_str("max_stale 31s\n");
    }
    if play.is_without(Without::Grace) {
        lines.push_str("cert_grace 0s\n");
    }
    Ok(lines)
}

/// A kubeconfig of a user, in a folder.
fn kubeconfig(folder: &Path, standin: &Standin, user: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(format!("kubeconfig-of-{user}"));
    files::replace(&path, &standin.kubeconfig_of(user)).context("writing a kubeconfig")?;
    Ok(path)
}

/// Certificates for hubs and nodes, in folders of their own, that last so many days.
pub(super) fn certificates(program: &Path, folder: &Path, days: u32) -> anyhow::Result<()> {
    let issue = |role: &str| format!("issue --ca ca --out {role} --days {days} {role}");
    for arguments in ["init --out ca".to_owned(), issue("hub"), issue("node")] {
        let arguments: Vec<_> = ["certs"].into_iter().chain(arguments.split(' ')).collect();
        run(program, folder, &arguments)?;
    }
    Ok(())
}
