//! Arguments of `outlast hub`, and what they amount to.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::control::ControlAt;
use crate::cli::page::{HUB_ADDRESS, StatusAt};
use crate::corefile;
use crate::hub::admission::{self, AT_ONCE, RATE};
use crate::hub::audit::AUDIT_INTERVAL;
use crate::hub::config::{HISTORY_BYTES, HubConfig, MAX_SUBSCRIBERS, MOVE_WITHIN};
use crate::ops::admin::{Face, ListenAddress};
use crate::ops::control::HUB_SOCKET;
use crate::ops::telemetry::LogFormat;
use crate::snapshot::schedule::{DEFAULT_INTERVAL, MAX_INTERVAL, MIN_INTERVAL};
use crate::source::Wanted;
use crate::source::apiserver::access::{self, Access, IN_CLUSTER_VARIABLES, Place, check_url, is_in_cluster};
use crate::source::hub::access::DEFAULT_PORT;
use crate::store::guard_config::{DEFAULT_GUARD_HOLD, GuardConfig, hold_within};
use crate::store::state::{DEFAULT_STALE_AFTER, Limits};
use crate::trust::config::{DEFAULT_GRACE, TlsFiles, TrustConfig, check_grace, check_plain};

/// The longest time that followers may be given to move: a pod that stops is killed after 30 s unless it says otherwise.
const MAX_MOVE_WITHIN: Duration = Duration::from_secs(300);

/// Arguments of `outlast hub`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  outlast hub --snapshot /var/lib/outlast --tls-ca ca.crt --tls-cert hub.crt --tls-key hub.key
  outlast hub --kubeconfig ~/.kube/config --listen 127.0.0.1:9953
  outlast hub --service outlast/hub --snapshot /var/lib/outlast --plain

The API server is that of the pod, unless --kubeconfig or --endpoint says otherwise. A flag is ahead of its
environment variable.")]
pub(in crate::cli) struct Args {
    /// Where followers are served: IP:PORT, with commas between [default: port 9953 of every address]
    #[arg(long, env = "OUTLAST_HUB_LISTEN", value_name = "ADDRESS", value_delimiter = ',', value_parser = address)]
    listen: Vec<SocketAddr>,
    /// Addresses that others reach this hub by, which followers are told of [default: those of --listen]
    #[arg(long, env = "OUTLAST_HUB_ADVERTISE", value_name = "ADDRESS", value_delimiter = ',', value_parser = hub_address)]
    advertise: Vec<SocketAddr>,
    /// Folder of the snapshots that followers are served from while there is no API server
    #[arg(long, env = "OUTLAST_HUB_SNAPSHOT", value_name = "DIR")]
    snapshot: Option<PathBuf>,
    /// Time between two snapshots of changed data, 1s to 1h [default: 60s]
    #[arg(long, env = "OUTLAST_HUB_SNAPSHOT_INTERVAL", value_name = "DURATION", value_parser = interval)]
    snapshot_interval: Option<Duration>,
    /// Data not proved for this long is stale [default: 30s]
    #[arg(long, env = "OUTLAST_HUB_STALE_AFTER", value_name = "DURATION", value_parser = corefile::parse_duration)]
    stale_after: Option<Duration>,
    /// Whether lists that would empty the zone are held back: on or off [default: on]
    #[arg(long, env = "OUTLAST_HUB_GUARD", value_name = "ON|OFF", value_parser = crate::cli::config::on_or_off)]
    guard: Option<bool>,
    /// For how long they are held back, 1m to 168h [default: 1h]
    #[arg(long, env = "OUTLAST_HUB_GUARD_HOLD", value_name = "DURATION", value_parser = guard_hold)]
    guard_hold: Option<Duration>,
    /// How the API server is reached, as kubectl has it
    #[arg(long, env = "OUTLAST_HUB_KUBECONFIG", value_name = "FILE", conflicts_with = "endpoint")]
    kubeconfig: Option<PathBuf>,
    /// URL of the API server, without credentials
    #[arg(long, env = "OUTLAST_HUB_ENDPOINT", value_name = "URL", value_parser = url)]
    endpoint: Option<String>,
    /// Follow pods, too: nodes with `pods verified` need them
    #[arg(long, env = "OUTLAST_HUB_PODS")]
    pods: bool,
    /// Keep labels: nodes with `labels` or `namespace_labels` need them
    #[arg(long, env = "OUTLAST_HUB_LABELS")]
    labels: bool,
    /// Certificates of the authority that nodes and hubs are believed by, PEM
    #[arg(long, env = "OUTLAST_HUB_TLS_CA", value_name = "FILE", requires_all = ["tls_cert", "tls_key"])]
    tls_ca: Option<PathBuf>,
    /// Certificate of this hub with its chain, PEM
    #[arg(long, env = "OUTLAST_HUB_TLS_CERT", value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, env = "OUTLAST_HUB_TLS_KEY", value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,
    /// How long an expired certificate is still believed, at most 90 days [default: 168h]
    #[arg(long, env = "OUTLAST_HUB_CERT_GRACE", value_name = "DURATION", value_parser = grace)]
    cert_grace: Option<Duration>,
    /// Speak plain text, also beyond loopback: whoever is on the way can make up the cluster's names
    #[arg(long, env = "OUTLAST_HUB_PLAIN", conflicts_with = "tls_ca")]
    plain: bool,
    /// Another hub of the cluster: IP or IP:PORT, with commas between
    #[arg(long, env = "OUTLAST_HUB_SIBLING", value_name = "ADDRESS", value_delimiter = ',', value_parser = hub_address)]
    sibling: Vec<SocketAddr>,
    /// The service whose endpoints are the hubs of the cluster
    #[arg(long, env = "OUTLAST_HUB_SERVICE", value_name = "NAMESPACE/NAME", value_parser = service)]
    service: Option<(String, String)>,
    /// Time between two comparisons with everything that the API server has, 1m to 24h [default: 30m]
    #[arg(long, env = "OUTLAST_HUB_AUDIT_INTERVAL", value_name = "DURATION", value_parser = audit_interval)]
    audit_interval: Option<Duration>,
    /// Bytes of changes that are kept for followers that come back, for each view
    #[arg(long, env = "OUTLAST_HUB_HISTORY_BYTES", value_name = "BYTES", default_value_t = HISTORY_BYTES.0,
        value_parser = within(HISTORY_BYTES))]
    history_bytes: usize,
    /// How many followers there may be
    #[arg(long, env = "OUTLAST_HUB_MAX_SUBSCRIBERS", value_name = "NUMBER", default_value_t = MAX_SUBSCRIBERS.0,
        value_parser = within(MAX_SUBSCRIBERS))]
    max_subscribers: usize,
    /// How many whole states are sent at once
    #[arg(long, env = "OUTLAST_HUB_TRANSFERS", value_name = "NUMBER", default_value_t = AT_ONCE.0,
        value_parser = within(AT_ONCE))]
    transfers: usize,
    /// How many whole states are begun a second
    #[arg(long, env = "OUTLAST_HUB_TRANSFER_RATE", value_name = "NUMBER", default_value_t = RATE.0,
        value_parser = clap::value_parser!(u32).range(i64::from(RATE.1)..=i64::from(RATE.2)))]
    transfer_rate: u32,
    /// How long followers have to move to another hub when this one stops, at most 5m [default: 10s]
    #[arg(long, env = "OUTLAST_HUB_MOVE_WITHIN", value_name = "DURATION", value_parser = move_within)]
    move_within: Option<Duration>,
    /// Where /metrics is served, or off [default: :9153]
    #[arg(long, env = "OUTLAST_HUB_METRICS_ADDRESS", value_name = "ADDRESS", value_parser = face)]
    metrics_address: Option<FaceAddress>,
    /// Where /health is served, or off [default: :8080]
    #[arg(long, env = "OUTLAST_HUB_HEALTH_ADDRESS", value_name = "ADDRESS", value_parser = face)]
    health_address: Option<FaceAddress>,
    /// Where /ready is served, or off [default: :8181]
    #[arg(long, env = "OUTLAST_HUB_READY_ADDRESS", value_name = "ADDRESS", value_parser = face)]
    ready_address: Option<FaceAddress>,
    /// Unix socket for outlast ctl: an absolute path, or off
    #[arg(long, env = "OUTLAST_CONTROL", default_value = HUB_SOCKET, value_name = "PATH")]
    pub(super) control: ControlAt,
    /// Where the status page is served, on loopback only, or off
    #[arg(long, env = "OUTLAST_HUB_STATUS_ADDRESS", default_value = HUB_ADDRESS, value_name = "ADDRESS")]
    pub(super) status_address: StatusAt,
    /// Form of the log: text or json
    #[arg(long, env = "OUTLAST_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub(super) log_format: LogFormat,
}

/// Where a face is served.
#[derive(Clone, Debug)]
enum FaceAddress {
    /// There.
    At(ListenAddress),
    /// Nowhere.
    Off,
}

/// Where `/metrics` is served by default: of use only where Prometheus can reach it, and nothing in it is secret.
const METRICS_ADDRESS: &str = ":9153";

/// Arguments that do not go together, or with the place where the hub was started.
#[derive(Debug)]
pub(super) struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Args {
    /// What the arguments amount to; `variable` gives environment variables.
    pub(super) fn config(self, variable: &dyn Fn(&str) -> Option<String>) -> Result<HubConfig, Wrong> {
        let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), DEFAULT_PORT);
        let listen = if self.listen.is_empty() { vec![any] } else { self.listen };
        let tls = self.tls_ca.zip(self.tls_cert).zip(self.tls_key);
        let trust = match tls {
            Some(((ca, cert), key)) => {
                let grace = self.cert_grace.unwrap_or(DEFAULT_GRACE);
                TrustConfig::Tls(TlsFiles { ca, cert, key, grace })
            }
            None => {
                let tls = "--tls-ca, --tls-cert and --tls-key, or --plain";
                let spoken =
                    [("listen", &listen), ("sibling", &self.sibling), ("advertise", &self.advertise)];
                for (flag, addresses) in spoken {
                    check_plain(addresses, self.plain)
                        .map_err(|refused| Wrong(format!("--{flag} {refused}: {tls}")))?;
                }
                if self.service.is_some() && !self.plain {
                    return Err(Wrong(format!(
                        "--service: its endpoints are not on loopback, and whoever is on the way could make up the \
                         cluster's names: {tls}"
                    )));
                }
                TrustConfig::Plain
            }
        };
        let place = match (self.kubeconfig, self.endpoint) {
            (Some(file), _) => Place::Kubeconfig { file, context: None },
            (None, Some(url)) => Place::Endpoint { url, tls: None },
            (None, None) if is_in_cluster(variable) => Place::InCluster,
            (None, None) => {
                let [host, port] = IN_CLUSTER_VARIABLES;
                return Err(Wrong(format!(
                    "where the API server is is not known: this is no pod ({host} and {port} are not set); write \
                     --kubeconfig FILE or --endpoint URL"
                )));
            }
        };
        let faces = [
            (Face::Metrics, self.metrics_address, METRICS_ADDRESS),
            (Face::Health, self.health_address, Face::Health.default_address()),
            (Face::Ready, self.ready_address, Face::Ready.default_address()),
        ];
        let faces = faces.into_iter().filter_map(|(face, given, default)| match given {
            Some(FaceAddress::At(address)) => Some((face, address)),
            Some(FaceAddress::Off) => None,
            None => Some((face, default.parse().ok()?)),
        });
        Ok(HubConfig {
            listen,
            advertise: self.advertise,
            access: Access { place, limits: access::Limits::default() },
            wanted: Wanted { labels: self.labels, pods: self.pods },
            limits: Limits { stale_after: self.stale_after.unwrap_or(DEFAULT_STALE_AFTER), max_stale: None },
            guard: GuardConfig {
                on: self.guard.unwrap_or(true),
                hold: self.guard_hold.unwrap_or(DEFAULT_GUARD_HOLD),
            },
            snapshot: self.snapshot,
            interval: self.snapshot_interval.unwrap_or(DEFAULT_INTERVAL),
            trust,
            siblings: self.sibling,
            service: self.service,
            audit_interval: self.audit_interval.unwrap_or(AUDIT_INTERVAL.0),
            history_bytes: self.history_bytes,
            max_subscribers: self.max_subscribers,
            transfers: admission::Limits { at_once: self.transfers, rate: self.transfer_rate },
            move_within: self.move_within.unwrap_or(MOVE_WITHIN),
            faces: faces.collect(),
        })
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let ip = || text.parse().map(|ip: IpAddr| SocketAddr::new(ip, DEFAULT_PORT));
    text.parse()
        .or_else(|_| ip())
        .map_err(|_| "write IP, IP:PORT or [IPV6]:PORT; names are not looked up".to_owned())
}

/// Where a hub can be reached.
fn hub_address(text: &str) -> Result<SocketAddr, String> {
    crate::source::hub::access::address(text).map_err(|error| error.to_string())
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = corefile::parse_duration(text)?;
    let allowed = MIN_INTERVAL..=MAX_INTERVAL;
    if allowed.contains(&interval) { Ok(interval) } else { Err("write a duration from 1s to 1h".to_owned()) }
}

fn guard_hold(text: &str) -> Result<Duration, String> {
    hold_within(corefile::parse_duration(text)?)
}

fn audit_interval(text: &str) -> Result<Duration, String> {
    let interval = corefile::parse_duration(text)?;
    let (_, least, most) = AUDIT_INTERVAL;
    let is_allowed = (least..=most).contains(&interval);
    if is_allowed { Ok(interval) } else { Err("write a duration from 1m to 24h".to_owned()) }
}

fn move_within(text: &str) -> Result<Duration, String> {
    let within = corefile::parse_duration(text)?;
    if within <= MAX_MOVE_WITHIN { Ok(within) } else { Err("write a duration of at most 5m".to_owned()) }
}

fn grace(text: &str) -> Result<Duration, String> {
    check_grace(corefile::parse_duration(text)?).map_err(|error| error.to_string())
}

fn url(text: &str) -> Result<String, String> {
    check_url(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn service(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("write NAMESPACE/NAME".to_owned()),
    }
}

fn face(text: &str) -> Result<FaceAddress, String> {
    if text == "off" {
        return Ok(FaceAddress::Off);
    }
    text.parse().map(FaceAddress::At).map_err(|error: crate::ops::admin::ParseAddressError| error.to_string())
}

/// A number between the last two.
fn within((_, least, most): (usize, usize, usize)) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|n| (least..=most).contains(n));
        number.ok_or_else(|| format!("write a number from {least} to {most}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the subcommand flattens.
    #[derive(clap::Parser)]
    struct Flags {
        /// The arguments.
        #[command(flatten)]
        args: Args,
    }

    fn config(words: &str) -> Result<HubConfig, String> {
        let words = ["hub"].into_iter().chain(words.split_whitespace());
        let flags = <Flags as clap::Parser>::try_parse_from(words).map_err(|error| error.to_string())?;
        flags.args.config(&|_| None).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn defaults() {
        let hub = config("--kubeconfig k --plain").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(hub.listen, ["[::]:9953".parse().expect("an address")]);
        assert_eq!((hub.history_bytes, hub.max_subscribers), (HISTORY_BYTES.0, MAX_SUBSCRIBERS.0));
        assert_eq!(hub.transfers, admission::Limits::default());
        assert_eq!((hub.guard, hub.audit_interval), (GuardConfig::default(), AUDIT_INTERVAL.0));
        let off = config("--kubeconfig k --plain --guard off").unwrap_or_else(|e| panic!("{e}"));
        assert!(!off.guard.on);
        let faces: Vec<_> = hub.faces.iter().map(|(face, at)| format!("{}{at}", face.path())).collect();
        assert_eq!(faces, ["/metrics:9153", "/health:8080", "/ready:8181"]);
        assert_eq!(hub.wanted, Wanted::default());
    }

    #[test]
    fn every_flag_reaches_the_hub() {
        let hub = config(
            "--listen 127.0.0.1:1,10.0.0.1 --advertise 192.0.2.1 --snapshot /s --snapshot-interval 5m --stale-after 20s \
             --endpoint http://127.0.0.1:8080 --pods --labels --tls-ca a --tls-cert b --tls-key c --cert-grace 1h \
             --guard-hold 2h --audit-interval 5m --control off --status-address off \
             --sibling 10.0.0.2,10.0.0.3:7 --service outlast/hub --history-bytes 65536 --max-subscribers 7 \
             --transfers 3 --transfer-rate 4 --move-within 2s --metrics-address off --health-address 127.0.0.1:0 \
             --ready-address off",
        )
        .unwrap_or_else(|e| panic!("{e}"));
        let texts = |addresses: &[SocketAddr]| {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(texts(&hub.listen), "127.0.0.1:1 10.0.0.1:9953");
        assert_eq!(texts(&hub.advertise), "192.0.2.1:9953");
        assert_eq!(texts(&hub.siblings), "10.0.0.2:9953 10.0.0.3:7");
        assert_eq!(hub.snapshot, Some("/s".into()));
        let seconds = Duration::from_secs;
        assert_eq!(
            (hub.interval, hub.limits.stale_after, hub.move_within),
            (seconds(300), seconds(20), seconds(2))
        );
        assert_eq!(hub.access.to_string(), "http://127.0.0.1:8080");
        assert_eq!(hub.wanted, Wanted::ALL);
        let files = TlsFiles { ca: "a".into(), cert: "b".into(), key: "c".into(), grace: seconds(3600) };
        assert_eq!(hub.trust, TrustConfig::Tls(files));
        assert_eq!(hub.service, Some(("outlast".to_owned(), "hub".to_owned())));
        assert_eq!((hub.history_bytes, hub.max_subscribers), (65_536, 7));
        assert_eq!((hub.guard.hold, hub.audit_interval), (seconds(7200), seconds(300)));
        assert_eq!(hub.transfers, admission::Limits { at_once: 3, rate: 4 });
        let faces: Vec<_> = hub.faces.iter().map(|(face, at)| format!("{}{at}", face.path())).collect();
        assert_eq!(faces, ["/health127.0.0.1:0"]);
    }

    #[test]
    fn what_is_wrong_says_what_would_be_right() {
        for (words, want) in [
            ("--plain", "write --kubeconfig FILE or --endpoint URL"),
            ("--kubeconfig k", "--tls-ca, --tls-cert and --tls-key, or --plain"),
            ("--kubeconfig k --listen 127.0.0.1:1,10.0.0.1:1", "10.0.0.1:1 is not on loopback"),
            ("--kubeconfig k --listen hub.example.org:1", "names are not looked up"),
            (
                "--kubeconfig k --listen 127.0.0.1:1 --sibling 10.0.0.2",
                "--sibling 10.0.0.2:9953 is not on loopback",
            ),
            ("--kubeconfig k --listen 127.0.0.1:1 --advertise 10.0.0.2", "--advertise 10.0.0.2:9953 is not"),
            ("--kubeconfig k --listen 127.0.0.1:1 --service outlast/hub", "or --plain"),
            ("--kubeconfig k --plain --sibling 0.0.0.0", "is not the address of a hub"),
            ("--kubeconfig k --plain --sibling 10.0.0.1:0", "is not the address of a hub"),
            ("--kubeconfig k --plain --sibling 224.0.0.1", "is not the address of a hub"),
            ("--kubeconfig k --plain --advertise [::]", "is not the address of a hub"),
            ("--kubeconfig k --tls-ca a", "--tls-cert <FILE>"),
            ("--kubeconfig k --plain --service hub", "write NAMESPACE/NAME"),
            ("--kubeconfig k --plain --transfers 0", "write a number from 1 to 10000"),
            ("--kubeconfig k --plain --transfer-rate 0", "1..=10000"),
            ("--kubeconfig k --plain --cert-grace 9999h", "at most 90 days"),
            ("--kubeconfig k --plain --snapshot-interval 1ms", "from 1s to 1h"),
            ("--kubeconfig k --plain --move-within 1h", "at most 5m"),
            ("--kubeconfig k --plain --guard maybe", "write on or off"),
            ("--kubeconfig k --plain --guard-hold 1s", "from 1m to 168h"),
            ("--kubeconfig k --plain --audit-interval 1s", "from 1m to 24h"),
            ("--kubeconfig k --plain --control hub.sock", "write an absolute path, or off"),
            ("--kubeconfig k --plain --status-address :9155", "write localhost:PORT"),
            ("--kubeconfig k --endpoint http://h --plain", "cannot be used with"),
            ("--endpoint https://u:p@h --plain", "shown in logs"),
        ] {
            let error = config(words).err().unwrap_or_else(|| panic!("{words}: accepted"));
            assert!(error.contains(want), "{words}: {error}");
        }
        assert!(config("--kubeconfig k --listen 127.0.0.1:0,[::1]:0").is_ok(), "plain text on loopback");
    }
}
