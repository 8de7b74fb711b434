//! The node beside its peers: what a query costs each of them, in one run on one machine; and what a query of the node
//! takes while its data changes.
//!
//! The servers, each a process of its own and started anew in each round:
//!
//! * **node**: `outlast node` with the Corefile that kubeadm writes, following an API server stand-in;
//! * **limit**: recvmmsg, a hash lookup of the question's bytes, sendmmsg; what the kernel alone costs;
//! * **hickory**: hickory-server over a hash map of names;
//! * **unbound**, where it is installed: a forwarder that has all names in its cache.
//!
//! Load comes from dnsperf (8 clients, 100 queries outstanding), whose queries a server's processor time is divided
//! by. Latencies come from a client of our own at a fixed rate: from just before a query is sent to the moment at which
//! the kernel has the reply, so that the time that the client itself needs to get a processor is not in them.
//! Answers are compared with what the cluster's plan says before a server is measured, and their codes counted after.
//!
//! `cargo bench --bench serve` (10,000 services / 100,900 endpoints, five rounds, about half an hour); `-- --quick` for a
//! tenth of the cluster, one round. `-- --load` or `-- --churn` for one part; `--rounds N`, `--seconds S` (of one
//! measurement), `--rate R` (queries a second for latencies), `--changes C` (a second), `--services N`,
//! `--endpoints M`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark")]

#[path = "serve/arguments.rs"]
mod arguments;
#[path = "serve/ask.rs"]
mod ask;
#[path = "serve/churn.rs"]
mod churn;
#[path = "serve/dnsperf.rs"]
mod dnsperf;
#[allow(dead_code, reason = "the bench of a flood uses more of it")]
#[path = "serve/latency.rs"]
mod latency;
#[path = "serve/load.rs"]
mod load;
#[path = "serve/questions.rs"]
mod questions;
#[path = "serve/samples.rs"]
mod samples;
#[path = "serve/servers/mod.rs"]
mod servers;
#[path = "support/mod.rs"]
mod support;

use std::process::exit;

use arguments::{Arguments, Role};
use questions::Questions;
use servers::standin::Standin;
use servers::{Setup, hickory, limit, standin};

fn main() {
    let arguments = Arguments::read().unwrap_or_else(|wrong| {
        println!("{wrong}");
        exit(2);
    });
    match &arguments.role {
        Role::Bench => {}
        Role::Limit(place, zone) => return limit::serve(zone, *place),
        Role::Hickory(zone) => return hickory::serve(zone),
        Role::Standin(kubeconfig) => return standin::serve(kubeconfig, arguments.cluster()),
    }
    // What is started ends when this returns, also with an error or a panic.
    if let Err(why) = run(&arguments) {
        println!("{why}");
        exit(1);
    }
}

/// Measures, and prints.
fn run(arguments: &Arguments) -> Result<(), String> {
    let dnsperf = dnsperf::find()?;
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let questions = Questions::of(arguments.cluster());
    let standin = Standin::start(dir.path(), arguments)?;
    let setup = Setup::new(dir.path(), &questions, &standin)?;
    if arguments.load {
        load::measure(arguments, &dnsperf, &questions, &setup)?;
    }
    if arguments.churn {
        churn::measure(arguments, &questions, &setup, standin)?;
    }
    Ok(())
}
