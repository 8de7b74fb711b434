//! One hub and its followers: how soon the last of them has a change, and what the hub spends on it.
//!
//! The hub is a process of its own, so that its processor time and memory are its own; the API server stand-in and the
//! followers are in this one. Each follower has its own connection within TLS and runs what nodes run; most share what
//! is behind it (`testkit::followers`), twenty have a table of their own. Everything is on this machine: times are of one
//! clock, and what the followers and the stand-in need of the processors is in them.
//!
//! `cargo bench --bench fanout` (10,000 services / 100,900 endpoints, 1,000 and 5,000 followers, 100 changes a second for
//! a minute); `-- --quick` for a tenth of it; `-- --followers N[,N] --seconds S --rate R`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark")]

#[path = "fanout/arguments.rs"]
mod arguments;
#[path = "fanout/changes.rs"]
mod changes;
#[path = "fanout/hub.rs"]
mod hub;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use outlast::drill::cluster::Cluster;
use outlast::drill::standin::{Config, Standin, seed};
use outlast::testkit::certs::{Ca, IdentityFolder};
use outlast::testkit::followers::{Crowd, Setup, truth};
use outlast::trust::config::TrustConfig;
use outlast::trust::name::Role;

use arguments::Arguments;
use hub::Hub;
use support::memory::megabytes;
use support::{Figures, grouped};

/// Followers with a table of their own.
const FULL: usize = 20;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long things are left alone before memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    let arguments = Arguments::read().unwrap_or_else(|wrong| {
        println!("{wrong}");
        std::process::exit(2);
    });
    let standin = Standin::start(Config::default()).await.unwrap();
    let cluster = Cluster::sized(arguments.services, arguments.endpoints).possible().unwrap();
    seed::cluster(standin.etcd(), cluster, |_| ()).unwrap();
    let mut joining = Figures::new([
        "followers",
        "in sync after",
        "sent away",
        "hub CPU",
        "hub RSS before",
        "with them",
        "a follower",
    ]);
    let mut fanout = Figures::new([
        "followers",
        "to the last, p50",
        "p99",
        "largest",
        "bytes a follower and change",
        "of JSON watches",
        "hub CPU",
        "hub RSS",
        "peak",
        "tables right",
    ]);
    for followers in &arguments.followers {
        run(&arguments, &standin, *followers, &mut joining, &mut fanout).await;
    }
    let size = format!(
        "{} services, {} endpoints",
        grouped(arguments.services as u64),
        grouped(arguments.endpoints as u64)
    );
    joining.print(&format!(
        "{size}: followers that join from nothing, all at once (target: 1,000 within 60 s, nobody sent away, 120 MB and 30 kB \
         a follower)"
    ));
    fanout.print(&format!(
        "{} changes a second for {} s (target: p99 below 1 s to the last of 1,000)",
        arguments.rate, arguments.seconds
    ));
}

/// Measures one hub with so many followers, and adds rows.
async fn run(
    arguments: &Arguments,
    standin: &Standin,
    followers: usize,
    joining: &mut Figures,
    fanout: &mut Figures,
) {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let (identity, node) = (IdentityFolder::real(&ca, Role::Hub), IdentityFolder::real(&ca, Role::Node));
    let hub = Hub::start(standin, dir.path(), &identity);
    hub.until_live().await;
    tokio::time::sleep(SETTLE).await;
    let before = hub.spent();
    let setup =
        Setup { hubs: vec![hub.address], trust: TrustConfig::Tls(node.files()), headless_only: false };
    let crowd = Crowd::start(&setup, followers.saturating_sub(FULL), FULL);
    let joined = crowd.until("all are in sync", PATIENCE, Crowd::all_proved).await.unwrap();
    tokio::time::sleep(SETTLE).await;
    let with = hub.spent();
    joining.row([
        grouped(followers as u64),
        format!("{:.1} s", joined.as_secs_f64()),
        format!("{:.0}", crowd.left().abs()),
        format!("{:.1} s", (with.cpu - before.cpu).as_secs_f64()),
        megabytes(before.memory.now),
        megabytes(with.memory.now),
        format!(
            "{:.1} kB",
            with.memory.now.saturating_sub(before.memory.now) as f64 / 1e3 / followers as f64
        ),
    ]);

    let made = changes::make(standin, &crowd, arguments.rate, arguments.seconds).await;
    let truth = truth(standin.etcd());
    let all = |crowd: &Crowd| crowd.at(&truth) == crowd.len() && made.has_come(crowd);
    let right = crowd.until("all have what there is", PATIENCE, all).await;
    let spent = hub.spent();
    let latencies = made.latencies(&crowd);
    let bytes = (spent.sent - with.sent) / (followers * made.count()) as f64;
    let row = [
        grouped(followers as u64),
        support::millis(latencies.at(0.5)),
        support::millis(latencies.at(0.99)),
        support::millis(latencies.at(1.0)),
        format!("{bytes:.0} B"),
        format!("{} B", made.bytes_of_a_watch(standin) / made.count()),
        format!("{:.1} s", (spent.cpu - with.cpu).as_secs_f64()),
        megabytes(spent.memory.now),
        megabytes(spent.memory.peak),
        match right {
            Ok(_) => format!("{} of {}", crowd.at(&truth), crowd.len()),
            Err(late) => late,
        },
    ];
    fanout.row(row);
    if crowd.left() > 0.0 {
        println!("{} of {followers} followers left the hub at some time", crowd.left());
    }
}
