//! What tests and benches share; behind the feature `testkit`, never in a shipped binary.

pub mod disk;
