//! `tls CERT KEY [CA] { client_auth ... }`: the certificates of `tls://` listeners (DNS over TLS, RFC 7858).
//!
//! The files are read with the configuration, so that a wrong one is no configuration, and looked at again every
//! minute: renewed certificates need no reload.

use std::sync::Arc;
use std::time::Duration;

use crate::corefile::{Directive, Error, Scheme, Statement, Warning};
use crate::node::chain::Plugin;
use crate::node::listen::tls::{ClientAuth, Files, Identity, Refreshed};
use crate::node::setup::Context;
use crate::node::task::Scope;
use crate::ops::jitter::Jitter;

/// The plugin's name.
pub const NAME: &str = "tls";

/// Options that are accepted.
pub const OPTIONS: [&str; 1] = ["client_auth"];

/// What lines are logged under.
const TARGET: &str = "plugin/tls";

/// Between two looks at the files. Certificates are renewed days before they end; a minute is for people who wait.
const LOOK: Duration = Duration::from_secs(60);

/// How much the time between two looks varies: a fleet does not read its secrets in one second.
const LOOK_SWING: f64 = 0.2;

/// Reads the files.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = match directives {
        [only] => only,
        [_, second, ..] => {
            return Err(second.error("plugin/tls: TLS already configured for this server instance"));
        }
        [] => return Ok(Vec::new()),
    };
    let words = directive.expect_args(2..=3, "tls CERT KEY [CA]")?;
    let mut client_auth = ClientAuth::default();
    for line in directive.lines() {
        match line.name().text.as_str() {
            "client_auth" => {
                let kinds = [
                    ("nocert", ClientAuth::None),
                    ("request", ClientAuth::Request),
                    ("require", ClientAuth::Require),
                    ("verify_if_given", ClientAuth::VerifyIfGiven),
                    ("require_and_verify", ClientAuth::RequireAndVerify),
                ];
                let usage = "client_auth nocert|request|require|verify_if_given|require_and_verify";
                client_auth = line.one_arg(usage)?.choice(&kinds)?;
            }
            _ => return Err(line.unknown_property(NAME, &OPTIONS)),
        }
    }
    let files = Files {
        certificate: cx.path(&words[0]),
        key: cx.path(&words[1]),
        authorities: words.get(2).map(|word| cx.path(word)),
        client_auth,
    };
    match (client_auth.verifies(), words.get(2)) {
        (true, None) => {
            return Err(directive.error(
                "plugin/tls: clients' certificates can only be verified against an authority: write 'tls CERT KEY CA'",
            ));
        }
        (false, Some(word)) => {
            warn(
                cx,
                word.position.clone(),
                "the CA has no effect: 'client_auth' does not ask to verify clients",
            );
        }
        _ => {}
    }
    if !cx.keys.iter().any(|key| key.scheme == Scheme::Tls) {
        warn(
            cx,
            directive.position().clone(),
            "'tls' has no effect: no key of its server block begins with tls://",
        );
    }
    let identity = Identity::read(files).map_err(|error| directive.error(format!("plugin/tls: {error}")))?;
    cx.listening.tls = Some(identity.clone());
    cx.process.tasks.push(Box::new(move |scope: &Scope| {
        let (stop, jitter) = (scope.stop.clone(), Jitter::for_process());
        tokio::spawn(async move { stop.run_until_cancelled(watch(&identity, &jitter)).await });
    }));
    Ok(Vec::new())
}

/// Says something of the configuration, here and to whoever checks it.
fn warn(cx: &mut Context<'_>, position: crate::corefile::Position, text: &str) {
    let text = format!("plugin/tls: {text}");
    tracing::warn!("{position} - {text}");
    cx.process.warnings.push(Warning { position, text });
}

/// Looks at the files now and then.
async fn watch(identity: &Arc<Identity>, jitter: &Jitter) {
    loop {
        tokio::time::sleep(jitter.spread(LOOK, LOOK_SWING)).await;
        let looking = identity.clone();
        // Disks can be slow, and files can be on a network.
        let Ok(refreshed) = tokio::task::spawn_blocking(move || looking.refresh()).await else { continue };
        let file = identity.files().certificate.display();
        match refreshed {
            Refreshed::Same => {}
            Refreshed::Changed => tracing::info!(target: TARGET, %file, "new certificate"),
            Refreshed::Broken(error) => {
                tracing::error!(target: TARGET, "{error}; the certificate before it stays");
            }
        }
    }
}

#[cfg(test)]
mod tests;
