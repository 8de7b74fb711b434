//! Whether the process is ready, and if not, which parts are pending.
//!
//! A part registers its name and gets a [`Handle`]; `/ready` lists the names of those that are pending. The data
//! of a node makes it ready however old it is: what registers here waits for *some* data, never for fresh data.
//!
//! Invariants:
//!
//! * A part whose handle is dropped and not withdrawn ([`Membership::withdraw`]) is pending from then on: a task that died is
//!   not ready.
//! * Shutting down wins over everything, and is final.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How often a part is asked (`monitor` of the `ready` plugin).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Monitor {
    /// Once ready, a part counts as ready for good: a later trouble must not take all nodes out of service.
    #[default]
    UntilReady,
    /// A part may become pending again.
    Continuously,
}

/// The answer to "ready?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Every registered part is ready (also if there is none).
    Ready,
    /// The parts that are not, sorted, each name once.
    Pending(Vec<&'static str>),
    /// [`Readiness::shut_down`] was called.
    ShuttingDown,
}

/// The readiness of a process; clones share it.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Whether parts can become pending again ([`Monitor::Continuously`]).
    continuously: AtomicBool,
    /// One entry a handle. Touched at start, at reload and by `/ready`: never on the query path.
    parts: Mutex<Vec<Arc<Part>>>,
    /// Set once, at the beginning of the drain.
    shutting_down: AtomicBool,
}

#[derive(Debug)]
struct Part {
    /// What `/ready` prints.
    name: &'static str,
    /// Whether it is one of what answers, and not put off.
    used: AtomicBool,
    /// Whether `/ready` waits for it.
    counted: AtomicBool,
    /// As its handle says.
    ready: AtomicBool,
    /// Whether it ever was.
    once: AtomicBool,
}

impl Readiness {
    /// Nothing registered, thus ready.
    pub fn new(monitor: Monitor) -> Self {
        let continuously = AtomicBool::new(monitor == Monitor::Continuously);
        Self(Arc::new(Shared {
            continuously,
            parts: Mutex::default(),
            shutting_down: AtomicBool::new(false),
        }))
    }

    /// How readiness goes on from now on: a reload may change it.
    pub fn set_monitor(&self, monitor: Monitor) {
        self.0.continuously.store(monitor == Monitor::Continuously, Ordering::Release);
    }

    /// Adds a part, pending. Several parts may share a name (a plugin used in several server blocks).
    #[must_use = "a dropped handle leaves its part pending"]
    pub fn register(&self, name: &'static str) -> Handle {
        let part = Arc::new(Part {
            name,
            used: AtomicBool::new(true),
            counted: AtomicBool::new(true),
            ready: AtomicBool::new(false),
            once: AtomicBool::new(false),
        });
        self.parts().push(Arc::clone(&part));
        Handle { part, readiness: self.clone() }
    }

    /// The state now.
    pub fn state(&self) -> State {
        if self.0.shutting_down.load(Ordering::Acquire) {
            return State::ShuttingDown;
        }
        let pending: BTreeSet<_> = self
            .parts()
            .iter()
            .filter(|part| part.is_counted() && !self.is_ready(part))
            .map(|part| part.name)
            .collect();
        if pending.is_empty() { State::Ready } else { State::Pending(pending.into_iter().collect()) }
    }

    /// Whether all that answers can do so, apart from parts of the name `but`: also parts that `/ready` does not wait
    /// for, of blocks without the plugin `ready`. Says nothing of a shutdown.
    pub fn can_answer(&self, but: &str) -> bool {
        self.parts().iter().all(|part| !part.is_used() || part.name == but || self.is_ready(part))
    }

    /// From now on the process is not ready, whatever its parts say.
    pub fn shut_down(&self) {
        self.0.shutting_down.store(true, Ordering::Release);
    }

    fn is_ready(&self, part: &Part) -> bool {
        match self.0.continuously.load(Ordering::Acquire) {
            false => part.once.load(Ordering::Acquire),
            true => part.ready.load(Ordering::Acquire),
        }
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Part>>> {
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle of one registered part.
#[derive(Debug)]
pub struct Handle {
    /// The part.
    part: Arc<Part>,
    /// Where it is registered.
    readiness: Readiness,
}

impl Handle {
    /// Says whether the part is ready.
    pub fn set(&self, ready: bool) {
        self.part.ready.store(ready, Ordering::Release);
        if ready {
            self.part.once.store(true, Ordering::Release);
        }
    }

    /// Who decides whether the part is waited for, which need not be who says whether it is ready.
    pub fn membership(&self) -> Membership {
        Membership { part: Arc::clone(&self.part), readiness: self.readiness.clone() }
    }
}

/// Whether a part is waited for.
#[derive(Debug)]
pub struct Membership {
    /// The part.
    part: Arc<Part>,
    /// Where it is registered.
    readiness: Readiness,
}

impl Membership {
    /// The part answers nothing yet: nobody waits for it until [`Self::count`] says who does.
    pub fn put_off(&self) {
        self.part.used.store(false, Ordering::Release);
    }

    /// The part answers; whether `/ready` waits for it.
    pub fn count(&self, counted: bool) {
        self.part.counted.store(counted, Ordering::Release);
        self.part.used.store(true, Ordering::Release);
    }

    /// Takes the part off the list: it was configured away, nobody waits for it any more.
    pub fn withdraw(self) {
        self.readiness.parts().retain(|part| !Arc::ptr_eq(part, &self.part));
    }
}

impl Part {
    fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    fn is_counted(&self) -> bool {
        self.is_used() && self.counted.load(Ordering::Acquire)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A part whose owner is gone is not ready.
        self.part.ready.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    enum Step {
        Register(&'static str),
        Set(usize, bool),
        Drop(usize),
        Withdraw(usize),
        PutOff(usize),
        Count(usize, bool),
        Become(Monitor),
        ShutDown,
    }
    use Step::{Become, Count, Drop, PutOff, Register, Set, ShutDown, Withdraw};

    #[test]
    fn state_follows_the_parts() {
        struct Case {
            name: &'static str,
            monitor: Monitor,
            steps: &'static [Step],
            want: State,
        }
        let pending = |names: &[&'static str]| State::Pending(names.to_vec());
        let cases = [
            Case {
                name: "nothing to wait for",
                monitor: Monitor::UntilReady,
                steps: &[],
                want: State::Ready,
            },
            Case {
                name: "a part begins pending",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes")],
                want: pending(&["kubernetes"]),
            },
            Case {
                name: "names are sorted, each once",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes"), Register("forward"), Register("kubernetes")],
                want: pending(&["forward", "kubernetes"]),
            },
            Case {
                name: "ready when all are",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes"), Register("forward"), Set(1, true), Set(0, true)],
                want: State::Ready,
            },
            Case {
                name: "one of two of a name is pending",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes"), Register("kubernetes"), Set(1, true)],
                want: pending(&["kubernetes"]),
            },
            Case {
                name: "until-ready: never asked again",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes"), Set(0, true), Set(0, false)],
                want: State::Ready,
            },
            Case {
                name: "continuously: pending again",
                monitor: Monitor::Continuously,
                steps: &[Register("kubernetes"), Set(0, true), Set(0, false)],
                want: pending(&["kubernetes"]),
            },
            Case {
                name: "a dead owner is pending",
                monitor: Monitor::Continuously,
                steps: &[Register("kubernetes"), Set(0, true), Drop(0)],
                want: pending(&["kubernetes"]),
            },
            Case {
                name: "a dead owner that never was ready is pending",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes"), Drop(0)],
                want: pending(&["kubernetes"]),
            },
            Case {
                name: "withdrawn parts are not waited for",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes"), Register("forward"), Set(1, true), Withdraw(0)],
                want: State::Ready,
            },
            Case {
                name: "a part that does not count is not waited for",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes"), Count(0, false)],
                want: State::Ready,
            },
            Case {
                name: "until it counts",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes"), Count(0, false), Count(0, true)],
                want: pending(&["kubernetes"]),
            },
            Case {
                name: "one that is put off is not waited for",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes"), PutOff(0)],
                want: State::Ready,
            },
            Case {
                name: "until it is taken up",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes"), PutOff(0), Count(0, true)],
                want: pending(&["kubernetes"]),
            },
            Case {
                name: "the monitor may change",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes"), Set(0, true), Set(0, false), Become(Monitor::Continuously)],
                want: pending(&["kubernetes"]),
            },
            Case {
                name: "shutting down wins over ready",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes"), Set(0, true), ShutDown],
                want: State::ShuttingDown,
            },
            Case {
                name: "shutting down wins over pending",
                monitor: Monitor::UntilReady,
                steps: &[Register("kubernetes"), ShutDown],
                want: State::ShuttingDown,
            },
        ];
        for Case { name, monitor, steps, want } in cases {
            let readiness = Readiness::new(monitor);
            let mut handles = Vec::new();
            for step in steps {
                match *step {
                    Register(part) => handles.push(Some(readiness.register(part))),
                    Set(i, ready) => handles[i].as_ref().unwrap().set(ready),
                    Drop(i) => drop(handles[i].take()),
                    Withdraw(i) => handles[i].take().unwrap().membership().withdraw(),
                    PutOff(i) => handles[i].as_ref().unwrap().membership().put_off(),
                    Count(i, counted) => handles[i].as_ref().unwrap().membership().count(counted),
                    Become(monitor) => readiness.set_monitor(monitor),
                    ShutDown => readiness.shut_down(),
                }
            }
            assert_eq!(readiness.state(), want, "{name}");
        }
    }
    #[test]
    fn what_answers_has_to_be_able_to_whether_or_not_ready_waits_for_it() {
        let readiness = Readiness::new(Monitor::UntilReady);
        assert!(readiness.can_answer("interception"), "there is nothing to wait for");
        let (data, _own) = (readiness.register("kubernetes"), readiness.register("interception"));
        data.membership().put_off();
        assert!(readiness.can_answer("interception"), "it is not what answers yet");
        data.membership().count(false);
        assert!(!readiness.can_answer("interception"), "/ready does not wait for it, and it has no data");
        data.set(true);
        assert!(readiness.can_answer("interception"));
        assert!(!readiness.can_answer("kubernetes"), "every other part is asked");
        data.set(false);
        assert!(readiness.can_answer("interception"), "what was ready once goes on");
    }
}
