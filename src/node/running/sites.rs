//! The sockets of a node that runs, and who answers at each.
//!
//! Invariants:
//! * A socket that a new configuration has, too, is not touched: it is found by the address that the Corefile names
//!   (port 0 included) and what is spoken there.
//! * What is new is bound before anything changes; what is no longer named is drained and closed after.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::corefile::Scheme;
use crate::node::listen::bind::{self, Sockets};
use crate::node::listen::tcp::TcpListener;
use crate::node::listen::udp::UdpListener;
use crate::node::listen::{Live, Serving, Shared};
use crate::node::pins::Pins;
use crate::node::router::Router;
use crate::node::setup::ServerPlan;
use crate::ops::catalogue;
use crate::ops::dns_metrics::ServerMetrics;
use crate::ops::drain::Drain;
use crate::ops::metrics::Metrics;
use crate::ops::pulse::Pulses;
use crate::ops::top::Top;

/// What is spoken at which address of the Corefile.
type Place = (Scheme, SocketAddr);

/// Every address that is answered at.
pub(super) struct Sites {
    /// By place.
    sites: BTreeMap<Place, Site>,
    /// The places in the order of the plan.
    order: Vec<Place>,
    /// What all listeners share.
    shared: Arc<Shared>,
    /// What is measured.
    metrics: Arc<Metrics>,
    /// What is answered whatever a configuration says.
    pins: Pins,
    /// Says when to stop, and waits for what is under way.
    drain: Drain,
}

/// One address.
struct Site {
    /// Identity of its listener, e.g. `dns://:53`.
    identity: String,
    /// The address, with the port that the kernel gave.
    bound: SocketAddr,
    /// Who answers.
    live: Arc<Live>,
    /// Ends its TCP listener.
    tcp: CancellationToken,
    /// End its UDP sockets, one each.
    udp: Vec<CancellationToken>,
}

/// The addresses of a configuration, with everything bound that is new.
pub(super) struct Prepared(Vec<(Place, String, Serving, Change)>);

/// What happens to the sockets of a place.
enum Change {
    /// They are there now.
    New {
        /// The address that was bound.
        bound: SocketAddr,
        /// Who answers.
        live: Arc<Live>,
        /// For connections.
        tcp: TcpListener,
        /// For datagrams.
        udp: Vec<UdpListener>,
    },
    /// They stay; these are added.
    More(Vec<UdpListener>),
    /// They stay, but for so many for UDP.
    Fewer(usize),
}

impl Sites {
    pub(super) fn new(metrics: &Arc<Metrics>, pins: Pins, drain: &Drain) -> Self {
        Self {
            sites: BTreeMap::new(),
            order: Vec::new(),
            shared: Shared::new(metrics),
            metrics: metrics.clone(),
            pins,
            drain: drain.clone(),
        }
    }

    /// Signs of life of all listeners.
    pub(super) fn pulses(&self) -> &Pulses {
        self.shared.pulses()
    }

    /// What is asked for most, of all listeners.
    pub(super) fn top(&self) -> &Top {
        self.shared.top()
    }

    /// Binds what is new. Has to be called within the runtime that answers.
    ///
    /// # Errors
    /// An address that cannot be bound; nothing has changed then.
    pub(super) fn prepare(&self, servers: Vec<ServerPlan>) -> anyhow::Result<Prepared> {
        let mut prepared = Vec::new();
        for server in servers {
            let ServerPlan {
                identity,
                scheme,
                addresses,
                routes,
                timeouts,
                sockets,
                tls,
                counted,
                banner: _,
            } = server;
            let metrics = Arc::new(ServerMetrics::new(&self.metrics, &identity, &counted));
            let panics = self.metrics.counter(catalogue::PANICS, &[]);
            let router = Router::pinning(identity.clone(), routes, metrics, panics, self.pins.clone());
            let serving = Serving { router, timeouts, tls };
            let mut bound = false;
            for address in addresses {
                let place = (scheme, address);
                match self.sockets(place, sockets, &serving) {
                    Ok(change) => {
                        prepared.push((place, identity.clone(), serving.clone(), change));
                        bound = true;
                    }
                    // A host without IPv6 is no reason not to serve IPv4.
                    Err(error) if address.ip().is_unspecified() && address.is_ipv6() && bound => {
                        tracing::warn!(%error, "listening on IPv4 only");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Prepared(prepared))
    }

    /// What is to be done at a place.
    fn sockets(
        &self,
        (scheme, address): Place,
        count: Option<NonZeroUsize>,
        serving: &Serving,
    ) -> anyhow::Result<Change> {
        if let Some(site) = self.sites.get(&(scheme, address)) {
            if scheme == Scheme::Tls {
                return Ok(Change::Fewer(0));
            }
            let (has, wants) = (site.udp.len(), count.map_or_else(bind::udp_sockets, NonZeroUsize::get));
            if has > wants {
                return Ok(Change::Fewer(has - wants));
            }
            let more = bind::open_more(site.bound, wants - has)?;
            return Ok(Change::More(self.udp(more, site.bound, &site.live)?));
        }
        let Sockets { address: bound, udp, tcp } = match scheme {
            Scheme::Tls => bind::open_stream(address)?,
            _ => bind::open(address, count)?,
        };
        let live = Live::new(serving.clone());
        let tcp = TcpListener::new(tcp, bound, live.clone(), self.shared.clone())?;
        let udp = self.udp(udp, bound, &live)?;
        Ok(Change::New { bound, live, tcp, udp })
    }

    fn udp(
        &self,
        sockets: Vec<std::net::UdpSocket>,
        bound: SocketAddr,
        live: &Arc<Live>,
    ) -> std::io::Result<Vec<UdpListener>> {
        let listener = |socket| UdpListener::new(socket, bound, live.clone(), self.shared.clone());
        sockets.into_iter().map(listener).collect()
    }

    /// Answers by what was prepared from now on. What is no longer named answers what has come in, and ends.
    pub(super) fn apply(&mut self, Prepared(prepared): Prepared) {
        let mut before = std::mem::take(&mut self.sites);
        self.order.clear();
        for (place, identity, serving, sockets) in prepared {
            let mut site = match (before.remove(&place), sockets) {
                (_, Change::New { bound, live, tcp, udp }) => {
                    let stop = self.drain.closing().child_token();
                    self.drain.spawn(tcp.run(stop.clone()));
                    let mut site = Site { identity, bound, live, tcp: stop, udp: Vec::new() };
                    self.answer_udp(&mut site, udp);
                    site
                }
                (Some(mut site), sockets) => {
                    site.identity = identity;
                    match sockets {
                        Change::More(udp) => self.answer_udp(&mut site, udp),
                        Change::Fewer(count) => {
                            let left = site.udp.len().saturating_sub(count);
                            site.udp.drain(left..).for_each(|stop| stop.cancel());
                        }
                        Change::New { .. } => {}
                    }
                    site
                }
                // Nobody but this takes sites away, and what stays was found there.
                (None, Change::More(_) | Change::Fewer(_)) => continue,
            };
            site.live.replace(serving);
            self.order.push(place);
            site.udp.shrink_to_fit();
            self.sites.insert(place, site);
        }
        for site in before.into_values() {
            site.tcp.cancel();
            site.udp.iter().for_each(CancellationToken::cancel);
        }
    }

    /// Has UDP sockets of a site answer.
    fn answer_udp(&self, site: &mut Site, sockets: Vec<UdpListener>) {
        for socket in sockets {
            let stop = self.drain.closing().child_token();
            self.drain.spawn(socket.run(stop.clone()));
            site.udp.push(stop);
        }
    }

    /// Who answers, each place once, in the order of the plan.
    pub(super) fn listeners(&self) -> Vec<Arc<Live>> {
        self.order.iter().filter_map(|place| self.sites.get(place)).map(|site| site.live.clone()).collect()
    }

    /// Identity and address of everything that is answered at, in the order of the plan.
    pub(super) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let sites = self.order.iter().filter_map(|place| self.sites.get(place));
        sites.map(|site| (site.identity.clone(), site.bound)).collect()
    }
}
