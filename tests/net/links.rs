//! The interface and its addresses: made, taken over, refused, mended and undone.
//!
//! The kernel of a test need not have `dummy`: another kind without wires stands in for it.

use std::net::IpAddr;

use outlast::net::link::{Device, Journal, Kind, LinkError, Links};
use outlast::net::piece::Piece;

use super::machine::{Machine, possible};
use super::world::{ALL, LOCAL, LOCAL6, SERVICE, SERVICE6, inside, ip, ips, output};

/// The name of the interface.
const NAME: &str = "nodelocaldns";

/// Sets it up; what became of it, and whether anything was made.
fn set_up(machine: &Machine, kind: Kind, addresses: &[&str]) -> (Result<Device, LinkError>, Journal) {
    let addresses: Vec<IpAddr> = ips(addresses);
    inside(machine, async || {
        let mut journal = Journal::default();
        let done = Links::connect().unwrap().set_up(NAME, kind, &addresses, &mut journal).await;
        (done, journal)
    })
}

fn missing(machine: &Machine, name: &str) -> Vec<Piece> {
    inside(machine, async || Links::connect().unwrap().look(name, &ips(&ALL)).await.unwrap())
}

fn addresses(machine: &Machine) -> String {
    output(machine, "ip", "-o addr")
}

#[test]
fn an_interface_and_its_addresses_are_made_mended_and_undone() {
    if !possible() {
        return;
    }
    let machine = Machine::new(&["192.168.7.1/32"]);
    let before = addresses(&machine);
    let (device, journal) = set_up(&machine, Kind::Bridge, &ALL);
    assert_eq!(device.unwrap().name, NAME);
    assert!(!journal.is_empty());
    assert_eq!(missing(&machine, NAME), []);
    let text = addresses(&machine);
    let line = |address: &str| text.lines().find(|line| line.contains(address)).unwrap().to_owned();
    for address in [SERVICE, LOCAL] {
        assert!(line(&format!("{address}/32")).contains("scope host"), "never a source: {text}");
    }
    for address in [SERVICE6, LOCAL6] {
        let line = line(&format!("{address}/128"));
        assert!(
            line.contains("deprecated") && !line.contains("tentative"),
            "never a source, and at once: {line}"
        );
    }
    // What somebody takes away is missed, by its name, and put back by the same call.
    for (deed, want) in [
        ("addr del 10.96.0.10/32 dev nodelocaldns", vec![Piece::Address(ip(SERVICE))]),
        ("addr del fd00:20::10/128 dev nodelocaldns", vec![Piece::Address(ip(LOCAL6))]),
        ("addr flush dev nodelocaldns", ips(&ALL).into_iter().map(Piece::Address).collect()),
        // IPv6 addresses go with it.
        (
            "link set nodelocaldns down",
            vec![Piece::Link, Piece::Address(ip(SERVICE6)), Piece::Address(ip(LOCAL6))],
        ),
        (
            "link del nodelocaldns",
            [Piece::Link].into_iter().chain(ips(&ALL).into_iter().map(Piece::Address)).collect(),
        ),
    ] {
        output(&machine, "ip", deed);
        assert_eq!(missing(&machine, NAME), want, "{deed}");
        set_up(&machine, Kind::Bridge, &ALL).0.unwrap();
        assert_eq!(missing(&machine, NAME), [], "{deed}");
    }
    inside(&machine, async || {
        let links = Links::connect().unwrap();
        let device = links.set_up(NAME, Kind::Bridge, &ips(&ALL), &mut Journal::default()).await.unwrap();
        links.remove(&device, &ips(&ALL)).await.unwrap();
        links.remove(&device, &ips(&ALL)).await.unwrap();
    });
    assert_eq!(addresses(&machine), before);
}

#[test]
fn what_is_there_is_taken_as_it_is_and_stays_when_a_start_is_undone() {
    if !possible() {
        return;
    }
    let machine = Machine::new(&[]);
    output(&machine, "ip", "link add nodelocaldns type bridge");
    output(&machine, "ip", "addr add 10.96.0.10/32 dev nodelocaldns");
    let before = output(&machine, "ip", "-o -4 addr show dev nodelocaldns");
    let (device, journal) = set_up(&machine, Kind::Bridge, &[SERVICE]);
    device.unwrap();
    assert!(journal.is_empty(), "nothing was made: {journal:?}");
    let (_, journal) = set_up(&machine, Kind::Bridge, &[SERVICE, LOCAL]);
    assert!(!journal.is_empty());
    inside(&machine, async || Links::connect().unwrap().undo(journal).await.unwrap());
    assert_eq!(output(&machine, "ip", "-o -4 addr show dev nodelocaldns"), before);
}

#[test]
fn without_such_an_interface_the_loopback_carries_the_addresses() {
    if !possible() {
        return;
    }
    let machine = Machine::new(&["192.168.7.1/32"]);
    let before = addresses(&machine);
    let (device, journal) = set_up(&machine, Kind::Dummy, &ALL);
    let device = device.unwrap();
    assert!([NAME, "lo"].contains(&device.name.as_str()), "{device:?}");
    assert_eq!(missing(&machine, &device.name), []);
    inside(&machine, async || Links::connect().unwrap().undo(journal).await.unwrap());
    assert_eq!(addresses(&machine), before, "only what was made is gone");
    set_up(&machine, Kind::Dummy, &ALL).0.unwrap();
    inside(&machine, async || Links::connect().unwrap().remove(&device, &ips(&ALL)).await.unwrap());
    assert_eq!(addresses(&machine), before);
}

#[test]
fn what_is_somebody_else_s_is_refused_and_untouched_and_the_start_undone() {
    if !possible() {
        return;
    }
    struct Case {
        name: &'static str,
        before: &'static [&'static str],
        asked: &'static [&'static str],
        want: &'static str,
    }
    let cases = [
        Case {
            name: "another kind of interface",
            before: &["link add nodelocaldns type veth peer name other"],
            asked: &[SERVICE],
            want: "interface nodelocaldns is of kind veth, which is not ours to use",
        },
        Case {
            name: "an address of another interface",
            before: &["link add br0 type bridge", "addr add 169.254.20.10/32 dev br0"],
            asked: &[SERVICE, LOCAL],
            want: "169.254.20.10 is an address of interface br0 already",
        },
        Case {
            name: "no IPv6",
            before: &[],
            asked: &[SERVICE, SERVICE6],
            want: "fd00:96::a cannot be an address here: IPv6 is off",
        },
    ];
    for Case { name, before, asked, want } in cases {
        let machine = Machine::new(&[]);
        for command in before {
            output(&machine, "ip", command);
        }
        if name == "no IPv6" {
            machine.inside(|| {
                // This thread's network is the machine's.
                for of in ["all", "default"] {
                    std::fs::write(format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6"), "1").unwrap();
                }
            });
        }
        let was = output(&machine, "ip", "-o link") + &addresses(&machine);
        let (done, journal) = set_up(&machine, Kind::Bridge, asked);
        let said = done.unwrap_err().to_string();
        assert!(said.contains(want), "{name}: {said}");
        inside(&machine, async || Links::connect().unwrap().undo(journal).await.unwrap());
        assert_eq!(output(&machine, "ip", "-o link") + &addresses(&machine), was, "{name}");
    }
}

#[test]
fn addresses_that_have_to_be_there_are_looked_for_everywhere() {
    if !possible() {
        return;
    }
    let machine = Machine::new(&["10.96.0.10/32"]);
    output(&machine, "ip", "link add br0 type bridge");
    output(&machine, "ip", "addr add 169.254.20.10/32 dev br0");
    let find = |wanted: &[&str]| {
        let wanted = ips(wanted);
        inside(&machine, async || Links::connect().unwrap().find(&wanted).await)
    };
    find(&[SERVICE, LOCAL]).unwrap();
    let said = find(&[SERVICE, SERVICE6, LOCAL6]).unwrap_err().to_string();
    assert_eq!(said, "no interface has fd00:96::a, and none is to be made");
}

#[test]
fn an_address_that_somebody_has_keeps_no_other_one_away() {
    if !possible() {
        return;
    }
    let machine = Machine::new(&["10.96.0.10/32"]);
    let (done, journal) = set_up(&machine, Kind::Bridge, &[SERVICE, LOCAL]);
    assert!(matches!(done, Err(LinkError::Elsewhere { address, .. }) if address == ip(SERVICE)), "{done:?}");
    assert!(!missing(&machine, NAME).contains(&Piece::Address(ip(LOCAL))), "{}", addresses(&machine));
    inside(&machine, async || Links::connect().unwrap().undo(journal).await.unwrap());
    assert!(!addresses(&machine).contains(LOCAL), "a start that fails leaves nothing");
}
