//! What outlives a configuration: the process has it from its start to its end, and a reload hands it from the
//! plugins of the old configuration to those of the new one.
//!
//! A plugin's setup asks for what it keeps by a key of its own ([`Carried::keep`]) and gets what an earlier
//! configuration left there, or something new. Whether a configuration is taken over is known later, so each is set
//! up between [`Carried::begin`] and one of [`Carried::commit`] (what it did not ask for is forgotten) and
//! [`Carried::abort`] (what it alone asked for is forgotten). A configuration that is only checked says neither, and
//! the whole of it goes with its environment.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::setup::StoreConfig;
use crate::ops::jitter::Jitter;
use crate::store::Store;

/// Everything that is handed on; empty at the process's start. Never touched on the query path.
pub struct Carried {
    /// What is kept.
    kept: Mutex<Kept>,
    /// What lasts takes its jitter from here.
    jitter: Jitter,
}

impl Default for Carried {
    fn default() -> Self {
        Self::with_jitter(Jitter::for_process())
    }
}

#[derive(Default)]
struct Kept {
    /// What plugins keep, by key. Bounded by the configurations: the one that runs, and the one that is set up.
    slots: BTreeMap<String, Slot>,
    /// The cluster's data, and for what configuration it is kept.
    stores: Vec<(StoreConfig, Arc<Store>)>,
    /// Whether a configuration runs.
    running: bool,
}

/// What is kept under one key.
struct Slot {
    /// What it is.
    value: Arc<dyn Any + Send + Sync>,
    /// Whether the configuration that runs uses it.
    in_use: bool,
    /// Whether the configuration that is being set up uses it.
    asked: bool,
}

impl Carried {
    /// With a jitter that tests can seed.
    pub fn with_jitter(jitter: Jitter) -> Self {
        Self { kept: Mutex::default(), jitter }
    }

    /// A jitter of its own for something that lasts.
    pub fn jitter(&self) -> Jitter {
        self.jitter.fork()
    }

    /// What is kept under `key`, which begins with the plugin's name (`cache/.`): what an earlier configuration left
    /// there, or what `make` makes. A value of another type is replaced.
    pub fn keep<T: Send + Sync + 'static>(&self, key: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut kept = self.kept();
        if let Some(slot) = kept.slots.get_mut(key)
            && let Ok(value) = slot.value.clone().downcast::<T>()
        {
            slot.asked = true;
            return value;
        }
        let value = Arc::new(make());
        kept.slots.insert(key.to_owned(), Slot { value: value.clone(), in_use: false, asked: true });
        value
    }

    /// A configuration is set up from here on.
    pub fn begin(&self) {
        self.kept().slots.values_mut().for_each(|slot| slot.asked = false);
    }

    /// The configuration that was set up runs from now on: what it did not ask for is forgotten.
    pub fn commit(&self) {
        let mut kept = self.kept();
        kept.slots.retain(|_, slot| slot.asked);
        kept.slots.values_mut().for_each(|slot| slot.in_use = true);
        kept.running = true;
    }

    /// Whether a configuration runs already: what is set up is to take its place.
    pub fn is_running(&self) -> bool {
        self.kept().running
    }

    /// The configuration that was set up is not taken over: what was there before it stays, and nothing else.
    pub fn abort(&self) {
        self.kept().slots.retain(|_, slot| slot.in_use);
    }

    /// The stores that are kept up to date, each with its configuration.
    pub fn stores(&self) -> Vec<(StoreConfig, Arc<Store>)> {
        self.kept().stores.clone()
    }

    /// These are kept up to date from now on.
    pub fn set_stores(&self, stores: Vec<(StoreConfig, Arc<Store>)>) {
        self.kept().stores = stores;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Every change is one step.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys that are there.
    fn keys(carried: &Carried) -> Vec<String> {
        carried.kept().slots.keys().cloned().collect()
    }

    #[test]
    fn what_is_kept_outlives_a_configuration_and_what_is_not_asked_for_goes() {
        let carried = Carried::default();
        carried.begin();
        let first = carried.keep("a", || 1);
        carried.keep("b", || 2);
        carried.commit();
        carried.begin();
        assert!(Arc::ptr_eq(&first, &carried.keep("a", || unreachable!("it is there"))));
        assert_eq!(keys(&carried), ["a", "b"], "until the configuration is taken over");
        carried.commit();
        assert_eq!(keys(&carried), ["a"]);
    }

    #[test]
    fn a_configuration_that_is_not_taken_over_leaves_nothing_and_takes_nothing_away() {
        let carried = Carried::default();
        carried.begin();
        carried.keep("a", || 1);
        carried.commit();
        carried.begin();
        carried.keep("c", || 3);
        carried.abort();
        assert_eq!(keys(&carried), ["a"]);
        carried.begin();
        carried.keep("a", || 4);
        carried.commit();
        assert_eq!(*carried.keep("a", || 5), 1);
    }

    #[test]
    fn what_changed_its_type_is_made_anew() {
        let carried = Carried::default();
        carried.keep("a", || 1_u8);
        assert_eq!(*carried.keep("a", || 2_u16), 2);
    }
}
