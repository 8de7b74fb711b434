//! The loop as a whole, with listeners that answer, in a network of its own: it begins, withdraws, comes back, mends
//! and ends.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use outlast::ops::ownership::Claim;

use super::clients::turn;
use super::living::{Form, Life};
use super::machine::Machine;
use super::world::{
    ALL, LOCAL, SERVICE, endpoints, inside, layout, nft, output, possible_with_tables, until,
};

#[test]
fn it_begins_when_ready_withdraws_when_not_and_leaves_nothing_behind() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    let before = output(&machine, "ip", "-o addr");
    inside(&machine, async || {
        let life = Life::begin().await;
        until("it begins", async || life.is_live().await).await;
        assert_eq!(life.state(), "live");
        assert_eq!(life.metric(r#"outlast_interception_live{address="10.96.0.10"}"#), 1.0);
        life.ready.store(false, Ordering::Relaxed);
        let took = until("it withdraws", async || life.is_out().await).await;
        println!("withdrawn {} ms after it was not ready", took.as_millis());
        until("it says so", async || life.state() == "withdrawn").await;
        assert_eq!(life.metric(r#"outlast_interception_withdrawals_total{reason="readiness"}"#), 1.0);
        assert_eq!(life.metric(r#"outlast_interception_live{address="10.96.0.10"}"#), 0.0);
        life.ready.store(true, Ordering::Relaxed);
        let took = until("it comes back", async || life.is_live().await).await;
        println!("back {} ms after it was ready again", took.as_millis());
        let held = nft(&machine, "list set ip outlast held");
        life.withdrawing.cancel();
        life.withdrawn.cancelled().await;
        assert!(life.is_out().await, "at once");
        assert!(held.contains(SERVICE) && held.contains(LOCAL), "{held}");
        // For longer than an element lives by itself.
        for _ in 0..15 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let held = nft(&machine, "list set ip outlast held");
            assert!(held.contains(SERVICE), "connections are held until sockets are closed: {held}");
        }
        assert!(life.is_out().await);
        life.end().await;
    });
    assert_eq!(nft(&machine, "list tables"), "");
    assert_eq!(output(&machine, "ip", "-o addr"), before);
}

#[test]
fn listeners_that_end_are_noticed() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || {
        let mut life = Life::begin().await;
        until("it begins", async || life.is_live().await).await;
        life.node.take().unwrap().stop().await;
        let took = until("it withdraws", async || life.is_out().await).await;
        println!("withdrawn {} ms after nobody answered", took.as_millis());
        until("it says so", async || {
            life.metric(r#"outlast_interception_withdrawals_total{reason="listener"}"#) == 1.0
        })
        .await;
        life.end().await;
    });
}

#[test]
fn what_somebody_takes_away_is_back_at_once_counted_and_without_a_withdrawal() {
    let _turn = turn();
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || {
        let life = Life::begin().await;
        until("it begins", async || life.is_live().await).await;
        for (deed, what) in [
            ("nft delete table ip outlast", "table"),
            ("nft flush ruleset", "table"),
            ("nft flush chain ip outlast out", "rule"),
            ("nft flush chain ip6 outlast pre", "rule"),
            ("nft insert rule ip outlast pre accept", "rule"),
            ("nft flush set ip outlast ours", "set"),
            ("nft flush set ip outlast live", ""),
            ("ip addr del 10.96.0.10/32 dev nodelocaldns", "address"),
            ("ip addr flush dev nodelocaldns", "address"),
            ("ip link del nodelocaldns", "link"),
        ] {
            let series = format!(r#"outlast_net_repairs_total{{what="{what}"}}"#);
            let before = if what.is_empty() { 0.0 } else { life.metric(&series) };
            let (program, arguments) = deed.split_once(' ').unwrap();
            output(&machine, program, arguments);
            let took = until(deed, async || {
                let addresses = output(&machine, "ip", "-o addr");
                let there = ALL.iter().all(|address| addresses.contains(&format!(" {address}/")));
                let whole = life.tables.look(&layout()).await.unwrap() == outlast::net::nft::Found::Whole;
                there && whole && life.is_live().await
            })
            .await;
            println!("{deed}: everything as before after {} ms", took.as_millis());
            if !what.is_empty() {
                until("it is counted", async || life.metric(&series) > before).await;
            }
            // Not so often that it is a fight.
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        assert_eq!(life.state(), "live");
        for reason in ["rules", "listener", "readiness", "udp_probe", "tcp_probe", "late"] {
            let series = format!(r#"outlast_interception_withdrawals_total{{reason="{reason}"}}"#);
            assert_eq!(life.metric(&series), 0.0, "{reason}");
        }
        life.end().await;
    });
}

#[test]
fn who_does_not_own_the_addresses_leaves_them_alone() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || {
        let life = Life::begin().await;
        until("it begins", async || life.is_live().await).await;
        let (mut other, _) = Claim::join(life.owner.path()).unwrap();
        assert!(other.ask() && !other.try_own());
        let took = until("it hands over", async || other.try_own()).await;
        println!("handed over {} ms after it was asked to", took.as_millis());
        assert!(life.is_live().await, "for as long as the other one needs");
        until("elements expire", async || life.is_out().await).await;
        nft(&machine, "delete table ip outlast");
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(nft(&machine, "list tables"), "table ip6 outlast\n");
        assert_eq!(life.state(), "standby");
        assert_eq!(life.metric(r#"outlast_net_handovers_total{to="successor"}"#), 1.0);
        assert_eq!(life.metric("outlast_net_owner"), 0.0);
        other.give_up();
        let took = until("it takes over", async || life.is_live().await).await;
        println!("all live {} ms after they were nobody's", took.as_millis());
        assert_eq!(life.metric(r#"outlast_net_handovers_total{to="us"}"#), 2.0);
        assert_eq!(life.metric("outlast_net_owner"), 1.0);
        life.end().await;
    });
}

#[test]
fn who_comes_waits_until_it_answers_and_says_whose_they_are() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || {
        let folder = tempfile::tempdir().unwrap();
        let (mut other, _) = Claim::join(folder.path()).unwrap();
        assert!(other.try_own());
        let life = Life::beside(folder, false).await;
        until("it says so", async || life.state() == "standby").await;
        assert!(!other.is_asked(), "it does not answer yet");
        life.ready.store(true, Ordering::Relaxed);
        until("it asks", async || other.is_asked()).await;
        until("it says so", async || life.state() == "asking").await;
        // The owner would make room for it, and nobody would have them.
        life.ready.store(false, Ordering::Relaxed);
        until("it asks no longer", async || !other.is_asked()).await;
        life.ready.store(true, Ordering::Relaxed);
        until("it asks again", async || other.is_asked()).await;
        assert_eq!(nft(&machine, "list tables"), "");
        // As a process does that is killed.
        drop(other);
        let took = until("it begins", async || life.is_live().await).await;
        println!("all live {} ms after the owner was gone", took.as_millis());
        until("it says so", async || life.state() == "live").await;
        life.end().await;
    });
}

#[test]
fn who_ends_leaves_them_to_a_process_that_takes_them_and_else_withdraws() {
    if !possible_with_tables() {
        return;
    }
    for (name, asks, takes) in [
        ("a successor that waits", true, true),
        ("one that stands by", false, true),
        ("one that waits, and hangs", true, false),
        ("one that is not ready", false, false),
    ] {
        let machine = Machine::new(&[]);
        inside(&machine, async || {
            let life = Life::begin().await;
            until("it begins", async || life.is_live().await).await;
            let (mut other, _) = Claim::join(life.owner.path()).unwrap();
            life.withdrawing.cancel();
            assert_eq!(asks && other.ask(), asks, "{name}");
            let took =
                until(name, async || (takes && other.try_own()) || life.withdrawn.is_cancelled()).await;
            life.withdrawn.cancelled().await;
            println!("{name}: {} ms", took.as_millis());
            assert_eq!(life.is_live().await, takes, "{name}");
            assert_eq!(life.is_out().await, !takes, "{name}");
            let to = if asks { "successor" } else { "standby" };
            let handed = life.metric(&format!(r#"outlast_net_handovers_total{{to="{to}"}}"#));
            assert!(!takes || handed == 1.0, "{name}: {handed}");
            let table = nft(&machine, "list tables");
            life.node.unwrap().stop().await;
            life.closed.cancel();
            let (keeper, claim) = life.running.await.unwrap();
            assert_eq!(nft(&machine, "list tables"), table, "{name}: nothing is removed");
            // Who waits gets them even now, in case that it goes on.
            assert!(claim.owns() != takes || asks, "{name}");
            assert!(!claim.shut(), "{name}: the other one is there");
            drop((keeper, other));
        });
    }
}

#[test]
fn who_can_lead_nobody_here_leaves_them_to_a_process_that_can() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || {
        let life = Life::begin().await;
        until("it begins", async || life.is_live().await).await;
        life.ready.store(false, Ordering::Relaxed);
        until("it withdraws", async || life.state() == "withdrawn").await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(life.metric("outlast_net_owner"), 1.0, "there is nobody else");
        // It begins anew once all is well, though not at once.
        let (mut other, _) = Claim::join(life.owner.path()).unwrap();
        let took = until("it leaves them", async || other.try_own()).await;
        println!("left to another process {} ms after it was there", took.as_millis());
        until("it says so", async || life.state() == "standby").await;
        assert_eq!(life.metric(r#"outlast_net_handovers_total{to="standby"}"#), 1.0);
        life.ready.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(other.owns() && !other.is_asked(), "who has had them asks nobody for them");
        // Who cannot lead queries here either makes no difference: the pause of before has to be over.
        let began = Instant::now();
        other.give_up();
        until("it takes them back", async || life.is_live().await).await;
        println!("live again {} ms after they were nobody's", began.elapsed().as_millis());
        life.end().await;
    });
}

#[test]
fn who_cannot_make_its_tables_leaves_them_to_a_process_that_can() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || {
        let folder = tempfile::tempdir().unwrap();
        let (mut old, _) = Claim::join(folder.path()).unwrap();
        assert!(old.try_own());
        // The kernel refuses them.
        let form = Form { owner: folder, flows: Duration::from_secs(20_000_000_000_000), ..Form::default() };
        let new = Life::of(form).await;
        until("it asks", async || old.is_asked()).await;
        old.give_up();
        until("it has them", async || new.metric("outlast_net_owner") == 1.0).await;
        let took = until("it leaves them", async || old.try_own()).await;
        println!("left to another process after {} ms", took.as_millis());
        until("it says so", async || new.state() == "standby").await;
        assert!(!old.is_asked());
        drop(old);
        until("it tries again", async || new.metric("outlast_net_owner") == 1.0).await;
        new.end().await;
    });
}

#[test]
fn endpoints_of_the_cluster_s_dns_become_the_way_without_us() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || {
        let life = Life::begin().await;
        until("it begins", async || life.is_live().await).await;
        let fallback = || nft(&machine, "list chain ip outlast fallback");
        for (at, rules) in
            [(vec!["10.244.0.12:1053"], 2), (vec![], 0), (vec!["10.244.0.13:53", "10.244.0.14:53"], 4)]
        {
            life.endpoints.send(endpoints(&at).into()).unwrap();
            until("the rules are there", async || {
                let text = fallback();
                text.matches("dnat").count() == rules && at.iter().all(|of| text.contains(of))
            })
            .await;
            let series = r#"outlast_net_fallback_endpoints{family="1",proto="udp"}"#;
            assert_eq!(life.metric(series), at.len() as f64);
        }
        for what in ["rule", "table", "chain", "set"] {
            let series = format!(r#"outlast_net_repairs_total{{what="{what}"}}"#);
            assert_eq!(life.metric(&series), 0.0, "a change is no repair");
        }
        assert!(life.is_live().await);
        life.end().await;
    });
}
