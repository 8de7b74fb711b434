//! Rules by iptables: node-cache's to the letter, put back, withdrawn, and nothing of others touched.

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use outlast::net::config::{Config, Mode};
use outlast::net::iptables::{Iptables, Ports, Which};
use outlast::net::run::Hooks;
use outlast::ops::control::section::Tells;
use outlast::ops::drain::Drain;
use outlast::ops::metrics::Metrics;
use outlast::ops::readiness::{Monitor, Readiness};
use outlast::testkit::client::Query;
use outlast::testkit::node::TestNode;
use tokio::sync::watch;

use super::machine::Machine;
use super::old_node::{besides, led_here, metric, old_node, stop};
use super::old_rules::{Kind, of_all, of_node_cache, sorted, there_are_both};
use super::process::{Process, ask, run};
use super::program::node;
use super::programs::{program, there};
use super::world::{ALL, LOCAL, SERVICE, inside, ips, nft, output, possible_with_tables, prepare, until};

/// How long the end may take: only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

const PORTS: Ports = Ports { dns: 53, health: 8080 };

/// Rules of somebody else, some of them much like node-cache's.
const FOREIGN: [&str; 4] = [
    "-t raw -A PREROUTING -d 10.96.0.10/32 -p udp --dport 53 -j NOTRACK",
    "-t raw -A OUTPUT -d 10.96.0.99/32 -p udp --dport 53 -j NOTRACK -m comment --comment NodeLocal",
    "-t filter -A INPUT -p tcp --dport 22 -j ACCEPT",
    "-t nat -A OUTPUT -d 10.96.0.10/32 -p udp --dport 53 -j DNAT --to-destination 10.244.0.10:1053",
];

fn possible() -> bool {
    possible_with_tables() && there_are_both()
}

fn write_foreign(machine: &Machine, kind: Kind) -> Vec<String> {
    for rule in FOREIGN {
        kind.give(machine, "iptables", &rule.split(' ').collect::<Vec<_>>());
    }
    let foreign = kind.rules(machine);
    assert_eq!(foreign.len(), FOREIGN.len());
    foreign
}

#[test]
fn rules_are_those_of_node_cache_and_stand_before_all_others() {
    if !possible() {
        return;
    }
    for kind in Kind::BOTH {
        let machine = Machine::new(&[]);
        let foreign = write_foreign(&machine, kind);
        let (path, all) = (kind.folder(&machine), ips(&ALL));
        let rules = Iptables::of_path(Some(path.as_os_str()), &all, PORTS, Which::All).unwrap();
        let (before, after) = inside(&machine, async || {
            let before = rules.missing(&all).await.unwrap();
            rules.make(&all).await.unwrap();
            // What is there is not put there again.
            rules.make(&all).await.unwrap();
            (before, rules.missing(&all).await.unwrap())
        });
        assert_eq!((before, after), (all.clone(), Vec::new()), "{kind:?}");
        let there = kind.rules(&machine);
        assert_eq!(besides(there.clone(), &foreign), of_all(&ALL), "{kind:?}");
        let of_chain = |rules: &[String], begin: &str| -> Vec<String> {
            rules.iter().filter(|rule| rule.starts_with(begin) && rule.contains(LOCAL)).cloned().collect()
        };
        for begin in ["raw -A PREROUTING", "raw -A OUTPUT", "filter -A INPUT", "filter -A OUTPUT"] {
            assert_eq!(of_chain(&there, begin), of_chain(&of_node_cache(LOCAL), begin), "{kind:?} {begin}");
        }
        let first = there.iter().find(|rule| rule.starts_with("raw -A PREROUTING")).unwrap();
        assert!(first.contains("NodeLocal DNS Cache"), "{kind:?}: {first}");

        // node-cache deletes by the same text, and so do we what it has made, however often.
        let words: Vec<_> =
            "-t raw -I PREROUTING 1 -p udp -d 169.254.20.10 --dport 53 -j NOTRACK -m comment --comment"
                .split(' ')
                .chain(["NodeLocal DNS Cache: skip conntrack"])
                .collect();
        kind.give(&machine, "iptables", &words);
        kind.give(&machine, "iptables", &words);
        inside(&machine, async || rules.delete(&all).await.unwrap());
        assert_eq!(kind.rules(&machine), foreign, "{kind:?}");
        inside(&machine, async || rules.delete(&all).await.unwrap());
    }
}

#[test]
fn rules_that_accept_are_four_for_each_address() {
    if !possible() {
        return;
    }
    let machine = Machine::new(&[]);
    let (path, all) = (Kind::Legacy.folder(&machine), ips(&ALL));
    let rules = Iptables::of_path(Some(path.as_os_str()), &all, PORTS, Which::Accepting).unwrap();
    inside(&machine, async || rules.make(&all).await.unwrap());
    let want: Vec<_> = of_all(&ALL).into_iter().filter(|rule| rule.starts_with("filter ")).collect();
    assert_eq!(want.len(), 4 * ALL.len());
    assert_eq!(sorted(Kind::Legacy.rules(&machine)), want);
}

#[test]
fn a_program_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (address, want) in
        [(SERVICE, "there is no program iptables"), ("fd00::a", "there is no program ip6tables")]
    {
        let found = Iptables::of_path(Some(folder.path().as_os_str()), &ips(&[address]), PORTS, Which::All);
        assert!(found.unwrap_err().to_string().contains(want));
    }
}

/// Answers at all addresses.
const COREFILE: &str = ".:53 {\n bind 10.96.0.10 169.254.20.10 fd00:96::a fd00:20::10\n whoami\n}";

#[test]
fn they_are_withdrawn_when_the_process_may_not_answer_and_come_back_when_it_may() {
    if !possible() {
        return;
    }
    let machine = Machine::new(&[]);
    // What the test's own PATH has is one of the two.
    let rules = || {
        let of = |kind: Kind| sorted(kind.rules(&machine));
        [of(Kind::Legacy), of(Kind::Nft)].concat()
    };
    let addresses = output(&machine, "ip", "-o addr");
    inside(&machine, async || {
        let metrics = Arc::new(Metrics::new());
        let (owner, services) = (machine.path("owner"), ips(&[SERVICE]));
        let config = Config { rules: Mode::Iptables, services, owner, ..Config::of(ips(&ALL)) };
        let prepared = prepare(config, &metrics).unwrap();
        let node = TestNode::start(COREFILE);
        let (drain, readiness) = (Drain::new(), Readiness::new(Monitor::UntilReady));
        let (_endpoints, endpoints) = watch::channel(Arc::default());
        let (_services, services) = watch::channel::<Arc<[IpAddr]>>(ips(&[SERVICE]).into());
        let ready = Arc::new(AtomicBool::new(false));
        let is_ready = ready.clone();
        let hooks = Hooks {
            pulses: node.pulses().clone(),
            ready: Box::new(move || is_ready.load(Ordering::Relaxed)),
            endpoints,
            services,
            part: readiness.register("interception"),
        };
        let net = prepared.run(hooks, &drain).unwrap();
        let report = net.report();
        let state = || report.section().data["state"].as_str().unwrap().to_owned();
        until("it waits", async || state() == "waiting").await;
        assert_eq!(rules(), [""; 0]);
        ready.store(true, Ordering::Relaxed);
        let took = until("it begins", async || state() == "live").await;
        println!("live {} ms after it was ready", took.as_millis());
        assert_eq!(rules(), of_all(&ALL));
        ready.store(false, Ordering::Relaxed);
        let took = until("it withdraws", async || rules().is_empty()).await;
        println!("withdrawn {} ms after it was not ready", took.as_millis());
        until("it says so", async || state() == "withdrawn").await;
        ready.store(true, Ordering::Relaxed);
        until("it comes back", async || state() == "live").await;
        assert_eq!(rules(), of_all(&ALL));
        node.stop().await;
        let took = until("it withdraws", async || rules().is_empty()).await;
        println!("withdrawn {} ms after nobody answered", took.as_millis());
        drain.withdrawing().cancel();
        net.finish(PATIENCE).await;
        let text = metrics.render();
        for line in [
            r#"outlast_interception_withdrawals_total{reason="readiness"} 1"#,
            r#"outlast_interception_withdrawals_total{reason="listener"} 1"#,
            r#"outlast_interception_withdrawals_total{reason="late"} 0"#,
            r#"outlast_net_repairs_total{what="iptables"} 0"#,
            r#"coredns_nodecache_setup_errors_total{errortype="iptables"} 0"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    });
    assert_eq!(output(&machine, "ip", "-o addr"), addresses);
    assert_eq!(rules(), [""; 0]);
}

#[test]
fn a_node_keeps_them_and_leaves_nothing_behind() {
    if !possible() {
        return;
    }
    for kind in Kind::BOTH {
        let machine = Machine::new(&[]);
        let foreign = write_foreign(&machine, kind);
        let addresses = output(&machine, "ip", "-o addr");
        let process = Process::start(&mut old_node(&machine, kind, &["--rules=iptables", "--look-every=1h"]));
        led_here(&process);
        let ours = of_all(&[SERVICE, LOCAL]);
        assert_eq!(besides(kind.rules(&machine), &foreign), ours, "{kind:?}");
        for address in [SERVICE, LOCAL] {
            let server = format!("{address}:53").parse().unwrap();
            let query = Query::a("kube-dns.kube-system.svc.cluster.local.");
            let answer = machine.inside(|| ask(server, &query));
            assert_eq!(answer.unwrap().answers().len(), 1, "{kind:?} {address}");
        }
        let began = Instant::now();
        kind.give(&machine, "iptables", &["-t", "raw", "-F", "OUTPUT"]);
        kind.give(&machine, "iptables", &["-t", "raw", "-A", "OUTPUT", "-j", "ACCEPT"]);
        let of_output = "raw -A OUTPUT -j ACCEPT".to_owned();
        let mut foreign: Vec<_> =
            foreign.into_iter().filter(|rule| !rule.starts_with("raw -A OUTPUT")).collect();
        foreign.push(of_output);
        process.wait_for("that they are back", |_| {
            (besides(kind.rules(&machine), &foreign) == ours).then_some(())
        });
        println!("{kind:?}: back {} ms after a flush of raw OUTPUT", began.elapsed().as_millis());
        // Probes go another way, and queries of pods with it.
        for (table, chain) in [("raw", "PREROUTING"), ("filter", "INPUT")] {
            let began = Instant::now();
            kind.give(&machine, "iptables", &["-t", table, "-F", chain]);
            foreign.retain(|rule| !rule.starts_with(&format!("{table} -A {chain} ")));
            process.wait_for("that they are back", |_| {
                (besides(kind.rules(&machine), &foreign) == ours).then_some(())
            });
            println!("{kind:?}: back {} ms after a flush of {table} {chain}", began.elapsed().as_millis());
        }
        // A probe that went elsewhere was no reason to withdraw.
        let said = stop(process);
        assert!(!said.contains("until all is well again"), "{said}");
        assert!(said.contains("rules of iptables for 169.254.20.10"), "{said}");
        assert!(said.contains("after SIGKILL, SIGSTOP or being out of memory"), "{said}");
        assert_eq!(sorted(kind.rules(&machine)), sorted(foreign), "{kind:?}");
        assert_eq!(output(&machine, "ip", "-o addr"), addresses, "{kind:?}");
        assert!(!nft(&machine, "list tables").contains("outlast"));
    }
}

#[test]
fn who_comes_after_a_kill_takes_them_over_or_away() {
    if !possible() {
        return;
    }
    let (machine, kind) = (Machine::new(&[]), Kind::Legacy);
    let start = |flags: &[&str]| Process::start(&mut old_node(&machine, kind, flags));
    let mut killed = start(&["--rules=iptables"]);
    led_here(&killed);
    killed.signal(Signal::SIGKILL);
    killed.wait_until_ended();
    let ours = of_all(&[SERVICE, LOCAL]);
    assert_eq!(sorted(kind.rules(&machine)), ours, "this is what is not promised");
    let next = start(&["--rules=iptables"]);
    led_here(&next);
    assert_eq!(sorted(kind.rules(&machine)), ours, "taken over, and none is there twice");
    drop(next);
    // Without data it may not answer: queries go to the cluster's DNS again.
    let mut waiting = old_node(&machine, kind, &["--rules=iptables"]);
    std::fs::remove_file(machine.path("cluster.json")).unwrap();
    let waiting = Process::start(&mut waiting);
    waiting.wait_for("that they are gone", |_| kind.rules(&machine).is_empty().then_some(()));
}

#[test]
fn who_holds_the_lock_is_waited_for_and_counted() {
    if !possible() {
        return;
    }
    let (machine, kind) = (Machine::new(&[]), Kind::Legacy);
    let lock = std::fs::File::create(machine.path("run/xtables.lock")).unwrap();
    lock.lock().unwrap();
    let flags = ["--rules=iptables", "--extra-metrics-address=127.0.0.1:9353"];
    let process = Process::start(&mut old_node(&machine, kind, &flags));
    process.wait_for("a complaint", |p| p.output().contains("(the xtables lock)").then_some(()));
    lock.unlock().unwrap();
    led_here(&process);
    assert!(metric(&machine, r#"coredns_nodecache_setup_errors_total{errortype="iptables_lock"}"#) > 0.0);
    stop(process);
}

#[test]
fn what_node_cache_has_left_is_deleted_where_it_can_be_seen() {
    if !possible() {
        return;
    }
    let (machine, kind) = (Machine::new(&[]), Kind::Nft);
    let foreign = write_foreign(&machine, kind);
    let (path, left) = (kind.folder(&machine), ips(&[SERVICE, LOCAL]));
    let rules = Iptables::of_path(Some(path.as_os_str()), &left, PORTS, Which::All).unwrap();
    inside(&machine, async || rules.make(&left).await.unwrap());
    assert_eq!(besides(kind.rules(&machine), &foreign), of_all(&[SERVICE, LOCAL]));
    let flags = ["--extra-metrics-address=127.0.0.1:9353"];
    let process = Process::start(&mut old_node(&machine, kind, &flags));
    led_here(&process);
    process.wait_for("that they are gone", |_| (kind.rules(&machine) == foreign).then_some(()));
    process.wait_for("that they are counted", |_| {
        (metric(&machine, "outlast_net_leftovers_total") == 24.0).then_some(())
    });
    let said = stop(process);
    assert!(
        said.contains("node-cache had left rules that lead queries here for ever; they are deleted"),
        "{said}"
    );
    // One of the others does what a rule of node-cache did before 2023.
    let command = "iptables -t raw -D PREROUTING -p udp -d 10.96.0.10 --dport 53 -j NOTRACK;";
    assert!(said.contains("rules without a comment") && said.contains(command), "{said}");
    assert_eq!(kind.rules(&machine), foreign);
}

#[test]
fn what_node_cache_leaves_while_we_run_is_deleted_each_time_and_said_once() {
    if !possible() {
        return;
    }
    let (machine, kind) = (Machine::new(&[]), Kind::Nft);
    let foreign = write_foreign(&machine, kind);
    let flags = ["--look-every=1s", "--extra-metrics-address=127.0.0.1:9353"];
    let process = Process::start(&mut old_node(&machine, kind, &flags));
    led_here(&process);
    let (path, left) = (kind.folder(&machine), ips(&[SERVICE, LOCAL]));
    let rules = Iptables::of_path(Some(path.as_os_str()), &left, PORTS, Which::All).unwrap();
    // As one does that lives beside us.
    for times in 1..=3 {
        inside(&machine, async || rules.make(&left).await.unwrap());
        process.wait_for("that they are gone", |_| (kind.rules(&machine) == foreign).then_some(()));
        let all = f64::from(times) * 24.0;
        process.wait_for("that they are counted", |_| {
            (metric(&machine, "outlast_net_leftovers_total") == all).then_some(())
        });
    }
    let said = stop(process);
    assert_eq!(said.matches("node-cache had left rules").count(), 1, "{said}");
    assert_eq!(said.matches("rules without a comment").count(), 1, "{said}");
    assert_eq!(kind.rules(&machine), foreign);
}

#[test]
fn without_rules_there_are_addresses_and_nothing_else() {
    if !possible() {
        return;
    }
    let machine = Machine::new(&[]);
    let state = || output(&machine, "ip", "-o addr") + &nft(&machine, "list ruleset");
    let before = state();
    let process = Process::start(&mut old_node(&machine, Kind::Legacy, &["--rules=off"])).serving();
    let mut status = machine.outlast();
    status.args(["ctl", "status"]).env("OUTLAST_CONTROL", machine.path("control"));
    process.wait_for("its status", |_| {
        let (_, said, _) = run(&mut status);
        said.contains("10.96.0.10, 169.254.20.10: on this node, and nothing").then_some(())
    });
    assert_eq!(nft(&machine, "list ruleset"), "");
    assert_eq!(Kind::Legacy.rules(&machine), [""; 0]);
    let server = format!("{LOCAL}:53").parse().unwrap();
    let answer = machine.inside(|| ask(server, &Query::a("kube-dns.kube-system.svc.cluster.local.")));
    assert_eq!(answer.unwrap().answers().len(), 1);
    output(&machine, "ip", "addr del 169.254.20.10/32 dev lo");
    process.wait_for("the address", |_| output(&machine, "ip", "-o addr").contains(LOCAL).then_some(()));
    stop(process);
    assert_eq!(state(), before);
}

#[test]
fn an_end_waits_for_no_program_that_makes_what_is_to_be_deleted() {
    if !possible() {
        return;
    }
    let (machine, kind) = (Machine::new(&[]), Kind::Legacy);
    // Who looks for a rule waits for ever once this file is there, and says so.
    let (hang, hangs) = (machine.path("hang"), machine.path("hangs"));
    let wrapper = format!(
        "#!/bin/sh\ncase \"$*\" in *' -C '*) [ -e {} ] && touch {} && exec sleep 600;; esac\nexec {}/iptables \"$@\"\n",
        hang.display(),
        hangs.display(),
        kind.folder(&machine).display(),
    );
    machine.write("wrapped/iptables", &wrapper);
    let program = machine.path("wrapped/iptables");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = old_node(&machine, kind, &["--rules=iptables", "--look-every=1h"]);
    let others = std::env::var_os("PATH").unwrap_or_default();
    let folders = [machine.path("wrapped")].into_iter().chain(std::env::split_paths(&others));
    let process = Process::start(command.env("PATH", std::env::join_paths(folders).unwrap()));
    led_here(&process);
    assert_eq!(sorted(kind.rules(&machine)), of_all(&[SERVICE, LOCAL]));
    std::fs::write(&hang, "").unwrap();
    process.wait_for("a program that hangs", |_| hangs.exists().then_some(()));
    let said = stop(process);
    assert!(!said.contains("has not ended after"), "it was not waited for: {said}");
    assert!(!said.contains("cannot be put back") && !said.contains("failed"), "nothing is wrong: {said}");
    assert_eq!(kind.rules(&machine), [""; 0]);
}

/// Has the program of a command meet a kernel without nftables.
fn without_nftables(machine: &Machine, command: &mut Command) {
    let library = machine.path("no_nftables.so");
    let mut compiler = Command::new(program("cc"));
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library);
    compiler.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/net/no_nftables.c")).arg("-ldl");
    let (code, _, error) = run(&mut compiler);
    assert_eq!(code, 0, "{error}");
    command.env("LD_PRELOAD", library);
}

#[test]
fn a_kernel_without_nftables_has_those_of_iptables_or_says_what_is_missing() {
    if !possible() || !there(&["cc"]) {
        return;
    }
    let (machine, kind) = (Machine::new(&[]), Kind::Legacy);
    let mut command = old_node(&machine, kind, &[]);
    without_nftables(&machine, &mut command);
    let process = Process::start(&mut command);
    led_here(&process);
    assert_eq!(sorted(kind.rules(&machine)), of_all(&[SERVICE, LOCAL]));
    let said = stop(process);
    assert!(said.contains("rules=\"iptables\"") || said.contains("rules=iptables"), "{said}");
    assert_eq!(kind.rules(&machine), [""; 0]);

    let before = output(&machine, "ip", "-o addr");
    for (flags, want) in [
        (&[][..], "the kernel has no nftables, and there is no program iptables"),
        (&["--rules=nftables"][..], "the kernel has no nftables"),
        (&["--rules=iptables"][..], "there is no program iptables"),
        (&["--rules=off", "--accept=iptables"][..], "only go with rules that lead them here"),
    ] {
        let mut command = node(&machine, &["--local-ip=10.96.0.10,169.254.20.10"]);
        without_nftables(&machine, command.args(flags));
        // `nsenter` finds the program by its path, which is absolute.
        command.env("PATH", std::path::Path::new(&program("nsenter")).parent().unwrap());
        let (code, _, error) = run(&mut command);
        assert!(code == 2 && error.contains(want), "{flags:?}: {code}: {error}");
        assert_eq!(output(&machine, "ip", "-o addr"), before, "{flags:?}");
    }
}
