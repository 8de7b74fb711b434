//! What tests and benches share. Never part of the program: behind the feature `testkit`.
//!
//! Its functions panic on nonsense: a test that asks for it is wrong.

pub mod cluster;
