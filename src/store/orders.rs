//! Commands of operators to the stores of a process: the same for nodes and hubs.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use super::control::Control;
use super::status::StoreStatus;
use super::status::outcome::{GenerationStatus, Outcome, StoreOutcome};
use crate::ops::control::{Command, Refusal, RefusalKind, value};
use crate::source::SourceConfig;

/// A store that can be ordered about, with what only its configuration knows.
#[derive(Clone)]
pub struct Ordered {
    /// The zone that the data is for, lower case with the final dot.
    pub zone: String,
    /// Where the data comes from.
    pub source: SourceConfig,
    /// The folder of snapshots, if there is one.
    pub snapshot: Option<PathBuf>,
    /// The way to its writer.
    pub control: Control,
}

/// What was done.
#[derive(Debug, PartialEq)]
pub struct Done {
    /// For who asked.
    pub reply: Value,
    /// Hashes of the keys of objects whose loss was accepted: for other hubs.
    pub accepted: Vec<u64>,
}

impl Ordered {
    /// Everything that is known of it.
    pub async fn status(&self) -> StoreStatus {
        let mut status = self.control.status().await;
        status.zone.clone_from(&self.zone);
        status.source = self.source.to_string();
        status.follows = (&self.source).into();
        status.snapshot.dir = self.snapshot.as_ref().map(|dir| dir.display().to_string());
        status
    }

    fn outcome(&self, outcome: Outcome) -> StoreOutcome {
        StoreOutcome { zone: self.zone.clone(), outcome }
    }
}

/// What is known of each.
pub async fn status(stores: &[Ordered]) -> Vec<StoreStatus> {
    // One writer that hangs is waited for once, not once for each store.
    join_all(stores.iter().map(Ordered::status)).await
}

/// Carries out what is a matter of the stores alone.
///
/// # Errors
/// A zone that is not here, one of several stores that has to be chosen, a folder that cannot be read, and every command
/// that is no matter of stores.
pub async fn carry_out(stores: &[Ordered], command: Command) -> Result<Done, Refusal> {
    let mut accepted = Vec::new();
    let outcomes = match command {
        Command::Accept { zone } => {
            let chosen = choose(stores, zone.as_deref())?;
            let all = join_all(chosen.iter().map(|store| store.control.accept())).await;
            let outcome = |(store, done): (&&Ordered, super::control::Accepted)| {
                accepted.extend(done.keys);
                store.outcome(done.outcome)
            };
            chosen.iter().zip(all).map(outcome).collect()
        }
        Command::Freeze { for_s, zone } => {
            each(stores, zone, |store| store.control.freeze(for_s.map(Duration::from_secs))).await?
        }
        Command::Thaw { zone } => each(stores, zone, |store| store.control.thaw()).await?,
        Command::Rollback { generation, for_s, zone } => {
            // Numbers are a folder's own.
            let [store] = choose(stores, zone.as_deref())?[..] else {
                let zones = zones(stores);
                return Err(Refusal::wrong(format!("which data is meant? Choose with --zone: {zones}")));
            };
            let outcome = store.control.rollback(generation, for_s.map(Duration::from_secs)).await;
            vec![store.outcome(outcome)]
        }
        Command::Generations { zone } => {
            let chosen = choose(stores, zone.as_deref())?;
            let mut all: Vec<GenerationStatus> = Vec::new();
            for found in join_all(chosen.iter().map(|store| store.control.generations())).await {
                all.extend(found.map_err(Refusal::failed)?);
            }
            return Ok(Done { reply: value(&all)?, accepted });
        }
        Command::Status
        | Command::Ready
        | Command::Alive
        | Command::Lookup { .. }
        | Command::Pin { .. }
        | Command::Unpin { .. }
        | Command::Pins
        | Command::Top => {
            let text = format!("{} is not for this process", command.name());
            return Err(Refusal::new(RefusalKind::Unknown, text));
        }
    };
    Ok(Done { reply: value(&outcomes)?, accepted })
}

/// Orders the same of each that is meant.
async fn each<'a, F: Future<Output = Outcome>>(
    stores: &'a [Ordered],
    zone: Option<String>,
    order: impl Fn(&'a Ordered) -> F,
) -> Result<Vec<StoreOutcome>, Refusal> {
    let chosen = choose(stores, zone.as_deref())?;
    let outcomes = join_all(chosen.iter().map(|store| order(store))).await;
    Ok(chosen.iter().zip(outcomes).map(|(store, outcome)| store.outcome(outcome)).collect())
}

/// The stores of a zone; all without one.
fn choose<'a>(stores: &'a [Ordered], zone: Option<&str>) -> Result<Vec<&'a Ordered>, Refusal> {
    let Some(zone) = zone else { return Ok(stores.iter().collect()) };
    let name = |zone: &str| zone.trim_end_matches('.').to_ascii_lowercase();
    let chosen: Vec<_> = stores.iter().filter(|store| name(&store.zone) == name(zone)).collect();
    if chosen.is_empty() {
        return Err(Refusal::wrong(format!(
            "there is no data of zone {zone} here, only of {}",
            zones(stores)
        )));
    }
    Ok(chosen)
}

/// The zones, for people.
fn zones(stores: &[Ordered]) -> String {
    stores.iter().map(|store| &*store.zone).collect::<Vec<_>>().join(", ")
}
