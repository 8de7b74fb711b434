//! Whole lines, from the Corefile to the log.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::node::chain::{Chain, Failure, Outcome};
use crate::node::reply::Reply;
use crate::node::test_support::{Ask, Logs, chain, plugins, router, run};

/// Fails with the question's name as the error, `.` and all.
fn failing(body: &str) -> Chain {
    chain(body, |query| Outcome::error(query.name().to_ascii()))
}

async fn ask(chain: &Chain, name: &'static str) {
    run(chain, &Ask { name, ..Ask::default() }).await;
}

#[tokio::test]
async fn failures_are_logged_and_replies_are_not() {
    struct Case {
        name: &'static str,
        outcome: fn() -> Outcome,
        want: &'static [&'static str],
    }
    fn failed(rcode: ResponseCode, error: Option<&str>) -> Outcome {
        Outcome::Failed(Failure { rcode, error: error.map(str::to_owned), ede: None })
    }
    let cases = [
        Case {
            name: "an error",
            outcome: || Outcome::error("read udp 10.0.0.1:53->8.8.8.8:53: i/o timeout"),
            want: &[
                "[ERROR] plugin/errors: 2 example.org. AAAA: read udp 10.0.0.1:53->8.8.8.8:53: i/o timeout",
            ],
        },
        Case {
            name: "another rcode",
            outcome: || failed(ResponseCode::Refused, Some("concurrent queries exceeded maximum 1000")),
            want: &["[ERROR] plugin/errors: 5 example.org. AAAA: concurrent queries exceeded maximum 1000"],
        },
        Case {
            name: "a failure that needs no word",
            outcome: || failed(ResponseCode::FormErr, None),
            want: &[],
        },
        Case {
            name: "a reply, even SERVFAIL",
            outcome: || Reply::new(ResponseCode::ServFail, "last").into(),
            want: &[],
        },
    ];
    for Case { name, outcome, want } in cases {
        for body in ["errors", "errors stdout"] {
            let logs = Logs::capture("");
            let chain = chain(body, move |_| outcome());
            let asked = Ask { name: "Example.ORG.", kind: RecordType::AAAA, ..Ask::default() };
            let rcode = run(&chain, &asked).await.rcode();
            assert_eq!(rcode, outcome().rcode(), "{name}: the outcome is handed on");
            assert_eq!(logs.take(), want, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_period_begins_with_its_first_error_and_ends_by_itself() {
    let logs = Logs::capture("");
    let chain = failing("errors {\n consolidate 30s \"^timeout\"\n}");
    tokio::time::sleep(Duration::from_secs(20)).await;
    ask(&chain, "timeout.a.").await;
    tokio::time::sleep(Duration::from_secs(29)).await;
    ask(&chain, "timeout.b.").await;
    ask(&chain, "other.").await;
    assert_eq!(logs.take(), ["[ERROR] plugin/errors: 2 other. A: other."], "matches are only counted");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(logs.take(), ["[ERROR] plugin/errors: 2 errors like '^timeout' occurred in last 30s"]);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(logs.take(), [""; 0], "there is nothing to tell of");
    ask(&chain, "timeout.c.").await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(logs.take(), ["[ERROR] plugin/errors: 1 errors like '^timeout' occurred in last 30s"]);
}

#[tokio::test(start_paused = true)]
async fn errors_consolidate() {
    struct Case {
        name: &'static str,
        options: &'static str,
        errors: &'static [&'static str],
        want: &'static [&'static str],
    }
    let cases = [
        Case {
            name: "the period",
            options: "consolidate 1m a",
            errors: &["a.", "a."],
            want: &["[ERROR] plugin/errors: 2 errors like 'a' occurred in last 1m0s"],
        },
        Case {
            name: "no period at all",
            options: "consolidate 0 a",
            errors: &["a."],
            want: &["[ERROR] plugin/errors: 1 errors like 'a' occurred in last 0s"],
        },
        Case {
            name: "warning",
            options: "consolidate 1s a warning",
            errors: &["a."],
            want: &["[WARNING] plugin/errors: 1 errors like 'a' occurred in last 1s"],
        },
        Case {
            name: "error",
            options: "consolidate 1s a error",
            errors: &["a."],
            want: &["[ERROR] plugin/errors: 1 errors like 'a' occurred in last 1s"],
        },
        Case {
            name: "info",
            options: "consolidate 1s a info",
            errors: &["a."],
            want: &["[INFO] plugin/errors: 1 errors like 'a' occurred in last 1s"],
        },
        Case {
            name: "debug",
            options: "consolidate 1s a debug",
            errors: &["a."],
            want: &["[DEBUG] plugin/errors: 1 errors like 'a' occurred in last 1s"],
        },
        Case {
            name: "the first pattern counts, and an expression may match anywhere",
            options: "consolidate 1s b\nconsolidate 2s \"[a-z]\" info",
            errors: &["ab.", "a.", "xx."],
            want: &[
                "[ERROR] plugin/errors: 1 errors like 'b' occurred in last 1s",
                "[INFO] plugin/errors: 2 errors like '[a-z]' occurred in last 2s",
            ],
        },
        Case {
            name: "the first is shown, and is all there is",
            options: "consolidate 1s a show_first",
            errors: &["a."],
            want: &["[ERROR] plugin/errors: 2 a. A: a."],
        },
        Case {
            name: "the first is shown at its level, and the others are counted with it",
            options: "consolidate 1s a info show_first",
            errors: &["a.", "a.", "a."],
            want: &[
                "[INFO] plugin/errors: 2 a. A: a.",
                "[INFO] plugin/errors: 3 errors like 'a' occurred in last 1s",
            ],
        },
    ];
    for Case { name, options, errors, want } in cases {
        let logs = Logs::capture("debug");
        let chain = failing(&format!("errors {{\n{options}\n}}"));
        for error in errors {
            ask(&chain, error).await;
        }
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(logs.take(), want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_counted_is_told_at_the_end() {
    let logs = Logs::capture("");
    let chain = failing("errors {\n consolidate 30s a\n consolidate 30s b\n}");
    for name in ["a.", "a.", "a."] {
        ask(&chain, name).await;
    }
    drop(chain);
    assert_eq!(logs.take(), ["[ERROR] plugin/errors: 3 errors like 'a' occurred in last 30s"]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(logs.take(), [""; 0], "once");
}

#[tokio::test]
async fn errors_stacktrace() {
    let panicking = |body| {
        router(chain(body, |query| match query.kind() {
            RecordType::A => panic!("at the disco"),
            _ => Outcome::error("no panic"),
        }))
    };
    let caught = "[ERROR] router: a query's handling panicked name=example.org. kind=A";

    let logs = Logs::capture("");
    let plain = panicking("errors");
    assert_eq!(plain.answer(&Ask::default().by(&plain)).await.unwrap().rcode, ResponseCode::ServFail);
    assert_eq!(logs.take(), [caught]);

    let traced = panicking("errors {\n stacktrace\n}");
    assert_eq!(traced.answer(&Ask::default().by(&traced)).await.unwrap().rcode, ResponseCode::ServFail);
    let lines = logs.take();
    let [told, again] = &lines[..] else { panic!("{lines:?}") };
    let begin = format!("[ERROR] plugin/errors: 2 example.org. A: panic: at the disco location={}:", file!());
    assert!(told.starts_with(&begin), "{told}");
    let (_, calls) = told.split_once(" calls=\"").unwrap();
    assert!(calls.contains("errors_stacktrace"), "{calls}");
    assert!(calls.contains("test_support"), "{calls}");
    assert!(!calls.contains("panicking::") && !calls.contains("panics::"), "only the way there: {calls}");
    assert_eq!(again, caught, "the panic goes on to the router");

    let asked = Ask { kind: RecordType::MX, ..Ask::default() };
    traced.answer(&asked.by(&traced)).await;
    assert_eq!(logs.take(), ["[ERROR] plugin/errors: 2 example.org. MX: no panic"], "errors are as ever");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let long = format!("errors {{\n consolidate 1s {}\n}}", "a".repeat(10_001));
    for (body, line, want) in [
        ("errors stderr", 2, "invalid log file 'stderr': errors go to standard output"),
        ("errors a b", 2, "write 'errors [stdout]'"),
        ("errors\nerrors", 3, "once per Server Block"),
        ("errors {\n stack\n}", 3, "unknown property 'stack'; known are: stacktrace, consolidate"),
        ("errors {\n stacktrace on\n}", 3, "write 'stacktrace'"),
        ("errors {\n consolidate 1s\n}", 3, "write 'consolidate DURATION REGEXP"),
        ("errors {\n consolidate 1s a info show_first b\n}", 3, "write 'consolidate DURATION REGEXP"),
        ("errors {\n consolidate 5 a\n}", 3, "missing unit in duration '5'"),
        ("errors {\n consolidate 1s a fatal\n}", 3, "'fatal' must be one of: warning, error, info, debug"),
        ("errors {\n consolidate 1s a info first\n}", 3, "'first' must be one of: show_first"),
        ("errors {\n consolidate 1s a show_first info\n}", 3, "'show_first' must be one of"),
        ("errors {\n consolidate 1s \"(a\"\n}", 3, "'(a' is not a regular expression: unclosed group"),
        (&long, 3, "has 10001 bytes: at most 10000 are allowed"),
    ] {
        let Err(error) = plugins(body) else { panic!("{body} is accepted") };
        assert_eq!((&*error.position().file, error.position().line), ("Corefile", line), "{body}");
        assert!(error.message().contains(want), "{body}: {error}");
    }
}
