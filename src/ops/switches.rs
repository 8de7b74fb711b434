//! Protections that a drill takes from the processes that it starts: a drill that does not fail without the protection
//! that it is about shows nothing.
//!
//! They are variables of the environment, and no flags: no help, document or manifest has them.
//!
//! Invariants:
//!
//! * They have an effect in children of a drill only, which are told its process id and have it as their parent.
//!   Anywhere else a variable that was forgotten is a warning and nothing more.
//! * What is off is said: in the log, in `outlast_drill_without`, and as an alarm in the status.
//! * Asking costs one relaxed load, and is done where something is set up or waited for, never for a query.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use serde_json::json;

use super::control::section::{Advice, Level, Row, Section};
use super::metrics::Metrics;

/// Protections that are off, by name, with commas between.
const WITHOUT: &str = "OUTLAST_DRILL_WITHOUT";

/// Faults of the process itself, with commas between: `clock=SECONDS` and `lose-entries`.
const FAULTS: &str = "OUTLAST_DRILL_FAULTS";

/// The drill's process id.
const PARENT: &str = "OUTLAST_DRILL_PARENT";

/// The fault of a clock that is wrong by so many seconds, ahead or (negative) behind.
const CLOCK: &str = "clock";

/// The fault of a hub that leaves out changes.
const LOSE_ENTRIES: &str = "lose-entries";

/// The largest error of a clock in seconds: ten years.
const MAX_CLOCK_S: u64 = 10 * 366 * 86_400;

// === What there is ===

/// Something in the product without which some fault would do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protection {
    /// Waits grow while a peer fails, and a peer's own wish to wait is granted.
    Backoff,
    /// What many do is spread in time.
    Jitter,
    /// The API server is asked whether a watch has missed anything.
    Check,
    /// A hub compares itself with everything that the API server has.
    Audit,
    /// An older state that the cluster was restored to is believed.
    Epoch,
    /// Nodes compare the digest of what they hold with the hub's.
    Digests,
    /// The clock is never behind the newest snapshot.
    Floor,
    /// Packet rules and addresses that somebody takes away are put back.
    Repair,
    /// What grows with every change is cut: the changes that a hub remembers, the generations of snapshots.
    Limits,
}

impl Protection {
    /// Each of them.
    pub const ALL: [Self; 9] = [
        Self::Backoff,
        Self::Jitter,
        Self::Check,
        Self::Audit,
        Self::Epoch,
        Self::Digests,
        Self::Floor,
        Self::Repair,
        Self::Limits,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backoff => "backoff",
            Self::Jitter => "jitter",
            Self::Check => "check",
            Self::Audit => "audit",
            Self::Epoch => "epoch",
            Self::Digests => "digests",
            Self::Floor => "floor",
            Self::Repair => "repair",
            Self::Limits => "limits",
        }
    }

    /// Its place among those that are off.
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protection {
    type Err = Ignored;

    fn from_str(text: &str) -> Result<Self, Ignored> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or_else(|| Ignored::Unknown(text.to_owned()))
    }
}

/// Why variables of a drill have no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// This process is not a drill's child.
    #[error("no drill has started this process: {WITHOUT} and {FAULTS} are of drills only")]
    NoDrill,
    /// There is no such protection or fault.
    #[error("there is neither a protection nor a fault called {0:?}")]
    Unknown(String),
    /// A clock is wrong by a number of seconds.
    #[error("clock={0}: write whole seconds, at most {MAX_CLOCK_S} ahead or behind")]
    Clock(String),
}

/// What a drill wants of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// The protections that are off, each once, in the order of [`Protection::ALL`].
    pub off: Vec<Protection>,
    /// By how many milliseconds the system's clock is ahead; negative if it is behind.
    pub clock_offset_ms: i64,
    /// Whether a hub leaves out the last change of each batch.
    pub loses_entries: bool,
}

impl Switches {
    /// These protections are off, in any order, and nothing is wrong besides.
    pub fn without(mut off: Vec<Protection>) -> Self {
        off.sort_unstable();
        off.dedup();
        Self { off, ..Self::default() }
    }

    /// What the environment of a process says, whose parent has this id.
    ///
    /// # Errors
    /// Something is said, and has no effect.
    pub fn read(environment: impl Fn(&str) -> Option<String>, parent: Option<u32>) -> Result<Self, Ignored> {
        let words = |variable| {
            let text = environment(variable).unwrap_or_default();
            text.split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let (without, faults) = (words(WITHOUT), words(FAULTS));
        if without.is_empty() && faults.is_empty() {
            return Ok(Self::default());
        }
        // Invariant: nobody else's variables have an effect.
        let drill = environment(PARENT).and_then(|text| text.trim().parse().ok());
        if drill.is_none() || drill != parent {
            return Err(Ignored::NoDrill);
        }
        let off = without.iter().map(|word| word.parse()).collect::<Result<Vec<_>, _>>()?;
        let mut switches = Self::without(off);
        for fault in &faults {
            match fault.split_once('=') {
                Some((CLOCK, seconds)) => switches.clock_offset_ms = clock_ms(seconds)?,
                None if fault == LOSE_ENTRIES => switches.loses_entries = true,
                _ => return Err(Ignored::Unknown(fault.clone())),
            }
        }
        Ok(switches)
    }

    /// The variables that tell a child of the drill with this process id. Offsets of the clock are cut to whole seconds.
    pub fn variables(&self, drill: u32) -> [(&'static str, String); 3] {
        let without: Vec<_> = self.off.iter().map(|protection| protection.as_str()).collect();
        [(PARENT, drill.to_string()), (WITHOUT, without.join(",")), (FAULTS, self.faults().join(","))]
    }

    /// What is wrong, as [`FAULTS`] has it.
    fn faults(&self) -> Vec<String> {
        let clock = (self.clock_offset_ms != 0).then(|| format!("{CLOCK}={}", self.clock_offset_ms / 1000));
        clock.into_iter().chain(self.loses_entries.then(|| LOSE_ENTRIES.to_owned())).collect()
    }

    /// Whether nothing is off and nothing wrong.
    fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// In words, for people.
    fn words(&self) -> String {
        let off = (!self.off.is_empty()).then(|| {
            let off: Vec<_> = self.off.iter().map(|protection| protection.as_str()).collect();
            format!("without {}", off.join(", "))
        });
        let faults = self.faults();
        let faults = (!faults.is_empty()).then(|| format!("with faults {}", faults.join(", ")));
        off.into_iter().chain(faults).collect::<Vec<_>>().join(", ")
    }

    /// What operators are told, if there is anything.
    fn section(&self) -> Option<Section> {
        if self.are_none() {
            return None;
        }
        let words = self.words();
        let text = format!("A drill has started this process {words}: it is no server for anybody else.");
        let off: Vec<_> = self.off.iter().map(|protection| protection.as_str()).collect();
        Some(Section {
            title: "drill".to_owned(),
            rows: vec![Row { text: words, level: Level::Bad }],
            advice: vec![Advice { level: Level::Bad, text }],
            data: json!({ "without": off, "faults": self.faults() }),
        })
    }
}

/// Milliseconds of so many seconds.
fn clock_ms(seconds: &str) -> Result<i64, Ignored> {
    let wrong = || Ignored::Clock(seconds.to_owned());
    let whole: i64 = seconds.parse().map_err(|_| wrong())?;
    if whole.unsigned_abs() > MAX_CLOCK_S { Err(wrong()) } else { Ok(whole * 1000) }
}

// === What is in effect ===

/// What is in effect, to be asked from any thread.
struct Effect {
    /// A bit for each protection that is off.
    off: AtomicU32,
    /// See [`Switches::clock_offset_ms`].
    clock_offset_ms: AtomicI64,
    /// See [`Switches::loses_entries`].
    loses_entries: AtomicBool,
}

/// What is in effect in this process.
static EFFECT: Effect = Effect::none();

impl Effect {
    const fn none() -> Self {
        Self {
            off: AtomicU32::new(0),
            clock_offset_ms: AtomicI64::new(0),
            loses_entries: AtomicBool::new(false),
        }
    }

    fn set(&self, switches: &Switches) {
        let off = switches.off.iter().fold(0, |bits, protection| bits | protection.bit());
        self.off.store(off, Ordering::Relaxed);
        self.clock_offset_ms.store(switches.clock_offset_ms, Ordering::Relaxed);
        self.loses_entries.store(switches.loses_entries, Ordering::Relaxed);
    }

    fn is_off(&self, protection: Protection) -> bool {
        self.off.load(Ordering::Relaxed) & protection.bit() != 0
    }

    fn now(&self) -> Switches {
        Switches {
            off: Protection::ALL.into_iter().filter(|protection| self.is_off(*protection)).collect(),
            clock_offset_ms: self.clock_offset_ms.load(Ordering::Relaxed),
            loses_entries: self.loses_entries.load(Ordering::Relaxed),
        }
    }
}

/// Reads this process's environment, and says in its log and its metrics what is off. Before anything else runs, and
/// before the first look at the clock.
pub fn begin(metrics: &Metrics) {
    let environment = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    match Switches::read(environment, parent()) {
        Ok(switches) if switches.are_none() => {}
        Ok(switches) => {
            tracing::warn!("a drill has started this process {}", switches.words());
            metrics.describe_gauge(
                "outlast_drill_without",
                "1 for each protection that a drill has switched off.",
            );
            for protection in &switches.off {
                metrics.gauge("outlast_drill_without", &[("protection", protection.as_str())]).set(1.0);
            }
            set(&switches);
        }
        Err(ignored) => tracing::warn!("variables of a drill are ignored: {ignored}"),
    }
}

/// The drill that has started this process, if one has.
pub fn drill() -> Option<u32> {
    let drill = std::env::var(PARENT).ok()?.trim().parse().ok();
    drill.filter(|drill| parent() == Some(*drill))
}

/// The process that has started this one; another one once that has ended.
fn parent() -> Option<u32> {
    rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
}

/// These are in effect from now on: for a drill that plays in its own process.
pub fn set(switches: &Switches) {
    EFFECT.set(switches);
}

/// Whether a protection is switched off; never in a process that is not a drill's.
pub fn is_off(protection: Protection) -> bool {
    EFFECT.is_off(protection)
}

/// By how many milliseconds the system's clock is to be ahead; 0 in a process that is not a drill's.
pub fn clock_offset_ms() -> i64 {
    EFFECT.clock_offset_ms.load(Ordering::Relaxed)
}

/// Whether a hub is to leave out the last change of each batch; never in a process that is not a drill's.
pub fn loses_entries() -> bool {
    EFFECT.loses_entries.load(Ordering::Relaxed)
}

/// What the status says of it, if anything is off.
pub fn section() -> Option<Section> {
    EFFECT.now().section()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// What this environment leads to in a child of process 7.
    fn read(variables: &[(&'static str, &str)]) -> Result<Switches, Ignored> {
        let all: HashMap<_, _> = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Switches::read(|name| all.get(name).cloned(), Some(7))
    }

    #[test]
    fn what_an_environment_switches_off() {
        let off = |off: &[Protection]| Ok(Switches { off: off.to_vec(), ..Switches::default() });
        let (parent, unknown) = ((PARENT, "7"), |word: &str| Err(Ignored::Unknown(word.to_owned())));
        let clock = |s: i64| Ok(Switches { clock_offset_ms: s * 1000, ..Switches::default() });
        let wrong = |text: &str| Err(Ignored::Clock(text.to_owned()));
        for (name, variables, want) in [
            ("nothing is said", vec![], off(&[])),
            ("a drill's child with everything on", vec![parent], off(&[])),
            ("nothing is named", vec![(WITHOUT, " , "), (FAULTS, "")], off(&[])),
            ("one is off", vec![parent, (WITHOUT, "audit")], off(&[Protection::Audit])),
            (
                "several, one of them twice",
                vec![parent, (WITHOUT, "repair, backoff,repair")],
                off(&[Protection::Backoff, Protection::Repair]),
            ),
            ("no drill", vec![(WITHOUT, "audit")], Err(Ignored::NoDrill)),
            ("a fault without a drill", vec![(FAULTS, "lose-entries")], Err(Ignored::NoDrill)),
            ("another process's child", vec![(PARENT, "8"), (WITHOUT, "audit")], Err(Ignored::NoDrill)),
            ("a drill that is no process", vec![(PARENT, "x"), (WITHOUT, "audit")], Err(Ignored::NoDrill)),
            ("a wrong name among right ones", vec![parent, (WITHOUT, "audit,Jitter")], unknown("Jitter")),
            ("a day behind", vec![parent, (FAULTS, "clock=-86400")], clock(-86_400)),
            ("a second ahead", vec![parent, (FAULTS, "clock=1")], clock(1)),
            ("no number", vec![parent, (FAULTS, "clock=1d")], wrong("1d")),
            (
                "the least number",
                vec![parent, (FAULTS, "clock=-9223372036854775808")],
                wrong("-9223372036854775808"),
            ),
            ("an eleventh year", vec![parent, (FAULTS, "clock=316224001")], wrong("316224001")),
            ("no fault of ours", vec![parent, (FAULTS, "lose-entries=1")], unknown("lose-entries=1")),
            (
                "a hub that loses changes",
                vec![parent, (FAULTS, "lose-entries")],
                Ok(Switches { loses_entries: true, ..Switches::default() }),
            ),
        ] {
            assert_eq!(read(&variables), want, "{name}");
        }
    }

    #[test]
    fn a_process_without_a_parent_is_no_drills_child() {
        let environment = |name: &str| (name == WITHOUT).then(|| "audit".to_owned());
        assert_eq!(Switches::read(environment, None), Err(Ignored::NoDrill));
    }

    /// Everything at once.
    fn all() -> Switches {
        Switches { off: Protection::ALL.to_vec(), clock_offset_ms: -86_400_000, loses_entries: true }
    }

    #[test]
    fn a_child_reads_what_the_drill_has_written() {
        for switches in [Switches::default(), all()] {
            let variables = switches.variables(7);
            let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(read(&variables), Ok(switches));
        }
    }

    #[test]
    fn what_is_set_is_in_effect_and_nothing_else() {
        let effect = Effect::none();
        assert_eq!(effect.now(), Switches::default());
        for one in Protection::ALL {
            effect.set(&Switches { off: vec![one], ..Switches::default() });
            let off: Vec<_> = Protection::ALL.into_iter().filter(|p| effect.is_off(*p)).collect();
            assert_eq!(off, [one]);
        }
        effect.set(&all());
        assert_eq!(effect.now(), all());
        effect.set(&Switches::default());
        assert_eq!(effect.now(), Switches::default(), "what was set before has gone");
    }

    #[test]
    fn what_is_off_is_an_alarm_in_the_status() {
        assert_eq!(Switches::default().section(), None);
        let off = vec![Protection::Audit, Protection::Repair];
        let some = Switches { off, clock_offset_ms: 5000, loses_entries: false };
        let section = some.section().unwrap();
        let words = "without audit, repair, with faults clock=5";
        assert_eq!(section.rows, [Row { text: words.to_owned(), level: Level::Bad }]);
        assert_eq!(section.advice[0].level, Level::Bad);
        assert!(section.advice[0].text.contains(words), "{}", section.advice[0].text);
        assert_eq!(section.data, json!({ "without": ["audit", "repair"], "faults": ["clock=5"] }));
    }
}
