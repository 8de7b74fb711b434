//! Cold start: from exec to the first correct answer out of a snapshot, and the memory that the process then has; with
//! the source of the data gone.

use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use outlast::testkit::client::Query;

use crate::Column;
use crate::support::memory::{Memory, megabytes};
use crate::support::{Options, millis};

/// Starts of which the median counts.
const STARTS: usize = 15;

/// For an answer that never comes.
const LIMIT: Duration = Duration::from_secs(60);

/// How long an answer is waited for before the question is sent again.
const PATIENCE: Duration = Duration::from_millis(2);

/// Between two attempts to reach a socket that is not there yet.
const PAUSE: Duration = Duration::from_micros(200);

/// Until the memory is read: what is done once after the start is done.
const SETTLED: Duration = Duration::from_secs(1);

/// One start.
#[derive(Clone, Copy)]
struct Start {
    /// From exec to the first correct answer.
    took: Duration,
    /// What the processor did for it, which other work on the machine changes less.
    busy: Duration,
    /// Its memory, settled.
    memory: Memory,
}

/// Ends the process when it goes out of scope.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a node on the snapshot in the folder, and asks it for the address of `name`.
pub(crate) fn measure(dir: &Path, name: &str, options: Options, column: &mut Column) {
    let starts = if options.quick { 3 } else { STARTS };
    let mut measured: Vec<_> = (0..2 * starts).filter_map(|_| start_once(dir, name)).take(starts).collect();
    assert_eq!(measured.len(), starts, "a node starts");
    measured.sort_unstable_by_key(|start| start.took);
    let Start { took, memory, .. } = measured[starts / 2];
    let (least, most) = (measured[0].took, measured[starts - 1].took);
    column.add("exec to first correct answer", millis(took));
    column.add("least and most of them", format!("{} - {}", millis(least), millis(most)));
    measured.sort_unstable_by_key(|start| start.busy);
    column.add("CPU time until then", millis(measured[starts / 2].busy));
    column.add("RSS of the node a second after", megabytes(memory.now));
    column.add("of which anonymous", megabytes(memory.anonymous));
    column.add("its peak", megabytes(memory.peak));
}

/// Starts the server once. `None` where it ends again, because somebody else has taken its port meanwhile.
fn start_once(dir: &Path, name: &str) -> Option<Start> {
    let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
    // A port that was free a moment ago.
    let free = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = free.expect("another port").port();
    let corefile = dir.join("Corefile");
    let text = format!(
        ".:{port} {{\n bind 127.0.0.1\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n source file {0}/gone.json\n \
         snapshot {0}\n pods insecure\n ttl 30\n }}\n}}\n",
        dir.display()
    );
    fs::write(&corefile, text).expect("written");
    client.connect(("127.0.0.1", port)).expect("loopback");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let query = Query::new(name, RecordType::A).bytes();
    let begin = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_outlast"))
        .envs([("OUTLAST_CONTROL", "off"), ("OUTLAST_STATUS_ADDRESS", "off")])
        .args(["node", "--quiet", "--conf"])
        .arg(&corefile)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut server = Server(child);
    let mut buffer = [0; 4096];
    let took = loop {
        assert!(begin.elapsed() < LIMIT, "no answer");
        if server.0.try_wait().expect("it is a child").is_some() {
            return None;
        }
        match client.send(&query).and_then(|_| client.recv(&mut buffer)) {
            Ok(len) => {
                let took = begin.elapsed();
                let reply = Message::from_vec(&buffer[..len]).expect("a reply");
                assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
                assert_eq!(reply.answers.len(), 1);
                break took;
            }
            // Refused while nothing listens; asked again soon, so that the wait is measured and not the pause.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::thread::sleep(PAUSE),
            Err(_) => {}
        }
    };
    let busy = busy(server.0.id());
    std::thread::sleep(SETTLED);
    Some(Start { took, busy, memory: Memory::of(server.0.id()) })
}

/// How long the processor has worked for the threads of a process; zero where the kernel does not say.
fn busy(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    // The first number is nanoseconds on a processor: the kernel's Documentation/scheduler/sched-stats.rst.
    let spent = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.filter_map(spent).sum())
}
