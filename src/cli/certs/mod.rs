//! `outlast certs`: certificates for those who have no issuer of their own.
//!
//! The files are called as in a Secret of the type `kubernetes.io/tls`: `ca.crt`, `tls.crt`, `tls.key`. An authority's
//! folder has `ca.crt` and `ca.key`.

mod files;
mod make;
mod secrets;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use crate::trust::name::Role;

/// The authority's certificate.
const CA_CERT: &str = "ca.crt";

/// The authority's key.
const CA_KEY: &str = "ca.key";

/// A hub's or node's certificate.
const CERT: &str = "tls.crt";

/// Its key.
const KEY: &str = "tls.key";

/// Seconds.
const DAY: u64 = 86_400;

/// The longest life that can be asked for, in days: a century is no limit, and has no year with five digits.
const MAX_DAYS: u64 = 36_500;

/// Arguments of `outlast certs`.
#[derive(clap::Subcommand)]
#[command(after_help = "\
The certificates of hubs have one name, those of nodes another; both are made up, and nobody looks them up.
All nodes may share one certificate, and so may all hubs.

Examples:
  outlast certs init --out ca                    an authority: ca/ca.crt, ca/ca.key
  outlast certs issue --ca ca --out hub hub      for hubs: hub/ca.crt, hub/tls.crt, hub/tls.key
  outlast certs issue --ca ca --out node node    for nodes, the same files
  outlast certs renew --ca ca --out node         anew if a third of its life is over
  outlast certs secrets --kubeconfig ~/.kube/config  all of it as Secrets of a cluster
  outlast certs show node/tls.crt --ca ca/ca.crt who, until when, and whether it would be believed")]
pub(super) enum Command {
    /// Make an authority
    Init(InitArgs),
    /// Make a certificate for hubs or for nodes
    Issue(IssueArgs),
    /// Make a certificate anew when a third of its life is over
    Renew(RenewArgs),
    /// Keep authority and certificates as Secrets of a cluster: make what is missing, renew what is due
    Secrets(SecretsArgs),
    /// Say whose certificates these are and until when; exit status 1 if one would not be believed
    Show(ShowArgs),
}

/// Of `init`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  outlast certs init --out ca")]
pub(super) struct InitArgs {
    /// The folder for ca.crt and ca.key; made if it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// For how long it lasts: longer than every certificate that it issues
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u64).range(1..=MAX_DAYS))]
    days: u64,
    /// Its name, for people
    #[arg(long, default_value = "outlast authority")]
    name: String,
    /// Overwrite what is there: every certificate that the old authority issued is then worth nothing
    #[arg(long)]
    force: bool,
}

/// Of `issue`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  outlast certs issue --ca ca --out hub hub
  outlast certs issue --ca ca --out node-7 node --name node-7")]
pub(super) struct IssueArgs {
    /// For whom
    role: RoleName,
    /// The folder with the authority's ca.crt and ca.key
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// The folder for ca.crt, tls.crt and tls.key; made if it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The holder's name, for people; 'hub' or 'node' unless said
    #[arg(long)]
    name: Option<String>,
    /// For how long it lasts
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=MAX_DAYS))]
    days: u64,
    /// Overwrite what is there
    #[arg(long)]
    force: bool,
}

/// Of `renew`.
#[derive(clap::Args)]
#[command(after_help = "Does nothing while more than two thirds of its life are left: fit for a timer.

Examples:
  outlast certs renew --ca ca --out node")]
pub(super) struct RenewArgs {
    /// The folder with the authority's ca.crt and ca.key
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// The folder with the certificate
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// For how long it lasts; as long as the one before it unless said
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=MAX_DAYS))]
    days: Option<u64>,
    /// Renew it however much is left
    #[arg(long)]
    force: bool,
}

/// Of `secrets`.
#[derive(clap::Args)]
#[command(
    after_help = "Makes what is missing, and renews a certificate when a third of its life is over, when the authority is
another one, or when it would not be believed. Fit for a Job: it may run again, and twice at once.

The API server is that of the pod, unless --kubeconfig says otherwise. What it needs there: create on secrets, get and
update on these three.

Examples:
  outlast certs secrets
  outlast certs secrets --kubeconfig ~/.kube/config --namespace dns"
)]
pub(super) struct SecretsArgs {
    /// The namespace of the Secrets
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system", value_parser = object_name)]
    namespace: String,
    /// The Secret with the authority, ca.crt and ca.key: for nobody else's eyes
    #[arg(long, value_name = "SECRET", default_value = "outlast-ca", value_parser = object_name)]
    ca: String,
    /// The Secret for hubs: ca.crt, tls.crt and tls.key
    #[arg(long, value_name = "SECRET", default_value = "outlast-hub-tls", value_parser = object_name)]
    hub: String,
    /// The Secret for nodes, the same
    #[arg(long, value_name = "SECRET", default_value = "outlast-node-tls", value_parser = object_name)]
    node: String,
    /// For how long certificates last
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=MAX_DAYS))]
    days: u64,
    /// For how long a new authority lasts
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u64).range(1..=MAX_DAYS))]
    ca_days: u64,
    /// How the API server is reached, as kubectl has it
    #[arg(long, env = "OUTLAST_CERTS_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// A name as Kubernetes has it (RFC 1123 subdomain): it becomes a part of a path.
fn object_name(text: &str) -> Result<String, String> {
    let fits = |label: &str| {
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    match text.len() <= 253 && text.split('.').all(fits) {
        true => Ok(text.to_owned()),
        false => Err("write a name as Kubernetes has them: small letters, digits, '-' and '.'".to_owned()),
    }
}

/// Of `show`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  outlast certs show node/tls.crt
  outlast certs show hub/tls.crt node/tls.crt --ca ca/ca.crt")]
pub(super) struct ShowArgs {
    /// Certificates, PEM
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The authorities that have to be behind them, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Whom a certificate is for.
#[derive(Clone, Copy, clap::ValueEnum)]
enum RoleName {
    /// Serves nodes, and follows other hubs
    Hub,
    /// Follows hubs
    Node,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Hub => Self::Hub,
            RoleName::Node => Self::Node,
        }
    }
}

/// Runs a subcommand.
pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let now = unix_seconds();
    match command {
        Command::Init(args) => make::init(&args, now),
        Command::Issue(args) => make::issue(&args, now),
        Command::Renew(args) => make::renew(&args, now),
        Command::Secrets(args) => secrets::run(args, now),
        Command::Show(args) => show::show(&args, now),
    }
}

/// Now.
fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// A number of days.
const fn days(days: u64) -> Duration {
    Duration::from_secs(days.saturating_mul(DAY))
}

/// A moment as people read it: `2027-01-01T00:00:00Z`.
fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}
