//! Rules of iptables that let packets through firewalls: kept beside the beat, whoever has the xtables lock.

use std::fs::File;
use std::time::{Duration, Instant};

use super::clients::turn;
use super::machine::Machine;
use super::old_node::{besides, led_here, metric, old_node, stop};
use super::old_rules::{Kind, of_all, there_are_both};
use super::process::Process;
use super::world::{LOCAL, SERVICE, nft, possible_with_tables};

fn possible() -> bool {
    possible_with_tables() && there_are_both()
}

/// The rules of both addresses.
fn accepting() -> Vec<String> {
    of_all(&[SERVICE, LOCAL]).into_iter().filter(|rule| rule.starts_with("filter ")).collect()
}

/// The lock, as somebody has it who changes rules for long.
fn xtables_lock(machine: &Machine) -> File {
    let lock = File::create(machine.path("run/xtables.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

/// For how long the lock is held: a program waits for it for five seconds.
const HELD: Duration = Duration::from_secs(7);

/// So long that there are several looks, at one a second.
const LOOKS: Duration = Duration::from_secs(4);

#[test]
fn who_has_the_lock_for_seconds_keeps_no_beat_waiting() {
    let _turn = turn();
    if !possible() {
        return;
    }
    let (machine, kind) = (Machine::new(&[]), Kind::Legacy);
    let flags = ["--accept=iptables", "--look-every=1s", "--extra-metrics-address=127.0.0.1:9353"];
    let process = Process::start(&mut old_node(&machine, kind, &flags));
    led_here(&process);
    assert_eq!(besides(kind.rules(&machine), &[]), accepting());
    let skipped = || metric(&machine, r#"outlast_interception_skipped_beats_total{reason="rules"}"#);
    let skipped_before = skipped();
    let lock = xtables_lock(&machine);
    kind.give_past_the_lock(&machine, "iptables", &["-D", "INPUT", "1"]);
    let (began, mut looks, mut dead) = (Instant::now(), 0, 0);
    while began.elapsed() < HELD {
        let live = nft(&machine, "list set ip outlast live");
        looks += 1;
        dead += usize::from(!live.contains(SERVICE) || !live.contains(LOCAL));
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("of {looks} looks within {} s, {dead} saw an address that did not live", HELD.as_secs());
    // A machine that is busy with other tests may keep a beat waiting, and nothing else may.
    assert!(dead <= looks / 4, "elements expired while somebody had the lock: {dead} of {looks}");
    assert_eq!(skipped(), skipped_before);
    assert!(besides(kind.rules(&machine), &[]) != accepting(), "nobody could put it back");
    drop(lock);
    process.wait_for("that it is back", |_| (kind.rules(&machine).len() == accepting().len()).then_some(()));
    assert_eq!(besides(kind.rules(&machine), &[]), accepting());
    process.wait_for("that it is counted", |_| {
        (metric(&machine, r#"outlast_net_repairs_total{what="iptables"}"#) == 1.0).then_some(())
    });
    assert!(metric(&machine, r#"coredns_nodecache_setup_errors_total{errortype="iptables_lock"}"#) > 0.0);
    for reason in ["rules", "listener", "readiness", "udp_probe", "tcp_probe"] {
        let series = format!(r#"outlast_interception_withdrawals_total{{reason="{reason}"}}"#);
        assert_eq!(metric(&machine, &series), 0.0, "{reason}");
    }
    let said = stop(process);
    assert!(said.contains("looking for the rules that let queries through firewalls failed"), "{said}");
    assert!(said.contains("somebody took it away, put back"), "{said}");
    assert_eq!(kind.rules(&machine), [""; 0]);
}

#[test]
fn nothing_is_led_here_before_firewalls_let_it_through() {
    if !possible() {
        return;
    }
    let (machine, kind) = (Machine::new(&[]), Kind::Legacy);
    let lock = xtables_lock(&machine);
    let process = Process::start(&mut old_node(&machine, kind, &["--accept=iptables"]));
    process.wait_for("a complaint", |p| p.output().contains("(the xtables lock)").then_some(()));
    assert!(!process.output().contains("queries are led here"), "{}", process.output());
    assert!(!nft(&machine, "list set ip outlast live").contains("elements"));
    drop(lock);
    led_here(&process);
    assert_eq!(besides(kind.rules(&machine), &[]), accepting());
    stop(process);
    assert_eq!(kind.rules(&machine), [""; 0]);
}

#[test]
fn who_comes_looks_for_them_and_makes_them_once_the_addresses_are_its_own() {
    if !possible() {
        return;
    }
    let (machine, kind) = (Machine::new(&[]), Kind::Legacy);
    let old = Process::start(&mut old_node(&machine, kind, &[]));
    led_here(&old);
    let lock = xtables_lock(&machine);
    let control = format!("--control={}", machine.path("control-2").display());
    let new = Process::start(&mut old_node(&machine, kind, &["--accept=iptables", &control]));
    new.wait_for("a complaint", |p| p.output().contains("(the xtables lock)").then_some(()));
    assert!(!new.output().contains("this process has the addresses"), "it knows nothing yet");
    assert!(!old.output().contains("another process has the addresses"));
    drop(lock);
    led_here(&new);
    assert_eq!(besides(kind.rules(&machine), &[]), accepting());
    stop(old);
    assert_eq!(besides(kind.rules(&machine), &[]), accepting(), "they are not its own");
    stop(new);
    assert_eq!(kind.rules(&machine), [""; 0]);
}

#[test]
fn what_a_firewall_that_begins_anew_takes_away_is_back_without_a_look() {
    if !possible() {
        return;
    }
    for kind in Kind::BOTH {
        let machine = Machine::new(&[]);
        let flags = ["--accept=iptables", "--look-every=1h", "--extra-metrics-address=127.0.0.1:9353"];
        let process = Process::start(&mut old_node(&machine, kind, &flags));
        led_here(&process);
        for (program, arguments) in
            [("iptables", &["-F"][..]), ("ip6tables", &["-F"]), ("iptables", &["-F", "OUTPUT"])]
        {
            let began = Instant::now();
            kind.give(&machine, program, arguments);
            process.wait_for("that they are back", |_| {
                (besides(kind.rules(&machine), &[]) == accepting()).then_some(())
            });
            println!("{kind:?}: back {} ms after {program} {arguments:?}", began.elapsed().as_millis());
        }
        stop(process);
    }
}

#[test]
fn firewalls_of_iptables_are_passed_where_that_is_wanted() {
    if !possible() {
        return;
    }
    let (machine, kind) = (Machine::new(&[]), Kind::Nft);
    kind.give(&machine, "iptables", &["-P", "INPUT", "DROP"]);
    // Probes come from the node itself.
    kind.give(&machine, "iptables", &["-A", "INPUT", "-i", "lo", "-j", "ACCEPT"]);
    let foreign = kind.rules(&machine);
    let plain = Process::start(&mut old_node(&machine, kind, &[]));
    led_here(&plain);
    let said = stop(plain);
    assert!(said.contains("--accept iptables sees to"), "{said}");
    let flags = ["--accept=iptables", "--look-every=1s", "--extra-metrics-address=127.0.0.1:9353"];
    let process = Process::start(&mut old_node(&machine, kind, &flags));
    led_here(&process);
    let accepting = accepting();
    assert_eq!(besides(kind.rules(&machine), &foreign), accepting);
    assert!(nft(&machine, "list tables").contains("table ip outlast"));
    kind.give(&machine, "iptables", &["-D", "INPUT", "1"]);
    process.wait_for("that it is back", |_| {
        (besides(kind.rules(&machine), &foreign) == accepting).then_some(())
    });
    // Over several looks they are neither node-cache's to us nor missing again.
    let began = Instant::now();
    while began.elapsed() < LOOKS {
        assert_eq!(besides(kind.rules(&machine), &foreign), accepting);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(metric(&machine, "outlast_net_leftovers_total"), 0.0);
    assert_eq!(metric(&machine, r#"outlast_net_repairs_total{what="iptables"}"#), 1.0);
    let said = stop(process);
    assert!(!said.contains("this chain drops what it does not know"), "{said}");
    assert_eq!(kind.rules(&machine), foreign);
}
