//! Dashboards of Grafana.

use std::collections::BTreeSet;

use serde_json::Value;

use super::files::{files, text};

/// Where they are.
const FOLDER: &str = "monitoring/dashboards";

/// As every query has it: who looks at a dashboard chooses the Prometheus.
const DATASOURCE: &str = "${datasource}";

/// Columns of a dashboard.
const WIDTH: u64 = 24;

/// A panel that shows something.
#[derive(Debug)]
pub(super) struct Panel {
    /// The file and the panel's title.
    pub(super) place: String,
    pub(super) targets: Vec<Target>,
}

/// What a panel asks for.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) expression: String,
    /// What a series is called.
    pub(super) legend: String,
}

/// Files with what is in them.
fn dashboards() -> Vec<(String, Value)> {
    files(FOLDER, "json")
        .into_iter()
        .map(|name| (name.clone(), serde_json::from_str(&text(&name)).unwrap()))
        .collect()
}

/// All panels of all dashboards but for rows.
pub(super) fn panels() -> Vec<Panel> {
    let string = |value: &Value| value.as_str().unwrap().to_owned();
    let target = |of: &Value| Target { expression: string(&of["expr"]), legend: string(&of["legendFormat"]) };
    let mut panels = Vec::new();
    for (name, dashboard) in dashboards() {
        for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
            let place = format!("{name}: {}", panel["title"].as_str().unwrap());
            panels.push(Panel {
                place,
                targets: panel["targets"].as_array().unwrap().iter().map(target).collect(),
            });
        }
    }
    panels
}

/// What the variables of dashboards ask for.
pub(super) fn variables() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, dashboard) in dashboards() {
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let queries = variables.iter().filter_map(|variable| variable["query"]["query"].as_str());
        found.extend(queries.map(|query| (name.clone(), query.to_owned())));
    }
    found
}

#[test]
fn dashboards_are_whole() {
    let (dashboards, base) = (dashboards(), text("monitoring/kustomization.yaml"));
    assert_eq!(dashboards.len(), 2);
    for (name, dashboard) in dashboards {
        let stem = name.strip_prefix(FOLDER).unwrap().trim_start_matches('/').trim_end_matches(".json");
        assert_eq!(dashboard["uid"], stem, "{name}: links to it stay");
        assert!(base.contains(&format!("- dashboards/{stem}.json\n")), "{name} is in no ConfigMap");
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert!(variables.iter().any(|v| v["name"] == "datasource" && v["type"] == "datasource"), "{name}");
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title}: another one has its id");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(x + w <= WIDTH, "{name}: {title} is beyond the edge");
            let free = (x..x + w).all(|x| (y..y + h).all(|y| taken.insert((x, y))));
            assert!(free, "{name}: {title} lies on another one");
            if panel["type"] == "row" {
                continue;
            }
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{name}: {title} shows nothing");
            for of in targets.iter().chain([panel]) {
                assert_eq!(of["datasource"]["uid"], DATASOURCE, "{name}: {title}");
            }
        }
    }
}
