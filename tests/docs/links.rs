//! Links, and files that pages name.

use std::path::{Component, Path, PathBuf};

use super::pages::{Page, path, text};
use super::{every_page_passes, it_finds};

/// Folders of the repository, as pages begin a path.
const FOLDERS: [&str; 8] =
    ["manifests/", "docs/", "benches/", "tests/", "monitoring/", "examples/", "src/", "fuzz/"];

/// Where links of a text lead: `[words](here)`.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// What is wrong with a link.
fn of_link(page: &Page, target: &str) -> Option<String> {
    if target.starts_with("https://") || target.starts_with("http://") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let folder = Path::new(&page.name).parent().unwrap();
    let file = match file {
        "" => PathBuf::from(&page.name),
        file => plain(&folder.join(file)),
    };
    let name = file.to_str().unwrap();
    let has_anchor = |anchor: &str| match name == page.name {
        true => page.anchors().iter().any(|known| known == anchor),
        false => Page::parse(name, &text(name)).anchors().iter().any(|known| known == anchor),
    };
    if name != page.name && !path(name).exists() {
        return Some(format!("{target} leads nowhere"));
    }
    anchor.filter(|anchor| !has_anchor(anchor)).map(|anchor| format!("{name} has no heading {anchor}"))
}

/// Files that a text names and that are not there.
fn missing(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || "`()[]|,;:#\"'".contains(c));
    let ours = words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)));
    // What a pattern or a placeholder stands for is not looked for, nor what the tour moves away and back.
    let is_plain = |word: &&str| !word.contains(['*', '$', '<', '{', '…']) && !word.ends_with(".away");
    let files = ours.map(|word| word.trim_end_matches('.')).filter(is_plain);
    files.filter(|file| !path(file).exists()).map(|file| format!("there is no {file}")).collect()
}

/// What is wrong with the links of a page, and with the files that it names.
fn complaints(page: &Page) -> Vec<String> {
    let links = page.prose.iter().flat_map(|text| {
        let said = targets(&text.text).filter_map(|target| of_link(page, target));
        said.map(|said| (text.line, said)).collect::<Vec<_>>()
    });
    let files = page.lines().flat_map(|(line, text)| missing(text).into_iter().map(move |said| (line, said)));
    links.chain(files).map(|(line, said)| format!("{}: {said}", page.at(line))).collect()
}

#[test]
fn links_lead_somewhere_and_files_are_there() {
    every_page_passes(complaints);
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    it_finds(
        complaints,
        "# A b\n[a](#a-b) [b](README.md) [c](docs/install.md#the-image) [d](https://x.test/y), `manifests/host`, \
         docs/install.md.\n```sh\ncat src/main.rs\n```",
        &[
            ("[a](#b)", "wrong.md has no heading b"),
            ("x\n\n[a](READ.md)", "wrong.md:3: READ.md leads nowhere"),
            ("[a](docs/install.md#images)", "docs/install.md has no heading images"),
            ("`manifests/hosts`", "there is no manifests/hosts"),
            (
                "```sh\nsh tests/manifests/applied.sh F\n```",
                "wrong.md:2: there is no tests/manifests/applied.sh",
            ),
            ("see docs/installation.md.", "there is no docs/installation.md"),
            ("```yaml\n\n# tests/none.rs\n```", "wrong.md:3: there is no tests/none.rs"),
        ],
    );
}
