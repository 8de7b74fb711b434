//! `outlast check`: the verdict on a Corefile without starting or sending anything.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use super::config::ConfigArgs;
use super::net::NetArgs;
use crate::node::setup::{Plan, plan};
use crate::ops::metrics::Metrics;
use crate::source::SourceConfig;
use crate::source::apiserver::inspect;
use crate::trust::config::{TlsFiles, TrustConfig};

/// Arguments of `outlast check`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  outlast check --conf Corefile && echo fine
  outlast check --conf Corefile --source file:cluster.yaml --snapshot /var/lib/outlast
  outlast check --base-corefile Corefile.base --local-ip 169.254.20.10,10.96.0.10

Flags and environment variables are those of outlast node, so that the verdict is on what a node would do.
Addresses of --local-ip need not be on this machine, and nothing is put there.
Files that only a connection needs, a kubeconfig say, are looked at and warned of: a node starts without them.")]
pub(super) struct Args {
    /// What to check.
    #[command(flatten)]
    config: ConfigArgs,
    /// Which queries a node would answer instead of the cluster's DNS.
    #[command(flatten)]
    net: NetArgs,
}

/// Exit status 0 if a node would start with this Corefile, else 2.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let metrics = Arc::new(Metrics::new());
    // Whatever this machine has: it need not be a node.
    let addresses = match args.net.unseen(args.config.dns_port, args.config.upstream_service()) {
        Ok(addresses) => addresses,
        Err(error) => return Ok(super::wrong(&error)),
    };
    let text = match args.config.text(&addresses.local, &metrics) {
        Ok(text) => text,
        Err(error) => return Ok(super::wrong(&error)),
    };
    let corefile = match text.check() {
        Ok(corefile) => corefile,
        Err(error) => return Ok(super::wrong(&error)),
    };
    match args.config.hubs_unknown() {
        Ok(Some(warning)) => eprintln!("{} - Warning: {warning}", text.path().display()),
        Ok(None) => {}
        Err(error) => return Ok(super::wrong(&error)),
    }
    let mut environment = args.config.environment(metrics);
    addresses.tell(&mut environment.overrides);
    let plan = plan(&corefile, &environment);
    let planned = plan.as_ref().map_or(&[][..], |plan| &plan.process.warnings);
    for warning in corefile.warnings.iter().chain(planned) {
        eprintln!("{} - Warning: {}", warning.position, warning.text);
    }
    match plan {
        Ok(plan) => {
            for problem in problems(&plan)? {
                eprintln!("{} - Warning: {problem}", text.path().display());
            }
            for server in &plan.servers {
                super::say(format_args!("{}: {}", server.identity, server.banner.join(", ")));
            }
            super::say(format_args!("{}: ok", text.path().display()));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(super::wrong(&error)),
    }
}

/// What would keep a node from its sources. It would start all the same: files come late and change, and there
/// is the snapshot meanwhile.
fn problems(plan: &Plan) -> anyhow::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut problems = Vec::new();
    for (config, _) in &plan.process.stores {
        match &config.source {
            SourceConfig::ApiServer(access) => problems.extend(runtime.block_on(inspect::problem(access))),
            SourceConfig::Hub(access) => problems.extend(unreadable(&access.trust)),
            SourceConfig::File(_) => {}
        }
    }
    Ok(problems)
}

/// The files of TLS that cannot be read.
fn unreadable(trust: &TrustConfig) -> Vec<String> {
    let TrustConfig::Tls(TlsFiles { ca, cert, key, grace: _ }) = trust else { return Vec::new() };
    let problem = |what: &str, path: &Path| {
        let error = std::fs::File::open(path).err()?;
        Some(format!("{what} of the hubs' TLS cannot be read: {}: {error}", path.display()))
    };
    let problems = [problem("the authority", ca), problem("the certificate", cert), problem("the key", key)];
    problems.into_iter().flatten().collect()
}
