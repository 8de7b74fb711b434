//! Which hubs there are: what followers are told, and persist for the day when they know of no other.

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::source::hub::known::MAX_HUBS;
use crate::store::Store;
use crate::zone::Table;

/// Where the list comes from.
pub(super) struct Roster {
    /// Addresses that are configured, our own first.
    pub(super) fixed: Vec<SocketAddr>,
    /// The service whose endpoints are hubs, by namespace and name.
    pub(super) service: Option<(String, String)>,
    /// Port of those.
    pub(super) port: u16,
}

impl Roster {
    /// Every hub that is known by this table.
    pub(super) fn hubs(&self, table: &Table) -> Arc<[SocketAddr]> {
        let mut hubs = self.fixed.clone();
        if let Some((namespace, name)) = &self.service
            && let Some(entry) = table.service(namespace.as_bytes(), name.as_bytes())
        {
            let addresses = entry.slices().flat_map(|slice| slice.endpoints.addresses().iter());
            // In their own order, so that what is the same is so.
            let addresses: BTreeSet<_> = addresses.map(|ip| SocketAddr::new(ip, self.port)).collect();
            hubs.extend(addresses);
        }
        // What is configured stays ahead of what there is no room for.
        let mut seen = HashSet::new();
        hubs.retain(|hub| seen.insert(*hub));
        hubs.truncate(MAX_HUBS);
        hubs.into()
    }

    /// Follows the table until `stop`.
    pub(super) async fn run(
        self,
        store: Arc<Store>,
        hubs: watch::Sender<Arc<[SocketAddr]>>,
        stop: CancellationToken,
    ) {
        let mut published = store.published();
        loop {
            published.mark_unchanged();
            let new = self.hubs(&store.current().table);
            hubs.send_if_modified(|known| {
                let differs = *known != new;
                if differs {
                    tracing::info!(hubs = ?new, "hubs that followers are told of");
                    *known = new;
                }
                differs
            });
            match stop.run_until_cancelled(published.changed()).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::object::{Addresses, EndpointSlice, Endpoints, Kinds, Object};

    #[test]
    fn hubs_are_what_is_configured_and_the_endpoints_of_their_service() {
        let slice = |name: &str, service: &str, addresses: &[[u8; 4]]| {
            let addresses = Addresses::V4(addresses.iter().map(|a| (*a).into()).collect());
            Object::EndpointSlice(EndpointSlice {
                namespace: "outlast".into(),
                name: name.into(),
                service: service.into(),
                ports: [].into(),
                endpoints: Endpoints::new::<&str>(addresses, &[], &[], &[]).expect("no names"),
                labels: [].into(),
            })
        };
        let objects = [
            slice("hub-1", "hub", &[[10, 0, 0, 2], [10, 0, 0, 1]]),
            slice("other", "other", &[[10, 0, 0, 9]]),
        ];
        let table = Table::build(objects, Kinds::CORE, 1);
        let fixed: Vec<SocketAddr> =
            ["10.1.0.1:1", "10.0.0.2:9953", "10.1.0.1:1"].map(|a| a.parse().expect("one")).into();
        let roster = Roster { fixed, service: Some(("outlast".into(), "hub".into())), port: 9953 };
        let said: Vec<_> = roster.hubs(&table).iter().map(ToString::to_string).collect();
        assert_eq!(said, ["10.1.0.1:1", "10.0.0.2:9953", "10.0.0.1:9953"], "ourselves first, and each once");
        let many = |n: u16| SocketAddr::new([10, 9, 0, 1].into(), n + 1);
        let crowded = Roster { fixed: (0..100).map(many).collect(), service: None, port: 1 };
        assert_eq!((crowded.hubs(&table).len(), crowded.hubs(&table)[0]), (MAX_HUBS, many(0)));
        let alone = Roster { service: None, ..roster };
        assert_eq!(alone.hubs(&table).len(), 2);
    }
}
