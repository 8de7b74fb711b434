//! The drill of somebody who flushes what he does not know: an address of a node, and the tables that lead queries to it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::ask::load::Manner;
use super::control_plane::observed;
use super::processes::fleet::{Fleet, Shape};
use super::processes::network::{self, Network, Within};
use super::{Play, Played};

/// The address that a node's own DNS usually has.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10));

/// How often each is taken away.
const TIMES: u32 = 10;

/// Between two of them: what is taken away again and again within a moment is put back more rarely.
const REST: Duration = Duration::from_secs(2);

/// How often somebody has put something back.
const REPAIRS: &str = "outlast_net_repairs_total";

/// Plays it in a network of its own.
pub(super) fn addresses(play: &Play<'_>) -> anyhow::Result<Played> {
    match network::within(|network| flushed(play, network))? {
        Within::Done(played) => Ok(played),
        Within::Impossible(why) => Ok(Played::Skipped(why)),
    }
}

fn flushed(play: &Play<'_>, network: &Network) -> anyhow::Result<Played> {
    let shape = Shape { manner: Manner::Stub, own: Some(ADDRESS), ..Shape::usual() };
    let mut fleet = Fleet::start(play, shape)?;
    fleet.begin();
    let mut taken = 0.0;
    for _ in 0..TIMES {
        let takes: [fn(&Network) -> anyhow::Result<()>; 2] =
            [|network| network.take_address(ADDRESS), Network::take_tables];
        for take in takes {
            if fleet.is_broken() {
                break;
            }
            take(network)?;
            taken += 1.0;
            fleet.pass(REST);
        }
    }
    fleet.end();
    fleet.until_fresh();
    fleet.check_live();
    fleet.check_no_stale();
    let repairs: f64 = fleet.nodes.iter().filter_map(|node| node.metric(REPAIRS)).sum();
    fleet.check(repairs >= taken, || format!("{taken} things were taken away, {repairs} were put back"));
    observed(fleet)
}
