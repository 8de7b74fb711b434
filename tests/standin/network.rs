//! Connections: what befalls them as a whole, in memory and over a socket.

use std::io::ErrorKind;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use outlast::drill::standin::access::USER;
use outlast::drill::standin::faults::{Fault, Network, Rule};
use outlast::drill::standin::{Config, Standin};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::{Connection, End, ask, open};
use super::cluster::{put, with_services};

const WATCH: &str = "/api/v1/services?watch=true";

#[tokio::test(start_paused = true)]
async fn dialling_is_refused_closed_or_hangs() {
    let standin = with_services(1);
    standin.faults().set_network(Network::Refuse);
    assert_eq!(standin.dial()().await.unwrap_err().kind(), ErrorKind::ConnectionRefused);

    standin.faults().set_network(Network::Close);
    let mut closed = standin.dial()().await.unwrap();
    assert_eq!(closed.read(&mut [0; 8]).await.unwrap(), 0);

    standin.faults().set_network(Network::HangAtTls);
    let io = standin.dial()().await.unwrap();
    let shake = Connection::over(Box::new(io), standin.ca_pem());
    assert!(timeout(Duration::from_secs(600), shake).await.is_err());

    standin.faults().clear();
    assert_eq!(ask(&standin, "/readyz").await.body(), "ok");
}

#[tokio::test(start_paused = true)]
async fn refusing_leaves_open_connections_and_cutting_ends_them() {
    let standin = with_services(1);
    let mut watch = open(&standin, &format!("{WATCH}&resourceVersion=2")).await;
    standin.faults().set_network(Network::Refuse);
    put(&standin, "a/new");
    assert_eq!(watch.event().await, "ADDED a/new 3");
    standin.faults().cut_connections();
    assert_eq!(watch.event().await, "broken");
}

#[tokio::test(start_paused = true)]
async fn what_comes_with_the_cut_is_not_taken() {
    let standin = with_services(1);
    let token = standin.token(USER).unwrap();
    let first = Connection::dial(&standin).await.open("GET /version", Some(&token)).await.unwrap();
    let (_, connection) = first.finish_and_keep().await;
    let taken = standin.requests().total();
    let mut second = pin!(connection.open("GET /api/v1/services", Some(&token)));
    assert!(second.as_mut().now_or_never().is_none(), "it is written, and nobody has read it");
    standin.faults().cut_connections();
    assert!(second.await.is_err());
    assert_eq!(standin.requests().total(), taken);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_server_ends_its_connections() {
    let standin = with_services(1);
    let (dial, mut watch) = (standin.dial(), open(&standin, &format!("{WATCH}&resourceVersion=2")).await);
    drop(standin);
    assert_eq!(watch.event().await, "broken");
    assert_eq!(dial().await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test(start_paused = true)]
async fn a_connection_serves_one_request_after_the_other() {
    let standin = with_services(30);
    let token = standin.token(USER).unwrap();
    let mut connection = Connection::dial(&standin).await;
    for (target, code) in [
        ("/api/v1/services", 200),
        ("/version", 200),
        ("/nowhere", 404),
        ("/api/v1/services?watch=1&timeoutSeconds=1", 200),
        ("/api/v1/services?limit=1", 200),
    ] {
        let stream = connection.open(&format!("GET {target}"), Some(&token)).await.unwrap();
        let (answer, kept) = stream.finish_and_keep().await;
        assert_eq!((answer.code(), answer.end), (code, End::Clean), "{target}");
        connection = kept;
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_bounded() {
    let standin = Standin::in_memory(Config { max_connections: 1, ..Config::default() }).unwrap();
    let _first = open(&standin, WATCH).await;
    let mut second = standin.dial()().await.unwrap();
    assert_eq!(second.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_connects_and_says_nothing_is_closed() {
    let standin = with_services(1);
    let mut silent = standin.dial()().await.unwrap();
    assert_eq!(timeout(Duration::from_secs(11), silent.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_socket_serves_the_same_and_can_be_gone_for_a_while() {
    let standin = Standin::start(Config::default()).await.unwrap();
    let token = standin.token(USER).unwrap();
    let namespaces = async || {
        let connection = Connection::tcp(&standin).await?;
        let answer = connection.open("GET /api/v1/namespaces", Some(&token)).await?;
        Ok::<_, std::io::Error>(answer.finish().await)
    };
    let want = ["default", "kube-node-lease", "kube-public", "kube-system"];
    assert_eq!(namespaces().await.unwrap().names(), want);
    assert_eq!(ask(&standin, "/api/v1/namespaces").await.names(), want, "in memory as well");

    let address = standin.address().unwrap();
    for round in 0..100 {
        standin.faults().change_network(Network::Refuse).await;
        assert!(TcpStream::connect(address).await.is_err(), "round {round}: it has taken effect");
        standin.faults().change_network(Network::Open).await;
        assert!(TcpStream::connect(address).await.is_ok(), "round {round}: so has this");
    }
    assert_eq!(namespaces().await.unwrap().names(), want);
}

#[tokio::test]
async fn a_cut_over_a_socket_is_a_reset() {
    let standin = Standin::start(Config::default()).await.unwrap();
    standin.faults().add(Rule::new(Fault::Cut { after: 40 }));
    let connection = Connection::tcp(&standin).await.unwrap();
    let stream = connection.open("GET /api/v1/namespaces", standin.token(USER).as_deref()).await.unwrap();
    let answer = stream.finish().await;
    assert_eq!(answer.end, End::Broken);
    assert!(answer.body().contains("NamespaceList"), "what was sent before it arrives");
}

#[tokio::test(start_paused = true)]
async fn a_kubeconfig_names_the_server_and_a_user() {
    let standin = with_services(1);
    let text = standin.kubeconfig();
    let config: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(config["clusters"][0]["cluster"]["server"], standin.url());
    assert_eq!(config["users"][0]["user"]["token"].as_str(), standin.token(USER).as_deref());
    assert_eq!(config["current-context"], config["contexts"][0]["name"]);
}
