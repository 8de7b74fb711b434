//! What became of what processes have: memory, descriptors, threads, tasks and snapshots, at first and at last. Pure.

use serde::Serialize;

use crate::drill::processes::footprint::Footprint;

/// Most memory at last, in parts of a hundred of that at first; and so many bytes more, which the smallest process needs for
/// what it does now and then.
const MEMORY: (u64, u64) = (125, 8 << 20);

/// Most descriptors, threads and tasks at last beyond those at first: what any of them is doing just then.
const MORE: u64 = 8;

/// By how much snapshots may differ, in parts of a hundred, and in bytes: the cluster is as large as it was, but what was made
/// up in order has names and addresses by chance in the end, which are compressed less.
const SNAPSHOTS: (u64, u64) = (25, 16 << 10);

/// A process at first and at last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Growth {
    /// What it is called.
    pub process: String,
    /// What it had.
    pub first: Footprint,
    /// What it has.
    pub last: Footprint,
}

/// Heads of a table of growths, and whether they are of numbers.
pub(super) const COLUMNS: [(&str, bool); 7] = [
    ("process", false),
    ("RSS, MiB", true),
    ("private, MiB", true),
    ("descriptors", true),
    ("threads", true),
    ("tasks", true),
    ("snapshots, MiB", true),
];

impl Growth {
    /// What was promised and does not hold: a sentence each.
    pub fn broken(&self) -> Vec<String> {
        let Self { process, first, last } = self;
        let mut broken = Vec::new();
        let most = first.rss * MEMORY.0 / 100 + MEMORY.1;
        if last.rss > most {
            let (first, last, most) = (mib(first.rss), mib(last.rss), mib(most));
            broken.push(format!("{process} has {last} MiB of memory, at first {first}, promised {most}"));
        }
        for (what, first, last) in [
            ("descriptors", first.descriptors, last.descriptors),
            ("threads", first.threads, last.threads),
            ("tasks", first.tasks, last.tasks),
        ] {
            let most = first + MORE;
            if last > most {
                broken.push(format!("{process} has {last} {what}, at first {first}, promised {most}"));
            }
        }
        let (first, last) = (first.snapshots, last.snapshots);
        if first.abs_diff(last) > first * SNAPSHOTS.0 / 100 + SNAPSHOTS.1 {
            let (first, last) = (mib(first), mib(last));
            broken.push(format!("snapshots of {process} have {last} MiB, at first {first}"));
        }
        broken
    }

    /// Its cells in a table.
    pub(super) fn row(&self) -> [String; COLUMNS.len()] {
        let of =
            |figure: fn(&Footprint) -> String| format!("{} -> {}", figure(&self.first), figure(&self.last));
        [
            self.process.clone(),
            of(|it| mib(it.rss)),
            of(|it| mib(it.private)),
            of(|it| it.descriptors.to_string()),
            of(|it| it.threads.to_string()),
            of(|it| it.tasks.to_string()),
            of(|it| mib(it.snapshots)),
        ]
    }
}

/// Bytes in MiB, with two digits behind the point.
fn mib(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A node of some size.
    const NODE: Footprint = Footprint {
        rss: 40 * MIB,
        private: 20 * MIB,
        descriptors: 30,
        threads: 9,
        tasks: 25,
        snapshots: 3 * MIB,
    };

    fn grown(last: Footprint) -> Growth {
        Growth { process: "node-0".to_owned(), first: NODE, last }
    }

    #[test]
    fn what_has_grown_too_much() {
        let snapshots = |bytes| Footprint { snapshots: bytes, ..NODE };
        for (name, last, want) in [
            ("nothing", NODE, vec![]),
            ("less", Footprint { rss: MIB, descriptors: 3, threads: 1, tasks: 0, ..NODE }, vec![]),
            ("memory at its bound", Footprint { rss: 58 * MIB, ..NODE }, vec![]),
            (
                "memory beyond it",
                Footprint { rss: 58 * MIB + 4096, ..NODE },
                vec!["node-0 has 58.00 MiB of memory, at first 40.00, promised 58.00"],
            ),
            ("as many as may be", Footprint { descriptors: 38, threads: 17, tasks: 33, ..NODE }, vec![]),
            (
                "one more of each",
                Footprint { descriptors: 39, threads: 18, tasks: 34, ..NODE },
                vec![
                    "node-0 has 39 descriptors, at first 30, promised 38",
                    "node-0 has 18 threads, at first 9, promised 17",
                    "node-0 has 34 tasks, at first 25, promised 33",
                ],
            ),
            ("snapshots a quarter larger", snapshots(15 * MIB / 4), vec![]),
            ("a quarter smaller", snapshots(9 * MIB / 4), vec![]),
            (
                "a generation too many",
                snapshots(4 * MIB),
                vec!["snapshots of node-0 have 4.00 MiB, at first 3.00"],
            ),
            ("none", snapshots(0), vec!["snapshots of node-0 have 0.00 MiB, at first 3.00"]),
        ] {
            assert_eq!(grown(last).broken(), want, "{name}");
        }
    }

    #[test]
    fn a_row_has_both_figures_of_each() {
        let last = Footprint { rss: 41 * MIB, tasks: 26, ..NODE };
        let want =
            ["node-0", "40.00 -> 41.00", "20.00 -> 20.00", "30 -> 30", "9 -> 9", "25 -> 26", "3.00 -> 3.00"];
        assert_eq!(grown(last).row(), want);
    }
}
