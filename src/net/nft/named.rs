//! Chains by their names: the kernel lists those of everybody or none, and others may have a hundred thousand.

use std::time::Duration;

use nix::libc;
use nlink::netlink::message::NlMsgError;
use nlink::netlink::nftables::{
    ChainInfo, NFT_MSG_GETCHAIN, NFTA_CHAIN_NAME, NFTA_CHAIN_TABLE, NfGenMsg, NftablesEvent, nft_msg_type,
};
use nlink::netlink::{Connection, EventSource, MessageBuilder, MessageIter, Nftables};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{NftError, explain};
use crate::net::Ip;
use crate::net::layout::Terms;

/// What is done here, for errors.
const ASKING: &str = "asking for a chain";

/// Flag of a request, the only one: no list is wanted, and no word besides the answer.
const REQUEST: u16 = libc::NLM_F_REQUEST as u16;

/// Asks for one chain at a time, on a socket of its own: others would take its answers for theirs.
pub(super) struct Named {
    /// The socket; one question at a time.
    connection: Mutex<Connection<Nftables>>,
}

impl Named {
    /// Connects to the network of the calling thread.
    ///
    /// # Errors
    /// A socket that cannot be had.
    pub(super) fn connect() -> Result<Self, NftError> {
        let connection = Connection::<Nftables>::new().map_err(|e| explain(ASKING, e))?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// The chain of this name; `None` where there is none, or no such table. The kernel has `patience` for its answer.
    ///
    /// # Errors
    /// Anything else that the kernel says, or nothing.
    pub(super) async fn chain(
        &self,
        ip: Ip,
        table: &str,
        chain: &str,
        patience: Duration,
    ) -> Result<Option<ChainInfo>, NftError> {
        let asked = timeout(patience, self.ask(ip, table, chain)).await;
        match asked.unwrap_or_else(|_| Err(nlink::Error::timeout())) {
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(None),
            answered => answered.map(Some).map_err(|e| explain(ASKING, e)),
        }
    }

    /// Asks, and waits for the answer. May be dropped at any time: an answer to an earlier question is passed over.
    async fn ask(&self, ip: Ip, table: &str, chain: &str) -> Result<ChainInfo, nlink::Error> {
        let connection = self.connection.lock().await;
        let socket = connection.socket();
        let mut request = MessageBuilder::new(nft_msg_type(NFT_MSG_GETCHAIN), REQUEST);
        request.append(&NfGenMsg::new(Terms::of(ip).family));
        request.append_attr_str(NFTA_CHAIN_TABLE, table);
        request.append_attr_str(NFTA_CHAIN_NAME, chain);
        let number = socket.next_seq();
        request.set_seq(number);
        request.set_pid(socket.pid());
        socket.send(&request.finish()).await?;
        loop {
            let answer = socket.recv_unicast().await?;
            for message in MessageIter::new(&answer) {
                let (header, payload) = message?;
                if header.nlmsg_seq != number {
                    continue;
                }
                if header.is_error() {
                    let error = NlMsgError::from_bytes(payload)?;
                    return Err(error.to_error(header.nlmsg_flags, payload));
                }
            }
            // It is told as its making is.
            let of_now = MessageIter::new(&answer).flatten().any(|(header, _)| header.nlmsg_seq == number);
            let mut told = if of_now { Nftables::parse_events(&answer) } else { Vec::new() }.into_iter();
            if let Some(found) = told.find_map(|event| match event {
                NftablesEvent::NewChain(found) => Some(found),
                _ => None,
            }) {
                return Ok(found);
            }
        }
    }
}
