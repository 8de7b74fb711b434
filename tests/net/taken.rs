//! Beats that do not come to the kernel's rule, though nothing says so: what is not live is not said to be.

use std::time::Duration;

use outlast::ops::control::section::Tells;

use super::living::{Form, Life};
use super::machine::Machine;
use super::world::{SERVICE, inside, nft, possible_with_tables, until};

/// A chain of somebody else, before ours, that drops what beats are told by.
const CHAIN: [&str; 3] = [
    "add table ip other",
    "add chain ip other out { type filter hook output priority -400; }",
    "add rule ip other out meta mark 0x4f55544c drop",
];

#[test]
fn a_chain_of_others_that_drops_beats_is_noticed_before_queries_are_said_to_be_led_here() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    CHAIN.iter().for_each(|command| drop(nft(&machine, command)));
    inside(&machine, async || {
        let life = Life::begin().await;
        until("it says so", async || life.state() == "withdrawn").await;
        assert!(life.is_out().await, "those of the other family live no longer either");
        assert_eq!(life.metric(r#"outlast_interception_live{address="10.96.0.10"}"#), 0.0);
        assert_eq!(life.metric(r#"outlast_net_errors_total{what="renewal"}"#), 1.0);
        nft(&machine, "delete table ip other");
        let took = until("it begins", async || life.is_live().await).await;
        println!("live {} ms after the chain was gone", took.as_millis());
        until("it says so", async || life.state() == "live").await;
        life.end().await;
    });
}

#[test]
fn one_that_comes_later_is_noticed_at_the_next_look() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || {
        let life = Life::of(Form { look: Duration::from_secs(1), ..Form::default() }).await;
        until("it begins", async || life.is_live().await).await;
        CHAIN.iter().for_each(|command| drop(nft(&machine, command)));
        let took = until("it says so", async || life.state() == "withdrawn").await;
        println!("noticed after {} ms", took.as_millis());
        until("nothing lives", async || life.is_out().await).await;
        assert_eq!(life.metric(r#"outlast_interception_withdrawals_total{reason="rules"}"#), 1.0);
        let data = life.report.section().data;
        let why = data["why"].as_str().unwrap();
        assert!(why.contains("a chain of somebody else drops the datagrams that renew 10.96.0.10"), "{why}");
        life.end().await;
    });
}

#[test]
fn who_can_renew_only_some_addresses_renews_none() {
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    inside(&machine, async || {
        let life = Life::of(Form { marks_v6: false, ..Form::default() }).await;
        // Those of IPv4 were renewed, and taken back.
        until("a table", async || nft(&machine, "list tables").contains("table ip outlast")).await;
        until("a beat", async || nft(&machine, "list set ip outlast held").contains(SERVICE)).await;
        until("nothing lives", async || life.is_out().await).await;
        until("it says so", async || life.state() == "withdrawn").await;
        // For longer than any element lives: beats every 300 ms would renew them.
        let mut lived = 0;
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            lived += usize::from(!life.is_out().await);
        }
        assert_eq!(lived, 0, "of 30 looks");
        assert_eq!(life.metric(r#"outlast_interception_live{address="10.96.0.10"}"#), 0.0);
        life.end().await;
    });
}
