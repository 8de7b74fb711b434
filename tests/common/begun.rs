//! What a node without sockets runs beside its queries.

use outlast::node::setup::{Environment, Process};
use outlast::node::task::Scope;
use outlast::source::{UPDATE_QUEUE, Update, Wanted};
use tokio::sync::mpsc::{self, Sender};
use tokio_util::sync::CancellationToken;

use super::unwired::writer;

/// Where a cluster's source says what there is, and what is wanted of it.
pub(crate) type Source = (Sender<Update>, Wanted);

/// Begins what a configuration asks of the process, until `stop`: the writer of its store, if it has one, and the work of
/// its plugins.
pub(crate) fn begin(
    process: &mut Process,
    environment: &Environment,
    stop: &CancellationToken,
) -> Option<Source> {
    let source = process.stores.pop().map(|(config, store)| {
        let wanted = config.wanted;
        let mut writer = writer(config, store, environment);
        writer.boot();
        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        tokio::spawn(writer.run(queue, stop.clone()));
        (updates, wanted)
    });
    let scope = Scope { stop: stop.clone(), listeners: Vec::new() };
    for start in std::mem::take(&mut process.tasks) {
        start(&scope);
    }
    source
}
