//! Cold start: from exec to the first correct answer out of a snapshot, and the memory that the process then
//! has; with the source of the data gone.
//!
//! `cargo bench --bench start` (sizes 10,000 services / 100,900 endpoints), `-- --quick` for a small cluster.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark")]

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use outlast::snapshot::disk::RealDisk;
use outlast::snapshot::export::import;
use outlast::snapshot::header::{About, Header};
use outlast::testkit::client::Query;
use outlast::testkit::cluster::Cluster;
use outlast::zone::Table;
use outlast::zone::object::{Kinds, Object, Shape};

/// Ends the process when it goes out of scope.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let quick = std::env::args().any(|a| a == "--quick");
    let (cluster, runs) = if quick { (Cluster::sized(100, 1_000), 3) } else { (Cluster::benchmark(), 15) };
    let objects = cluster.objects();
    let name = objects.iter().find_map(cluster_ip_service).expect("a cluster has ClusterIP services");
    let dir = tempfile::tempdir().unwrap();
    let bytes = snapshot(dir.path(), objects);
    let mut times = Vec::new();
    let (mut rss, mut peak) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let (elapsed, resident, highest) = start_once(dir.path(), &name);
        times.push(elapsed);
        rss.push(resident);
        peak.push(highest);
    }
    times.sort_unstable();
    rss.sort_unstable();
    peak.sort_unstable();
    println!("snapshot: {bytes} bytes; {runs} starts; question: {name} A");
    println!("{:<34}{:>10}{:>10}{:>10}", "", "median", "least", "most");
    let ms = |d: Duration| format!("{:.1} ms", d.as_secs_f64() * 1000.0);
    let row = |what, m: String, l: String, h: String| println!("{what:<34}{m:>10}{l:>10}{h:>10}");
    let mid = runs / 2;
    row("exec to first correct answer", ms(times[mid]), ms(times[0]), ms(times[runs - 1]));
    let mb = |kb: u64| format!("{:.1} MB", kb as f64 / 1024.0);
    row("RSS a second after", mb(rss[mid]), mb(rss[0]), mb(rss[runs - 1]));
    row("peak RSS", mb(peak[mid]), mb(peak[0]), mb(peak[runs - 1]));
}

fn cluster_ip_service(object: &Object) -> Option<String> {
    match object {
        Object::Service(s) if matches!(&s.shape, Shape::ClusterIp(ips) if ips.iter().any(|i| i.is_ipv4())) => {
            Some(format!("{}.{}.svc.cluster.local.", s.name, s.namespace))
        }
        _ => None,
    }
}

fn snapshot(dir: &Path, objects: Vec<Object>) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let table = Table::build(objects, Kinds::CORE, (now / 1000) as u32);
    let about = About {
        zone: "cluster.local.".to_owned(),
        written_at_ms: now,
        proved_at_ms: now,
        ..About::default()
    };
    let header = Header::of(&table, about);
    let path = dir.join("gen-00000000000000000001.snap");
    import(&RealDisk, &path, &header, table.objects()).unwrap().bytes
}

/// Starts the server once: time to the first correct answer, RSS and peak RSS in kB.
fn start_once(dir: &Path, name: &str) -> (Duration, u64, u64) {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    // A port that was free a moment ago.
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let corefile = dir.join("Corefile");
    let text = format!(
        ".:{port} {{\n bind 127.0.0.1\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n source file {0}/gone.json\n \
         snapshot {0}\n pods insecure\n ttl 30\n }}\n}}\n",
        dir.display()
    );
    fs::write(&corefile, text).unwrap();
    client.connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let query = Query::new(name, RecordType::A).bytes();
    let begin = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_outlast"))
        .env("OUTLAST_CONTROL", "off")
        .args(["node", "--quiet", "--conf"])
        .arg(&corefile)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(child);
    let mut buffer = [0; 4096];
    let elapsed = loop {
        assert!(begin.elapsed() < Duration::from_secs(60), "no answer");
        // Refused while nothing listens; asked again at once, so that the wait is measured and not the pause.
        if client.send(&query).is_err() {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        if let Ok(len) = client.recv(&mut buffer) {
            let reply = Message::from_vec(&buffer[..len]).unwrap();
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            assert_eq!(reply.answers.len(), 1);
            break begin.elapsed();
        }
    };
    std::thread::sleep(Duration::from_secs(1));
    let status = fs::read_to_string(format!("/proc/{}/status", server.0.id())).unwrap();
    let kb = |field: &str| -> u64 {
        let line = status.lines().find(|l| l.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (elapsed, kb("VmRSS"), kb("VmHWM"))
}
