//! From what a Corefile says to what kube needs: addresses, certificates, tokens.
//!
//! Blocks on files; runs off the async threads. Nothing here resolves names, and the in-cluster address comes
//! from the environment, never from DNS. An error names the file and what is wrong with it: the configuration
//! may be written later, or mended, while we go on trying.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use futures_util::FutureExt as _;
use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};

use super::super::access::{Place, TlsFiles};
use super::super::fault::said;

/// Where a pod finds its ServiceAccount.
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api>
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How we call ourselves.
const USER_AGENT: &str = concat!("outlast/", env!("CARGO_PKG_VERSION"));

/// A configuration, and what it was made of.
pub(in crate::source::apiserver) struct Loaded {
    /// For kube.
    pub(super) config: Config,
    /// As the files were just before they were read.
    pub(super) seen: Seen,
}

/// Reads the configuration. Has to run on a thread that may block.
pub(in crate::source::apiserver) fn load(place: &Place) -> Result<Loaded, String> {
    let mut seen = Seen::default();
    let mut config = match place {
        Place::InCluster => {
            in_cluster(|name| std::env::var(name).ok(), Path::new(SERVICE_ACCOUNT), &mut seen)
        }
        Place::Kubeconfig { file, context } => kubeconfig(file, context.clone(), &mut seen),
        Place::Endpoint { url, tls } => endpoint(url, tls.as_ref(), &mut seen),
    }?;
    plain_token(&mut config.auth_info, &mut seen)?;
    // Retries are ours to space, and would hide 429 and 5xx from us.
    config.default_retry = false;
    config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(USER_AGENT)));
    Ok(Loaded { config, seen })
}

/// As a pod has it; `env` reads a variable of the environment.
fn in_cluster(
    env: impl Fn(&str) -> Option<String>,
    folder: &Path,
    seen: &mut Seen,
) -> Result<Config, String> {
    let variable =
        |name: &str| env(name).ok_or_else(|| format!("{name} is not set: this is no pod of a cluster"));
    let host = variable("KUBERNETES_SERVICE_HOST")?;
    let port = variable("KUBERNETES_SERVICE_PORT")?;
    let url = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(host)) => format!("https://[{host}]:{port}"),
        _ => format!("https://{host}:{port}"),
    };
    let mut config = Config::new(address(&url)?);
    trust(&mut config, &folder.join("ca.crt"), seen)?;
    config.auth_info.token_file = Some(text(&folder.join("token"))?);
    Ok(config)
}

/// `kubeconfig FILE [CONTEXT]`
fn kubeconfig(file: &Path, context: Option<String>, seen: &mut Seen) -> Result<Config, String> {
    let wrong =
        |error: &(dyn std::error::Error + 'static)| format!("kubeconfig {}: {}", file.display(), said(error));
    seen.note(file);
    let parsed = Kubeconfig::read_from(file).map_err(|e| wrong(&e))?;
    let chosen = context.as_deref().or(parsed.current_context.as_deref());
    let chosen = parsed.contexts.iter().find(|c| Some(&*c.name) == chosen).and_then(|c| c.context.as_ref());
    let cluster = chosen.and_then(|c| parsed.clusters.iter().find(|n| n.name == c.cluster)?.cluster.as_ref());
    // One that the file asks for cannot be left out; `HTTPS_PROXY` is not looked at, as it is not for a pod.
    if let Some(proxy) = cluster.and_then(|c| c.proxy_url.as_deref()).filter(|url| !url.is_empty()) {
        return Err(format!("kubeconfig {}: proxy-url {proxy} is not supported", file.display()));
    }
    let user = chosen.and_then(|c| {
        let name = c.user.as_ref()?;
        parsed.auth_infos.iter().find(|n| n.name == *name)?.auth_info.as_ref()
    });
    let of_user = user.into_iter().flat_map(|u| [&u.client_certificate, &u.client_key]);
    for path in cluster.map(|c| &c.certificate_authority).into_iter().chain(of_user).flatten() {
        seen.note(Path::new(path));
    }
    let options = KubeConfigOptions { context, ..Default::default() };
    // Nothing in it waits, and a simulation may not.
    let made = Config::from_custom_kubeconfig(parsed, &options).now_or_never();
    let config = made
        .ok_or_else(|| format!("kubeconfig {}: cannot be taken in at once", file.display()))?
        .map_err(|e| wrong(&e))?;
    address(&config.cluster_url.to_string())
        .map_err(|why| format!("kubeconfig {}: {why}", file.display()))?;
    Ok(config)
}

/// `endpoint URL`, with `tls CERT KEY CACERT`
fn endpoint(url: &str, tls: Option<&TlsFiles>, seen: &mut Seen) -> Result<Config, String> {
    let mut config = Config::new(address(url)?);
    if let Some(TlsFiles { cert, key, ca }) = tls {
        trust(&mut config, ca, seen)?;
        pem(cert, "CERTIFICATE", seen)?;
        pem(key, "PRIVATE KEY", seen)?;
        config.auth_info.client_certificate = Some(text(cert)?);
        config.auth_info.client_key = Some(text(key)?);
    }
    Ok(config)
}

/// An address as kube takes it.
fn address(url: &str) -> Result<http::Uri, String> {
    let wrong =
        || format!("{url:?} is not an API server's address: write http://HOST[:PORT] or https://HOST[:PORT]");
    let uri: http::Uri = url.parse().map_err(|_| wrong())?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.authority().is_some() => Ok(uri),
        _ => Err(wrong()),
    }
}

/// Trusts the authorities in `ca`, and no others.
fn trust(config: &mut Config, ca: &Path, seen: &mut Seen) -> Result<(), String> {
    pem(ca, "CERTIFICATE", seen)?;
    // kube asks the system's authorities where there are none of its own. The file's take the place of these.
    config.root_cert = Some(Vec::new());
    config.root_cert_file = Some(ca.to_owned());
    Ok(())
}

/// Makes sure that a file can be read and holds something like a `label`.
fn pem(path: &Path, label: &str, seen: &mut Seen) -> Result<(), String> {
    seen.note(path);
    let read = fs::read_to_string(path).map_err(|e| format!("reading {}: {e}", path.display()))?;
    let found = read.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(label));
    if found { Ok(()) } else { Err(format!("{} holds no {label} in PEM", path.display())) }
}

/// Makes sure that the token can be read. kube sends it as it stands in the file, which a final line break makes
/// useless; a token with one is read here and, like every other, anew when the file changes.
fn plain_token(auth: &mut AuthInfo, seen: &mut Seen) -> Result<(), String> {
    let Some(file) = auth.token_file.clone().filter(|_| auth.token.is_none()) else { return Ok(()) };
    seen.note(Path::new(&file));
    let read = fs::read_to_string(&file).map_err(|e| format!("reading token {file}: {e}"))?;
    match read.trim() {
        "" => return Err(format!("token {file} is empty")),
        trimmed if trimmed == read => {}
        trimmed => {
            auth.token = Some(trimmed.to_owned().into());
            auth.token_file = None;
        }
    }
    Ok(())
}

/// A path as kube takes it.
fn text(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("{} is not a name in UTF-8", path.display()))
}

/// Files, and as what they were seen.
#[derive(Debug, Default)]
pub(in crate::source::apiserver) struct Seen(Vec<(PathBuf, Option<Stamp>)>);

/// What changes when a file is written or replaced: modification time, length, inode.
type Stamp = (SystemTime, u64, u64);

impl Seen {
    /// Remembers a file that is about to be read.
    fn note(&mut self, path: &Path) {
        self.0.push((path.to_owned(), stamp(path)));
    }

    /// Whether any of the files is another now. Blocks.
    pub(super) fn changed(&self) -> bool {
        self.0.iter().any(|(path, seen)| stamp(path) != *seen)
    }
}

/// The file behind `path`, through all links; `None` if it cannot be looked at.
fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len(), meta.ino()))
}

#[cfg(test)]
mod tests;
