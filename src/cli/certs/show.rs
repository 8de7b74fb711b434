//! `outlast certs show`: whose, until when, and would it be believed?

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use super::super::say;
use super::files::Text;
use super::{DAY, ShowArgs, date, files};
use crate::trust::check::check;
use crate::trust::facts::Facts;
use crate::trust::name::{HUB_NAME, NODE_NAME};
use crate::trust::pem;

/// Shows certificates; every file is shown, whatever is wrong with the one before it.
pub(super) fn show(args: &ShowArgs, now: i64) -> anyhow::Result<ExitCode> {
    let ShowArgs { files: paths, ca } = args;
    let authorities = ca.clone().map(files::read).transpose()?;
    let mut all_right = true;
    for (at, path) in paths.iter().enumerate() {
        if at > 0 {
            say("");
        }
        say(path.display());
        match verdict(path, authorities.as_ref(), now) {
            Ok(Verdict::Right(why)) => say(format_args!("  right    {why}")),
            Ok(Verdict::Wrong(why)) => {
                say(format_args!("  WRONG    {why}"));
                all_right = false;
            }
            Err(error) => {
                say(format_args!("  WRONG    {error:#}"));
                all_right = false;
            }
        }
    }
    Ok(if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether a certificate is of use.
enum Verdict {
    /// It is, and why one may think so.
    Right(String),
    /// It is not.
    Wrong(String),
}

/// Says what a certificate says, and judges it.
fn verdict(path: &Path, authorities: Option<&Text>, now: i64) -> anyhow::Result<Verdict> {
    let text = files::read(path.to_owned())?;
    let chain = pem::certificates(path, &text.bytes)?;
    let facts = Facts::read(chain.first().context("no certificate")?)?;
    let left = facts.not_after.saturating_sub(now);
    let day = DAY as i64;
    let whom = match facts.role() {
        _ if facts.is_authority => "an authority".to_owned(),
        Some(role) => format!("a {} ({})", role.word(), role.dns_name()),
        None => format!("nobody here: its names are {:?}", facts.dns_names),
    };
    let remaining = match left {
        1.. => format!("{} days left, {:.0} % of its life", left / day, facts.life_left(now) * 100.0),
        _ => format!("expired for {} days", -left / day),
    };
    say(format_args!("  for      {whom}"));
    say(format_args!("  holder   {}", facts.subject));
    say(format_args!("  issuer   {}", facts.issuer));
    say(format_args!("  serial   {}", facts.serial));
    say(format_args!("  from     {}", date(facts.not_before)));
    say(format_args!("  until    {} ({remaining})", date(facts.not_after)));
    // RFC 5280, section 4.1.2.5: both ends are included.
    if now > facts.not_after {
        return Ok(Verdict::Wrong("expired: renew it".to_owned()));
    }
    if now < facts.not_before {
        return Ok(Verdict::Wrong("not valid yet".to_owned()));
    }
    if facts.is_authority {
        return Ok(Verdict::Right("its dates hold".to_owned()));
    }
    let Some(role) = facts.role() else {
        return Ok(Verdict::Wrong(format!("the name of hubs is {HUB_NAME}, that of nodes {NODE_NAME}")));
    };
    let Some(authorities) = authorities else {
        return Ok(Verdict::Right("its dates hold; --ca FILE says whether it would be believed".to_owned()));
    };
    let roots = pem::authorities(&authorities.path, &authorities.bytes)?;
    Ok(match check(roots, &chain, role, now) {
        Ok(()) => Verdict::Right(format!("whoever has {} believes it", authorities.path.display())),
        Err(error) => {
            Verdict::Wrong(format!("whoever has {} does not believe it: {error}", authorities.path.display()))
        }
    })
}
