//! A node's store through a day: loaded from a snapshot, changed as a hub's messages say, kept on the disk, and read by
//! threads that answer. What it is told comes in by the standard input, what it needs goes out by the standard output.

use std::hint::black_box;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use outlast::feed::frame::{Frame, Reply};
use outlast::feed::wire;
use outlast::snapshot::disk::RealDisk;
use outlast::snapshot::folder::newest;
use outlast::snapshot::schedule::DEFAULT_INTERVAL;
use outlast::source::{UPDATE_QUEUE, Update};
use outlast::testkit::cluster::Cluster;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{CHANGES_A_SNAPSHOT, MARKS};
use crate::support::answer::{Server, answer, query};
use crate::support::cluster::cluster_ip_names;
use crate::support::memory::Memory;
use crate::support::{nanoseconds, snapshot};

/// Threads that answer.
const READERS: usize = 2;

/// Answers that a thread gives out of one generation, which it holds meanwhile.
const ANSWERS: usize = 100;

/// Between two such series: the node is busy, not flooded.
const PAUSE: Duration = Duration::from_millis(10);

/// How often a snapshot is looked for before it is one that is never written: two minutes. Not a time, in which the
/// process may have been stopped.
const LOOKS: usize = 60_000;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Types of questions, RFC 1035 §3.2.2.
const A: u16 = 1;

/// A process of its own for `changes` changes, with the newest snapshot of a folder that it also writes to.
pub(crate) fn run(dir: &Path, cluster: Cluster, changes: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let queries: Arc<[Vec<u8>]> = cluster_ip_names(cluster.stream()).map(|name| query(&name, A)).collect();
    let server = runtime.block_on(async { Server::new("prometheus localhost:0") });
    let mut writer = server.writer(Some(snapshot::keeper(dir, &server.metrics)));
    runtime.block_on(async { drop(writer.boot()) });
    mark("loaded");
    // What the load needed at most is told; the day is measured for itself. Where that is not allowed, it is the peak
    // of both.
    let _ = Memory::reset_peak(std::process::id());
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = (0..READERS)
        .map(|number| {
            let (router, store) = (server.router.clone(), server.store.clone());
            let (queries, stop, answered) = (queries.clone(), stop.clone(), answered.clone());
            thread::spawn(move || {
                let mut next = number * queries.len() / READERS;
                while !stop.load(Ordering::Relaxed) {
                    let held = store.current().clone();
                    for _ in 0..ANSWERS {
                        next = (next + 1) % queries.len();
                        black_box(answer(&router, &queries[next]));
                    }
                    drop(held);
                    answered.fetch_add(ANSWERS as u64, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
            })
        })
        .collect();
    runtime.block_on(async {
        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        let stop = CancellationToken::new();
        let task = tokio::spawn(writer.run(queue, stop.clone()));
        let fresh = Update::Fresh { as_of: tokio::time::Instant::now() };
        updates.send(fresh).await.expect("the writer runs");
        follow(&server, &updates, dir, changes).await;
        stop.cancel();
        task.await.expect("the writer stops");
    });
    stop.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().expect("a reader reads to the end"));
    let busy = cpu();
    let count = queries.len().min(1000);
    let time = nanoseconds(count, || {
        queries.iter().take(count).for_each(|q| drop(black_box(answer(&server.router, q))));
    });
    let generation = server.store.current();
    println!("cpu {}", busy.as_millis());
    println!("answer {time:.0}");
    println!("answered {}", answered.load(Ordering::Relaxed));
    println!("endpoints {}", generation.table.endpoint_count());
    println!("generation {}", generation.number);
}

/// Applies what comes in; every so often time goes on, and a snapshot is written.
async fn follow(server: &Server, updates: &mpsc::Sender<Update>, dir: &Path, changes: u64) {
    let mut input = BufReader::new(std::io::stdin().lock());
    let (mut done, mut saved, mut marks) = (0, 0, (0..=MARKS).map(|at| changes * at / MARKS));
    let mut due = marks.next();
    loop {
        if due.is_some_and(|at| done >= at) {
            settled(updates).await;
            mark("at");
            due = marks.next();
        }
        if done / CHANGES_A_SNAPSHOT > saved {
            saved = done / CHANGES_A_SNAPSHOT;
            settled(updates).await;
            snapshot_written(server, updates, dir).await;
        }
        let Some(message) = message(&mut input) else { break };
        let reply = Reply::try_from(message).expect("the feed's message");
        let Reply::Frame(Frame::Batch(batch)) = reply else { continue };
        done += batch.entries.len() as u64;
        let events = batch.entries.into_iter().map(|entry| entry.change.into()).collect();
        updates.send(Update::Changes(events)).await.expect("the writer runs");
    }
}

/// Waits until everything that was sent is applied.
async fn settled(updates: &mpsc::Sender<Update>) {
    let (answer, standing) = oneshot::channel();
    updates.send(Update::Where { answer }).await.expect("the writer runs");
    standing.await.expect("the writer answers");
}

/// Has the next snapshot become due, and waits until it is on the disk: no day has so many changes while one is
/// written as this one would.
async fn snapshot_written(server: &Server, updates: &mpsc::Sender<Update>, dir: &Path) {
    let number = || newest(&RealDisk, dir).expect("the folder is there").map(|g| g.number);
    // A file that has its name is not yet one that the writer knows of, and the next is due only after that.
    let (before, told) = (number(), saves(server));
    let fresh = Update::Fresh { as_of: tokio::time::Instant::now() };
    updates.send(fresh).await.expect("the writer runs");
    // Beyond any jitter.
    tokio::time::advance(2 * DEFAULT_INTERVAL).await;
    for _ in 0..LOOKS {
        if number() != before && saves(server) != told {
            return;
        }
        tokio::task::yield_now().await;
        thread::sleep(LOOK);
    }
    panic!("no snapshot is written");
}

/// How many snapshots the writer says it has written. Looked for as Prometheus would, which a node is used to.
fn saves(server: &Server) -> u64 {
    let text = server.metrics.render();
    let count = text.lines().find_map(|line| line.strip_prefix("outlast_snapshot_saves_total "));
    count.and_then(|count| count.parse().ok()).expect("snapshots are counted")
}

/// The next message; `None` at the end.
fn message(input: &mut impl Read) -> Option<wire::FollowReply> {
    let mut length = [0; 4];
    input.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    input.read_exact(&mut bytes).expect("a message is whole");
    Some(wire::FollowReply::decode(&*bytes).expect("the feed's message"))
}

/// Prints the memory of this process.
fn mark(what: &str) {
    let Memory { now, peak, .. } = Memory::read();
    println!("{what} {now} {peak}");
}

/// What the processor did for this process.
fn cpu() -> Duration {
    /// What the kernel counts in, proc(5).
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may have blanks: state is the third field, utime and stime are the 14th and 15th.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    TICK * ticks
}
