//! Flags and environment variables of `outlast node`: each has its effect, a flag is ahead of its variable,
//! and both are ahead of the Corefile.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use outlast::ops::jitter::{answer_ttl, node_hash};
use outlast::testkit::client::{Answer, Query};
use outlast::testkit::upstream::FakeUpstream;
use outlast::zone::name::Labels;

use super::apiserver::ApiServer;
use super::cluster::{Cluster, said, snapshots};
use super::http::get;
use super::process::{Process, outlast, run};

const WEB: &str = "web.shop.svc.cluster.local.";

/// `outlast node` with a Corefile of these lines in the `kubernetes` block.
pub(super) fn command(cluster: &Cluster, lines: &str) -> Command {
    let corefile = cluster.path("Corefile");
    std::fs::write(&corefile, cluster.corefile(lines)).unwrap();
    let mut command = outlast();
    command.args(["node", "--conf"]).arg(corefile);
    command
}

/// The three places where a value may be said, from the weakest to the strongest: Corefile, environment, flag.
/// Each one in turn says `good`, and those before it say `bad`.
pub(super) fn each_place(
    cluster: &Cluster,
    option: &str,
    good: &str,
    bad: &str,
    check: impl Fn(&Cluster, Command),
) {
    let flag = format!("--{}", option.replace('_', "-"));
    let variable = format!("OUTLAST_{}", option.to_uppercase());
    check(cluster, command(cluster, &format!("{option} {good}")));
    let mut by_variable = command(cluster, &format!("{option} {bad}"));
    by_variable.env(&variable, good);
    check(cluster, by_variable);
    let mut by_flag = command(cluster, &format!("{option} {bad}"));
    by_flag.env(&variable, bad).args([&flag, good]);
    check(cluster, by_flag);
}

/// What is wrong with these arguments is said, and nothing starts.
pub(super) fn is_wrong(cluster: &Cluster, arguments: &[&str], want: &str) {
    let (code, _, error) = run(command(cluster, "").args(arguments));
    assert!(code == 2 && error.contains(want), "{arguments:?}: {error}");
}

fn web() -> Query {
    Query::a(WEB).edns(1232)
}

fn has_ede(answer: &Answer, code: u16) -> bool {
    answer.ede().iter().any(|(c, _)| *c == code)
}

#[test]
fn flag_persist() {
    let cluster = Cluster::new();
    /// Where a cache is kept: the folder is there once DNS is answered.
    fn keeps(
        cluster: &Cluster,
        line: &str,
        variable: Option<&str>,
        flag: Option<&str>,
        folder: &str,
    ) -> bool {
        let corefile = cluster.path("Corefile");
        let cache = format!(" cache {{\n {line}\n }}\n bind");
        std::fs::write(&corefile, cluster.corefile("").replace(" bind", &cache)).unwrap();
        let mut command = outlast();
        command.args(["node", "--conf"]).arg(corefile);
        variable.map(|value| command.env("OUTLAST_PERSIST", value));
        flag.map(|value| command.args(["--persist", value]));
        let process = Process::start(&mut command);
        process.address("answering dns");
        cluster.path(folder).exists()
    }
    let path = |name: &str| cluster.path(name).to_string_lossy().into_owned();
    let (one, two, three) = (path("one"), path("two"), path("three"));
    assert!(keeps(&cluster, &format!("persist {one}"), None, None, "one"), "the Corefile");
    assert!(keeps(&cluster, "persist off", Some(&two), None, "two"), "the variable");
    assert!(keeps(&cluster, "persist off", Some("off"), Some(&three), "three"), "the flag");
    let four = format!("persist {}", path("four"));
    assert!(!keeps(&cluster, &four, None, Some("off"), "four"), "nowhere");
    let (code, _, error) = run(command(&cluster, "").args(["--persist", ""]));
    assert!(code == 2 && error.contains("write a folder, or off"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flag_source() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    other.set("10.0.0.99");
    let source = format!("file:{}", other.file().display());
    let good = |mut command: Command| {
        let process = Process::start(&mut command);
        process.ask_until("the other file", &web(), |a| said(a) == "NoError 10.0.0.99");
    };
    let mut by_variable = command(&cluster, "");
    by_variable.env("OUTLAST_SOURCE", &source);
    good(by_variable);
    let mut by_flag = command(&cluster, "");
    by_flag.env("OUTLAST_SOURCE", "file:/nonexistent.yaml").args(["--source", &source]);
    good(by_flag);
    // Which API server is meant, the block says.
    let server = ApiServer::start("10.0.0.7").await;
    for choice in ["apiserver", "auto"] {
        let mut by_variable = command(&cluster, &format!("endpoint {}", server.url));
        by_variable.env("OUTLAST_SOURCE", choice);
        let mut by_flag = command(&cluster, &format!("endpoint {}", server.url));
        by_flag.env("OUTLAST_SOURCE", &source).args(["--source", choice]);
        for mut command in [by_variable, by_flag] {
            let process = Process::start(&mut command);
            process.ask_until("the API server", &web(), |a| said(a) == "NoError 10.0.0.7");
        }
    }
    for (wrong, want) in
        [("nowhere", "write auto, hub, apiserver or file:PATH"), ("hub", "nothing says where the hubs are")]
    {
        let (code, _, error) = run(command(&cluster, "").args(["--source", wrong]));
        assert!(code == 2 && error.contains(want), "{wrong}: {error}");
    }
}

#[test]
fn flag_snapshot() {
    let cluster = Cluster::new();
    let (good, bad) = (cluster.path("good"), cluster.path("bad"));
    each_place(
        &cluster,
        "snapshot",
        good.to_str().unwrap(),
        bad.to_str().unwrap(),
        |cluster, mut command| {
            let _ = std::fs::remove_dir_all(cluster.path("good"));
            cluster.dir("good");
            let process = Process::start(&mut command);
            process.wait_for("a snapshot", |_| (snapshots(&cluster.path("good")) > 0).then_some(()));
            assert_eq!(snapshots(&cluster.path("bad")), 0);
        },
    );
}

#[test]
fn flag_snapshot_interval() {
    let cluster = Cluster::new();
    each_place(&cluster, "snapshot_interval", "1s", "1h", |cluster, mut command| {
        let folder = cluster.path("snapshots");
        let _ = std::fs::remove_dir_all(&folder);
        cluster.dir("snapshots");
        cluster.set("10.0.0.1");
        let process = Process::start(command.arg("--snapshot").arg(&folder));
        process.wait_for("the first", |_| (snapshots(&folder) == 1).then_some(()));
        cluster.set("10.0.0.60");
        process.wait_for("the second", |_| (snapshots(&folder) == 2).then_some(()));
    });
    for wrong in ["10", "500ms", "2h"] {
        let (code, _, error) = run(command(&cluster, "").args(["--snapshot-interval", wrong]));
        assert!(code == 2 && error.contains("--snapshot-interval"), "{wrong}: {error}");
    }
}

#[test]
fn flag_stale_after() {
    let cluster = Cluster::new();
    each_place(&cluster, "stale_after", "1ms", "1h", |_, mut command| {
        let process = Process::start(&mut command);
        process.ask_until("a stale answer", &web(), |a| has_ede(a, 3) && said(a) == "NoError 10.0.0.1");
    });
    let process = Process::start(&mut command(&cluster, "stale_after 1h"));
    let live = process.ask_until("data", &web(), |a| said(a) == "NoError 10.0.0.1");
    assert_eq!(live.ede(), []);
}

#[test]
fn flag_max_stale() {
    let cluster = Cluster::new();
    each_place(&cluster, "max_stale", "1ms", "1h", |_, mut command| {
        let process = Process::start(command.args(["--stale-after", "1ms"]));
        process.ask_until("an expired answer", &web(), |a| has_ede(a, 22) && said(a) == "ServFail");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn flag_fallback() {
    let cluster = Cluster::new();
    let new = "new.shop.svc.cluster.local.";
    let good = FakeUpstream::start(&format!("{new} 60 A 10.0.0.77\n")).await;
    let bad = FakeUpstream::start(&format!("{new} 60 A 10.0.0.66\n")).await;
    let (good, bad) = (good.addr().to_string(), bad.addr().to_string());
    each_place(&cluster, "fallback", &good, &bad, |_, mut command| {
        let process = Process::start(command.args(["--stale-after", "1ms"]));
        process.ask_until("the fallback's answer", &Query::a(new).edns(1232), |a| {
            said(a) == "NoError 10.0.0.77"
        });
    });
    let (code, _, error) = run(command(&cluster, "").args(["--fallback", "nowhere"]));
    assert!(code == 2 && error.contains("write IP, IP:PORT"), "{error}");
}

#[test]
fn flag_node_name() {
    let cluster = Cluster::new();
    let key = Labels::parse(WEB).unwrap();
    let minute = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 60;
    let ttl = |node: &str, minute| answer_ttl(3600, node_hash(node), key.key(), minute);
    let mut by_variable = command(&cluster, "ttl 3600");
    by_variable.env("NODE_NAME", "node-a");
    let mut by_flag = command(&cluster, "ttl 3600");
    by_flag.env("NODE_NAME", "node-b").args(["--node-name", "node-a"]);
    for mut command in [by_variable, by_flag] {
        let process = Process::start(&mut command);
        // Live data: what is not proved yet lives 30 seconds at most.
        process.ask_until("data", &web(), |a| said(a) == "NoError 10.0.0.1" && a.message.answers[0].ttl > 30);
        let before = minute();
        let answer = process.ask(&web());
        let got = answer.message.answers[0].ttl;
        // The minute may end in between.
        assert!([before, minute()].iter().any(|m| got == ttl("node-a", *m)), "{got}");
    }
}

#[test]
fn flag_log_format() {
    let cluster = Cluster::new();
    for (variable, flag, json) in [
        (None, None, false),
        (Some("json"), None, true),
        (Some("text"), Some("json"), true),
        (Some("json"), Some("text"), false),
    ] {
        let mut command = command(&cluster, "");
        variable.map(|v| command.env("OUTLAST_LOG_FORMAT", v));
        flag.map(|f| command.args(["--log-format", f]));
        let process = Process::start(&mut command);
        process.dns();
        let line = process.output().lines().find(|l| l.contains("answering dns")).unwrap().to_owned();
        assert_eq!(line.starts_with('{'), json, "{variable:?} {flag:?}: {line}");
    }
    let (code, _, error) = run(command(&cluster, "").args(["--log-format", "xml"]));
    assert!(code == 2 && error.contains("it is text or json"), "{error}");
}

/// The filter of the log has no flag.
#[test]
fn variable_outlast_log() {
    let cluster = Cluster::new();
    let mut quiet = command(&cluster, "");
    quiet.env("OUTLAST_LOG", "off").arg("--quiet");
    let process = Process::start(quiet.args(["--pidfile"]).arg(cluster.path("pid")));
    process.wait_for("the pidfile", |_| cluster.path("pid").exists().then_some(()));
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(), (0, String::new()));

    let (code, _, error) = run(command(&cluster, "").env("OUTLAST_LOG", "loud"));
    assert!(code == 2 && error.contains("OUTLAST_LOG=\"loud\""), "{code}: {error}");
}

#[test]
fn flag_quiet() {
    let cluster = Cluster::new();
    for (arguments, want) in [(&[][..], true), (&["--quiet"], false)] {
        let process = Process::start(command(&cluster, "").args(arguments));
        process.dns();
        process.signal(Signal::SIGTERM);
        let (_, output) = process.wait();
        assert_eq!(output.contains(".:0 on 127.0.0.1"), want, "{output}");
        assert_eq!(output.contains(&format!("outlast-{}", env!("CARGO_PKG_VERSION"))), want, "{output}");
    }
}

#[test]
fn flag_dns_port() {
    let cluster = Cluster::new();
    let corefile = cluster.path("Corefile.port");
    let text = cluster.corefile("").replace(".:0 {", ". {");
    std::fs::write(&corefile, text).unwrap();
    // A port that was free a moment ago on an address that no other test uses.
    let free = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    for (port, want) in [(free.to_string(), Some(free)), ("0".to_owned(), None)] {
        let process = Process::start(outlast().args(["node", "--dns-port", &port, "--conf"]).arg(&corefile));
        let dns = process.dns();
        assert!(want.is_none_or(|want| dns.port() == want) && dns.port() > 53, "{dns}");
        process.ask_until("data", &web(), |a| said(a) == "NoError 10.0.0.1");
    }
}

#[test]
fn flag_conf() {
    let cluster = Cluster::new();
    let process = Process::start(&mut command(&cluster, ""));
    process.ask_until("data", &web(), |a| said(a) == "NoError 10.0.0.1");
    let (code, _, error) = run(outlast().args(["node", "--conf", "/nonexistent/Corefile"]));
    assert!(code == 2 && error.contains("/nonexistent/Corefile"), "{error}");
}

#[test]
fn flag_status_address() {
    let cluster = Cluster::new();
    let mut by_variable = command(&cluster, "");
    by_variable.env("OUTLAST_STATUS_ADDRESS", "127.0.0.1:0");
    let mut by_flag = command(&cluster, "");
    by_flag.env("OUTLAST_STATUS_ADDRESS", "localhost:1").args(["--status-address", "127.0.0.1:0"]);
    for mut command in [by_variable, by_flag] {
        let process = Process::start(&mut command);
        let (status, text) = get(process.address("serving the status page"), "/status.json");
        assert!(status == 200 && text.contains("\"role\": \"node\""), "{status}: {text}");
    }
    let mut off = command(&cluster, "");
    let process =
        Process::start(off.env("OUTLAST_STATUS_ADDRESS", "127.0.0.1:0").args(["--status-address", "off"]));
    process.ask_until("data", &web(), |a| said(a) == "NoError 10.0.0.1");
    assert!(!process.output().contains("status page"));
    let (code, _, error) = run(command(&cluster, "").args(["--status-address", "0.0.0.0:1"]));
    assert!(code == 2 && error.contains("write localhost:PORT"), "{error}");
}

#[test]
fn flag_control() {
    let cluster = Cluster::new();
    let (good, bad) = (cluster.path("good.sock"), cluster.path("bad.sock"));
    let mut by_variable = command(&cluster, "");
    by_variable.env("OUTLAST_CONTROL", &good);
    let mut by_flag = command(&cluster, "");
    by_flag.env("OUTLAST_CONTROL", &bad).arg("--control").arg(&good);
    for mut command in [by_variable, by_flag] {
        let process = Process::start(&mut command);
        process.wait_for("an answer", |_| {
            (run(outlast().args(["ctl", "ready", "--socket"]).arg(&good)).0 == 0).then_some(())
        });
        process.signal(Signal::SIGTERM);
        process.wait();
        assert!(!good.exists() && !bad.exists(), "it leaves nothing behind");
    }
    let process =
        Process::start(command(&cluster, "").env("OUTLAST_CONTROL", &bad).args(["--control", "off"]));
    process.ask_until("data", &web(), |a| said(a) == "NoError 10.0.0.1");
    assert!(!bad.exists());
    let (code, _, error) = run(command(&cluster, "").args(["--control", "here.sock"]));
    assert!(code == 2 && error.contains("write an absolute path, or off"), "{error}");
}

#[test]
fn flag_pidfile() {
    let cluster = Cluster::new();
    let pidfile = cluster.path("outlast.pid");
    let process = Process::start(command(&cluster, "").arg("--pidfile").arg(&pidfile));
    let id = process.wait_for("the pidfile", |_| std::fs::read_to_string(&pidfile).ok());
    assert_eq!(id, format!("{}\n", process.id()));
    // It is there once there are answers.
    assert!(super::process::ask(process.dns(), &web()).is_some());

    // A second process that cannot start leaves it alone.
    let taken = cluster.path("Corefile.taken");
    let health = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = health.local_addr().unwrap();
    std::fs::write(&taken, cluster.corefile("").replace(" bind", &format!(" health {address}\n bind")))
        .unwrap();
    let (code, _, error) = run(outlast().args(["node", "--conf"]).arg(&taken).arg("--pidfile").arg(&pidfile));
    assert!(code == 1 && error.contains(&format!("listening on {address}")), "{error}");
    assert!(pidfile.exists());

    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().0, 0);
    assert!(!pidfile.exists());
}
