//! dig: search lists, EDNS, truncation, TCP.

use super::world::{MANY, World, possible_with};

/// The addresses that `+short` prints.
fn short(world: &World, words: &str) -> Vec<String> {
    let output = world.run("dig", &format!("+short {words}"));
    output.lines().map(str::to_owned).collect()
}

#[test]
fn dig_follows_the_search_list() {
    if !possible_with(&["dig"]) {
        return;
    }
    let world = World::new("", "");
    struct Case {
        name: &'static str,
        asked: &'static str,
        want: &'static str,
        /// Queries that it takes: one for each search domain that does not have it.
        queries: &'static [&'static str],
    }
    for case in [
        Case {
            name: "in one's own namespace",
            asked: "web",
            want: "10.96.0.7",
            queries: &["web.shop.svc.cluster.local."],
        },
        Case {
            name: "in another namespace",
            asked: "vault.bank",
            want: "10.96.0.8",
            queries: &["vault.bank.shop.svc.cluster.local.", "vault.bank.svc.cluster.local."],
        },
        Case {
            name: "with svc",
            asked: "vault.bank.svc",
            want: "10.96.0.8",
            queries: &[
                "vault.bank.svc.shop.svc.cluster.local.",
                "vault.bank.svc.svc.cluster.local.",
                "vault.bank.svc.cluster.local.",
            ],
        },
        Case {
            name: "with the final dot",
            asked: "dual.shop.svc.cluster.local.",
            want: "10.96.0.9",
            queries: &["dual.shop.svc.cluster.local."],
        },
        Case {
            name: "outside, after the search list",
            asked: "www.outside.example",
            want: "192.0.2.80",
            queries: &[
                "www.outside.example.shop.svc.cluster.local.",
                "www.outside.example.svc.cluster.local.",
                "www.outside.example.cluster.local.",
                "www.outside.example.",
            ],
        },
    ] {
        assert_eq!(short(&world, &format!("+search {} A", case.asked)), [case.want], "{}", case.name);
        for query in case.queries {
            world.logged(1, |line| line.contains(&format!("\"A IN {query} udp ")));
        }
    }
    let (code, output) = world.status("dig", "+search nothing.shop A");
    assert!(code == 0 && output.contains("status: NXDOMAIN"), "{output}");
}

#[test]
fn dig_edns_and_truncation() {
    if !possible_with(&["dig"]) {
        return;
    }
    let world = World::new("", "");
    struct Case {
        name: &'static str,
        words: &'static str,
        /// Parts of what it prints.
        says: &'static [&'static str],
        not: &'static [&'static str],
    }
    const NAME: &str = "many.shop.svc.cluster.local. A";
    const ALL: &str = "ANSWER: 120,";
    assert_eq!(ALL, format!("ANSWER: {MANY},"));
    for case in [
        Case {
            name: "no EDNS: 512 bytes",
            words: "+noedns +ignore",
            says: &["flags: qr aa tc rd", "status: NOERROR"],
            not: &[ALL, "EDNS: version"],
        },
        Case {
            name: "no EDNS, and then TCP",
            words: "+noedns",
            says: &["Truncated, retrying in TCP mode", ALL],
            not: &[" tc "],
        },
        Case {
            name: "512 bytes",
            words: "+bufsize=512 +ignore",
            says: &["flags: qr aa tc rd", "EDNS: version: 0"],
            not: &[ALL],
        },
        Case { name: "1,232 bytes", words: "+bufsize=1232 +ignore", says: &[" tc "], not: &[ALL] },
        Case { name: "4,096 bytes", words: "+bufsize=4096 +ignore", says: &[ALL], not: &[" tc "] },
        Case { name: "TCP", words: "+tcp", says: &[ALL, "(TCP)"], not: &[" tc "] },
        Case {
            name: "a cookie",
            words: "+cookie=0123456789abcdef +bufsize=4096",
            says: &[ALL, "status: NOERROR"],
            not: &["FORMERR"],
        },
        Case {
            name: "an EDNS version that nobody has",
            words: "+edns=1 +noednsnegotiation",
            says: &["status: BADVERS"],
            not: &[ALL],
        },
        Case {
            name: "an unknown option and an unknown flag",
            words: "+ednsopt=65001:00ff +ednsflags=0x40 +bufsize=4096",
            says: &[ALL],
            not: &["OPT=65001"],
        },
        Case { name: "DO", words: "+dnssec +bufsize=4096", says: &["flags: do;", ALL], not: &[] },
        Case {
            name: "nobody has an NSID to tell",
            words: "+nsid +bufsize=4096",
            says: &[ALL],
            // The option is echoed, and empty.
            not: &["NSID: "],
        },
    ] {
        let output = world.run("dig", &format!("{} {NAME}", case.words));
        for part in case.says {
            assert!(output.contains(part), "{}: no {part:?} in {output}", case.name);
        }
        for part in case.not {
            assert!(!output.contains(part), "{}: {part:?} in {output}", case.name);
        }
    }
    let output = world
        .run("dig", "+tcp +keepopen +short web.shop.svc.cluster.local. A vault.bank.svc.cluster.local. A");
    assert_eq!(output, "10.96.0.7\n10.96.0.8\n");
    let ports = world.logged(2, |line| line.contains(" tcp ") && !line.contains("many"));
    assert_eq!(ports[0], ports[1], "both over one connection");
}

#[test]
fn dig_reverse_names() {
    if !possible_with(&["dig"]) {
        return;
    }
    let world = World::new("", "");
    assert_eq!(short(&world, "-x 10.96.0.7"), ["web.shop.svc.cluster.local."]);
    assert_eq!(short(&world, "-x fd00::9"), ["dual.shop.svc.cluster.local."]);
}

/// Needs the plugin `nsid`.
#[test]
fn dig_nsid() {
    if !possible_with(&["dig"]) {
        return;
    }
    let world = World::new("nsid node-seven", "");
    let output = world.run("dig", "+nsid web.shop.svc.cluster.local. A");
    assert!(output.contains("(\"node-seven\")"), "{output}");
    let output = world.run("dig", "web.shop.svc.cluster.local. A");
    assert!(!output.contains("node-seven"), "only who asks is told: {output}");
}
