//! What is asked of a cluster: names of every sort, some of which change all the time.

use super::lives::Lives;
use super::message::{Question, Type};
use super::rules::{self, Seen};

/// The namespace of services that a drill writes: its markers, and what comes and goes.
pub const NAMESPACE: &str = "drill";

/// What the services of a drill are called that count up: each write is another address.
pub const MARKER: &str = "marker";

/// Endpoints that a headless service has at most that is asked for SRV: more do not go into a datagram.
const MAX_TARGETS: usize = 8;

/// Names of each sort: each is asked again after some seconds.
const EACH: usize = 40;

/// Names that never are.
const GHOSTS: usize = 10;

/// What is asked in turn: of ten questions four are for addresses of services, two for those of headless ones, one for
/// ports, one for the name of an address, one for what is not there, and one for a marker.
const TURN: [Sort; 10] = [
    Sort::Plain,
    Sort::Headless,
    Sort::Plain,
    Sort::Marker,
    Sort::Ports,
    Sort::Plain,
    Sort::Headless,
    Sort::Address,
    Sort::Plain,
    Sort::Ghost,
];

/// A sort of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// The address of a service.
    Plain,
    /// The addresses of the endpoints of a service.
    Headless,
    /// The ports of a service.
    Ports,
    /// The name of an address.
    Address,
    /// What is not there.
    Ghost,
    /// The address that counts up.
    Marker,
}

/// Names of outside that an upstream is asked for.
pub fn outside() -> Vec<Question> {
    (0..EACH).map(|n| Question::new(format!("host-{n}.example."), Type::A)).collect()
}

/// Questions about the services that there are now, in turn; `seed` chooses among them.
pub fn of(lives: &Lives, seed: u64) -> Vec<Question> {
    let now = lives.now();
    let sorts = [Sort::Plain, Sort::Headless, Sort::Ports, Sort::Address, Sort::Ghost, Sort::Marker];
    let all = sorts.map(|sort| chosen(&now, sort, seed));
    let place = |sort: Sort| sorts.iter().position(|other| *other == sort).unwrap_or_default();
    let mut asked = [0; 6];
    let mut questions = Vec::new();
    // The most that there are of a sort are asked once each in every round.
    for turn in 0..EACH * TURN.len() / 2 {
        let place = place(TURN[turn % TURN.len()]);
        let of_sort = &all[place];
        if let Some(question) = of_sort.get(asked[place] % of_sort.len().max(1)) {
            questions.push(question.clone());
            asked[place] += 1;
        }
    }
    questions
}

/// Some of the questions of a sort.
fn chosen(now: &[(&str, &Seen)], sort: Sort, seed: u64) -> Vec<Question> {
    let of = |(key, seen): &(&str, &Seen)| question(key, seen, sort);
    let mut all: Vec<_> = match sort {
        Sort::Ghost => (0..GHOSTS)
            .map(|n| Question::new(format!("ghost-{n}.{NAMESPACE}.svc.cluster.local."), Type::A))
            .collect(),
        _ => now.iter().filter_map(of).collect(),
    };
    let turn = usize::try_from(seed % all.len().max(1) as u64).unwrap_or_default();
    all.rotate_left(turn);
    let step = all.len().div_ceil(EACH).max(1);
    // What a drill writes is asked before all.
    let is_own = |question: &Question| question.name.contains(&format!(".{NAMESPACE}.svc."));
    let (mut own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_own);
    own.extend(others.into_iter().step_by(step));
    own.truncate(EACH);
    own
}

/// A question of a sort about a service, if it has what it takes.
fn question(key: &str, seen: &Seen, sort: Sort) -> Option<Question> {
    let (namespace, service) = key.split_once('/')?;
    let name = rules::name_of(key);
    let is_marker = namespace == NAMESPACE && service.starts_with(MARKER);
    let headless = seen.service.headless;
    let own = seen.service.ips.iter().find(|ip| ip.is_ipv4()).copied();
    match sort {
        Sort::Plain => own.map(|_| Question::new(name, Type::A)),
        Sort::Headless => {
            (headless && !is_marker && !seen.endpoints.is_empty()).then(|| Question::new(name, Type::A))
        }
        Sort::Ports => {
            let few = !headless || (1..=MAX_TARGETS).contains(&seen.endpoints.len());
            (few && (headless || own.is_some())).then(|| Question::new(name, Type::Srv))
        }
        // What comes and goes has no name of its address meanwhile.
        Sort::Address => {
            own.filter(|_| namespace != NAMESPACE).map(|ip| Question::new(rules::reverse(ip), Type::Ptr))
        }
        Sort::Ghost => None,
        Sort::Marker => is_marker.then(|| Question::new(name, Type::A)),
    }
}
