//! What machine this is: who sends packets for Services elsewhere, and who may drop what we let through.
//!
//! Signs are gathered from the kernel, and judged by plain functions. Whatever is seen is only a guess: a flag overrules
//! it, and the start says what was found.

use std::io;

use nlink::netlink::nftables::{ChainInfo, Policy};
use thiserror::Error;

use super::Ip;
use super::config::KubeProxy;
use super::layout::TABLE;
use super::link::{LinkError, Links};
use super::nft::{Nft, NftError};

/// kube-proxy's own table, in its nftables mode.
const KUBE_PROXY_TABLE: &str = "kube-proxy";

/// kube-proxy's own chain, in its iptables mode: one of the table `nat`.
const KUBE_PROXY_CHAIN: &str = "KUBE-SERVICES";

/// The interface that kube-proxy has in its IPVS mode.
pub(super) const IPVS_LINK: &str = "kube-ipvs0";

/// The interface that Cilium has on every node.
const CILIUM_LINK: &str = "cilium_host";

/// The names of tables of the old iptables, whose rules cannot be seen. Of the thread's own network.
const LEGACY_TABLES: &str = "/proc/thread-self/net/ip_tables_names";

/// A chain that the kernel calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The family of its table, as nft calls it.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where it is called, by number; `None` where other chains lead to it.
    pub hook: Option<u32>,
    /// Whether it drops what no rule decides.
    pub drops: bool,
}

impl From<ChainInfo> for Chain {
    fn from(chain: ChainInfo) -> Self {
        Self {
            family: chain.family.name(),
            table: chain.table,
            name: chain.name,
            hook: chain.hook,
            drops: chain.policy == Some(Policy::Drop.to_u32()),
        }
    }
}

/// What could not be seen.
#[derive(Debug, Error)]
pub enum GatherError {
    /// Interfaces.
    #[error(transparent)]
    Links(#[from] LinkError),
    /// Tables and chains.
    #[error(transparent)]
    Tables(#[from] NftError),
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Names of interfaces.
    pub links: Vec<String>,
    /// Families and names of tables.
    pub tables: Vec<(&'static str, String)>,
    /// Chains of all tables.
    pub chains: Vec<Chain>,
    /// Names of the old iptables' tables.
    pub legacy: Vec<String>,
}

impl Signs {
    /// Looks at the network of the calling thread. Without nftables there are no tables and chains.
    ///
    /// # Errors
    /// Interfaces, tables or chains that cannot be listed.
    pub async fn gather(nft: Option<&Nft>, links: &Links) -> Result<Self, GatherError> {
        let links = links.names().await?;
        let (tables, chains) = match nft {
            Some(nft) => (nft.all_tables().await?, nft.all_chains().await?),
            None => (Vec::new(), Vec::new()),
        };
        let tables = tables.into_iter().map(|table| (table.family.name(), table.name)).collect();
        Ok(Self { links, tables, chains: chains.into_iter().map(Chain::from).collect(), legacy: legacy() })
    }

    /// Looks only at what [`Self::kube_proxy`] needs, for which no list of others' chains is taken.
    ///
    /// # Errors
    /// Interfaces, tables or a chain that cannot be seen.
    pub async fn gather_few(nft: Option<&Nft>, links: &Links) -> Result<Self, GatherError> {
        let links = links.names().await?;
        let (tables, found) = match nft {
            Some(nft) => (nft.all_tables().await?, nft.chain(Ip::V4, "nat", KUBE_PROXY_CHAIN).await?),
            None => (Vec::new(), None),
        };
        let tables = tables.into_iter().map(|table| (table.family.name(), table.name)).collect();
        Ok(Self { links, tables, chains: found.into_iter().map(Chain::from).collect(), legacy: legacy() })
    }

    /// Who sends packets for Services elsewhere.
    pub fn kube_proxy(&self) -> KubeProxy {
        let has_link = |name: &str| self.links.iter().any(|link| link == name);
        let has_table = self.tables.iter().any(|(family, name)| *family == "ip" && name == KUBE_PROXY_TABLE);
        let is_services =
            |chain: &&Chain| chain.family == "ip" && chain.table == "nat" && chain.name == KUBE_PROXY_CHAIN;
        let has_chain = self.chains.iter().any(|chain| is_services(&chain));
        if has_link(IPVS_LINK) {
            KubeProxy::Ipvs
        } else if has_link(CILIUM_LINK) && !has_table && !has_chain {
            KubeProxy::Cilium
        } else if has_table {
            KubeProxy::Nftables
        } else if has_chain || self.legacy.iter().any(|table| table == "nat") {
            KubeProxy::Iptables
        } else {
            KubeProxy::None
        }
    }

    /// Whether rules of the old iptables are there, which cannot be seen.
    pub fn has_legacy(&self) -> bool {
        !self.legacy.is_empty()
    }

    /// Chains of others that may drop packets to or from us, whatever our own rules accept: where they are called, and
    /// that they drop what no rule of theirs decides.
    pub fn dropping(&self) -> impl Iterator<Item = &Chain> {
        // NF_INET_LOCAL_IN and NF_INET_LOCAL_OUT
        self.chains.iter().filter(|chain| {
            let families = ["ip", "ip6", "inet"];
            chain.drops
                && matches!(chain.hook, Some(1 | 3))
                && chain.table != TABLE
                && families.contains(&chain.family)
        })
    }
}

/// The tables of the old iptables, if the kernel has it.
fn legacy() -> Vec<String> {
    match std::fs::read_to_string(LEGACY_TABLES) {
        Ok(names) => names.lines().map(str::to_owned).collect(),
        Err(error) => {
            // The kernel does not have it, or nobody may know.
            if error.kind() != io::ErrorKind::NotFound {
                tracing::debug!(%error, "reading {LEGACY_TABLES}");
            }
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(family: &'static str, table: &str, name: &str, hook: Option<u32>, drops: bool) -> Chain {
        Chain { family, table: table.to_owned(), name: name.to_owned(), hook, drops }
    }

    fn links(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn who_sends_packets_elsewhere_is_seen_by_its_traces() {
        let table = |family, name: &str| vec![(family, name.to_owned())];
        let services = || vec![chain("ip", "nat", "KUBE-SERVICES", None, false)];
        let none = Signs::default;
        let cases = [
            ("nothing", none(), KubeProxy::None),
            ("other interfaces", Signs { links: links(&["lo", "eth0", "cni0"]), ..none() }, KubeProxy::None),
            ("iptables", Signs { chains: services(), ..none() }, KubeProxy::Iptables),
            ("old iptables", Signs { legacy: links(&["filter", "nat"]), ..none() }, KubeProxy::Iptables),
            (
                "old iptables for something else",
                Signs { legacy: links(&["filter"]), ..none() },
                KubeProxy::None,
            ),
            ("nftables", Signs { tables: table("ip", "kube-proxy"), ..none() }, KubeProxy::Nftables),
            (
                "nftables, with rules of an old mode left behind",
                Signs { tables: table("ip", "kube-proxy"), chains: services(), ..none() },
                KubeProxy::Nftables,
            ),
            (
                "IPVS, which has chains of that name too",
                Signs { links: links(&["kube-ipvs0"]), chains: services(), ..none() },
                KubeProxy::Ipvs,
            ),
            ("Cilium", Signs { links: links(&["lo", "cilium_host"]), ..none() }, KubeProxy::Cilium),
            (
                "Cilium beside kube-proxy",
                Signs { links: links(&["cilium_host"]), chains: services(), ..none() },
                KubeProxy::Iptables,
            ),
            (
                "a chain of that name elsewhere",
                Signs { chains: vec![chain("ip", "filter", "KUBE-SERVICES", None, false)], ..none() },
                KubeProxy::None,
            ),
        ];
        for (name, signs, want) in cases {
            assert_eq!(signs.kube_proxy(), want, "{name}");
        }
    }

    #[test]
    fn who_may_drop_what_we_let_through_is_named() {
        let (input, forward, output) = (Some(1), Some(2), Some(3));
        let cases = [
            ("a firewall", chain("inet", "filter", "input", input, true), true),
            ("of iptables", chain("ip", "filter", "OUTPUT", output, true), true),
            ("that lets through", chain("inet", "filter", "input", input, false), false),
            ("for others", chain("inet", "filter", "forward", forward, true), false),
            ("nobody calls it", chain("inet", "filter", "mine", None, true), false),
            ("of bridges", chain("bridge", "filter", "input", input, true), false),
            ("our own", chain("ip", TABLE, "out", output, true), false),
        ];
        for (name, chain, want) in cases {
            let signs = Signs { chains: vec![chain], ..Signs::default() };
            assert_eq!(signs.dropping().count() == 1, want, "{name}");
        }
    }
}
