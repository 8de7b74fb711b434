//! README's table of drills: of every drill there is, in their order, all of them kept, and told as the command tells it.

use std::path::Path;

use outlast::drill::How;
use outlast::drill::catalogue::DRILLS;

/// Around the table.
const MARKS: [&str; 2] = ["<!-- drills -->\n", "<!-- /drills -->"];

/// The rows of the table: its head, and those of drills, by cells.
fn table(page: &str) -> Vec<Vec<&str>> {
    let (_, from) = page.split_once(MARKS[0]).unwrap();
    let (table, _) = from.split_once(MARKS[1]).unwrap();
    table
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("| ---"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn the_table_is_what_the_command_prints_of_all_drills() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let rows = table(&page);
    let [head, drills @ ..] = &rows[..] else { panic!("a table") };
    let column = |name: &str| head.iter().position(|cell| *cell == name).unwrap();
    let names: Vec<_> = drills.iter().map(|row| row[0]).collect();
    let of_all = || DRILLS.iter().filter(|drill| drill.minutes.is_none());
    assert_eq!(names, of_all().map(|drill| drill.name).collect::<Vec<_>>());
    for (row, drill) in drills.iter().zip(of_all()) {
        let [failed, wrong]: [u64; 2] = ["failed", "wrong"].map(|name| row[column(name)].parse().unwrap());
        assert!(failed <= drill.bounds.failed && wrong <= drill.bounds.wrong, "{row:?}");
        assert_eq!(row[column("verdict")], "kept", "{row:?}");
        assert_eq!(row[column("how")], drill.how.as_str(), "{row:?}");
        assert!(
            drill.how == How::Simulated || row[column("queries")].parse::<u64>().unwrap() > 100,
            "{row:?}"
        );
    }
}
