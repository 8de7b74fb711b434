//! `outlast certs secrets`: authority and certificates, kept as Secrets of a cluster.
//!
//! What it does follows from what is there, so it may be cut off anywhere and run again; and two at once end with what
//! either of them made, because who was overtaken looks again.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::super::say;
use super::make::RENEW_AFTER;
use super::{CA_CERT, CA_KEY, CERT, KEY, SecretsArgs, date, days};
use crate::source::apiserver::access::{IN_CLUSTER_VARIABLES, Place, is_in_cluster};
use crate::source::apiserver::secrets::{Secret, Secrets, Written};
use crate::trust::check::{check, key_fits};
use crate::trust::facts::Facts;
use crate::trust::issue::{self, Authority, Order};
use crate::trust::name::Role;
use crate::trust::pem;

/// How often it looks again after it was overtaken: others that do the same are done after one of them.
const TRIES: usize = 5;

/// What `kubernetes.io/tls` stands for: `tls.crt` and `tls.key` have to be there.
const TLS: &str = "kubernetes.io/tls";

/// What `kubectl get secret -l` finds them by, and which are ours to replace.
const LABEL: (&str, &str) = ("app.kubernetes.io/part-of", "outlast");

/// An authority as its Secret holds it.
struct Found {
    /// Issues.
    authority: Authority,
    /// Its certificate, PEM.
    text: Vec<u8>,
}

/// Makes and renews what has to be.
pub(super) fn run(args: SecretsArgs, now: i64) -> anyhow::Result<ExitCode> {
    let place = match &args.kubeconfig {
        Some(file) => Place::Kubeconfig { file: file.clone(), context: None },
        None if is_in_cluster(|name| std::env::var(name).ok()) => Place::InCluster,
        None => {
            let [host, port] = IN_CLUSTER_VARIABLES;
            bail!("this is no pod of a cluster ({host} and {port} are not set): write --kubeconfig FILE");
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let secrets = Secrets::new(place, &args.namespace).await?;
        let found = authority(&secrets, &args, now).await?;
        let end = found.authority.not_after();
        if end <= now {
            bail!(
                "the authority ended at {}: delete Secret {} and run this again; nodes and hubs take up what it makes \
                 as they read their files again",
                date(end),
                path(&args, &args.ca)
            );
        }
        if end < now.saturating_add_unsigned(days(args.days).as_secs()) {
            say(format_args!("the authority ends before certificates of {} days would: they end with it", args.days));
        }
        for (role, name) in [(Role::Hub, &args.hub), (Role::Node, &args.node)] {
            certificate(&secrets, &found, role, name, &args, now).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The authority that is there, or a new one.
async fn authority(secrets: &Secrets, args: &SecretsArgs, now: i64) -> anyhow::Result<Found> {
    for _ in 0..TRIES {
        if let Some(secret) = secrets.get(&args.ca).await? {
            let found = read_authority(args, &secret)?;
            say(format_args!(
                "{}: the authority, until {}",
                path(args, &args.ca),
                date(found.authority.not_after())
            ));
            return Ok(found);
        }
        for name in [&args.hub, &args.node] {
            if let Some(theirs) = secrets.get(name).await?.filter(|secret| !is_ours(secret)) {
                bail!(
                    "{} is there and was not made by this command, and there is no authority {}: leave this command out \
                     where certificates come from elsewhere, or delete the Secret",
                    path(args, &theirs.name),
                    path(args, &args.ca)
                );
            }
        }
        let pair = issue::authority("outlast authority", now, days(args.ca_days))?;
        let mut secret = Secret::new(&args.ca, "Opaque", &[LABEL]);
        secret.data.insert(CA_CERT.to_owned(), pair.certificate.into_bytes());
        secret.data.insert(CA_KEY.to_owned(), pair.key.into_bytes());
        if secrets.create(&secret).await? == Written::Done {
            let found = read_authority(args, &secret)?;
            let until = date(found.authority.not_after());
            say(format_args!("{}: made a new authority, until {until}", path(args, &args.ca)));
            return Ok(found);
        }
    }
    bail!("{} comes and goes: is somebody else making it?", path(args, &args.ca))
}

/// Of its Secret. One that holds something else is not overwritten: everything that it issued would be worth nothing.
fn read_authority(args: &SecretsArgs, secret: &Secret) -> anyhow::Result<Found> {
    let of = |key: &str| format!("{}[{key}]", path(args, &secret.name));
    let text = |key: &str| {
        let bytes = secret.data.get(key).map(Vec::as_slice);
        bytes.with_context(|| format!("{} is missing: an authority has {CA_CERT} and {CA_KEY}", of(key)))
    };
    let (certificate, key) = (text(CA_CERT)?, text(CA_KEY)?);
    let authority = Authority::read((Path::new(&of(CA_CERT)), certificate), (Path::new(&of(CA_KEY)), key))?;
    Ok(Found { authority, text: certificate.to_vec() })
}

/// Sees to it that a Secret holds a certificate of this role with enough life left.
async fn certificate(
    secrets: &Secrets,
    found: &Found,
    role: Role,
    name: &str,
    args: &SecretsArgs,
    now: i64,
) -> anyhow::Result<()> {
    let at = path(args, name);
    for _ in 0..TRIES {
        let there = secrets.get(name).await?;
        let why = match &there {
            None => "made".to_owned(),
            Some(secret) => match judge(secret, found, role, now) {
                Standing::Good { left, until } => {
                    say(format_args!(
                        "{at}: {:.0} % of its life are left, until {}",
                        left * 100.0,
                        date(until)
                    ));
                    return Ok(());
                }
                Standing::Due(why) if is_ours(secret) => format!("renewed, because {why}"),
                Standing::Due(why) => bail!(
                    "{at} was not made by this command, and is left alone although {why}: delete it to have it made, or \
                     label it {}={}",
                    LABEL.0,
                    LABEL.1
                ),
            },
        };
        let mut order = Order::new(role, role.word(), now, days(args.days));
        // Better a shorter life than none; the authority's end is said with it.
        order.not_after = order.not_after.min(found.authority.not_after());
        let pair = found.authority.issue(&order)?;
        let is_new = there.is_none();
        let mut secret = there.unwrap_or_else(|| Secret::new(name, TLS, &[LABEL]));
        for (key, text) in [
            (CA_CERT, found.text.clone()),
            (KEY, pair.key.into_bytes()),
            (CERT, pair.certificate.into_bytes()),
        ] {
            secret.data.insert(key.to_owned(), text);
        }
        let written = if is_new { secrets.create(&secret).await? } else { secrets.replace(&secret).await? };
        if written == Written::Done {
            say(format_args!("{at}: {why}; for a {}, until {}", role.word(), date(order.not_after)));
            return Ok(());
        }
    }
    bail!("{at} changes all the time: is somebody else renewing it?")
}

/// Whether a certificate can stay.
enum Standing {
    /// It can.
    Good {
        /// The share of its life that is left.
        left: f64,
        /// Its end in Unix seconds.
        until: i64,
    },
    /// It cannot, for people.
    Due(String),
}

fn judge(secret: &Secret, found: &Found, role: Role, now: i64) -> Standing {
    let facts = match read_certificate(secret, found, role, now) {
        Ok(facts) => facts,
        Err(why) => return Standing::Due(format!("{why:#}")),
    };
    let left = facts.life_left(now);
    if left > 1.0 - RENEW_AFTER {
        Standing::Good { left, until: facts.not_after }
    } else {
        Standing::Due(format!("only {:.0} % of its life were left", left * 100.0))
    }
}

/// What is in a Secret, if others would believe it.
fn read_certificate(secret: &Secret, found: &Found, role: Role, now: i64) -> anyhow::Result<Facts> {
    let text = |key: &str| secret.data.get(key).with_context(|| format!("{key} was missing"));
    if text(CA_CERT)? != &found.text {
        bail!("its {CA_CERT} was another authority");
    }
    let chain = pem::certificates(Path::new(CERT), text(CERT)?)?;
    key_fits(chain.clone(), pem::private_key(Path::new(KEY), text(KEY)?)?)
        .with_context(|| format!("its {KEY} was another certificate's"))?;
    check(pem::authorities(Path::new(CA_CERT), &found.text)?, &chain, role, now)
        .context("it would not have been believed")?;
    Ok(Facts::read(chain.first().context("there was no certificate")?)?)
}

/// Whether a Secret was made by this command, or is to be looked after by it.
fn is_ours(secret: &Secret) -> bool {
    secret.has_label(LABEL.0, LABEL.1)
}

/// A Secret as kubectl names it.
fn path(args: &SecretsArgs, name: &str) -> String {
    format!("{}/{name}", args.namespace)
}
