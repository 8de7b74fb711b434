//! The lines that say how the API server is reached: CoreDNS's, with CoreDNS's precedence. A kubeconfig is ahead
//! of `endpoint`, which is ahead of what the environment of a pod says.

use std::num::NonZeroU32;
use std::path::PathBuf;

use crate::corefile::{Error, Line, Statement, Token};
use crate::source::apiserver::access::{Access, IN_CLUSTER_VARIABLES, Limits, Place, TlsFiles, check_url};

/// What the block says.
#[derive(Default)]
pub(super) struct Connection {
    /// `kubeconfig FILE [CONTEXT]`
    kubeconfig: Option<Place>,
    /// `endpoint URL`
    endpoint: Option<String>,
    /// `tls CERT KEY CACERT`
    tls: Option<TlsFiles>,
    /// `apiserver_qps`, `apiserver_burst`, `apiserver_max_inflight`
    limits: Limits,
    /// The first word of each line, to say which of them have no effect.
    lines: Vec<Token>,
}

impl Connection {
    /// Takes a line, if it is one of these; a later line is ahead of an earlier one, as in CoreDNS.
    pub(super) fn take(&mut self, line: &Line) -> Result<bool, Error> {
        match line.name().text.as_str() {
            "endpoint" => {
                let word = line.one_arg("endpoint URL")?;
                check_url(&word.text).map_err(|e| word.error(format!("plugin/kubernetes: {e}")))?;
                self.endpoint = Some(word.text.clone());
            }
            "tls" => {
                const USAGE: &str = "tls CERT KEY CACERT";
                let [cert, key, ca] = line.expect_args(3..=3, USAGE)? else {
                    return Err(line.error(format!("plugin/kubernetes: write '{USAGE}'")));
                };
                let [cert, key, ca] = [cert, key, ca].map(|word| PathBuf::from(&word.text));
                self.tls = Some(TlsFiles { cert, key, ca });
            }
            "kubeconfig" => {
                let words = line.expect_args(1..=2, "kubeconfig FILE [CONTEXT]")?;
                self.kubeconfig = words.first().map(|file| Place::Kubeconfig {
                    file: PathBuf::from(&file.text),
                    context: words.get(1).map(|context| context.text.clone()),
                });
            }
            "apiserver_qps" => self.limits.qps = Some(number(line)?),
            "apiserver_burst" => self.limits.burst = Some(number(line)?),
            "apiserver_max_inflight" => self.limits.max_inflight = Some(number(line)?),
            _ => return Ok(false),
        }
        self.lines.push(line.name().clone());
        Ok(true)
    }

    /// How the API server is reached; `in_cluster` says whether the environment is a pod's.
    ///
    /// # Errors
    /// Nothing says where it is; the text says what would.
    pub(super) fn access(&self, in_cluster: bool) -> Result<Access, String> {
        let endpoint = || Some(Place::Endpoint { url: self.endpoint.clone()?, tls: self.tls.clone() });
        let place = match self.kubeconfig.clone().or_else(endpoint) {
            Some(place) => place,
            None if in_cluster => Place::InCluster,
            None => {
                let [host, port] = IN_CLUSTER_VARIABLES;
                return Err(format!(
                    "nothing says where the API server is: {host} and {port} are set in pods only; write \
                     'kubeconfig FILE', 'endpoint URL' or 'source file PATH' in this block"
                ));
            }
        };
        Ok(Access { place, limits: self.limits.clone() })
    }

    /// The lines that have no effect when the API server is reached so, each with the reason.
    pub(super) fn idle(&self, access: &Access) -> impl Iterator<Item = (&Token, &'static str)> {
        let reason = |line: &Token| match (&access.place, line.text.as_str()) {
            (Place::Kubeconfig { .. }, "endpoint" | "tls") => Some("'kubeconfig' is ahead of it"),
            (Place::InCluster, "tls") => Some("it belongs to an 'endpoint', and there is none"),
            (Place::Endpoint { url, .. }, "tls") if is_plain(url) => Some("the endpoint is http, not https"),
            _ => None,
        };
        self.lines.iter().filter_map(move |line| Some((line, reason(line)?)))
    }

    /// All the lines.
    pub(super) fn lines(&self) -> &[Token] {
        &self.lines
    }
}

/// Whether a URL, which was checked, is one without TLS.
fn is_plain(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"))
}

/// The one argument of a limit.
fn number(line: &Line) -> Result<NonZeroU32, Error> {
    line.one_arg(&format!("{} NUMBER", line.name().text))?.integer(NonZeroU32::MIN..=NonZeroU32::MAX)
}
