//! Where the API server is, and who we are to it: what a Corefile says.

use std::cmp::max_by_key;
use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use hyper::Uri;

/// How the API server is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// Where it is.
    pub place: Place,
    /// How much is asked of it.
    pub limits: Limits,
}

/// Where the API server is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// As a pod's ServiceAccount has it: `KUBERNETES_SERVICE_HOST`, token and CA under
    /// `/var/run/secrets/kubernetes.io/serviceaccount`.
    InCluster,
    /// `kubeconfig FILE [CONTEXT]`
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// The context; the file's current one if absent.
        context: Option<String>,
    },
    /// `endpoint URL`
    Endpoint {
        /// `http://` or `https://`.
        url: String,
        /// `tls CERT KEY CACERT`
        tls: Option<TlsFiles>,
    },
}

/// Files of `tls CERT KEY CACERT`, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsFiles {
    /// The client's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority of the server's certificate.
    pub ca: PathBuf,
}

/// How much is asked of the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limits {
    /// `apiserver_qps`: requests a second on average; without it, [`DEFAULT_QPS`].
    pub qps: Option<NonZeroU32>,
    /// `apiserver_burst`: requests at once after a pause; without it, [`DEFAULT_BURST`].
    pub burst: Option<NonZeroU32>,
    /// `apiserver_max_inflight`: requests under way at once, watches not counted; without it, no limit.
    pub max_inflight: Option<NonZeroU32>,
}

/// Requests a second without `apiserver_qps`: what client-go allows, several times what following needs.
pub const DEFAULT_QPS: u32 = 5;

/// Requests at once without `apiserver_burst`: what client-go allows.
pub const DEFAULT_BURST: u32 = 10;

impl Limits {
    /// What two blocks that share one connection may ask together: the larger of each.
    #[must_use]
    pub fn larger(&self, other: &Self) -> Self {
        let rate = |default: u32| move |n: &Option<NonZeroU32>| n.map_or(default, NonZeroU32::get);
        Self {
            qps: max_by_key(self.qps, other.qps, rate(DEFAULT_QPS)),
            burst: max_by_key(self.burst, other.burst, rate(DEFAULT_BURST)),
            max_inflight: max_by_key(self.max_inflight, other.max_inflight, rate(u32::MAX)),
        }
    }
}

/// The variables that every pod of a cluster has, and that say where its API server is.
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api>
pub const IN_CLUSTER_VARIABLES: [&str; 2] = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"];

/// Whether an environment with these variables is a pod's: [`Place::InCluster`] can be reached only there.
pub fn is_in_cluster(variable: impl Fn(&str) -> Option<String>) -> bool {
    let [host, port] = IN_CLUSTER_VARIABLES.map(|name| variable(name).unwrap_or_default());
    !host.is_empty() && port.parse::<u16>().is_ok()
}

/// What is wrong with an API server's URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongUrl {
    /// Not `http://HOST…` or `https://HOST…`.
    #[error("'{0}' is not a URL of an API server: write https://HOST:PORT or http://HOST:PORT")]
    Malformed(String),
    /// A user or a password: the URL is logged, and stored in snapshots. The text is not repeated.
    #[error(
        "a URL with a user or a password in it is shown in logs: write them to a file for 'kubeconfig FILE'"
    )]
    Credentials,
    /// A query, which would be lost.
    #[error("'{0}' has a query: write the URL without what follows '?'")]
    Query(String),
}

/// Checks the URL of an API server. A path is allowed: proxies have their clusters under paths.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn check_url(text: &str) -> Result<(), WrongUrl> {
    let malformed = || WrongUrl::Malformed(text.to_owned());
    if text.contains('@') {
        return Err(WrongUrl::Credentials);
    }
    let uri: Uri = text.parse().map_err(|_| malformed())?;
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority().ok_or_else(malformed)?;
    // Whatever follows the host is a port, or nothing at all.
    let port =
        authority.as_str().len() == authority.host().len() || authority.port_u16().is_some_and(|p| p > 0);
    match uri.query() {
        _ if !scheme || authority.host().is_empty() || !port => Err(malformed()),
        Some(_) => Err(WrongUrl::Query(text.to_owned())),
        None => Ok(()),
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::InCluster => f.write_str("in-cluster"),
            Place::Kubeconfig { file, context: None } => write!(f, "{}", file.display()),
            Place::Kubeconfig { file, context: Some(context) } => write!(f, "{}#{context}", file.display()),
            Place::Endpoint { url, .. } => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in [
            "https://10.96.0.1:443",
            "http://localhost:8080/",
            "https://[fd00::1]:6443",
            "https://api.example.org",
            "HTTPS://rancher.example.org/k8s/clusters/c-1",
        ] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "10.96.0.1:443",
            "localhost",
            "ftp://10.96.0.1",
            "https://",
            "https://:6443",
            "https://host:port",
            "https://host:0",
            "https://host:70000",
            "https://ho st",
            "/etc/kubeconfig",
        ] {
            assert_eq!(check_url(bad), Err(WrongUrl::Malformed(bad.to_owned())), "{bad}");
        }
        let query = "https://host:6443/?a=b";
        assert_eq!(check_url(query), Err(WrongUrl::Query(query.to_owned())));
        assert_eq!(check_url("https://admin:secret@host"), Err(WrongUrl::Credentials));
    }

    #[test]
    fn a_pod_knows_host_and_port() {
        for (host, port, want) in [
            (Some("10.96.0.1"), Some("443"), true),
            (Some("fd00::1"), Some("443"), true),
            (Some("10.96.0.1"), None, false),
            (None, Some("443"), false),
            (Some(""), Some("443"), false),
            (Some("10.96.0.1"), Some("tcp://10.96.0.1:443"), false),
            (None, None, false),
        ] {
            let variable = |name: &str| {
                let value = if name == IN_CLUSTER_VARIABLES[0] { host } else { port };
                value.map(str::to_owned)
            };
            assert_eq!(is_in_cluster(variable), want, "{host:?} {port:?}");
        }
    }

    #[test]
    fn the_larger_limit_wins_and_none_has_its_default() {
        let limits = |qps, burst, max_inflight| {
            let [qps, burst, max_inflight] = [qps, burst, max_inflight].map(NonZeroU32::new);
            Limits { qps, burst, max_inflight }
        };
        for (one, other, want) in [
            ((9, 20, 2), (7, 30, 3), (9, 30, 3)),
            // Without a number: 5 a second, 10 at once, any number under way.
            ((3, 3, 3), (0, 0, 0), (0, 0, 0)),
            ((9, 30, 3), (0, 0, 0), (9, 30, 0)),
        ] {
            let new = |(qps, burst, max_inflight)| limits(qps, burst, max_inflight);
            assert_eq!(new(one).larger(&new(other)), new(want), "{one:?} {other:?}");
            assert_eq!(new(other).larger(&new(one)), new(want), "{other:?} {one:?}");
        }
    }
}
