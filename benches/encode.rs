//! Time from the bytes of a query to the bytes of its reply, through the same gate, router and plugins that a
//! packet takes, and through the inline lane; only the socket is missing.
//!
//! ```text
//! cargo bench --bench encode [-- --quick]
//! ```

mod support;

use std::hint::black_box;

use hickory_proto::op::Message;

use support::alloc::{self, Counting};
use support::answer::{Inline, answer, query, router};
use support::cluster::measured;
use support::{Figures, Options, grouped, nanoseconds};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Queries of a run.
const QUERIES: usize = 50_000;

fn main() {
    let options = Options::from_args();
    let chains = [("kubernetes", ""), ("with prometheus", "prometheus localhost:0")];
    let mut head = vec!["question".to_owned()];
    let mut rows: Vec<Vec<String>> = Vec::new();
    let sizes = if options.quick { &[1_000][..] } else { &[1_000, 100_000, 1_000_000] };
    for &size in sizes {
        let cluster = measured(size);
        for (chain, others) in chains {
            let router = router(others, cluster.objects.clone());
            head.push(format!("{}, {chain}", grouped(size as u64)));
            for (at, question) in cluster.questions.iter().enumerate() {
                let queries: Vec<_> = question.names.iter().map(|n| query(n, question.kind)).collect();
                let rounds = (options.operations(QUERIES) / queries.len()).max(1);
                let nanoseconds = nanoseconds(rounds * queries.len(), || {
                    for _ in 0..rounds {
                        queries.iter().for_each(|q| drop(black_box(answer(&router, q))));
                    }
                });
                let mut lane = Inline::new(&router);
                let inline = support::nanoseconds(rounds * queries.len(), || {
                    for _ in 0..rounds {
                        for query in &queries {
                            black_box(lane.answer(query));
                        }
                    }
                });
                let inline_allocated = alloc::count(|| {
                    black_box(lane.answer(&queries[0]));
                });
                let reply = answer(&router, &queries[0]);
                let allocated = alloc::count(|| drop(black_box(answer(&router, &queries[0]))));
                if rows.len() == at {
                    let rcode = Message::from_vec(&reply).expect("a reply").metadata.response_code;
                    rows.push(vec![
                        question.what.into(),
                        format!("{rcode:?}"),
                        format!("{} B", reply.len()),
                        allocated.to_string(),
                        inline_allocated.to_string(),
                    ]);
                }
                rows[at].push(format!("{nanoseconds:.0} / {inline:.0} ns"));
            }
        }
    }
    head.splice(1..1, ["rcode", "reply", "allocations", "inline"].map(str::to_owned));
    let mut printed = Figures::new(head);
    rows.into_iter().for_each(|row| printed.row(row));
    printed.print(
        "Query bytes to reply bytes: the general handler (gate, router, plugins, encoding) / the inline lane",
    );
}
