//! Time of a lookup with its records, from name to the last record, and whether it allocates.
//!
//! ```text
//! cargo bench --bench lookup [-- --quick]
//! ```

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

mod support;

use std::hint::black_box;

use outlast::zone::Table;
use outlast::zone::answer::{Answer, Scratch};
use outlast::zone::lookup::QueryType;
use outlast::zone::name::Labels;
use outlast::zone::rules::Rules;

use support::alloc::{self, Counting};
use support::cluster::{measured, rules, table};
use support::{Figures, Options, grouped, nanoseconds};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Lookups of a run.
const LOOKUPS: usize = 200_000;

/// Looks up every name once; returns how many records there were.
fn look_up(rules: &Rules, table: &Table, scratch: &mut Scratch, names: &[Labels], kind: QueryType) -> usize {
    let mut records = 0;
    for name in names {
        let (_, answer) = rules.lookup(table, black_box(name), kind);
        if let Answer::Records(found) = answer {
            found.visit(table, rules, scratch, &mut |section, owner, data| {
                black_box((section, owner, data));
                records += 1;
            });
        }
    }
    records
}

fn main() {
    let options = Options::from_args();
    let rules = rules();
    let mut scratch = Scratch::default();
    let mut figures: Vec<Vec<f64>> = Vec::new();
    let mut allocations: Vec<u64> = Vec::new();
    let mut kinds = Vec::new();
    for &size in options.sizes() {
        let cluster = measured(size);
        let table = table(cluster.objects);
        assert_eq!(table.endpoint_count(), size, "the cluster has the size that is printed");
        for (at, question) in cluster.questions.iter().enumerate() {
            let names: Vec<_> = question.names.iter().map(|n| Labels::parse(n).expect("a name")).collect();
            let kind = QueryType::from(question.kind);
            let rounds = (options.operations(LOOKUPS) / names.len()).max(1);
            let nanoseconds = nanoseconds(rounds * names.len(), || {
                for _ in 0..rounds {
                    black_box(look_up(&rules, &table, &mut scratch, &names, kind));
                }
            });
            let mut records = 0;
            let allocated = alloc::count(|| records = look_up(&rules, &table, &mut scratch, &names, kind));
            if figures.len() == at {
                figures.push(Vec::new());
                allocations.push(0);
                kinds.push(format!("{} ({:.1} records)", question.what, records as f64 / names.len() as f64));
            }
            figures[at].push(nanoseconds);
            allocations[at] += allocated;
        }
    }
    let sizes = options.sizes().iter().map(|s| format!("{} endpoints", grouped(*s as u64)));
    let head = ["question".to_owned()].into_iter().chain(sizes);
    let mut printed = Figures::new(head.chain(["last / first".into(), "allocations".into()]));
    for ((kind, row), allocated) in kinds.into_iter().zip(&figures).zip(&allocations) {
        let ratio = row.last().zip(row.first()).map_or(1.0, |(last, first)| last / first);
        let cells = row.iter().map(|ns| format!("{ns:.0} ns"));
        let ends = [format!("{ratio:.2}"), allocated.to_string()];
        printed.row([kind].into_iter().chain(cells).chain(ends));
    }
    printed.print("Lookup: rules, table and records, nothing encoded");
    let total: u64 = allocations.iter().sum();
    let verdict = if total == 0 { "yes" } else { "NO" };
    println!("\na lookup allocates nothing: {verdict} ({total} allocations)");
}
