//! What a pod of a cluster's DNS service finds around it: name servers, its ConfigMap, the API server.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::Path;

use base64::Engine;
use outlast::testkit::cluster::{ns, pod, slice, svc, write_json};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::machine::Machine;
use super::process::Process;
use super::programs::program;
use super::servers::{Nsd, Server};

/// The way out of the machine, and the name server in its `resolv.conf`.
pub(super) const OWN: &str = "172.30.0.1";
pub(super) const UPSTREAM: &str = "172.30.0.2";

/// Addresses of other name servers that the Corefiles name.
pub(super) const OTHERS: [&str; 9] = [
    "10.9.0.53",
    "10.9.1.53",
    "10.9.0.54",
    "10.202.30.193",
    "10.202.31.17",
    "10.96.87.4",
    "10.96.0.10",
    "10.233.0.3",
    UPSTREAM,
];

/// The one that has DoT, and its name.
const TLS: (&str, &str) = ("10.9.0.54", "dns.corp.example");

/// What every zone of all names begins with.
const ROOT: &str = ". 60 IN SOA ns. host. 1 60 60 60 5\n. 60 IN NS ns.\nns. 60 IN A 172.30.0.2\n";

/// What the name server of `resolv.conf` has.
const OUTSIDE: &str = "\
www.outside.example. 300 IN A 192.0.2.80
*.cold.example. 300 IN A 192.0.2.81
*.internal.example.net. 300 IN A 192.0.2.82
*.reddog.example.com. 300 IN A 192.0.2.82
*.dead.example.net. 300 IN A 192.0.2.82
80.2.0.192.in-addr.arpa. 300 IN PTR www.outside.example.
";

/// What the others have: zones of companies, and the cluster as its own DNS service answers.
const ELSEWHERE: &str = "\
*.corp.example. 300 IN A 192.0.2.90
*.intra.example. 300 IN A 192.0.2.90
*.team.example. 300 IN A 192.0.2.90
*.custom.example. 300 IN A 192.0.2.90
*.reloaded.example. 300 IN A 192.0.2.90
*.team-a.svc.cluster.local. 300 IN A 192.0.2.90
web.shop.svc.cluster.local. 30 IN A 10.96.0.7
7.0.96.10.in-addr.arpa. 30 IN PTR web.shop.svc.cluster.local.
";

/// Addresses of the service that fits into no reply over UDP.
const MANY: u8 = 100;

/// An address.
pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The name server of `resolv.conf`, and the others; the latter have DoT, by an authority whose certificate is on
/// the machine.
pub(super) fn name_servers(machine: &Machine, outside: &Machine, others: &[&str]) -> (Server, Server) {
    let start = |name: &str, addresses: &[&str], records: &str, tls| {
        let (folder, zone) = (outside.path(name), format!("{ROOT}{records}"));
        let nsd = Nsd { folder: &folder, addresses, zones: &[(".", &zone)], tls };
        let server = nsd.start(outside.command(program("nsd")));
        let at = SocketAddr::new(ip(addresses[0].split('@').next().unwrap()), 53);
        outside.inside(|| server.answers(at))
    };
    let upstream = start("upstream", &[UPSTREAM], OUTSIDE, None);
    let [chain, key, ca] = certificate();
    machine.write("etc/pki/ca.crt", &ca);
    outside.write("tls.crt", &chain);
    outside.write("tls.key", &key);
    let mut addresses: Vec<_> = others.iter().filter(|a| **a != UPSTREAM).map(|a| (*a).to_owned()).collect();
    addresses.push(format!("{}@5300", others[0]));
    addresses.push(format!("{}@853", TLS.0));
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let (chain, key) = (outside.path("tls.crt"), outside.path("tls.key"));
    let elsewhere = start("elsewhere", &addresses, ELSEWHERE, Some((&*chain, &*key)));
    (upstream, elsewhere)
}

/// A certificate for the server with DoT: chain, key, and who has signed it.
fn certificate() -> [String; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![TLS.1.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    [leaf.pem(), key.serialize_pem(), issuer.pem()]
}

/// Puts the Corefile and the files beside it into `/etc/coredns` as kubelet does: in a folder that a link leads to,
/// which is exchanged at once. `custom/` is another volume.
pub(super) fn config_map(machine: &Machine, version: &str, corefile: &str, files: &[(&str, &str)]) {
    let folder = machine.path("etc/coredns");
    machine.write(&format!("etc/coredns/..{version}/Corefile"), corefile);
    for (name, text) in files {
        let custom = name.starts_with("custom/");
        let place = if custom { (*name).to_owned() } else { format!("..{version}/{name}") };
        machine.write(&format!("etc/coredns/{place}"), text);
        if !custom {
            link(Path::new("..data").join(name).as_path(), &folder.join(name));
        }
    }
    link(Path::new("..data/Corefile"), &folder.join("Corefile"));
    let new = folder.join("..data_new");
    symlink(format!("..{version}"), &new).unwrap();
    fs::rename(new, folder.join("..data")).unwrap();
}

fn link(to: &Path, at: &Path) {
    if !at.is_symlink() {
        symlink(to, at).unwrap();
    }
}

/// Starts the stand-in, and gives the machine the folder of a ServiceAccount; where it listens.
pub(super) fn api_server(machine: &Machine) -> (Process, u16) {
    let mut objects = vec![
        ns("default"),
        ns("kube-system"),
        ns("shop"),
        svc("default/kubernetes").ip("10.96.0.1").port("https", 443).build(),
        svc("shop/web").ip("10.96.0.7").port("http", 80).build(),
        svc("shop/storefront").ip("10.96.0.8").port("http", 80).build(),
        svc("shop/db").headless().port("sql", 5432).build(),
        slice("shop/db-1", "db").v4("10.1.1.1").v4("10.1.1.2").v4("10.1.1.3").port("sql", 5432).build(),
        svc("shop/many").headless().port("sql", 5432).build(),
        // The client is this pod: it is at the machine's own addresses.
        pod("shop/client", "127.0.0.1"),
    ];
    let slice = slice("shop/many-1", "many").port("sql", 5432);
    objects.push((1..=MANY).fold(slice, |slice, n| slice.v4(&format!("10.1.2.{n}"))).build());
    let (cluster, kubeconfig) = (machine.path("cluster.json"), machine.path("kubeconfig"));
    write_json(&objects, File::create(&cluster).unwrap()).unwrap();
    let mut command = machine.outlast();
    command.args(["drill", "standin", "--objects"]).arg(cluster).arg("--kubeconfig").arg(&kubeconfig);
    let process = Process::start(&mut command);
    process.wait_for("an API server", |p| p.output().contains('\n').then_some(()));

    let text = fs::read_to_string(kubeconfig).unwrap();
    let config: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let ca = cluster["certificate-authority-data"].as_str().unwrap();
    let ca = base64::engine::general_purpose::STANDARD.decode(ca).unwrap();
    const ACCOUNT: &str = "run/secrets/kubernetes.io/serviceaccount";
    machine.write(&format!("{ACCOUNT}/ca.crt"), std::str::from_utf8(&ca).unwrap());
    machine.write(&format!("{ACCOUNT}/token"), config["users"][0]["user"]["token"].as_str().unwrap());
    machine.write(&format!("{ACCOUNT}/namespace"), "kube-system");
    let port = cluster["server"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    (process, port)
}
