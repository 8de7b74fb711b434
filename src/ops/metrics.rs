//! The process's metrics: one owned registry, no globals, so that tests run several nodes side by side.
//!
//! Everything is registered through [`Metrics`]; handles are resolved once and kept by their users. Names,
//! types and buckets of CoreDNS's families are in [`super::catalogue`].
//!
//! Invariants:
//!
//! * Recording is atomic operations on a handle; no lock is shared with a scrape. What is counted for every query
//!   is counted in cells of the thread's own ([`super::shards`]) where the thread has a [`Shard`].
//! * Samples of histograms lie in memory, 16 bytes each, until [`Metrics::upkeep`] counts them into their
//!   buckets: it has to run every second ([`Metrics::run_upkeep`]).
//! * Every histogram has buckets; none turns into a summary, which could not be added up over nodes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::runtime::Handle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::catalogue::{self, BUCKETS_BYTES, BUCKETS_DEFAULT, BUCKETS_TIME, Family, Kind};
use super::dns_metrics::Queries;
use super::exposition::{Exposition, FamilyType};
use super::process::{self, Runtimes};
use super::shards::{Pool, Shard};
use super::tally::{Tallies, Tally};

/// A label of a series.
pub type LabelPair<'a> = (&'static str, &'a str);

/// How often [`Metrics::upkeep`] has to run: at 200,000 samples a second it then frees 3 MB at a time.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What was built, for `coredns_build_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildInfo<'a> {
    /// Version of the program.
    pub version: &'a str,
    /// Commit it was built from.
    pub revision: &'a str,
    /// Toolchain it was built with; the label is CoreDNS's `goversion`.
    pub toolchain: &'a str,
}

impl BuildInfo<'static> {
    /// This build. The revision is that of `OUTLAST_REVISION` at the time of the build.
    pub const CURRENT: Self = Self {
        version: env!("CARGO_PKG_VERSION"),
        revision: match option_env!("OUTLAST_REVISION") {
            Some(revision) => revision,
            None => "unknown",
        },
        toolchain: concat!("rust", env!("CARGO_PKG_RUST_VERSION")),
    };
}

/// The registry of one process.
pub struct Metrics {
    /// Keeps the series.
    recorder: PrometheusRecorder,
    /// Renders them.
    handle: PrometheusHandle,
    /// Gauges that are replaced as a whole, by name.
    replaced: Mutex<BTreeMap<&'static str, Replaced>>,
    /// Whose tasks are counted.
    runtimes: Mutex<Runtimes>,
    /// Places of threads that count in cells of their own.
    pub(super) pool: Arc<Pool>,
    /// Counters of other families that such threads add to.
    tallies: Tallies,
    /// The `coredns_dns_*` families, which the recorder does not have.
    pub(super) queries: Queries,
}

/// A family that is replaced as a whole.
struct Replaced {
    /// Its `# HELP`.
    help: &'static str,
    /// Labels and value of each series.
    series: Vec<(OwnedLabels, f64)>,
}

/// The labels of a series, owned.
pub(super) type OwnedLabels = Vec<(&'static str, String)>;

impl Metrics {
    /// A registry with CoreDNS's families described, and those pre-set that CoreDNS pre-sets for the process
    /// itself: `coredns_build_info` (of this build) and `coredns_panics_total`.
    pub fn new() -> Self {
        let recorder = with_buckets(PrometheusBuilder::new()).build_recorder();
        let metrics = Self {
            handle: recorder.handle(),
            recorder,
            replaced: Mutex::default(),
            runtimes: Mutex::default(),
            pool: Arc::default(),
            tallies: Tallies::default(),
            queries: Queries::default(),
        };
        for &Family { name, kind, help } in catalogue::FAMILIES {
            match kind {
                Kind::Counter => metrics.describe_counter(name, help),
                Kind::Gauge => metrics.describe_gauge(name, help),
                Kind::Histogram(_) => metrics.describe_histogram(name, help),
            }
        }
        metrics.set_build_info(BuildInfo::CURRENT);
        metrics.counter(catalogue::PANICS, &[]).increment(0);
        metrics
    }

    /// The counter of this name and these labels.
    pub fn counter(&self, name: &'static str, labels: &[LabelPair<'_>]) -> Counter {
        self.recorder.register_counter(&key(name, labels), &METADATA)
    }

    /// The counter of this name and these labels, for what threads count that have a [`Shard`].
    pub fn tally(&self, name: &'static str, labels: &[LabelPair<'_>]) -> Tally {
        self.tallies.of(&self.pool, name, labels, || self.counter(name, labels))
    }

    /// Cells of its own for a thread that counts much: in every [`Tally`] and every family of queries of this
    /// registry. See [`Shard`] for how many there may be.
    pub fn shard(&self) -> Shard {
        self.pool.claim()
    }

    /// The gauge of this name and these labels.
    pub fn gauge(&self, name: &'static str, labels: &[LabelPair<'_>]) -> Gauge {
        self.recorder.register_gauge(&key(name, labels), &METADATA)
    }

    /// The histogram of this name and these labels. Its buckets are those of the catalogue; outside of it T for
    /// `…_seconds`, B for `…_bytes`, D for anything else.
    pub fn histogram(&self, name: &'static str, labels: &[LabelPair<'_>]) -> Histogram {
        self.recorder.register_histogram(&key(name, labels), &METADATA)
    }

    /// Says what a counter counts, for `# HELP`; the first description of a name stays.
    pub fn describe_counter(&self, name: &'static str, help: &'static str) {
        self.recorder.describe_counter(KeyName::from(name), None, help.into());
    }

    /// Says what a gauge shows, for `# HELP`; the first description of a name stays.
    pub fn describe_gauge(&self, name: &'static str, help: &'static str) {
        self.recorder.describe_gauge(KeyName::from(name), None, help.into());
    }

    /// Says what a histogram measures, for `# HELP`; the first description of a name stays.
    pub fn describe_histogram(&self, name: &'static str, help: &'static str) {
        self.recorder.describe_histogram(KeyName::from(name), None, help.into());
    }

    /// Replaces all series of a gauge by these: for families whose series have to vanish again, such as
    /// `coredns_plugin_enabled` at a reload (what counts its series would go on counting a zero).
    ///
    /// A name given here must not be used with [`Self::gauge`] too.
    pub fn replace_gauges(&self, name: &'static str, help: &'static str, series: &[(&[LabelPair<'_>], f64)]) {
        let series = series.iter().map(|(labels, value)| (owned(labels), *value)).collect();
        lock(&self.replaced).insert(name, Replaced { help, series });
    }

    /// Sets `coredns_build_info`.
    pub fn set_build_info(&self, BuildInfo { version, revision, toolchain }: BuildInfo<'_>) {
        let labels = [("version", version), ("revision", revision), ("goversion", toolchain)];
        self.replace_gauges(catalogue::BUILD_INFO, help_of(catalogue::BUILD_INFO), &[(&labels, 1.0)]);
    }

    /// Counts the tasks of these runtimes in `go_goroutines`, and of no others.
    pub fn watch_runtimes(&self, runtimes: &[Handle]) {
        lock(&self.runtimes).together = runtimes.iter().map(Handle::metrics).collect();
    }

    /// Tells of the tasks of these runtimes in `outlast_runtime_tasks`, each by its name.
    pub fn tell_tasks_of(&self, runtimes: &[(&'static str, &Handle)]) {
        lock(&self.runtimes).each = runtimes.iter().map(|(name, handle)| (*name, handle.metrics())).collect();
    }

    /// Counts the samples of histograms into their buckets, which frees their memory.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Runs [`Self::upkeep`] every second until `stop`.
    pub async fn run_upkeep(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        // After a pause one upkeep does the work of all that were missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.upkeep();
        }
    }

    /// The whole registry in Prometheus' text format, with the process's own figures.
    pub fn render(&self) -> String {
        self.tallies.publish();
        let mut text = self.handle.render();
        let mut out = Exposition::append_to(&mut text);
        self.queries.render(&mut out);
        for (name, Replaced { help, series }) in &*lock(&self.replaced) {
            if !series.is_empty() {
                out.family(name, FamilyType::Gauge, help);
            }
            for (labels, value) in series {
                out.sample(name, labels, value);
            }
        }
        process::render(&mut text, &lock(&self.runtimes));
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Nothing filters by level or module here.
static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// Locks, also after a panic of who held it: nothing here is left half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A copy of the labels of a series.
pub(super) fn owned(labels: &[LabelPair<'_>]) -> OwnedLabels {
    labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

fn key(name: &'static str, labels: &[LabelPair<'_>]) -> Key {
    Key::from_parts(name, labels.iter().map(|(k, v)| Label::new(*k, escaped(v))).collect::<Vec<_>>())
}

/// A label's value as the exporter has to get it. It takes two backslashes for one that is escaped already, so
/// that `a\b` and `a\\b` would come out as the same series; doubled, each comes out as itself.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\")
}

/// The description of a family of the catalogue.
pub fn help_of(name: &str) -> &'static str {
    catalogue::FAMILIES.iter().find(|family| family.name == name).map_or("", |family| family.help)
}

/// Sets the buckets of every histogram there may be.
fn with_buckets(builder: PrometheusBuilder) -> PrometheusBuilder {
    let of_catalogue = catalogue::FAMILIES.iter().filter_map(|family| match family.kind {
        Kind::Histogram(bounds) => Some((Matcher::Full(family.name.to_owned()), bounds)),
        Kind::Counter | Kind::Gauge => None,
    });
    // Full names win over suffixes.
    let of_suffixes = [
        (Matcher::Suffix("_seconds".into()), &BUCKETS_TIME[..]),
        (Matcher::Suffix("_bytes".into()), &BUCKETS_BYTES[..]),
    ];
    let builder = builder.set_buckets(&BUCKETS_DEFAULT).expect("the default buckets are not empty");
    of_catalogue.chain(of_suffixes).fold(builder, |builder, (matcher, bounds)| {
        builder.set_buckets_for_metric(matcher, bounds).expect("no set of buckets is empty")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a scrape that are about `name`, in the order of the scrape.
    fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
        let of_name = |line: &&str| {
            let line = line.strip_prefix("# HELP ").or(line.strip_prefix("# TYPE ")).unwrap_or(line);
            line.split([' ', '{'])
                .next()
                .is_some_and(|n| n == name || (n.starts_with(name) && n.len() <= name.len() + 7))
        };
        metrics.render().lines().filter(of_name).map(str::to_owned).collect()
    }

    #[test]
    fn a_counter_is_rendered_with_help_and_type() {
        let metrics = Metrics::new();
        metrics.counter(catalogue::ACL_ALLOWED, &[("server", "dns://:53"), ("view", "")]).increment(3);
        assert_eq!(
            lines(&metrics, catalogue::ACL_ALLOWED),
            [
                "# HELP coredns_acl_allowed_requests_total Queries that `acl` let pass.",
                "# TYPE coredns_acl_allowed_requests_total counter",
                r#"coredns_acl_allowed_requests_total{server="dns://:53",view=""} 3"#,
            ]
        );
    }

    #[test]
    fn buckets_are_written_as_coredns_writes_them() {
        struct Case {
            name: &'static str,
            les: &'static str,
        }
        let cases = [
            Case {
                name: catalogue::DNS_DURATION,
                les: "0.00025 0.0005 0.001 0.002 0.004 0.008 0.016 0.032 0.064 0.128 0.256 0.512 1.024 2.048 4.096 8.192 +Inf",
            },
            Case { name: catalogue::HEALTH_DURATION, les: "0.00025 0.0025 0.025 0.25 2.5 +Inf" },
            Case {
                name: catalogue::DNS_REQUEST_SIZE,
                les: "0 100 200 300 400 511 1023 2047 4095 8291 16000 32000 48000 64000 +Inf",
            },
            Case { name: "outlast_some_items", les: "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 +Inf" },
        ];
        let metrics = Metrics::new();
        for Case { name, les } in cases {
            metrics.histogram(name, &[("to", "a")]).record(0.01);
            let text = metrics.render();
            assert!(text.contains(&format!("# TYPE {name} histogram\n")), "{name}");
            let got: Vec<_> = text
                .lines()
                .filter_map(|l| l.strip_prefix(&format!("{name}_bucket{{to=\"a\",le=\""))?.split('"').next())
                .collect();
            assert_eq!(got.join(" "), les, "{name}");
        }
    }

    #[test]
    fn a_histogram_counts_cumulatively() {
        let metrics = Metrics::new();
        let histogram = metrics.histogram(catalogue::HEALTH_DURATION, &[]);
        for seconds in [0.00025, 0.001, 0.5, 100.0] {
            histogram.record(seconds);
        }
        metrics.upkeep();
        histogram.record(0.0001);
        let got = lines(&metrics, catalogue::HEALTH_DURATION);
        assert_eq!(
            got[2..],
            [
                r#"coredns_health_request_duration_seconds_bucket{le="0.00025"} 2"#,
                r#"coredns_health_request_duration_seconds_bucket{le="0.0025"} 3"#,
                r#"coredns_health_request_duration_seconds_bucket{le="0.025"} 3"#,
                r#"coredns_health_request_duration_seconds_bucket{le="0.25"} 3"#,
                r#"coredns_health_request_duration_seconds_bucket{le="2.5"} 4"#,
                r#"coredns_health_request_duration_seconds_bucket{le="+Inf"} 5"#,
                "coredns_health_request_duration_seconds_sum 100.50135",
                "coredns_health_request_duration_seconds_count 5",
            ]
        );
    }

    #[test]
    fn label_values_are_escaped_and_stay_apart() {
        let metrics = Metrics::new();
        for value in ["plain", r"a\b", r"a\\b", "q\"q", "n\nn", r#"\""#, "\\\n", r"end\", ""] {
            metrics.counter("outlast_x_total", &[("v", value)]).increment(1);
            metrics.replace_gauges("outlast_y", "Y.", &[(&[("v", value)], 1.0)]);
            let want = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n");
            let text = metrics.render();
            assert!(text.contains(&format!("outlast_x_total{{v=\"{want}\"}} 1\n")), "{value:?} in\n{text}");
            assert!(text.contains(&format!("outlast_y{{v=\"{want}\"}} 1\n")), "{value:?} in\n{text}");
        }
        assert_eq!(lines(&metrics, "outlast_x_total").len(), 1 + 9, "a type line and each series once");
    }

    #[test]
    fn the_process_is_told_at_once() {
        let metrics = Metrics::new();
        let text = metrics.render();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
            "process_threads",
            "go_goroutines",
        ] {
            assert!(text.contains(&format!("\n{name} ")), "{name} in\n{text}");
        }
        assert!(text.contains("\ncoredns_panics_total 0\n"), "pre-set");
        metrics.set_build_info(BuildInfo { version: "1.2.3", revision: "abc", toolchain: "rust1.95" });
        assert_eq!(
            lines(&metrics, catalogue::BUILD_INFO)[1..],
            [
                "# TYPE coredns_build_info gauge",
                r#"coredns_build_info{version="1.2.3",revision="abc",goversion="rust1.95"} 1"#,
            ]
        );
    }

    #[tokio::test]
    async fn alive_tasks_are_counted() {
        let metrics = Metrics::new();
        metrics.watch_runtimes(&[Handle::current()]);
        let before: usize = lines(&metrics, "go_goroutines")[2]["go_goroutines ".len()..].parse().unwrap();
        let _tasks: Vec<_> = (0..3).map(|_| tokio::spawn(std::future::pending::<()>())).collect();
        assert_eq!(lines(&metrics, "go_goroutines")[2], format!("go_goroutines {}", before + 3));
    }

    #[tokio::test]
    async fn tasks_of_each_runtime_are_told() {
        let metrics = Metrics::new();
        assert_eq!(lines(&metrics, "outlast_runtime_tasks"), [""; 0]);
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        metrics.tell_tasks_of(&[("data", &Handle::current()), ("control", other.handle())]);
        let task = tokio::spawn(std::future::pending::<()>());
        let now = |data| {
            [
                "# HELP outlast_runtime_tasks Tasks of a runtime that have not ended.".to_owned(),
                "# TYPE outlast_runtime_tasks gauge".to_owned(),
                format!("outlast_runtime_tasks{{runtime=\"data\"}} {data}"),
                "outlast_runtime_tasks{runtime=\"control\"} 0".to_owned(),
            ]
        };
        assert_eq!(lines(&metrics, "outlast_runtime_tasks"), now(1));
        task.abort();
        task.await.unwrap_err();
        assert_eq!(lines(&metrics, "outlast_runtime_tasks"), now(0));
        other.shutdown_background();
    }

    #[test]
    fn replaced_families_forget() {
        let metrics = Metrics::new();
        let name = catalogue::PLUGIN_ENABLED;
        metrics.replace_gauges(name, "P.", &[(&[("name", "cache")], 1.0), (&[("name", "log")], 1.0)]);
        assert_eq!(lines(&metrics, name).len(), 4);
        metrics.replace_gauges(name, "P.", &[(&[("name", "cache")], 1.0)]);
        assert_eq!(lines(&metrics, name)[2..], [r#"coredns_plugin_enabled{name="cache"} 1"#]);
        metrics.replace_gauges(name, "P.", &[]);
        assert_eq!(lines(&metrics, name), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn upkeep_runs_until_stopped() {
        let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
        let running = tokio::spawn(Arc::clone(&metrics).run_upkeep(stop.clone()));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!running.is_finished());
        stop.cancel();
        running.await.unwrap();
    }
}
