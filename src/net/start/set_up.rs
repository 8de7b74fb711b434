//! What a start sees of the node, and does to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use crate::net::Endpoint;
use crate::net::around::{Around, Found, Setting};
use crate::net::config::{Config, Mode};
use crate::net::detect::Signs;
use crate::net::fallback::Fallback;
use crate::net::iptables::poll::Poll;
use crate::net::iptables::rows::{FILTER, RAW};
use crate::net::iptables::{Iptables, Ports, Which};
use crate::net::keep::{Carrier, Keeper};
use crate::net::layout::Layout;
use crate::net::leftovers;
use crate::net::link::{Journal, Kind, Links};
use crate::net::lookout::Lookout;
use crate::net::mark::Marks;
use crate::net::metrics::Measures;
use crate::net::nft::{Nft, NftError};
use crate::net::rules::{Rules, RulesError};
use crate::net::section::Report;
use crate::net::usable::Usable;
use crate::net::watch::Watch;
use crate::ops::ownership::LONGEST_END;

/// How long rules may take to go where that is some messages to the kernel.
const BY_MESSAGES: Duration = Duration::from_secs(2);

/// The same where programs delete them, which wait for each other: what stays leads queries to nobody for ever.
const BY_PROGRAMS: Duration = Duration::from_secs(20);

/// Who comes meanwhile waits for it.
const _: () = assert!(BY_PROGRAMS.as_secs() < LONGEST_END.as_secs());

/// A node as it was found.
pub(super) struct Survey {
    /// Who has which address.
    found: Found,
    /// All that was seen.
    signs: Signs,
}

impl Survey {
    /// What becomes of the addresses.
    pub(super) const fn usable(&self) -> &Usable {
        self.found.usable()
    }
}

/// Looks at the node, and changes nothing; `None` where others lead queries to this process.
pub(super) async fn survey(config: &Config) -> Result<Option<Survey>, StartError> {
    let (found, signs) = Found::look(config).await?;
    let usable = &found.usable().addresses;
    // Nothing is put on the node, and nothing leads anywhere: all that there can be is somebody else's.
    if config.leaves_all_to_others() && found.missing().await?.len() == usable.len() {
        return Ok(None);
    }
    if usable.is_empty() {
        return Err(StartError::NothingLeft(found.seen().kube_proxy));
    }
    Ok(Some(Survey { found, signs }))
}

/// What was set up.
pub(super) struct SetUp {
    /// What keeps it.
    pub(super) keeper: Keeper,
    /// How beats are sent, where elements expire.
    pub(super) marks: Option<Marks>,
    /// What others do to it.
    pub(super) events: Watch,
    /// Who polls rules of iptables, where the kernel does not tell of them.
    pub(super) poll: Option<Poll>,
    /// The rules that let packets through firewalls, if they are wanted.
    pub(super) accept: Option<Iptables>,
    /// Who looks for what node-cache has left, where that is in our way.
    pub(super) lookout: Option<Lookout>,
    /// Who else has the addresses.
    pub(super) around: Around,
}

impl SetUp {
    /// How long rules may take to go.
    pub(super) const fn limit(&self) -> Duration {
        let by_programs = matches!(self.keeper.rules(), Rules::Iptables { .. }) || self.accept.is_some();
        if by_programs { BY_PROGRAMS } else { BY_MESSAGES }
    }

    /// What operators see of it.
    pub(super) fn report(&self) -> Arc<Report> {
        let keeper = &self.keeper;
        Arc::new(Report::new(keeper.layout(), keeper.interface()).led_by(keeper.rules().mode()))
    }
}

/// Puts the addresses on the node, and finds out whether queries to them can be led here.
pub(super) async fn set_up(
    config: &Config,
    survey: Survey,
    measures: &Arc<Measures>,
    journal: &mut Journal,
) -> Result<SetUp, StartError> {
    let Survey { found, signs } = survey;
    let addresses = found.usable().addresses.clone();
    let nft = match config.rules {
        Mode::Off | Mode::Iptables => None,
        Mode::Auto | Mode::Nftables => match Nft::connect().await {
            Err(NftError::Absent) => None,
            connected => Some(connected?),
        },
    };
    let ports = Ports { dns: config.port, health: config.health_port };
    let rules = Rules::choose(config.rules, ports, nft, &addresses)?;
    let mut layout = Layout::new(&addresses, &config.services, config.port, config.flows);
    if let Rules::Nftables(nft) = &rules {
        try_tables(nft, &mut layout).await?;
    }
    let mode = rules.mode();
    let expire = mode == Mode::Nftables;
    let accept = (config.accept && expire).then(|| Iptables::new(&addresses, ports, Which::Accepting));
    let accept = accept.transpose().map_err(RulesError::from)?;
    let links = Links::connect()?;
    let carrier = match &config.interface {
        Some(name) => {
            let (name, kind) = (name.clone(), Kind::Dummy);
            let device = links.set_up(&name, kind, &addresses, journal).await?;
            Carrier::Ours { name, kind, device }
        }
        None => {
            links.find(&addresses).await?;
            Carrier::Others
        }
    };
    let v6 = addresses.iter().any(IpAddr::is_ipv6);
    let marks = expire.then(|| Marks::new(config.port, v6)).transpose().map_err(StartError::Marks)?;
    let keeper = Keeper::new(links, carrier, rules, layout, measures.clone());
    let interface = keeper.interface().unwrap_or_default().to_owned();
    let events = match expire {
        true => Watch::subscribe(&interface, &addresses).await,
        false => Watch::subscribe_to_links(&interface, &addresses).await,
    };
    let events = events.map_err(StartError::Events)?;
    let (events, poll) = match keeper.rules().of_iptables().or(accept.as_ref()) {
        Some(rules) if rules.are_of_nftables().await => {
            (events.with_iptables().await.map_err(StartError::Events)?, None)
        }
        rules => (events, rules.cloned().map(Poll::new)),
    };
    let lookout = match expire {
        true => Some(Lookout::connect(&addresses, ports, measures.clone()).await?),
        false => None,
    };
    let lookout = match &accept {
        Some(_) => lookout.map(Lookout::beside_accepting_rules),
        None => lookout,
    };
    let around = Around::begin(found, Setting { rules: mode, interface, measures: measures.clone() });
    warn(config, &signs, mode, &addresses, ports);
    Ok(SetUp { keeper, marks, events, poll, accept, lookout, around })
}

/// Whether the kernel can have our tables: better said now than when they are needed. One that is too old for a part that
/// can be done without has a layout without it.
async fn try_tables(nft: &Nft, layout: &mut Layout) -> Result<(), NftError> {
    match nft.try_out(&with_endpoints(layout)).await {
        Err(NftError::Unsupported(_)) if layout.forgets() => {
            layout.forget_nothing();
            nft.try_out(&with_endpoints(layout)).await?;
            tracing::warn!(
                "this kernel is older than 5.4: a client whose port comes again may lose a connection"
            );
            Ok(())
        }
        tried => tried,
    }
}

/// The same with endpoints to fall back to: their rules need parts of the kernel of their own, and come with the data. All
/// addresses are of documentation (RFC 5737, RFC 3849), and no packet ever meets these rules.
fn with_endpoints(layout: &Layout) -> Layout {
    let at = |address: [IpAddr; 2]| {
        address.map(|ip| Some(SocketAddr::new(ip, layout.port()))).map(|at| Endpoint { udp: at, tcp: at })
    };
    let v4 = [1, 2].map(|host| IpAddr::from([192, 0, 2, host]));
    let v6 = [1, 2].map(|host| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]));
    let mut with = layout.clone();
    with.fallback = Fallback::new(&[at(v4), at(v6)].concat(), &[]);
    with
}

/// Warns of what others have that may be in the way.
fn warn(config: &Config, signs: &Signs, mode: Mode, addresses: &[IpAddr], ports: Ports) {
    if mode == Mode::Off {
        return;
    }
    let accepts = mode == Mode::Iptables || config.accept;
    for chain in signs.dropping() {
        let (family, table, chain) = (chain.family, &chain.table, &chain.name);
        let advice = match table.as_str() {
            FILTER if accepts => continue,
            FILTER => "it has to let DNS through, which --accept iptables sees to",
            _ => "it has to let DNS through",
        };
        tracing::warn!(family, table, chain, "this chain drops what it does not know: {advice}");
    }
    if mode == Mode::Nftables && signs.legacy.iter().any(|table| table == RAW) {
        let commands = leftovers::commands(addresses, ports, "-legacy", leftovers::Comment::Its);
        tracing::warn!(
            commands,
            "the old iptables has rules that cannot be seen: if node-cache was killed on this node, its rules lead queries \
             here for ever, and these commands delete them"
        );
    }
}
