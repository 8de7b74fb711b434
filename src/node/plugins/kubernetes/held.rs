//! What is said of answers that a guard holds on to, and of those from data that is not known to be current.

use crate::node::query::Query;
use crate::ops::age::Age;
use crate::store::Generation;
use crate::store::state::DataState;
use crate::zone::answer::{Answer, Records};
use crate::zone::hold::Hold;
use crate::zone::name::{Subject, pod_address};
use crate::zone::rules::{Pods, Zone};

/// The hold that an answer is under, if any; found without a look where nothing is held.
pub(super) fn hold<'a>(
    generation: &'a Generation,
    query: &Query,
    zone: &Zone,
    pods: Pods,
    answer: &Answer<'_>,
) -> Option<&'a Hold> {
    if generation.holds.is_empty() {
        return None;
    }
    match answer {
        Answer::Records(Records::Pointers(ip)) => {
            let mut services = generation.table.by_address(*ip);
            services.find_map(|s| generation.hold_of(s.namespace().as_bytes(), s.name().as_bytes()))
        }
        Answer::Records(_) | Answer::Alias(_) => match Subject::of(query.labels(), zone.name.len()) {
            Subject::Service(name) | Subject::Endpoint(name, _) | Subject::Port(name, _) => {
                generation.hold_of(name.namespace, name.service)
            }
            // Other pods' names are made of the question alone.
            Subject::Pod { namespace, pod } if pods == Pods::Verified => {
                generation.hold_of_pod(namespace, pod_address(pod)?)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Why records are served although the origin says otherwise.
pub(super) fn why(hold: &Hold) -> String {
    format!("held back: {}", hold.why)
}

/// How old the data of an answer is, and what else there is to know of it.
pub(super) fn stale(state: DataState, generation: &Generation, hold: Option<&Hold>) -> String {
    let age = match state {
        DataState::Stale { age } | DataState::Expired { age } => Age(age),
        DataState::Live | DataState::Empty { .. } => Age(std::time::Duration::ZERO),
    };
    let mut text = format!("cluster data last verified {age} ago");
    if generation.frozen.is_some() {
        text.push_str(", frozen by an operator");
    }
    if let Some(hold) = hold {
        text.push_str("; ");
        text.push_str(&why(hold));
    }
    text
}
