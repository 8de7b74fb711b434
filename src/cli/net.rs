//! The arguments of interception, and how it is put together with the node.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::config::{duration, on_or_off, unfilled};
use super::nodecache::{SERVICE as KUBE_DNS, host_variable};
use crate::net::Endpoint;
use crate::net::config::{Config, HEALTH_PORT, INTERFACE, KubeProxy, LOOK, Mode, OWNER};
use crate::net::run::Hooks;
use crate::net::start::{Look, Net, Prepared, StartError, Surveyed, look, unseen};
use crate::net::usable::{Left, Usable};
use crate::node::cluster_dns::{ClusterDns, Sought};
use crate::node::running::Running;
use crate::node::setup::{LeftOut, Overrides};
use crate::ops::drain::Drain;
use crate::ops::readiness::{Readiness, State};

/// What `/ready` waits for where addresses are intercepted.
const PART: &str = "interception";

/// Why nothing can be listened at an address where others lead queries to this process.
const BY_OTHERS: &str =
    "no interface has it, as others lead queries to this process: leave bind out, or write 0.0.0.0";

/// Which addresses to answer at instead of the cluster's DNS.
#[derive(clap::Args)]
pub(super) struct NetArgs {
    /// Put these addresses on the node and answer queries to them here: of the cluster's DNS, or the node's own; with
    /// commas between, at most 16
    #[arg(long, env = "OUTLAST_LOCAL_IP", value_name = "IP", value_delimiter = ',', value_parser = local_ip)]
    local_ip: Vec<IpAddr>,
    /// Interface that carries them
    #[arg(long, env = "OUTLAST_INTERFACE", value_name = "NAME", default_value = INTERFACE)]
    interface: String,
    /// Make the interface and the addresses, on or off: then they have to be there, or, with --rules off, others may lead
    /// queries to this process [default: on]
    #[arg(long, env = "OUTLAST_SETUP_INTERFACE", value_name = "ON|OFF", value_parser = on_or_off)]
    setup_interface: Option<bool>,
    /// What leads queries here: auto, nftables, iptables (node-cache's rules, which stay when the process is killed), or off:
    /// addresses only [default: auto, nftables if the kernel has it, else iptables]
    #[arg(long, env = "OUTLAST_RULES", value_name = "RULES", value_parser = rules)]
    rules: Option<Mode>,
    /// Let queries and answers through firewalls of iptables that drop what is not tracked, by: off or iptables
    /// [default: off]
    #[arg(long, env = "OUTLAST_ACCEPT", value_name = "BY", value_parser = accept)]
    accept: Option<bool>,
    /// Port of health in rules of iptables
    #[arg(long, env = "OUTLAST_HEALTH_PORT", value_name = "PORT", default_value_t = HEALTH_PORT)]
    health_port: u16,
    /// Leave addresses and tables on the node at a clean stop; what leads queries here is taken away all the same
    #[arg(long, env = "OUTLAST_SKIP_TEARDOWN")]
    skip_teardown: bool,
    /// How often to look at addresses and rules besides what the kernel tells, at least 1s [default: 60s]
    #[arg(long, env = "OUTLAST_LOOK_EVERY", value_name = "DURATION", value_parser = duration)]
    look_every: Option<Duration>,
    /// Who sends packets for Services on: auto, iptables, nftables, ipvs, cilium or none [default: auto, what is seen]
    #[arg(long, env = "OUTLAST_KUBE_PROXY", value_name = "WHO", value_parser = kube_proxy)]
    kube_proxy: Option<Sender>,
    /// Service whose endpoints take queries to the node's own addresses while nobody answers them here
    #[arg(long, env = "OUTLAST_CLUSTER_DNS_SERVICE", value_name = "NAMESPACE/NAME",
        default_value = "kube-system/kube-dns", value_parser = service)]
    cluster_dns_service: (String, String),
    /// Folder where processes of this node agree on which one of them has the addresses: an absolute path, the same for all
    #[arg(long, env = "OUTLAST_OWNER", value_name = "DIR", default_value = OWNER)]
    owner: PathBuf,
}

/// What the configuration has to know of the addresses.
#[derive(Default)]
pub(super) struct Addresses {
    /// Those that pods ask: what a template is filled in with.
    pub(super) local: Vec<IpAddr>,
    /// Those that queries are led here by; blocks without `bind` listen there.
    bind: Vec<IpAddr>,
    /// Those that nothing can be listened at.
    left: Vec<LeftOut>,
}

impl Addresses {
    /// Those that are led here, and those that are not.
    fn of(addresses: &[IpAddr], left: &[Left]) -> Self {
        let why = |left: &Left| LeftOut { address: left.address, why: left.why.to_string() };
        let bind = addresses.to_vec();
        Self { local: bind.clone(), bind, left: left.iter().map(why).collect() }
    }

    /// Where others lead queries to this process: it listens where the Corefile says, and has none of these.
    fn by_others(wanted: Vec<IpAddr>) -> Self {
        let left = |address: &IpAddr| LeftOut { address: *address, why: BY_OTHERS.to_owned() };
        Self { left: wanted.iter().map(left).collect(), local: wanted, bind: Vec::new() }
    }

    /// Has plugins know of them.
    pub(super) fn tell(self, overrides: &mut Overrides) {
        let Self { local: _, bind, left } = self;
        (overrides.bind, overrides.left) = (bind, left);
    }
}

impl NetArgs {
    /// Looks at this node, and changes nothing: what there is to listen at, and what goes on with it if anything is to
    /// be led here. DNS has this port, and `upstream` is a further Service of the cluster's DNS.
    ///
    /// # Errors
    /// What cannot be meant or seen, and a node where all addresses have to be left to somebody else.
    pub(super) fn look(
        &self,
        port: u16,
        upstream: Option<&str>,
    ) -> Result<(Addresses, Option<Surveyed>), StartError> {
        let Some(config) = self.config(port, upstream) else { return Ok((Addresses::default(), None)) };
        match look(config)? {
            Look::Here(surveyed) => {
                Ok((Addresses::of(surveyed.addresses(), surveyed.left()), Some(surveyed)))
            }
            Look::ByOthers => {
                tracing::info!(
                    addresses = ?self.local_ip,
                    "none of these addresses is on this node, and none is to be put there: others lead queries to this \
                     process, and nothing is intercepted"
                );
                Ok((Addresses::by_others(self.local_ip.clone()), None))
            }
        }
    }

    /// The same by what flags and environment say, without looking at any node.
    ///
    /// # Errors
    /// What cannot be meant, and addresses that all have to be left to somebody else.
    pub(super) fn unseen(&self, port: u16, upstream: Option<&str>) -> Result<Addresses, StartError> {
        let Some(config) = self.config(port, upstream) else { return Ok(Addresses::default()) };
        let Usable { addresses, left } = unseen(&config)?;
        Ok(Addresses::of(&addresses, &left))
    }

    /// What is wanted, if anything is.
    fn config(&self, port: u16, upstream: Option<&str>) -> Option<Config> {
        if self.local_ip.is_empty() {
            return None;
        }
        Some(Config {
            services: self.known_services(upstream),
            interface: self.setup_interface.unwrap_or(true).then(|| self.interface.clone()),
            rules: self.rules.unwrap_or(Mode::Auto),
            accept: self.accept.unwrap_or(false),
            port,
            health_port: self.health_port,
            teardown: !self.skip_teardown,
            look: self.look_every.unwrap_or(LOOK),
            kube_proxy: self.kube_proxy.and_then(|Sender(who)| who),
            owner: self.owner.clone(),
            ..Config::of(self.local_ip.clone())
        })
    }

    /// Begins to lead queries here.
    ///
    /// # Errors
    /// A thread that is gone.
    pub(super) fn begin(
        &self,
        prepared: Prepared,
        running: &Running,
        drain: &Drain,
        control: &Handle,
    ) -> Result<Net, StartError> {
        let sought =
            Sought { addresses: prepared.addresses().to_vec(), named: self.cluster_dns_service.clone() };
        let mut found = running.follow_cluster_dns(sought, control);
        let (say_endpoints, endpoints) = watch::channel(Arc::default());
        let known = prepared.services().to_vec();
        let (say_services, services) = watch::channel(known.clone().into());
        control.spawn(async move {
            while found.changed().await.is_ok() {
                let now = found.borrow_and_update().clone();
                let all: Arc<[IpAddr]> = known.iter().chain(&now.services).copied().collect();
                if say_services.send(all).and(Ok(say_endpoints.send(of(&now)))).is_err() {
                    break;
                }
            }
        });
        let readiness = running.readiness();
        let hooks = Hooks {
            pulses: running.pulses().clone(),
            ready: Box::new(ready(readiness.clone())),
            endpoints,
            services,
            part: readiness.register(PART),
        };
        prepared.run(hooks, drain)
    }

    /// The addresses that the environment says are a Service's.
    fn known_services(&self, upstream: Option<&str>) -> Vec<IpAddr> {
        let host = |service| std::env::var(host_variable(service)).ok()?.parse().ok();
        let services = [Some(KUBE_DNS), upstream];
        let mut known: Vec<IpAddr> = services.into_iter().flatten().filter_map(host).collect();
        known.retain(|host| self.local_ip.contains(host));
        known.dedup();
        known
    }
}

/// Whether everything else than interception itself can answer, also in blocks whose readiness nobody asks for. A
/// process that is about to end stays what it was.
fn ready(readiness: Readiness) -> impl Fn() -> bool + Send + Sync {
    let was = AtomicBool::new(false);
    move || {
        if readiness.state() != State::ShuttingDown {
            was.store(readiness.can_answer(PART), Ordering::Relaxed);
        }
        was.load(Ordering::Relaxed)
    }
}

/// Endpoints as interception wants them.
fn of(found: &ClusterDns) -> Arc<[Endpoint]> {
    let udp = found.udp.iter().map(|at| Endpoint { udp: Some(*at), tcp: None });
    udp.chain(found.tcp.iter().map(|at| Endpoint { udp: None, tcp: Some(*at) })).collect()
}

fn local_ip(text: &str) -> Result<IpAddr, String> {
    if let Some(why) = unfilled(text) {
        return Err(why);
    }
    text.parse().map_err(|_| "write an IPv4 or IPv6 address".to_owned())
}

fn rules(text: &str) -> Result<Mode, String> {
    let mode = Mode::ALL.into_iter().find(|mode| mode.as_str() == text);
    mode.ok_or_else(|| "write auto, nftables, iptables or off".to_owned())
}

fn accept(text: &str) -> Result<bool, String> {
    match text {
        "off" => Ok(false),
        "iptables" => Ok(true),
        _ => Err("write off or iptables".to_owned()),
    }
}

/// Who is said to send packets for Services on; `None` is whoever is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sender(Option<KubeProxy>);

fn kube_proxy(text: &str) -> Result<Sender, String> {
    let known =
        [KubeProxy::Iptables, KubeProxy::Nftables, KubeProxy::Ipvs, KubeProxy::Cilium, KubeProxy::None];
    match (text, known.into_iter().find(|of| of.as_str() == text)) {
        ("auto", _) => Ok(Sender(None)),
        (_, Some(of)) => Ok(Sender(Some(of))),
        _ => Err("write auto, iptables, nftables, ipvs, cilium or none".to_owned()),
    }
}

fn service(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("write NAMESPACE/NAME".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::readiness::Monitor;

    #[test]
    fn interception_does_not_wait_for_itself() {
        let readiness = Readiness::new(Monitor::UntilReady);
        let (data, _own) = (readiness.register("kubernetes"), readiness.register(PART));
        let is_ready = ready(readiness.clone());
        assert!(!is_ready(), "there is no data");
        data.set(true);
        assert!(is_ready());
        readiness.shut_down();
        assert!(is_ready(), "it answers until it is told not to");
        assert!(!ready(readiness)(), "one that never was ready does not become so at the end");
    }

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        net: NetArgs,
    }

    #[test]
    fn what_flags_say_of_addresses_is_known_without_a_node() {
        let unseen = |words: &[&str]| {
            let words = ["outlast", "--local-ip=169.254.20.10,10.96.0.10"].iter().chain(words);
            let flags = <Flags as clap::Parser>::try_parse_from(words).unwrap_or_else(|e| panic!("{e}"));
            flags.net.unseen(53, None).map_err(|e| e.to_string())
        };
        let ips = ["169.254.20.10", "10.96.0.10"].map(|ip| ip.parse::<IpAddr>().expect("an address"));
        let all = unseen(&[]).expect("that they can be meant");
        assert_eq!((all.local.as_slice(), all.bind.as_slice(), all.left.len()), (&ips[..], &ips[..], 0));
        assert!(unseen(&["--look-every=10ms"]).is_err_and(|e| e.contains("is too often")));
        let by_others = Addresses::by_others(ips.to_vec());
        assert_eq!((by_others.local.as_slice(), by_others.bind.as_slice()), (&ips[..], &[][..]));
        assert_eq!(by_others.left.len(), 2);
    }

    #[test]
    fn values_are_read_or_refused() {
        assert_eq!(kube_proxy("auto"), Ok(Sender(None)));
        assert_eq!(kube_proxy("ipvs"), Ok(Sender(Some(KubeProxy::Ipvs))));
        assert!(kube_proxy("kube-router").is_err());
        assert_eq!(rules("iptables"), Ok(Mode::Iptables));
        assert!(rules("ebtables").is_err());
        assert_eq!((accept("off"), accept("iptables")), (Ok(false), Ok(true)));
        assert!(accept("nftables").is_err());
        assert_eq!(local_ip("fd00:20::10"), Ok("fd00:20::10".parse().expect("an address")));
        let wrong = local_ip("$(KUBE_DNS_SERVICE_HOST)").expect_err("nobody has filled it in");
        assert!(wrong.contains("there is no Service kube-dns in this namespace"), "{wrong}");
        assert_eq!(service("kube-system/kube-dns"), Ok(("kube-system".to_owned(), "kube-dns".to_owned())));
        for wrong in ["kube-dns", "/kube-dns", "kube-system/", "a/b/c", ""] {
            assert!(service(wrong).is_err(), "{wrong}");
        }
    }
}
