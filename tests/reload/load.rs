//! The process under load.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use outlast::testkit::client::Query;

use super::client::Asking;
use super::fixture::{Place, free, late};
use super::process::{Process, outlast};

/// How many times the configuration is exchanged.
const RELOADS: usize = 20;

/// How many times a process takes over from another.
const SUCCESSORS: usize = 3;

/// Clients that ask meanwhile for what has to be waited for.
const LATE_CLIENTS: usize = 24;

/// Answers that each client has to have got between two reloads: all of them are at work.
const BETWEEN: u64 = 20;

/// The configuration of a round: all that can change of a listener that stays, of a block, of the faces, and what is
/// asked of the cluster's data. What it does not have it forwards.
fn corefile(place: &Place, upstream: SocketAddr, round: usize) -> String {
    let pick = |of: &[&str]| of[round % of.len()].to_owned();
    let lines = [
        "bind 127.0.0.1".to_owned(),
        pick(&["", "bind 127.0.0.2"]),
        pick(&["multisocket 1", "multisocket 4", "multisocket 2"]),
        pick(&["", "timeouts {\n idle 1h\n }"]),
        pick(&["loadbalance", "", "errors\n log nothing.example"]),
        pick(&[
            "prometheus 127.0.0.1:0",
            "health 127.0.0.1:0",
            "ready 127.0.0.1:0 {\n monitor continuously\n }",
        ]),
        place.kubernetes(&pick(&[
            "ttl 30",
            "ttl 20",
            "ttl 10\n stale_after 40s",
            "ttl 10\n snapshot_interval 5m",
        ])),
        format!("forward . {upstream}"),
    ];
    format!(".:0 {{\n {}\n}}\n", lines.join("\n "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_lost_in_twenty_reloads() {
    let (place, upstream) = (Place::new(), late().await);
    place.write("Corefile", &corefile(&place, upstream.addr(), 0));
    let process = Process::start(outlast().args(["node", "--conf"]).arg(place.path("Corefile")));
    let dns = process.dns();
    process.wait_for("the data", |p| p.output().contains("cluster data is live").then_some(()));
    let clients = [
        Asking::udp(dns),
        Asking::udp(dns),
        Asking::late(dns),
        Asking::late(dns),
        Asking::tcp(dns),
        Asking::tcp(dns),
        Asking::connections(dns),
    ];
    for round in 1..=RELOADS {
        let before: Vec<_> = clients.iter().map(Asking::answers).collect();
        place.write("Corefile", &corefile(&place, upstream.addr(), round));
        process.signal(Signal::SIGUSR1);
        process.wait_for("the reload", |p| {
            (p.output().matches("Reloading complete").count() == round).then_some(())
        });
        process.wait_for("answers to all clients", |_| {
            let all = clients.iter().zip(&before);
            all.into_iter().all(|(client, before)| client.answers() >= before + BETWEEN).then_some(())
        });
    }
    for (at, client) in clients.into_iter().enumerate() {
        let (answers, wrong) = client.stop();
        assert_eq!(wrong, None, "client {at} after {answers} answers\n{}", process.output());
    }
    let output = process.output();
    let (_, since) = output.split_once("Reloading").unwrap();
    assert!(!since.contains("cluster data"), "its state never changes: {output}");
    process.signal(Signal::SIGTERM);
    let (code, output) = process.wait();
    assert!(code == 0 && output.contains("stopped"), "{output}");
}

/// A restart: the next process is there before the one before it is told to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_lost_where_a_successor_takes_over() {
    let (place, upstream, at) = (Place::new(), late().await, free());
    let (kubernetes, upstream) = (place.kubernetes(""), format!("forward . {}", upstream.addr()));
    let lines = format!("bind 127.0.0.1\n multisocket 2\n {kubernetes}\n {upstream}");
    place.write("Corefile", &format!(".:{} {{\n {lines}\n}}\n", at.port()));
    let start = || Process::start(outlast().args(["node", "--conf"]).arg(place.path("Corefile"))).serving();
    let mut process = start();
    // A successor answers from it until it has the data itself.
    process.wait_for("a snapshot", |_| {
        let mut files = std::fs::read_dir(place.path("snapshots")).ok()?;
        files
            .any(|file| file.is_ok_and(|file| file.path().extension().is_some_and(|e| e == "snap")))
            .then_some(())
    });
    let clients = [(); LATE_CLIENTS].map(|()| Asking::late(at)).into_iter().chain([Asking::udp(at)]);
    let clients: Vec<_> = clients.collect();
    for _ in 1..=SUCCESSORS {
        let successor = start();
        process.signal(Signal::SIGTERM);
        let (code, output) = process.wait();
        assert!(code == 0 && output.contains("stopped"), "{output}");
        process = successor;
    }
    for (at, client) in clients.into_iter().enumerate() {
        let (answers, wrong) = client.stop();
        assert_eq!(wrong, None, "client {at} after {answers} answers");
    }
}

/// One signal after the other: each is heard, and the last text is what runs.
#[test]
fn signals_that_come_too_fast_are_not_too_many() {
    let place = Place::new();
    let at = free();
    let corefile = |ttl: usize| {
        format!(".:{} {{\n bind 127.0.0.1\n {}\n}}\n", at.port(), place.kubernetes(&format!("ttl {ttl}")))
    };
    place.write("Corefile", &corefile(5));
    let process = Process::start(outlast().args(["node", "--conf"]).arg(place.path("Corefile")));
    process.wait_for("the data", |p| p.output().contains("cluster data is live").then_some(()));
    for ttl in 6..=60 {
        place.write("Corefile", &corefile(ttl));
        process.signal(Signal::SIGUSR1);
    }
    let query = Query::a(super::fixture::WEB);
    process.ask_until("the last text", &query, |answer| {
        // Less the jitter of TTLs, which takes a fifth at most.
        answer.message.answers.first().is_some_and(|record| record.ttl >= 48)
    });
}
