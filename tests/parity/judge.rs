//! Whether a reply agrees with the recorded one, or departs from it in a way that is meant.

use std::collections::HashMap;

use serde::Deserialize;

use crate::records::{Reply, Row};

/// The zone of the recordings.
const ZONE: &str = "cluster.local.";

/// A question with the reply that was recorded.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Recorded {
    /// The name that was asked for, in its letter case.
    pub name: String,
    /// The type that was asked for.
    #[serde(rename = "type")]
    pub kind: String,
    /// What CoreDNS said.
    #[serde(flatten)]
    pub reply: Reply,
}

/// What the judge says of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It says what was recorded.
    Agrees,
    /// It does not, and is better for it.
    Allowed(Deviation),
    /// It does not.
    Differs,
}

/// Where the DNS standard's answer is better than the recorded one. All are about names of the cluster and
/// reverse names: what comes from the upstream has to be passed on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Deviation {
    /// CoreDNS denies the existence of a name that has addresses, or names below it, when it is asked for TXT.
    /// A resolver that believes it (RFC 8020) stops asking for everything below; NODATA is right.
    TxtOfExistingName,
    /// CoreDNS denies `dns`, `dns-version` and `ns.dns` for types that they do not have, and `_tcp.SVC.NS.svc`
    /// although there are ports below it. NODATA is right, for the same reason.
    NameWithNamesBelow,
    /// CoreDNS says NODATA when asked for the SOA of a name that does not exist; NXDOMAIN is right.
    SoaOfMissingName,
    /// The same under a reverse zone, where a missing name may fall through and get the upstream's answer.
    SoaOfReverseName,
    /// CoreDNS does not know its own addresses once `bind` is given, nor its name in other letter case; the
    /// zone's NS records and the addresses of `ns.dns` are given all the same.
    OwnAddresses,
    /// CoreDNS ignores labels in front of a pod's name; there are no such names.
    LabelsBeforePod,
    /// CoreDNS gives a pod a SRV record of port 0; a pod has none.
    SrvOfPod,
    /// CoreDNS ignores labels in front of a complete reverse name; there are no such names.
    LongReverseName,
    /// CoreDNS gives an ExternalName service's CNAME to address queries only; an alias is one for every type
    /// (RFC 1034 §3.6.2).
    AliasForOtherTypes,
    /// ANY may be answered with a HINFO record (RFC 8482 §4.2) instead of nothing.
    AnyAsHinfo,
}

impl Deviation {
    /// Every deviation.
    const ALL: [Self; 10] = [
        Self::TxtOfExistingName,
        Self::NameWithNamesBelow,
        Self::SoaOfMissingName,
        Self::SoaOfReverseName,
        Self::OwnAddresses,
        Self::LabelsBeforePod,
        Self::SrvOfPod,
        Self::LongReverseName,
        Self::AliasForOtherTypes,
        Self::AnyAsHinfo,
    ];

    /// Whether this is what sets the reply apart from the recording.
    fn explains(self, c: &Comparison<'_>) -> bool {
        let denied = c.want.rcode == "NXDOMAIN";
        let nothing = c.want.answer.is_empty();
        let positive = c.got.rcode == "NOERROR";
        let passed_on = c.got.rcode == "NXDOMAIN" || c.got.rcode == "REFUSED";
        match self {
            Self::TxtOfExistingName => {
                denied && c.is_nodata() && c.kind == "TXT" && c.address_rcode == Some("NOERROR")
            }
            Self::NameWithNamesBelow => {
                let special = ["dns", "dns-version", "ns.dns"].iter().any(|n| c.is_in_zone(n));
                denied
                    && c.is_nodata()
                    && (special || c.name.starts_with("_tcp.") || c.name.starts_with("_udp."))
            }
            Self::SoaOfMissingName => {
                let missing = c.address_rcode.is_none_or(|code| code == "NXDOMAIN");
                c.kind == "SOA" && c.want.rcode == "NOERROR" && nothing && c.is_nxdomain() && missing
            }
            Self::SoaOfReverseName => c.kind == "SOA" && c.is_reverse() && nothing && passed_on,
            Self::OwnAddresses => {
                let apex = [ZONE, "in-addr.arpa.", "ip6.arpa."].contains(&&*c.name);
                let kind = ["NS", "A", "AAAA", "SRV", "PTR"].contains(&c.kind);
                positive && kind && (apex || c.is_in_zone("ns.dns"))
            }
            Self::LabelsBeforePod => {
                let labels = c.labels();
                labels.len() > 3 && labels.last() == Some(&"pod") && c.is_negative()
            }
            Self::SrvOfPod => c.kind == "SRV" && c.name.contains(".pod.") && c.is_negative(),
            Self::LongReverseName => {
                // A complete name is four octets and two labels.
                c.name.ends_with("in-addr.arpa.") && c.name.matches('.').count() > 6 && passed_on
            }
            Self::AliasForOtherTypes => {
                let kind = ["MX", "TXT", "ANY"].contains(&c.kind);
                let alias = c.got.answer.first().is_some_and(|row| row.2 == "CNAME");
                kind && c.want.rcode == "NOERROR" && nothing && alias
            }
            Self::AnyAsHinfo => {
                let hinfo = matches!(&*c.got.answer, [Row(_, _, kind, _)] if kind == "HINFO");
                c.kind == "ANY" && positive && nothing && hinfo
            }
        }
    }
}

/// A reply beside the recording that it is judged by.
struct Comparison<'a> {
    /// The name that was asked for, in lower case.
    name: String,
    /// The type that was asked for.
    kind: &'a str,
    /// What came.
    got: &'a Reply,
    /// What was recorded.
    want: &'a Reply,
    /// The code that was recorded for the name's addresses, if they were asked for.
    address_rcode: Option<&'a str>,
}

impl Comparison<'_> {
    fn is_reverse(&self) -> bool {
        self.name.ends_with("in-addr.arpa.") || self.name.ends_with("ip6.arpa.")
    }

    /// Whether this is the name of these labels in the zone.
    fn is_in_zone(&self, labels: &str) -> bool {
        self.name.strip_suffix(ZONE).and_then(|n| n.strip_suffix('.')) == Some(labels)
    }

    /// The labels in front of the zone.
    fn labels(&self) -> Vec<&str> {
        let left = self.name.strip_suffix(ZONE).and_then(|n| n.strip_suffix('.'));
        left.map(|n| n.split('.').collect()).unwrap_or_default()
    }

    /// Whether the authority is ours and says so as RFC 2308 has it.
    fn has_soa(&self) -> bool {
        self.got.aa && self.got.authority.iter().any(|row| row.2 == "SOA")
    }

    fn is_nodata(&self) -> bool {
        self.got.rcode == "NOERROR" && self.got.answer.is_empty() && self.has_soa()
    }

    fn is_nxdomain(&self) -> bool {
        self.got.rcode == "NXDOMAIN" && self.has_soa()
    }

    fn is_negative(&self) -> bool {
        self.is_nodata() || self.is_nxdomain()
    }
}

/// Judges replies by one set of recordings.
pub(crate) struct Judge {
    /// The code recorded for the A query of each name, in lower case.
    address_rcodes: HashMap<String, String>,
}

impl Judge {
    /// A judge who knows these recordings.
    pub(crate) fn new(recorded: &[Recorded]) -> Self {
        let asked = recorded.iter().filter(|r| r.kind == "A");
        let address_rcodes = asked.map(|r| (r.name.to_ascii_lowercase(), r.reply.rcode.clone())).collect();
        Self { address_rcodes }
    }

    /// The verdict on a reply to a recorded question.
    pub(crate) fn verdict(&self, recorded: &Recorded, got: &Reply) -> Verdict {
        let want = &recorded.reply;
        if got.agrees_with(want) {
            return Verdict::Agrees;
        }
        let name = recorded.name.to_ascii_lowercase();
        let address_rcode = self.address_rcodes.get(&name).map(String::as_str);
        let comparison = Comparison { name, kind: &recorded.kind, got, want, address_rcode };
        if !comparison.name.ends_with(ZONE) && !comparison.is_reverse() {
            return Verdict::Differs;
        }
        Deviation::ALL
            .into_iter()
            .find(|deviation| deviation.explains(&comparison))
            .map_or(Verdict::Differs, Verdict::Allowed)
    }
}
