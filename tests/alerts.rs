//! Alerts, dashboards and runbooks: that Prometheus takes them, that each alert fires and is silent when it should, and
//! that every series which they name is there in processes that run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "options/http.rs"]
mod http;
#[path = "common/machine.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod machine;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "common/programs.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;

#[path = "alerts/dashboards.rs"]
mod dashboards;
#[path = "alerts/expressions.rs"]
mod expressions;
#[path = "alerts/files.rs"]
mod files;
#[path = "alerts/objects.rs"]
mod objects;
#[path = "alerts/pages.rs"]
mod pages;
#[path = "alerts/rules.rs"]
mod rules;
#[path = "alerts/scraped.rs"]
mod scraped;
#[path = "alerts/series.rs"]
mod series;
