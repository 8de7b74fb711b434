//! What others do is heard, and what is not about us is not.

use std::time::Duration;

use outlast::net::layout::FLOWS;
use outlast::net::layout::Layout;
use outlast::net::nft::Nft;
use outlast::net::watch::{Hint, Watch};

use super::machine::Machine;
use super::world::{SERVICE, inside, ips, nft, output, possible_with_tables};

/// How long something may take until it is heard: only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn what_is_done_to_tables_links_and_addresses_is_heard() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    output(&machine, "ip", "link add nodelocaldns type bridge");
    output(&machine, "ip", "link add other type bridge");
    output(&machine, "ip", "addr add 10.96.0.10/32 dev nodelocaldns");
    let layout = Layout::new(&ips(&[SERVICE]), &[], 53, FLOWS);
    nft(
        &machine,
        "add table inet kubeproxy; add set inet kubeproxy services { type ipv4_addr; }; add chain inet kubeproxy a",
    );
    inside(&machine, async || {
        Nft::connect().await.unwrap().install(&layout, &[]).await.unwrap();
        let mut watch = Watch::subscribe("nodelocaldns", &ips(&[SERVICE])).await.unwrap();
        for (deed, want) in [
            ("nft flush chain ip outlast pre", Hint::Rules),
            ("nft delete element ip outlast ours { 10.96.0.10 }", Hint::Rules),
            ("ip addr del 10.96.0.10/32 dev nodelocaldns", Hint::Links),
            ("ip link del nodelocaldns", Hint::Links),
            ("nft delete table ip outlast", Hint::Rules),
        ] {
            // What is nobody's business comes first: it would be heard first.
            for quiet in [
                "nft add element ip outlast live { 10.96.0.10 timeout 1s }",
                "nft add element inet kubeproxy services { 10.96.0.10 }",
                "nft add rule inet kubeproxy a accept",
                "nft flush set inet kubeproxy services",
                "ip addr add 192.168.7.1/32 dev other",
                "ip addr del 192.168.7.1/32 dev other",
            ] {
                perform(&machine, quiet);
            }
            perform(&machine, deed);
            let mut heard = Vec::new();
            let first = tokio::time::timeout(PATIENCE, watch.next()).await;
            heard.push(first.unwrap_or_else(|_| panic!("{deed}: nothing was heard")));
            // One deed may be many events.
            while let Ok(hint) = tokio::time::timeout(Duration::from_millis(100), watch.next()).await {
                heard.push(hint);
            }
            assert!(heard.iter().all(|hint| *hint == want), "{deed}: {heard:?}");
        }
    });
}

/// Does something by a program.
fn perform(machine: &Machine, deed: &str) {
    let (program, arguments) = deed.split_once(' ').unwrap();
    match program {
        "nft" => drop(nft(machine, arguments)),
        _ => drop(output(machine, program, arguments)),
    }
}
