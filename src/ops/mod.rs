//! What every long-running process needs: metrics, logs, health, readiness, drain, jitter.

pub mod metrics;
