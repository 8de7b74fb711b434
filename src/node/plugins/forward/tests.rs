//! Tests of what the lines of `forward` lead to.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::corefile::{LoadOptions, parse};
use crate::forward::{ForwardConfig, Policy, Probe, Target, TlsFiles, target};
use crate::node::chain::Chain;
use crate::node::setup::{Environment, Listening, Overrides, Process};
use crate::node::test_support::{Ask, plugins, router};
use crate::ops::clock::WallClock;
use crate::ops::ownership::Ownership;
use crate::testkit::client;
use crate::testkit::node::{Builder, TestNode};
use crate::testkit::upstream::{Behaviour, FakeUpstream};

/// The configuration that a directive makes.
fn read(text: &str) -> ForwardConfig {
    let corefile = parse(&format!(".:53 {{\n{text}\n}}\n"), "Corefile", &LoadOptions::default()).unwrap();
    let environment = Environment {
        metrics: Arc::default(),
        clock: Arc::new(WallClock::new(0)),
        node_name: "node-1".to_owned(),
        overrides: Overrides::default(),
        own_addresses: None,
        in_cluster: false,
        carried: Arc::default(),
        ownership: Ownership::always(),
    };
    let mut process = Process::default();
    let mut cx = Context {
        environment: &environment,
        zones: Vec::new(),
        keys: &[],
        listening: Listening::default(),
        follows_clients: None,
        adds_kubernetes: false,
        root: PathBuf::from("/root"),
        bound: Vec::new(),
        watches_readiness: false,
        counts_queries: false,
        process: &mut process,
    };
    options::read(corefile.blocks[0].all(NAME).next().unwrap(), &mut cx).unwrap().config
}

fn targets(words: &[&str]) -> Vec<Target> {
    let target = |word: &&str| match target::parse(word, |_| None) {
        target::Word::Target(target) => target,
        other => panic!("{other:?}"),
    };
    words.iter().map(target).collect()
}

#[test]
fn options_are_taken_over() {
    let plain = read("forward . 192.0.2.1");
    let default = ForwardConfig::new(".", targets(&["192.0.2.1:53"]));
    assert_eq!(format!("{plain:?}"), format!("{default:?}"));
    let all = read(
        "forward Example.ORG 192.0.2.1:5353 tls://192.0.2.2 {\n except a.example.org\n \
         except b.example.org c.example.org\n force_tcp\n policy sequential\n read_timeout 1500ms\n \
         max_concurrent 1000\n max_connect_attempts 0\n expire 20s\n max_age 1m\n max_idle_conns 4\n \
         max_fails 5\n health_check 1s no_rec domain example.org\n failfast_all_unhealthy_upstreams\n \
         failover ServFail REFUSED\n tls cert.pem /key.pem ca.pem\n tls_servername dns.example\n \
         source_address 192.0.2.9\n resolver 192.0.2.10 192.0.2.11:5353\n}",
    );
    let want = ForwardConfig {
        except: ["a.example.org.", "b.example.org.", "c.example.org."].map(str::to_owned).to_vec(),
        force_tcp: true,
        policy: Policy::Sequential,
        read_timeout: Duration::from_millis(1500),
        max_concurrent: Some(1000),
        max_connect_attempts: Some(0),
        expire: Duration::from_secs(20),
        max_age: Some(Duration::from_secs(60)),
        max_idle_conns: Some(4),
        max_fails: 5,
        probe: Probe {
            interval: Duration::from_secs(1),
            recursion_desired: false,
            domain: "example.org".to_owned(),
        },
        failfast: true,
        failover: vec![2, 5],
        tls: TlsFiles {
            identity: Some(("/root/cert.pem".into(), "/key.pem".into())),
            ca: Some("/root/ca.pem".into()),
        },
        tls_servername: Some("dns.example".to_owned()),
        source_address: Some("192.0.2.9".parse().unwrap()),
        resolver: vec!["192.0.2.10:53".parse().unwrap(), "192.0.2.11:5353".parse().unwrap()],
        ..ForwardConfig::new("example.org.", targets(&["192.0.2.1:5353", "tls://192.0.2.2:853"]))
    };
    assert_eq!(format!("{all:?}"), format!("{want:?}"));
    let other = read("forward . 192.0.2.1 {\n prefer_udp\n max_age 0\n max_idle_conns 0\n tls\n}");
    assert!(other.prefer_udp);
    assert_eq!((other.max_age, other.max_idle_conns, other.tls), (None, None, TlsFiles::default()));
    assert_eq!(read("forward . 192.0.2.1 {\n tls ca.pem\n}").tls.ca, Some("/root/ca.pem".into()));
}

#[test]
fn what_is_wrong_is_said_where_it_is() {
    for (lines, want) in [
        ("expire soon", "Corefile:3"),
        ("max_age -1s", "Corefile:3"),
        ("max_idle_conns many", "Corefile:3"),
        ("max_fails -1", "Corefile:3"),
        ("health_check", "Corefile:3"),
        ("health_check 0", "health_check must be longer than 0; 'max_fails 0' switches probes off"),
        (
            "health_check 1s rec",
            "'rec' is not known here: write 'health_check DURATION [no_rec] [domain FQDN]'",
        ),
        ("health_check 1s domain", "'domain' needs a name"),
        ("health_check 1s domain a..b", "\"a..b\" is not a domain name"),
        ("tls a b c d", "Corefile:3"),
        ("tls_servername", "Corefile:3"),
        ("source_address here", "Corefile:3"),
        ("source_address ::1", "from source_address ::1 nobody can reach 192.0.2.1:53"),
        ("resolver", "Corefile:3"),
        ("resolver dns.example", "Corefile:3"),
        ("failover", "Corefile:3"),
        ("failover NOERORR", "'NOERORR' is not a response code"),
        ("next 3", "'3' is not a response code"),
        ("next_on_nodata now", "Corefile:3"),
        ("failfast_all_unhealthy_upstreams yes", "Corefile:3"),
        ("doh_method GET", "'https://' upstreams, which are not supported"),
        ("flavour sweet", "unknown property 'flavour'"),
        ("force_tcp\n prefer_udp", "exclude each other"),
    ] {
        let error = plugins(&format!("forward . 192.0.2.1 {{\n{lines}\n}}")).err();
        let error = error.unwrap_or_else(|| panic!("{lines} is accepted")).to_string();
        assert!(error.contains(want) && error.contains("Corefile:"), "{lines}: {error}");
    }
    for (to, want) in [
        ("https://192.0.2.1/dns-query", "'https://' upstreams are not supported"),
        ("quic://192.0.2.1", "'quic://' upstreams are not supported"),
        ("/no/such/file", "'/no/such/file' is neither an address nor a file"),
        ("192.0.2.300", "'192.0.2.300' is neither an address nor a file"),
        ("tls://192.0.2.1%a_b..c", "\"a_b..c\" is not a server name"),
    ] {
        let error = plugins(&format!("forward . {to}")).err();
        let error = error.unwrap_or_else(|| panic!("{to} is accepted")).to_string();
        assert!(error.contains(want), "{to}: {error}");
    }
}

#[test]
fn lines_without_an_effect_are_warned_of() {
    for (lines, want) in [
        ("tls", "'tls' has no effect: no upstream is written as 'tls://ADDRESS'"),
        ("tls_servername a", "'tls_servername' has no effect: no upstream is written as 'tls://ADDRESS'"),
        ("resolver 192.0.2.1", "'resolver' has no effect: all upstreams are addresses"),
        ("max_fails 0\n health_check 1s", "'health_check' has no effect: 'max_fails 0' switches probes off"),
    ] {
        let text = format!(".:53 {{\n forward . 192.0.2.1 {{\n {lines}\n }}\n}}\n");
        let plan = Builder::default().check(&text).unwrap();
        let warnings: Vec<_> = plan.process.warnings.iter().map(|w| w.text.as_str()).collect();
        assert_eq!(warnings, [want], "{lines}");
    }
    let text = ".:53 {\n forward . tls://dns.example {\n tls\n resolver 192.0.2.1\n }\n}\n";
    assert!(Builder::default().check(text).unwrap().process.warnings.is_empty());
}

#[tokio::test]
async fn facts_name_the_upstream() {
    let upstream = FakeUpstream::start("example.org. 60 A 192.0.2.1\n").await;
    let chain = plugins(&format!("forward . {}", upstream.addr())).unwrap().into();
    let facts = Arc::new(Facts::default());
    let query = Ask::default().query().with_facts(facts.clone());
    assert_eq!(Next::all(&chain).run(&query).await.rcode(), ResponseCode::NoError);
    assert_eq!(facts.get("forward/upstream"), Some(upstream.addr().to_string()));
}

#[tokio::test]
async fn extended_errors_are_passed_on_and_made() {
    struct Case {
        name: &'static str,
        behaviour: Behaviour,
        want: (ResponseCode, Option<(u16, &'static str)>),
    }
    let cases = [
        Case { name: "none", behaviour: Behaviour::Answer, want: (ResponseCode::NXDomain, None) },
        Case {
            name: "the upstream's",
            behaviour: Behaviour::Ede(ResponseCode::ServFail, 6, "DNSSEC bogus"),
            want: (ResponseCode::ServFail, Some((6, "DNSSEC bogus"))),
        },
        Case {
            name: "with a NUL at its end",
            behaviour: Behaviour::Ede(ResponseCode::Refused, 18, "go away\0"),
            want: (ResponseCode::Refused, Some((18, "go away"))),
        },
        Case {
            name: "ours",
            behaviour: Behaviour::CloseTcp,
            want: (ResponseCode::ServFail, Some((23, "over tcp: EOF"))),
        },
    ];
    for Case { name, behaviour, want: (rcode, ede) } in cases {
        let upstream = FakeUpstream::start("").await;
        upstream.set_all(behaviour);
        let chain = plugins(&format!("forward . {} {{\n force_tcp\n}}", upstream.addr())).unwrap().into();
        let ask = Ask { edns: Some((1232, false)), ..Ask::default() };
        let reply = Next::all(&chain).run(&ask.query()).await.into_reply().unwrap();
        assert_eq!(reply.rcode, rcode, "{name}");
        let text = |ede: &Ede| (ede.code.number(), ede.text.clone());
        match (reply.ede.as_ref().map(text), ede) {
            (None, None) => {}
            (Some((number, text)), Some((want, part))) => {
                assert_eq!(number, want, "{name}");
                assert!(text.ends_with(part), "{name}: {text}");
            }
            (got, want) => panic!("{name}: {got:?} is not {want:?}"),
        }
    }
}

#[tokio::test]
async fn the_chain_is_told_of_upstreams_that_fail() {
    let upstream = FakeUpstream::start("").await;
    let addr = upstream.addr();
    let text = format!("forward example.org {addr} {{\n read_timeout 200ms\n max_fails 1\n}}");
    let chain: Chain = plugins(&text).unwrap().into();
    let router = router(chain.clone());
    let state = |name| chain[0].upstreams(&Ask { name, ..Ask::default() }.by(&router));
    let ask = async || Next::all(&chain).run(&Ask::default().by(&router)).await.rcode();
    assert_eq!(state("example.com."), None, "it would ask nobody");
    assert_eq!(state("example.org."), Some(Upstreams::Answering { recovered: None }), "nothing is known yet");
    upstream.stop().await;
    assert_eq!(ask().await, ResponseCode::ServFail);
    assert_eq!(state("example.org."), Some(Upstreams::Failing), "refused twice");
    let _back = FakeUpstream::start_at(addr, "example.org. 60 A 192.0.2.1\n").await.unwrap();
    // A probe finds out, without a query.
    tokio::time::timeout(Duration::from_secs(20), async {
        while !matches!(state("example.org."), Some(Upstreams::Answering { recovered: Some(_) })) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(ask().await, ResponseCode::NoError);
}

#[tokio::test]
async fn a_host_is_looked_up_once_and_never_here() {
    let upstream = FakeUpstream::start("a.example. 60 A 192.0.2.1\n").await;
    let port = upstream.addr().port();
    let failing = Behaviour::Rcode(ResponseCode::ServFail);
    let names = FakeUpstream::start("").await.on("dns.example.", failing);
    let node = TestNode::start(&format!(
        ".:0 {{\n bind 127.0.0.1\n forward . dns.example:{port} {{\n resolver {}\n }}\n}}\n",
        names.addr()
    ));
    let ask = async || node.client().udp(&client::Query::a("a.example.")).await.unwrap();
    // It answers before it knows, and says why it cannot.
    assert_eq!(ask().await.rcode(), ResponseCode::ServFail);
    node.logged("an upstream's name has no address yet").await;
    names.add("dns.example. 60 A 127.0.0.1\n");
    names.set("dns.example.", Behaviour::Answer);
    node.logged("an upstream's name was looked up").await;
    assert_eq!(ask().await.rcode(), ResponseCode::NoError);
    let asked = names.total();
    assert_eq!(ask().await.rcode(), ResponseCode::NoError);
    assert_eq!(names.total(), asked, "once");
}

#[tokio::test]
async fn a_file_without_name_servers_keeps_nobody_from_starting_who_has_a_disk() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(".:0 {{\n bind 127.0.0.1\n forward . {}\n}}\n", file.path().display());
    let why = Builder::default().check(&text).err().unwrap().to_string();
    assert!(why.starts_with("Corefile:3 - ") && why.contains("plugin/forward"), "as CoreDNS: {why}");

    let with_disk = || {
        let overrides = Overrides { snapshot: Some(folder.path().to_owned()), ..Overrides::default() };
        Builder::default().overrides(overrides)
    };
    let mut node = with_disk().start(&text);
    let answer = node.client().ask(&client::Query::a("a.example.").edns(1232)).await.unwrap();
    assert_eq!((answer.rcode(), answer.ede()[0].0), (ResponseCode::ServFail, 22));
    assert!(node.log().contains("read again until it lists a name server"), "{}", node.log());
    // A configuration that runs has servers, or looks for them already.
    assert!(node.reload(&text.replace("bind", "errors\n bind")).await.is_err());
    std::fs::write(file.path(), "nameserver 192.0.2.1\n").unwrap();
    node.logged("a file lists name servers now").await;
}
