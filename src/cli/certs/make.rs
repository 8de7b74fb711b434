//! `outlast certs init`, `issue` and `renew`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::super::say;
use super::{CA_CERT, CA_KEY, CERT, InitArgs, IssueArgs, KEY, RenewArgs, date, days, files};
use crate::trust::facts::Facts;
use crate::trust::issue::{self, Order};
use crate::trust::name::Role;
use crate::trust::pem;

/// The share of its life after which a certificate is renewed: twice as much is left to notice that it failed.
pub(super) const RENEW_AFTER: f64 = 1.0 / 3.0;

/// Makes an authority.
pub(super) fn init(args: &InitArgs, now: i64) -> anyhow::Result<ExitCode> {
    let InitArgs { out, days: life, name, force } = args;
    let pair = issue::authority(name, now, days(*life))?;
    // The key first: a certificate without its key looks like a right one.
    let made = [(CA_KEY, pair.key.as_bytes()), (CA_CERT, pair.certificate.as_bytes())];
    files::write(out, &made, *force)?;
    let dir = out.display();
    say(format_args!(
        "{dir}/{CA_CERT}  the authority, until {}: every hub and node gets it\n\
         {dir}/{CA_KEY}  its key: whoever has it can make hubs; keep it away from the cluster\n\
         \n\
         Next:\n  outlast certs issue --ca {dir} --out hub hub\n  outlast certs issue --ca {dir} --out node node",
        date(now.saturating_add(life.saturating_mul(super::DAY) as i64)),
    ));
    Ok(ExitCode::SUCCESS)
}

/// Makes a certificate.
pub(super) fn issue(args: &IssueArgs, now: i64) -> anyhow::Result<ExitCode> {
    let IssueArgs { role, ca, out, name, days: life, force } = args;
    let role = Role::from(*role);
    let name = name.as_deref().unwrap_or(role.word());
    make(ca, out, &Order::new(role, name, now, days(*life)), *force)?;
    let verb = "create secret generic";
    let (word, dir) = (role.word(), out.display());
    let files = format!(
        "--from-file={CA_CERT}={dir}/{CA_CERT} --from-file={CERT}={dir}/{CERT} --from-file={KEY}={dir}/{KEY}"
    );
    say(format_args!(
        "\nNext, in a cluster:\n  kubectl -n kube-system {verb} outlast-{word}-tls {files} \\\n    \
         --dry-run=client -o yaml | kubectl apply -f -\n\
         and mount the Secret as a folder (no subPath: those are never updated). On a machine, copy the three files.\n\
         {}",
        naming(role),
    ));
    Ok(ExitCode::SUCCESS)
}

/// How the files are named to the program.
fn naming(role: Role) -> &'static str {
    match role {
        Role::Hub => {
            "Then name them: outlast hub --tls-ca ca.crt --tls-cert tls.crt --tls-key tls.key. \
             They are read again when they change."
        }
        Role::Node => {
            "Then name them: hub_tls ca.crt tls.crt tls.key in the Corefile's kubernetes block. \
             They are read again when they change."
        }
    }
}

/// Makes a certificate anew, if it is time.
pub(super) fn renew(args: &RenewArgs, now: i64) -> anyhow::Result<ExitCode> {
    let RenewArgs { ca, out, days: life, force } = args;
    let before = files::read(out.join(CERT)).with_context(|| {
        let dir = out.display();
        format!(
            "nothing to renew in {dir}: 'outlast certs issue --ca {} --out {dir} hub|node' makes one",
            ca.display()
        )
    })?;
    let chain = pem::certificates(&before.path, &before.bytes)?;
    let facts = Facts::read(chain.first().context("no certificate")?)
        .with_context(|| format!("reading {}", before.path.display()))?;
    let Some(role) = facts.role() else {
        bail!(
            "{} is neither a hub's nor a node's: it was not made by 'outlast certs issue'",
            before.path.display()
        );
    };
    let left = facts.life_left(now);
    if left > 1.0 - RENEW_AFTER && !force {
        say(format_args!(
            "{}: {:.0} % of its life are left, until {}; nothing to do yet",
            before.path.display(),
            left * 100.0,
            date(facts.not_after),
        ));
        return Ok(ExitCode::SUCCESS);
    }
    // As long as it was meant to last: from an hour before it was made.
    let meant =
        facts.not_after.saturating_sub(facts.not_before).saturating_sub(issue::BEGIN_BEFORE.as_secs() as i64);
    let life = life.map_or(Duration::from_secs(u64::try_from(meant).unwrap_or_default()), days);
    let name = facts.common_name.as_deref().unwrap_or(role.word());
    make(ca, out, &Order::new(role, name, now, life), true)?;
    say("Where the files are a Secret, put them there again; nothing has to be restarted.");
    Ok(ExitCode::SUCCESS)
}

/// Issues a certificate and writes it with its key and its authority.
fn make(ca: &Path, out: &Path, order: &Order<'_>, force: bool) -> anyhow::Result<()> {
    let (authority, ca_text) = files::authority(ca)?;
    let pair = authority.issue(order).with_context(|| {
        format!("the authority in {} lasts until {}", ca.display(), date(authority.not_after()))
    })?;
    // Whoever reads the files in between finds a key that is not the certificate's, and stays with what was there.
    let made =
        [(CA_CERT, &ca_text.bytes[..]), (KEY, pair.key.as_bytes()), (CERT, pair.certificate.as_bytes())];
    files::write(out, &made, force)?;
    let (dir, word, until) = (out.display(), order.role.word(), date(order.not_after));
    say(format_args!(
        "{dir}/{CERT}  for a {word}, {}, until {until}; renew it after a third of that\n\
         {dir}/{KEY}  its key\n\
         {dir}/{CA_CERT}   whom it believes",
        order.name,
    ));
    Ok(())
}
