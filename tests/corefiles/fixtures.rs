//! The Corefiles and their probes.

use std::collections::BTreeSet;

use outlast::corefile::{LoadOptions, load};

use super::checks::take_over;
use super::probe::Probe::{self, *};
use super::world::{Place, World, can_be};

/// What every Corefile of a cluster's DNS service is asked; all have these plugins.
const SERVICE: &[Probe] = &[
    Ready("127.0.0.1:8181"),
    Cluster,
    Outside,
    Cached,
    Health("127.0.0.1:8080"),
    Metrics,
    Reloaded,
    ErrorLine,
];

/// What most of them are asked besides.
const MORE: &[Probe] = &[Shuffled, NoLoop];

/// What node-local caches are asked.
const NODE: &[Probe] = &[ClusterElsewhere, Outside, Cached, Metrics, NoLoop, Reloaded, ErrorLine];

/// Files for the globs that distributions import.
const CUSTOM: &[(&str, &str)] = &[
    ("custom/alias.override", "rewrite name exact alias.override.example www.outside.example\n"),
    (
        "custom/stub.server",
        "custom.example:{$DNS_PORT} {\n    errors\n    cache 30\n    forward . 10.9.0.53\n}\n",
    ),
    ("custom/readme.txt", "}{ is no Corefile\n"),
];

const fn service(file: &'static str) -> Place {
    Place { file, at: "127.0.0.1:53", local: &[], metrics: "127.0.0.1:9153", files: &[] }
}

/// Starts the Corefile, and asks everything; there has to be a question for each of its plugins but these.
fn probed(place: &'static Place, probes: &[&[Probe]], but: &[&str]) {
    if !can_be() {
        return;
    }
    let mut world = World::new(place);
    let mut probes: Vec<Probe> = probes.concat();
    probes.sort_by_key(|p| p.turn());

    // Values do not matter here.
    let options = LoadOptions { env: &|_| Some("53".to_owned()), ..LoadOptions::default() };
    let corefile = load(&world.corefile_path(), &options).unwrap();
    let directives = corefile.blocks.iter().flat_map(|b| &b.directives);
    let plugins: BTreeSet<&str> = directives.map(|d| d.name.text.as_str()).collect();
    let covered: BTreeSet<&str> =
        probes.iter().flat_map(|p| p.covers()).copied().chain(but.iter().copied()).collect();
    let missing: Vec<_> = plugins.difference(&covered).collect();
    assert!(missing.is_empty(), "{}: no question for {missing:?}", place.file);

    for probe in probes {
        // Says which one it was when it fails.
        println!("{}: {probe:?}", place.file);
        probe.check(&mut world);
    }
}

#[test]
fn kubeadm() {
    const PLACE: &Place = &service("kubeadm.corefile");
    probed(PLACE, &[SERVICE, MORE, &[Lameduck]], &[]);
}

#[test]
fn kubeadm_old() {
    const PLACE: &Place = &service("kubeadm-old.corefile");
    probed(PLACE, &[SERVICE, MORE], &[]);
}

#[test]
fn deployment_script() {
    const PLACE: &Place = &service("deployment-script.corefile");
    probed(PLACE, &[SERVICE, MORE, &[Lameduck]], &[]);
}

#[test]
fn helm() {
    const PLACE: &Place = &service("helm.corefile");
    probed(PLACE, &[SERVICE, MORE, &[Lameduck]], &[]);
}

#[test]
fn eks() {
    const PLACE: &Place = &service("eks.corefile");
    probed(PLACE, &[SERVICE, MORE, &[Lameduck]], &[]);
}

#[test]
fn eks_cross_cluster() {
    const PLACE: &Place = &service("eks-cross-cluster.corefile");
    probed(PLACE, &[SERVICE, MORE, &[Stub("api.team-a.svc.cluster.local."), Lameduck]], &[]);
}

#[test]
fn kops() {
    const PLACE: &Place = &service("kops.corefile");
    probed(PLACE, &[SERVICE, MORE, &[Lameduck]], &[]);
}

#[test]
fn kubespray() {
    const PLACE: &Place =
        &Place { files: &[("hosts", "10.1.2.3 bastion.hosts.example\n")], ..service("kubespray.corefile") };
    let own = &[Hosts("bastion.hosts.example.", "10.1.2.3"), Stub("db.corp.example."), Lameduck];
    probed(PLACE, &[SERVICE, MORE, own], &[]);
}

#[test]
fn aks() {
    const PLACE: &Place = &Place { files: CUSTOM, ..service("aks.corefile") };
    let own = &[
        Denied("a.b.c.d.e.internal.example.net."),
        LeftAlone("a.b.internal.example.net."),
        Denied("vm.reddog.example.com."),
        Imported,
        Lameduck,
    ];
    probed(PLACE, &[SERVICE, MORE, own], &[]);
}

#[test]
fn gardener() {
    const PLACE: &Place = &Place { at: "127.0.0.1:8053", files: CUSTOM, ..service("gardener.corefile") };
    let own = &[
        Rewritten("web.shop.svc.production.example.", "10.96.0.7"),
        Rewritten("web.shop.svc.cluster.local.svc.cluster.local.", "10.96.0.7"),
        Imported,
        FailureLogged,
        Lameduck,
    ];
    probed(PLACE, &[SERVICE, MORE, own], &[]);
}

#[test]
fn k3s() {
    const FILES: &[(&str, &str)] = &[("NodeHosts", "10.1.2.3 server-0\n"), CUSTOM[0], CUSTOM[1], CUSTOM[2]];
    const PLACE: &Place = &Place { files: FILES, ..service("k3s.corefile") };
    probed(PLACE, &[SERVICE, MORE, &[Hosts("server-0.", "10.1.2.3"), Imported]], &[]);
}

#[test]
fn openshift() {
    const PLACE: &Place = &Place { at: "127.0.0.1:5353", ..service("openshift.corefile") };
    let own = &[
        Stub("db.intra.example."),
        OverTls("corp.example.", "10.9.0.54:853"),
        OverTls("intra.example.", "10.9.0.53:5300"),
        Cut(512),
        Chaos("hostname.bind."),
        FailureLogged,
        Lameduck,
    ];
    probed(PLACE, &[SERVICE, own], &[]);
}

#[test]
fn openshift_later() {
    const PLACE: &Place = &Place { at: "127.0.0.1:5353", ..service("openshift-later.corefile") };
    let own = &[Cut(1232), Chaos("hostname.bind."), FailureLogged, Lameduck];
    probed(PLACE, &[SERVICE, own], &[]);
}

/// The names in its rewrite and in its hosts belong to the block of `corp.example`, which is more specific: they
/// are that zone's servers', as with CoreDNS. Addresses are still hosts'.
#[test]
fn stub_zones() {
    const FILES: &[(&str, &str)] = &[("NodeHosts", "10.1.2.4 node-4\n"), CUSTOM[0], CUSTOM[1], CUSTOM[2]];
    const PLACE: &Place = &Place { files: FILES, ..service("stub-zones.corefile") };
    let own = &[
        Stub("shop.corp.example."),
        Stub("registry.corp.example."),
        HostsReverse("registry.corp.example.", "10.1.2.3"),
        Hosts("node-4.", "10.1.2.4"),
        Denied("a.b.c.d.e.dead.example.net."),
        LeftAlone("a.dead.example.net."),
        Imported,
    ];
    // It has neither health nor ready.
    let service = &[Cluster, Outside, Cached, Metrics, Reloaded, ErrorLine];
    probed(PLACE, &[service, MORE, own], &["rewrite"]);
}

#[test]
fn node_local() {
    const LOCAL: &[&str] = &["169.254.20.10", "10.96.0.10"];
    const PLACE: &Place = &Place {
        file: "node-local.corefile",
        at: "169.254.20.10:53",
        local: LOCAL,
        metrics: "127.0.0.1:9253",
        files: &[],
    };
    probed(PLACE, &[NODE, &[Health("169.254.20.10:8080"), NotAt("127.0.0.1:53")]], &[]);
}

#[test]
fn node_local_at_the_service_address() {
    const LOCAL: &[&str] = &["169.254.20.10", "10.96.0.10"];
    const PLACE: &Place = &Place {
        file: "node-local.corefile",
        at: "10.96.0.10:53",
        local: LOCAL,
        metrics: "127.0.0.1:9253",
        files: &[],
    };
    probed(PLACE, &[NODE, &[Health("169.254.20.10:8080"), NotAt("127.0.0.1:53")]], &[]);
}

#[test]
fn node_local_with_ipvs() {
    const PLACE: &Place = &Place {
        file: "node-local-ipvs.corefile",
        at: "169.254.20.10:53",
        local: &["169.254.20.10"],
        metrics: "127.0.0.1:9253",
        files: &[],
    };
    let own = &[Stub("db.corp.example."), Health("169.254.20.10:8080"), NotAt("127.0.0.1:53")];
    probed(PLACE, &[NODE, own], &[]);
}

#[test]
fn kubespray_node_local() {
    const PLACE: &Place = &Place {
        file: "kubespray-node-local.corefile",
        at: "169.254.25.10:53",
        local: &["169.254.25.10"],
        metrics: "127.0.0.1:9253",
        files: &[],
    };
    probed(PLACE, &[NODE, &[Health("169.254.25.10:9254"), NotAt("127.0.0.1:53")]], &[]);
}

/// `debug` and `metadata` change no answer of themselves, and `acl` blocks clients that are not there.
#[test]
fn additions() {
    const PLACE: &Place = &service("additions.corefile");
    let own = &[
        Rewritten("web.shop.svc.legacy.example.", "10.96.0.7"),
        Rewritten("shop.legacy.example.", "10.96.0.8"),
        Hosts("registry.legacy.example.", "10.1.2.3"),
        Templated("10-0-0-7.nip.example.", "10.0.0.7"),
        Stub("api.team.example."),
        Stub("db.corp.example."),
        SearchFollowed,
        Any,
        Local,
        Nsid("coredns-7"),
        RecursionAvailable,
        Minimal,
        Cut(1232),
        Logged,
        Lameduck,
    ];
    probed(PLACE, &[SERVICE, MORE, own], &["debug", "metadata", "acl"]);
}

/// Without a signal, by the interval of `reload`: half a minute, with jitter.
#[test]
fn an_exchanged_config_map_is_noticed() {
    const PLACE: &Place = &service("kubeadm.corefile");
    if !can_be() {
        return;
    }
    let world = World::new(PLACE);
    world.ask_until("data", &outlast::testkit::client::Query::a("web.shop.svc.cluster.local."), |answer| {
        !answer.answers().is_empty()
    });
    take_over(&world, || ());
}
