//! The command from the outside: what people and pods see of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "options/http.rs"]
mod http;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use outlast::testkit::client::Query;
use process::{Process, outlast, run};

const CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cluster.yaml");
const STOREFRONT: &str = "storefront.bakery.svc.cluster.local.";

/// A Corefile in `folder` that serves the example, with further plugins.
fn corefile(folder: &Path, plugins: &str) -> PathBuf {
    let path = folder.join("Corefile");
    let text = format!(
        ". {{\n bind 127.0.0.1\n {plugins}\n kubernetes cluster.local in-addr.arpa {{\n source file {CLUSTER}\n }}\n}}\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn serves_storefront(process: &Process) {
    process.ask_until("the storefront", &Query::a(STOREFRONT), |answer| {
        answer.message.answers.iter().any(|r| r.data.to_string() == "10.96.12.7")
    });
}

// === Words ===

#[test]
fn help_and_version() {
    let (code, out, _) = run(outlast().arg("--help"));
    assert_eq!(code, 0);
    for part in ["Examples:", "outlast node --conf Corefile", "outlast lookup", "-dns.port"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    for command in ["node", "check", "snapshot", "lookup", "certs", "ctl", "drill"] {
        let (code, out, _) = run(outlast().args([command, "--help"]));
        assert!(code == 0 && out.contains("Examples:") && out.contains("outlast "), "{command}: {out}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let (code, out, _) = run(outlast().arg("-version"));
    assert!(code == 0 && out.starts_with(&format!("outlast {version}\n")), "{out}");
    let (code, out, _) = run(outlast().arg("-plugins"));
    assert!(code == 0 && out.contains("  dns.kubernetes\n") && out.contains("  dns.forward\n"), "{out}");
}

#[test]
fn the_allocator_has_its_settings() {
    let (code, _, said) = run(outlast().arg("--version").env("_RJEM_MALLOC_CONF", "stats_print:true"));
    assert_eq!(code, 0);
    let settings = outlast::ops::heap::SETTINGS.to_str().unwrap();
    for setting in settings.split(',') {
        let (name, value) = setting.split_once(':').unwrap();
        let line = format!("  opt.{name}: {value}");
        assert!(said.lines().any(|said| said.starts_with(&line)), "{line}: {said}");
    }
}

#[test]
fn wrong_arguments() {
    let folder = tempfile::tempdir().unwrap();
    struct Case {
        name: &'static str,
        arguments: &'static [&'static str],
        error: &'static str,
    }
    for case in [
        Case { name: "none", arguments: &[], error: "Usage: outlast" },
        Case { name: "unknown subcommand", arguments: &["serve"], error: "unrecognized subcommand 'serve'" },
        Case { name: "unknown flag", arguments: &["--bogus"], error: "unexpected argument '--bogus'" },
        Case { name: "unknown flag of node", arguments: &["node", "--bogus"], error: "'--bogus'" },
        Case {
            name: "unknown flag, Go's way",
            arguments: &["-conf", "C", "-bogus"],
            error: "not defined: -bogus",
        },
        Case { name: "a word too much", arguments: &["-conf", "C", "more"], error: "\"more\"" },
        Case { name: "no value", arguments: &["-conf"], error: "flag needs an argument: -conf" },
        Case { name: "no port", arguments: &["node", "--dns-port", "70000"], error: "'70000'" },
        Case { name: "no Corefile", arguments: &["node"], error: "reading the Corefile" },
        Case { name: "the Corefile is not there", arguments: &["-conf", "nowhere"], error: "nowhere - " },
    ] {
        let (code, out, error) = run(outlast().args(case.arguments).current_dir(folder.path()));
        assert_eq!((code, out.as_str()), (2, ""), "{}: {error}", case.name);
        assert!(error.contains(case.error), "{}: {error}", case.name);
    }
    let (_, _, help) = run(outlast().current_dir(folder.path()));
    assert!(help.contains("Examples:") && help.contains("snapshot"), "{help}");
}

#[test]
fn check_gives_a_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let good = corefile(folder.path(), "errors\n health\n prometheus");
    let (code, out, error) = run(outlast().args(["check", "--dns-port", "5353", "--conf"]).arg(&good));
    assert_eq!((code, error.as_str()), (0, ""));
    let want = format!("dns://127.0.0.1:5353: .:5353 on 127.0.0.1\n{}: ok\n", good.display());
    assert_eq!(out, want);
    let bad = folder.path().join("bad");
    std::fs::write(&bad, ".:53 {\n kubernetes cluster.local\n}\n").unwrap();
    let (code, _, error) = run(outlast().args(["check", "--conf"]).arg(&bad));
    assert!(code == 2 && error.contains("bad:2 - ") && error.contains("where the API server is"), "{error}");
    // In a pod it is right: the environment says where the API server is.
    let pod = [("KUBERNETES_SERVICE_HOST", "10.96.0.1"), ("KUBERNETES_SERVICE_PORT", "443")];
    let (code, _, error) = run(outlast().args(["check", "--conf"]).arg(&bad).envs(pod));
    assert_eq!(code, 0, "{error}");
    // The same is right with a source from outside.
    let (code, ..) = run(outlast().args(["check", "--source", "file:x.yaml", "--conf"]).arg(&bad));
    assert_eq!(code, 0);
}

/// The Service of hubs may be gone when a node starts again, and names are what it is there for.
#[test]
fn a_node_whose_hubs_have_no_service_any_more_answers_from_its_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Corefile");
    std::fs::write(&file, ".:0 {\n bind 127.0.0.1\n kubernetes cluster.local\n}\n").unwrap();
    let node = |word: &str, more: &[&str]| {
        let mut command = outlast();
        command
            .args([word, "--conf"])
            .arg(&file)
            .arg("--snapshot")
            .arg(folder.path().join("kept"))
            .args(more);
        command
    };
    let hubs = ["--hub=$(OUTLAST_HUB_SERVICE_HOST)", "--hub-plain"];
    for word in ["node", "check"] {
        let (code, _, error) = run(&mut node(word, &hubs));
        assert_eq!(code, 2, "{word}: whoever starts it again may find the Service: {error}");
        assert!(error.contains("there is no Service outlast-hub in this namespace"), "{word}: {error}");
        assert!(error.contains("no snapshot to answer from, and no list of hubs"), "{word}: {error}");
    }
    let mut first = Process::start(&mut node("node", &[&format!("--source=file:{CLUSTER}")])).serving();
    serves_storefront(&first);
    first.signal(Signal::SIGTERM);
    assert_eq!(first.wait_until_ended(), 0, "{}", first.output());
    let (code, _, warning) = run(&mut node("check", &hubs));
    assert!(code == 0 && warning.contains("Warning: the address of a hub"), "{code}: {warning}");
    let again = Process::start(&mut node("node", &hubs)).serving();
    serves_storefront(&again);
    again.wait_for("the warning", |process| process.output().contains("is not known").then_some(()));
}

/// Addresses that queries are led here by are those of the flags, wherever the check runs.
#[test]
fn check_knows_what_a_node_is_told_of_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let plain = path("plain", ".:53 {\n whoami\n}\n");
    let binds = path("binds", ".:53 {\n bind 169.254.20.10 10.96.0.10\n whoami\n}\n");
    let base = path("base", ".:53 {\n bind __PILLAR__LOCAL__DNS__\n whoami\n}\n");
    let (plain, binds) = (format!("--conf={plain}"), format!("--conf={binds}"));
    let base = format!("--base-corefile={base}");
    let local = "--local-ip=169.254.20.10,10.96.0.10";
    let both = "dns://10.96.0.10:53: .:53 on 10.96.0.10\ndns://169.254.20.10:53: .:53 on 169.254.20.10\n";
    let one = "dns://169.254.20.10:53: .:53 on 169.254.20.10\n";
    for (words, code, out, error) in [
        (&[plain.as_str()][..], 0, "dns://:53: .:53\n", ""),
        (&[plain.as_str(), local], 0, both, ""),
        (&[binds.as_str(), local], 0, both, ""),
        (&[base.as_str(), local], 0, both, ""),
        (&[base.as_str()], 2, "", "write the addresses that pods ask"),
        // The environment says that one of them is a Service's, and a flag who has it.
        (&[base.as_str(), local, "--kube-proxy=ipvs"], 0, one, ""),
        (
            &[binds.as_str(), local, "--kube-proxy=cilium"],
            0,
            one,
            "binds:2 - Warning: nothing is listened at 10.96.0.10: it is a Service's, and cilium",
        ),
        (&[plain.as_str(), "--local-ip=127.0.0.1"], 2, "", "127.0.0.1 is a loopback address"),
        (&[plain.as_str(), local, "--look-every=10ms"], 2, "", "looking every 10 ms is too often"),
    ] {
        let mut command = outlast();
        command.arg("check").args(words).env("KUBE_DNS_SERVICE_HOST", "10.96.0.10");
        let (got, said, wrong) = run(&mut command);
        assert!(got == code && said.starts_with(out), "{words:?}: {got}: {said}{wrong}");
        assert_eq!(
            said.lines().count(),
            if code == 0 { out.lines().count() + 1 } else { 0 },
            "{words:?}: {said}"
        );
        assert!(wrong.contains(error) && wrong.is_empty() == error.is_empty(), "{words:?}: {wrong}");
    }
    let mut command = outlast();
    command.args(["check", &base]).env("OUTLAST_LOCAL_IP", "169.254.20.10");
    let (code, out, error) = run(&mut command);
    assert!(code == 0 && out.starts_with(one), "{out}{error}");
}

/// What may change until a node connects decides nothing, and is said; what has no effect is said too.
#[test]
fn check_warns_of_what_a_connection_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let cluster = "clusters: [{name: c, cluster: {server: 'https://192.0.2.1'}}]\n\
                   contexts: [{name: one, context: {cluster: c}}]\ncurrent-context: one\n";
    std::fs::write(path("good"), cluster).unwrap();
    std::fs::write(path("broken"), "clusters: [").unwrap();
    std::fs::write(path("pem"), "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n").unwrap();
    let endpoint =
        |ca: &str| format!("endpoint https://192.0.2.1\n tls {} {} {ca}", path("pem"), path("pem"));
    struct Case {
        name: &'static str,
        lines: String,
        /// Part of the only warning; empty for none.
        warning: String,
    }
    let kubeconfig = |words: &str| format!("kubeconfig {words}");
    for case in [
        Case { name: "a good kubeconfig", lines: kubeconfig(&path("good")), warning: String::new() },
        Case {
            name: "none",
            lines: kubeconfig(&path("gone")),
            warning: format!("Corefile - Warning: kubeconfig {}: ", path("gone")),
        },
        Case {
            name: "a broken one",
            lines: kubeconfig(&path("broken")),
            warning: format!("kubeconfig {}: failed to parse", path("broken")),
        },
        Case {
            name: "without the context",
            lines: kubeconfig(&format!("{} two", path("good"))),
            warning: format!("kubeconfig {}: failed to load current context: two", path("good")),
        },
        Case { name: "files of tls", lines: endpoint(&path("pem")), warning: String::new() },
        Case {
            name: "a missing authority",
            lines: endpoint(&path("gone")),
            warning: format!("Corefile - Warning: reading {}: No such file", path("gone")),
        },
        Case {
            name: "no effect",
            lines: format!("{}\n startup_timeout 5s", kubeconfig(&path("good"))),
            warning: "Corefile:4 - Warning: 'startup_timeout' has no effect: ".to_owned(),
        },
    ] {
        let corefile = folder.path().join("Corefile");
        let text = format!(". {{\n kubernetes cluster.local {{\n {}\n }}\n}}\n", case.lines);
        std::fs::write(&corefile, text).unwrap();
        let (code, out, error) = run(outlast().args(["check", "--conf"]).arg(&corefile));
        assert!(code == 0 && out.ends_with(": ok\n"), "{}: {error}", case.name);
        assert!(error.contains(&case.warning), "{}: no {:?} in {error:?}", case.name, case.warning);
        assert_eq!(error.is_empty(), case.warning.is_empty(), "{}: {error}", case.name);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_panic() {
    for words in [&["-plugins"][..], &["-version"], &["check", "--conf", "examples/Corefile"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = outlast();
        command.args(words).current_dir(env!("CARGO_MANIFEST_DIR")).stdout(writer);
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !error.contains("panicked"), "{words:?}: {error}");
    }
}

#[test]
fn the_examples_are_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for example in ["examples/Corefile", "examples/Corefile.apiserver", "examples/Corefile.standin"] {
        let mut command = outlast();
        command.args(["check", "--conf", example]).current_dir(root).env("HOME", "/home/somebody");
        let (code, _, error) = run(&mut command);
        assert_eq!(code, 0, "{example}: {error}");
    }
}

// === Serving ===

#[test]
fn flags_of_coredns_serve() {
    let folder = tempfile::tempdir().unwrap();
    let pidfile = folder.path().join("pid");
    let path = corefile(folder.path(), "errors");
    let mut command = outlast();
    command.arg("-conf").arg(path).args(["-dns.port", "0", "-pidfile"]).arg(&pidfile);
    let process = Process::start(&mut command);
    serves_storefront(&process);
    assert_ne!(process.dns().port(), 53);
    let id = process.wait_for("the pidfile", |_| std::fs::read_to_string(&pidfile).ok());
    assert_eq!(id.trim(), process.id().to_string());
    process.signal(Signal::SIGTERM);
    let (code, output) = process.wait();
    assert_eq!(code, 0, "{output}");
    assert!(!pidfile.exists());
    assert!(output.contains(".:0 on 127.0.0.1\n") && output.contains("stopped"), "{output}");
}

#[test]
fn without_arguments_the_corefile_here_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = corefile(folder.path(), "errors");
    let text = std::fs::read_to_string(&path).unwrap().replace(". {", ".:0 {");
    std::fs::write(&path, text).unwrap();
    serves_storefront(&Process::start(outlast().current_dir(folder.path())));
}

#[test]
fn a_corefile_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::File::open(corefile(folder.path(), "errors")).unwrap();
    serves_storefront(&Process::start(outlast().args(["-conf", "stdin", "-p", "0"]).stdin(text)));
}

/// What is seen while it drains. That it ends after that time by itself: `health_lameduck` in `tests/options`.
#[test]
fn sigterm_drains() {
    let folder = tempfile::tempdir().unwrap();
    // Longer than any machine takes to look at it.
    let path = corefile(folder.path(), "health 127.0.0.1:0 {\n lameduck 1h\n }\n ready 127.0.0.1:0");
    let process = Process::start(outlast().args(["node", "--dns-port", "0", "--conf"]).arg(path));
    serves_storefront(&process);
    let (health, ready) = (process.address("serving /health"), process.address("serving /ready"));
    process.wait_for("readiness", |_| (http::get(ready, "/ready") == (200, "OK".to_owned())).then_some(()));

    process.signal(Signal::SIGTERM);
    process.wait_for("the end of readiness", |_| (http::get(ready, "/ready").0 == 503).then_some(()));
    assert_eq!(http::get(ready, "/ready"), (503, "Shutting down".to_owned()));
    assert_eq!(http::get(health, "/health"), (200, "OK".to_owned()));
    serves_storefront(&process);
    let dns = process.dns();
    process.signal(Signal::SIGQUIT);
    let (code, output) = process.wait();
    assert_eq!(code, 0, "{output}");
    assert!(!output.contains("stopped"), "it was still draining: {output}");
    assert!(process::ask(dns, &Query::a(STOREFRONT)).is_none());
}

#[test]
fn signals_end_it() {
    let folder = tempfile::tempdir().unwrap();
    for (signal, code) in [(Signal::SIGTERM, 0), (Signal::SIGINT, 0), (Signal::SIGQUIT, 0)] {
        let path = corefile(folder.path(), "errors");
        let process = Process::start(outlast().args(["node", "--dns-port", "0", "--conf"]).arg(path));
        process.dns();
        // Nothing is ended by these.
        process.signal(Signal::SIGHUP);
        process.signal(Signal::SIGUSR2);
        serves_storefront(&process);
        process.signal(signal);
        assert_eq!(process.wait().0, code, "{signal}");
    }
}

#[test]
fn an_address_that_is_taken_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = corefile(folder.path(), "errors");
    let text = std::fs::read_to_string(&path).unwrap().replace("127.0.0.1", "192.0.2.1");
    std::fs::write(&path, text).unwrap();
    let (code, _, error) = run(outlast().args(["node", "--dns-port", "0", "--conf"]).arg(path));
    assert!(code == 1 && error.contains("192.0.2.1"), "{code} {error}");
}

#[test]
fn json_logs_are_json_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = corefile(folder.path(), "errors\n debug");
    let process = Process::start(
        outlast().args(["node", "--dns-port", "0", "--log-format", "json", "--conf"]).arg(path),
    );
    serves_storefront(&process);
    process.signal(Signal::SIGTERM);
    let (code, output) = process.wait();
    assert_eq!(code, 0);
    for line in output.lines() {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else { panic!("no JSON: {line:?}") };
        for field in ["timestamp", "level", "target", "message"] {
            assert!(value[field].is_string(), "{field}: {line}");
        }
    }
    let answering = output.lines().find(|l| l.contains("answering dns")).unwrap();
    let answering: serde_json::Value = serde_json::from_str(answering).unwrap();
    assert!(answering["fields"]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{answering}");
}

// === Snapshots ===

/// A snapshot of the example, in a folder.
fn imported(folder: &Path) -> PathBuf {
    let snapshot = folder.join("gen-00000000000000000001.snap");
    let (code, out, error) = run(outlast().args(["snapshot", "import", CLUSTER, "--out"]).arg(&snapshot));
    assert_eq!(code, 0, "{error}");
    // 3 namespaces, 5 services, 5 slices, 3 pods.
    assert!(out.starts_with(&format!("{}: 16 objects, ", snapshot.display())), "{out}");
    snapshot
}

/// The lines of an export, one an object, whose order means nothing.
fn sorted(json: &str) -> Vec<&str> {
    let mut lines: Vec<_> = json.lines().map(|line| line.trim_end_matches(',')).collect();
    lines.sort_unstable();
    lines
}

fn snapshot(words: &[&Path]) -> (i32, String, String) {
    run(outlast().arg("snapshot").args(words))
}

#[test]
fn a_snapshot_goes_around() {
    let folder = tempfile::tempdir().unwrap();
    let first = imported(folder.path());

    // A folder stands for its newest snapshot.
    for file in [first.as_path(), folder.path()] {
        let (code, out, _) = snapshot(&[Path::new("show"), file]);
        assert_eq!(code, 0);
        for part in
            ["zone            cluster.local.", "endpoints       8", "Service        yes             5"]
        {
            assert!(out.contains(part), "{part}: {out}");
        }
        let (code, out, _) = snapshot(&[Path::new("verify"), file]);
        assert!(code == 0 && out.ends_with(&format!("{}: good\n", first.display())), "{out}");
    }

    let (code, json, _) = snapshot(&[Path::new("export"), &first]);
    assert_eq!(code, 0);
    assert!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["items"].is_array());
    let exported = folder.path().join("cluster.json");
    std::fs::write(&exported, &json).unwrap();
    let second = folder.path().join("gen-00000000000000000002.snap");
    let import = ["import".as_ref(), exported.as_path(), "--out".as_ref(), second.as_path()];
    assert_eq!(snapshot(&import).0, 0);
    let (code, out, _) = snapshot(&[Path::new("diff"), &first, &second]);
    assert_eq!(code, 0, "{out}");
    let (_, again, _) = snapshot(&[Path::new("export"), &second]);
    assert_eq!(sorted(&again), sorted(&json));

    // One that differs.
    std::fs::write(&exported, json.replace("10.96.12.7", "10.96.12.8")).unwrap();
    assert_eq!(snapshot(&import).0, 0);
    let (code, out, _) = snapshot(&[Path::new("diff"), &first, &second]);
    assert!(code == 1 && out.contains("~") && out.contains("storefront"), "{out}");
}

#[test]
fn lookup_answers_offline() {
    let folder = tempfile::tempdir().unwrap();
    let file = imported(folder.path());
    struct Case {
        name: &'static str,
        words: &'static [&'static str],
        want: &'static [&'static str],
    }
    for case in [
        Case {
            name: "a service",
            words: &[STOREFRONT],
            want: &["A: NOERROR, authoritative\n", "IN\tA\t10.96.12.7\n"],
        },
        Case {
            name: "without the final dot, in capitals",
            words: &["STOREFRONT.bakery.svc.cluster.local", "a"],
            want: &["IN\tA\t10.96.12.7\n"],
        },
        Case {
            name: "AAAA",
            words: &["oven.bakery.svc.cluster.local", "AAAA"],
            want: &["AAAA\tfd00:10:96::28:3"],
        },
        Case {
            name: "SRV",
            words: &["_postgres._tcp.books.ledger.svc.cluster.local", "SRV"],
            want: &["books-0.books.ledger.svc.cluster.local.", "10.244.3.62"],
        },
        Case { name: "a pod", words: &["10-244-1-17.bakery.pod.cluster.local"], want: &["10.244.1.17\n"] },
        Case {
            name: "nothing",
            words: &["nothing.bakery.svc.cluster.local"],
            want: &["A: NXDOMAIN, authoritative\n", ";; AUTHORITY"],
        },
        Case {
            name: "an alias",
            words: &["payments.ledger.svc.cluster.local"],
            want: &["CNAME\tapi.payments.example.com."],
        },
    ] {
        for snapshot in [folder.path(), &file] {
            let (code, out, error) =
                run(outlast().arg("lookup").args(case.words).arg("--snapshot").arg(snapshot));
            assert_eq!(code, 0, "{}: {error}", case.name);
            for part in case.want {
                assert!(out.contains(part), "{}: no {part:?} in {out}", case.name);
            }
        }
    }
    let path = folder.path().join("Corefile");
    std::fs::write(&path, "cluster.local:53 {\n kubernetes {\n namespaces ledger\n ttl 0\n }\n}\n").unwrap();
    let (code, out, error) =
        run(outlast().args(["lookup", STOREFRONT, "--conf"]).arg(&path).arg("--snapshot").arg(&file));
    assert!(
        code == 0 && out.contains("A: NXDOMAIN, authoritative\n"),
        "by the rules of a Corefile: {out}{error}"
    );
    let (code, _, error) = run(outlast().args(["lookup", STOREFRONT, "TYPO", "--snapshot"]).arg(&file));
    assert!(code == 2 && error.contains("\"TYPO\" is not a type of record"), "{error}");
}

#[test]
fn wrong_files_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "nothing of the kind, and long enough to have a header\n".repeat(10)).unwrap();
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let gone = folder.path().join("gone.snap");
    for (file, why) in [(&gone, "No such file"), (&empty, "no snapshot in "), (&text, "reading ")] {
        for command in ["show", "export"] {
            let (code, out, error) = snapshot(&[Path::new(command), file]);
            assert_eq!((code, out.as_str()), (1, ""), "{command}: {error}");
            assert!(error.starts_with("outlast: ") && error.contains(why), "{command}: {error}");
            assert!(error.contains(&*file.to_string_lossy()), "{command}: {error}");
        }
        let (code, _, error) = run(outlast().args(["lookup", STOREFRONT, "--snapshot"]).arg(file));
        assert!(code == 1 && error.contains(&*file.to_string_lossy()), "lookup: {error}");
    }
    let out = folder.path().join("out.snap");
    let (code, _, error) = snapshot(&["import".as_ref(), &text, "--out".as_ref(), &out]);
    assert!(code == 1 && error.contains("notes.txt") && !out.exists(), "{error}");
    let (code, ..) = snapshot(&["import".as_ref(), Path::new(CLUSTER)]);
    assert_eq!(code, 2, "without --out");
}

#[test]
fn a_damaged_snapshot_is_not_good() {
    let folder = tempfile::tempdir().unwrap();
    let file = imported(folder.path());
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    let middle = whole.len() / 2;
    flipped[middle] ^= 0x10;
    for (name, bytes) in
        [("a bit flipped", flipped), ("cut", whole[..whole.len() - 5].to_vec()), ("empty", Vec::new())]
    {
        std::fs::write(&file, bytes).unwrap();
        let (code, out, error) = snapshot(&[Path::new("verify"), &file]);
        assert!(code == 1 && out.contains("error: ") && out.ends_with("not good\n"), "{name}: {out}{error}");
        let (code, _, error) = snapshot(&[Path::new("show"), &file]);
        assert!(code == 1 && error.contains("gen-00000000000000000001.snap"), "{name}: {error}");
    }
}
