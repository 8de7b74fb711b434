//! What there is to be tested, read from its files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The rules.
pub(super) const RULES: &str = "monitoring/alerts.yaml";

/// A page for each.
pub(super) const PAGES: &str = "docs/runbooks";

/// A file or folder of the repository.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub(super) fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All documents of a file.
pub(super) fn documents(name: &str) -> Vec<Value> {
    let read = |text: &str| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    text(name).split("\n---\n").map(read).collect()
}

pub(super) fn document(name: &str) -> Value {
    let mut all = documents(name);
    assert_eq!(all.len(), 1, "{name}");
    all.remove(0)
}

/// The files of a folder with this extension: names within the repository, sorted.
pub(super) fn files(folder: &str, extension: &str) -> Vec<String> {
    let paths = fs::read_dir(path(folder)).unwrap().map(|entry| entry.unwrap().path());
    let has = |path: &PathBuf| path.extension().is_some_and(|e| e == extension);
    let name = |path: PathBuf| format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap());
    let mut names: Vec<_> = paths.filter(has).map(name).collect();
    names.sort();
    names
}

/// An alert as the file has it.
#[derive(Clone, Debug)]
pub(super) struct Alert {
    pub(super) name: String,
    pub(super) expr: String,
    /// For how long it has to hold.
    pub(super) hold: Option<String>,
    pub(super) severity: Option<String>,
    /// By name: `summary`, `description`, `runbook_url`.
    pub(super) annotations: Value,
}

pub(super) fn alerts() -> Vec<Alert> {
    let rules = document(RULES);
    let groups = rules["groups"].as_array().unwrap();
    let string = |value: &Value| value.as_str().map(str::to_owned);
    let alert = |rule: &Value| Alert {
        name: string(&rule["alert"]).unwrap(),
        expr: string(&rule["expr"]).unwrap(),
        hold: string(&rule["for"]),
        severity: string(&rule["labels"]["severity"]),
        annotations: rule["annotations"].clone(),
    };
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).map(alert).collect()
}
