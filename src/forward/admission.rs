//! How many forwards run at a time. Each holds a socket, a port and up to a few kilobytes, so their number is
//! bounded whatever the Corefile says.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Forwards in flight of one `forward`, unless configured. More than a node has for all queries that wait, and those of
/// a cache for itself: under a flood the oldest query has to go, and no newcomer be turned away here. The 1,000 that kubeadm sets for `max_concurrent` is the operator's word, and does.
pub const DEFAULT_IN_FLIGHT: usize = 10_000;

/// The most that can be configured: with a second try beside each first one, the ports that Linux hands out by
/// default (28,232 an address) could run out above it.
pub const MAX_IN_FLIGHT: usize = 14_000;

/// The door to a `forward`.
#[derive(Debug)]
pub(super) struct Admission {
    /// Forwards in flight.
    count: AtomicUsize,
    /// `max_concurrent`, where it is set.
    configured: Option<usize>,
    /// The bound that always holds, 1..=[`MAX_IN_FLIGHT`].
    bound: usize,
}

/// A place in a `forward`; dropping it, by a finished or a cancelled query, frees the place.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why there was no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// `max_concurrent` queries are in flight.
    MaxConcurrent(usize),
    /// As many queries as may ever be are in flight.
    Bound(usize),
}

impl Admission {
    /// A configured `max_concurrent` (0: none) raises the bound where it is higher: it is the operator's word.
    pub(super) fn new(max_concurrent: Option<u32>, in_flight: usize) -> Self {
        let configured = max_concurrent.filter(|&max| max > 0).map(|max| max as usize);
        let bound = in_flight.max(configured.unwrap_or(0)).clamp(1, MAX_IN_FLIGHT);
        Self { count: AtomicUsize::new(0), configured, bound }
    }

    /// Takes a place, if there is one.
    pub(super) fn enter(&self) -> Result<Place<'_>, Full> {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        let place = Place(&self.count);
        match self.configured {
            Some(max) if before >= max => Err(Full::MaxConcurrent(max)),
            _ if before >= self.bound => Err(Full::Bound(self.bound)),
            _ => Ok(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded() {
        struct Case {
            name: &'static str,
            max_concurrent: Option<u32>,
            in_flight: usize,
            places: usize,
            full: Full,
        }
        let cases = [
            Case {
                name: "no max_concurrent",
                max_concurrent: None,
                in_flight: 2,
                places: 2,
                full: Full::Bound(2),
            },
            Case {
                name: "max_concurrent 0 is none",
                max_concurrent: Some(0),
                in_flight: 3,
                places: 3,
                full: Full::Bound(3),
            },
            Case {
                name: "a lower max_concurrent",
                max_concurrent: Some(1),
                in_flight: 3,
                places: 1,
                full: Full::MaxConcurrent(1),
            },
            Case {
                name: "a higher max_concurrent raises the bound",
                max_concurrent: Some(4),
                in_flight: 3,
                places: 4,
                full: Full::MaxConcurrent(4),
            },
            Case {
                name: "but never beyond the maximum",
                max_concurrent: Some(u32::MAX),
                in_flight: 3,
                places: MAX_IN_FLIGHT,
                full: Full::Bound(MAX_IN_FLIGHT),
            },
            Case {
                name: "there is always one",
                max_concurrent: None,
                in_flight: 0,
                places: 1,
                full: Full::Bound(1),
            },
        ];
        for case in cases {
            let admission = Admission::new(case.max_concurrent, case.in_flight);
            let mut taken: Vec<_> = (0..case.places).map(|_| admission.enter().unwrap()).collect();
            assert_eq!(admission.enter().unwrap_err(), case.full, "{}", case.name);
            assert_eq!(admission.enter().unwrap_err(), case.full, "{}: a refusal takes no place", case.name);
            drop(taken.pop());
            assert!(admission.enter().is_ok(), "{}: a dropped place is free again", case.name);
        }
    }
}
