//! The command line: subcommands of our own, and the flags of CoreDNS and node-cache as they are.
//!
//! Exit status: 0 for success, 2 for wrong flags or a wrong configuration (nothing was started), 1 for
//! everything that went wrong later.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the part that speaks to people")]

mod certs;
mod check;
mod config;
mod control;
mod coredns;
mod ctl;
mod drill;
mod hub;
mod lookup;
mod net;
mod node;
mod nodecache;
mod page;
mod process;
mod snapshot;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::ops::metrics::BuildInfo;

/// Cluster DNS that outlasts the control plane.
#[derive(Parser)]
#[command(name = "outlast", version, about, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  outlast node --conf Corefile                   serve DNS
  outlast -conf Corefile -dns.port 1053          the same, with CoreDNS's flags
  outlast hub --snapshot /var/lib/outlast        watch the API server once, for all nodes
  outlast check --conf Corefile                  is the Corefile right? exit status 0 or 2
  outlast snapshot show /var/lib/outlast         what is on the disk, and how old it is
  outlast lookup web.shop.svc.cluster.local A --snapshot /var/lib/outlast
                                                 what would be answered, without a server
  outlast certs init --out ca                    an authority for hubs and nodes
  outlast ctl status                             in an outage: what this node knows, and what to do next
  outlast drill standin --kubeconfig kubeconfig  a made-up cluster's API server, to try a node with

CoreDNS's flags -conf, -dns.port, -p, -pidfile, -quiet, -version and -plugins work without a subcommand, and so do
all of node-cache: -localip, -interfacename, -setupinterface, -setupiptables, -skipteardown, -health-port, -basecorefile,
-corefile, -kubednscm, -upstreamsvc, -metrics-listen-address, -syncinterval and -reloadwithsignal.";

/// The subcommands.
#[derive(Subcommand)]
enum Command {
    /// Serve DNS as a Corefile says
    Node(node::Args),
    /// Watch the cluster once, for all nodes: the shared cache
    Hub(hub::Args),
    /// Check a Corefile without starting anything
    Check(check::Args),
    /// Look at snapshots: show, verify, diff, export, import
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Answer one question from a snapshot, offline
    Lookup(lookup::Args),
    /// Make certificates for hubs and nodes: init, issue, renew, show
    #[command(subcommand)]
    Certs(certs::Command),
    /// Ask a running node or hub: status, lookup, accept, freeze, rollback
    Ctl(ctl::Args),
    /// Try outages without a cluster
    Drill(drill::Args),
}

/// Exit status of wrong flags and wrong configurations.
const WRONG: u8 = 2;

/// Every subcommand, flag and environment variable, for those who check what is written of them elsewhere.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line; `arguments` begins with the program's name.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let arguments = match coredns::translate(&arguments) {
        coredns::Translated::Ours { arguments, idle } => {
            idle.iter().for_each(|idle| eprintln!("outlast: {idle}"));
            arguments
        }
        coredns::Translated::Printed => return ExitCode::SUCCESS,
        coredns::Translated::Wrong(message) => {
            eprintln!("outlast: {message}");
            return ExitCode::from(WRONG);
        }
    };
    // CoreDNS without arguments serves the Corefile of the working folder.
    let bare = arguments.len() <= 1;
    let arguments = if bare && Path::new("Corefile").is_file() {
        vec!["outlast".into(), "node".into()]
    } else {
        arguments
    };
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is the reader's wish.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(WRONG) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Node(args) => node::run(args),
        Command::Hub(args) => hub::run(args),
        Command::Check(args) => check::run(&args),
        Command::Snapshot(command) => snapshot::run(command),
        Command::Lookup(args) => lookup::run(&args),
        Command::Certs(command) => certs::run(command),
        Command::Ctl(args) => ctl::run(&args),
        Command::Drill(args) => drill::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("outlast: {error:#}");
        ExitCode::FAILURE
    })
}

/// What this program runs on and was built from, as CoreDNS prints it: `linux/x86_64, rust1.90, 0123abc`.
fn platform() -> String {
    let BuildInfo { version: _, revision, toolchain } = BuildInfo::CURRENT;
    format!("{}/{}, {toolchain}, {revision}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Prints a line on standard output. A closed pipe is the reader's wish, and no reason to panic.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Says what is wrong with a configuration, and gives the exit status for it.
fn wrong(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("outlast: {error}");
    ExitCode::from(WRONG)
}
