//! Requests over loopback, through the whole server.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::*;
use crate::ops::drain::{Limits, Signal};
use crate::ops::ownership::Claim;
use crate::ops::readiness::{self, Monitor};

/// No test waits this long unless it fails.
const SOON: Duration = Duration::from_secs(20);

/// A running server with everything on one address, and the part that is pending.
struct Running {
    address: SocketAddr,
    kubernetes: readiness::Handle,
    metrics: Arc<Metrics>,
    drain: Drain,
    admin: Admin,
}

fn run(faces: &[Face]) -> Running {
    let (readiness, metrics, drain) =
        (Readiness::new(Monitor::UntilReady), Arc::new(Metrics::new()), Drain::new());
    let kubernetes = readiness.register("kubernetes");
    let address: ListenAddress = "127.0.0.1:0".parse().unwrap();
    let faces: Vec<_> = faces.iter().map(|face| (*face, address.clone())).collect();
    let mut admin = Admin::new(readiness, Arc::clone(&metrics), &drain, &Handle::current());
    let prepared = admin.prepare(&faces).unwrap();
    admin.apply(prepared);
    let address = admin.addresses(faces[0].0).next().unwrap();
    Running { address, kubernetes, metrics, drain, admin }
}

/// Paused time does not pass by itself while a blocking task runs, however slow the machine is; this one ends when
/// its sender is dropped. After [`SOON`] it ends anyway: the limits of a test that fails are then reached.
fn hold_time() -> std::sync::mpsc::Sender<()> {
    let (release, released) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || {
        let _ = released.recv_timeout(SOON);
    });
    release
}

/// Sends these bytes and reads until the server closes.
async fn raw(address: SocketAddr, request: &[u8]) -> io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    timeout(SOON, exchange).await.unwrap()
}

/// Status and body of a GET.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = raw(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn one_address_carries_everything() {
    let server = run(&[Face::Health, Face::Ready, Face::Metrics]);
    assert_eq!(get(server.address, "/health").await, (200, "OK".into()));
    assert_eq!(get(server.address, "/ready").await, (503, "kubernetes".into()));
    server.kubernetes.set(true);
    assert_eq!(get(server.address, "/ready").await, (200, "OK".into()));
    let (status, text) = get(server.address, "/metrics").await;
    assert!(status == 200 && text.contains("\ncoredns_build_info{"), "{text}");
    for path in ["/", "/healthz", "/health/", "/metrics/x", "/debug/pprof"] {
        assert_eq!(get(server.address, path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn an_address_carries_only_what_it_was_given() {
    let server = run(&[Face::Ready]);
    assert_eq!(get(server.address, "/ready").await.0, 503);
    assert_eq!(get(server.address, "/health").await.0, 404);
    assert_eq!(get(server.address, "/metrics").await.0, 404);
}

#[tokio::test]
async fn scrapes_say_their_format() {
    let server = run(&[Face::Metrics]);
    let answer = raw(server.address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let head = answer.split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase();
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
}

#[tokio::test]
async fn what_is_not_a_small_http1_request_is_refused() {
    struct Case {
        name: &'static str,
        request: Vec<u8>,
        /// How the answer begins; empty for none at all.
        want: &'static str,
    }
    let many = "x: y\r\n".repeat(100);
    let cases = [
        Case { name: "noise", request: b"\x00\x01\x02\r\n\r\n".into(), want: "HTTP/1.1 400" },
        Case {
            name: "too large a head",
            request: format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20_000)).into(),
            want: "HTTP/1.1 431",
        },
        Case {
            name: "too many headers",
            request: format!("GET /health HTTP/1.1\r\n{many}\r\n").into(),
            want: "HTTP/1.1 431",
        },
        Case {
            name: "HTTP/2 with prior knowledge",
            request: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            want: "",
        },
    ];
    let server = run(&[Face::Health]);
    for Case { name, request, want } in cases {
        // The server may close while we still send: a reset is a refusal too.
        match raw(server.address, &request).await {
            Ok(answer) => {
                assert!(
                    answer.starts_with(want) && answer.is_empty() == want.is_empty(),
                    "{name}: {answer:?}"
                );
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{name}"),
        }
    }
    let old = raw(server.address, b"GET /health HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(old.starts_with("HTTP/1.0 200"), "HTTP/1.0 is fine, and it still serves: {old:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_idles_is_closed() {
    let server = run(&[Face::Ready]);
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /ready HT").await.unwrap();
    let begin = Instant::now();
    let mut answer = Vec::new();
    let _ = timeout(SOON, idle.read_to_end(&mut answer)).await.unwrap();
    assert!(begin.elapsed() > Duration::from_secs(4), "{:?}", begin.elapsed());
    assert!(!String::from_utf8_lossy(&answer).contains("kubernetes"));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_do_not_keep_the_probe_out() {
    // No timeout of the server's can make the room.
    let _hold = hold_time();
    let server = run(&[Face::Health]);
    let mut idle = Vec::new();
    for _ in 0..serve::MAX_CONNECTIONS * 2 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let begin = Instant::now();
    assert_eq!(get(server.address, "/health").await, (200, "OK".into()));
    let mut end = [0];
    let oldest = timeout(SOON, idle[0].read(&mut end)).await.unwrap();
    assert!(matches!(oldest, Ok(0) | Err(_)), "the oldest was cut");
    let youngest = idle.last().unwrap().try_read(&mut end);
    assert!(matches!(youngest, Err(e) if e.kind() == io::ErrorKind::WouldBlock), "the youngest was not");
    assert_eq!(begin.elapsed(), Duration::ZERO, "and not for its time");
}

#[tokio::test(start_paused = true)]
async fn health_outlives_readiness_and_both_end() {
    // The lameduck time lasts for as long as there is something to see in it.
    let hold = hold_time();
    let server = run(&[Face::Health, Face::Ready]);
    server.kubernetes.set(true);
    let (signals, receiver) = mpsc::channel(1);
    let limits = Limits::with_lameduck(Duration::from_secs(3));
    let draining = tokio::spawn({
        let drain = server.drain.clone();
        async move { drain.run(receiver, || limits).await }
    });
    signals.send(Signal::Terminate).await.unwrap();
    server.drain.draining().cancelled().await;
    let gone = async {
        while get(server.address, "/ready").await.0 != 503 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, gone).await.unwrap();
    assert_eq!(get(server.address, "/ready").await, (503, "Shutting down".into()));
    assert_eq!(get(server.address, "/health").await, (200, "OK".into()));
    drop(hold);
    let ended = timeout(SOON, draining).await.unwrap().unwrap();
    assert_eq!(ended, crate::ops::drain::Ended::Drained);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn the_probe_counts_itself() {
    let server = run(&[Face::Health]);
    let counted = async {
        loop {
            let text = server.metrics.render();
            if text.contains("coredns_health_request_duration_seconds_count") {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let text = timeout(SOON, counted).await.unwrap();
    assert!(text.contains("\ncoredns_health_request_failures_total 0\n"), "{text}");
}

#[tokio::test]
async fn nothing_is_bound_if_one_address_fails() {
    let (taken, _) = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind("x", &[]).unwrap();
    let free: ListenAddress = "127.0.0.1:0".parse().unwrap();
    let faces =
        [(Face::Health, free), (Face::Metrics, taken.local_addr().unwrap().to_string().parse().unwrap())];
    let readiness = Readiness::new(Monitor::UntilReady);
    let admin = Admin::new(readiness, Arc::new(Metrics::new()), &Drain::new(), &Handle::current());
    let error = admin.prepare(&faces).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("plugin/prometheus: listening on 127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn an_address_of_another_process_of_the_node_is_served_once_that_one_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (old, _) = Claim::join(folder.path()).unwrap();
    let (new, ownership) = Claim::join(folder.path()).unwrap();
    let first = run(&[Face::Health, Face::Metrics]);
    let address: ListenAddress = first.address.to_string().parse().unwrap();
    let faces = [(Face::Health, address.clone()), (Face::Metrics, address)];
    let (drain, metrics) = (Drain::new(), Arc::new(Metrics::new()));
    metrics.gauge("the_second_one", &[]).set(1.0);
    let readiness = Readiness::new(Monitor::UntilReady);
    let mut admin =
        Admin::new(readiness, metrics.clone(), &drain, &Handle::current()).sharing(ownership.clone());
    admin.apply(admin.prepare(&faces).unwrap());
    // A reload that changes nothing does not change this.
    admin.apply(admin.prepare(&faces).unwrap());
    assert_eq!(admin.addresses(Face::Health).next(), None);
    assert!(!get(first.address, "/metrics").await.1.contains("the_second_one"));
    assert!(!metrics.render().contains("coredns_health_request_duration_seconds_count"), "nobody's health");

    first.drain.closing().cancel();
    let served = async {
        while admin.addresses(Face::Health).next().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, served).await.unwrap();
    assert_eq!(admin.addresses(Face::Health).next(), Some(first.address));
    assert!(get(first.address, "/metrics").await.1.contains("the_second_one"));
    let probed = async {
        while !metrics.render().contains("coredns_health_request_duration_seconds_count") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, probed).await.unwrap();

    drop((old, new));
    let (metrics, drain) = (Arc::new(Metrics::new()), Drain::new());
    let readiness = Readiness::new(Monitor::UntilReady);
    let admin = Admin::new(readiness, metrics, &drain, &Handle::current()).sharing(ownership);
    let error = admin.prepare(&faces).map(drop).unwrap_err().to_string();
    assert!(error.contains("another process listens there"), "nobody of the node is there to leave: {error}");
}

#[tokio::test]
async fn an_awaited_address_is_not_taken_by_who_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (_old, _) = Claim::join(folder.path()).unwrap();
    let (_new, ownership) = Claim::join(folder.path()).unwrap();
    let first = run(&[Face::Health]);
    let faces = [(Face::Health, first.address.to_string().parse().unwrap())];
    let drain = Drain::new();
    let readiness = Readiness::new(Monitor::UntilReady);
    let mut admin = Admin::new(readiness, Arc::new(Metrics::new()), &drain, &Handle::current());
    admin = admin.sharing(ownership);
    admin.apply(admin.prepare(&faces).unwrap());
    let (signals, receiver) = mpsc::channel(1);
    signals.send(Signal::Terminate).await.unwrap();
    let limits = || Limits::with_lameduck(Duration::ZERO);
    let ended = timeout(SOON, drain.run(receiver, limits)).await.unwrap();
    assert_eq!(ended, crate::ops::drain::Ended::Drained, "nothing waits for the address any more");
    assert_eq!(admin.addresses(Face::Health).next(), None);
}

/// As in a reload: what stays is not touched, what is new is served, what is left out ends.
#[tokio::test]
async fn faces_come_and_go_and_those_that_stay_are_not_touched() {
    let mut server = run(&[Face::Health]);
    let stays: ListenAddress = "127.0.0.1:0".parse().unwrap();
    // A request that was begun before is answered by the routes of then.
    let mut begun = TcpStream::connect(server.address).await.unwrap();
    begun.write_all(b"GET /health HT").await.unwrap();
    assert_eq!(get(server.address, "/ready").await.0, 404);

    let new: ListenAddress = "127.0.0.2:0".parse().unwrap();
    let faces = [(Face::Health, stays.clone()), (Face::Ready, stays.clone()), (Face::Metrics, new.clone())];
    server.admin.apply(server.admin.prepare(&faces).unwrap());
    assert_eq!(server.admin.addresses(Face::Health).next(), Some(server.address), "it was not bound again");
    assert_eq!(get(server.address, "/ready").await.0, 503);
    let metrics = server.admin.addresses(Face::Metrics).next().unwrap();
    assert_eq!(get(metrics, "/metrics").await.0, 200);
    begun.write_all(b"TP/1.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(SOON, begun.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    server.admin.apply(server.admin.prepare(&[(Face::Metrics, new)]).unwrap());
    assert_eq!(get(metrics, "/metrics").await.0, 200);
    let closed = async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, closed).await.unwrap();
}

#[tokio::test]
async fn an_address_may_take_the_place_of_one_that_includes_it() {
    let mut server = run(&[Face::Health]);
    let port = server.address.port();
    for text in [format!(":{port}"), format!("127.0.0.1:{port}"), format!(":{port}")] {
        let address: ListenAddress = text.parse().unwrap();
        server.admin.apply(server.admin.prepare(&[(Face::Ready, address)]).unwrap());
        let reached = async {
            // Until the one before is closed, it may be asked.
            while get(server.address, "/ready").await.0 != 503 {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, reached).await.unwrap();
    }
    let taken: ListenAddress = format!("127.0.0.1:{port}").parse().unwrap();
    assert!(taken.bind("health", &[]).is_err(), "it is nobody else's meanwhile");
}
