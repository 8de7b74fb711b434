//! What somebody takes away from a node is back within a second, counted and said; what is not ours stays as it is.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::clients::{By, turn, while_asking};
use super::lan::{Lan, script};
use super::world::ALL;

/// How long anything may be missing.
const PROMISE: Duration = Duration::from_secs(1);

/// How long that is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often each client asks.
const EVERY: Duration = Duration::from_millis(50);

/// Between two deeds, so that they are no fight.
const REST: Duration = Duration::from_millis(400);

/// Takes all addresses of IPv4 from the loopback, and those of IPv6 that nobody is to choose; puts back what was there
/// before the program.
const LOOPBACK: &str = "ip -4 addr flush dev lo; ip -6 addr flush dev lo deprecated; \
    ip addr add 127.0.0.1/8 dev lo; ip addr add 192.168.7.1/32 dev lo";

/// Between links and rules.
const RULER: &str = "====";

/// Something that somebody does: how, what is counted, and how it is named.
const DEEDS: [(&str, &str, &str); 17] = [
    ("ip addr del 10.96.0.10/32 dev lo", "address", "address 10.96.0.10"),
    ("ip addr del 169.254.20.10/32 dev lo", "address", "address 169.254.20.10"),
    ("ip addr del fd00:96::a/128 dev lo", "address", "address fd00:96::a"),
    ("ip addr del fd00:20::10/128 dev lo", "address", "address fd00:20::10"),
    (LOOPBACK, "address", "address"),
    ("nft delete table ip outlast", "table", "table ip outlast"),
    ("nft delete table ip6 outlast", "table", "table ip6 outlast"),
    ("(echo flush ruleset; cat kubeproxy.nft) | nft -f -", "table", "table"),
    ("nft flush chain ip outlast pre", "rule", "rules of chain ip outlast pre"),
    ("nft flush chain ip6 outlast out", "rule", "rules of chain ip6 outlast out"),
    ("nft flush chain ip outlast tcp-any", "rule", "rules of chain ip outlast tcp-any"),
    ("nft flush chain ip6 outlast nat-pre", "rule", "rules of chain ip6 outlast nat-pre"),
    ("nft flush chain ip outlast fallback", "rule", "rules of chain ip outlast fallback"),
    (
        "nft delete rule ip outlast out handle \
         $(nft -a list chain ip outlast out | sed -n 's/.*sport 53.*handle //p' | head -n 1)",
        "rule",
        "rules of chain ip outlast out",
    ),
    ("nft add rule ip6 outlast nat-post accept", "rule", "rules of chain ip6 outlast nat-post"),
    ("nft flush set ip outlast ours", "set", "set ip outlast ours"),
    // Filled by the next beat: nothing has to be put back.
    ("nft flush set ip outlast live; nft flush set ip6 outlast live", "", ""),
];

/// All that stays as it is on the node, in an order of its own; and how many addresses are led here just now.
fn state(lan: &Lan) -> (Vec<String>, usize) {
    let links = "ip -o addr; ip -o link; ip route; ip -6 route";
    let text = script(&lan.node, &format!("{links}; echo {RULER}; nft list ruleset"));
    let (links, rules) = text.split_once(RULER).unwrap();
    let mut all: Vec<_> = links.lines().map(str::to_owned).collect();
    let (mut set, mut lasting, mut led) = ("", String::new(), 0);
    for line in rules.lines() {
        set = line.strip_prefix("\tset ").unwrap_or(set);
        if !line.contains(" expires ") {
            lasting.extend([line, "\n"]);
        } else if set == "live {" {
            led += ALL.iter().filter(|address| line.contains(&format!("{address} timeout"))).count();
        }
    }
    // A table that is made anew is the last one.
    all.extend(lasting.split("\n}\n").map(str::to_owned));
    all.sort();
    (all, led)
}

/// Waits until everything is as it was, and all addresses are led here: how long each of these took since the beginning.
fn as_before(lan: &Lan, before: &[String], began: Instant) -> [Duration; 2] {
    let mut put_back = None;
    loop {
        let (now, led) = state(lan);
        let took = began.elapsed();
        if now == before {
            let put_back = *put_back.get_or_insert(took);
            if led == ALL.len() {
                return [put_back, took];
            }
        }
        let lines = |of: &[String], but: &[String]| -> Vec<String> {
            of.iter().filter(|line| !but.contains(line)).cloned().collect()
        };
        let (missing, strange) = (lines(before, &now), lines(&now, before));
        assert!(took < PATIENCE, "missing {missing:#?}, strange {strange:#?}, {led} are led here");
    }
}

#[test]
fn whatever_is_taken_away_is_back_within_a_second_counted_and_said() {
    let _turn = turn();
    let Some(lan) = Lan::new() else { return };
    lan.node.write("kubeproxy.nft", include_str!("kubeproxy.nft"));
    let mut process = lan.start("");
    let (before, _) = state(&lan);
    let withdrawals = || lan.metric("outlast_interception_withdrawals_total", "");
    let (heard, ()) = while_asking(&lan.clients(&["pod-a"]), EVERY, || {
        for (deed, what, name) in DEEDS {
            let label = format!("what=\"{what}\"");
            let count =
                || if what.is_empty() { 0.0 } else { lan.metric("outlast_net_repairs_total", &label) };
            let (counted, withdrawn) = (count(), withdrawals());
            let began = Instant::now();
            script(&lan.node, &format!("cd {}; {deed}", lan.node.path("").display()));
            let done = began.elapsed();
            let [put_back, led] = as_before(&lan, &before, began);
            let [done_ms, back_ms, led_ms] = [done, put_back, led].map(|time| time.as_millis());
            println!("done {done_ms:3}, put back {back_ms:4}, led here {led_ms:4} ms  {deed}");
            assert!(put_back <= done + PROMISE, "{deed}: put back after {back_ms} ms");
            // A machine that is busy with other tests may be the reason of a withdrawal, which lasts for seconds.
            assert!(led <= done + PROMISE || withdrawals() > withdrawn, "{deed}: led here after {led_ms} ms");
            if !what.is_empty() {
                process.wait_for("it is counted", |_| (count() > counted).then_some(()));
                let said = |line: &&str| line.contains("put back") && line.contains(name);
                process.wait_for(name, |p| p.output().lines().find(said).map(drop));
            }
            std::thread::sleep(REST);
        }
    });
    // Who asks meanwhile is answered, by somebody.
    for heard in &heard {
        let lost = heard.sent.iter().filter(|sent| sent.by.is_none()).count();
        let elsewhere = heard.sent.iter().filter(|sent| sent.by == Some(By::Cluster)).count();
        let (client, sent) = (heard.client.name(), heard.sent.len());
        println!("{client}  {sent} sent, {elsewhere} answered by the cluster's DNS, {lost} lost");
    }
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
}
