//! The judge is strict: whatever is not allowed by name is a difference.

use crate::judge::{Deviation, Judge, Recorded, Verdict};
use crate::records::{Reply, Row};

fn rows(lines: &[&str]) -> Vec<Row> {
    lines.iter().map(|line| Row::parse(line)).collect()
}

fn reply(rcode: &str, answer: &[&str], authority: &[&str]) -> Reply {
    Reply {
        rcode: rcode.into(),
        aa: true,
        answer: rows(answer),
        authority: rows(authority),
        additional: vec![],
    }
}

fn recorded(name: &str, kind: &str, reply: Reply) -> Recorded {
    Recorded { name: name.into(), kind: kind.into(), reply }
}

/// The SOA record of the cluster's zone, with any serial.
const SOA: &str =
    "cluster.local. 30 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 17 7200 1800 86400 30";

/// The SOA record of the reverse zone.
const REVERSE_SOA: &str =
    "in-addr.arpa. 30 IN SOA ns.dns.in-addr.arpa. hostmaster.in-addr.arpa. 17 7200 1800 86400 30";

#[test]
fn replies_that_differ_are_told_apart() {
    const NAME: &str = "Web.shop.svc.cluster.local.";
    const ONE: &str = "Web.shop.svc.cluster.local. 30 IN A 10.96.0.1";
    const TWO: &str = "Web.shop.svc.cluster.local. 30 IN A 10.96.0.2";
    struct Case {
        name: &'static str,
        got: Reply,
        want: Verdict,
    }
    let same = || reply("NOERROR", &[ONE, TWO], &[]);
    let answers = |lines: &[&str]| reply("NOERROR", lines, &[]);
    let cases = [
        Case { name: "the same", got: same(), want: Verdict::Agrees },
        Case { name: "another order", got: answers(&[TWO, ONE]), want: Verdict::Agrees },
        Case {
            name: "TTLs lowered by jitter",
            got: answers(&[&ONE.replace(" 30 ", " 21 "), &TWO.replace(" 30 ", " 21 ")]),
            want: Verdict::Agrees,
        },
        Case {
            name: "TTLs lowered too far",
            got: answers(&[&ONE.replace(" 30 ", " 20 "), &TWO.replace(" 30 ", " 20 ")]),
            want: Verdict::Differs,
        },
        Case {
            name: "TTLs raised",
            got: answers(&[&ONE.replace(" 30 ", " 31 "), &TWO.replace(" 30 ", " 31 ")]),
            want: Verdict::Differs,
        },
        Case {
            name: "TTLs of an RRset that differ",
            got: answers(&[&ONE.replace(" 30 ", " 29 "), TWO]),
            want: Verdict::Differs,
        },
        Case {
            name: "another code",
            got: Reply { rcode: "NXDOMAIN".into(), ..same() },
            want: Verdict::Differs,
        },
        Case { name: "no AA", got: Reply { aa: false, ..same() }, want: Verdict::Differs },
        Case { name: "a record less", got: answers(&[ONE]), want: Verdict::Differs },
        Case { name: "a record twice", got: answers(&[ONE, ONE, TWO]), want: Verdict::Differs },
        Case {
            name: "an address that differs",
            got: answers(&[ONE, &TWO.replace("0.2", "0.3")]),
            want: Verdict::Differs,
        },
        Case {
            name: "an owner name in other letter case",
            got: answers(&[&ONE.to_ascii_lowercase().replace(" in a ", " IN A "), TWO]),
            want: Verdict::Differs,
        },
        Case {
            name: "a record in another section",
            got: Reply { additional: rows(&[TWO]), ..answers(&[ONE]) },
            want: Verdict::Differs,
        },
        Case {
            name: "one authority too many",
            got: Reply { authority: rows(&[SOA]), ..same() },
            want: Verdict::Differs,
        },
    ];
    let want = recorded(NAME, "A", same());
    let judge = Judge::new(std::slice::from_ref(&want));
    for case in cases {
        assert_eq!(judge.verdict(&want, &case.got), case.want, "{}", case.name);
    }
}

#[test]
fn a_serial_is_any_number_and_other_fields_are_not() {
    let want = recorded("x.cluster.local.", "A", reply("NXDOMAIN", &[], &[SOA]));
    let judge = Judge::new(std::slice::from_ref(&want));
    let verdict = |soa: &str| judge.verdict(&want, &reply("NXDOMAIN", &[], &[soa]));
    assert_eq!(verdict(&SOA.replace(" 17 ", " 4000000000 ")), Verdict::Agrees);
    assert_eq!(verdict(&SOA.replace(" 1800 ", " 900 ")), Verdict::Differs);
    assert_eq!(verdict(&SOA.replace("ns.dns", "NS.dns")), Verdict::Differs);
}

#[test]
fn only_what_is_meant_is_allowed() {
    struct Case {
        name: &'static str,
        question: (&'static str, &'static str),
        want: Reply,
        got: Reply,
        verdict: Verdict,
    }
    let nodata = || reply("NOERROR", &[], &[SOA]);
    let missing = || reply("NXDOMAIN", &[], &[SOA]);
    let record = |line: &str| reply("NOERROR", &[line], &[]);
    let refused = || Reply { aa: false, ..reply("REFUSED", &[], &[]) };
    let cases = [
        Case {
            name: "TXT of a namespace exists",
            question: ("shop.svc.cluster.local.", "TXT"),
            want: missing(),
            got: nodata(),
            verdict: Verdict::Allowed(Deviation::TxtOfExistingName),
        },
        Case {
            name: "TXT of a name without addresses does not",
            question: ("gone.svc.cluster.local.", "TXT"),
            want: missing(),
            got: nodata(),
            verdict: Verdict::Differs,
        },
        Case {
            name: "NODATA needs its SOA",
            question: ("shop.svc.cluster.local.", "TXT"),
            want: missing(),
            got: reply("NOERROR", &[], &[]),
            verdict: Verdict::Differs,
        },
        Case {
            name: "a protocol has ports below it",
            question: ("_TCP.web.shop.svc.cluster.local.", "SRV"),
            want: missing(),
            got: nodata(),
            verdict: Verdict::Allowed(Deviation::NameWithNamesBelow),
        },
        Case {
            name: "a missing service does not exist for other types",
            question: ("gone.shop.svc.cluster.local.", "A"),
            want: missing(),
            got: nodata(),
            verdict: Verdict::Differs,
        },
        Case {
            name: "SOA of a missing name",
            question: ("gone.svc.cluster.local.", "SOA"),
            want: nodata(),
            got: missing(),
            verdict: Verdict::Allowed(Deviation::SoaOfMissingName),
        },
        Case {
            name: "SOA of a name that exists",
            question: ("shop.svc.cluster.local.", "SOA"),
            want: nodata(),
            got: missing(),
            verdict: Verdict::Differs,
        },
        Case {
            name: "SOA of a reverse name, from the upstream",
            question: ("96.10.in-addr.arpa.", "SOA"),
            want: reply("NOERROR", &[], &[REVERSE_SOA]),
            got: refused(),
            verdict: Verdict::Allowed(Deviation::SoaOfReverseName),
        },
        Case {
            name: "addresses of the name server",
            question: ("ns.dns.cluster.local.", "A"),
            want: missing(),
            got: record("ns.dns.cluster.local. 30 IN A 127.0.0.1"),
            verdict: Verdict::Allowed(Deviation::OwnAddresses),
        },
        Case {
            name: "labels before a pod",
            question: ("a.10-0-0-1.shop.pod.cluster.local.", "A"),
            want: record("a.10-0-0-1.shop.pod.cluster.local. 30 IN A 10.0.0.1"),
            got: missing(),
            verdict: Verdict::Allowed(Deviation::LabelsBeforePod),
        },
        Case {
            name: "a pod itself is not missing",
            question: ("10-0-0-1.shop.pod.cluster.local.", "A"),
            want: record("10-0-0-1.shop.pod.cluster.local. 30 IN A 10.0.0.1"),
            got: missing(),
            verdict: Verdict::Differs,
        },
        Case {
            name: "SRV of a pod",
            question: ("10-0-0-1.shop.pod.cluster.local.", "SRV"),
            want: record(
                "10-0-0-1.shop.pod.cluster.local. 30 IN SRV 0 100 0 10-0-0-1.shop.pod.cluster.local.",
            ),
            got: nodata(),
            verdict: Verdict::Allowed(Deviation::SrvOfPod),
        },
        Case {
            name: "a reverse name that is too long",
            question: ("9.1.0.96.10.in-addr.arpa.", "PTR"),
            want: reply("NOERROR", &[], &[REVERSE_SOA]),
            got: refused(),
            verdict: Verdict::Allowed(Deviation::LongReverseName),
        },
        Case {
            name: "a complete reverse name is not refused",
            question: ("1.0.96.10.in-addr.arpa.", "PTR"),
            want: record("1.0.96.10.in-addr.arpa. 30 IN PTR web.shop.svc.cluster.local."),
            got: refused(),
            verdict: Verdict::Differs,
        },
        Case {
            name: "an alias for MX",
            question: ("mail.shop.svc.cluster.local.", "MX"),
            want: nodata(),
            got: record("mail.shop.svc.cluster.local. 30 IN CNAME mail.example.test."),
            verdict: Verdict::Allowed(Deviation::AliasForOtherTypes),
        },
        Case {
            name: "an alias for HTTPS",
            question: ("mail.shop.svc.cluster.local.", "HTTPS"),
            want: nodata(),
            got: record("mail.shop.svc.cluster.local. 30 IN CNAME mail.example.test."),
            verdict: Verdict::Differs,
        },
        Case {
            name: "ANY as HINFO",
            question: ("web.shop.svc.cluster.local.", "ANY"),
            want: nodata(),
            got: record("web.shop.svc.cluster.local. 8482 IN HINFO \"RFC8482\" \"\""),
            verdict: Verdict::Allowed(Deviation::AnyAsHinfo),
        },
        Case {
            name: "nothing is allowed outside of the cluster",
            question: ("x.example.test.", "SOA"),
            want: nodata(),
            got: missing(),
            verdict: Verdict::Differs,
        },
    ];
    let judge = Judge::new(&[
        recorded("shop.svc.cluster.local.", "A", nodata()),
        recorded("gone.svc.cluster.local.", "A", missing()),
    ]);
    for case in cases {
        let (name, kind) = case.question;
        let got = judge.verdict(&recorded(name, kind, case.want), &case.got);
        assert_eq!(got, case.verdict, "{}", case.name);
    }
}
