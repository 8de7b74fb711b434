//! A setting with every plugin that has a part in the lane, or says that it has none, and with blocks within each
//! other's zones on two listeners. What one plugin or block says of a name is nowhere what another one would say: if
//! the lane passed one by, or took another block, its reply would be another one.

use crate::generated::Setting;

/// Names that the plugins and blocks of [`SETTING`] have something to say about.
const OWN: [&str; 24] = [
    // What `local` takes from `kubernetes`, from upstreams, and from what is kept of them.
    "localhost.storefront.shop.svc.cluster.local.",
    "localhost.cluster.local.",
    "localhost.www.example.",
    "a.localhost.",
    "1.0.0.127.in-addr.arpa.",
    "9.0.0.127.in-addr.arpa.",
    // What `hosts` takes from `kubernetes`: names, an address, and names that it alone may have.
    "storefront.shop.svc.cluster.local.",
    "duo.shop.svc.cluster.local.",
    "20.14.96.10.in-addr.arpa.",
    "any.quiet.svc.cluster.local.",
    "quiet.svc.cluster.local.",
    // What it takes from upstreams.
    "one.hosts.test.",
    "other.test.",
    "absent.other.test.",
    // What is said of the server.
    "version.bind.",
    "id.server.",
    // The blocks of zones within others, and DS records, which are the outer block's.
    "storefront.lab.svc.cluster.local.",
    "lab.svc.cluster.local.",
    "example.",
    "mail.example.",
    "www.example.",
    "a.www.example.",
    "deep.a.www.example.",
    "kubernetes.default.svc.cluster.local.",
];

/// The setting.
pub(crate) const SETTING: Setting = Setting {
    name: "roles",
    corefile: ".:53 {
        errors
        metadata
        log . \"{common} {/kubernetes/namespace} {/log/type}\" {
            class error
        }
        prometheus
        cancel 1s
        local
        any
        chaos Shelf-1 somebody
        cache 60
        hosts /nowhere shop.svc.cluster.local quiet.svc.cluster.local test {
            10.96.0.200 storefront.shop.svc.cluster.local one.hosts.test
            fd10:96::c8 storefront.shop.svc.cluster.local
            10.96.14.20 *.hosts.test
            ttl 77
            fallthrough shop.svc.cluster.local
            fallthrough_unsupported
        }
        kubernetes cluster.local in-addr.arpa ip6.arpa {
            source file /nowhere
            pods insecure
            fallthrough
        }
    }
    lab.svc.cluster.local:53 {
        errors
        prometheus
        cache 30
    }
    example:53 {
        log
        prometheus
        nsid outer
        cache 30
    }
    www.example:53 {
        log . {
            class error
        }
        prometheus
        nsid inner
        bufsize 600
        any
        cache 20 {
            keepttl
        }
        hosts /nowhere {
            192.0.2.200 deep.a.www.example
            fallthrough
        }
    }
    .:5353 {
        prometheus
        errors
        nsid second
        bufsize 700
        local
        cache 30 {
            serve_stale 1h immediate
        }
        hosts /nowhere default.svc.cluster.local test {
            10.96.0.201 kubernetes.default.svc.cluster.local
            192.0.2.201 other.test
            fallthrough default.svc.cluster.local test
        }
        kubernetes cluster.local in-addr.arpa ip6.arpa {
            source file /nowhere
            pods insecure
            fallthrough in-addr.arpa ip6.arpa
            ttl 30
        }
    }
    shop.svc.cluster.local:5353 {
        chaos
        any
        metadata
        cancel
        kubernetes cluster.local {
            source file /nowhere
            pods insecure
            ttl 7
        }
    }",
    floors: &[
        ("cluster A", 0.8),
        ("cluster NXDOMAIN", 0.8),
        ("cluster NODATA", 0.8),
        ("reverse PTR", 0.8),
        ("cluster A old", 0.8),
        ("outside A", 0.25),
        ("outside NXDOMAIN", 0.3),
    ],
    own: &OWN,
    // Long enough for `cancel`.
    outage: &["is", "silent"],
    pins: &[],
};
