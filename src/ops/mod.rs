//! What every long-running process needs: metrics, logs, health, readiness, drain, jitter.
//!
//! Depends on no other module of the crate, so that every other may use it.
//!
//! Invariants:
//!
//! * Nothing here blocks the query path: metric handles are atomics resolved once, or cells of the thread's own; a
//!   log line is copied into a bounded buffer or dropped and counted.
//! * Liveness (`/health`) looks at nothing; only readiness knows that something is pending.
//! * What is spread in time is spread by [`jitter`], or by a number handed in, and can be seeded; whatever reads the time takes `now` or runs on
//!   tokio's clock, which tests pause.

pub mod admin;
pub mod age;
pub mod backoff;
pub mod blocking;
pub mod catalogue;
pub mod clock;
pub mod control;
pub mod descriptors;
pub mod dns_metrics;
pub mod drain;
pub mod exposition;
pub mod heap;
pub mod jitter;
pub mod metrics;
pub mod niceness;
pub mod notify;
pub mod ownership;
pub mod process;
pub mod pulse;
pub mod rcode;
pub mod readiness;
pub mod shards;
pub mod switches;
pub mod tally;
pub mod telemetry;
pub mod top;
