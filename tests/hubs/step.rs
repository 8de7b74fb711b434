//! Steps of a script, and random scripts.
//!
//! Few objects, so that steps meet; printed as Rust, so that what failed can become a row of the table of known
//! scripts.

use outlast::zone::object::Kind;
use proptest::prelude::*;

use super::disks::{Trouble, trouble};
use super::node::NODES;
use super::world::{HUBS, PARTIES};

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

/// How connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// Well.
    Open,
    /// Nothing comes through, for now.
    Stalled,
    /// Bit by bit.
    Slow,
    /// There are no new ones.
    Refused,
    /// Those that there are end.
    Cut,
}

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
    /// Connections from this hub to the API server.
    Api(usize, Wire),
    /// Connections from this node to this hub.
    Hub(usize, usize, Wire),
    /// So many requests to the API server are answered with 410.
    Gone(u32),
    /// Watches that are open say nothing any more.
    Silence,
    /// The API server's cache is so many milliseconds behind.
    Lag(u32),
    /// It stays where it is.
    Freeze,
    /// It goes on.
    Thaw,
    /// All faults end.
    Well,
    /// The API server forgets what happened before.
    Compact,
    /// It restarts.
    Forget,
    /// A backup is made.
    Save,
    /// The cluster is restored from the backup, with revisions that go on.
    RestoreBumped,
    /// The cluster is restored from the backup, revision and all. Before that everything goes well for some minutes:
    /// nobody can tell two histories of one revision apart.
    Restore,
    /// SIGTERM of a hub, if it runs.
    StopHub(usize),
    /// SIGKILL of a hub, if it runs.
    CrashHub(usize),
    /// The disk of the first hub is lost, if it does not run. The other one keeps its disk: epochs are remembered.
    Wipe,
    /// A hub starts, unless it runs.
    StartHub(usize),
    /// SIGTERM of a node, if it runs.
    Stop(usize),
    /// SIGKILL of a node, if it runs.
    Crash(usize),
    /// A node starts, unless it runs.
    Start(usize),
    /// So many lists of everything are empty, once every hub has data on its disk: a first list is always believed.
    Empty(u32),
    /// The disk of a party: hubs come first, then nodes.
    Disk(usize, Trouble),
    /// The power of a party is cut, whether it runs or not; what is found on its disk depends on a number.
    PowerCut(usize, u64),
}

/// A whole script.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// For jitter.
    pub(super) seed: u64,
    /// Whether the API server keeps few events.
    pub(super) short_history: bool,
    /// Whether hubs keep few batches.
    pub(super) short_log: bool,
    /// Whether hubs judge lists, and there is enough to lose for them to do so.
    pub(super) guard: bool,
    /// What happens. Everything runs from the start.
    pub(super) steps: Vec<Step>,
}

/// What random scripts are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Theme {
    /// Changes and faults of the server and of connections.
    Faults,
    /// The same with stops, crashes and starts.
    Restarts,
    /// All of it with disks that fail, and power cuts.
    Disks,
    /// All but that with restores.
    Restores,
    /// Faults, stops, crashes and starts with lists that lack everything, which hubs do not believe.
    Losses,
}

/// One step of a script about `theme`.
fn step(theme: Theme) -> impl Strategy<Value = Step> {
    let (objects, hubs, nodes) = (|| 0..OBJECTS.len(), || 0..HUBS.len(), || 0..NODES.len());
    let wire = || prop::sample::select(vec![Wire::Open, Wire::Stalled, Wire::Slow, Wire::Refused, Wire::Cut]);
    let restarts = u32::from(theme != Theme::Faults);
    let disks = u32::from(theme == Theme::Disks);
    let restores = u32::from(theme == Theme::Restores);
    let losses = u32::from(theme == Theme::Losses);
    let mut steps = vec![
        (20, objects().prop_map(Step::Put).boxed()),
        (8, objects().prop_map(Step::Delete).boxed()),
        (2, Just(Step::Touch).boxed()),
        (8, (0..300u32).prop_map(Step::Pass).boxed()),
        (8, (300..3_000u32).prop_map(Step::Pass).boxed()),
        (6, (3_000..20_000u32).prop_map(Step::Pass).boxed()),
        (2, (20_000..120_000u32).prop_map(Step::Pass).boxed()),
        (8, (hubs(), wire()).prop_map(|(hub, wire)| Step::Api(hub, wire)).boxed()),
        (10, (nodes(), hubs(), wire()).prop_map(|(node, hub, wire)| Step::Hub(node, hub, wire)).boxed()),
        (1, (1..4u32).prop_map(Step::Gone).boxed()),
        (2, Just(Step::Silence).boxed()),
        (2, (100..30_000u32).prop_map(Step::Lag).boxed()),
        (2, Just(Step::Freeze).boxed()),
        (1, Just(Step::Thaw).boxed()),
        (3, Just(Step::Well).boxed()),
        (1, Just(Step::Compact).boxed()),
        (1 + 4 * losses, Just(Step::Forget).boxed()),
        (3 * restores, Just(Step::Save).boxed()),
        (2 * restores, Just(Step::RestoreBumped).boxed()),
        (2 * restores, Just(Step::Restore).boxed()),
        (2 * restarts, hubs().prop_map(Step::StopHub).boxed()),
        (3 * restarts, hubs().prop_map(Step::CrashHub).boxed()),
        // A hub that has nothing believes what it is told first.
        (restarts - losses, Just(Step::Wipe).boxed()),
        (8 * losses, (1..12u32).prop_map(Step::Empty).boxed()),
        (6 * restarts, hubs().prop_map(Step::StartHub).boxed()),
        (2 * restarts, nodes().prop_map(Step::Stop).boxed()),
        (2 * restarts, nodes().prop_map(Step::Crash).boxed()),
        (5 * restarts, nodes().prop_map(Step::Start).boxed()),
        (8 * disks, (0..PARTIES, trouble()).prop_map(|(party, trouble)| Step::Disk(party, trouble)).boxed()),
        (5 * disks, (0..PARTIES, any::<u64>()).prop_map(|(party, seed)| Step::PowerCut(party, seed)).boxed()),
    ];
    steps.retain(|(weight, _)| *weight > 0);
    prop::strategy::Union::new_weighted(steps)
}

/// Random scripts about `theme`.
pub(super) fn script(theme: Theme) -> impl Strategy<Value = Script> {
    let steps = prop::collection::vec(step(theme), 1..40);
    let short = || prop::bool::weighted(0.3);
    (0..1_000u64, short(), short(), steps).prop_map(move |(seed, short_history, short_log, steps)| Script {
        seed,
        short_history,
        short_log,
        guard: theme == Theme::Losses,
        steps,
    })
}
