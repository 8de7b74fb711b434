//! What each field does to queries and replies.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::rdata::{A, CNAME, MX, NAPTR, NS, NULL, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_server::net::xfer::Protocol;
use proptest::prelude::*;

use super::*;
use crate::corefile::{self, LoadOptions};
use crate::node::chain::Failure;
use crate::node::facts::Facts;
use crate::node::presentation;
use crate::node::reply::Reply;
use crate::node::test_support::{Ask, address, chain, plugins, record, router, run};

fn name(text: &str) -> Name {
    presentation::name(text).unwrap()
}

fn answer(answers: Vec<Record>) -> Outcome {
    Reply { answers, ..Reply::new(ResponseCode::NoError, "last") }.into()
}

fn reply(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Reply(reply) => *reply,
        other => panic!("{other:?}"),
    }
}

fn asking(name: &'static str) -> Ask {
    Ask { name, ..Ask::default() }
}

/// The query that the plugins behind the rules see; `None` if they see none.
async fn seen(body: &str, ask: &Ask) -> Option<Query> {
    seen_of(body, &ask.query()).await
}

async fn seen_of(body: &str, query: &Query) -> Option<Query> {
    let seen = Arc::new(Mutex::new(None));
    let sink = seen.clone();
    let chain = chain(body, move |query| {
        *sink.lock().unwrap() = Some(query.clone());
        answer(vec![])
    });
    Next::all(&chain).run(query).await;
    seen.lock().unwrap().take()
}

/// The name that they see, in presentation form.
async fn name_seen(body: &str, asked: &'static str) -> String {
    seen(body, &asking(asked)).await.unwrap().name().to_ascii()
}

fn refusal(body: &str) -> String {
    match plugins(body) {
        Ok(_) => panic!("accepted: {body}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn rewrite_name() {
    struct Case {
        name: &'static str,
        rules: &'static str,
        asked: &'static str,
        want: &'static str,
    }
    let cases = [
        Case {
            name: "no match",
            rules: "rewrite name a.example b.example",
            asked: "c.Example.",
            want: "c.Example.",
        },
        Case {
            name: "exact",
            rules: "rewrite name A.example B.example",
            asked: "a.EXAMPLE.",
            want: "b.example.",
        },
        Case {
            name: "exact, not below",
            rules: "rewrite name exact a.example b.example",
            asked: "x.a.example.",
            want: "x.a.example.",
        },
        Case {
            name: "prefix",
            rules: "rewrite name prefix api web",
            asked: "api.example.",
            want: "web.example.",
        },
        Case {
            name: "suffix",
            rules: "rewrite name suffix .corp.example .svc.cluster.local",
            asked: "a.b.corp.example.",
            want: "a.b.svc.cluster.local.",
        },
        Case {
            name: "substring",
            rules: "rewrite name substring east.example west.example",
            asked: "a.east.example.",
            want: "a.west.example.",
        },
        Case {
            name: "regex",
            rules: r"rewrite name regex (.*)-(us-west-1)\.example\.org {1}.service.{2}.consul",
            asked: "FTP-us-west-1.example.org.",
            want: "ftp.service.us-west-1.consul.",
        },
        Case {
            name: "the first that applies is the last",
            rules: "rewrite name a.example b.example\nrewrite name b.example c.example",
            asked: "a.example.",
            want: "b.example.",
        },
        Case {
            name: "continue goes on with what it made",
            rules: "rewrite continue name a.example b.example\nrewrite stop name b.example c.example\n\
                    rewrite name c.example d.example",
            asked: "a.example.",
            want: "c.example.",
        },
        Case {
            name: "what did not apply does not stop",
            rules: "rewrite stop name x.example y.example\nrewrite name a.example b.example",
            asked: "a.example.",
            want: "b.example.",
        },
        Case {
            name: "words in any case",
            rules: "rewrite CONTINUE Name Exact a.example b.example",
            asked: "a.example.",
            want: "b.example.",
        },
    ];
    for Case { name, rules, asked, want } in cases {
        assert_eq!(name_seen(rules, asked).await, want, "{name}");
    }
    // Names are any bytes.
    let odd = name(r"a\.b.0/25.2.0.192.in-addr.arpa.");
    let query = Ask::default().query().changed(|m| _ = m.queries[0].set_name(odd)).unwrap();
    let seen = seen_of("rewrite name suffix .0/25.2.0.192.in-addr.arpa .c/d", &query).await.unwrap();
    assert_eq!(seen.name(), &name(r"a\.b.c/d."));
}

/// Owner and target of the reply's records.
fn names(reply: &Reply) -> Vec<String> {
    let sections = [&reply.answers, &reply.authority, &reply.additional];
    sections.into_iter().flatten().map(|r| format!("{} {}", r.name.to_ascii(), r.data)).collect()
}

#[tokio::test]
async fn rewrite_answer() {
    struct Case {
        name: &'static str,
        rules: &'static str,
        asked: &'static str,
        /// Names of the owner and the target of the record that is answered.
        given: (&'static str, &'static str),
        want: (&'static str, &'static str),
    }
    let cluster = "Storefront.shop.svc.cluster.local.";
    let cases = [
        Case {
            name: "exact names come back, in the asker's letter case",
            rules: "rewrite name exact shop.corp.example storefront.shop.svc.cluster.local",
            asked: "Shop.Corp.EXAMPLE.",
            given: (cluster, cluster),
            want: ("Shop.Corp.EXAMPLE.", "Shop.Corp.EXAMPLE."),
        },
        Case {
            name: "names below an exact name",
            rules: "rewrite name shop.corp.example storefront.shop.svc.cluster.local",
            asked: "shop.corp.example.",
            given: ("_tcp.storefront.shop.svc.cluster.local.", "xstorefront.shop.svc.cluster.local."),
            want: ("_tcp.shop.corp.example.", "xstorefront.shop.svc.cluster.local."),
        },
        Case {
            name: "suffix without an answer rule",
            rules: "rewrite name suffix .corp.example .svc.cluster.local",
            asked: "storefront.shop.corp.example.",
            given: (cluster, cluster),
            want: (cluster, cluster),
        },
        Case {
            name: "suffix with auto: all names with it",
            rules: "rewrite name suffix .corp.example .svc.cluster.local answer auto",
            asked: "storefront.shop.corp.example.",
            given: (cluster, "other.shop.svc.cluster.local."),
            want: ("storefront.shop.corp.example.", "other.shop.corp.example."),
        },
        Case {
            name: "prefix with auto: the name",
            rules: "rewrite name prefix api web answer auto",
            asked: "api.example.",
            given: ("web.example.", "web.example.org."),
            want: ("api.example.", "web.example.org."),
        },
        Case {
            name: "substring with auto",
            rules: "rewrite name substring east.example west.example answer auto",
            asked: "a.east.example.",
            given: ("a.west.example.", "b.west.example."),
            want: ("a.east.example.", "b.west.example."),
        },
        Case {
            name: "regex without an answer rule",
            rules: r"rewrite name regex (.*)\.corp\.example {1}.shop.svc.cluster.local",
            asked: "storefront.corp.example.",
            given: (cluster, cluster),
            want: (cluster, cluster),
        },
        Case {
            name: "regex with auto",
            rules: r"rewrite name regex (.*)\.corp\.example {1}.shop.svc.cluster.local answer auto",
            asked: "Storefront.corp.example.",
            given: (cluster, cluster),
            want: ("Storefront.corp.example.", "Storefront.corp.example."),
        },
        Case {
            name: "answer name",
            rules: r"rewrite name regex (.*)\.a {1}.b answer name (.*)\.b {1}.c",
            asked: "x.a.",
            given: ("X.b.", "x.b."),
            want: ("x.c.", "x.b."),
        },
        Case {
            name: "answer value, and the word left out after the first",
            rules: r"rewrite name suffix .a .b answer value (.*)\.b {1}.c value (.*)\.z {1}.y name ^x\.b\.$ X.A",
            asked: "x.a.",
            given: ("x.b.", "x.b."),
            want: ("x.a.", "x.c."),
        },
        Case {
            name: "auto with answer value",
            rules: r"rewrite name suffix .a .b answer auto answer value (.*)\.b\.$ {1}.c",
            asked: "x.a.",
            given: ("x.b.", "x.b."),
            want: ("x.a.", "x.c."),
        },
        Case {
            name: "of several, the last comes first",
            rules: r"rewrite name suffix .a .b answer name ^(.*)\.c\.$ {1}.d answer name ^(.*)\.b\.$ {1}.c",
            asked: "x.a.",
            given: ("x.b.", "z."),
            want: ("x.d.", "z."),
        },
        Case {
            name: "rules that continue are undone in turn",
            rules: "rewrite continue name a.example b.example\nrewrite name b.example c.example",
            asked: "A.example.",
            given: ("c.example.", "c.example."),
            want: ("A.example.", "A.example."),
        },
        Case {
            name: "Gardener's for search paths",
            rules: "rewrite stop {\n name regex (^(?:[^\\.]+\\.)+)svc\\.a\\.b\\.svc\\.a\\.b {1}svc.a.b\n \
                    answer name (^(?:[^\\.]+\\.)+)svc\\.a\\.b {1}svc.a.b.svc.a.b\n \
                    answer value (^(?:[^\\.]+\\.)+)svc\\.a\\.b {1}svc.a.b.svc.a.b\n}",
            asked: "herd.Shop.svc.a.b.svc.a.b.",
            given: ("herd.shop.svc.a.b.", "x.herd.shop.svc.a.b."),
            want: ("herd.Shop.svc.a.b.svc.a.b.", "x.herd.shop.svc.a.b.svc.a.b."),
        },
        Case {
            name: "in braces, over lines",
            rules: "rewrite stop {\n name regex (.*)\\.a {1}.b\n answer name (.*)\\.b {1}.a\n answer value (.*)\\.b {1}.a\n}",
            asked: "x.a.",
            given: ("x.b.", "y.b."),
            want: ("x.a.", "y.a."),
        },
    ];
    for Case { name: case, rules, asked, given, want } in cases {
        let (owner, target) = given;
        let chain = chain(rules, move |_| {
            let srv = RData::SRV(SRV::new(1, 2, 3, name(target)));
            let glue = || vec![Record::from_rdata(name(owner), 30, RData::A(A::new(10, 0, 0, 1)))];
            let answers = vec![Record::from_rdata(name(owner), 30, srv)];
            Reply {
                answers,
                authority: glue(),
                additional: glue(),
                ..Reply::new(ResponseCode::NoError, "last")
            }
            .into()
        });
        let got = names(&reply(run(&chain, &asking(asked)).await));
        let (owner, target) = want;
        let want =
            [format!("{owner} 1 2 3 {target}"), format!("{owner} 10.0.0.1"), format!("{owner} 10.0.0.1")];
        assert_eq!(got, want, "{case}");
    }
}

#[tokio::test]
async fn names_in_every_kind_of_data_come_back() {
    let old = || name("a.new.example.");
    let data = [
        RData::CNAME(CNAME(old())),
        RData::NS(NS(old())),
        RData::PTR(PTR(old())),
        RData::MX(MX::new(5, old())),
        RData::SRV(SRV::new(1, 2, 3, old())),
        RData::SOA(SOA::new(old(), name("admin.new.example."), 1, 2, 3, 4, 5)),
        RData::NAPTR(NAPTR::new(1, 2, (*b"s").into(), (*b"x").into(), (*b"").into(), old())),
        RData::Unknown { code: RecordType::DNAME, rdata: NULL::with(presentation::wire(&old())) },
        RData::TXT(TXT::new(vec!["a.new.example.".to_owned()])),
        // Of wrong length: left as it is.
        RData::Unknown { code: RecordType::DNAME, rdata: NULL::with(vec![5, b'a']) },
    ];
    let given = data.clone();
    let chain = chain("rewrite name suffix .old.example .new.example answer auto", move |_| {
        answer(given.iter().map(|data| record("a.new.example.", data.clone())).collect())
    });
    let got = reply(run(&chain, &asking("a.old.example.")).await);
    let new = || name("a.old.example.");
    let want = [
        RData::CNAME(CNAME(new())),
        RData::NS(NS(new())),
        RData::PTR(PTR(new())),
        RData::MX(MX::new(5, new())),
        RData::SRV(SRV::new(1, 2, 3, new())),
        RData::SOA(SOA::new(new(), name("admin.new.example."), 1, 2, 3, 4, 5)),
        RData::NAPTR(NAPTR::new(1, 2, (*b"s").into(), (*b"x").into(), (*b"").into(), new())),
        RData::Unknown { code: RecordType::DNAME, rdata: NULL::with(presentation::wire(&new())) },
        data[8].clone(),
        data[9].clone(),
    ];
    for (record, want) in got.answers.iter().zip(&want) {
        assert_eq!((&record.name, &record.data), (&new(), want));
    }
}

#[tokio::test]
async fn a_name_that_is_none_is_servfail() {
    let label = "a".repeat(60);
    let long = format!("rewrite name suffix .x .{label}.{label}.{label}.{label}.y");
    for (rules, why) in [
        ("rewrite name a.x b..y", "invalid name after rewrite: b..y."),
        (&long, "invalid name after rewrite: aaaaaaaaaaaaaaaa.aaaa"),
        ("rewrite name suffix .x .y answer name ^(.*)\\.y\\.$ {1}..z", "in the reply after rewrite: a..z."),
    ] {
        let asked = if rules == long { "aaaaaaaaaaaaaaaa.x." } else { "a.x." };
        let chain = chain(rules, |query| answer(vec![address(&query.name().to_ascii(), "10.0.0.1")]));
        match run(&chain, &asking(asked)).await {
            Outcome::Failed(Failure { rcode: ResponseCode::ServFail, error: Some(error), .. }) => {
                assert!(error.contains(why), "{error}");
            }
            other => panic!("{rules}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn rewrite_class() {
    let ask = |class| Ask { class, ..asking("version.bind.") };
    let class = async |rules, asked| seen(rules, &ask(asked)).await.unwrap().class();
    assert_eq!(class("rewrite class ch in", DNSClass::CH).await, DNSClass::IN);
    assert_eq!(class("rewrite class HS IN", DNSClass::CH).await, DNSClass::CH);
    // A rule for another class lets its questions in.
    for (rules, takes) in
        [("rewrite class CH IN", true), ("rewrite class IN CH", false), ("rewrite type A MX", false)]
    {
        assert_eq!(plugins(rules).unwrap()[0].takes_other_classes(), takes, "{rules}");
    }
}

#[tokio::test]
async fn rewrite_type() {
    let ask = |kind| Ask { kind, ..asking("example.org.") };
    let kind = async |rules, asked| seen(rules, &ask(asked)).await.unwrap().kind();
    assert_eq!(kind("rewrite type ANY HINFO", RecordType::ANY).await, RecordType::HINFO);
    assert_eq!(kind("rewrite type any TYPE65280", RecordType::ANY).await, RecordType::Unknown(65280));
    assert_eq!(kind("rewrite type ANY HINFO", RecordType::A).await, RecordType::A);
}

#[tokio::test]
async fn rewrite_ttl() {
    for (rules, ttls) in [
        ("rewrite ttl exact Storefront.shop.svc.cluster.local. 60", [60; 3]),
        ("rewrite ttl storefront.shop.svc.cluster.local 60", [60; 3]),
        ("rewrite ttl exact shop.svc.cluster.local 60", [5, 30, 300]),
        ("rewrite ttl prefix storefront 60", [60; 3]),
        ("rewrite ttl suffix .cluster.local 60", [60; 3]),
        ("rewrite ttl substring shop.svc.cluster.local 60", [60; 3]),
        (r"rewrite ttl regex (.*)\.cluster\.local 60", [60; 3]),
        (r"rewrite continue {\n ttl regex (.*)\.cluster\.local 60\n}", [60; 3]),
        (r"rewrite ttl regex ^shop 60", [5, 30, 300]),
        ("rewrite ttl suffix . 10-60", [10, 30, 60]),
        ("rewrite ttl suffix . -60", [5, 30, 60]),
        ("rewrite ttl suffix . 60-", [60, 60, 300]),
        ("rewrite continue ttl suffix . 10\nrewrite ttl suffix . 20", [10; 3]),
    ] {
        let chain = chain(&rules.replace(r"\n", "\n"), |_| {
            let record = |ttl| Record::from_rdata(name("x."), ttl, RData::A(A::new(10, 0, 0, 1)));
            let (answers, authority, additional) = (vec![record(5)], vec![record(30)], vec![record(300)]);
            Reply { answers, authority, additional, ..Reply::new(ResponseCode::NoError, "last") }.into()
        });
        let got = reply(run(&chain, &asking("STOREFRONT.shop.svc.cluster.local.")).await);
        let got = [&got.answers, &got.authority, &got.additional].map(|section| section[0].ttl);
        assert_eq!(got, ttls, "{rules}");
    }
}

#[tokio::test]
async fn rewrite_rcode() {
    let failed = |rcode| Outcome::Failed(Failure { rcode, error: Some("timeout".to_owned()), ede: None });
    for (rules, given, want) in [
        ("rewrite rcode exact a.example SERVFAIL NXDOMAIN", ResponseCode::ServFail, ResponseCode::NXDomain),
        ("rewrite rcode a.example servfail nxdomain", ResponseCode::ServFail, ResponseCode::NXDomain),
        ("rewrite rcode a.example 2 3", ResponseCode::ServFail, ResponseCode::NXDomain),
        ("rewrite rcode prefix a REFUSED NOERROR", ResponseCode::Refused, ResponseCode::NoError),
        ("rewrite rcode suffix .example NXDOMAIN NOERROR", ResponseCode::NXDomain, ResponseCode::NoError),
        ("rewrite rcode substring a.example NXDOMAIN NOERROR", ResponseCode::NXDomain, ResponseCode::NoError),
        (
            r"rewrite rcode regex ^.\.example\.$ NXDOMAIN NOERROR",
            ResponseCode::NXDomain,
            ResponseCode::NoError,
        ),
        ("rewrite rcode b.example SERVFAIL NXDOMAIN", ResponseCode::ServFail, ResponseCode::ServFail),
        ("rewrite rcode a.example REFUSED NXDOMAIN", ResponseCode::ServFail, ResponseCode::ServFail),
    ] {
        let of_plugin = chain(rules, move |_| Reply::new(given, "last").into());
        assert_eq!(run(&of_plugin, &asking("A.example.")).await.rcode(), want, "{rules}");
        // What the server would say for want of a reply, too; the log still learns why.
        let of_server = chain(rules, move |_| failed(given));
        match run(&of_server, &asking("A.example.")).await {
            Outcome::Failed(Failure { rcode, error: Some(error), .. }) => {
                assert_eq!((rcode, error.as_str()), (want, "timeout"), "{rules}");
            }
            other => panic!("{rules}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn rewrite_cname() {
    let cname = |owner: &str, target: &str| record(owner, RData::CNAME(CNAME(name(target))));
    let upstream = move |query: &Query| {
        let asked = query.name().to_ascii();
        match asked.as_str() {
            "www.example." => answer(vec![
                cname("www.example.", "a.CDN.example."),
                cname("a.cdn.example.", "b.cdn.example."),
                address("b.cdn.example.", "192.0.2.1"),
            ]),
            "a.own.example." => answer(vec![address("a.own.example.", "10.0.0.1")]),
            "broken.own.example." => Outcome::error("no upstream"),
            _ => Reply::new(ResponseCode::NXDomain, "last").into(),
        }
    };
    let ask = async |rules: &str, kind| {
        let router = router(chain(rules, upstream));
        router.resolve(&Ask { kind, ..asking("www.example.") }.by(&router)).await
    };
    let redirected = ["www.example. a.own.example.", "a.own.example. 10.0.0.1"];
    for rules in [
        "rewrite cname exact a.cdn.example a.own.example",
        "rewrite cname a.cdn.example. a.own.example.",
        "rewrite cname suffix .cdn.example. .own.example.",
        "rewrite cname substring cdn own",
        "rewrite cname prefix a.cdn a.own",
        r"rewrite cname regex ^(.*)\.cdn\.(.*)$ {1}.own.{2}",
    ] {
        assert_eq!(names(&reply(ask(rules, RecordType::A).await)), redirected, "{rules}");
    }
    let other = names(&reply(ask("rewrite cname x.cdn.example a.own.example", RecordType::A).await));
    assert_eq!(other.len(), 3, "{other:?}");
    let second = names(&reply(ask("rewrite cname b.cdn.example a.own.example", RecordType::A).await));
    assert_eq!(
        second,
        ["www.example. a.CDN.example.", "a.cdn.example. a.own.example.", "a.own.example. 10.0.0.1"]
    );
    // Nothing is asked for where the alias itself was.
    let alias = reply(ask("rewrite cname a.cdn.example a.own.example", RecordType::CNAME).await);
    assert_eq!(names(&alias)[0], "www.example. a.own.example.");
    // What is not there is not there, and what fails fails.
    let missing = reply(ask("rewrite cname a.cdn.example missing.example", RecordType::A).await);
    assert_eq!((missing.rcode, names(&missing).len()), (ResponseCode::NXDomain, 1));
    let broken = ask("rewrite cname a.cdn.example broken.own.example", RecordType::A).await;
    assert!(matches!(broken, Outcome::Failed(_)), "{broken:?}");
    // A loop ends.
    let looped = ask("rewrite cname a.cdn.example www.example", RecordType::A).await;
    assert!(matches!(looped, Outcome::Failed(_)), "{looped:?}");
}

/// An option of the query that the plugins behind see.
async fn option_seen(rules: &str, ask: &Ask, code: u16) -> Option<Vec<u8>> {
    let query = seen(rules, ask).await.unwrap();
    let option = query.edns()?.option(EdnsCode::from(code))?;
    Some(Vec::try_from(option).unwrap())
}

#[tokio::test]
async fn rewrite_edns0() {
    let plain = asking("Example.org.");
    let code = 0xffee;
    let given = "rewrite continue edns0 local set 0xffee old\n";
    struct Case {
        name: &'static str,
        rule: &'static str,
        /// What becomes of no option, and of `old`.
        want: [Option<&'static [u8]>; 2],
    }
    let cases = [
        Case {
            name: "set",
            rule: "rewrite edns0 local set 0xffee abcd",
            want: [Some(b"abcd"), Some(b"abcd")],
        },
        Case {
            name: "in decimal",
            rule: "rewrite edns0 local set 65518 abcd",
            want: [Some(b"abcd"), Some(b"abcd")],
        },
        Case {
            name: "hex",
            rule: "rewrite edns0 local set 0xffee 0x6100fF",
            want: [Some(b"a\0\xff"), Some(b"a\0\xff")],
        },
        Case {
            name: "append",
            rule: "rewrite edns0 local append 0xffee new",
            want: [Some(b"new"), Some(b"old")],
        },
        Case { name: "replace", rule: "rewrite edns0 local replace 0xffee new", want: [None, Some(b"new")] },
        Case { name: "unset", rule: "rewrite edns0 local unset 0xffee", want: [None, None] },
        Case {
            name: "revert",
            rule: "rewrite edns0 local set 0xffee new revert",
            want: [Some(b"new"), Some(b"new")],
        },
        Case { name: "another", rule: "rewrite edns0 local set 0xffed new", want: [None, Some(b"old")] },
    ];
    for Case { name, rule, want } in cases {
        let got = [
            option_seen(rule, &plain, code).await,
            option_seen(&format!("{given}{rule}"), &plain, code).await,
        ];
        assert_eq!(got.map(|o| o.map(|bytes| bytes.to_vec())), want.map(|o| o.map(<[u8]>::to_vec)), "{name}");
    }

    let variable = async |variable: &str, ask: &Ask| {
        option_seen(&format!("rewrite edns0 local set 0xffee {variable}"), ask, code).await
    };
    let v6 =
        Ask { source: "[fd00::1]:4096", local: "[fd00::2]:53", protocol: Protocol::Tcp, ..plain.clone() };
    for (text, want, want_v6) in [
        ("{qname}", b"Example.org.".to_vec(), b"Example.org.".to_vec()),
        ("{qtype}", vec![0, 1], vec![0, 1]),
        ("{client_ip}", vec![10, 240, 0, 1], [&[0xfd][..], &[0; 14], &[1]].concat()),
        ("{client_port}", 40212_u16.to_be_bytes().to_vec(), vec![0x10, 0]),
        ("{protocol}", b"udp".to_vec(), b"tcp".to_vec()),
        ("{server_ip}", vec![10, 96, 0, 10], [&[0xfd][..], &[0; 14], &[2]].concat()),
        ("{server_port}", vec![0, 53], vec![0, 53]),
    ] {
        assert_eq!(variable(text, &plain).await, Some(want), "{text}");
        assert_eq!(variable(text, &v6).await, Some(want_v6), "{text}");
    }
    let renamed = "rewrite continue name example.org example.net\nrewrite edns0 local set 0xffee {qname}";
    assert_eq!(option_seen(renamed, &plain, code).await, Some(b"example.net.".to_vec()));

    // Facts are sent where there are any.
    let rule = "rewrite edns0 local set 0xffee {kubernetes/client-namespace}";
    assert_eq!(option_seen(rule, &plain, code).await, None);
    let facts = Facts::default();
    facts.set("kubernetes/client-namespace", "lab");
    let query = seen_of(rule, &plain.query().with_facts(Arc::new(facts))).await.unwrap();
    let option = query.edns().unwrap().option(EdnsCode::from(code)).unwrap();
    assert_eq!(*option, EdnsOption::Unknown(code, b"lab".to_vec()));

    assert_eq!(option_seen("rewrite edns0 nsid set", &plain, 3).await, Some(vec![]));
    assert_eq!(option_seen("rewrite edns0 nsid replace", &plain, 3).await, None);
    let unset = "rewrite continue edns0 nsid append revert\nrewrite edns0 nsid unset";
    assert_eq!(option_seen(unset, &plain, 3).await, None);

    let subnet = "rewrite edns0 subnet set 20 50";
    assert_eq!(option_seen(subnet, &plain, 8).await, Some(vec![0, 1, 20, 0, 10, 240, 0]));
    assert_eq!(option_seen(subnet, &v6, 8).await, Some(vec![0, 2, 50, 0, 0xfd, 0, 0, 0, 0, 0, 0]));
    let unset = format!("rewrite continue {}\nrewrite edns0 subnet unset", &subnet["rewrite ".len()..]);
    assert_eq!(option_seen(&unset, &plain, 8).await, None);

    // The client's own record is kept.
    let ask = Ask { edns: Some((1232, true)), ..plain };
    let query = seen("rewrite edns0 nsid set", &ask).await.unwrap();
    assert_eq!((query.max_payload(), query.dnssec_ok()), (1232, true));
    // A rule without effect does not stop.
    let rules = "rewrite edns0 local replace 0xffee x\nrewrite name example.org example.net";
    assert_eq!(name_seen(rules, "example.org.").await, "example.net.");
}

#[tokio::test]
async fn the_client_never_sees_options_that_rules_made() {
    let chain = chain("rewrite edns0 nsid set", |_| answer(vec![address("example.org.", "10.0.0.1")]));
    let query = Ask { edns: Some((1232, false)), ..Ask::default() }.query();
    let reply = reply(Next::all(&chain).run(&query).await);
    let bytes = crate::node::reply::encode(&query, &reply).unwrap();
    let message = hickory_proto::op::Message::from_vec(&bytes).unwrap();
    assert!(message.edns.unwrap().options().as_ref().is_empty());
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (rules, why) in [
        ("rewrite", "write 'rewrite [continue|stop] FIELD ...'"),
        ("rewrite stop", "no field to rewrite"),
        ("rewrite stop {\n}", "no field to rewrite"),
        ("rewrite nmae a b", "invalid rule type 'nmae'; known are: name, answer, class, type"),
        ("rewrite answer name a b", "'answer' belongs to a 'name' rule"),
        ("rewrite name a", "write 'name [exact|prefix|suffix|substring|regex] FROM TO"),
        ("rewrite name a b c", "'a' is no way to match a name: write one of exact"),
        ("rewrite name regex ( b", "'(' is not a regular expression"),
        ("rewrite name regex (a) {2}", "uses group 2"),
        ("rewrite name exact a b c", "'c' after FROM and TO"),
        ("rewrite name exact a b answer", "write 'name [exact"),
        ("rewrite name exact a b answer c d e", "invalid answer rule 'c'"),
        ("rewrite name regex a b answer name c", "write 'answer name REGEX TO'"),
        ("rewrite name regex a b answer value (c {1}", "'(c' is not a regular expression"),
        ("rewrite name suffix a b answer auto answer name c d", "exclude each other"),
        ("rewrite name exact a b {\n answer auto\n}", "takes no block"),
        ("rewrite class IN", "write 'class FROM TO'"),
        ("rewrite class IN XX", "'XX' is no class"),
        ("rewrite type A BB", "'BB' is no record type"),
        ("rewrite ttl a", "write 'ttl "),
        ("rewrite ttl a -", "invalid TTL '-'"),
        ("rewrite ttl a 60-30", "invalid TTL '60-30'"),
        ("rewrite ttl a 4294967295", "invalid TTL"),
        ("rewrite rcode a NXDOMAIN", "write 'rcode "),
        ("rewrite rcode a NXDOMAIN NOPE", "'NOPE' is no rcode"),
        ("rewrite rcode a 24 0", "'24' is no rcode"),
        ("rewrite cname a", "write 'cname "),
        ("rewrite edns0 local", "write 'edns0 local|nsid|subnet"),
        ("rewrite edns0 local add 1 x", "must be one of: set, append, replace, unset"),
        ("rewrite edns0 local set 1", "write 'edns0 local set|append|replace CODE DATA"),
        ("rewrite edns0 local set 70000 x", "'70000' is no option code"),
        ("rewrite edns0 local set 1 0xabc", "even number of hexadecimal digits"),
        ("rewrite edns0 local set 1 {qclass}", "unknown variable '{qclass}'"),
        ("rewrite edns0 local unset 1 x", "write 'edns0 local unset CODE'"),
        ("rewrite edns0 nsid set x", "write 'edns0 nsid "),
        ("rewrite edns0 subnet set 33 56", "from 0 to 32"),
        ("rewrite edns0 cookie set x", "invalid EDNS0 option 'cookie'"),
    ] {
        let error = refusal(rules);
        assert!(error.starts_with("Corefile:2 - ") && error.contains(why), "{rules}: {error}");
    }
}

#[tokio::test]
async fn gardener_s_rules_work() {
    let text = include_str!("../../../../tests/corefile/fixtures/gardener.corefile");
    let corefile = corefile::parse(text, "Corefile", &LoadOptions::default()).unwrap();
    let directives: Vec<_> = corefile.blocks[0].all(NAME).collect();
    assert_eq!(directives.len(), 2);
    let rules = directives.iter().map(|d| Rule::read(d).unwrap()).collect();
    let plugin: Arc<dyn Plugin> = Arc::new(Rewrite { rules });
    let inner = chain("debug", |query| {
        assert_eq!(query.name().to_ascii(), "_http._tcp.herd.shop.svc.cluster.local.");
        let target = name("10-244-1-7.herd.shop.svc.cluster.local.");
        let srv = RData::SRV(SRV::new(0, 100, 80, target.clone()));
        let answers = vec![Record::from_rdata(query.name().clone(), 30, srv)];
        let additional = vec![Record::from_rdata(target, 30, RData::A(A::new(10, 244, 1, 7)))];
        Reply { answers, additional, ..Reply::new(ResponseCode::NoError, "last") }.into()
    });
    let chain: crate::node::chain::Chain = [&[plugin][..], &inner[..]].concat().into();
    let ask = Ask { kind: RecordType::SRV, ..asking("_http._tcp.Herd.shop.svc.production.example.") };
    assert_eq!(
        names(&reply(run(&chain, &ask).await)),
        [
            "_http._tcp.Herd.shop.svc.production.example. 0 100 80 10-244-1-7.herd.shop.svc.production.example.",
            "10-244-1-7.herd.shop.svc.production.example. 10.244.1.7",
        ]
    );
}

proptest! {
    #[test]
    fn no_rules_and_no_query_make_it_panic(
        rules in proptest::collection::vec(
            (
                prop_oneof!["stop", "continue"],
                prop_oneof![
                    "name (exact|prefix|suffix|substring) [.a-c]{1,6} [.a-c]{1,6}( answer auto)?",
                    r"name regex (\(a\*\)|\(b\|c\)\|.|\^) [.a-c]{0,4}(\{[01]\})?[.a-c]{1,4}( answer (name|value) \(a\) \{1\}[.a-c]{1,4}){0,2}",
                    "ttl (suffix|substring) [.a-c]{1,2} [0-9]{1,3}-",
                    "rcode suffix [.a-c]{1,2} [0-9] [0-9]",
                    "cname (exact|prefix|suffix|substring) [.a-c]{1,4} [.a-c]{1,4}",
                    r"edns0 local (set|append|replace) 0xffee (abc|\{qname\}|\{client_ip\})( revert)?",
                    "type (A|ANY) (A|AAAA|MX)",
                ],
            ),
            1..5,
        ),
        labels in proptest::collection::vec("[a-c]{1,3}", 0..4),
        owner in proptest::collection::vec("[a-cA-C]{1,3}", 0..4),
    ) {
        let body: Vec<_> = rules.iter().map(|(mode, rule)| format!("rewrite {mode} {rule}")).collect();
        let owner = format!("{}.", owner.join("."));
        if let Ok(made) = plugins(&body.join("\n")) {
            let last = chain("debug", move |_| {
                answer(vec![record(&owner, RData::CNAME(CNAME(name(&owner)))), address(&owner, "10.0.0.1")])
            });
            let router = router([&made[..], &last[..]].concat());
            let query = Ask::default().by(&router);
            let asked = name(&labels.join("."));
            let query = query.changed(|m| { m.queries[0].set_name(asked); }).unwrap();
            let outcome = router.resolve(&query).now_or_never().expect("nothing waits");
            if let Outcome::Reply(reply) = outcome {
                prop_assert!(crate::node::reply::encode(&query, &reply).is_some());
            }
        }
    }
}
