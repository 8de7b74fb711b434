//! A reply comes from the address that was asked, also where the server listens on all of them: a client takes
//! no other.

use std::net::{IpAddr, SocketAddr};

use outlast::testkit::client::{Client, Query};
use tokio::net::UdpSocket;

use super::fixture;

#[tokio::test]
async fn a_reply_comes_from_the_address_that_was_asked() {
    let fixture = fixture::start(".:0 {\n KUBE\n}").await;
    let query = Query::a("storefront.shop.svc.cluster.local.");
    let mut asked = 0;
    for listening in fixture.node.addresses() {
        let addresses: &[&str] = if listening.is_ipv4() { &["127.0.0.2", "127.8.9.10"] } else { &["::1"] };
        for ip in addresses {
            let server = SocketAddr::new(ip.parse::<IpAddr>().unwrap(), listening.port());
            let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            // Not connected, so that a reply from elsewhere is seen.
            let socket = UdpSocket::bind(any).await.unwrap();
            socket.send_to(&query.bytes(), server).await.unwrap();
            let (_, from) = socket.recv_from(&mut [0; 512]).await.unwrap();
            assert_eq!(from, server);
            assert_eq!(Client::new(server).tcp(&query).await.unwrap().answers().len(), 1);
            asked += 1;
        }
    }
    assert!(asked >= 2);
}

#[tokio::test]
async fn a_reply_that_waited_comes_from_there_too() {
    let upstream = outlast::testkit::upstream::FakeUpstream::start("www.test. 60 A 192.0.2.1").await;
    let fixture = fixture::start(&format!(".:0 {{\n forward . {}\n}}", upstream.addr())).await;
    let port = fixture.node.addresses().iter().find(|a| a.is_ipv4()).unwrap().port();
    let server = SocketAddr::from(([127, 0, 0, 3], port));
    let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    socket.send_to(&Query::a("www.test.").bytes(), server).await.unwrap();
    let (_, from) = socket.recv_from(&mut [0; 512]).await.unwrap();
    assert_eq!(from, server);
}
