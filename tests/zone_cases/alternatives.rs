//! The cases where the answer given is not CoreDNS's, each with the reason and the exact answer instead.

/// An answer instead of the one in the case file.
pub(crate) struct Instead {
    /// The number of the case.
    pub id: u32,
    /// Why.
    pub why: &'static str,
    /// The code.
    pub rcode: &'static str,
    /// Whether AA is set.
    pub aa: bool,
    /// The answer section.
    pub answer: &'static [&'static str],
    /// The authority section.
    pub authority: &'static [&'static str],
    /// The additional section.
    pub additional: &'static [&'static str],
}

/// NODATA without its SOA record.
const NODATA: Instead =
    Instead { id: 0, why: "", rcode: "NOERROR", aa: true, answer: &[], authority: &[], additional: &[] };

/// The zone's SOA, with the default TTL.
const SOA: &[&str] =
    &["cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. * 7200 1800 86400 5"];

/// The same with kubeadm's TTL.
const SOA_30: &[&str] =
    &["cluster.local. 30 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. * 7200 1800 86400 30"];

/// The reverse zone's SOA, with the default TTL.
const REVERSE_SOA: &[&str] =
    &["in-addr.arpa. 5 IN SOA ns.dns.in-addr.arpa. hostmaster.in-addr.arpa. * 7200 1800 86400 5"];

/// The same with kubeadm's TTL.
const REVERSE_SOA_30: &[&str] =
    &["in-addr.arpa. 30 IN SOA ns.dns.in-addr.arpa. hostmaster.in-addr.arpa. * 7200 1800 86400 30"];

const EXISTS: &str = "a name with names below it exists for every type (RFC 8020)";
const NO_SOA: &str = "the SOA of a name that does not exist is NXDOMAIN";
const BOUND: &str = "the bound addresses are the name server's own";
const ANY_CASE: &str = "names are the same in any letter case (RFC 1035 §2.3.3)";

/// The negative answers of a node without data: the same SOA, for a client to ask again soon.
const SOA_SHORT: &[&str] =
    &["cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. * 7200 1800 86400 30"];

/// Every such case.
pub(crate) const ALTERNATIVES: [Instead; 20] = [
    Instead { id: 28, why: NO_SOA, rcode: "NXDOMAIN", authority: SOA, ..NODATA },
    Instead { id: 49, why: EXISTS, authority: SOA, ..NODATA },
    Instead { id: 132, why: EXISTS, authority: SOA, ..NODATA },
    Instead { id: 138, why: EXISTS, authority: SOA, ..NODATA },
    Instead { id: 143, why: EXISTS, authority: SOA, ..NODATA },
    Instead { id: 151, why: NO_SOA, rcode: "NXDOMAIN", authority: SOA, ..NODATA },
    Instead { id: 153, why: EXISTS, authority: SOA, ..NODATA },
    Instead { id: 157, why: EXISTS, authority: SOA, ..NODATA },
    Instead { id: 159, why: EXISTS, authority: SOA, ..NODATA },
    Instead {
        id: 167,
        why: BOUND,
        answer: &["cluster.local. 5 IN NS ns.dns.cluster.local."],
        additional: &["ns.dns.cluster.local. 5 IN A 127.0.0.1"],
        ..NODATA
    },
    Instead { id: 168, why: BOUND, answer: &["ns.dns.cluster.local. 5 IN A 127.0.0.1"], ..NODATA },
    Instead {
        id: 174,
        why: ANY_CASE,
        answer: &["CLUSTER.local. 5 IN NS kube-dns.kube-system.svc.CLUSTER.local."],
        additional: &["kube-dns.kube-system.svc.CLUSTER.local. 5 IN A 10.96.0.10"],
        ..NODATA
    },
    Instead { id: 175, why: ANY_CASE, answer: &["ns.dns.CLUSTER.local. 5 IN A 10.96.0.10"], ..NODATA },
    Instead {
        id: 205,
        why: "SOA of a missing reverse name falls through like every other type",
        rcode: "NXDOMAIN",
        aa: false,
        authority: &[". 900 IN SOA stub. host.stub. * 60 60 60 60"],
        ..NODATA
    },
    Instead { id: 221, why: "a pod has no port, and so no SRV record", authority: SOA_30, ..NODATA },
    Instead {
        id: 223,
        why: "there are no names below a pod's",
        rcode: "NXDOMAIN",
        authority: SOA_30,
        ..NODATA
    },
    Instead {
        id: 264,
        why: "an address does not tell the name of what `namespace_labels` hides",
        rcode: "NXDOMAIN",
        authority: REVERSE_SOA,
        ..NODATA
    },
    Instead {
        id: 276,
        why: "a negative answer that is not from live data lives for 5 s at most",
        authority: SOA_SHORT,
        ..NODATA
    },
    Instead {
        id: 279,
        why: "without data nobody can say that the name does not exist",
        rcode: "SERVFAIL",
        authority: SOA_30,
        ..NODATA
    },
    Instead {
        id: 280,
        why: "without data, reverse names of private addresses are not asked of strangers",
        rcode: "SERVFAIL",
        authority: REVERSE_SOA_30,
        ..NODATA
    },
];
