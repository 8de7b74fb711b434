//! Addresses that are left to others while the process runs, and that come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outlast::net::iptables::{Iptables, Ports, Which};
use outlast::net::keep::{Carrier, Keeper, Kept};
use outlast::net::link::{Journal, Kind as Link, Links};
use outlast::net::metrics::Measures;
use outlast::net::nft::{Found, Nft};
use outlast::net::rules::Rules;
use outlast::net::watch::Hint;
use outlast::ops::control::section::Tells;
use outlast::ops::metrics::Metrics;

use super::living::{Form, Life};
use super::machine::Machine;
use super::old_rules::{Kind, of_all, sorted, there_are_both};
use super::world::{
    ALL, LOCAL, LOCAL6, SERVICE, SERVICE6, inside, ips, layout, nft, output, possible_with_tables, until,
};

/// Which of all addresses the machine has.
fn there(machine: &Machine) -> Vec<&'static str> {
    let text = output(machine, "ip", "-o addr");
    ALL.into_iter().filter(|address| text.contains(&format!(" {address}/"))).collect()
}

#[test]
fn addresses_that_are_left_go_from_tables_and_interface_and_come_back() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    let foreign = output(&machine, "ip", "-o addr");
    inside(&machine, async || {
        let (metrics, tables) = (Arc::new(Metrics::new()), Nft::connect().await.unwrap());
        let (links, mut journal) = (Links::connect().unwrap(), Journal::default());
        let device = links.set_up("nodelocaldns", Link::Bridge, &ips(&ALL), &mut journal).await.unwrap();
        let carrier = Carrier::Ours { name: device.name.clone(), kind: Link::Bridge, device };
        let measures = Arc::new(Measures::new(&metrics, &ips(&ALL)));
        let rules = Nft::connect().await.unwrap();
        let mut keeper = Keeper::new(links, carrier, rules, layout(), measures);

        // Before tables are ours to keep they are left alone, whatever is in them.
        tables.install(&layout(), &ips(&ALL)).await.unwrap();
        assert_eq!(keeper.set_addresses(&ips(&[LOCAL]), &[]).await, Kept::Whole);
        assert_eq!(there(&machine), [LOCAL]);
        assert_eq!(tables.live(&layout()).await.unwrap().len(), ALL.len());
        assert_eq!(keeper.set_addresses(&ips(&ALL), &[]).await, Kept::Whole);
        assert_eq!(there(&machine), ALL);

        keeper.adopt().await.unwrap();
        for (name, left) in [
            ("the Service's of both families", &[LOCAL, LOCAL6][..]),
            ("a whole family", &[SERVICE, LOCAL]),
            ("all but one", &[SERVICE6]),
            ("all of them", &[]),
        ] {
            tables.install(&layout(), &ips(&ALL)).await.unwrap();
            assert_eq!(keeper.set_addresses(&ips(left), &ips(&ALL)).await, Kept::Whole, "{name}");
            // Whatever is left lives on, whatever is gone does not; for a second.
            assert_eq!(tables.live(&layout()).await.unwrap(), keeper.layout().addresses(), "{name}");
            let mut wanted = layout();
            wanted.set_addresses(&ips(left));
            assert_eq!(tables.look(&wanted).await.unwrap(), Found::Whole, "{name}");
            assert_eq!(there(&machine), left, "{name}");
            assert_eq!(
                keeper.keep(Instant::now().into(), Hint::Everything, &[]).await,
                Kept::Whole,
                "{name}"
            );
            assert_eq!(keeper.set_addresses(&ips(&ALL), &[]).await, Kept::Whole, "{name}");
            assert_eq!(tables.look(&layout()).await.unwrap(), Found::Whole, "{name}");
            assert_eq!(there(&machine), ALL, "{name}");
        }
        for what in ["address", "table", "set", "link"] {
            let line = format!(r#"outlast_net_repairs_total{{what="{what}"}} 0"#);
            assert!(metrics.render().lines().any(|l| l == line), "a change is no repair: {what}");
        }
        keeper.remove().await;
    });
    assert_eq!(output(&machine, "ip", "-o addr"), foreign);
    assert_eq!(nft(&machine, "list tables"), "");
}

#[test]
fn an_interface_that_is_made_anew_is_taken_away_whatever_becomes_of_its_addresses() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    output(&machine, "ip", "link add br0 type bridge");
    inside(&machine, async || {
        let (links, mut journal) = (Links::connect().unwrap(), Journal::default());
        let device = links.set_up("nodelocaldns", Link::Bridge, &ips(&ALL), &mut journal).await.unwrap();
        let carrier = Carrier::Ours { name: device.name.clone(), kind: Link::Bridge, device };
        let measures = Arc::new(Measures::new(&Arc::new(Metrics::new()), &ips(&ALL)));
        let mut keeper = Keeper::new(links, carrier, Rules::Off, layout(), measures);
        output(&machine, "ip", "link del nodelocaldns");
        output(&machine, "ip", "addr add 10.96.0.10/32 dev br0");
        let kept = keeper.keep(Instant::now().into(), Hint::Links, &[]).await;
        assert_eq!(kept, Kept::Broken, "an address is somebody else's now");
        assert_eq!(there(&machine), ALL);
        keeper.remove().await;
    });
    assert_eq!(there(&machine), [SERVICE]);
    assert!(!output(&machine, "ip", "-o link").contains("nodelocaldns"));
}

#[test]
fn rules_of_iptables_go_with_their_addresses() {
    if !possible_with_tables() || !there_are_both() {
        return;
    }
    let (machine, kind) = (Machine::new(&[]), Kind::Legacy);
    let path = kind.folder(&machine);
    inside(&machine, async || {
        let (links, mut journal) = (Links::connect().unwrap(), Journal::default());
        let device = links.set_up("nodelocaldns", Link::Bridge, &ips(&ALL), &mut journal).await.unwrap();
        let carrier = Carrier::Ours { name: device.name.clone(), kind: Link::Bridge, device };
        let measures = Arc::new(Measures::new(&Arc::new(Metrics::new()), &ips(&ALL)));
        let ports = Ports { dns: 53, health: 8080 };
        let rules = Iptables::of_path(Some(path.as_os_str()), &ips(&ALL), ports, Which::All).unwrap();
        let rules = Rules::Iptables { rules, made: true };
        let mut keeper = Keeper::new(links, carrier, rules, layout(), measures);
        keeper.adopt().await.unwrap();
        assert!(keeper.lead(Instant::now().into()).await);
        assert_eq!(sorted(kind.rules(&machine)), of_all(&ALL));
        assert_eq!(keeper.set_addresses(&ips(&[LOCAL, LOCAL6]), &ips(&ALL)).await, Kept::Whole);
        assert_eq!(sorted(kind.rules(&machine)), of_all(&[LOCAL, LOCAL6]));
        assert_eq!(there(&machine), [LOCAL, LOCAL6]);
        assert_eq!(keeper.set_addresses(&ips(&ALL), &ips(&[LOCAL, LOCAL6])).await, Kept::Whole);
        assert!(keeper.lead(Instant::now().into()).await);
        assert_eq!((sorted(kind.rules(&machine)), there(&machine)), (of_all(&ALL), ALL.to_vec()));
        keeper.remove().await;
    });
    assert_eq!(kind.rules(&machine), [""; 0]);
}

#[test]
fn the_loop_follows_who_has_addresses_of_services() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || {
        let look = Duration::from_secs(1);
        let life = Life::of(Form { look, looks_around: true, ..Form::default() }).await;
        until("it begins", async || life.is_live().await).await;
        let live = async || life.tables.live(&layout()).await.unwrap();

        output(&machine, "ip", "link add kube-ipvs0 type bridge");
        output(&machine, "ip", "addr add 10.96.0.10/32 dev kube-ipvs0");
        let took = until("they are left to IPVS", async || live().await == ips(&[LOCAL, LOCAL6])).await;
        println!("left {} ms after kube-ipvs0 had come", took.as_millis());
        until("they are gone", async || !output(&machine, "ip", "-o addr").contains(SERVICE6)).await;
        until("it says so", async || {
            life.report.section().data["addresses"] == serde_json::json!([LOCAL, LOCAL6])
        })
        .await;
        assert!(output(&machine, "ip", "-o addr").contains(SERVICE), "that one is not ours");
        assert_eq!(life.metric(r#"outlast_interception_live{address="10.96.0.10"}"#), 0.0);
        assert_eq!(life.metric(r#"outlast_interception_live{address="169.254.20.10"}"#), 1.0);
        assert_eq!(life.state(), "live");

        output(&machine, "ip", "link del kube-ipvs0");
        let took = until("they come back", async || life.is_live().await).await;
        println!("back {} ms after it had gone", took.as_millis());
        until("it says so", async || {
            life.metric(r#"outlast_interception_live{address="10.96.0.10"}"#) == 1.0
        })
        .await;
        for reason in ["rules", "listener", "readiness", "udp_probe", "tcp_probe", "late"] {
            let series = format!(r#"outlast_interception_withdrawals_total{{reason="{reason}"}}"#);
            assert_eq!(life.metric(&series), 0.0, "{reason}");
        }
        life.end().await;
    });
}
