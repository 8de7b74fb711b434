//! Meeting a hub: telling it how we are, and hearing how it is. What hubs do with each other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::Channel;

use super::transport::Dialler;
use crate::feed::frame::MAX_MESSAGE_BYTES;
use crate::feed::greeting::Greeting;
use crate::feed::wire::hub_client::HubClient;
use crate::ops::clock::WallClock;
use crate::ops::metrics::Metrics;
use crate::trust::config::TrustConfig;

/// How long a meeting may take, the connection included: the other hub answers from memory.
const MEET_LIMIT: Duration = Duration::from_secs(4);

/// Makes connections to hubs. Cheap to clone.
#[derive(Clone)]
pub struct Meetings(Arc<Dialler>);

impl Meetings {
    /// To be called within a runtime, which certificates are read on.
    pub fn new(trust: &TrustConfig, clock: Arc<WallClock>, metrics: &Metrics) -> Self {
        Self(Arc::new(Dialler::new(trust, clock, metrics)))
    }

    /// The way to the hub at this address; nothing is dialled yet.
    pub fn with(&self, hub: SocketAddr) -> Acquaintance {
        Acquaintance { dialler: self.0.clone(), hub, channel: None }
    }
}

/// The way to one hub: a connection that is kept for as long as it does.
pub struct Acquaintance {
    /// Makes connections.
    dialler: Arc<Dialler>,
    /// Where the hub is.
    hub: SocketAddr,
    /// The connection, if there is one.
    channel: Option<Channel>,
}

impl Acquaintance {
    /// Tells the hub this, and hears what it says.
    ///
    /// # Errors
    /// For people: why there was no answer.
    pub async fn meet(&mut self, greeting: Greeting) -> Result<Greeting, String> {
        let met = tokio::time::timeout(MEET_LIMIT, self.try_to(greeting)).await;
        let met = met.unwrap_or_else(|_| Err(format!("no answer within {MEET_LIMIT:?}")));
        if met.is_err() {
            self.channel = None;
        }
        met
    }

    async fn try_to(&mut self, greeting: Greeting) -> Result<Greeting, String> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => {
                let channel = self.dialler.channel(self.hub).await.map_err(|error| error.to_string())?;
                self.channel.insert(channel).clone()
            }
        };
        let mut client = HubClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        match client.meet(crate::feed::wire::Greeting::from(greeting)).await {
            Ok(reply) => Ok(reply.into_inner().into()),
            Err(status) => Err(format!("{}: {}", status.code(), status.message())),
        }
    }
}
