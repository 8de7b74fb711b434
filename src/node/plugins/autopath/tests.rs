//! Whole blocks, from the Corefile to replies.

use std::fs;
use std::sync::Mutex;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use tempfile::TempDir;

use super::*;
use crate::node::test_support::{Ask, Scene, address, plugins};
use crate::testkit::cluster::{ns, pod, svc};
use crate::zone::Table;
use crate::zone::object::Kinds;

/// The names that were asked behind the plugin.
type Asked = Arc<Mutex<Vec<String>>>;

/// What upstream knows: one address, one name that fails, nothing else.
fn upstream(query: &Query) -> Outcome {
    let reply = |rcode| Reply::new(rcode, "last");
    match query.labels().to_string().as_str() {
        "smtp.example.net." => {
            let answers = match query.kind() {
                RecordType::A => vec![address(&query.name().to_ascii(), "198.51.100.25")],
                _ => Vec::new(),
            };
            Reply { answers, ..reply(ResponseCode::NoError) }.into()
        }
        "broken.example.net." => Outcome::error("i/o timeout"),
        _ => reply(ResponseCode::NXDomain).into(),
    }
}

fn scene(body: &str) -> (Scene, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let scene = Scene::new(body, move |query| {
        seen.lock().unwrap().push(query.name().to_ascii());
        upstream(query)
    });
    (scene, asked)
}

/// A cluster with a pod in `lab`, one in `shop`, and one of each that share their node's address.
fn cluster(options: &str) -> Scene {
    let body = format!(
        "autopath @kubernetes\nkubernetes cluster.local {{\n source file /nowhere.json\n ttl 0\n {options}\n}}"
    );
    let (scene, _) = scene(&body);
    let objects = [
        ns("lab"),
        ns("shop"),
        svc("shop/web").ip("10.96.14.20").port("web", 80).build(),
        svc("lab/web").ip("10.96.20.20").port("web", 80).build(),
        pod("lab/probe", "10.244.5.9"),
        pod("shop/web-1", "10.244.1.11"),
        pod("lab/hostnet", "192.0.2.10"),
        pod("shop/hostnet", "192.0.2.10"),
    ];
    for store in &scene.stores {
        store.hold(Table::build(objects.clone(), Kinds::ALL, 1));
    }
    scene
}

/// The rcode and the records of a reply.
fn summary(message: &Message) -> String {
    let answers: Vec<_> = message.answers.iter().map(ToString::to_string).collect();
    format!("{:?} {}", message.metadata.response_code, answers.join(", ")).trim_end().to_owned()
}

async fn ask(scene: &Scene, name: &'static str, source: &'static str) -> String {
    let message = scene.message(&Ask { name, source, ..Ask::default() }).await.unwrap();
    assert_eq!(message.queries[0].name().to_ascii(), name, "the question is the client's");
    summary(&message)
}

const LAB: &str = "10.244.5.9:4000";
const NODE: &str = "192.0.2.10:4000";

#[tokio::test]
async fn autopath_kubernetes() {
    let verified = cluster("pods verified");
    let long = "smtp.example.net.lab.svc.cluster.local.";
    let found = "CNAME smtp.example.net., smtp.example.net. 30 IN A 198.51.100.25";
    for (case, name, source, want) in [
        ("535", long, LAB, format!("NoError {long} 30 IN CNAME {}", &found[6..])),
        ("536: an unknown client", long, "10.244.5.99:1", "NXDomain".to_owned()),
        ("another namespace's path", "smtp.example.net.shop.svc.cluster.local.", LAB, "NXDomain".to_owned()),
        (
            "a pod in the network of its node",
            "smtp.example.net.shop.svc.cluster.local.",
            NODE,
            format!("NoError smtp.example.net.shop.svc.cluster.local. 30 IN {found}"),
        ),
        (
            "a name that exists",
            "web.lab.svc.cluster.local.",
            LAB,
            "NoError web.lab.svc.cluster.local. 0 IN A 10.96.20.20".to_owned(),
        ),
        (
            "one of another namespace, by its short name",
            "Web.shop.lab.svc.cluster.local.",
            LAB,
            "NoError Web.shop.lab.svc.cluster.local. 0 IN CNAME Web.shop.svc.cluster.local., \
             Web.shop.svc.cluster.local. 0 IN A 10.96.14.20"
                .to_owned(),
        ),
        ("nothing", "gone.lab.svc.cluster.local.", LAB, "NXDomain".to_owned()),
        ("an error on the way", "broken.example.net.lab.svc.cluster.local.", LAB, "NXDomain".to_owned()),
        ("the first element itself", "lab.svc.cluster.local.", LAB, "NoError".to_owned()),
        ("outside of the zones", "gone.example.org.", LAB, "NXDomain".to_owned()),
    ] {
        assert_eq!(ask(&verified, name, source).await, want, "{case}");
    }
    let success = verified.metric("coredns_autopath_success_total{server=\"dns://:53\"}");
    assert_eq!(success, Some(4.0), "what a path has led to");
    for (options, effect) in [("pods verified", true), ("pods insecure", false), ("", false)] {
        let scene = cluster(options);
        let denied = ask(&scene, long, LAB).await == "NXDomain";
        assert_eq!((denied, scene.warnings.len()), (!effect, usize::from(!effect)), "{options}");
    }
    let (alone, _) = scene("autopath @kubernetes");
    let want = "'autopath @kubernetes' has no effect: there is no 'kubernetes' in the server block";
    assert_eq!(alone.warnings, [want]);
}

#[tokio::test]
async fn a_type_that_is_not_there_is_found_too() {
    let scene = cluster("pods verified");
    let name = "smtp.example.net.lab.svc.cluster.local.";
    let aaaa = Ask { name, kind: RecordType::AAAA, source: LAB, ..Ask::default() };
    assert_eq!(summary(&scene.message(&aaaa).await.unwrap()), "NoError", "NODATA of the name that exists");
}

#[tokio::test]
async fn autopath_resolvconf() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("resolv.conf");
    fs::write(&file, "nameserver 10.0.0.1\nsearch a.example b.example\n").unwrap();
    let (scene, asked) = scene(&format!("autopath {}", file.display()));
    for (name, want, path) in [
        (
            "SMTP.example.net.a.example.",
            "NoError SMTP.example.net.a.example. 30 IN CNAME SMTP.example.net., SMTP.example.net. 30 IN A \
             198.51.100.25",
            "SMTP.example.net.a.example. SMTP.example.net.b.example. SMTP.example.net.",
        ),
        ("smtp.example.net.b.example.", "NXDomain", "smtp.example.net.b.example."),
        ("smtp.example.net.", "NoError smtp.example.net. 30 IN A 198.51.100.25", "smtp.example.net."),
        ("gone.a.example.", "NXDomain", "gone.a.example. gone.b.example. gone."),
    ] {
        assert_eq!(ask(&scene, name, LAB).await, want, "{name}");
        assert_eq!(std::mem::take(&mut *asked.lock().unwrap()).join(" "), path, "{name}");
    }
}

#[tokio::test]
async fn autopath_zones() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("resolv.conf");
    fs::write(&file, "search a.example\n").unwrap();
    for (zones, want) in [
        (
            "",
            "NoError smtp.example.net.a.example. 30 IN CNAME smtp.example.net., smtp.example.net. 30 IN A 198.51.100.25",
        ),
        ("b.example", "NXDomain"),
    ] {
        let (scene, _) = scene(&format!("autopath {zones} {}", file.display()));
        assert_eq!(ask(&scene, "smtp.example.net.a.example.", LAB).await, want, "{zones}");
    }
}

#[tokio::test]
async fn names_that_become_too_long_are_passed_over() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("resolv.conf");
    let long = [&"y".repeat(60)[..]; 3].join(".");
    fs::write(&file, format!("search a.example {long}\n")).unwrap();
    let (scene, asked) = scene(&format!("autopath {}", file.display()));
    let name: &'static str = format!("{}.{}.a.example.", "x".repeat(60), "x".repeat(60)).leak();
    assert_eq!(ask(&scene, name, LAB).await, "NXDomain");
    assert_eq!(asked.lock().unwrap().len(), 2, "the second name cannot be");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (body, want) in [
        ("autopath", "no search path: write 'autopath [ZONES...] RESOLVCONF|@kubernetes'"),
        ("autopath @consul", "'@consul': write '@kubernetes'"),
        ("autopath /nowhere", "reading the search path of /nowhere: No such file"),
        ("autopath a..b @kubernetes", "empty label"),
        ("autopath @kubernetes {\n}", "takes no block"),
    ] {
        let error = plugins(body).err().unwrap_or_else(|| panic!("{body} is accepted"));
        assert!(error.position().line == 2 && error.message().contains(want), "{body}: {error}");
    }
}
