//! `outlast drill`: for people who want to see what an outage does, without a cluster.

mod standin;

use std::process::ExitCode;

/// Arguments of `outlast drill`.
#[derive(clap::Subcommand)]
#[command(after_help = "Examples:
  outlast drill standin --kubeconfig kubeconfig")]
pub(super) enum Command {
    /// Serve a made-up cluster as its API server would
    Standin(standin::Args),
}

/// Runs a subcommand.
pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Standin(args) => standin::run(args),
    }
}
