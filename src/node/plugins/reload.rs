//! `reload [INTERVAL [JITTER]]`: a changed Corefile is taken over by itself.
//!
//! [`crate::node::reload`] does the work; a SIGUSR1 has it look at once, with or without this plugin. The process has
//! one Corefile and thus one interval: of several blocks the last that is written decides, as in CoreDNS.

use std::sync::Arc;
use std::time::Duration;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::Plugin;
use crate::node::setup::{Context, ReloadEvery};

/// The plugin's name.
pub const NAME: &str = "reload";

/// Options that are accepted.
pub const OPTIONS: [&str; 0] = [];

/// How the directive is written.
const USAGE: &str = "reload [INTERVAL [JITTER]]";

/// CoreDNS's defaults and bounds: a ConfigMap reaches its pods within about a minute, so that looking more often
/// finds nothing more.
const INTERVAL: Duration = Duration::from_secs(30);
/// See [`INTERVAL`].
const JITTER: Duration = Duration::from_secs(15);
/// See [`INTERVAL`].
const MIN_INTERVAL: Duration = Duration::from_secs(2);
/// The least jitter but for none at all.
const MIN_JITTER: Duration = Duration::from_secs(1);

/// Reads the interval and its jitter.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    let words = directive.expect_args(0..=2, USAGE)?;
    if let Some(line) = directive.lines().first() {
        return Err(line.unknown_property(NAME, &OPTIONS));
    }
    let interval = words.first().map_or(Ok(INTERVAL), |word| word.duration())?;
    if let [word, ..] = words
        && interval < MIN_INTERVAL
    {
        return Err(
            word.error(format!("plugin/reload: interval value must be greater or equal to {MIN_INTERVAL:?}"))
        );
    }
    let jitter = words.get(1).map_or(Ok(JITTER), |word| word.duration())?;
    if let [_, word] = words
        && jitter < MIN_JITTER
        && !jitter.is_zero()
    {
        return Err(word.error(format!(
            "plugin/reload: jitter value must be greater or equal to {MIN_JITTER:?}, or 0 for none"
        )));
    }
    cx.process.reload = Some(ReloadEvery { interval, jitter: jitter.min(interval / 2) });
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use crate::testkit::node::Builder;

    fn every(words: &str) -> Result<(u64, u64), String> {
        let plan = Builder::default().check(&format!(".:0 {{\n reload {words}\n}}\n"));
        let every = plan.map_err(|e| e.to_string())?.process.reload.unwrap();
        Ok((every.interval.as_secs(), every.jitter.as_secs()))
    }

    #[test]
    fn intervals_and_jitters_within_coredns_bounds() {
        for (words, want) in [
            ("", (30, 15)),
            ("10s", (10, 5)),
            ("2s", (2, 1)),
            ("1m", (60, 15)),
            ("1m 5s", (60, 5)),
            ("1m 0", (60, 0)),
            ("10s 1m", (10, 5)),
        ] {
            assert_eq!(every(words), Ok(want), "{words:?}");
        }
        for (words, want) in [
            (
                "1s",
                "Corefile:2 - Error during parsing: plugin/reload: interval value must be greater or equal to 2s",
            ),
            ("30s 500ms", "jitter value must be greater or equal to 1s, or 0 for none"),
            ("30", "Corefile:2"),
            ("30s 1s 1s", "write 'reload [INTERVAL [JITTER]]'"),
            ("{\n watch\n }", "Corefile:3 - Error during parsing: plugin/reload: unknown property 'watch'"),
        ] {
            let error = every(words).unwrap_err();
            assert!(error.contains(want), "{words:?}: {error}");
        }
    }

    #[test]
    fn without_it_nothing_looks() {
        assert_eq!(Builder::default().check(".:0 {\n debug\n}\n").unwrap().process.reload, None);
    }

    #[test]
    fn the_last_block_decides() {
        let text = "a:0 {\n reload 10s\n}\nb:0 {\n reload 20s 2s\n}\n";
        let every = Builder::default().check(text).unwrap().process.reload.unwrap();
        assert_eq!((every.interval.as_secs(), every.jitter.as_secs()), (20, 2));
    }
}
