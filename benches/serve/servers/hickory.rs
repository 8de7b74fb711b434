//! The hickory baseline: hickory-server's own listener, and a handler that does no more than find the name.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;

use async_trait::async_trait;
use hickory_proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::UdpSocket;
use tokio::runtime::Builder;

use super::Server;
use crate::questions::read_zone;

/// The TTL of all records, in seconds: the node's.
const TTL: u32 = 30;

/// Starts one with names and addresses from a file.
pub(crate) fn start(zone: &Path) -> Result<Server, String> {
    super::start_role("--hickory", zone)
}

/// Is one.
pub(crate) fn serve(zone: &Path) {
    let names = read_zone(zone).iter().map(|(name, addresses)| records(name, addresses)).collect();
    let runtime = Builder::new_multi_thread().worker_threads(super::threads()).enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = super::socket(super::ANY).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = UdpSocket::from_std(socket).unwrap();
        let address = socket.local_addr().unwrap();
        let mut server = hickory_server::Server::new(Handler { names });
        server.register_socket(socket);
        super::serving(address);
        server.block_until_done().await.unwrap();
    });
}

fn records(name: &str, addresses: &[Ipv4Addr]) -> (LowerName, Vec<Record>) {
    let name = Name::from_ascii(format!("{name}.")).unwrap();
    let record = |address: &Ipv4Addr| Record::from_rdata(name.clone(), TTL, RData::A(A(*address)));
    let records = addresses.iter().map(record).collect();
    (name.into(), records)
}

/// Answers from a map.
struct Handler {
    /// A records by name.
    names: HashMap<LowerName, Vec<Record>>,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut out: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let found = match request.queries.queries() {
            [question] if question.query_type() == RecordType::A => self.names.get(question.name()),
            _ => None,
        };
        if found.is_none() {
            metadata.response_code = ResponseCode::NXDomain;
        }
        let reply = MessageResponseBuilder::new(&request.queries, None).build(
            metadata,
            found.map_or(&[][..], Vec::as_slice),
            &[],
            &[],
            &[],
        );
        let sent = out.send_response(reply).await;
        sent.unwrap_or_else(|_| ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() }))
    }
}
