//! Who sends packets for Services on, looked at again and again: kube-proxy and Cilium may come after us, and a cluster may
//! change from one to another while we run.
//!
//! A look asks for the names of interfaces and tables, for one chain, and for the addresses of kube-proxy's interface if
//! there is one. Chains of others, which can be a hundred thousand, are listed at the start alone.

use std::net::IpAddr;

use super::config::{KubeProxy, Mode};
use super::detect::{GatherError, IPVS_LINK, Signs};
use super::link::Links;
use super::nft::{Nft, NftError};
use super::usable::Seen;

/// What looks.
pub struct Sight {
    /// Tables, where the kernel has them and this process may look at them.
    nft: Option<Nft>,
    /// Interfaces.
    links: Links,
    /// Who it is, where that is known better than it can be seen.
    told: Option<KubeProxy>,
    /// Who it was at the last look.
    kube_proxy: KubeProxy,
}

impl Sight {
    /// Looks for the first time; with all that was seen. Of the network of the calling thread.
    ///
    /// # Errors
    /// What cannot be listed.
    pub async fn begin(rules: Mode, told: Option<KubeProxy>) -> Result<(Self, Signs), GatherError> {
        let nft = match Nft::connect().await {
            Ok(nft) => Some(nft),
            Err(NftError::Absent) => None,
            // Who leads nothing here needs no permission for it.
            Err(_) if rules == Mode::Off => None,
            Err(error) => return Err(error.into()),
        };
        let links = Links::connect()?;
        let signs = Signs::gather(nft.as_ref(), &links).await?;
        let kube_proxy = told.unwrap_or_else(|| signs.kube_proxy());
        Ok((Self { nft, links, told, kube_proxy }, signs))
    }

    /// Looks again.
    ///
    /// # Errors
    /// What cannot be listed; what was known before is known still.
    pub async fn look(&mut self) -> Result<Seen, GatherError> {
        if self.told.is_none() {
            self.kube_proxy = Signs::gather_few(self.nft.as_ref(), &self.links).await?.kube_proxy();
        }
        self.seen().await
    }

    /// Who was seen, and what it has now.
    ///
    /// # Errors
    /// Addresses that cannot be listed.
    pub async fn seen(&self) -> Result<Seen, GatherError> {
        let kube_proxy = self.kube_proxy;
        let on_ipvs = match kube_proxy {
            KubeProxy::Ipvs => self.links.addresses_of(IPVS_LINK).await?,
            _ => Vec::new(),
        };
        Ok(Seen { kube_proxy, on_ipvs })
    }

    /// Which of these addresses no interface has.
    ///
    /// # Errors
    /// Addresses that cannot be listed.
    pub async fn missing(&self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, GatherError> {
        Ok(self.links.missing(addresses).await?)
    }
}
