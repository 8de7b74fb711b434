//! Options and flags about hubs: a real hub over a small API server, and nodes that follow it.

use std::net::SocketAddr;
use std::process::Command;

use hickory_proto::rr::RecordType;
use outlast::testkit::certs::{Ca, Dates, IdentityFolder, Leaf};
use outlast::testkit::client::Query;
use outlast::testkit::node::TestNode;
use outlast::trust::name::Role;

use super::apiserver::ApiServer;
use super::cluster::{Cluster, a, block, said, start};
use super::process::{Process, outlast, run};

const WEB: &str = "web.shop.svc.cluster.local.";

/// The name of an endpoint of web.shop, which is not headless.
const ENDPOINT: &str = "7.0.244.10.in-addr.arpa.";

/// A hub that runs until the test ends.
pub(super) struct Hub {
    process: Process,
    /// Where it serves.
    pub(super) address: SocketAddr,
    server: ApiServer,
}

impl Hub {
    /// web.shop has this address; further arguments say who is believed.
    async fn start(web: &str, arguments: &[String]) -> Self {
        let server = ApiServer::start(web).await;
        let mut command = outlast();
        command.args(["hub", "--listen", "127.0.0.1:0", "--endpoint", &server.url]).args(arguments);
        for face in ["--health-address", "--ready-address", "--metrics-address"] {
            command.args([face, "127.0.0.1:0"]);
        }
        let process = Process::start(&mut command);
        let address = process.address("serving followers");
        Self { process, address, server }
    }

    async fn plain(web: &str) -> Self {
        Self::start(web, &[]).await
    }

    async fn tls(web: &str, identity: &IdentityFolder) -> Self {
        Self::tls_with(web, identity, &[]).await
    }

    /// The same with further arguments.
    pub(super) async fn tls_with(web: &str, identity: &IdentityFolder, arguments: &[String]) -> Self {
        let [ca, cert, key] = files(identity);
        let flag = |name: &str, file: String| [name.to_owned(), file];
        let flags = [flag("--tls-ca", ca), flag("--tls-cert", cert), flag("--tls-key", key)];
        Self::start(web, &[&flags.concat(), arguments].concat()).await
    }
}

/// Authority, certificate and key.
pub(super) fn files(identity: &IdentityFolder) -> [String; 3] {
    ["ca.crt", "tls.crt", "tls.key"].map(|name| identity.path(name).to_string_lossy().into_owned())
}

/// A node that gets the address of web.shop.
pub(super) async fn follows(lines: &str, web: &str) -> TestNode {
    let node = start(lines);
    node.logged("cluster data is live").await;
    assert_eq!(a(&node, WEB).await, format!("NoError {web}"), "{lines}");
    node
}

/// A node that gets nothing from its hub.
pub(super) async fn is_left_alone(lines: &str, why: &str) {
    let node = start(lines);
    node.logged("source lost").await;
    assert!(node.log().contains(why), "{lines}: {}", node.log());
    assert_eq!(a(&node, WEB).await, "ServFail", "{lines}");
}

#[tokio::test]
async fn kubernetes_hub() {
    let (one, other) = (Hub::plain("10.0.0.7").await, Hub::plain("10.0.0.8").await);
    follows(&format!("hub {}", one.address), "10.0.0.7").await;
    follows(&format!("source auto\n hub {}", other.address), "10.0.0.8").await;
    follows(&format!("source hub\n hub {}", other.address), "10.0.0.8").await;
    // One that is down is passed over, and the API server is not asked, although the block says where it is.
    let node =
        follows(&format!("hub 127.0.0.1:1 {}\n endpoint {}", one.address, other.server.url), "10.0.0.7")
            .await;
    assert!(
        node.log().contains("'endpoint' at Corefile:5 has no effect: the source is hub:"),
        "{}",
        node.log()
    );
    let before = other.server.requests();
    drop(one.process);
    node.logged("left hub").await;
    assert_eq!(a(&node, WEB).await, "NoError 10.0.0.7");
    // Those of its own hub.
    assert!(other.server.requests() <= before + 20);
}

#[tokio::test]
async fn kubernetes_hub_tls() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let identity = IdentityFolder::real(&ours, Role::Hub);
    let hub = Hub::tls("10.0.0.7", &identity).await;
    let line =
        |identity: &IdentityFolder| format!("hub {}\n hub_tls {}", hub.address, files(identity).join(" "));
    let (own, foreign) = (IdentityFolder::real(&ours, Role::Node), IdentityFolder::real(&theirs, Role::Node));
    follows(&line(&own), "10.0.0.7").await;
    is_left_alone(&line(&foreign), "within TLS").await;
    is_left_alone(&format!("hub {}", hub.address), "left hub").await;
    // Files come late, and a node starts without them.
    let late = IdentityFolder::empty();
    let node = start(&line(&late));
    node.logged("source lost").await;
    late.put(&ours, &Leaf::of(Role::Node).dates(Dates::real()), &ours);
    node.logged("cluster data is live").await;
}

/// Hubs beyond loopback: the address leads to nobody, but a node starts with it.
#[tokio::test]
async fn kubernetes_hub_plain() {
    let cluster = Cluster::new();
    let check = |lines: &str| {
        let corefile = cluster.path("Corefile");
        std::fs::write(&corefile, block(lines, "")).unwrap();
        run(outlast().args(["check", "--conf"]).arg(&corefile))
    };
    let (code, _, error) = check("hub 192.0.2.1");
    assert!(code == 2 && error.contains("192.0.2.1:9953 is not on loopback"), "{error}");
    assert_eq!(check("hub 192.0.2.1\n hub_plain").0, 0);
}

#[tokio::test]
async fn kubernetes_cert_grace() {
    let ca = Ca::new();
    // Over for three days.
    let expired = Leaf::of(Role::Hub).dates(Dates::real().later(-338));
    let identity = IdentityFolder::new(&ca, &expired, &ca);
    let hub = Hub::tls("10.0.0.7", &identity).await;
    let node = IdentityFolder::real(&ca, Role::Node);
    let lines = format!("hub {}\n hub_tls {}", hub.address, files(&node).join(" "));
    is_left_alone(&format!("{lines}\n cert_grace 1h"), "within TLS").await;
    follows(&format!("{lines}\n cert_grace 96h"), "10.0.0.7").await;
    follows(&lines, "10.0.0.7").await;
}

#[tokio::test]
async fn kubernetes_endpoints() {
    let hub = Hub::plain("10.0.0.7").await;
    for (line, want) in [
        ("", "NoError 10-244-0-7.web.shop.svc.cluster.local."),
        ("endpoints all", "NoError 10-244-0-7.web.shop.svc.cluster.local."),
        ("endpoints headless", "NXDomain"),
    ] {
        let node = follows(&format!("hub {}\n {line}", hub.address), "10.0.0.7").await;
        let answer = node.client().ask(&Query::new(ENDPOINT, RecordType::PTR)).await.unwrap();
        assert_eq!(said(&answer), want, "{line}");
    }
}

// === Flags ===

/// `outlast node` with these lines in its block.
fn command(cluster: &Cluster, lines: &str) -> Command {
    let corefile = cluster.path("Corefile");
    std::fs::write(&corefile, block(lines, "")).unwrap();
    let mut command = outlast();
    command.args(["node", "--conf"]).arg(corefile);
    command
}

/// Whether the node of this command follows a hub, and what it answers then.
fn answers(mut command: Command, want: &str) {
    let process = Process::start(&mut command);
    process.ask_until("an answer", &Query::a(WEB).edns(1232), |a| said(a) == want);
}

#[tokio::test(flavor = "multi_thread")]
async fn flag_hub() {
    let (cluster, hub) = (Cluster::new(), Hub::plain("10.0.0.7").await);
    let address = hub.address.to_string();
    let mut by_variable = command(&cluster, "hub 127.0.0.1:1");
    by_variable.env("OUTLAST_HUB", &address);
    answers(by_variable, "NoError 10.0.0.7");
    let mut by_flag = command(&cluster, "");
    by_flag.env("OUTLAST_HUB", "127.0.0.1:1").args(["--hub", &format!("127.0.0.1:2,{address}")]);
    answers(by_flag, "NoError 10.0.0.7");
    let (code, _, error) = run(command(&cluster, "").args(["--hub", "hubs.example"]));
    assert!(code == 2 && error.contains("never looked up by name"), "{error}");
}

/// All three files by flags, and by variables: without one of them the node does not start.
async fn three_files(changed: usize) {
    let ca = Ca::new();
    let identity = IdentityFolder::real(&ca, Role::Hub);
    let hub = Hub::tls("10.0.0.7", &identity).await;
    let (node, cluster) = (IdentityFolder::real(&ca, Role::Node), Cluster::new());
    let address = hub.address.to_string();
    let names = [
        ("--hub-tls-ca", "OUTLAST_HUB_TLS_CA"),
        ("--hub-tls-cert", "OUTLAST_HUB_TLS_CERT"),
        ("--hub-tls-key", "OUTLAST_HUB_TLS_KEY"),
    ];
    let mut by_variable = command(&cluster, &format!("hub {address}"));
    let mut by_flag = command(&cluster, &format!("hub {address}"));
    let mut without = command(&cluster, &format!("hub {address}"));
    for (n, ((flag, variable), file)) in names.iter().zip(files(&node)).enumerate() {
        by_variable.env(variable, &file);
        // The flag is ahead of a variable that leads nowhere.
        by_flag.env(variable, "/nonexistent").args([*flag, &file]);
        if n != changed {
            without.args([*flag, &file]);
        }
    }
    answers(by_variable, "NoError 10.0.0.7");
    answers(by_flag, "NoError 10.0.0.7");
    let (code, _, error) = run(&mut without);
    assert!(
        code == 2 && error.contains("TLS takes three files") && error.contains(names[changed].0),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn flag_hub_tls_ca() {
    three_files(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flag_hub_tls_cert() {
    three_files(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flag_hub_tls_key() {
    three_files(2).await;
}

/// Files that are not there keep no node from starting, and `check` says that they are not.
#[test]
fn check_warns_of_files_that_are_missing() {
    let cluster = Cluster::new();
    let corefile = cluster.path("Corefile");
    std::fs::write(&corefile, block("hub 192.0.2.1\n hub_tls /no/ca /no/cert /no/key", "")).unwrap();
    let (code, _, error) = run(outlast().args(["check", "--conf"]).arg(&corefile));
    assert_eq!(code, 0, "{error}");
    for file in ["the authority of the hubs' TLS cannot be read: /no/ca", "/no/cert", "/no/key"] {
        assert!(error.contains(file), "{error}");
    }
}

#[test]
fn flag_hub_plain() {
    let cluster = Cluster::new();
    let corefile = cluster.path("Corefile");
    std::fs::write(&corefile, block("hub 192.0.2.1", "")).unwrap();
    let check = || {
        let mut command = outlast();
        command.args(["check", "--conf"]).arg(&corefile);
        command
    };
    assert_eq!(run(&mut check()).0, 2);
    assert_eq!(run(check().arg("--hub-plain")).0, 0);
    assert_eq!(run(check().env("OUTLAST_HUB_PLAIN", "true")).0, 0);
    assert_eq!(run(check().env("OUTLAST_HUB_PLAIN", "false")).0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn flag_cert_grace() {
    let ca = Ca::new();
    let expired = Leaf::of(Role::Hub).dates(Dates::real().later(-338));
    let identity = IdentityFolder::new(&ca, &expired, &ca);
    let hub = Hub::tls("10.0.0.7", &identity).await;
    let (node, cluster) = (IdentityFolder::real(&ca, Role::Node), Cluster::new());
    let lines = format!("hub {}\n hub_tls {}\n cert_grace 1h", hub.address, files(&node).join(" "));
    let mut by_variable = command(&cluster, &lines);
    by_variable.env("OUTLAST_CERT_GRACE", "96h");
    answers(by_variable, "NoError 10.0.0.7");
    let mut by_flag = command(&cluster, &lines);
    by_flag.env("OUTLAST_CERT_GRACE", "1h").args(["--cert-grace", "96h"]);
    answers(by_flag, "NoError 10.0.0.7");
    let (code, _, error) = run(command(&cluster, &lines).args(["--cert-grace", "2161h"]));
    assert!(code == 2 && error.contains("at most 90 days"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flag_endpoints() {
    let (cluster, hub) = (Cluster::new(), Hub::plain("10.0.0.7").await);
    let endpoint = |mut command: Command| {
        let process = Process::start(&mut command);
        process.ask_until("data", &Query::a(WEB).edns(1232), |a| said(a) == "NoError 10.0.0.7");
        said(&process.ask(&Query::new(ENDPOINT, RecordType::PTR)))
    };
    let lines = format!("hub {}\n endpoints all", hub.address);
    let mut by_variable = command(&cluster, &lines);
    by_variable.env("OUTLAST_ENDPOINTS", "headless");
    assert_eq!(endpoint(by_variable), "NXDomain");
    let mut by_flag = command(&cluster, &lines);
    by_flag.env("OUTLAST_ENDPOINTS", "headless").args(["--endpoints", "all"]);
    assert_eq!(endpoint(by_flag), "NoError 10-244-0-7.web.shop.svc.cluster.local.");
    let (code, _, error) = run(command(&cluster, &lines).args(["--endpoints", "some"]));
    assert!(code == 2 && error.contains("write all or headless"), "{error}");
}
