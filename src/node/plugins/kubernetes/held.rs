//! What is said of answers that a guard holds on to, and of those from data that is not known to be current.

use std::fmt;
use std::time::Duration;

use crate::ops::age::Age;
use crate::store::Generation;
use crate::store::open_hold::OpenHold;
use crate::zone::answer::{Answer, Records};
use crate::zone::name::{Labels, Subject, pod_address};
use crate::zone::rules::{Pods, Zone};

/// The hold that an answer is under, if any; found without a look where nothing is held.
pub(super) fn hold<'a>(
    generation: &'a Generation,
    name: &Labels,
    zone: &Zone,
    pods: Pods,
    answer: &Answer<'_>,
) -> Option<&'a OpenHold> {
    if generation.holds.is_empty() {
        return None;
    }
    match answer {
        Answer::Records(Records::Pointers(ip)) => {
            let mut services = generation.table.by_address(*ip);
            services.find_map(|s| generation.hold_of(s.namespace().as_bytes(), s.name().as_bytes()))
        }
        Answer::Records(_) | Answer::Alias(_) => match Subject::of(name, zone.name.len()) {
            Subject::Service(of) | Subject::Endpoint(of, _) | Subject::Port(of, _) => {
                generation.hold_of(of.namespace, of.service)
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
pub(super) fn write_why(f: &mut fmt::Formatter<'_>, hold: &OpenHold) -> fmt::Result {
    write!(f, "held back: {}", hold.why)
}

/// How old the data of an answer is; nobody knows of data that came before any proof.
pub(super) fn write_age(
    f: &mut fmt::Formatter<'_>,
    age: Duration,
    proved: bool,
    frozen: bool,
) -> fmt::Result {
    if proved {
        write!(f, "cluster data last verified {} ago", Age(age))?;
    } else {
        write!(f, "cluster data not verified in the {} since the start", Age(age))?;
    }
    if frozen { f.write_str(", frozen by an operator") } else { Ok(()) }
}
