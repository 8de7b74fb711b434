//! Lookups: from name to the last record, nothing encoded.

use std::hint::black_box;

use outlast::zone::Table;
use outlast::zone::answer::Scratch;
use outlast::zone::lookup::QueryType;
use outlast::zone::name::Labels;

use crate::Column;
use crate::support::cluster::{Question, look_up, rules};
use crate::support::{Options, alloc, nanoseconds};

/// Lookups of a run.
const LOOKUPS: usize = 200_000;

/// Time of each kind of question, and how often all of them together allocated.
pub(crate) fn measure(table: &Table, questions: &[Question], options: Options, column: &mut Column) {
    let (rules, mut scratch, mut allocated) = (rules(), Scratch::default(), 0);
    for question in questions {
        let names: Vec<_> = question.names.iter().map(|n| Labels::parse(n).expect("a name")).collect();
        let kind = QueryType::from(question.kind);
        let rounds = (options.operations(LOOKUPS) / names.len()).max(1);
        let time = nanoseconds(rounds * names.len(), || {
            for _ in 0..rounds {
                black_box(look_up(&rules, table, &mut scratch, &names, kind));
            }
        });
        column.add(format!("lookup: {}", question.what), format!("{time:.0} ns"));
        allocated += alloc::count(|| {
            black_box(look_up(&rules, table, &mut scratch, &names, kind));
        });
    }
    column.add("allocations of all these", allocated.to_string());
}
