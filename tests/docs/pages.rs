//! Pages of Markdown, as far as tests need to know.

use std::fs;
use std::path::{Path, PathBuf};

/// Pages beside those below `docs/`.
const OTHERS: [&str; 4] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "benches/README.md"];

/// Begins and ends a block.
const FENCE: &str = "```";

/// A file or folder of the repository.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A file of the repository.
pub(super) fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every file below a folder: names within the repository, sorted.
pub(super) fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() { found.extend(files(&name)) } else { found.push(name) }
    }
    found.sort();
    found
}

/// A page, taken apart.
#[derive(Debug)]
pub(super) struct Page {
    /// Its name within the repository.
    pub(super) name: String,
    /// What is between fences.
    pub(super) blocks: Vec<Block>,
    /// Everything else: rows of tables, items of lists, headings and paragraphs, each on one line.
    pub(super) prose: Vec<Text>,
}

/// A block.
#[derive(Debug)]
pub(super) struct Block {
    /// The line of its fence.
    pub(super) line: usize,
    /// What it is said to be.
    pub(super) language: String,
    /// Its lines.
    pub(super) text: String,
}

/// A text, and the line that it begins on.
#[derive(Debug)]
pub(super) struct Text {
    /// From 1.
    pub(super) line: usize,
    /// Without the ends of its lines.
    pub(super) text: String,
}

/// Every page that is for readers.
pub(super) fn pages() -> Vec<Page> {
    let docs = files("docs").into_iter().filter(|name| name.ends_with(".md"));
    let pages: Vec<_> = OTHERS
        .map(str::to_owned)
        .into_iter()
        .chain(docs)
        .map(|name| Page::parse(&name, &text(&name)))
        .collect();
    assert!(pages.len() > 30, "{}", pages.len());
    pages
}

/// Whether a line is a text of its own, and does not go on with the one before.
fn begins(line: &str) -> bool {
    let item = line.split_once(". ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    item || ["* ", "- ", "|", "#"].iter().any(|mark| line.starts_with(mark))
}

impl Page {
    /// Takes a text apart.
    pub(super) fn parse(name: &str, text: &str) -> Self {
        let mut page = Self { name: name.to_owned(), blocks: Vec::new(), prose: Vec::new() };
        let mut open: Option<(usize, Block)> = None;
        let mut goes_on = false;
        for (number, line) in (1..).zip(text.lines()) {
            let trimmed = line.trim();
            match (&mut open, trimmed.strip_prefix(FENCE)) {
                (None, Some(language)) => {
                    let block = Block { line: number, language: language.to_owned(), text: String::new() };
                    open = Some((line.len() - line.trim_start().len(), block));
                    goes_on = false;
                }
                (Some(_), Some(_)) => page.blocks.extend(open.take().map(|(_, block)| block)),
                (Some((indent, block)), None) => {
                    block.text.push_str(line.get(*indent..).unwrap_or_default());
                    block.text.push('\n');
                }
                (None, None) if trimmed.is_empty() => goes_on = false,
                (None, None) => {
                    match page.prose.last_mut().filter(|_| goes_on && !begins(trimmed)) {
                        Some(last) => {
                            last.text.push(' ');
                            last.text.push_str(trimmed);
                        }
                        None => page.prose.push(Text { line: number, text: trimmed.to_owned() }),
                    }
                    goes_on = !trimmed.starts_with('#');
                }
            }
        }
        assert!(open.is_none(), "{name}: every block ends");
        page
    }

    /// Where something is.
    pub(super) fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.name)
    }

    /// What is between backquotes, with the line that its text begins on. In tables a bar is written with a backslash.
    pub(super) fn spans(&self) -> impl Iterator<Item = (usize, String)> {
        let spans = |text: &Text| {
            let parts = text.text.split('`').skip(1).step_by(2);
            parts.map(|span| (text.line, span.replace("\\|", "|"))).collect::<Vec<_>>()
        };
        self.prose.iter().flat_map(spans)
    }

    /// Every text that names may be in, with its line: prose, and the lines of blocks.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let blocks = self.blocks.iter().flat_map(|block| (block.line + 1..).zip(block.text.lines()));
        self.prose.iter().map(|text| (text.line, text.text.as_str())).chain(blocks)
    }

    /// What its headings are linked by.
    pub(super) fn anchors(&self) -> Vec<String> {
        let headings = self.prose.iter().filter_map(|text| text.text.strip_prefix('#'));
        let anchor = |heading: &str| {
            let kept = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        };
        headings.map(anchor).collect()
    }
}

#[test]
fn pages_are_taken_apart() {
    let page = Page::parse(
        "p.md",
        "# What it's for\n\nA `long\nspan`.\n* an item\n\n  ```sh\n  a\n    b\n  ```\n| `a\\|b` | c |\n| d | e |\n",
    );
    let prose: Vec<_> = page.prose.iter().map(|text| (text.line, text.text.as_str())).collect();
    let want = [
        (1, "# What it's for"),
        (3, "A `long span`."),
        (5, "* an item"),
        (11, "| `a\\|b` | c |"),
        (12, "| d | e |"),
    ];
    assert_eq!(prose, want);
    assert_eq!((page.blocks[0].line, page.blocks[0].text.as_str()), (7, "a\n  b\n"));
    assert_eq!(page.blocks[0].language, "sh");
    assert_eq!(page.spans().collect::<Vec<_>>(), [(3, "long span".to_owned()), (11, "a|b".to_owned())]);
    assert_eq!(page.anchors(), ["what-its-for"]);
    assert_eq!(page.lines().last(), Some((9, "  b")));
}
