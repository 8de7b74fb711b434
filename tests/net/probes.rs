//! Probes: they ask this machine and nobody else, whatever rules others have.

use std::net::SocketAddr;
use std::time::Duration;

use outlast::net::nft::Nft;
use outlast::net::probe::{Told, probe};
use outlast::ops::pulse::Part;
use outlast::testkit::client::{Client, Query};
use outlast::testkit::node::TestNode;

use super::machine::Machine;
use super::world::{LOCAL, SERVICE, inside, ips, layout, nft, possible_with_tables};

/// How long a probe may take here: only a failure waits for it.
const LIMIT: Duration = Duration::from_secs(5);

/// How long one may take that is not answered.
const SHORT: Duration = Duration::from_millis(200);

/// Answers at both addresses.
const COREFILE: &str = ".:53 {\n bind 10.96.0.10 169.254.20.10\n whoami\n}";

fn at(addresses: &[&str]) -> Vec<SocketAddr> {
    ips(addresses).into_iter().map(|address| SocketAddr::new(address, 53)).collect()
}

fn machine() -> Machine {
    Machine::new(&["10.96.0.10/32", "10.96.0.11/32", "169.254.20.10/32"])
}

#[test]
fn who_answers_is_told_from_who_does_not() {
    if !possible_with_tables() {
        return;
    }
    inside(&machine(), async || {
        let all = at(&[SERVICE, LOCAL]);
        assert_eq!(probe(&all, Told::ByMark, LIMIT).await, Some((all[0], Part::Udp)), "nobody is there");
        let node = TestNode::start(COREFILE);
        assert_eq!(probe(&all, Told::ByMark, LIMIT).await, None);
        let other = at(&["127.0.0.1"])[0];
        assert_eq!(probe(&[all[1], other, all[0]], Told::ByMark, SHORT).await, Some((other, Part::Udp)));
        node.stop().await;
        // Who listens and does not read.
        let deaf = at(&["10.96.0.11"]);
        let _udp = std::net::UdpSocket::bind(deaf[0]).unwrap();
        let _tcp = std::net::TcpListener::bind(deaf[0]).unwrap();
        assert_eq!(probe(&deaf, Told::ByMark, SHORT).await, Some((deaf[0], Part::Udp)));
    });
}

#[test]
fn an_unread_connection_is_a_probe_that_was_not_answered() {
    if !possible_with_tables() {
        return;
    }
    inside(&machine(), async || {
        let address = at(&[SERVICE]);
        let udp = tokio::net::UdpSocket::bind(address[0]).await.unwrap();
        let _tcp = std::net::TcpListener::bind(address[0]).unwrap();
        let answer = async {
            let mut packet = [0; 512];
            let (len, from) = udp.recv_from(&mut packet).await.unwrap();
            packet[2] |= 0x80;
            udp.send_to(&packet[..len], from).await.unwrap();
        };
        let (found, ()) = tokio::join!(probe(&address, Told::ByMark, SHORT), answer);
        assert_eq!(found, Some((address[0], Part::Tcp)));
    });
}

#[test]
fn a_probe_asks_this_machine_also_where_queries_go_elsewhere() {
    if !possible_with_tables() {
        return;
    }
    let machine = machine();
    inside(&machine, async || {
        let node = TestNode::start(COREFILE);
        let all = at(&[SERVICE, LOCAL]);
        let asked = async |address| Client::new(address).udp(&Query::a("x.")).await;
        for address in &all {
            asked(*address).await.unwrap();
        }
        Nft::connect().await.unwrap().install(&layout(), &[]).await.unwrap();
        // As kube-proxy would, and to where nobody is. Local addresses go by our own fallback.
        nft(
            &machine,
            "add table ip kubeproxy; add chain ip kubeproxy out { type nat hook output priority -100; }; \
             add rule ip kubeproxy out ip daddr 10.96.0.10 udp dport 53 dnat to 127.0.0.1:9; \
             add rule ip kubeproxy out ip daddr 10.96.0.10 tcp dport 53 dnat to 127.0.0.1:9",
        );
        for address in &all {
            assert!(asked(*address).await.is_err(), "{address}: queries go elsewhere");
        }
        assert_eq!(probe(&all, Told::ByMark, LIMIT).await, None);
        node.stop().await;
    });
}
