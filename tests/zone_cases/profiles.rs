//! The configurations that the written cases are asked in.

/// A configuration.
#[derive(Clone, Copy)]
pub(crate) struct Profile {
    /// Its name in the cases.
    pub name: &'static str,
    /// What is in its `kubernetes` block.
    pub options: &'static str,
    /// The name server's own addresses; without any, those that are bound.
    pub own_addresses: &'static [&'static str],
    /// Whether the cluster's data ever comes.
    pub synced: bool,
}

/// The options of kubeadm's own Corefile.
const KUBEADM: &str = "pods insecure
    ttl 30
    fallthrough in-addr.arpa ip6.arpa";

/// The name server as one of the cluster's DNS pods, without options.
const BASE: Profile = Profile { name: "base", options: "", own_addresses: &["10.244.0.2"], synced: true };

/// The profiles whose cases are asked.
pub(crate) const PROFILES: [Profile; 13] = [
    BASE,
    Profile { name: "kubeadm", options: KUBEADM, ..BASE },
    Profile { name: "ttl900", options: "ttl 900", ..BASE },
    Profile { name: "verified", options: "pods verified", ..BASE },
    Profile { name: "podnames", options: "endpoint_pod_names", ..BASE },
    Profile { name: "noempty", options: "ignore empty_service", ..BASE },
    Profile { name: "nsonly", options: "namespaces shop", ..BASE },
    Profile { name: "nslabel", options: "namespace_labels team=green", ..BASE },
    Profile { name: "labels", options: "labels tier=web", ..BASE },
    Profile { name: "noep", options: "noendpoints", ..BASE },
    Profile { name: "unsynced", options: KUBEADM, synced: false, ..BASE },
    Profile { name: "node", own_addresses: &["192.0.2.10", "2001:db8::10"], ..BASE },
    Profile { name: "bound", own_addresses: &[], ..BASE },
];

/// Profiles whose cases are not asked: `check` refuses a Corefile with these options, and says so.
pub(crate) const SKIPPED: [(&str, &str); 2] = [("mcs", "multicluster clusterset.local"), ("zonal", "zonal")];
