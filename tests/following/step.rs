//! Steps of a script, and random scripts.
//!
//! Few objects, so that steps meet; printed as Rust, so that what failed can become a row of the table of known
//! scripts.

use std::time::Duration;

use outlast::drill::standin::faults::{Fault, Network, Refusal, Rule};
use outlast::drill::standin::requests::{ListKind, Verb};
use outlast::zone::object::Kind;
use proptest::prelude::*;

use super::disks::{Trouble, trouble};

/// The objects that come and go: kind, namespace, name.
pub(super) const OBJECTS: [(Kind, &str, &str); 10] = [
    (Kind::Namespace, "", "a"),
    (Kind::Namespace, "", "b"),
    (Kind::Service, "a", "x"),
    (Kind::Service, "a", "y"),
    (Kind::Service, "b", "x"),
    (Kind::EndpointSlice, "a", "x-1"),
    (Kind::EndpointSlice, "a", "x-2"),
    (Kind::EndpointSlice, "b", "x-1"),
    (Kind::Pod, "a", "p"),
    (Kind::Pod, "b", "q"),
];

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The object of [`OBJECTS`] is made or changed.
    Put(usize),
    /// It is deleted, if it is there.
    Delete(usize),
    /// Something is written that nobody watches.
    Touch,
    /// So many milliseconds go by.
    Pass(u32),
    /// From now on requests go wrong.
    Wrong {
        /// Which.
        which: Which,
        /// Of this kind only.
        of: Option<Kind>,
        /// How.
        how: How,
        /// How often; without a number until all is well.
        times: Option<u32>,
    },
    /// Whoever connects is refused or closed.
    Network(Connecting),
    /// Every connection is reset.
    Cut,
    /// Watches that are open say nothing any more.
    Silence,
    /// Watches that are open leave out so many events.
    Skip(usize),
    /// The server's cache is so many milliseconds behind.
    Lag(u32),
    /// The server's cache stays where it is.
    Freeze,
    /// It goes on.
    Thaw,
    /// All faults end.
    Well,
    /// The server forgets what happened before.
    Compact,
    /// The server restarts.
    Forget,
    /// A backup is made.
    Save,
    /// The cluster is restored from the backup, with revisions that go on.
    RestoreBumped,
    /// The cluster is restored from the backup, revision and all. Before that everything goes well for some minutes:
    /// nobody can tell two histories of one revision apart.
    Restore,
    /// SIGTERM, if the node runs.
    Stop,
    /// SIGKILL, if the node runs.
    Crash,
    /// The node starts, unless it runs.
    Start,
    /// Something happens to its disk.
    Disk(Trouble),
    /// The disk is lost, if the node does not run.
    Wipe,
    /// The power is cut, whether it runs or not; what is found on the disk depends on a number.
    PowerCut(u64),
}

/// Requests that go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    Lists,
    Watches,
    Small,
}

/// How requests go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Hang,
    /// So many bytes every 100 ms.
    Drip(usize),
    /// After so many bytes.
    Cut(usize),
    Garbage,
    Unauthorized,
    Forbidden,
    Gone,
    /// For so many seconds.
    TooMany(u32),
    Internal,
    Unavailable,
    Timeout,
}

/// How connections go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connecting {
    Refuse,
    Close,
    Hang,
    None,
}

impl Connecting {
    /// As the stand-in has it.
    pub(super) const fn network(self) -> Network {
        match self {
            Self::Refuse => Network::Refuse,
            Self::Close => Network::Close,
            Self::Hang => Network::HangAtTls,
            Self::None => Network::Open,
        }
    }
}

/// The rule of a [`Step::Wrong`].
pub(super) fn rule(which: Which, of: Option<Kind>, how: How, times: Option<u32>) -> Rule {
    let rule = Rule::new(match how {
        How::Hang => Fault::Hang,
        How::Drip(bytes) => Fault::Drip { bytes, every: Duration::from_millis(100) },
        How::Cut(after) => Fault::Cut { after },
        How::Garbage => Fault::Garbage,
        How::Unauthorized => Fault::Answer(Refusal::Unauthorized),
        How::Forbidden => Fault::Answer(Refusal::Forbidden),
        How::Gone => Fault::Answer(Refusal::Gone),
        How::TooMany(seconds) => Fault::Answer(Refusal::TooManyRequests(seconds)),
        How::Internal => Fault::Answer(Refusal::Internal),
        How::Unavailable => Fault::Answer(Refusal::Unavailable),
        How::Timeout => Fault::Answer(Refusal::Timeout),
    });
    let rule = match which {
        Which::All => rule,
        Which::Lists => rule.on(Verb::List),
        Which::Watches => rule.on(Verb::Watch),
        Which::Small => rule.on_lists(ListKind::Small),
    };
    let rule = of.map_or(rule.clone(), |kind| rule.of(kind));
    times.map_or(rule.clone(), |times| rule.times(times))
}

// === What a script is about ===

/// How the server is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// As servers are today.
    Usual,
    /// Without streaming lists.
    NoStreams,
    /// On an etcd that is too old for them.
    OldEtcd,
    /// Keeps few events.
    ShortHistory,
}

/// A whole script.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// For jitter.
    pub(super) seed: u64,
    /// The server.
    pub(super) server: Server,
    /// What happens. The node runs from the start.
    pub(super) steps: Vec<Step>,
}

/// What random scripts are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Theme {
    /// Changes and faults of the server.
    Faults,
    /// The same with stops, crashes and starts.
    Restarts,
    /// All of it with a disk that fails, and power cuts.
    Disks,
    /// All but that with restores.
    Restores,
}

fn wrong() -> impl Strategy<Value = Step> {
    let which = prop_oneof![2 => Just(Which::All), 2 => Just(Which::Lists), 3 => Just(Which::Watches), 2 => Just(Which::Small)];
    let of = prop::option::of(prop::sample::select(&Kind::ALL[..]));
    let how = prop_oneof![
        2 => Just(How::Hang),
        1 => (1..200usize).prop_map(How::Drip),
        2 => (0..1500usize).prop_map(How::Cut),
        1 => Just(How::Garbage),
        1 => Just(How::Unauthorized),
        1 => Just(How::Forbidden),
        2 => Just(How::Gone),
        1 => (1..6u32).prop_map(How::TooMany),
        1 => Just(How::Internal),
        1 => Just(How::Unavailable),
        1 => Just(How::Timeout),
    ];
    (which, of, how, prop::option::weighted(0.7, 1..4u32)).prop_map(|(which, of, how, times)| Step::Wrong {
        which,
        of,
        how,
        times,
    })
}

/// One step of a script about `theme`.
fn step(theme: Theme) -> impl Strategy<Value = Step> {
    let objects = || 0..OBJECTS.len();
    let restarts = u32::from(theme != Theme::Faults);
    let disks = u32::from(theme == Theme::Disks);
    let restores = u32::from(theme == Theme::Restores);
    let troubles = [Connecting::Refuse, Connecting::Close, Connecting::Hang, Connecting::None];
    let mut steps = vec![
        (14, objects().prop_map(Step::Put).boxed()),
        (6, objects().prop_map(Step::Delete).boxed()),
        (2, Just(Step::Touch).boxed()),
        (8, (0..50u32).prop_map(Step::Pass).boxed()),
        (8, (50..3_000u32).prop_map(Step::Pass).boxed()),
        (6, (3_000..20_000u32).prop_map(Step::Pass).boxed()),
        (3, (20_000..240_000u32).prop_map(Step::Pass).boxed()),
        (8, wrong().boxed()),
        (1, prop::sample::select(troubles.to_vec()).prop_map(Step::Network).boxed()),
        (2, Just(Step::Cut).boxed()),
        (3, Just(Step::Silence).boxed()),
        (4, (1..4usize).prop_map(Step::Skip).boxed()),
        (2, (100..60_000u32).prop_map(Step::Lag).boxed()),
        (2, Just(Step::Freeze).boxed()),
        (1, Just(Step::Thaw).boxed()),
        (5, Just(Step::Well).boxed()),
        (1, Just(Step::Compact).boxed()),
        (2, Just(Step::Forget).boxed()),
        (3 * restores, Just(Step::Save).boxed()),
        (2 * restores, Just(Step::RestoreBumped).boxed()),
        (2 * restores, Just(Step::Restore).boxed()),
        (2 * restarts, Just(Step::Stop).boxed()),
        (3 * restarts, Just(Step::Crash).boxed()),
        (8 * restarts, Just(Step::Start).boxed()),
        (disks, Just(Step::Wipe).boxed()),
        (8 * disks, trouble().prop_map(Step::Disk).boxed()),
        (5 * disks, any::<u64>().prop_map(Step::PowerCut).boxed()),
    ];
    steps.retain(|(weight, _)| *weight > 0);
    prop::strategy::Union::new_weighted(steps)
}

/// Random scripts about `theme`.
pub(super) fn script(theme: Theme) -> impl Strategy<Value = Script> {
    let server = prop_oneof![
        3 => Just(Server::Usual),
        1 => Just(Server::NoStreams),
        1 => Just(Server::OldEtcd),
        1 => Just(Server::ShortHistory),
    ];
    let steps = prop::collection::vec(step(theme), 1..40);
    (0..1_000u64, server, steps).prop_map(|(seed, server, steps)| Script { seed, server, steps })
}
