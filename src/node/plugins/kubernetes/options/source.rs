//! `source`: where the objects come from.

use std::path::PathBuf;

use crate::corefile::{Error, Line, Statement};
use crate::source::choice::SourceChoice;

/// How `source` is written.
pub(super) const USAGE: &str = "source auto|hub|apiserver|file PATH";

/// Reads the line.
pub(super) fn source(line: &Line) -> Result<SourceChoice, Error> {
    let words = line.expect_args(1..=2, USAGE)?;
    let (kind, rest) = words.split_first().ok_or_else(|| line.error(format!("write '{USAGE}'")))?;
    match (kind.text.as_str(), rest) {
        ("auto", []) => Ok(SourceChoice::Auto),
        ("apiserver", []) => Ok(SourceChoice::ApiServer),
        ("hub", []) => Ok(SourceChoice::Hub),
        ("file", [path]) => Ok(SourceChoice::File(PathBuf::from(&path.text))),
        ("file", _) => {
            Err(kind.error("plugin/kubernetes: source 'file' needs a path: write 'source file PATH'"))
        }
        (name @ ("auto" | "apiserver"), [extra, ..]) => Err(extra.error(format!(
            "plugin/kubernetes: source '{name}' stands alone: where the API server is, 'kubeconfig FILE' or \
             'endpoint URL' says on a line of its own"
        ))),
        ("hub", [extra, ..]) => Err(extra.error(
            "plugin/kubernetes: source 'hub' stands alone: where the hubs are, 'hub ADDRESS...' says on a line of its \
             own",
        )),
        (name, _) => Err(kind.error(format!("plugin/kubernetes: no source '{name}': write '{USAGE}'"))),
    }
}
