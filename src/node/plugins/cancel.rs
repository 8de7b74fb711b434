//! `cancel [TIMEOUT]`: how long a query may take before it is given up with SERVFAIL.
//!
//! Of the default, 5.001 s, resolvers do not notice anything: they have asked anew after 5 s. Work that others wait
//! for as well goes on: what a cache is fetching, say.
//!
//! It stands behind `prometheus`, `errors` and `log` in the chain, not in front as in CoreDNS: a query that is given up
//! is dropped where it is, and would be missing from what these count and write down.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::{Failure, Next, Outcome, Plugin};
use crate::node::lane::Role;
use crate::node::query::Query;
use crate::node::reply::{Ede, EdeCode};
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "cancel";

/// It has no options.
pub const OPTIONS: [&str; 0] = [];

/// TIMEOUT without an argument: just after a resolver's own 5 s (resolv.conf(5)).
const DEFAULT: Duration = Duration::from_millis(5001);

/// Reads TIMEOUT.
pub fn setup(directives: &[&Directive], _: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    directive.no_body()?;
    let timeout = match directive.optional_arg("cancel [TIMEOUT]")? {
        Some(word) => match word.duration()? {
            Duration::ZERO => {
                return Err(word.error("plugin/cancel: TIMEOUT is zero: write one such as 5001ms"));
            }
            timeout => timeout,
        },
        None => DEFAULT,
    };
    Ok(vec![Arc::new(Cancel { timeout })])
}

/// Gives up what takes too long.
struct Cancel {
    /// How long is too long.
    timeout: Duration,
}

#[async_trait]
impl Plugin for Cancel {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Nothing waits in the lane.
    fn role(self: Arc<Self>, _identity: &str) -> Role {
        Role::None
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        match tokio::time::timeout(self.timeout, next.run(query)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let text = format!("no answer within {:?}", self.timeout);
                Outcome::Failed(Failure {
                    rcode: ResponseCode::ServFail,
                    error: Some(format!("plugin/cancel: {text}")),
                    ede: Some(Ede { code: EdeCode::Other, text }),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::node::chain::Chain;
    use crate::node::reply::Reply;
    use crate::node::test_support::{Ask, Logs, plugins, run};

    /// Answers after so many milliseconds.
    struct Slow(u64);

    #[async_trait]
    impl Plugin for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }

        async fn serve(&self, _: &Query, _: Next<'_>) -> Outcome {
            tokio::time::sleep(Duration::from_millis(self.0)).await;
            Reply::new(ResponseCode::NoError, "slow").into()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn cancel_timeout() {
        for (body, takes, rcode, after) in [
            ("cancel", 5000, ResponseCode::NoError, 5000),
            ("cancel", 5002, ResponseCode::ServFail, 5001),
            ("cancel 100ms", 99, ResponseCode::NoError, 99),
            ("cancel 100ms", 5000, ResponseCode::ServFail, 100),
            ("", 60_000, ResponseCode::NoError, 60_000),
        ] {
            let mut chain = plugins(body).unwrap();
            chain.push(Arc::new(Slow(takes)));
            let chain: Chain = chain.into();
            let start = Instant::now();
            let outcome = run(&chain, &Ask::default()).await;
            let case = format!("{body}, {takes} ms");
            assert_eq!((outcome.rcode(), start.elapsed().as_millis()), (rcode, after), "{case}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_up_is_logged() {
        let mut chain = plugins("errors\ncancel 1s").unwrap();
        chain.push(Arc::new(Slow(2000)));
        let logs = Logs::capture("");
        let outcome = run(&chain.into(), &Ask::default()).await;
        let want = "2 example.org. A: plugin/cancel: no answer within 1s";
        assert_eq!(logs.take(), [format!("[ERROR] plugin/errors: {want}")]);
        let ede = outcome.into_reply().unwrap().ede.unwrap();
        assert_eq!((ede.code, ede.text.as_str()), (EdeCode::Other, "no answer within 1s"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (body, want) in [
            ("cancel 5", "missing unit in duration '5'"),
            ("cancel 0", "TIMEOUT is zero"),
            ("cancel 1s 2s", "write 'cancel [TIMEOUT]'"),
            ("cancel {\n}", "takes no block"),
        ] {
            let error = plugins(body).err().unwrap_or_else(|| panic!("{body} is accepted"));
            assert!(error.position().line == 2 && error.message().contains(want), "{body}: {error}");
        }
    }
}
