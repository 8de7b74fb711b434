//! Our tables: as `nft` prints them, found and mended whatever somebody does to them, and nothing of others changed.

use std::time::Duration;

use outlast::net::Ip;
use outlast::net::layout::{ChainName, FLOWS, Layout, SetName};
use outlast::net::nft::{Found, Nft};
use outlast::net::piece::Piece;

use super::machine::Machine;
use super::world::{ALL, LOCAL, SERVICE, inside, ip, ips, layout, nft, output, possible_with_tables, until};

/// Rules of somebody else, with a set that changes.
const FOREIGN: &str = "add table inet kubeproxy; add table ip outlast-like; add table inet outlast; \
    add set inet kubeproxy services { type ipv4_addr . inet_service; }; \
    add element inet kubeproxy services { 10.96.0.10 . 53 }; \
    add chain inet kubeproxy pre { type nat hook prerouting priority -100; }; \
    add rule inet kubeproxy pre ip daddr 10.96.0.10 udp dport 53 dnat ip to 10.244.0.10:1053; \
    add chain ip outlast-like pre { type filter hook prerouting priority 0; }; \
    add set inet outlast ours { type ipv4_addr; }";

/// The text of our table.
fn text(machine: &Machine, ip: Ip) -> String {
    output(machine, "nft", &format!("list table {ip} outlast"))
}

/// Everything as it has to be.
fn whole(machine: &Machine) {
    assert_eq!(
        inside(machine, async || Nft::connect().await.unwrap().look(&layout()).await.unwrap()),
        Found::Whole
    );
}

#[test]
fn the_tables_are_what_their_documentation_says() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    let (before, after) = inside(&machine, async || {
        let nft = Nft::connect().await.unwrap();
        let before = nft.look(&layout()).await.unwrap();
        nft.install(&layout(), &[]).await.unwrap();
        (before, nft.look(&layout()).await.unwrap())
    });
    assert_eq!((before, after), (Found::Nothing, Found::Whole));
    for (of, want) in [(Ip::V4, include_str!("layout-ip.nft")), (Ip::V6, include_str!("layout-ip6.nft"))] {
        let text = text(&machine, of);
        assert_eq!(text, want, "{of}:\n{text}");
    }
}

#[test]
fn a_trial_leaves_nothing_and_touches_no_table_that_is_there() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    nft(&machine, FOREIGN);
    let before = nft(&machine, "list ruleset");
    let try_out =
        |layout: &Layout| inside(&machine, async || Nft::connect().await.unwrap().try_out(layout).await);
    try_out(&layout()).unwrap();
    assert_eq!(nft(&machine, "list ruleset"), before);
    // The kernel knows no such time, nor does it have half of what it refuses.
    let refused = Layout::new(&ips(&ALL), &[], 53, Duration::from_secs(20_000_000_000_000));
    let is_refused = || {
        let error = try_out(&refused).unwrap_err().to_string();
        assert!(error.contains("add set ip outlast-tried/flows: "), "{error}");
    };
    is_refused();
    assert_eq!(nft(&machine, "list ruleset"), before);
    // Another process of the node has one already, and its elements live.
    nft(&machine, "add table ip6 outlast; add set ip6 outlast live { type ipv6_addr; }");
    nft(&machine, "add element ip6 outlast live { fd00:20::10 }");
    let there = nft(&machine, "list ruleset");
    try_out(&layout()).unwrap();
    // Before it could take anything over.
    is_refused();
    assert_eq!(nft(&machine, "list ruleset"), there);
}

#[test]
fn a_table_whose_rules_forget_nothing_is_whole_as_well() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    let mut old = layout();
    old.forget_nothing();
    let (same, other) = inside(&machine, async || {
        let nft = Nft::connect().await.unwrap();
        nft.install(&old, &[]).await.unwrap();
        (nft.look(&old).await.unwrap(), nft.look(&layout()).await.unwrap())
    });
    assert!(!text(&machine, Ip::V4).contains("delete @flows"));
    assert_eq!(same, Found::Whole);
    let differs = Ip::ALL.map(|ip| Piece::Rules(ip, ChainName::Syn));
    assert_eq!(other, Found::Differs(differs.into()), "a kernel that can do more is made to");
}

#[test]
fn who_keeps_the_ruleset_in_a_file_can_load_it_again() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || {
        Nft::connect().await.unwrap().install(&layout(), &ips(&[SERVICE])).await.unwrap();
    });
    let file = machine.path("ruleset");
    std::fs::write(&file, format!("flush ruleset\n{}", nft(&machine, "list ruleset"))).unwrap();
    output(&machine, "nft", &format!("-f {}", file.display()));
    whole(&machine);
}

#[test]
fn a_family_without_addresses_has_no_table_and_loses_the_one_it_had() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    let only = Layout::new(&ips(&[SERVICE]), &[], 53, FLOWS);
    let (found, after) = inside(&machine, async || {
        let nft = Nft::connect().await.unwrap();
        nft.install(&layout(), &[]).await.unwrap();
        let Found::Differs(found) = nft.look(&only).await.unwrap() else { panic!("it differs") };
        nft.mend(&only, &found, &[]).await.unwrap();
        (found, nft.look(&only).await.unwrap())
    });
    assert!(found.contains(&Piece::Table(Ip::V6)), "{found:?}");
    assert!(found.contains(&Piece::Elements(Ip::V4, SetName::Ours)), "{found:?}");
    assert_eq!(after, Found::Whole);
    assert!(!nft(&machine, "list tables").contains("ip6"));
}

#[test]
fn whatever_somebody_does_to_a_table_is_found_and_mended() {
    if !possible_with_tables() {
        return;
    }
    use ChainName::{Fallback, NatPost, NatPre, Out, Pre, Syn, Tcp, Version};
    let rules = |chains: &[ChainName]| -> Vec<Piece> {
        chains.iter().map(|chain| Piece::Rules(Ip::V4, *chain)).collect()
    };
    let cases: [(&str, &str, Vec<Piece>); 18] = [
        ("a table is deleted", "delete table ip outlast", vec![Piece::Table(Ip::V4)]),
        ("the other one", "delete table ip6 outlast", vec![Piece::Table(Ip::V6)]),
        ("it sleeps", "add table ip outlast { flags dormant; }", vec![Piece::Table(Ip::V4)]),
        ("a base chain is flushed", "flush chain ip outlast pre", rules(&[Pre])),
        ("another one", "flush chain ip outlast out", rules(&[Out])),
        ("a chain that others lead to", "flush chain ip outlast tcp-any", rules(&[Tcp])),
        ("its next one", "flush chain ip outlast tcp-first", rules(&[Syn])),
        ("the fallback", "flush chain ip outlast fallback", rules(&[Fallback])),
        ("the translation", "flush chain ip outlast nat-pre", rules(&[NatPre])),
        (
            "every rule",
            "flush table ip outlast",
            rules(&[Syn, Tcp, Fallback, Pre, Out, NatPre, ChainName::NatOut, NatPost]),
        ),
        ("a rule more", "add rule ip outlast nat-post accept", rules(&[NatPost])),
        ("a rule more at the beginning", "insert rule ip outlast pre udp dport 53 drop", rules(&[Pre])),
        ("a rule where none is", "add rule ip outlast layout-1 accept", rules(&[Version])),
        ("another policy", "chain ip outlast out { policy drop; }", vec![Piece::Chain(Ip::V4, Out)]),
        ("an address less", "flush set ip outlast ours", vec![Piece::Elements(Ip::V4, SetName::Ours)]),
        (
            "an address more",
            "add element ip outlast local { 10.96.0.10 }",
            vec![Piece::Elements(Ip::V4, SetName::Local)],
        ),
        ("a chain more", "add chain ip outlast mine", vec![Piece::Strange(Ip::V4)]),
        (
            "a chain of another name",
            "rename chain ip outlast layout-1 mine",
            vec![Piece::Strange(Ip::V4), Piece::Chain(Ip::V4, Version)],
        ),
    ];
    let machine = Machine::new(&[]);
    inside(&machine, async || Nft::connect().await.unwrap().install(&layout(), &[]).await.unwrap());
    let before = Ip::ALL.map(|ip| text(&machine, ip));
    for (name, deed, want) in cases {
        nft(&machine, deed);
        let handles = || -> Vec<String> {
            let all = output(&machine, "nft", "-a list ruleset");
            all.lines().filter(|line| line.starts_with("table")).map(str::to_owned).collect()
        };
        let found_as = handles();
        let (found, after) = inside(&machine, async || {
            let nft = Nft::connect().await.unwrap();
            let Found::Differs(found) = nft.look(&layout()).await.unwrap() else {
                panic!("{name}: nothing found")
            };
            nft.mend(&layout(), &found, &[]).await.unwrap();
            (found, nft.look(&layout()).await.unwrap())
        });
        assert_eq!(found, want, "{name}");
        assert_eq!(after, Found::Whole, "{name}");
        assert_eq!(Ip::ALL.map(|ip| text(&machine, ip)), before, "{name}");
        // What packets put into sets meanwhile would be lost with the table.
        let in_place = |piece: &Piece| matches!(piece, Piece::Rules(..) | Piece::Elements(..));
        assert_eq!(handles() == found_as, want.iter().all(in_place), "{name}");
    }
}

#[test]
fn a_rule_that_is_another_one_is_found_by_what_it_does() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || Nft::connect().await.unwrap().install(&layout(), &[]).await.unwrap());
    let handles = output(&machine, "nft", "-a list chain ip outlast pre");
    let handle = |part: &str| {
        let line = handles.lines().find(|line| line.contains(part)).unwrap();
        line.rsplit_once("handle ").unwrap().1.to_owned()
    };
    for (name, rule) in [
        ("another port", "udp dport 54 ip daddr @live notrack"),
        ("another set", "udp dport 53 ip daddr @ours notrack"),
        ("another field", "udp dport 53 ip saddr @live notrack"),
        ("another verdict", "udp dport 53 ip daddr @live drop"),
        ("something more", "udp dport 53 ip daddr @live counter notrack"),
    ] {
        let handle = handle("udp dport 53");
        nft(&machine, &format!("replace rule ip outlast pre handle {handle} {rule}"));
        let found = inside(&machine, async || Nft::connect().await.unwrap().look(&layout()).await.unwrap());
        assert_eq!(found, Found::Differs(vec![Piece::Rules(Ip::V4, ChainName::Pre)]), "{name}");
        // What it is as it has to be, whoever wrote it.
        nft(
            &machine,
            &format!("replace rule ip outlast pre handle {handle} udp dport 53 ip daddr @live notrack"),
        );
        whole(&machine);
    }
}

#[test]
fn connections_are_remembered_when_a_table_is_made_anew() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || {
        let tables = Nft::connect().await.unwrap();
        tables.install(&layout(), &[]).await.unwrap();
    });
    nft(&machine, "add element ip outlast flows { 10.244.0.2 . 40000 }");
    nft(&machine, "add element ip6 outlast flows { fd00:244::2 . 40001 }");
    inside(&machine, async || {
        Nft::connect().await.unwrap().install(&layout(), &ips(&[SERVICE])).await.unwrap();
    });
    let flows = |ip: &str| nft(&machine, &format!("list set {ip} outlast flows"));
    assert!(flows("ip").contains("10.244.0.2 . 40000"), "{}", flows("ip"));
    assert!(flows("ip6").contains("fd00:244::2 . 40001"), "{}", flows("ip6"));
    for set in ["live", "held"] {
        let text = nft(&machine, &format!("list set ip outlast {set}"));
        assert!(text.contains(SERVICE) && !text.contains(LOCAL), "{text}");
    }
}

#[test]
fn a_withdrawal_is_at_once_and_leaves_connections_alone() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || {
        let (tables, all) = (Nft::connect().await.unwrap(), ips(&[SERVICE, LOCAL]));
        tables.withdraw(&layout(), &all).await.unwrap();
        tables.install(&layout(), &all).await.unwrap();
        assert_eq!(tables.live(&layout()).await.unwrap(), all);
        tables.withdraw(&layout(), &ips(&[SERVICE])).await.unwrap();
        assert_eq!(tables.live(&layout()).await.unwrap(), ips(&[LOCAL]));
        tables.withdraw(&layout(), &all).await.unwrap();
        assert_eq!(tables.live(&layout()).await.unwrap(), ips(&[]));
    });
    let held = nft(&machine, "list set ip outlast held");
    assert!(held.contains(SERVICE) && held.contains(LOCAL), "{held}");
}

#[test]
fn elements_that_nobody_renews_expire() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    let took = inside(&machine, async || {
        let tables = Nft::connect().await.unwrap();
        tables.install(&layout(), &[ip(SERVICE)]).await.unwrap();
        until("it expires", async || tables.live(&layout()).await.unwrap().is_empty()).await
    });
    println!("an element that nobody renewed was gone after {} ms", took.as_millis());
}

#[test]
fn what_others_have_stays_as_it_is() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    nft(&machine, FOREIGN);
    let foreign = || {
        let tables = ["inet kubeproxy", "ip outlast-like", "inet outlast"];
        tables.map(|table| nft(&machine, &format!("list table {table}")))
    };
    let before = foreign();
    let step = |name: &str, what: &str| {
        inside(&machine, async || {
            let tables = Nft::connect().await.unwrap();
            match what {
                "install" => tables.install(&layout(), &ips(&[SERVICE])).await.unwrap(),
                "mend" => {
                    let pieces = [Piece::Rules(Ip::V4, ChainName::Fallback), Piece::Table(Ip::V6)];
                    tables.mend(&layout(), &pieces, &[]).await.unwrap();
                }
                "withdraw" => tables.withdraw(&layout(), &ips(&[SERVICE])).await.unwrap(),
                _ => tables.remove().await.unwrap(),
            }
        });
        assert_eq!(foreign(), before, "{name}");
    };
    for what in ["remove", "install", "mend", "withdraw", "install", "remove"] {
        step(what, what);
    }
    assert_eq!(nft(&machine, "list tables").lines().count(), before.len(), "ours are gone");
}
