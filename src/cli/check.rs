//! `outlast check`: the verdict on a Corefile without starting anything.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::node::{environment, load};
use crate::node::setup::{Overrides, plan};
use crate::ops::metrics::Metrics;

/// Arguments of `outlast check`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  outlast check --conf Corefile && echo fine")]
pub(super) struct Args {
    /// The Corefile, or `stdin`
    #[arg(long, default_value = "Corefile", value_name = "FILE")]
    conf: PathBuf,
    /// Port of server blocks that name none
    #[arg(long, default_value_t = 53, value_name = "PORT")]
    dns_port: u16,
    /// Where the cluster's objects come from, ahead of the Corefile: file:PATH
    #[arg(long, env = "OUTLAST_SOURCE", value_name = "SOURCE")]
    source: Option<crate::source::SourceConfig>,
}

/// Exit status 0 if a node would start with this Corefile, else 2.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let corefile = match load(&args.conf, args.dns_port) {
        Ok(corefile) => corefile,
        Err(error) => return Ok(super::wrong(&error)),
    };
    for warning in &corefile.warnings {
        eprintln!("{} - Warning: {}", warning.position, warning.text);
    }
    let overrides = Overrides { source: args.source.clone(), ..Overrides::default() };
    match plan(&corefile, &environment(Arc::new(Metrics::new()), overrides, None)) {
        Ok(plan) => {
            for server in &plan.servers {
                println!("{}: {}", server.identity, server.banner.join(", "));
            }
            println!("{}: ok", args.conf.display());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(super::wrong(&error)),
    }
}
