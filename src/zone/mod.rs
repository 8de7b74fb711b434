//! WHAT the answer is: objects, the table made of them, and what a name asks of it.
//!
//! May depend on nothing else in this crate, and on no tokio, kube, tonic, files, clock or sockets: every
//! function here is a plain function of its arguments, so that every rule can be tested as a table.
//!
//! Invariants:
//! * A [`Table`] never changes once it is published; a change makes a new one that shares what did not change.
//! * A lookup allocates nothing and takes no lock.
//! * A negative answer is given only where every kind that could contradict it is complete.

pub mod answer;
pub mod change;
pub mod digest;
pub mod guard;
pub mod held;
pub mod hold;
pub mod lookup;
pub mod name;
pub mod object;
pub mod rules;
pub mod selector;
pub mod table;
mod trie;
pub mod view;

pub use table::Table;
