//! Both ends over a real socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::serve::is_allowed;
use super::*;
use crate::ops::metrics::Metrics;

/// Says what it was asked; hangs for `thaw`, panics for `generations`.
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, command: Command) -> Result<Value, Refusal> {
        match command {
            Command::Thaw { .. } => std::future::pending().await,
            Command::Generations { .. } => panic!("as scripted"),
            Command::Accept { .. } => Err(Refusal::failed("the disk is full")),
            other => Ok(json!({ "asked": other.name() })),
        }
    }
}

/// A server that ends with the test.
struct Server {
    /// Its folder.
    _dir: tempfile::TempDir,
    path: PathBuf,
    stop: CancellationToken,
    task: JoinHandle<()>,
    metrics: Arc<Metrics>,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        let (stop, metrics) = (CancellationToken::new(), Arc::new(Metrics::new()));
        let task = tokio::spawn(serve(path.clone(), Arc::new(Echo), metrics.clone(), stop.clone()));
        until(|| is_answered(&path).unwrap_or(false)).await;
        Self { _dir: dir, path, stop, task, metrics }
    }

    async fn ask(&self, command: Command) -> Result<Value, String> {
        ask(&self.path, &command).await.map_err(|error| error.to_string())
    }

    /// What is said to bytes of one's own.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        read(&mut stream).await
    }
}

async fn read(stream: &mut UnixStream) -> String {
    let mut said = Vec::new();
    // A reset is an end, too.
    while stream.read_buf(&mut said).await.is_ok_and(|read| read > 0) {}
    String::from_utf8(said).unwrap()
}

/// Waits for what another task does on a real socket.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it comes about");
}

#[tokio::test]
async fn a_question_and_its_answer() {
    let server = Server::start().await;
    assert_eq!(server.ask(Command::Status).await, Ok(json!({"asked": "status"})));
    assert_eq!(server.ask(Command::Accept { zone: None }).await, Err("the disk is full".to_owned()));
    let said = server.raw(b"{\"v\":1,\"command\":\"ready\"}\nand more").await;
    assert_eq!(said, "{\"v\":1,\"ok\":{\"asked\":\"ready\"}}\n");
    let said = server.raw(b"hello\n").await;
    assert!(said.starts_with("{\"v\":1,\"error\":{\"kind\":\"wrong\""), "{said}");
    let said = server.raw(&[b'x'; 5000]).await;
    assert!(said.contains("at most 4096 bytes"), "{said}");
    let rendered = server.metrics.render();
    for line in [
        r#"outlast_control_requests_total{command="status",result="ok"} 1"#,
        r#"outlast_control_requests_total{command="accept",result="refused"} 1"#,
        r#"outlast_control_requests_total{command="none",result="refused"} 2"#,
    ] {
        assert!(rendered.contains(line), "{line}\n{rendered}");
    }
}

#[tokio::test]
async fn a_handler_that_breaks_breaks_nothing_else() {
    let server = Server::start().await;
    let said = server.ask(Command::Generations { zone: None }).await;
    assert_eq!(said, Err("the connection was closed without a reply".to_owned()));
    assert!(server.ask(Command::Status).await.is_ok());
}

#[tokio::test]
async fn who_is_slow_and_what_is_slow_has_a_deadline() {
    let server = Server::start().await;
    tokio::time::pause();
    let late = server.ask(Command::Thaw { zone: None }).await.unwrap_err();
    assert!(late.starts_with("no result within 5 s"), "{late}");
    let mut silent = UnixStream::connect(&server.path).await.unwrap();
    silent.write_all(b"{\"v\":1,").await.unwrap();
    let said = read(&mut silent).await;
    assert!(said.contains("\"kind\":\"late\"") && said.contains("no whole request"), "{said}");
}

#[tokio::test]
async fn too_many_are_told_so_and_make_room() {
    let server = Server::start().await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(UnixStream::connect(&server.path).await.unwrap());
    }
    let busy = server.ask(Command::Status).await;
    assert_eq!(busy, Err("8 others are asking: try again".to_owned()));
    idle.clear();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.ask(Command::Status).await.is_ok());
}

#[tokio::test]
async fn at_the_end_the_socket_is_gone() {
    let server = Server::start().await;
    server.stop.cancel();
    server.task.await.unwrap();
    assert!(!server.path.exists());
    let nobody = ask(&server.path, &Command::Status).await;
    assert!(matches!(nobody, Err(AskError::Nobody)));
}

#[tokio::test]
async fn who_comes_second_waits_until_the_first_has_gone() {
    let first = Server::start().await;
    let stop = CancellationToken::new();
    let second = tokio::spawn(serve(first.path.clone(), Arc::new(Echo), Arc::default(), stop.clone()));
    let stays = |path: &Path| is_answered(path).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(stays(&first.path));
    first.stop.cancel();
    first.task.await.unwrap();
    until(|| stays(&first.path)).await;
    stop.cancel();
    second.await.unwrap();
    assert!(!first.path.exists());
}

#[tokio::test]
async fn a_file_that_is_removed_comes_back() {
    let server = Server::start().await;
    std::fs::remove_file(&server.path).unwrap();
    tokio::time::pause();
    until(|| server.path.exists()).await;
    assert!(server.ask(Command::Status).await.is_ok());
}

#[tokio::test]
async fn a_process_that_is_stopped_is_not_waited_for_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.sock");
    // The kernel takes connections for it, and nobody reads.
    let _stopped = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(is_answered(&path).unwrap());
    tokio::time::pause();
    let silent = ask(&path, &Command::Status).await;
    assert!(matches!(silent, Err(AskError::Silent)), "{silent:?}");
}

#[tokio::test]
async fn who_hangs_up_early_is_no_trouble() {
    let server = Server::start().await;
    for _ in 0..20 {
        let mut stream = UnixStream::connect(&server.path).await.unwrap();
        stream.write_all(b"{\"v\":1,\"command\":\"status\"}\n").await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.ask(Command::Status).await.is_ok());
}

#[test]
fn root_and_the_own_user_may_ask() {
    assert!(is_allowed(0, 1000) && is_allowed(1000, 1000) && is_allowed(0, 0));
    assert!(!is_allowed(1001, 1000) && !is_allowed(1000, 0));
}
