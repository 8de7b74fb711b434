//! Whole lines, from the event to the sink.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;

/// A sink that keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that `log` leads to.
fn logged(format: LogFormat, filter: &str, log: impl FnOnce(&Telemetry)) -> Vec<String> {
    let kept = Kept::default();
    let (subscriber, telemetry) = build(format, parse_filter(filter).unwrap(), kept.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || log(&telemetry));
    assert!(telemetry.flush(Duration::from_secs(10)));
    let written = kept.0.lock().unwrap().clone();
    String::from_utf8(written).unwrap().lines().map(str::to_owned).collect()
}

#[derive(Debug, thiserror::Error)]
#[error("reading snapshot gen-12")]
struct Outer(#[source] io::Error);

#[test]
fn text_lines_look_like_corednss() {
    struct Case {
        name: &'static str,
        log: fn(),
        want: &'static str,
    }
    let cases = [
        Case {
            name: "a plugin's name is the prefix",
            log: || tracing::info!(target: "plugin/kubernetes", "synced"),
            want: "[INFO] plugin/kubernetes: synced",
        },
        Case {
            name: "the query log's line stands alone",
            log: || tracing::info!(target: "plugin/log", r#"10.0.0.1:5 - 7 "A IN a. udp 19 false 512" NOERROR"#),
            want: r#"[INFO] 10.0.0.1:5 - 7 "A IN a. udp 19 false 512" NOERROR"#,
        },
        Case {
            name: "errors of plugins, as users grep them",
            log: || tracing::error!(target: "plugin/errors", "2 example.org. A: i/o timeout"),
            want: "[ERROR] plugin/errors: 2 example.org. A: i/o timeout",
        },
        Case {
            name: "our modules are shortened, fields follow",
            log: || tracing::warn!(target: "outlast::store", age = 31u64, why = "connection refused", "stale"),
            want: r#"[WARNING] store: stale age=31 why="connection refused""#,
        },
        Case {
            name: "values of each kind",
            log: || tracing::info!(target: "x", a = -1, b = 2u64, c = 0.5, d = true, e = %"f:1", f = ?Some("g"), "m"),
            want: r#"[INFO] x: m a=-1 b=2 c=0.5 d=true e=f:1 f="Some(\"g\")""#,
        },
        Case {
            name: "an error with its cause",
            log: || {
                let error = Outer(io::Error::other("checksum differs"));
                tracing::error!(target: "x", error = &error as &dyn std::error::Error, "not loaded");
            },
            want: r#"[ERROR] x: not loaded error="reading snapshot gen-12: checksum differs""#,
        },
        Case {
            name: "one line whatever is in it",
            log: || tracing::info!(target: "x", name = %"a\nb", "c\n[INFO] forged\x1b[2J\u{85}"),
            want: r#"[INFO] x: c\n[INFO] forged\u{1b}[2J\u{85} name="a\nb""#,
        },
        Case { name: "no message", log: || tracing::info!(target: "x", a = 1), want: "[INFO] x:  a=1" },
    ];
    for Case { name, log, want } in cases {
        assert_eq!(logged(LogFormat::Text, "", |_| log()), [want], "{name}");
    }
}

#[test]
fn json_lines_are_objects() {
    let lines = logged(LogFormat::Json, "", |_| {
        tracing::warn!(target: "plugin/forward", to = %"10.0.0.1:53", tries = 3, ratio = f64::NAN, "no\nanswer");
        tracing::info!(target: "outlast::store", "loaded");
    });
    assert_eq!(lines.len(), 2);
    let mut objects: Vec<serde_json::Value> =
        lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    for object in &mut objects {
        let timestamp = object.as_object_mut().unwrap().remove("timestamp").unwrap();
        let timestamp = timestamp.as_str().unwrap();
        assert!(
            timestamp.len() > 20 && timestamp.starts_with("20") && timestamp.ends_with('Z'),
            "{timestamp}"
        );
        assert_eq!(timestamp.as_bytes()[10], b'T');
    }
    assert_eq!(
        objects,
        [
            serde_json::json!({
                "level": "WARN", "target": "plugin/forward", "message": "no\nanswer",
                "fields": { "to": "10.0.0.1:53", "tries": 3, "ratio": "NaN" },
            }),
            serde_json::json!({ "level": "INFO", "target": "outlast::store", "message": "loaded" }),
        ]
    );
}

#[test]
fn long_values_are_cut_and_the_object_stays_whole() {
    let lines = logged(LogFormat::Json, "", |_| {
        let long = "é".repeat(20_000);
        tracing::info!(target: "x", long, "{}", "y".repeat(20_000));
    });
    let object: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert!(object["message"].as_str().unwrap().ends_with("yyy..."));
    assert!(object["fields"]["long"].as_str().unwrap().ends_with("éé..."));
}

#[test]
fn dropped_lines_are_told_in_the_format() {
    assert_eq!(
        text::dropped_notice(3),
        "[WARNING] log: lines dropped, the reader of the log is too slow lines=3\n"
    );
    let line: serde_json::Value = serde_json::from_str(&json::dropped_notice(3)).unwrap();
    assert_eq!((&line["level"], &line["fields"]["lines"]), (&"WARN".into(), &3.into()));
}

/// One line at debug level from each of four targets, one at info level, and one of who warns too often.
fn log_everywhere() {
    tracing::debug!(target: "outlast::store", "own");
    tracing::debug!(target: "plugin/forward", "forward");
    tracing::debug!(target: "plugin/cache", "cache");
    tracing::debug!(target: "hyper", "foreign");
    tracing::info!(target: "hyper", "info");
    tracing::warn!(target: "nlink::netlink::connection", "refused");
}

#[test]
fn the_filter_chooses_lines() {
    struct Case {
        filter: &'static str,
        want: &'static [&'static str],
    }
    let cases = [
        Case { filter: "", want: &["[INFO] hyper: info"] },
        Case { filter: "error", want: &[] },
        Case {
            filter: "plugin/forward=debug",
            want: &["[DEBUG] plugin/forward: forward", "[INFO] hyper: info"],
        },
        Case { filter: " off , outlast=trace,", want: &["[DEBUG] store: own"] },
        Case { filter: "hyper=off", want: &[] },
        Case { filter: "error,nlink=warn", want: &["[WARNING] nlink::netlink::connection: refused"] },
    ];
    for Case { filter, want } in cases {
        assert_eq!(logged(LogFormat::Text, filter, |_| log_everywhere()), want, "{filter:?}");
    }
}

#[test]
fn debug_is_switched_while_running() {
    let lines = logged(LogFormat::Text, "plugin/cache=error", |telemetry| {
        log_everywhere();
        telemetry.debug_switch().set(true);
        log_everywhere();
        telemetry.debug_switch().set(false);
        log_everywhere();
    });
    assert_eq!(
        lines,
        [
            "[INFO] hyper: info",
            "[DEBUG] store: own",
            "[DEBUG] plugin/forward: forward",
            "[DEBUG] plugin/cache: cache",
            "[INFO] hyper: info",
            "[INFO] hyper: info",
        ]
    );
}

#[test]
fn debug_never_takes_away() {
    let targets = with_debug(&parse_filter("warn,outlast::store=trace,hyper=info").unwrap());
    for (target, level, want) in [
        ("outlast::store", tracing::Level::TRACE, true),
        ("outlast::hub", tracing::Level::DEBUG, true),
        ("outlast::hub", tracing::Level::TRACE, false),
        ("plugin/log", tracing::Level::DEBUG, true),
        ("hyper", tracing::Level::DEBUG, false),
        ("other", tracing::Level::INFO, false),
    ] {
        assert_eq!(targets.would_enable(target, &level), want, "{target} {level}");
    }
}

#[test]
fn a_bad_filter_says_what_would_be_right() {
    for (filter, want) in [
        ("verbose", r#""verbose" is no level"#),
        ("outlast=loud", r#""loud" is no level"#),
        ("=debug", r#""=debug" names no target"#),
    ] {
        let error = parse_filter(filter).map(drop).unwrap_err().to_string();
        assert!(error.contains(want) && error.contains("e.g. info,plugin/forward=debug"), "{error}");
    }
}

#[test]
fn formats_are_read() {
    assert_eq!("text".parse(), Ok(LogFormat::Text));
    assert_eq!("json".parse(), Ok(LogFormat::Json));
    let error = "xml".parse::<LogFormat>().unwrap_err().to_string();
    assert_eq!(error, r#"unknown log format "xml": it is text or json"#);
}
