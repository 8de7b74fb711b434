//! What is seen of a machine: its interfaces, and the rules of others.

use outlast::net::config::KubeProxy;
use outlast::net::detect::Signs;
use outlast::net::link::Links;
use outlast::net::nft::Nft;

use super::machine::Machine;
use super::world::{inside, layout, nft, output, possible_with_tables};

fn seen(machine: &Machine) -> Signs {
    inside(machine, async || {
        let (tables, links) = (Nft::connect().await.unwrap(), Links::connect().unwrap());
        Signs::gather(Some(&tables), &links).await.unwrap()
    })
}

#[test]
fn signs_are_those_of_the_machine() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    // A kernel may have the old iptables, whose tables appear in every network.
    let bare = seen(&machine);
    assert!(bare.links.contains(&"lo".to_owned()) && bare.tables.is_empty() && bare.chains.is_empty());
    let mut want = bare.kube_proxy();
    for (deed, then) in [
        ("nft add table ip nat; add chain ip nat KUBE-SERVICES", Some(KubeProxy::Iptables)),
        ("nft add table ip kube-proxy; add chain ip kube-proxy services", Some(KubeProxy::Nftables)),
        ("ip link add cilium_host type bridge", None),
        ("nft delete table ip kube-proxy", Some(KubeProxy::Iptables)),
        ("nft delete table ip nat", (!bare.has_legacy()).then_some(KubeProxy::Cilium)),
        ("ip link add kube-ipvs0 type bridge", Some(KubeProxy::Ipvs)),
    ] {
        let (program, arguments) = deed.split_once(' ').unwrap();
        match program {
            "nft" => drop(nft(&machine, arguments)),
            _ => drop(output(&machine, program, arguments)),
        }
        want = then.unwrap_or(want);
        assert_eq!(seen(&machine).kube_proxy(), want, "{deed}");
    }
}

#[test]
fn a_firewall_is_named_and_our_own_table_is_none() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || Nft::connect().await.unwrap().install(&layout(), &[]).await.unwrap());
    assert_eq!(seen(&machine).dropping().count(), 0);
    nft(
        &machine,
        "add table inet firewall; \
         add chain inet firewall in { type filter hook input priority 0; policy drop; }; \
         add chain inet firewall out { type filter hook output priority 0; policy accept; }",
    );
    let signs = seen(&machine);
    let named: Vec<_> = signs.dropping().map(|chain| (chain.table.as_str(), chain.name.as_str())).collect();
    assert_eq!(named, [("firewall", "in")]);
}
