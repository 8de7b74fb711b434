//! A template and the ConfigMap `kube-dns`, as a kubelet mounts and exchanges it, with a node that follows both.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use outlast::testkit::client::{Answer, Query};
use outlast::testkit::upstream::FakeUpstream;
use tempfile::TempDir;

use super::process::{Process, outlast, run};

/// A template with a block for names outside.
const BASE: &str = "# for tests\n.:0 {\n    errors\n    reload 2s 0\n    bind 127.0.0.1\n    \
                    forward . __PILLAR__UPSTREAM__SERVERS__ {\n            force_tcp\n    }\n}\n";

/// What a kubelet has mounted.
struct Mounted {
    folder: TempDir,
}

impl Mounted {
    fn new(base: &str) -> Self {
        let mounted = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(mounted.path("Corefile.base"), base).unwrap();
        std::fs::create_dir(mounted.path("kube-dns")).unwrap();
        for key in ["stubDomains", "upstreamNameservers"] {
            symlink(format!("..data/{key}"), mounted.path("kube-dns").join(key)).unwrap();
        }
        mounted
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Exchanges the whole ConfigMap by one rename of a symbolic link.
    fn exchange(&self, version: &str, stub_domains: &str, upstreams: &str) {
        let kube_dns = self.path("kube-dns");
        std::fs::create_dir(kube_dns.join(version)).unwrap();
        std::fs::write(kube_dns.join(version).join("stubDomains"), stub_domains).unwrap();
        std::fs::write(kube_dns.join(version).join("upstreamNameservers"), upstreams).unwrap();
        symlink(version, kube_dns.join("..data_tmp")).unwrap();
        std::fs::rename(kube_dns.join("..data_tmp"), kube_dns.join("..data")).unwrap();
    }

    /// A subcommand with the flags of both.
    fn command(&self, subcommand: &str) -> Command {
        let mut command = outlast();
        command.args([subcommand, "--dns-port", "0"]);
        command.arg("--base-corefile").arg(self.path("Corefile.base"));
        command.arg("--kube-dns-config").arg(self.path("kube-dns"));
        command.arg("--conf").arg(self.path("Corefile"));
        command
    }

    /// The text that was rendered last.
    fn rendered(&self) -> String {
        std::fs::read_to_string(self.path("Corefile")).unwrap()
    }
}

async fn upstream(zone: &str) -> (FakeUpstream, String) {
    let upstream = FakeUpstream::start(zone).await;
    let address = upstream.addr().to_string();
    (upstream, address)
}

fn says(answer: &Answer, address: &str) -> bool {
    answer.message.answers.iter().any(|record| record.data.to_string() == address)
}

/// Waits for so many reloads.
fn reloaded(process: &Process, count: usize) {
    let complete = |p: &Process| p.output().matches("Reloading complete").count() == count;
    process.wait_for("the reload", |p| complete(p).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_that_is_exchanged_is_taken_over_and_a_wrong_one_is_not() {
    let (_outside, outside) = upstream("www.example. 60 A 192.0.2.1").await;
    let (_one, one) = upstream("a.corp.example. 60 A 192.0.2.11\nb.corp.example. 60 A 192.0.2.11").await;
    let (_two, two) = upstream("b.corp.example. 60 A 192.0.2.12\nc.corp.example. 60 A 192.0.2.12").await;
    let mounted = Mounted::new(BASE);
    let stubs = |server: &str| format!("{{\"corp.example\": [\"{server}\"]}}");
    let servers = format!("[\"{outside}\"]");
    mounted.exchange("..1", &stubs(&one), &servers);
    let process = Process::start(&mut mounted.command("node")).serving();
    let asked = |name: &str, address: &str| {
        let answer = process.ask(&Query::a(name));
        assert!(says(&answer, address), "{name}: {:?}\n{}", answer.answers(), process.output());
    };
    asked("www.example.", "192.0.2.1");
    asked("a.corp.example.", "192.0.2.11");
    let want = BASE.replace("__PILLAR__UPSTREAM__SERVERS__", &outside).replace("            force_tcp", "");
    let stub = |server: &str| {
        format!(
            "\ncorp.example:0 {{\n    errors\n    cache 30\n    bind 127.0.0.1\n    forward . {server}\n}}\n"
        )
    };
    assert_eq!(mounted.rendered(), want.clone() + &stub(&one));

    mounted.exchange("..2", &stubs(&two), &servers);
    reloaded(&process, 1);
    asked("b.corp.example.", "192.0.2.12");
    assert_eq!(mounted.rendered(), want.clone() + &stub(&two));

    mounted.exchange("..3", "{\"corp.example\": [", &servers);
    process.wait_for("what is wrong", |p| p.output().contains("the old configuration stays").then_some(()));
    let output = process.output();
    let line = output.lines().find(|line| line.contains("the old configuration stays")).unwrap();
    assert!(line.contains("kube-dns/stubDomains - ") && line.contains("no such JSON"), "{line}");
    asked("c.corp.example.", "192.0.2.12");
    assert_eq!(mounted.rendered(), want.clone() + &stub(&two));

    mounted.exchange("..4", "{}", &servers);
    reloaded(&process, 2);
    let answer = process.ask(&Query::a("d.corp.example."));
    assert!(answer.answers().is_empty(), "{:?}", answer.answers());
    assert_eq!(mounted.rendered(), want);
}

/// node-cache does, too.
#[test]
fn a_template_without_reload_is_looked_at() {
    let mounted = Mounted::new(&BASE.replace("reload 2s 0", "# reload"));
    mounted.exchange("..1", "{}", "[]");
    let process = Process::start(&mut mounted.command("node")).serving();
    mounted.exchange("..2", "{\"corp.example\": [\"192.0.2.1\"]}", "[]");
    reloaded(&process, 1);
    assert!(mounted.rendered().contains("\ncorp.example:0 {"), "{}", mounted.rendered());
}

/// A pod that starts anew meanwhile answers what it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_config_map_at_the_start_leaves_names_of_the_template() {
    let (_cluster, cluster) = upstream("web.shop.svc.cluster.local. 5 A 10.96.0.7").await;
    let block = format!("cluster.local:0 {{\n bind 127.0.0.1\n forward . {cluster}\n}}\n");
    let mounted = Mounted::new(&block);
    mounted.exchange("..1", "[]", "[]");
    let (code, _, error) = run(&mut mounted.command("check"));
    assert!(code == 2 && error.contains("stubDomains - ") && error.contains("no such JSON"), "{error}");
    assert!(!mounted.path("Corefile").exists(), "a check writes nothing");
    let process = Process::start(&mut mounted.command("node")).serving();
    assert!(says(&process.ask(&Query::a("web.shop.svc.cluster.local.")), "10.96.0.7"));
    let said = "the node begins without stub domains and servers of the ConfigMap";
    assert!(process.output().contains(said), "{}", process.output());
}

#[test]
fn what_is_wrong_with_a_template_is_said_with_its_line() {
    struct Case {
        name: &'static str,
        base: &'static str,
        arguments: &'static [&'static str],
        want: &'static str,
    }
    for case in [
        Case {
            name: "no service in the environment",
            base: ".:0 {\n forward . __PILLAR__CLUSTER__DNS__\n}\n",
            arguments: &["--upstream-service", "kube-dns-upstream"],
            want: "Corefile.base:2 - Error during parsing: __PILLAR__CLUSTER__DNS__: the environment has no \
                   KUBE_DNS_UPSTREAM_SERVICE_HOST",
        },
        Case {
            name: "the service that is usual",
            base: ".:0 {\n forward . __PILLAR__CLUSTER__DNS__\n}\n",
            arguments: &[],
            want: "the environment has no KUBE_DNS_SERVICE_HOST",
        },
        Case {
            name: "an installer that did not run",
            base: "# a\n.:0 {\n bind __PILLAR__LOCAL__DNS__\n}\n",
            arguments: &[],
            want: "Corefile.base:3 - Error during parsing: __PILLAR__LOCAL__DNS__ is left in the template",
        },
        Case {
            name: "a plugin that there is not",
            base: ".:0 {\n foward . 192.0.2.1\n}\n",
            arguments: &[],
            want: "Corefile.base:2 - Error during parsing: Unknown directive 'foward'",
        },
    ] {
        let mounted = Mounted::new(case.base);
        for subcommand in ["check", "node"] {
            let (code, _, error) = run(mounted.command(subcommand).args(case.arguments));
            assert!(code == 2 && error.contains(case.want), "{}: {error}", case.name);
        }
        assert!(!mounted.path("Corefile").exists(), "{}", case.name);
    }
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let mounted = Mounted::new(BASE);
    let base = mounted.path("Corefile.base").display().to_string();
    for (arguments, want) in [
        (vec!["node", "--upstream-service", "x"], "--base-corefile <FILE>"),
        (vec!["node", "--kube-dns-config", "/x"], "--base-corefile <FILE>"),
        (vec!["node", "--base-corefile", &base, "--conf", &base], "name a file of its own"),
        (vec!["check", "--base-corefile", &base, "--conf", "stdin"], "name a file of its own"),
        (
            vec!["node", "--base-corefile", "/nowhere"],
            "/nowhere - Error during parsing: there is no such template",
        ),
    ] {
        let (code, _, error) = run(outlast().args(&arguments));
        assert!(code == 2 && error.contains(want), "{arguments:?}: {error}");
    }
    assert_eq!(std::fs::read_to_string(mounted.path("Corefile.base")).unwrap(), BASE);
}
