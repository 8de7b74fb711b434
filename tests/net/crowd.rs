//! Others have so many chains that a list of them takes a while: nobody waits for one.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use outlast::net::nft::{Found, Nft};

use super::clients::turn;
use super::living::{Form, Life};
use super::machine::Machine;
use super::world::{inside, layout, output, possible_with_tables, until};

/// So many chains somebody else has.
const CHAINS: usize = 20_000;

/// So many looks are waited for.
const LOOKS: u32 = 4;

#[test]
fn nobody_waits_for_lists_of_what_others_have() {
    let _turn = turn();
    if !possible_with_tables() {
        return;
    }
    let machine = Machine::new(&[]);
    let file = machine.path("crowd");
    let mut text = "table ip kube-proxy {\n".to_owned();
    (0..CHAINS).for_each(|number| writeln!(text, "chain endpoint-{number} {{ counter; }}").unwrap());
    text.push_str("}\n");
    std::fs::write(&file, text).unwrap();
    output(&machine, "nft", &format!("-f {}", file.display()));
    inside(&machine, async || {
        let look = Duration::from_secs(1);
        let life = Life::of(Form { look, looks_around: true, ..Form::default() }).await;
        until("it begins", async || life.is_live().await).await;
        for _ in 0..LOOKS {
            tokio::time::sleep(look).await;
            let nft = Nft::connect().await.unwrap();
            let began = Instant::now();
            assert_eq!(nft.look(&layout()).await.unwrap(), Found::Whole);
            println!("a look beside {CHAINS} chains: {} us", began.elapsed().as_micros());
        }
        assert_eq!(life.state(), "live");
        for reason in ["rules", "listener", "readiness", "udp_probe", "tcp_probe", "late"] {
            let series = format!(r#"outlast_interception_withdrawals_total{{reason="{reason}"}}"#);
            assert_eq!(life.metric(&series), 0.0, "{reason}");
        }
        assert_eq!(life.metric(r#"outlast_interception_skipped_beats_total{reason="late"}"#), 0.0);
        life.end().await;
    });
}
