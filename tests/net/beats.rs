//! Beats: a marked datagram keeps an address live, and says by itself when its rule is missing.

use std::time::{Duration, Instant};

use outlast::net::mark::{Marks, Say, Sent};
use outlast::net::nft::Nft;

use super::machine::Machine;
use super::world::{
    ALL, LOCAL, SERVICE, SERVICE6, inside, ip, ips, layout, nft, output, possible_with_tables, until,
};

/// A machine that has all addresses, and tables.
fn machine() -> Machine {
    let machine = Machine::new(&["10.96.0.10/32", "169.254.20.10/32"]);
    for address in ["fd00:96::a/128", "fd00:20::10/128"] {
        output(&machine, "ip", &format!("addr add {address} dev lo nodad"));
    }
    inside(&machine, async || Nft::connect().await.unwrap().install(&layout(), &[]).await.unwrap());
    machine
}

fn renewed(marks: &Marks, address: &str, say: Say) -> bool {
    // One that no rule takes may go to where there is no way.
    matches!(marks.send(ip(address), say), Sent::Renewed)
}

#[test]
fn a_beat_makes_an_address_live_for_a_second() {
    if !possible_with_tables() {
        return;
    }
    let machine = machine();
    inside(&machine, async || {
        let (tables, marks) = (Nft::connect().await.unwrap(), Marks::new(53, true).unwrap());
        let live = async || tables.live(&layout()).await.unwrap();
        assert!(live().await.is_empty());
        assert!(renewed(&marks, SERVICE, Say::Beat) && renewed(&marks, SERVICE6, Say::Beat));
        assert_eq!(live().await, ips(&[SERVICE, SERVICE6]));
        // For longer than a life.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1500) {
            assert!(renewed(&marks, SERVICE, Say::Beat));
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(live().await.contains(&ip(SERVICE)));
        }
        assert_eq!(live().await, [ip(SERVICE)], "nobody renewed the other one");
        let took = until("the last one", async || live().await.is_empty()).await;
        println!("gone {} ms after the last beat but one", took.as_millis());
    });
}

#[test]
fn what_holds_connections_takes_nothing_new() {
    if !possible_with_tables() {
        return;
    }
    let machine = machine();
    inside(&machine, async || {
        let (tables, marks) = (Nft::connect().await.unwrap(), Marks::new(53, true).unwrap());
        assert!(renewed(&marks, LOCAL, Say::Hold));
        assert!(tables.live(&layout()).await.unwrap().is_empty());
    });
    assert!(nft(&machine, "list set ip outlast held").contains(LOCAL));
}

#[test]
fn a_beat_without_its_rule_says_so() {
    if !possible_with_tables() {
        return;
    }
    let machine = machine();
    let all = || {
        machine.inside(|| {
            let marks = Marks::new(53, true).unwrap();
            ALL.map(|address| renewed(&marks, address, Say::Beat))
        })
    };
    assert_eq!(all(), [true; 4]);
    for (deed, want) in [
        ("flush set ip outlast live", [true; 4]),
        ("flush chain ip outlast out", [false, false, true, true]),
        ("delete table ip6 outlast", [false; 4]),
    ] {
        nft(&machine, deed);
        assert_eq!(all(), want, "{deed}");
    }
}

#[test]
fn beats_leave_the_ruleset_as_it_is() {
    if !possible_with_tables() {
        return;
    }
    let machine = machine();
    let (before, after) = inside(&machine, async || {
        let marks = Marks::new(53, true).unwrap();
        let before = generation().await;
        let began = Instant::now();
        for _ in 0..100 {
            assert!(ALL.iter().all(|address| renewed(&marks, address, Say::Beat)));
        }
        println!("{} ns a beat of an address", began.elapsed().as_nanos() / 400);
        (before, generation().await)
    });
    assert_eq!(before, after, "whoever lists rules is not disturbed");
}

/// The generation of the ruleset.
async fn generation() -> u32 {
    use nlink::netlink::{Connection, Nftables};
    Connection::<Nftables>::new().unwrap().generation().await.unwrap()
}
