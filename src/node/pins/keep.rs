//! Orders: what is pinned and unpinned, kept on the disk, and ended in time.
//!
//! Invariants:
//! * The disk is read before a socket is bound, and written by a thread of the blocking pool: a disk that hangs holds up
//!   the order and nothing else.
//! * An order counts whether or not it reaches the disk; what did not is said, and tried again.
//! * Only the process that owns the folder writes there. One that comes to own it reads again what its predecessor has
//!   kept, unless somebody has given it orders of its own meanwhile.
//! * A clock that was set back makes nothing last longer than it was meant to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_proto::rr::RecordType;
use metrics::Gauge;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Pins;
use super::pin::{self, DEFAULT_PIN, MAX_PIN, NoPlace, Pin, Span, Wanted};
use super::status::{Kept, PinStatus, PinsDone};
use crate::ops::age::Age;
use crate::ops::clock::WallClock;
use crate::ops::control::section::{Advice, Level, Row, Section, Tells};
use crate::ops::control::{Refusal, value};
use crate::ops::metrics::Metrics;
use crate::ops::ownership::Ownership;
use crate::snapshot::disk::Disk;
use crate::snapshot::pins::{self as file, KeptPin};
use crate::zone::name::Labels;

/// How often a disk that failed is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// Pins that the status names; of others it says how many there are.
const SHOWN: usize = 5;

/// Keeps what is pinned.
pub struct PinKeeper {
    /// What is pinned.
    pins: Pins,
    /// Where it is kept, if anywhere.
    dir: Option<PathBuf>,
    /// The disk.
    disk: Arc<dyn Disk>,
    /// Unix time.
    clock: Arc<WallClock>,
    /// Whether the folder is ours to write to.
    ownership: Ownership,
    /// Held by the one who changes what is pinned until it is kept.
    keeping: Mutex<Keeping>,
    /// Whether something has not reached the disk and should.
    unkept: AtomicBool,
    /// Says that something has changed.
    changed: Notify,
    /// What is measured.
    gauges: Gauges,
}

/// What is known of the file.
#[derive(Default)]
struct Keeping {
    /// Whether an order was given while the folder was another process's.
    is_ahead: bool,
    /// Whether it was said that the disk fails.
    said: bool,
}

/// Measures of what is pinned.
struct Gauges {
    /// Names and types.
    pins: Gauge,
    /// When the first of them ends.
    until: Gauge,
}

impl Gauges {
    fn new(metrics: &Metrics) -> Self {
        let gauge = |name, help| {
            metrics.describe_gauge(name, help);
            metrics.gauge(name, &[])
        };
        Self {
            pins: gauge("outlast_pins", "Names and types that an operator has pinned."),
            until: gauge(
                "outlast_pins_until_timestamp_seconds",
                "When the first of the pins ends by itself; 0 where nothing is pinned.",
            ),
        }
    }
}

/// Where pins are kept, and by what clock they end.
pub struct Place {
    /// The folder of the first snapshots, if there is one.
    pub dir: Option<PathBuf>,
    /// Where it is.
    pub disk: Arc<dyn Disk>,
    /// Unix time.
    pub clock: Arc<WallClock>,
    /// Whether the folder is ours to write to.
    pub ownership: Ownership,
}

impl PinKeeper {
    /// Begins with what the folder has. Blocks while it reads.
    pub fn boot(pins: Pins, place: Place, metrics: &Metrics) -> Arc<Self> {
        let Place { dir, disk, clock, ownership } = place;
        let keeper = Self {
            pins,
            dir,
            disk,
            clock,
            ownership,
            keeping: Mutex::default(),
            unkept: AtomicBool::new(false),
            changed: Notify::new(),
            gauges: Gauges::new(metrics),
        };
        if let Some(dir) = &keeper.dir {
            keeper.take_over(load(&*keeper.disk, dir, &keeper.clock));
        }
        keeper.measure();
        Arc::new(keeper)
    }

    /// What is pinned.
    pub const fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Ends pins in time, and has the disk tried again, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut ownership = self.ownership.clone();
        loop {
            let end = self.pins.table().next_end();
            let ended = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = ownership.changed() => self.owned().await,
                () = self.changed.notified() => {}
                () = ended => self.end().await,
                () = sleep(RETRY), if self.unkept.load(Ordering::Relaxed) => {
                    self.keep(&mut *self.keeping.lock().await).await;
                }
            }
        }
    }

    // === Orders ===

    /// Has a name be answered with a value, for [`DEFAULT_PIN`] or as long as is said, [`MAX_PIN`] at most.
    ///
    /// # Errors
    /// What was written is wrong, or there is no place for it.
    pub async fn pin(
        &self,
        name: &str,
        kind: &str,
        value: &str,
        for_: Option<Duration>,
    ) -> Result<PinsDone, Refusal> {
        let wanted = Wanted::parse(name, kind, value).map_err(Refusal::wrong)?;
        let for_ = for_.unwrap_or(DEFAULT_PIN).min(MAX_PIN);
        let mut keeping = self.keeping.lock().await;
        let since_ms = self.clock.now_unix_ms();
        let until_ms = since_ms.saturating_add(millis(for_));
        let span = Span { since_ms, until_ms, until: Instant::now() + for_ };
        let added = self.pins.change(|table| table.add(wanted, span));
        let pin = added.map_err(|why: NoPlace| Refusal::failed(why.to_string()))?;
        let pins = vec![self.status_of(&pin)];
        tracing::warn!(name = %pin.name, kind = %pin.kind, values = ?pins[0].values, until = %Age(for_),
            "pinned by an operator: answered so, whatever the cluster says");
        Ok(PinsDone { pins, kept: self.keep(&mut keeping).await })
    }

    /// Ends the pins of a name, or of a name and type; all of them without a name.
    ///
    /// # Errors
    /// What was written is wrong.
    pub async fn unpin(&self, name: Option<&str>, kind: Option<&str>) -> Result<PinsDone, Refusal> {
        let name = name.map(pin::labels).transpose().map_err(Refusal::wrong)?;
        let kind = kind.map(pin::kind).transpose().map_err(Refusal::wrong)?;
        let mut keeping = self.keeping.lock().await;
        let is_meant = |pin: &Pin| is_of(pin, name.as_ref(), kind);
        let taken = self.pins.change(|table| table.take(is_meant));
        for pin in &taken {
            tracing::warn!(name = %pin.name, kind = %pin.kind, "unpinned by an operator: answered as the cluster says");
        }
        let pins = taken.iter().map(|pin| self.status_of(pin)).collect();
        let kept = if taken.is_empty() { self.kept_in() } else { self.keep(&mut keeping).await };
        Ok(PinsDone { pins, kept })
    }

    /// What is pinned, in the order in which it was.
    pub fn list(&self) -> Vec<PinStatus> {
        let now = Instant::now();
        let table = self.pins.table();
        table.pins().iter().filter(|pin| pin.span.until > now).map(|pin| self.status_of(pin)).collect()
    }

    fn status_of(&self, pin: &Pin) -> PinStatus {
        let left = pin.span.until.saturating_duration_since(Instant::now());
        // A second that has begun is left.
        PinStatus::of(pin, self.clock.now_unix_ms(), millis(left).div_ceil(1_000))
    }

    // === The end ===

    /// Ends what is over.
    async fn end(&self) {
        let mut keeping = self.keeping.lock().await;
        let now = Instant::now();
        let ended = self.pins.change(|table| table.take(|pin| pin.span.until <= now));
        for pin in &ended {
            tracing::warn!(name = %pin.name, kind = %pin.kind, "its time is over, no longer pinned: answered as the cluster says");
        }
        self.keep(&mut keeping).await;
    }

    // === The disk ===

    /// Writes what is pinned now, and says what a restart would know.
    async fn keep(&self, keeping: &mut Keeping) -> Kept {
        self.measure();
        let kept = self.write(keeping).await;
        // Last: whether it is to be tried again is known now.
        self.changed.notify_one();
        kept
    }

    async fn write(&self, keeping: &mut Keeping) -> Kept {
        let Some(dir) = &self.dir else { return Kept::InMemory };
        // Invariant: the owner writes.
        if !self.ownership.is_ours() {
            keeping.is_ahead = true;
            return self.kept_in();
        }
        let pins: Vec<_> = self.pins.table().pins().iter().map(kept).collect();
        let (disk, dir, now) = (self.disk.clone(), dir.clone(), self.clock.now_unix_ms());
        let writing = tokio::task::spawn_blocking(move || file::keep(&*disk, &dir, now, pins));
        let why = match writing.await {
            Ok(Ok(())) => {
                *keeping = Keeping::default();
                self.unkept.store(false, Ordering::Relaxed);
                return self.kept_in();
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        self.unkept.store(true, Ordering::Relaxed);
        if !std::mem::replace(&mut keeping.said, true) {
            tracing::error!(%why, "what is pinned is not written: a restart does not know it until a retry succeeds");
        }
        Kept::Failed { why }
    }

    /// Where it is kept, if nothing fails.
    fn kept_in(&self) -> Kept {
        match &self.dir {
            None => Kept::InMemory,
            Some(dir) if self.ownership.is_ours() => Kept::InFolder { dir: dir.display().to_string() },
            Some(dir) => Kept::AnotherOwner { dir: dir.display().to_string() },
        }
    }

    /// The folder may be ours now: goes on with what its owner before has kept there.
    async fn owned(&self) {
        let Some(dir) = &self.dir else { return };
        let mut keeping = self.keeping.lock().await;
        if !self.ownership.is_ours() {
            return;
        }
        if keeping.is_ahead {
            self.keep(&mut keeping).await;
            return;
        }
        let (disk, dir, clock) = (self.disk.clone(), dir.clone(), self.clock.clone());
        // One that panics leaves what is known.
        if let Ok(loaded) = tokio::task::spawn_blocking(move || load(&*disk, &dir, &clock)).await {
            self.take_over(loaded);
            self.measure();
        }
    }

    /// Goes on with what was kept.
    fn take_over(&self, loaded: Result<Vec<(Wanted, Span)>, String>) {
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(why) => return tracing::error!(%why, "what was pinned is not known any more"),
        };
        let before = self.pins.table().pins().len();
        self.pins.change(|table| {
            table.take(|_| true);
            for (wanted, span) in loaded {
                if let Err(why) = table.add(wanted, span) {
                    tracing::error!(%why, "some of what was pinned has no place");
                }
            }
        });
        let pins = self.pins.table().pins().len();
        if pins > 0 || before > 0 {
            tracing::warn!(
                pins,
                "pinned by an operator before the start: answered so, whatever the cluster says"
            );
        }
    }

    // === What is said of it ===

    fn measure(&self) {
        let table = self.pins.table();
        self.gauges.pins.set(table.pins().len() as f64);
        let until = table.pins().iter().map(|pin| pin.span.until_ms).min();
        self.gauges.until.set(until.unwrap_or_default() as f64 / 1_000.0);
    }
}

impl Tells for PinKeeper {
    fn section(&self) -> Section {
        let pins = self.list();
        let kept = match self.unkept.load(Ordering::Relaxed) {
            true => Kept::Failed { why: "the disk failed, as the log says".to_owned() },
            false => self.kept_in(),
        };
        let warn = |text: String| Row { text, level: Level::Warn };
        let row = |pin: &PinStatus| {
            let left = Age(Duration::from_secs(pin.remaining_s));
            warn(format!("{} {} {}, for {left} more", pin.name, pin.kind, pin.values.join(" and ")))
        };
        let mut rows: Vec<_> = pins.iter().take(SHOWN).map(row).collect();
        if let Some(more @ 1..) = pins.len().checked_sub(SHOWN) {
            rows.push(warn(format!("and {more} more: outlast ctl pins")));
        }
        let mut advice = Vec::new();
        if let Some(first) = pins.first() {
            let how = match pins.len() {
                1 => format!("outlast ctl unpin {}", first.name),
                _ => "outlast ctl unpin NAME, or --all".to_owned(),
            };
            let restart = match &kept {
                Kept::InFolder { .. } | Kept::AnotherOwner { .. } => "",
                Kept::InMemory | Kept::Failed { .. } => " A restart forgets it.",
            };
            let text = format!(
                "Names are pinned by an operator, and answered so whatever the cluster says.{restart} To end it: {how}"
            );
            advice.push(Advice { level: Level::Warn, text });
        }
        let data = value(&PinsDone { pins, kept }).unwrap_or_default();
        Section { title: "pinned".to_owned(), rows, advice, data }
    }
}

/// Whether a pin is of this name and type, each of which may be any.
fn is_of(pin: &Pin, name: Option<&Labels>, kind: Option<RecordType>) -> bool {
    name.is_none_or(|name| pin.name == *name) && kind.is_none_or(|kind| pin.kind == kind)
}

/// A pin as it is on the disk.
fn kept(pin: &Pin) -> KeptPin {
    KeptPin {
        name: pin.name.to_string(),
        kind: pin.kind.to_string(),
        values: pin.values.iter().map(|value| value.text.clone()).collect(),
        since_ms: pin.span.since_ms,
        until_ms: pin.span.until_ms,
    }
}

/// What the folder has, but for what has ended. Blocks.
fn load(disk: &dyn Disk, dir: &Path, clock: &WallClock) -> Result<Vec<(Wanted, Span)>, String> {
    let Some(kept) = file::load(disk, dir)? else { return Ok(Vec::new()) };
    clock.raise_floor(kept.written_ms);
    let (now_ms, now) = (clock.now_unix_ms(), Instant::now());
    let mut loaded = Vec::new();
    for KeptPin { name, kind, values, since_ms, until_ms } in kept.pins {
        // Invariant: a clock that was set back makes nothing last longer than it was meant to.
        let left = Duration::from_millis(until_ms.saturating_sub(now_ms.max(since_ms))).min(MAX_PIN);
        if left.is_zero() {
            continue;
        }
        let span = Span { since_ms, until_ms, until: now + left };
        for text in values {
            match Wanted::parse(&name, &kind, &text) {
                Ok(wanted) => loaded.push((wanted, span)),
                Err(why) => tracing::error!(name, kind, %why, "some of what was pinned cannot be read"),
            }
        }
    }
    Ok(loaded)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::snapshot::disk::RealDisk;
    use crate::testkit::disk::{Fault, RecordingDisk};

    /// 2026-01-01T00:00:00Z.
    const NEW_YEAR: u64 = 1_767_225_600_000;

    /// A disk with an empty folder, and clocks that begin at `now`.
    struct World {
        disk: Arc<RecordingDisk>,
    }

    impl World {
        fn new() -> Self {
            let disk = Arc::new(RecordingDisk::default());
            disk.make_dir(Path::new("/d")).unwrap();
            Self { disk }
        }

        /// A process that begins when its clock says so.
        fn boot_at(&self, now_ms: u64) -> Arc<PinKeeper> {
            self.boot(now_ms, Ownership::always())
        }

        fn boot(&self, now_ms: u64, ownership: Ownership) -> Arc<PinKeeper> {
            let begin = Instant::now();
            let system = move || now_ms + millis(begin.elapsed());
            let place = Place {
                dir: Some("/d".into()),
                disk: self.disk.clone(),
                clock: Arc::new(WallClock::with_system(0, system)),
                ownership,
            };
            PinKeeper::boot(Pins::default(), place, &Metrics::new())
        }
    }

    async fn pin(keeper: &PinKeeper, name: &str, value: &str, seconds: u64) -> PinsDone {
        keeper.pin(name, "A", value, Some(Duration::from_secs(seconds))).await.unwrap()
    }

    /// What is pinned, in short.
    fn listed(keeper: &PinKeeper) -> Vec<String> {
        let line = |pin: PinStatus| format!("{} {} {} s", pin.name, pin.values.join("+"), pin.remaining_s);
        keeper.list().into_iter().map(line).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_pinned_outlives_the_process_and_ends_in_time() {
        let world = World::new();
        let first = world.boot_at(NEW_YEAR);
        let done = pin(&first, "web.shop", "192.0.2.1", 600).await;
        assert_eq!(done.kept, Kept::InFolder { dir: "/d".to_owned() });
        pin(&first, "web.shop", "192.0.2.2", 600).await;
        pin(&first, "brief.shop", "192.0.2.3", 60).await;
        drop(first);
        tokio::time::advance(Duration::from_secs(100)).await;
        let second = world.boot_at(NEW_YEAR + 100_000);
        assert_eq!(listed(&second), ["web.shop. 192.0.2.1+192.0.2.2 500 s"]);
        let stop = CancellationToken::new();
        let running = tokio::spawn(second.clone().run(stop.clone()));
        sleep(Duration::from_secs(501)).await;
        assert!(second.pins().table().pins().is_empty(), "ended and tidied up");
        assert!(world.disk.list(Path::new("/d")).unwrap().is_empty(), "and off the disk");
        stop.cancel();
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_back_makes_nothing_last_longer() {
        let world = World::new();
        let hour = 3_600_000;
        pin(&world.boot_at(NEW_YEAR), "web.shop", "192.0.2.1", 3_600).await;
        for (now, left) in [
            (NEW_YEAR - 24 * hour, &["web.shop. 192.0.2.1 3600 s"][..]),
            (0, &["web.shop. 192.0.2.1 3600 s"]),
            (NEW_YEAR + hour / 2, &["web.shop. 192.0.2.1 1800 s"]),
            (NEW_YEAR + hour, &[]),
            (NEW_YEAR + 24 * hour, &[]),
        ] {
            assert_eq!(listed(&world.boot_at(now)), left, "{now}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unpinned_is_gone_for_good() {
        let world = World::new();
        let keeper = world.boot_at(NEW_YEAR);
        for name in ["a.shop", "b.shop", "c.shop"] {
            pin(&keeper, name, "192.0.2.1", 600).await;
        }
        keeper.pin("a.shop", "TXT", "hello", None).await.unwrap();
        let names =
            |done: PinsDone| done.pins.into_iter().map(|pin| pin.name + &pin.kind).collect::<Vec<_>>();
        let unpin = async |name, kind| names(keeper.unpin(name, kind).await.unwrap());
        assert_eq!(unpin(Some("A.shop."), Some("txt")).await, ["a.shop.TXT"]);
        assert_eq!(unpin(Some("a.shop"), Some("TXT")).await, [""; 0], "it is gone");
        assert_eq!(unpin(Some("b.shop"), None).await, ["b.shop.A"]);
        assert_eq!(listed(&world.boot_at(NEW_YEAR)).len(), 2);
        assert_eq!(unpin(None, None).await, ["a.shop.A", "c.shop.A"]);
        assert_eq!(listed(&world.boot_at(NEW_YEAR)), [""; 0]);
        let wrong = keeper.unpin(Some("a..b"), None).await.unwrap_err();
        assert_eq!(wrong.kind, crate::ops::control::RefusalKind::Wrong);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_fails_is_said_and_tried_again() {
        let world = World::new();
        let keeper = world.boot_at(NEW_YEAR);
        let running = tokio::spawn(keeper.clone().run(CancellationToken::new()));
        world.disk.fail(Fault::Full);
        let done = pin(&keeper, "web.shop", "192.0.2.1", 600).await;
        assert!(matches!(&done.kept, Kept::Failed { why } if why.contains("/d")), "{done:?}");
        let says = |keeper: &PinKeeper| keeper.section().advice[0].text.clone();
        assert!(says(&keeper).contains("A restart forgets it."), "{}", says(&keeper));
        assert_eq!(listed(&world.boot_at(NEW_YEAR)), [""; 0]);
        world.disk.heal();
        sleep(RETRY * 2).await;
        assert_eq!(listed(&world.boot_at(NEW_YEAR + 60_000)), ["web.shop. 192.0.2.1 540 s"]);
        assert!(!says(&keeper).contains("A restart forgets it."), "{}", says(&keeper));
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_successor_goes_on_with_what_was_ordered_last() {
        for (own, want) in [
            (None, "web.shop. 192.0.2.2 600 s"),
            // What it was told itself is newer.
            (Some("192.0.2.3"), "web.shop. 192.0.2.3 600 s"),
        ] {
            let world = World::new();
            let leaver = world.boot_at(NEW_YEAR);
            let (say, owned) = watch::channel(false);
            let successor = world.boot(NEW_YEAR, Ownership::of(owned));
            let running = tokio::spawn(successor.clone().run(CancellationToken::new()));
            if let Some(own) = own {
                let done = pin(&successor, "web.shop", own, 600).await;
                assert_eq!(done.kept, Kept::AnotherOwner { dir: "/d".to_owned() });
            }
            // In its last second.
            pin(&leaver, "web.shop", "192.0.2.2", 600).await;
            assert_ne!(listed(&successor), [want.replace("192.0.2.3", "192.0.2.2")]);
            say.send(true).unwrap();
            sleep(Duration::from_millis(10)).await;
            assert_eq!(listed(&successor), [want]);
            assert_eq!(listed(&world.boot_at(NEW_YEAR)), [want], "and so does the next one");
            running.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            r#"{{"version":1,"written_ms":1,"pins":[
            {{"name":"bad..","type":"A","values":["192.0.2.1"],"since_ms":1,"until_ms":{NEW_YEAR}}},
            {{"name":"web.","type":"A","values":["none","192.0.2.2"],"since_ms":1,"until_ms":{NEW_YEAR}}}]}}"#
        );
        std::fs::write(folder.path().join("pins.json"), text).unwrap();
        let clock = WallClock::with_system(0, || NEW_YEAR - 5_000);
        let loaded = load(&RealDisk, folder.path(), &clock).unwrap();
        assert_eq!(loaded.len(), 1, "{loaded:?}");
        assert_eq!(loaded[0].1.until, Instant::now() + Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_of_it() {
        let world = World::new();
        let keeper = world.boot_at(NEW_YEAR);
        let section = keeper.section();
        assert_eq!((section.rows.len(), section.advice.len()), (0, 0));
        pin(&keeper, "web.shop", "192.0.2.1", 600).await;
        pin(&keeper, "web.shop", "192.0.2.2", 600).await;
        let section = keeper.section();
        assert_eq!(section.rows[0].text, "web.shop. A 192.0.2.1 and 192.0.2.2, for 10m0s more");
        assert!(section.advice[0].text.ends_with("To end it: outlast ctl unpin web.shop."));
        assert_eq!(section.data["pins"][0]["type"], "A");
        for n in 0..SHOWN {
            pin(&keeper, &format!("n{n}.shop"), "192.0.2.1", 600).await;
        }
        let rows = keeper.section().rows;
        assert_eq!((rows.len(), rows[SHOWN].text.as_str()), (SHOWN + 1, "and 1 more: outlast ctl pins"));
    }
}
