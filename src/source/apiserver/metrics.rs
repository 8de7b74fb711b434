//! What an operator gets to see of requests to the API server.
//!
//! CoreDNS's families are those of client-go; ours tell apart what we ask for, and are few.

use std::sync::Arc;
use std::time::Duration;

use crate::ops::catalogue::{REST_DURATION, REST_LIMITER_DURATION, REST_REQUESTS};
use crate::ops::metrics::Metrics;
use crate::source::kubectl::Drops;
use crate::source::report;

/// Requests by what was asked for and what came.
pub(super) const REQUESTS_TOTAL: &str = "outlast_apiserver_requests_total";

/// Time from a request to the end of its answer; of a watch to its beginning.
pub(super) const REQUEST_DURATION: &str = "outlast_apiserver_request_duration_seconds";

/// As client-go calls the code of a request that nobody answered.
const NO_CODE: &str = "<error>";

/// Everything that we send is a GET.
const GET: &str = "GET";

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// A page of a whole list.
    List,
    /// A watch.
    Watch,
    /// A list of one, for its version.
    SmallList,
    /// Which cluster it is.
    Identity,
    /// Of which release the server is.
    Version,
    /// Whether it is ready.
    Ready,
}

impl Verb {
    /// The value of the label `verb`.
    const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Watch => "watch",
            Self::SmallList => "small_list",
            Self::Identity => "identity",
            Self::Version => "version",
            Self::Ready => "readyz",
        }
    }
}

/// A request, as it is counted.
pub(super) struct Asked {
    /// What it is for.
    pub(super) verb: Verb,
    /// Of what, as in the path: `services`.
    pub(super) resource: &'static str,
    /// Of whom.
    pub(super) host: Box<str>,
}

/// Counts and durations of requests.
pub(super) struct Measures(Arc<Metrics>);

impl Measures {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        metrics.describe_counter(
            REQUESTS_TOTAL,
            "Requests to the API server by what they asked for and status code.",
        );
        metrics.describe_histogram(
            REQUEST_DURATION,
            "Time until an answer had ended, of a watch until it had begun.",
        );
        report::describe(&metrics);
        Self(metrics)
    }

    /// The head of an answer came.
    pub(super) fn answered(&self, asked: &Asked, code: &str) {
        let Asked { verb, resource, host } = asked;
        let ours = [("verb", verb.as_str()), ("resource", *resource), ("code", code)];
        self.0.counter(REQUESTS_TOTAL, &ours).increment(1);
        self.0.counter(REST_REQUESTS, &[("code", code), ("method", GET), ("host", host)]).increment(1);
    }

    /// None came.
    pub(super) fn unanswered(&self, asked: &Asked) {
        self.answered(asked, NO_CODE);
    }

    /// The answer is complete, or the watch established.
    pub(super) fn took(&self, asked: &Asked, time: Duration) {
        let Asked { verb, resource, host } = asked;
        self.0.histogram(REQUEST_DURATION, &[("verb", verb.as_str()), ("resource", *resource)]).record(time);
        self.0.histogram(REST_DURATION, &[("verb", GET), ("host", host)]).record(time);
    }

    /// A request waited for `apiserver_qps`.
    pub(super) fn throttled(&self, host: &str, time: Duration) {
        self.0.histogram(REST_LIMITER_DURATION, &[("verb", GET), ("host", host)]).record(time);
    }

    /// Parts of objects were left out.
    pub(super) fn dropped(&self, drops: &Drops) {
        report::dropped(&self.0, drops, |kind, reason, count, examples| {
            tracing::warn!(kind, reason, count, examples, "left out of the API server's objects as invalid");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_as_client_go_does_and_by_what_they_ask_for() {
        let metrics = Arc::new(Metrics::new());
        let measures = Measures::new(metrics.clone());
        let asked = |verb| Asked { verb, resource: "services", host: "10.96.0.1:443".into() };
        measures.throttled("10.96.0.1:443", Duration::from_millis(3));
        measures.answered(&asked(Verb::List), "200");
        measures.took(&asked(Verb::List), Duration::from_millis(20));
        measures.answered(&asked(Verb::SmallList), "429");
        measures.unanswered(&asked(Verb::Watch));
        let text = metrics.render();
        for line in [
            r#"outlast_apiserver_requests_total{verb="list",resource="services",code="200"} 1"#,
            r#"outlast_apiserver_requests_total{verb="small_list",resource="services",code="429"} 1"#,
            r#"outlast_apiserver_requests_total{verb="watch",resource="services",code="<error>"} 1"#,
            r#"coredns_kubernetes_rest_client_requests_total{code="<error>",method="GET",host="10.96.0.1:443"} 1"#,
            r#"coredns_kubernetes_rest_client_request_duration_seconds_bucket{verb="GET",host="10.96.0.1:443",le="0.025"} 1"#,
            r#"coredns_kubernetes_rest_client_rate_limiter_duration_seconds_bucket{verb="GET",host="10.96.0.1:443",le="0.005"} 1"#,
            r#"outlast_apiserver_request_duration_seconds_count{verb="list",resource="services"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
