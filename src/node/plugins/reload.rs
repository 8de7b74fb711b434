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
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::runtime::Handle;
    use tokio::time::Instant;

    use crate::corefile::{self, Corefile, LoadOptions};
    use crate::node::reload::{Load, Reloader};
    use crate::node::running::{self, Running};
    use crate::node::setup::{Environment, plan};
    use crate::node::test_support::{Logs, environment};
    use crate::ops::drain::Drain;
    use crate::ops::jitter::Jitter;
    use crate::testkit::node::Builder;

    /// A file that is changed by the test, and when it was read.
    struct Watched {
        text: Arc<Mutex<String>>,
        read: Arc<Mutex<Vec<Instant>>>,
        environment: Arc<Environment>,
        drain: Drain,
        begin: Instant,
    }

    fn corefile(text: &str) -> Result<Corefile, corefile::Error> {
        corefile::parse(text, "Corefile", &LoadOptions::default())
    }

    fn block(lines: &str) -> String {
        format!(".:0 {{\n bind 127.0.0.1\n {lines}\n}}\n")
    }

    impl Watched {
        /// A node with these lines that looks at its file; time has to be paused.
        fn start(lines: &str) -> Self {
            let text = block(lines);
            let (environment, drain) = (Arc::new(environment()), Drain::new());
            let corefile = corefile(&text).unwrap();
            let planned = plan(&corefile, &environment).unwrap();
            let mut running: Running =
                running::start(planned, &environment, &drain, &Handle::current()).unwrap();
            let (text, read) = (Arc::new(Mutex::new(text)), Arc::<Mutex<Vec<Instant>>>::default());
            let (from, times) = (text.clone(), read.clone());
            let load: Load = Arc::new(move || {
                times.lock().unwrap().push(Instant::now());
                self::corefile(&from.lock().unwrap())
            });
            let reloader =
                Reloader::new(Some(load), &corefile, environment.clone(), None, Jitter::from_seed(1));
            let stop = drain.clone();
            tokio::spawn(async move { reloader.run(&mut running, &stop).await });
            Self { text, read, environment, drain, begin: Instant::now() }
        }

        fn write(&self, lines: &str) {
            *self.text.lock().unwrap() = block(lines);
        }

        /// Lets so many seconds pass; when the file was read in them, in milliseconds since the start.
        async fn reads(&self, seconds: u64) -> Vec<u128> {
            self.read.lock().unwrap().clear();
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let read = self.read.lock().unwrap();
            read.iter().map(|at| at.duration_since(self.begin).as_millis()).collect()
        }

        /// How many configurations were counted as not taken over.
        fn failed(&self) -> u32 {
            let text = self.environment.metrics.render();
            let line = text.lines().find_map(|l| l.strip_prefix("coredns_reload_failed_total "));
            line.unwrap().parse().unwrap()
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            self.drain.forced().cancel();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reload_interval() {
        for (lines, want) in [("reload 10s 0", [10, 20, 30]), ("reload 20s 0", [20, 40, 60])] {
            let node = Watched::start(lines);
            let reads = node.reads(want[2] + 1).await;
            let want = want.map(|s| u128::from(s) * 1000);
            assert!(
                reads.iter().zip(want).all(|(read, want)| read.abs_diff(want) < 100),
                "{lines}: {reads:?}"
            );
            assert_eq!(reads.len(), 3, "{lines}");
        }
        assert_eq!(Watched::start("debug").reads(3600).await, [0; 0], "without the plugin");
    }

    /// CoreDNS's defaults: 22.5 to 37.5 s.
    #[tokio::test(start_paused = true)]
    async fn reload_jitter() {
        let node = Watched::start("reload");
        let mut intervals = Vec::new();
        for i in 0..20 {
            let reads = node.reads(80).await;
            // Once for each configuration, so that looks are as far apart as the first was from the start.
            intervals.push(reads[1] - reads[0]);
            node.write(&format!("reload # {i}\n debug"));
            let line = format!("reload\n {}debug", "\n".repeat(i));
            node.write(&line);
            node.reads(40).await;
        }
        assert!(intervals.iter().all(|i| (22_400..=37_600).contains(i)), "{intervals:?}");
        let (least, most) = (intervals.iter().min().unwrap(), intervals.iter().max().unwrap());
        assert!(most - least > 5_000, "{intervals:?}");
        let steady = Watched::start("reload 30s 0").reads(80).await;
        assert!((steady[1] - steady[0]).abs_diff(30_000) < 100, "{steady:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_changed_is_taken_over_and_what_is_broken_is_said_once() {
        let logs = Logs::capture("");
        let node = Watched::start("reload 10s 0");
        let said = async |seconds| {
            node.reads(seconds).await;
            let lines = logs.take();
            lines.iter().filter(|l| !l.contains("SHA512")).cloned().collect::<Vec<_>>()
        };
        // Warnings of what a block without a store lacks are not there: nothing is said at the start.
        assert_eq!(said(35).await, [""; 0], "nothing changed");
        node.write("reload   10s 0 # a comment");
        assert_eq!(said(35).await, [""; 0], "white space and comments change nothing");
        node.write("reload 10s 0\n debug");
        assert_eq!(said(35).await, ["[INFO] reload: Reloading", "[INFO] reload: Reloading complete"]);
        assert!(
            node.environment
                .metrics
                .render()
                .contains("coredns_reload_version_info{hash=\"sha512\",value=\"")
        );
        assert_eq!(node.failed(), 0);

        node.write("reload 10s 0\n }");
        let lines = said(65).await;
        assert!(
            lines.len() == 1
                && lines[0].starts_with("[WARNING] plugin/reload: Corefile parse failed: Corefile:5 - "),
            "{lines:?}"
        );
        assert_eq!(node.failed(), 1);
        node.write("reload 10s 0\n bind 192.0.2.1");
        let lines = said(65).await;
        assert!(
            lines.len() == 2
                && lines[0] == "[INFO] reload: Reloading"
                && lines[1].starts_with("[ERROR] plugin/reload: "),
            "it is not tried again: {lines:?}"
        );
        assert!(lines[1].contains("cannot listen on tcp 192.0.2.1:0"), "{lines:?}");
        assert_eq!(node.failed(), 2);
        // As it was: said, and nothing to do.
        node.write("reload 10s 0\n debug");
        assert_eq!(said(35).await, ["[INFO] plugin/reload: the Corefile is again what runs"]);
        assert_eq!(node.failed(), 2);
    }

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
