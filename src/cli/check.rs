//! `outlast check`: the verdict on a Corefile without starting anything.

use std::process::ExitCode;
use std::sync::Arc;

use super::config::ConfigArgs;
use crate::node::setup::plan;
use crate::ops::metrics::Metrics;

/// Arguments of `outlast check`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  outlast check --conf Corefile && echo fine
  outlast check --conf Corefile --source file:cluster.yaml --snapshot /var/lib/outlast

Flags and environment variables are those of outlast node, so that the verdict is on what a node would do.")]
pub(super) struct Args {
    /// What to check.
    #[command(flatten)]
    config: ConfigArgs,
}

/// Exit status 0 if a node would start with this Corefile, else 2.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let corefile = match args.config.load() {
        Ok(corefile) => corefile,
        Err(error) => return Ok(super::wrong(&error)),
    };
    for warning in &corefile.warnings {
        eprintln!("{} - Warning: {}", warning.position, warning.text);
    }
    match plan(&corefile, &args.config.environment(Arc::new(Metrics::new()))) {
        Ok(plan) => {
            for server in &plan.servers {
                println!("{}: {}", server.identity, server.banner.join(", "));
            }
            println!("{}: ok", args.config.conf.display());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(super::wrong(&error)),
    }
}
