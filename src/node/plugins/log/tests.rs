//! Whole lines, from the Corefile to the log.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{Name, RData};

use crate::node::chain::Outcome;
use crate::node::reply::Reply;
use crate::node::test_support::{Ask, Logs, address, chain, plugins, record, run};

/// A reply whose class the first label of the question names.
fn by_name(name: &str) -> Outcome {
    let root = Name::root;
    let soa = || record("example.", RData::SOA(SOA::new(root(), root(), 1, 2, 3, 4, 5)));
    let reply = |rcode| Reply::new(rcode, "last");
    match name.to_ascii_lowercase().split('.').next().unwrap() {
        "ok" => Reply { answers: vec![address("ok.", "192.0.2.1")], ..reply(ResponseCode::NoError) }.into(),
        "referral" => {
            let ns = record("referral.", RData::NS(NS(root())));
            Reply { authority: vec![ns], ..reply(ResponseCode::NoError) }.into()
        }
        "nodata" => Reply { authority: vec![soa()], ..reply(ResponseCode::NoError) }.into(),
        "none" => Reply { authority: vec![soa()], ..reply(ResponseCode::NXDomain) }.into(),
        "refused" => reply(ResponseCode::Refused).into(),
        _ => Outcome::error("i/o timeout"),
    }
}

/// Names of all outcomes.
const OUTCOMES: [&str; 6] = ["ok.", "referral.", "nodata.", "none.", "refused.", "failed."];

/// The lines that these options make of these questions.
async fn logged(body: &str, names: &[&'static str]) -> Vec<String> {
    let logs = Logs::capture("");
    let chain = chain(body, |query| by_name(&query.name().to_ascii()));
    for &name in names {
        run(&chain, &Ask { name, ..Ask::default() }).await;
    }
    logs.take()
}

#[tokio::test(start_paused = true)]
async fn lines_are_coredns_s() {
    let lines = logged("log", &["OK.", "none.", "failed."]).await;
    let size = |name| {
        let query = Ask { name, ..Ask::default() }.query();
        by_name(&query.name().to_ascii()).into_reply().unwrap().uncompressed_len(&query)
    };
    let (ok, none) = (size("ok."), size("none."));
    assert_eq!(
        lines,
        [
            format!(r#"[INFO] 10.240.0.1:40212 - 7 "A IN ok. udp 20 false 512" NOERROR qr,rd {ok} 0s"#),
            format!(r#"[INFO] 10.240.0.1:40212 - 7 "A IN none. udp 22 false 512" NXDOMAIN qr,rd {none} 0s"#),
            r#"[INFO] 10.240.0.1:40212 - 7 "A IN failed. udp 24 false 512" - - 0 0s"#.to_owned(),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn log_class() {
    struct Case {
        name: &'static str,
        body: &'static str,
        asked: &'static [&'static str],
        want: &'static [&'static str],
    }
    let cases = [
        Case {
            name: "a format follows a name",
            body: "log . \"{name} {rcode}\"",
            asked: &["ok.", "none."],
            want: &["ok. NOERROR", "none. NXDOMAIN"],
        },
        Case {
            name: "a format alone is a name, and there is nothing below it",
            body: "log {name}",
            asked: &["ok."],
            want: &[
                "plugin/log: '{name}' is taken for a name, so nothing is logged by this line: write 'log . \
                     FORMAT', at Corefile:2",
            ],
        },
        Case {
            name: "several names",
            body: "log a.example B.example \"{name}\"",
            asked: &["ok.a.example.", "ok.b.EXAMPLE.", "a.example.", "ok.c.example.", "a.example.org."],
            want: &["ok.a.example.", "ok.b.example.", "a.example."],
        },
        Case {
            name: "a prefix is its reverse zones",
            body: "log 10.0.0.0/8 \"{name}\"",
            asked: &["1.0.0.10.in-addr.arpa.", "1.0.0.11.in-addr.arpa."],
            want: &["1.0.0.10.in-addr.arpa."],
        },
        Case {
            name: "the first rule that a name is within decides",
            body: "log example \"1 {name}\" {\n class denial\n}\nlog . \"2 {name}\"",
            asked: &["ok.example.", "none.example.", "ok.org."],
            want: &["1 none.example.", "2 ok.org."],
        },
        Case {
            name: "no class is every class",
            body: "log . {rcode}",
            asked: &OUTCOMES,
            want: &["NOERROR", "NOERROR", "NOERROR", "NXDOMAIN", "REFUSED", "-"],
        },
        Case { name: "all", body: "log . {name} {\n class all\n}", asked: &OUTCOMES, want: &OUTCOMES },
        Case {
            name: "success",
            body: "log . {name} {\n class success\n}",
            asked: &OUTCOMES,
            want: &["ok.", "referral."],
        },
        Case {
            name: "denial",
            body: "log . {name} {\n class denial\n}",
            asked: &OUTCOMES,
            want: &["nodata.", "none."],
        },
        Case {
            name: "error",
            body: "log . {name} {\n class error\n}",
            asked: &OUTCOMES,
            want: &["refused.", "failed."],
        },
        Case {
            name: "classes add up",
            body: "log . {name} {\n class error\n class denial success\n}",
            asked: &OUTCOMES,
            want: &OUTCOMES,
        },
    ];
    for Case { name, body, asked, want } in cases {
        let lines = logged(body, asked).await;
        let bare = |line: &String| line.split_once("] ").unwrap().1.to_owned();
        assert_eq!(lines.iter().map(bare).collect::<Vec<_>>(), want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn facts_say_class_and_type() {
    let lines = logged("metadata\nlog . \"{name} {/log/class} {/log/type}\"", &OUTCOMES).await;
    assert_eq!(
        lines,
        [
            "[INFO] ok. success NOERROR",
            "[INFO] referral. success DELEGATION",
            "[INFO] nodata. denial NODATA",
            "[INFO] none. denial NXDOMAIN",
            "[INFO] refused. error OTHERERROR",
            "[INFO] failed. error SERVERERROR",
        ]
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (body, line, want) in [
        ("log {\n classes error\n}", 3, "plugin/log: unknown property 'classes'; did you mean 'class'?"),
        ("log {\n class\n}", 3, "write 'class all|success|denial|error...'"),
        ("log . {\n class all errors\n}", 3, "'errors' must be one of: all, success, denial, error"),
        ("log\nlog a..b", 3, "empty label"),
    ] {
        let Err(error) = plugins(body) else { panic!("{body} is accepted") };
        assert_eq!((&*error.position().file, error.position().line), ("Corefile", line), "{body}");
        assert!(error.message().contains(want), "{body}: {error}");
    }
}
