//! How evenly a fleet asks its upstream: the busiest second over the mean, with and without jitter.
//!
//! ```text
//! cargo bench --bench fleet [-- --quick]
//! ```

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

mod support;

use std::time::Duration;

use outlast::testkit::fleet::{Fleet, Load};

use support::{Figures, Options, grouped};

/// The most that the busiest second may be, as a multiple of the mean.
const MOST: f64 = 1.5;

fn main() {
    let options = Options::from_args();
    let (nodes, names) = if options.quick { (200, 200) } else { (10_000, 200) };
    let fleet = Fleet {
        nodes,
        names,
        ttl: 30,
        every: Duration::from_secs(5),
        from: 600,
        until: 1200,
        jittered: true,
        seed: 1,
    };
    let columns = ["TTL", "fleet", "queries a second", "busiest second", "busiest / mean"];
    let mut figures = Figures::new(columns);
    let mut even = true;
    for ttl in [30, 300] {
        for jittered in [true, false] {
            let load = Fleet { ttl, jittered, ..fleet }.run();
            even &= !jittered || load.ratio() <= MOST;
            figures.row(row(ttl, jittered, load));
        }
    }
    figures.print(&format!(
        "{} nodes start in the same second and are asked {names} names: minutes 10 to 20",
        grouped(nodes.into())
    ));
    println!(
        "\nwith jitter the busiest second is at most {MOST} times the mean: {}",
        if even { "yes" } else { "NO" }
    );
}

fn row(ttl: u32, jittered: bool, load: Load) -> [String; 5] {
    let fleet = if jittered { "with jitter" } else { "without" };
    let [mean, busiest] = [load.mean.round() as u64, load.busiest].map(grouped);
    [format!("{ttl} s"), fleet.to_owned(), mean, busiest, format!("{:.2}", load.ratio())]
}
