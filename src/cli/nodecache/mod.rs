//! The face of node-cache (NodeLocal DNSCache): its template of a Corefile, and the ConfigMap `kube-dns`.
//!
//! * [`template`] fills the template in: pure.
//! * [`kube_dns`] reads the ConfigMap.
//! * [`load`] does both, at the start and for the reloader.
//!
//! Its flags are translated beside CoreDNS's, in `cli::coredns`.

mod kube_dns;
pub(super) mod load;
mod template;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::load::{Place, Template};
use crate::corefile;
use crate::node::setup::ReloadEvery;
use crate::ops::metrics::Metrics;

/// How often template and ConfigMap are looked at, as node-cache does it, whatever `reload` of the template says.
pub(super) const LOOK_EVERY: ReloadEvery =
    ReloadEvery { interval: Duration::from_secs(10), jitter: Duration::from_secs(5) };

/// Where node-cache's template is if no flag says it.
pub(super) const DEFAULT_BASE: &str = "/etc/coredns/Corefile.base";

/// Where node-cache shows its metrics if no flag says it.
pub(super) const DEFAULT_METRICS: &str = "0.0.0.0:9353";

/// The service whose address is the cluster's DNS if none is named.
pub(super) const SERVICE: &str = "kube-dns";

/// Where the template is, and what it is rendered with.
#[derive(clap::Args)]
pub(super) struct TemplateArgs {
    /// A template of the Corefile, as node-cache has it: it is served as it is filled in, and written to --conf if that
    /// is given
    #[arg(long, env = "OUTLAST_BASE_COREFILE", value_name = "FILE")]
    base_corefile: Option<PathBuf>,
    /// Folder of the ConfigMap kube-dns, for the template [default: /etc/kube-dns]
    #[arg(long, env = "OUTLAST_KUBE_DNS_CONFIG", value_name = "DIR", requires = "base_corefile")]
    kube_dns_config: Option<PathBuf>,
    /// Service of this namespace whose address is the cluster's DNS, for the template [default: kube-dns]
    #[arg(long, env = "OUTLAST_UPSTREAM_SERVICE", value_name = "NAME", requires = "base_corefile")]
    upstream_service: Option<String>,
}

impl TemplateArgs {
    /// Whether there is a template.
    pub(super) const fn any(&self) -> bool {
        self.base_corefile.is_some()
    }

    /// The Service that is the cluster's own DNS, if one is named.
    pub(super) fn upstream_service(&self) -> Option<&str> {
        self.upstream_service.as_deref()
    }

    /// The template, if there is one; it is rendered to `conf`, if that is said. Pods ask the `local` addresses.
    ///
    /// # Errors
    /// `conf` is no place for it.
    pub(super) fn template(
        &self,
        conf: Option<&Path>,
        port: u16,
        local: &[IpAddr],
        metrics: &Metrics,
    ) -> Result<Option<Template>, String> {
        let Some(base) = &self.base_corefile else { return Ok(None) };
        if conf.is_some_and(|conf| conf == base || conf == Path::new(corefile::STDIN)) {
            return Err(
                "--conf is where the filled in template is written: name a file of its own, or leave it out"
                    .to_owned(),
            );
        }
        let place = Place {
            base: base.clone(),
            kube_dns: self.kube_dns_config.clone(),
            service: self.upstream_service.clone().unwrap_or_else(|| SERVICE.to_owned()),
            rendered: conf.map(Path::to_owned),
            port,
            local: local.to_vec(),
        };
        Ok(Some(Template::new(place, metrics)))
    }
}

/// The variable of the environment that has the address of a Service of the pod's namespace.
pub(super) fn host_variable(service: &str) -> String {
    format!("{}_SERVICE_HOST", service.replace('-', "_").to_uppercase())
}
