//! What the cluster's zone answers: 302 questions about one small cluster, written down one by one, and
//! thousands about a generated one, answered by an independent model.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]
#![allow(clippy::print_stdout, reason = "the score belongs into the output of the test")]

#[path = "zone_cases/alternatives.rs"]
mod alternatives;
#[path = "zone_cases/fixture.rs"]
mod fixture;
#[path = "zone_cases/generated.rs"]
mod generated;
#[path = "zone_cases/irregular.rs"]
mod irregular;
#[path = "zone_cases/model.rs"]
mod model;
#[path = "zone_cases/profiles.rs"]
mod profiles;
#[path = "zone_cases/questions.rs"]
mod questions;
#[path = "common/records.rs"]
mod records;
#[path = "zone_cases/written.rs"]
mod written;
