//! What can become of a request, as far as a follower acts differently on it.
//!
//! Pure: status lines, bodies of errors and ERROR events in, a [`Fault`] out.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use kube::core::Status;

/// Longest wait that a server may ask of us. Longer ones are mistakes, and would outlast the fault.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How much of a server's words is kept, in characters: a line of a log.
const MAX_WORDS: usize = 512;

/// Why a request failed. Expected outcomes of following a server that other people operate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The version that was asked for is not kept any more (410, or an ERROR event of 410).
    #[error("the API server does not keep this resourceVersion any more: {why}")]
    Expired {
        /// The server's words.
        why: String,
    },
    /// The version that was asked for has not been reached by the server (504 with cause
    /// `ResourceVersionTooLarge`).
    #[error("the API server is behind: {why}")]
    Behind {
        /// The server's words.
        why: String,
    },
    /// This server has no streaming lists (422 or 400 that name `sendInitialEvents`, an ERROR event that names
    /// `RequestWatchProgress`).
    #[error("the API server has no streaming lists: {why}")]
    NotStreaming {
        /// The server's words.
        why: String,
    },
    /// 401 or 403.
    #[error("the API server refuses us: {why}")]
    Denied {
        /// The server's words.
        why: String,
    },
    /// 429 and 5xx: it may work later.
    #[error("the API server cannot answer now: {why}")]
    Busy {
        /// What `Retry-After` asks for.
        retry_after: Option<Duration>,
        /// The server's words.
        why: String,
    },
    /// Nobody answered, or stopped half way: connection, TLS, deadline, or a configuration that cannot be read.
    #[error("the API server cannot be reached: {why}")]
    Unreachable {
        /// What was tried and what happened.
        why: String,
    },
    /// What came is not what an API server says, or another status than any of the above.
    #[error("the API server's answer makes no sense: {why}")]
    Malformed {
        /// What came.
        why: String,
    },
}

impl Fault {
    /// What a response with this status is; `retry_after` is its header, `body` what could be read of it.
    pub(super) fn of_response(code: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let status = serde_json::from_slice::<Status>(body).unwrap_or_else(|_| Status {
            // A proxy in between, or a body cut short: its words as they are.
            message: String::from_utf8_lossy(body).trim().to_owned(),
            ..Status::default()
        });
        let header = retry_after.and_then(|seconds| seconds.trim().parse().ok());
        Self::judge(code, &status, header)
    }

    /// What the object of an ERROR event is.
    pub(super) fn of_event(object: &[u8]) -> Self {
        match serde_json::from_slice::<Status>(object) {
            Ok(status) => Self::judge(status.code, &status, None),
            Err(error) => {
                Self::Malformed { why: format!("an ERROR event whose object is no Status: {error}") }
            }
        }
    }

    /// What `code` with this status is; `header` is that of `Retry-After`, in seconds.
    fn judge(code: u16, status: &Status, header: Option<u64>) -> Self {
        let why = words(code, status);
        let details = status.details.as_ref();
        let too_large =
            details.is_some_and(|d| d.causes.iter().any(|c| c.reason == "ResourceVersionTooLarge"));
        let says = |word| status.message.contains(word);
        match code {
            401 | 403 => Self::Denied { why },
            410 => Self::Expired { why },
            504 if too_large => Self::Behind { why },
            // Before 1.27 the field is not known and the match that comes with it is refused for any watch.
            400 | 422 if says("sendInitialEvents") || says("forbidden for watch") => {
                Self::NotStreaming { why }
            }
            500 if says("RequestWatchProgress") => Self::NotStreaming { why },
            429 | 500..=599 => {
                let in_details = details.map(|d| u64::from(d.retry_after_seconds)).filter(|s| *s > 0);
                let retry_after = header.or(in_details).map(|s| Duration::from_secs(s).min(MAX_RETRY_AFTER));
                Self::Busy { retry_after, why }
            }
            _ => Self::Malformed { why },
        }
    }
}

/// The server's words, with the status they came with.
fn words(code: u16, status: &Status) -> String {
    let said = match (&*status.message, &*status.reason) {
        ("", "") => "no reason given",
        ("", reason) => reason,
        (message, _) => message,
    };
    format!("{code} {}", clip(said))
}

/// A text that is short enough for a log line.
fn clip(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_WORDS) {
        None => text.into(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()).into(),
    }
}

/// An error with everything that it came from. Some libraries say their source, some leave it to the caller:
/// what has been said is not said again.
pub(super) fn said(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    // rustls explains the end of a connection with a link to its manual, which is no news in an outage.
    let news = text.find(": https://").map_or(&*text, |link| &text[..link]);
    clip(news).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_manuals_are_left_out() {
        let error = std::io::Error::other("the peer closed: https://docs.example/manual#eof");
        assert_eq!(said(&error), "the peer closed");
    }

    /// The name of a fault and what it asks for.
    fn name(fault: &Fault) -> (&'static str, Option<u64>) {
        match fault {
            Fault::Expired { .. } => ("expired", None),
            Fault::Behind { .. } => ("behind", None),
            Fault::NotStreaming { .. } => ("not streaming", None),
            Fault::Denied { .. } => ("denied", None),
            Fault::Busy { retry_after, .. } => ("busy", retry_after.map(|d| d.as_secs())),
            Fault::Unreachable { .. } => ("unreachable", None),
            Fault::Malformed { .. } => ("malformed", None),
        }
    }

    #[test]
    fn what_a_status_means() {
        struct Case {
            name: &'static str,
            code: u16,
            header: Option<&'static str>,
            body: &'static str,
            fault: (&'static str, Option<u64>),
        }
        let case = |name, code, header, body, fault| Case { name, code, header, body, fault };
        let too_large = r#"{"kind":"Status","message":"Timeout: Too large resource version: 9, current: 2","details":{"causes":[{"reason":"ResourceVersionTooLarge"}],"retryAfterSeconds":1},"code":504}"#;
        let feature_off = r#"{"message":"ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled","code":422}"#;
        let unknown =
            r#"{"message":"resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch"}"#;
        let old_etcd = r#"{"message":"etcd does not support RequestWatchProgress","code":500}"#;
        let details = r#"{"message":"slow down","details":{"retryAfterSeconds":7},"code":429}"#;
        let cases = [
            case("compacted", 410, None, r#"{"reason":"Expired","message":"too old"}"#, ("expired", None)),
            case("ahead of the server", 504, Some("1"), too_large, ("behind", None)),
            case("a gateway's timeout", 504, None, "<html>", ("busy", None)),
            case("streaming off", 422, None, feature_off, ("not streaming", None)),
            case("streaming off, as 400", 400, None, feature_off, ("not streaming", None)),
            case("streaming unknown", 422, None, unknown, ("not streaming", None)),
            case("an etcd without progress", 500, None, old_etcd, ("not streaming", None)),
            case("no token", 401, None, "", ("denied", None)),
            case("no right", 403, None, r#"{"reason":"Forbidden"}"#, ("denied", None)),
            case("header", 429, Some("3"), "", ("busy", Some(3))),
            case("header before details", 429, Some("3"), details, ("busy", Some(3))),
            case("details", 429, None, details, ("busy", Some(7))),
            case("header of a date", 503, Some("Sun, 22 Nov 2026 16:57:43 GMT"), "", ("busy", None)),
            case("header of a day", 503, Some("86400"), "", ("busy", Some(300))),
            case("header beyond numbers", 503, Some("99999999999999999999"), "", ("busy", None)),
            case("no such group", 404, None, "{}", ("malformed", None)),
            case("bad continue", 400, None, r#"{"message":"invalid continue token"}"#, ("malformed", None)),
            case("a redirect", 302, None, "", ("malformed", None)),
        ];
        for Case { name: case, code, header, body, fault } in cases {
            assert_eq!(name(&Fault::of_response(code, header, body.as_bytes())), fault, "{case}");
        }
    }

    #[test]
    fn what_an_error_event_means() {
        for (object, fault) in [
            (r#"{"code":410,"reason":"Expired"}"#, "expired"),
            (
                r#"{"code":500,"message":"watch cache: RequestWatchProgress not implemented"}"#,
                "not streaming",
            ),
            (r#"{"code":500,"message":"unable to decode an event"}"#, "busy"),
            (r#"{"metadata":{}}"#, "malformed"),
            ("[]", "malformed"),
        ] {
            assert_eq!(name(&Fault::of_event(object.as_bytes())).0, fault, "{object}");
        }
    }

    #[test]
    fn words_are_kept_and_cut() {
        let cases = [
            (r#"{"message":"no","reason":"Because"}"#, "500 no".to_owned()),
            (r#"{"reason":"Because"}"#, "500 Because".to_owned()),
            (" upstream down\n", "500 upstream down".to_owned()),
            ("", "500 no reason given".to_owned()),
        ];
        for (body, expected) in cases {
            let Fault::Busy { why, .. } = Fault::of_response(500, None, body.as_bytes()) else {
                panic!("{body}")
            };
            assert_eq!(why, expected);
        }
        let long = Fault::of_response(400, None, "ä".repeat(5000).as_bytes()).to_string();
        assert!(long.contains("(10000 bytes)") && long.len() < 1200, "{long}");
    }

    #[test]
    fn an_error_says_everything_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer{0}")]
        struct Outer(&'static str, #[source] std::io::Error);
        let io = || std::io::Error::other("disk on fire");
        assert_eq!(said(&Outer("", io())), "outer: disk on fire");
        assert_eq!(said(&Outer(" (disk on fire)", io())), "outer (disk on fire)");
    }
}
