//! Resolvers that are libraries: those of glibc and musl, and c-ares.

use super::world::{World, many, possible_with};

/// How a library is different from the others.
struct Library {
    /// Tells truncated replies apart, and asks again over TCP.
    tcp: bool,
}

/// What a client prints, sorted.
fn addresses(world: &World, client: &str, name: &str) -> Vec<String> {
    let (_, output) = world.status(client, name);
    let mut lines: Vec<_> = output.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn looks_up(world: &World, client: &str, library: &Library) {
    struct Case {
        name: &'static str,
        asked: &'static str,
        want: &'static [&'static str],
    }
    for case in [
        Case { name: "in one's own namespace", asked: "web", want: &["10.96.0.7"] },
        Case { name: "both families", asked: "dual", want: &["10.96.0.9", "fd00::9"] },
        Case { name: "in another namespace", asked: "vault.bank", want: &["10.96.0.8"] },
        Case { name: "with svc", asked: "vault.bank.svc", want: &["10.96.0.8"] },
        Case { name: "in full", asked: "vault.bank.svc.cluster.local", want: &["10.96.0.8"] },
        Case { name: "with the final dot", asked: "vault.bank.svc.cluster.local.", want: &["10.96.0.8"] },
        Case {
            name: "outside, after the search list",
            asked: "www.outside.example",
            want: &["192.0.2.80", "2001:db8::80"],
        },
        Case { name: "one family only", asked: "only6.outside.example", want: &["2001:db8::6"] },
        Case { name: "nowhere", asked: "nothing.outside.example", want: &["no such name"] },
        Case { name: "nowhere in the cluster", asked: "nothing", want: &["no such name"] },
    ] {
        assert_eq!(addresses(world, client, case.asked), case.want, "{}\n{}", case.name, world.log());
    }
    // A and AAAA at once, from one socket: two answers for one port.
    let dual = |kind: &str| {
        let start = format!("\"{kind} IN dual.shop.svc.cluster.local. udp ");
        world.logged(1, |line| line.contains(&start))
    };
    assert_eq!(dual("A"), dual("AAAA"), "{}", world.log());

    let got = addresses(world, client, "many");
    let mut all: Vec<_> = many().collect();
    all.sort();
    if library.tcp {
        assert_eq!(got, all, "a truncated reply leads to TCP");
        world.logged(1, |line| line.contains("\"A IN many.shop.svc.cluster.local. tcp "));
    } else {
        // What it takes is what there is in the truncated reply: as much as fits.
        assert!(got.len() >= 20 && got.iter().all(|a| all.contains(a)), "{got:?}");
    }
}

#[test]
fn glibc() {
    if !possible_with(&["cc"]) {
        return;
    }
    let world = World::new("", "");
    let client = world.compile("cc", "lookup", &[]);
    looks_up(&world, &client, &Library { tcp: true });
}

/// musl asks no second time over TCP before 1.2.4.
#[test]
fn musl() {
    if !possible_with(&["musl-gcc"]) {
        return;
    }
    let world = World::new("", "");
    let client = world.compile("musl-gcc", "lookup", &["-static"]);
    looks_up(&world, &client, &Library { tcp: false });
}

#[test]
fn c_ares() {
    if !possible_with(&["cc", "/usr/include/ares.h"]) {
        return;
    }
    let world = World::new("", "");
    let client = world.compile("cc", "cares", &["-lcares"]);
    looks_up(&world, &client, &Library { tcp: true });
}
